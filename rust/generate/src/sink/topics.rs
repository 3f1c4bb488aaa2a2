//! Topics: creating those that do not exist, and waiting until all of them have partitions.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::{Client, DefaultClientContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{SinkError, kafka::KafkaSettings};

/// How long topics may take to appear.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the error for settings that librdkafka does not take. The value of an option is left out, it may be a secret.
pub(super) fn refused(servers: &str, source: KafkaError) -> SinkError {
    match source {
        KafkaError::ClientConfig(_, reason, option, _) => SinkError::KafkaOption { option, reason },
        source => SinkError::KafkaSettings { servers: servers.to_owned(), source: Box::new(source) },
    }
}

/// Returns what every client of the sink is configured with.
pub(super) fn base_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.servers).set("client.id", "streamify-generate");
    for (option, value) in &settings.options {
        config.set(option, value);
    }
    config
}

/// A topic as it should be, if it does not exist yet.
pub(super) struct TopicPlan<'a> {
    pub(super) name: &'a str,
    pub(super) num_partitions: i32,
    /// Kafka's settings of the topic.
    pub(super) config: &'a BTreeMap<String, String>,
}

/// Creates the topics that the cluster does not list. A broker that cannot create topics on request may still make them when
/// they are first asked for, so a refusal is no error here unless `must_hold`; the embedded broker has its from its start.
pub(super) fn create_missing_topics(
    settings: &KafkaSettings,
    plans: &[TopicPlan<'_>],
    must_hold: bool,
) -> Result<(), SinkError> {
    let admin: AdminClient<DefaultClientContext> =
        base_config(settings).create().map_err(|source| refused(&settings.servers, source))?;
    let Ok(metadata) = admin.inner().fetch_metadata(None, TOPIC_TIMEOUT) else {
        // Unreachable: the wait for the topics reports it, with its own deadline.
        return Ok(());
    };
    let exists = |name: &str| metadata.topics().iter().any(|topic| topic.name() == name);
    let missing = plans.iter().filter(|plan| !exists(plan.name)).map(|plan| {
        let replication = TopicReplication::Fixed(settings.replication);
        let topic = NewTopic::new(plan.name, plan.num_partitions, replication);
        plan.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    });
    let missing: Vec<NewTopic<'_>> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let refusal = |source| match must_hold {
        true => Err(SinkError::KafkaRequest {
            action: "create the topics as asked",
            servers: settings.servers.clone(),
            source: Box::new(source),
        }),
        false => Ok(()),
    };
    match futures::executor::block_on(admin.create_topics(&missing, &options)) {
        Ok(results) => {
            for result in results {
                match result {
                    Ok(topic) => debug!(topic, "created topic"),
                    // Somebody else was faster.
                    Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                    Err((topic, code)) => {
                        debug!(topic, %code, "topic was not created");
                        refusal(KafkaError::AdminOp(code))?;
                    }
                }
            }
            Ok(())
        }
        Err(error) => {
            debug!(%error, "the broker does not create topics on request");
            refusal(error)
        }
    }
}

/// Waits until a topic has partitions; returns how many.
pub(super) fn await_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    servers: &str,
    stop: &CancellationToken,
) -> Result<i32, SinkError> {
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < TOPIC_TIMEOUT {
        if stop.is_cancelled() {
            return Err(SinkError::Stopped);
        }
        match client.fetch_metadata(Some(topic), Duration::from_secs(3)) {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                let count = found.map_or(0, |found| found.partitions().len());
                if count > 0 {
                    return Ok(i32::try_from(count).unwrap_or(i32::MAX));
                }
            }
            Err(error) => last = Some(Box::new(error)),
        }
        thread::sleep(Duration::from_millis(100));
    }
    let (topic, servers, seconds) = (topic.to_owned(), servers.to_owned(), TOPIC_TIMEOUT.as_secs());
    Err(SinkError::TopicUnavailable { topic, servers, seconds, source: last })
}
