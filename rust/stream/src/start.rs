//! The start of a session: tables made ready, the topics found, and where each partition begins.
//!
//! Lake and Kafka are opened side by side, so that the first commit comes soon. Whatever is not there yet is waited for up to the
//! configured time. An adopted source or table is committed before anything is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use streamify_core::Contract;
use streamify_core::state::{Change, SourceIdentity};
use streamify_lake::commit::{Commit, CommitOptions, Committer};
use streamify_lake::{Lake, LakeError, LakeSettings, TableSpec};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;
use uuid::Uuid;

use crate::adoption;
use crate::broker;
use crate::dead_letters::{Letters, Origin, known};
use crate::error::StreamError;
use crate::intake::Assigned;
use crate::kafka::membership::{Held, Membership};
use crate::kafka::{KafkaClient, KafkaError, KafkaSettings, TopicIdentity, TopicPartition};
use crate::lease::claim_table;
use crate::plan::{Decisions, Log, Plan, plan};
use crate::replay;
use crate::settings::{Assignment, Settings, Source, Until};
use crate::wait::until_ready;

/// How long one question to Kafka may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take; a broker that is up answers in a fraction of it.
const CONNECT_ATTEMPT: Duration = Duration::from_secs(10);

/// One topic, ready to be read.
pub struct ReadyTopic {
    /// Its contract.
    pub contract: Arc<Contract>,
    /// Its table's committer.
    pub appender: Committer,
    /// Where its records come from.
    pub origin: Origin,
}

/// Everything a session needs.
pub struct Ready {
    /// The topics.
    pub topics: Vec<ReadyTopic>,
    /// The dead-letter table's committer.
    pub dead_letters: Committer,
    /// The connection to Kafka.
    pub client: Arc<KafkaClient>,
    /// Where each partition begins.
    pub assigned: Vec<Assigned>,
    /// Which logs were found, to notice new partitions and topics that are made anew.
    pub identities: BTreeMap<String, TopicIdentity>,
    /// The group's share, if a group decides what is read.
    pub held: Option<Held>,
}

/// Makes everything ready to read `contracts`' topics. `member` is the membership in the group, made here if it is needed
/// and not there.
///
/// # Errors
/// What is not there in time, and what needs a decision.
pub async fn prepare(
    settings: &Settings,
    lake: &LakeSettings,
    contracts: &[Arc<Contract>],
    member: &mut Option<Membership>,
) -> Result<Ready, StreamError> {
    if let Some(replay) = &settings.replay {
        return replay::prepare(settings, replay, lake, contracts).await;
    }
    let open =
        || until_ready("catalog and store", settings.connect_timeout, || tables(settings, lake, contracts));
    let kafka = kafka(settings, contracts);
    let (opened, (client, cluster_id, identities), held) = match settings.assignment {
        Assignment::All | Assignment::Static(_) => {
            let (tables, connected) = tokio::try_join!(open(), kafka)?;
            (tables, connected, None)
        }
        Assignment::Group => {
            let connected = kafka.await?;
            let held = share(settings, &connected.0, contracts, member).await?;
            // Only now: the worker that had the share before has committed to the tables until it gave it up.
            (open().await?, connected, Some(held))
        }
    };

    let Tables { lake, bronze, dead_letters } = opened;
    let logs = Logs { settings, client: &client, cluster_id, identities: &identities };
    let found = try_join_all(contracts.iter().map(|contract| {
        let num_partitions = logs.identity(&contract.topic).num_partitions;
        logs.find(contract, partitions(settings, held.as_ref(), &contract.topic, num_partitions))
    }))
    .await?;
    let mut topics = Vec::with_capacity(contracts.len());
    let mut assigned = Vec::new();
    for ((contract, mut appender), log) in contracts.iter().zip(bronze).zip(&found) {
        if log.bounds.is_empty() {
            continue;
        }
        if let (Some(choice), Some(_)) =
            (settings.adopt_table, adoption::Foreign::look(appender.table(), contract))
        {
            // All partitions, also those that other workers read: they find the state that is made here.
            let num_partitions = log.num_partitions;
            let all = (0..num_partitions).map(|number| TopicPartition::new(&*contract.topic, number));
            let all = logs.find(contract, all.collect()).await?;
            appender = adoption::adopt(&lake, contract, choice, &all, &commit_options(settings)).await?;
        }
        claim_table(settings, &mut appender).await?;
        let (topic, plan) = ready_topic(settings, Arc::clone(contract), appender, log).await?;
        for mut one in assignments(settings, topics.len(), log, &plan) {
            one.letters = known(&dead_letters, &topic.origin, &one.start()).await?;
            assigned.push(one);
        }
        topics.push(topic);
    }
    Ok(Ready { topics, dead_letters, client, assigned, identities, held })
}

