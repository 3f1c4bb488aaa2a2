//! What a run has done, counted commit by commit.
//!
//! Everything here is in the tables already. A run that fails later still reports it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use streamify_core::dead_letter;
use streamify_core::ledger::Ledger;

use crate::buffer::PartitionCut;
use crate::dead_letters::Buried;

/// Snapshot ids kept per table; a service that runs for months must not grow by them.
const MOST_SNAPSHOT_IDS: usize = 1_000;

/// One commit that is in the table.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Topic.
    pub topic: String,
    /// Source epoch.
    pub epoch: u32,
    /// Books.
    pub ledger: Ledger,
    /// Dead letters.
    pub buried: Buried,
    /// Data files of the topic's table.
    pub num_files: u64,
    /// Their bytes.
    pub num_bytes: u64,
    /// How far each partition got.
    pub partitions: Vec<PartitionCut>,
    /// Dead letters by partition.
    pub dead_by_partition: BTreeMap<i32, u64>,
    /// Dead letters by reason.
    pub dead_by_reason: BTreeMap<&'static str, u64>,
    /// The snapshot, if it is known.
    pub snapshot_id: Option<i64>,
    /// Attempts made.
    pub attempts: u32,
    /// Whether an attempt had landed although its answer did not say so.
    pub found: bool,
    /// The catalog's part.
    pub commit_time: Duration,
    /// From the cut to the landing.
    pub cost: Duration,
    /// Kafka timestamps of the oldest and newest record, ms since 1970.
    pub timestamps_ms: Option<(i64, i64)>,
    /// Every record up to here is in the table, ms since 1970.
    pub valid_through_ms: Option<i64>,
    /// When it landed, ms since 1970.
    pub landed_at_ms: i64,
}

/// Counts of one topic.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TopicSummary {
    /// Topic.
    pub topic: String,
    /// Its table.
    pub table: String,
    /// Rows committed.
    pub rows: u64,
    /// Records in the dead-letter table.
    pub dead_letters: u64,
    /// Records delivered by the brokers.
    pub received: u64,
    /// Offsets without a record.
    pub skipped_by_broker: u64,
    /// `received - rows - dead_letters`.
    pub unaccounted: i64,
    /// Data files.
    pub files: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// Commits.
    pub commits: u64,
    /// The last snapshot.
    pub snapshot_id: Option<i64>,
    /// Seconds from cuts to landings, all commits together.
    pub seconds: f64,
    /// Age of the oldest instant not covered, at the last commit; `None` if unknown.
    pub freshness_seconds: Option<f64>,
}

/// Offsets of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OffsetSummary {
    /// Topic.
    pub topic: String,
    /// Source epoch.
    pub epoch: u32,
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// End, exclusive: the next offset to read.
    pub to: i64,
    /// Rows among them.
    pub rows: u64,
}

/// Everything a run has done.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Why it ended.
    pub exit_reason: String,
    /// Version of the worker.
    pub binary_version: &'static str,
    /// Seconds since the start.
    pub seconds: f64,
    /// Seconds from the start to the first commit, if there was one.
    pub first_commit_seconds: Option<f64>,
    /// Most bytes held between Kafka and the store at once.
    pub peak_buffer_bytes: usize,
    /// Sums over all topics; files and bytes of the dead-letter table included.
    pub total: TopicSummary,
    /// By topic.
    pub topics: Vec<TopicSummary>,
    /// By partition.
    pub offsets: Vec<OffsetSummary>,
    /// By table, oldest first.
    pub snapshot_ids: BTreeMap<String, VecDeque<i64>>,
}

/// Collects the commits of a run.
#[derive(Debug)]
pub struct Report {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    topics: Vec<TopicSummary>,
    offsets: BTreeMap<(String, u32, i32), OffsetSummary>,
    snapshot_ids: BTreeMap<String, VecDeque<i64>>,
    dead_letter_files: u64,
    dead_letter_bytes: u64,
    first_commit: Option<Duration>,
    peak_buffer_bytes: usize,
}

impl Report {
    /// Returns an empty report over `(topic, table)`s.
    pub fn new(topics: impl IntoIterator<Item = (String, String)>, started: Instant) -> Self {
        let topics =
            topics.into_iter().map(|(topic, table)| TopicSummary { topic, table, ..TopicSummary::default() });
        Self { started, state: Mutex::new(State { topics: topics.collect(), ..State::default() }) }
    }

