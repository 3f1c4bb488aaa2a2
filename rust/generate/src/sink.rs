//! Where records go: Kafka, files or standard output.
//!
//! A sink takes records one at a time, in order, and bounds what it holds in memory. `finish` is the promise: when it returns
//! `Ok`, every record that was taken is where it belongs; a sink that cannot promise it returns an error that says how many
//! are missing.

pub mod dimensions;
pub mod files;
pub mod follow;
pub mod kafka;
pub mod layout;
mod part;
mod partition;
mod reach;
pub mod stdout;
mod topics;
mod transactions;

pub use part::Compression;
pub use transactions::Transactions;

use std::{borrow::Cow, path::PathBuf, time::Duration};

use rdkafka::error::KafkaError;

use crate::{checkpoint::CheckpointError, event::Topic, truth::TruthError};

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where to.
    pub topic: Topic,
    /// Message key; files leave it out.
    pub key: Option<&'a [u8]>,
    /// JSON and a newline, unless something is wrong with it; `None` is a tombstone, for files an empty line.
    pub value: Option<&'a [u8]>,
    /// The run that tells it, where that is not the sink's own; files leave it out.
    pub run_id: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// Returns the value as a line of a file, whatever it is: with a newline at its end; a tombstone is an empty line.
    pub fn line(&self) -> Cow<'a, [u8]> {
        let value = self.value.unwrap_or_default();
        if value.ends_with(b"\n") { Cow::Borrowed(value) } else { Cow::Owned([value, b"\n"].concat()) }
    }
}

/// A destination of records.
pub trait Sink {
    /// Takes a record; waits while the sink is full or its reader too far behind.
    ///
    /// # Errors
    /// Any [`SinkError`]; the record then counts as not taken.
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError>;

    /// Spends up to `wait` on what has to be done beside writing (acknowledgements, flushing).
    ///
    /// # Errors
    /// Any [`SinkError`].
    fn idle(&mut self, wait: Duration) -> Result<(), SinkError>;

    /// Waits until everything taken has arrived.
    ///
    /// # Errors
    /// Any [`SinkError`]; [`SinkError::Undelivered`] says how many records did not arrive.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// Makes safe all that was taken, and returns where the destination stands, for a checkpoint: what a sink resumed there cuts
    /// off or goes on from. Null: the destination cannot go back, and what comes after a cut is delivered a second time.
    ///
    /// # Errors
    /// As [`Self::finish`].
    fn mark(&mut self) -> Result<serde_json::Value, SinkError> {
        self.finish()?;
        Ok(serde_json::Value::Null)
    }
}