/// Waits for the group's share, as long as brokers may be away during a run: other members may have to commit first.
async fn share(
    settings: &Settings,
    client: &KafkaClient,
    contracts: &[Arc<Contract>],
    member: &mut Option<Membership>,
) -> Result<Held, StreamError> {
    let member = match member {
        Some(member) => member,
        None => {
            let topics: Vec<&str> = contracts.iter().map(|contract| contract.topic.as_str()).collect();
            member.insert(Membership::join(client.settings(), &topics)?)
        }
    };
    match timeout(settings.commit_timeout, member.next()).await {
        Ok(held) => Ok(held?),
        Err(_) => {
            let what = format!("the group `{}` gave this worker no partitions", client.settings().group_id);
            Err(StreamError::OutageTooLong { what, waited: settings.commit_timeout })
        }
    }
}

fn partitions(
    settings: &Settings,
    held: Option<&Held>,
    topic: &str,
    num_partitions: i32,
) -> Vec<TopicPartition> {
    let given = held.and_then(|held| held.share().get(topic));
    let is_ours = |partition: &i32| match &settings.assignment {
        Assignment::All => true,
        Assignment::Static(ours) => ours.contains(partition),
        Assignment::Group => given.is_some_and(|ours| ours.contains(partition)),
    };
    (0..num_partitions).filter(is_ours).map(|partition| TopicPartition::new(topic, partition)).collect()
}

/// The tables of a session.
struct Tables {
    lake: Lake,
    /// In the order of the contracts.
    bronze: Vec<Committer>,
    dead_letters: Committer,
}

pub(crate) fn commit_options(settings: &Settings) -> CommitOptions {
    CommitOptions {
        timeout: settings.commit_timeout,
        max_conflicts: settings.commit_retries,
        resume_from: settings.resume_from,
    }
}

async fn tables(
    settings: &Settings,
    lake_settings: &LakeSettings,
    contracts: &[Arc<Contract>],
) -> Result<Tables, StreamError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: LakeError| StreamError::Lake { what, source }
    };
    let lake = Lake::open(lake_settings).await.map_err(failed("open the lake"))?;
    // Before anything is made or changed.
    try_join_all(contracts.iter().map(|contract| adoption::check(&lake, contract, settings.adopt_table)))
        .await?;
    let options = commit_options(settings);
    let open = |spec: TableSpec| {
        let (lake, options) = (lake.clone(), options.clone());
        async move {
            let table = lake
                .ensure_table(&spec)
                .await
                .map_err(failed(&format!("make table `{}` ready", spec.name)))?;
            lake.check_store(&table).await.map_err(failed("reach the store"))?;
            Ok::<_, StreamError>(Committer::open(Arc::clone(lake.catalog()), table, options).await?)
        }
    };
    // The first table alone: it creates the namespace, which the others would race for.
    let dead_letters = open(TableSpec::dead_letters()).await?;
    let bronze = try_join_all(contracts.iter().map(|contract| open(TableSpec::bronze(contract)))).await?;
    for (contract, appender) in contracts.iter().zip(&bronze) {
        adoption::check_partitions(appender.table(), contract)?;
    }
    Ok(Tables { lake, bronze, dead_letters })
}

pub(crate) type Connected = (Arc<KafkaClient>, String, BTreeMap<String, TopicIdentity>);

pub(crate) async fn kafka(
    settings: &Settings,
    contracts: &[Arc<Contract>],
) -> Result<Connected, StreamError> {
    let (bootstrap_servers, embedded_identity) = match &settings.source {
        Source::Brokers(servers) => (servers.clone(), None),
        Source::Embedded => {
            let broker = broker::find(&settings.home)?;
            (broker.bootstrap_servers, Some(broker.identity))
        }
    };
    let kafka_settings = kafka_settings(settings, bootstrap_servers);
    let client = until_ready("the brokers", settings.connect_timeout, || {
        let kafka_settings = kafka_settings.clone();
        blocking("connecting to Kafka", move || KafkaClient::connect(&kafka_settings))
    })
    .await?;
    let told = client.cluster().cluster_id;
    let cluster_id = settings.source_id.clone().or(embedded_identity).unwrap_or(told);
    let names: Vec<String> = contracts.iter().map(|contract| contract.topic.clone()).collect();
    let identities =
        until_ready("the topics", settings.connect_timeout, || find_topics(&client, &names, settings))
            .await?;
    Ok((client, cluster_id, identities))
}

/// Refuses Kafka options that the client library does not take: before anything is made, and before settings are shown,
/// because what stands under a mistyped name is not known to be a secret.
///
/// # Errors
/// The first option that does not fit.
pub fn check_kafka_options(settings: &Settings) -> Result<(), StreamError> {
    kafka_settings(settings, String::new()).client_config()?;
    Ok(())
}

