//! Membership in a consumer group: which partitions are ours, and until when.
//!
//! A member reads nothing. It joins the group with a connection of its own; what it is given is read by a
//! [`KafkaClient`](super::KafkaClient) from the offsets in the tables. It guarantees:
//! * a share is handed out as one [`Held`], and the group gets it back only after that was dropped, which means that
//!   nothing of it is in flight any more. After [`RELEASE_LIMIT`] it goes back all the same; whoever has it then is kept
//!   apart from us by the tables, which refuse the later of two commits of one range;
//! * between two shares there is none: every rebalance takes all partitions back first (the eager protocol), because each
//!   new owner begins at the offsets that the last one has committed to the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::client::Context;
use super::{KafkaError, KafkaSettings, TopicPartition, group};

/// How long the group waits for what is in flight; below librdkafka's `max.poll.interval.ms` of 300 s, at which the
/// coordinator would take the share by force.
pub const RELEASE_LIMIT: Duration = Duration::from_secs(240);
/// How long one wait for the coordinator takes, and so the longest delay of a stop.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// All members must agree on the strategies; both take everything back before they give anything out.
const STRATEGIES: &str = "range,roundrobin";

/// Partitions by topic.
pub type Share = BTreeMap<String, BTreeSet<i32>>;

/// A member of a group. Dropping it leaves the group.
pub struct Membership {
    consumer: Arc<BaseConsumer<MemberContext>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Membership {
    /// Joins the group of `settings` for `topics`; the first share comes later, through [`next`](Self::next).
    ///
    /// # Errors
    /// Those of [`KafkaSettings::client_config`]; [`KafkaError::ClientNotCreated`].
    pub fn join(settings: &KafkaSettings, topics: &[&str]) -> Result<Self, KafkaError> {
        let not_created = |reason: String| KafkaError::ClientNotCreated { reason };
        let mut config = settings.client_config()?;
        config.set("partition.assignment.strategy", STRATEGIES);
        let consumer: Arc<BaseConsumer<MemberContext>> = Arc::new(
            config
                .create_with_context(MemberContext { base: Context::default(), desk: Arc::new(Desk::new()) })
                .map_err(|error| not_created(error.to_string()))?,
        );
        consumer.subscribe(topics).map_err(|error| not_created(error.to_string()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (Arc::clone(&consumer), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("kafka-member".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    poll(&polled);
                }
            })
            .map_err(|error| not_created(error.to_string()))?;
        info!(group = settings.group_id, ?topics, "joining the consumer group");
        Ok(Self { consumer, stop, thread: Some(thread) })
    }

    /// Waits for a share and takes it; it may be empty, when there are more members than partitions.
    ///
    /// # Errors
    /// [`KafkaError::GroupRefused`] if the coordinator will not have us.
    pub async fn next(&self) -> Result<Held, KafkaError> {
        let desk = &self.consumer.context().desk;
        let mut changes = desk.changes.subscribe();
        loop {
            changes.mark_unchanged();
            {
                let mut state = desk.lock();
                if let Some(reason) = &state.refused {
                    return Err(KafkaError::GroupRefused { reason: reason.clone() });
                }
                if let Some(share) = state.offer.clone() {
                    state.is_held = true;
                    let generation = state.generation;
                    return Ok(Held { consumer: Arc::clone(&self.consumer), generation, share });
                }
            }
            // The sender lives in the consumer's context, so this cannot fail while we are here.
            let _ = changes.changed().await;
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread of the group's member panicked");
        }
    }
}

/// Serves the connection once: rebalances, errors, answers to commits.
fn poll(consumer: &BaseConsumer<MemberContext>) {
    match consumer.poll(POLL_WAIT) {
        // Nothing is ever assigned to this connection, so no record can come.
        Some(Ok(_)) | None => {}
        Some(Err(error)) => {
            let is_refused = matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::GroupAuthorizationFailed
                        | RDKafkaErrorCode::TopicAuthorizationFailed
                        | RDKafkaErrorCode::InconsistentGroupProtocol
                        | RDKafkaErrorCode::FencedInstanceId
                        | RDKafkaErrorCode::Fatal
                )
            );
            if is_refused {
                consumer.context().desk.refuse(error.to_string());
            } else {
                warn!(%error, "the consumer group reported an error");
            }
        }
    }
}

