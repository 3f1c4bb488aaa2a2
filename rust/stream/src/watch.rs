//! Looks after a running session: are the brokers there, has a topic changed, how far behind are we.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, interval, sleep};
use tracing::{info, warn};

use crate::budget::Budget;
use crate::clock;
use crate::error::StreamError;
use crate::kafka::config::topic_configs;
use crate::kafka::{KafkaClient, Server, TopicIdentity, TopicPartition};
use crate::live::{Live, Position};
use crate::metrics::Metrics;
use crate::start::blocking;

const TICK: Duration = Duration::from_secs(1);
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// People change retention rarely.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long each topic keeps its records, in ms; topics that keep them for ever are left out.
type Retention = BTreeMap<String, i64>;

/// What is watched.
pub struct Watch<'a> {
    /// The connection.
    pub client: &'a Arc<KafkaClient>,
    /// The thread that serves it.
    pub server: &'a Server,
    /// The topics as they were found at the start.
    pub identities: &'a BTreeMap<String, TopicIdentity>,
    /// Partitions that are read.
    pub partitions: &'a [TopicPartition],
    /// Metrics.
    pub metrics: &'a Metrics,
    /// How far the run is.
    pub live: &'a Live,
    /// The budget.
    pub budget: &'a Budget,
    /// How long brokers may be away.
    pub outage_limit: Duration,
}

impl Watch<'_> {
    /// Returns when a topic has changed, so that the session has to begin anew.
    ///
    /// # Errors
    /// The client has died, or the brokers were away for longer than the limit.
    pub async fn run(&self) -> Result<(), StreamError> {
        let retention = Mutex::default();
        tokio::select! {
            ended = self.serve(&retention) => ended,
            changed = self.ask() => changed,
            never = self.ask_retention(&retention) => match never {},
        }
    }

    async fn serve(&self, retention: &Mutex<Retention>) -> Result<(), StreamError> {
        let mut tick = interval(TICK);
        loop {
            tick.tick().await;
            if self.server.has_ended() {
                return Err(StreamError::PartitionFailed {
                    partition: self
                        .partitions
                        .first()
                        .cloned()
                        .unwrap_or_else(|| TopicPartition::new("?", -1)),
                    reason: self.client.last_error().unwrap_or_else(|| "the Kafka client stopped".to_owned()),
                    retryable: true,
                });
            }
            let now_ms = clock::now_us() / 1000;
            self.metrics.tick(now_ms, self.budget.used());
            for partition in self.partitions {
                if let Some(end) = self.client.cached_high_watermark(partition) {
                    self.live.note_end(&partition.topic, partition.partition, end);
                }
            }
            let retention = retention.lock().unwrap_or_else(PoisonError::into_inner);
            for (topic, position) in self.live.topics() {
                let kept = retention.get(&topic).copied();
                self.live.note_retention(&topic, kept);
                for Position { partition, lag_records, .. } in position.partitions.into_values() {
                    let Some(lag) = lag_records else { continue };
                    self.metrics.lag(&topic, partition, lag);
                    if let Some(kept) = kept {
                        self.metrics.headroom(&topic, partition, lag, kept, now_ms);
                    }
                }
            }
        }
    }

    /// Keeps up with how long the topics keep their records; where that cannot be known, the metric is left out.
    async fn ask_retention(&self, retention: &Mutex<Retention>) -> Infallible {
        sleep(ASK_INTERVAL).await;
        loop {
            let topics: Vec<&str> = self.identities.keys().map(String::as_str).collect();
            match topic_configs(self.client.settings(), &topics).await {
                Ok(configs) => {
                    let known =
                        configs.into_iter().filter_map(|(topic, config)| Some((topic, config.retention_ms?)));
                    *retention.lock().unwrap_or_else(PoisonError::into_inner) = known.collect();
                }
                Err(error) => warn!(%error, "failed to ask how long the topics keep their records"),
            }
            sleep(RETENTION_INTERVAL).await;
        }
    }

    async fn ask(&self) -> Result<(), StreamError> {
        let mut away_since: Option<Instant> = None;
        loop {
            sleep(if away_since.is_some() { ASK_AGAIN } else { ASK_INTERVAL }).await;
            let client = Arc::clone(self.client);
            let names: Vec<String> = self.identities.keys().cloned().collect();
            let asked = blocking("asking for the topics", move || {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                client.topics(&names, ASK_TIMEOUT)
            });
            match asked.await {
                Ok(found) => {
                    if let Some(since) = away_since.take() {
                        info!(seconds = since.elapsed().as_secs(), "the brokers answer again");
                    }
                    if found != *self.identities {
                        info!(
                            "partitions were added, or a topic was made anew; beginning again from the tables' offsets"
                        );
                        return Ok(());
                    }
                }
                Err(error) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    warn!(%error, seconds = since.elapsed().as_secs(), "the brokers do not answer, waiting");
                    if since.elapsed() >= self.outage_limit {
                        let what = "the brokers did not answer".to_owned();
                        return Err(StreamError::OutageTooLong { what, waited: since.elapsed() });
                    }
                }
            }
        }
    }
}