/// The Kafka client's settings for these brokers.
pub fn kafka_settings(settings: &Settings, bootstrap_servers: String) -> KafkaSettings {
    let mut kafka = KafkaSettings::new(bootstrap_servers);
    kafka.isolation = settings.isolation;
    kafka.options = settings.kafka_options.0.clone();
    kafka.queue_bytes = settings.memory.kafka_queue as u64;
    kafka.num_queues = settings.decode_threads;
    kafka.connect_wait = settings.connect_timeout.min(CONNECT_ATTEMPT);
    if let Some(group_id) = &settings.group_id {
        kafka.group_id.clone_from(group_id);
    }
    kafka
}

/// Topics that do not exist yet are waited for like a broker: a producer may be about to create them.
async fn find_topics(
    client: &Arc<KafkaClient>,
    names: &[String],
    settings: &Settings,
) -> Result<BTreeMap<String, TopicIdentity>, StreamError> {
    let (asked, wanted) = (Arc::clone(client), names.to_vec());
    let found = blocking("asking for the topics", move || {
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        asked.topics(&names, ASK_TIMEOUT)
    })
    .await?;
    let topics: Vec<String> = names.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
    if topics.is_empty() {
        return Ok(found);
    }
    Err(StreamError::TopicsMissing { topics, waited: settings.connect_timeout })
}

/// Finds the topics' logs.
pub(crate) struct Logs<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) client: &'a Arc<KafkaClient>,
    pub(crate) cluster_id: String,
    pub(crate) identities: &'a BTreeMap<String, TopicIdentity>,
}

impl Logs<'_> {
    pub(crate) fn identity(&self, topic: &str) -> TopicIdentity {
        let found = self.identities.get(topic).cloned();
        found.unwrap_or(TopicIdentity { topic_id: None, num_partitions: 0 })
    }

    /// Asks for the ends of some partitions.
    pub(crate) async fn find(
        &self,
        contract: &Contract,
        partitions: Vec<TopicPartition>,
    ) -> Result<Log, StreamError> {
        let bounds = until_ready("the partitions' leaders", self.settings.connect_timeout, || {
            let (client, partitions) = (Arc::clone(self.client), partitions.clone());
            blocking("asking for offsets", move || client.bounds(&partitions, ASK_TIMEOUT))
        })
        .await?;
        let bounds = partitions.iter().map(|partition| partition.partition).zip(bounds).collect();
        let TopicIdentity { topic_id, num_partitions } = self.identity(&contract.topic);
        let source = SourceIdentity { cluster_id: self.cluster_id.clone(), topic_id };
        let (topic, table) = (contract.topic.clone(), contract.table.clone());
        Ok(Log { topic, table, source, num_partitions, bounds })
    }
}

async fn ready_topic(
    settings: &Settings,
    contract: Arc<Contract>,
    mut appender: Committer,
    log: &Log,
) -> Result<(ReadyTopic, Plan), StreamError> {
    let decisions = Decisions { adopt_new_topic: settings.adopt_new_topic, on_gap: settings.on_gap };
    let plan = plan(log, appender.state().topics.get(&log.topic), decisions)?;
    if let Some(from_epoch) = plan.adopt_from {
        let (topic, source) = (log.topic.clone(), log.source.clone());
        let append = Commit {
            commit_id: Uuid::now_v7(),
            changes: vec![Change::Adopt { topic, from_epoch, source }],
            ..Commit::default()
        };
        let landing = appender.commit(append).await?;
        info!(
            topic = log.topic,
            epoch = plan.epoch,
            snapshot_id = landing.snapshot_id,
            "adopted a new source"
        );
    }
    let origin = Origin { topic: log.topic.clone(), epoch: plan.epoch, source: log.source.clone() };
    Ok((ReadyTopic { contract, appender, origin }, plan))
}

fn assignments(settings: &Settings, topic: usize, log: &Log, plan: &Plan) -> Vec<Assigned> {
    let is_bounded = settings.until == Some(Until::CaughtUp);
    plan.begins
        .iter()
        .map(|(partition, begin)| Assigned {
            partition: TopicPartition::new(log.topic.clone(), *partition),
            topic,
            expected: begin.expected,
            start: begin.start,
            end: log.bounds.get(partition).filter(|_| is_bounded).map(|bounds| bounds.stable_end),
            letters: Letters::new(),
            stops_at_end: false,
        })
        .collect()
}

/// Runs a call that waits for a broker on a thread where that is allowed.
pub async fn blocking<T: Send + 'static>(
    what: &str,
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, StreamError> {
    match spawn_blocking(call).await {
        Ok(result) => result.map_err(StreamError::Kafka),
        Err(_) => Err(StreamError::Stopped { part: what.to_owned() }),
    }
}
