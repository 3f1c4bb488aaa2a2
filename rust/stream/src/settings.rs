//! The settings of a run: what the command line ([`Cli`](crate::cli::Cli)) means, checked, passed down by value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use streamify_lake::protocol::ResumeFrom;
use uuid::Uuid;

use crate::kafka::{self, Isolation};

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// When everything that was in the topics at the start is committed.
    CaughtUp,
}

/// Stop, or go on and record it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Stop with exit code 3.
    Fail,
    /// Go on, with a warning and a record in the snapshot summary.
    Accept,
}

/// Where to go on with a table that another pipeline filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AdoptTable {
    /// After the largest offset that its rows hold, per partition.
    FromOffsetColumns,
    /// At the start of the topic: silver drops what is in the table already.
    Earliest,
    /// At the end of the topic as it is now.
    Latest,
}

/// Reads a range of one topic again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The table that is filled.
    pub staging: String,
    /// The topic's own table; set when the topic's contract is found.
    pub target: String,
    /// What is read.
    pub range: Range,
}

/// Which records are read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// These offsets by partition, first and end (exclusive).
    Offsets(BTreeMap<i32, [i64; 2]>),
    /// All that may hold events of these days, first and last (days since 1970).
    Days([i32; 2]),
}

/// Which partitions of the topics are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// All.
    All,
    /// These of every topic.
    Static(BTreeSet<i32>),
    /// Those that the consumer group gives this worker.
    Group,
}

/// Where the records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Brokers given by the user.
    Brokers(String),
    /// The embedded broker, whatever port it has now.
    Embedded,
}

/// The settings of a run, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the records come from.
    pub source: Source,
    /// Overrides the cluster id.
    pub source_id: Option<String>,
    /// Topics to read; empty: all that have a contract.
    pub topics: Vec<String>,
    /// Folder of contracts instead of the built-in ones.
    pub contracts: Option<PathBuf>,
    /// A range to read again, into a table of its own.
    pub replay: Option<Replay>,
    /// Partitions to read.
    pub assignment: Assignment,
    /// Which records of transactions are read.
    pub isolation: Isolation,
    /// librdkafka options passed through.
    pub kafka_options: KafkaOptions,
    /// Group that is told the committed offsets.
    pub group_id: Option<String>,
    /// Whether to end when caught up.
    pub until: Option<Until>,
    /// End after this time.
    pub max_duration: Option<Duration>,
    /// Longest time from arrival to readable row.
    pub freshness: Duration,
    /// Size at which a file is closed, in bytes.
    pub file_size: u64,
    /// How the memory limit is shared out.
    pub memory: Memory,
    /// Threads that read and decode.
    pub decode_threads: usize,
    /// Files open at once.
    pub open_files: usize,
    /// How far event times may lie after the Kafka timestamp.
    pub max_event_time_ahead: Duration,
    /// What to do at a retention gap.
    pub on_gap: Policy,
    /// What to do at offsets passed over by the brokers.
    pub on_skip: Policy,
    /// Whether to open a new epoch for a changed source.
    pub adopt_new_topic: bool,
    /// Where to go on with tables that another pipeline filled; `None`: they are refused.
    pub adopt_table: Option<AdoptTable>,
    /// Which state holds for a rolled-back table.
    pub resume_from: Option<ResumeFrom>,
    /// Longest wait at the start.
    pub connect_timeout: Duration,
    /// Longest wait during the run.
    pub commit_timeout: Duration,
    /// Conflicts one commit may meet.
    pub commit_retries: u32,
    /// How long a lease holds; `None`: none is taken.
    pub lease_time: Option<Duration>,
    /// Whether to take the place of a writer that holds a lease.
    pub take_over: bool,
    /// Names this run in leases and commits.
    pub writer_id: Uuid,
    /// The Dagster run that launched this one.
    pub dagster_run_id: Option<String>,
    /// Folder of everything embedded.
    pub home: PathBuf,
    /// Makes the worker lose one record on purpose, to prove that the ledger notices. No flag sets this.
    pub drop_record_for_test: bool,
}

/// librdkafka options; secrets among them are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaOptions(pub BTreeMap<String, String>);

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value): (&String, &String)| {
            (key.clone(), if kafka::is_secret(key) { "[redacted]".to_owned() } else { value.clone() })
        };
        f.debug_map().entries(self.0.iter().map(shown)).finish()
    }
}

/// Shares of the memory limit, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Unread records in the Kafka client.
    pub kafka_queue: usize,
    /// Everything between decoding and the store; the limit of the [`Budget`](crate::budget::Budget).
    pub pipeline: usize,
}

impl Memory {
    /// Code, stacks, TLS, encoders, batches in the hands of the client libraries, and what the allocator keeps: measured.
    const BASE: u64 = 112_000_000;
    /// The least that the buffers get.
    const LEAST_FREE: u64 = 16_000_000;

    /// Shares out a limit for the whole process.
    pub fn share(limit: u64) -> Self {
        // A sixth for the holes that buffers of changing sizes leave in the heap.
        let free = (limit.saturating_sub(Self::BASE) / 6 * 5).max(Self::LEAST_FREE);
        // A larger queue reads no faster (one fetch in flight per broker is enough), it only takes from the buffers.
        let kafka_queue = (free / 6).clamp(4_000_000, 32_000_000);
        Self { kafka_queue: bytes(kafka_queue), pipeline: bytes(free - kafka_queue) }
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A setting that cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value is out of its range.
    #[error("invalid `{flag}`: {problem}")]
    Invalid {
        /// the flag
        flag: &'static str,
        /// what is wrong and what is expected
        problem: String,
    },
    /// A Kafka option cannot be given.
    #[error("invalid Kafka option")]
    KafkaOption(#[source] kafka::KafkaError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_memory_stay_within_the_limit() {
        for limit in [128_000_000, 192_000_000, 1_000_000_000] {
            let memory = Memory::share(limit);
            assert!(
                (memory.kafka_queue + memory.pipeline) as u64 + Memory::BASE <= limit,
                "{limit}: {memory:?}"
            );
            assert!(memory.pipeline > memory.kafka_queue, "{limit}: {memory:?}");
        }
    }
}