/// A share of the group's partitions. Dropping it tells the group that nothing of it is in flight any more.
pub struct Held {
    consumer: Arc<BaseConsumer<MemberContext>>,
    generation: u64,
    share: Arc<Share>,
}

impl Held {
    /// Returns the partitions.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// Waits until the group wants the share back.
    pub async fn revoked(&self) {
        let desk = &self.consumer.context().desk;
        let mut changes = desk.changes.subscribe();
        while desk.lock().generation == self.generation {
            let _ = changes.changed().await;
        }
    }

    /// Returns what writes the group's offsets while the share is held.
    pub fn hints(&self) -> Hints {
        Hints { consumer: Arc::clone(&self.consumer) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.consumer.context().desk.release();
    }
}

/// Writes a member's group offsets, which only a member may.
#[derive(Clone)]
pub struct Hints {
    consumer: Arc<BaseConsumer<MemberContext>>,
}

impl Hints {
    /// As [`KafkaClient::commit_hint`](super::KafkaClient::commit_hint).
    pub fn commit_hint<'a>(&self, next_offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>) {
        group::send(&self.consumer, next_offsets);
    }
}

/// Where the group's side (the callback) and ours meet.
struct Desk {
    state: Mutex<DeskState>,
    released: Condvar,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct DeskState {
    offer: Option<Arc<Share>>,
    /// Grows with each share given and each taken back.
    generation: u64,
    is_held: bool,
    refused: Option<String>,
}

impl Desk {
    fn new() -> Self {
        Self { state: Mutex::default(), released: Condvar::new(), changes: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut DeskState)) {
        change(&mut self.lock());
        self.changes.send_replace(());
    }

    fn offer(&self, share: Share) {
        self.change(|state| {
            state.offer = Some(Arc::new(share));
            state.generation += 1;
        });
    }

    /// Takes the share back and waits until it is not held any more; false if that took longer than `limit`.
    fn take_back(&self, limit: Duration) -> bool {
        self.change(|state| {
            state.offer = None;
            state.generation += 1;
        });
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.is_held {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.released.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn release(&self) {
        self.lock().is_held = false;
        self.released.notify_all();
    }

    fn refuse(&self, reason: String) {
        self.change(|state| state.refused = Some(reason));
    }
}

/// The callbacks of a member's connection.
struct MemberContext {
    base: Context,
    desk: Arc<Desk>,
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.base.log(level, facility, text);
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        self.base.error(error, reason);
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let answered = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let share = share(partitions);
            info!(?share, "the group gave us partitions");
            // Nothing is assigned to this connection: the reading client gets the partitions, with the table's offsets.
            let answered = consumer.assign(&TopicPartitionList::new());
            self.desk.offer(share);
            answered
        } else {
            info!("the group takes the partitions back");
            if !self.desk.take_back(RELEASE_LIMIT) {
                let seconds = RELEASE_LIMIT.as_secs();
                warn!(
                    seconds,
                    "the last commit is still in flight; giving the partitions back, the table decides who was first"
                );
            }
            consumer.unassign()
        };
        if let Err(error) = answered {
            warn!(%error, "the rebalance was not answered");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        group::log_answer(&result, offsets);
    }
}

fn share(partitions: &TopicPartitionList) -> Share {
    let mut share = Share::new();
    for element in partitions.elements() {
        share.entry(element.topic().to_owned()).or_default().insert(element.partition());
    }
    debug!(num_partitions = partitions.count(), "read the group's share");
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_of(partition: i32) -> Share {
        Share::from([("t".to_owned(), BTreeSet::from([partition]))])
    }

    #[test]
    fn a_share_goes_back_only_when_it_was_released() {
        let desk = Arc::new(Desk::new());
        desk.offer(share_of(1));
        desk.lock().is_held = true;

        assert!(!desk.take_back(Duration::from_millis(1)), "given back while it was held");

        let taker = {
            let desk = Arc::clone(&desk);
            std::thread::spawn(move || desk.take_back(Duration::from_secs(60)))
        };
        desk.release();
        assert!(taker.join().unwrap());
    }

    #[test]
    fn a_share_that_nobody_holds_goes_back_at_once() {
        let desk = Desk::new();
        desk.offer(share_of(1));

        assert!(desk.take_back(Duration::ZERO));
        assert!(desk.lock().offer.is_none(), "a share taken back could still be taken");
    }
}