    /// Adds a commit.
    pub fn add(&self, committed: &Committed) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.first_commit.get_or_insert(self.started.elapsed());
        for cut in &committed.partitions {
            add_offsets(&mut state.offsets, committed, cut);
        }
        state.dead_letter_files += committed.buried.num_files;
        state.dead_letter_bytes += committed.buried.num_bytes;
        if let Some(id) = committed.buried.snapshot_id {
            push_id(&mut state.snapshot_ids, dead_letter::TABLE, id);
        }
        let Some(topic) = state.topics.iter_mut().find(|topic| topic.topic == committed.topic) else {
            return;
        };
        topic.rows += committed.ledger.rows;
        topic.dead_letters += committed.ledger.dead_letters;
        topic.received += committed.ledger.received;
        topic.skipped_by_broker += committed.ledger.skipped_by_broker;
        topic.unaccounted += committed.ledger.unaccounted();
        topic.files += committed.num_files;
        topic.size_bytes += committed.num_bytes;
        topic.commits += 1;
        topic.seconds += committed.cost.as_secs_f64();
        topic.freshness_seconds =
            committed.valid_through_ms.map(|valid| (committed.landed_at_ms - valid).max(0) as f64 / 1000.0);
        topic.snapshot_id = committed.snapshot_id.or(topic.snapshot_id);
        if let Some(id) = committed.snapshot_id {
            push_id(&mut state.snapshot_ids, &topic.table, id);
        }
    }

    /// Notes the most bytes a session held at once.
    pub fn note_peak(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.peak_buffer_bytes = state.peak_buffer_bytes.max(bytes);
    }

    /// Returns the number of commits so far.
    pub fn num_commits(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.topics.iter().map(|topic| topic.commits).sum()
    }

    /// Returns what was done so far.
    pub fn summary(&self, exit_reason: impl Into<String>) -> Summary {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = TopicSummary::default();
        for topic in &state.topics {
            total.rows += topic.rows;
            total.dead_letters += topic.dead_letters;
            total.received += topic.received;
            total.skipped_by_broker += topic.skipped_by_broker;
            total.unaccounted += topic.unaccounted;
            total.files += topic.files;
            total.size_bytes += topic.size_bytes;
            total.commits += topic.commits;
            total.seconds += topic.seconds;
            // The worst of the topics; one that is unknown leaves the others standing.
            total.freshness_seconds = match (total.freshness_seconds, topic.freshness_seconds) {
                (Some(left), Some(right)) => Some(left.max(right)),
                (left, right) => left.or(right),
            };
        }
        total.files += state.dead_letter_files;
        total.size_bytes += state.dead_letter_bytes;
        Summary {
            exit_reason: exit_reason.into(),
            binary_version: env!("CARGO_PKG_VERSION"),
            seconds: self.started.elapsed().as_secs_f64(),
            peak_buffer_bytes: state.peak_buffer_bytes,
            first_commit_seconds: state.first_commit.map(|time| time.as_secs_f64()),
            total,
            topics: state.topics.clone(),
            offsets: state.offsets.values().cloned().collect(),
            snapshot_ids: state.snapshot_ids.clone(),
        }
    }
}

fn add_offsets(
    offsets: &mut BTreeMap<(String, u32, i32), OffsetSummary>,
    committed: &Committed,
    cut: &PartitionCut,
) {
    if !cut.changes_state() {
        return;
    }
    let key = (committed.topic.clone(), committed.epoch, cut.partition);
    let offset = offsets.entry(key).or_insert_with(|| OffsetSummary {
        topic: committed.topic.clone(),
        epoch: committed.epoch,
        partition: cut.partition,
        from: cut.run.from,
        to: cut.run.to,
        rows: 0,
    });
    offset.to = cut.run.to;
    let dead = committed.dead_by_partition.get(&cut.partition).copied().unwrap_or(0);
    offset.rows += cut.run.received.saturating_sub(dead);
}

fn push_id(ids: &mut BTreeMap<String, VecDeque<i64>>, table: &str, id: i64) {
    let ids = ids.entry(table.to_owned()).or_default();
    if ids.len() == MOST_SNAPSHOT_IDS {
        ids.pop_front();
    }
    ids.push_back(id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Run;

    fn committed(from: i64, to: i64, dead: u64, snapshot_id: i64) -> Committed {
        let received = u64::try_from(to - from).unwrap();
        let run = Run { from, to, received, skipped_by_broker: 0 };
        Committed {
            topic: "t".into(),
            epoch: 0,
            ledger: Ledger {
                offsets: received,
                received,
                rows: received - dead,
                dead_letters: dead,
                skipped_by_broker: 0,
            },
            buried: Buried {
                num_records: dead,
                num_files: u64::from(dead > 0),
                num_bytes: 10,
                ..Buried::default()
            },
            num_files: 1,
            num_bytes: 1_500,
            partitions: vec![PartitionCut {
                partition: 0,
                expected: Some(from),
                run,
                valid_through_ms: Some(1_000),
            }],
            dead_by_partition: BTreeMap::from([(0, dead)]),
            dead_by_reason: BTreeMap::new(),
            snapshot_id: Some(snapshot_id),
            attempts: 1,
            found: false,
            commit_time: Duration::from_millis(5),
            cost: Duration::from_millis(500),
            timestamps_ms: None,
            valid_through_ms: Some(1_000),
            landed_at_ms: 3_500,
        }
    }

    fn report() -> Report {
        Report::new([("t".to_owned(), "bronze_t".to_owned())], Instant::now())
    }

    #[test]
    fn commits_add_up_and_ranges_join() {
        let report = report();
        report.add(&committed(0, 10, 0, 1));
        report.add(&committed(10, 30, 5, 2));

        let summary = report.summary("caught up");

        assert_eq!((summary.total.rows, summary.total.dead_letters, summary.total.unaccounted), (25, 5, 0));
        assert_eq!(
            (summary.total.files, summary.topics[0].files),
            (3, 2),
            "the dead letters' file counts in the total"
        );
        assert_eq!((summary.offsets[0].from, summary.offsets[0].to, summary.offsets[0].rows), (0, 30, 25));
        assert_eq!(summary.snapshot_ids["bronze_t"], [1, 2]);
        assert_eq!(summary.total.freshness_seconds, Some(2.5));
    }

    #[test]
    fn a_run_without_commits_still_has_a_row_for_each_topic() {
        let summary = report().summary("nothing to do");

        assert_eq!(summary.topics.len(), 1);
        assert_eq!(summary.topics[0].table, "bronze_t");
    }
}