/// Why a sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Asked to stop while waiting. Not a failure.
    #[error("stopped while waiting for the destination")]
    Stopped,
    /// A file is there already.
    #[error("`{}` exists already", path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// The state of the run could not be saved.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Files are not as the checkpoint left them.
    #[error("`{}` cannot be resumed: {what}", path.display())]
    NotResumable {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The file system refused.
    #[error("failed to write `{}`", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// librdkafka does not know an option, or its value does not fit.
    #[error("invalid Kafka option `{option}`: {reason}")]
    KafkaOption {
        /// The option as given.
        option: String,
        /// librdkafka's words; the value is not among them.
        reason: String,
    },
    /// Standard output cannot be written to.
    #[error("failed to write to standard output")]
    Stdout {
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// librdkafka refused the settings.
    #[error("failed to set up a Kafka client for `{servers}`")]
    KafkaSettings {
        /// Bootstrap servers.
        servers: String,
        /// Which option, and why.
        #[source]
        source: Box<KafkaError>,
    },
    /// Nobody answered in time.
    #[error("no broker answered at `{servers}` within {seconds} s{}", last(last_problem.as_deref()))]
    BrokersUnreachable {
        /// Bootstrap servers.
        servers: String,
        /// How long it was waited.
        seconds: u64,
        /// What the client library said last.
        last_problem: Option<String>,
    },
    /// A login or a certificate was refused, by the broker or by us.
    #[error("the login at `{servers}` failed: {reason}")]
    LoginRefused {
        /// Bootstrap servers.
        servers: String,
        /// What the client library said.
        reason: String,
    },
    /// No answer about a topic.
    #[error("topic `{topic}` did not become available at `{servers}` within {seconds} s")]
    TopicUnavailable {
        /// The topic.
        topic: String,
        /// Bootstrap servers.
        servers: String,
        /// How long it was waited.
        seconds: u64,
        /// The last answer.
        #[source]
        source: Option<Box<KafkaError>>,
    },
    /// A request that is not about one record failed.
    #[error("failed to {action} at `{servers}`")]
    KafkaRequest {
        /// What was tried.
        action: &'static str,
        /// Bootstrap servers.
        servers: String,
        /// The answer.
        #[source]
        source: Box<KafkaError>,
    },
    /// The client refused a record.
    #[error("record of {num_bytes} bytes for topic `{topic}` was refused")]
    RecordRefused {
        /// The topic.
        topic: &'static str,
        /// Size of the value.
        num_bytes: usize,
        /// Why.
        #[source]
        source: Box<KafkaError>,
    },
    /// Records that did not arrive.
    #[error("{count} records were not delivered (first reason: {first_reason})")]
    Undelivered {
        /// How many.
        count: u64,
        /// The reason of the first.
        first_reason: String,
    },
    /// The truth beside the records could not be written.
    #[error(transparent)]
    Truth(TruthError),
    /// The reader does not read.
    #[error(
        "group `{group}` has committed nothing new for {seconds} s while partition `{partition}` holds about {unread_bytes} unread bytes"
    )]
    ReaderStalled {
        /// The consumer group.
        group: String,
        /// Topic and partition.
        partition: String,
        /// Estimate of the stored bytes that the group has not read.
        unread_bytes: u64,
        /// How long it was waited.
        seconds: u64,
    },
    /// The broker dropped records before the reader committed them.
    #[error("the broker dropped {count} records of `{partition}` that group `{group}` had not committed")]
    DroppedUnread {
        /// Topic and partition.
        partition: String,
        /// The consumer group.
        group: String,
        /// How many.
        count: i64,
    },
}

impl SinkError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::FileExists { .. } | Self::Truth(TruthError::Exists { .. }) => {
                Some("name another folder, or add `--overwrite`")
            }
            Self::KafkaOption { .. } | Self::KafkaSettings { .. } => {
                Some("see `--kafka-option`; options are librdkafka's")
            }
            Self::BrokersUnreachable { .. } => Some(
                "is the broker up? check `--bootstrap-servers`, and `security.protocol` if it wants TLS or a login",
            ),
            Self::LoginRefused { .. } => Some(
                "check `sasl.mechanism`, `sasl.username`, `sasl.password`, and `ssl.ca.location` for the broker's \
                 certificate",
            ),
            Self::TopicUnavailable { .. } => Some(
                "create the topic where auto-creation is off, or give the user the right to create topics",
            ),
            Self::KafkaRequest { action, .. } if action.contains("transaction") => Some(
                "readers see nothing of an open transaction; topics and brokers must allow them \
                 (`transaction.state.log.replication.factor` on a single broker)",
            ),
            Self::KafkaRequest { action, .. } if action.contains("create the topics") => {
                Some("check `--topic-config`, `--topic-partitions`, `--retention` and `--replication`")
            }
            Self::ReaderStalled { .. } => Some(
                "start the reader (for instance by materializing `bronze_streaming_job`), name its group with \
                 `--follow-group`, or switch the wait off with `--no-follow` and lose what the broker cannot keep",
            ),
            Self::DroppedUnread { .. } => {
                Some("lower `--max-unread`, or let the reader commit more often; what was dropped is gone")
            }
            _ => None,
        }
    }
}

fn last(problem: Option<&str>) -> String {
    problem.map_or_else(String::new, |text| format!(" (last error: {text})"))
}
