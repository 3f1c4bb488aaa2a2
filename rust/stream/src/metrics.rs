//! Metrics, in Prometheus' base units, with few labels.
//!
//! All names stand in [`name`]. Counters of the way in are kept by topic index, so that an intake thread adds one number
//! per batch and takes no lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use streamify_lake::commit::CommitError;

use crate::error::StreamError;
use crate::report::Committed;

/// Names of all metrics; counters get `_total` appended when they are written.
pub mod name {
    /// Records in the log that are not in the table, by topic and partition.
    pub const LAG_RECORDS: &str = "streamify_kafka_lag_records";
    /// Seconds until the topic's retention may delete the first record that is not in the table, by topic and partition.
    pub const HEADROOM: &str = "streamify_retention_headroom_seconds";
    /// Age of the newest record in the table, by topic.
    pub const LAG_SECONDS: &str = "streamify_lag_seconds";
    /// Records read and not in a table yet.
    pub const UNCOMMITTED: &str = "streamify_uncommitted_records";
    /// Age of the instant up to which the table is complete.
    pub const FRESHNESS: &str = "streamify_table_freshness_seconds";
    /// From a record's Kafka timestamp to its snapshot; the oldest and newest record of each commit.
    pub const EVENT_TO_SNAPSHOT: &str = "streamify_event_to_snapshot_seconds";
    /// The catalog's part of a commit.
    pub const COMMIT_SECONDS: &str = "streamify_commit_seconds";
    /// Commits by result: `ok`, `conflict`, `unknown`, `fenced`, `failed`.
    pub const COMMITS: &str = "streamify_commits";
    /// Records in the dead-letter table, by topic and reason.
    pub const DEAD_LETTERS: &str = "streamify_dlq_records";
    /// Bytes of the data files of a commit, divided by their number.
    pub const FILE_BYTES: &str = "streamify_file_bytes";
    /// `received - rows - dead letters` over all commits; anything but 0 is a fault.
    pub const UNACCOUNTED: &str = "streamify_ledger_unaccounted_records";
    /// Records delivered by the brokers, by topic.
    pub const RECEIVED: &str = "streamify_received_records";
    /// Rows committed, by table.
    pub const ROWS: &str = "streamify_rows";
    /// Bytes held between Kafka and the store.
    pub const BUDGET_USED: &str = "streamify_buffer_bytes";
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeadLetterLabels {
    topic: String,
    reason: &'static str,
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// All metrics of a run.
pub struct Metrics {
    lag_records: Family<PartitionLabels, Gauge>,
    headroom: Family<PartitionLabels, FloatGauge>,
    lag_seconds: Family<TopicLabel, FloatGauge>,
    uncommitted: Gauge<i64, AtomicI64>,
    freshness: Family<TableLabel, FloatGauge>,
    event_to_snapshot: Histogram,
    commit_seconds: Histogram,
    commits: Family<ResultLabel, Counter>,
    dead_letters: Family<DeadLetterLabels, Counter>,
    file_bytes: Histogram,
    unaccounted: Gauge<i64, AtomicI64>,
    received: Vec<Counter>,
    rows: Family<TableLabel, Counter>,
    budget_used: Gauge<i64, AtomicI64>,
    /// By topic and table.
    instants: Mutex<BTreeMap<(String, String), Instants>>,
}

/// Instants of a table, ms since 1970.
#[derive(Default)]
struct Instants {
    /// Newest Kafka timestamp in the table.
    newest: Option<i64>,
    /// Up to here it is complete.
    valid_through: Option<i64>,
    /// The same by partition.
    by_partition: BTreeMap<i32, i64>,
}

impl Metrics {
    /// Registers the metrics of a run over `topics`.
    pub fn new(registry: &mut Registry, topics: &[String]) -> Self {
        let received = Family::<TopicLabel, Counter>::default();
        let metrics = Self {
            lag_records: Family::default(),
            headroom: Family::default(),
            lag_seconds: Family::default(),
            uncommitted: Gauge::default(),
            freshness: Family::default(),
            event_to_snapshot: Histogram::new(exponential_buckets(0.1, 2.0, 16)),
            commit_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            commits: Family::default(),
            dead_letters: Family::default(),
            file_bytes: Histogram::new(exponential_buckets(10_000.0, 4.0, 10)),
            unaccounted: Gauge::default(),
            received: topics
                .iter()
                .map(|topic| received.get_or_create(&TopicLabel { topic: topic.clone() }).clone())
                .collect(),
            rows: Family::default(),
            budget_used: Gauge::default(),
            instants: Mutex::default(),
        };
        let m = &metrics;
        registry.register(
            name::LAG_RECORDS,
            "Records in the log that are not in the table",
            m.lag_records.clone(),
        );
        registry.register(
            name::HEADROOM,
            "Until the topic's retention may delete a record that is not in the table",
            m.headroom.clone(),
        );
        registry.register(name::LAG_SECONDS, "Age of the newest record in the table", m.lag_seconds.clone());
        registry.register(name::UNCOMMITTED, "Records read and not in a table yet", m.uncommitted.clone());
        registry.register(
            name::FRESHNESS,
            "Age of the instant up to which the table is complete",
            m.freshness.clone(),
        );
        registry.register(
            name::EVENT_TO_SNAPSHOT,
            "From the Kafka timestamp to the snapshot, oldest and newest record of each commit",
            m.event_to_snapshot.clone(),
        );
        registry.register(name::COMMIT_SECONDS, "The catalog's part of a commit", m.commit_seconds.clone());
        registry.register(name::COMMITS, "Commits by result", m.commits.clone());
        registry.register(
            name::DEAD_LETTERS,
            "Records in the dead-letter table, by topic and reason",
            m.dead_letters.clone(),
        );
        registry.register(name::FILE_BYTES, "Mean size of the data files of a commit", m.file_bytes.clone());
        registry.register(name::UNACCOUNTED, "Records neither row nor dead letter", m.unaccounted.clone());
        registry.register(name::RECEIVED, "Records delivered by the brokers", received);
        registry.register(name::ROWS, "Rows committed", m.rows.clone());
        registry.register(name::BUDGET_USED, "Bytes held between Kafka and the store", m.budget_used.clone());
        metrics
    }

    /// Counts records of the topic with this index.
    pub fn received(&self, topic: usize, num_records: u64) {
        if num_records == 0 {
            return;
        }
        if let Some(counter) = self.received.get(topic) {
            counter.inc_by(num_records);
        }
        self.uncommitted.inc_by(num_records.cast_signed());
    }

    /// Forgets the records that were read and not committed: their reading begins anew.
    pub fn reading_begins(&self) {
        self.uncommitted.set(0);
    }

    /// Counts a commit.
    pub fn committed(&self, table: &str, committed: &Committed) {
        let result = if committed.found { "unknown" } else { "ok" };
        self.commits.get_or_create(&ResultLabel { result }).inc();
        let conflicts = u64::from(committed.attempts.saturating_sub(1));
        self.commits.get_or_create(&ResultLabel { result: "conflict" }).inc_by(conflicts);
        self.commit_seconds.observe(committed.commit_time.as_secs_f64());
        self.uncommitted.dec_by(committed.ledger.received.cast_signed());
        self.unaccounted.inc_by(committed.ledger.unaccounted());
        self.rows.get_or_create(&TableLabel { table: table.to_owned() }).inc_by(committed.ledger.rows);
        for (reason, number) in &committed.dead_by_reason {
            let labels = DeadLetterLabels { topic: committed.topic.clone(), reason };
            self.dead_letters.get_or_create(&labels).inc_by(*number);
        }
        if let Some(mean) = committed.num_bytes.checked_div(committed.num_files) {
            self.file_bytes.observe(mean as f64);
        }
        if let Some((oldest, newest)) = committed.timestamps_ms {
            for timestamp_ms in [oldest, newest] {
                self.event_to_snapshot.observe(age(committed.landed_at_ms, timestamp_ms));
            }
        }
        let mut instants = self.instants.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = instants.entry((committed.topic.clone(), table.to_owned())).or_default();
        entry.newest = entry.newest.max(committed.timestamps_ms.map(|(_, newest)| newest));
        entry.valid_through = committed.valid_through_ms.or(entry.valid_through);
        let valid =
            committed.partitions.iter().filter_map(|cut| Some((cut.partition, cut.valid_through_ms?)));
        entry.by_partition.extend(valid);
    }

    /// Counts a commit that did not land.
    pub fn commit_failed(&self, error: &StreamError) {
        let result = match error {
            StreamError::Commit(CommitError::Refused { .. })
                if error.exit_code() == streamify_runtime::ExitCode::NeedsDecision =>
            {
                "fenced"
            }
            _ => "failed",
        };
        self.commits.get_or_create(&ResultLabel { result }).inc();
    }

    /// Sets the lag of a partition, in records.
    pub fn lag(&self, topic: &str, partition: i32, records: i64) {
        let labels = PartitionLabels { topic: topic.to_owned(), partition };
        self.lag_records.get_or_create(&labels).set(records);
    }

    /// Sets how long a partition's first uncommitted record is safe: it is not older than the newest committed one, and
    /// `retention_ms` is the least time it is kept. Below 0 records are being lost. Without lag nothing is at risk.
    pub fn headroom(&self, topic: &str, partition: i32, lag: i64, retention_ms: i64, now_ms: i64) {
        let instants = self.instants.lock().unwrap_or_else(PoisonError::into_inner);
        let of_topic = instants.iter().find(|((known, _), _)| known == topic);
        let valid = of_topic.and_then(|(_, instants)| instants.by_partition.get(&partition));
        let left_ms = match (lag, valid) {
            (0, _) => retention_ms,
            (_, Some(valid)) => valid + retention_ms - now_ms,
            (_, None) => return,
        };
        let labels = PartitionLabels { topic: topic.to_owned(), partition };
        self.headroom.get_or_create(&labels).set(left_ms as f64 / 1000.0);
    }

    /// Brings the gauges that are ages up to date.
    pub fn tick(&self, now_ms: i64, budget_used: usize) {
        self.budget_used.set(i64::try_from(budget_used).unwrap_or(i64::MAX));
        for ((topic, table), Instants { newest, valid_through, .. }) in
            self.instants.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            if let Some(newest) = newest {
                self.lag_seconds
                    .get_or_create(&TopicLabel { topic: topic.clone() })
                    .set(age(now_ms, *newest));
            }
            if let Some(valid) = valid_through {
                self.freshness.get_or_create(&TableLabel { table: table.clone() }).set(age(now_ms, *valid));
            }
        }
    }
}

/// Seconds between two instants in ms, never below 0: clocks of two machines differ.
fn age(now_ms: i64, then_ms: i64) -> f64 {
    (now_ms - then_ms).max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_is_what_retention_leaves_of_the_first_uncommitted_record() {
        let metrics = Metrics::new(&mut Registry::default(), &["t".to_owned()]);
        let entry = Instants { by_partition: BTreeMap::from([(3, 1_000_000)]), ..Instants::default() };
        metrics.instants.lock().unwrap().insert(("t".to_owned(), "bronze_t".to_owned()), entry);
        let read = |partition| {
            let labels = PartitionLabels { topic: "t".to_owned(), partition };
            metrics.headroom.get(&labels).map(|gauge| gauge.get())
        };

        metrics.headroom("t", 3, 7, 60_000, 1_010_000);
        assert_eq!(read(3), Some(50.0));
        metrics.headroom("t", 3, 7, 60_000, 1_070_000);
        assert_eq!(read(3), Some(-10.0), "records are being lost");
        metrics.headroom("t", 3, 0, 60_000, 1_070_000);
        assert_eq!(read(3), Some(60.0), "nothing is at risk");
        metrics.headroom("t", 4, 7, 60_000, 1_070_000);
        assert_eq!(read(4), None, "nothing is known before the first commit");
    }
}
