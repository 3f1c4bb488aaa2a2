//! Everything that talks to Kafka: reading whole batches without a copy per record, knowing exactly where each
//! partition stands, and knowing which log it is that we read.
//!
//! What it guarantees:
//! * Reading starts at the offsets the caller names and nowhere else. Nothing is subscribed, nothing is reset, no
//!   position is stored by the client library: an offset that is not there is an error event, never a jump.
//! * Every offset from the start to the position is either a record handed out or counted as skipped by the broker
//!   (control records, aborted transactions, compaction): [`Position`].
//! * Unread records stay bounded by the memory given in [`KafkaSettings::queue_bytes`]; whoever stops reading a
//!   [`BatchQueue`] stops its fetching too.
//!
//! What it does not do: decide what to do about a gap, a re-created topic or a record that cannot be decoded.
//! Partitions are assigned by the caller; a consumer group may say which ([`membership`]), never from where.
//!
//! All `unsafe` is in [`batch`] (reading) and `admin` (topic ids and offsets), because the `rdkafka` crate has
//! no binding for these. Calls that wait for a broker block their thread: use `spawn_blocking` from async code.

mod admin;
pub mod batch;
pub mod client;
pub mod config;
#[cfg(test)]
mod fuzz;
pub mod group;
pub mod identity;
pub mod membership;
mod options;
pub mod position;
#[cfg(test)]
mod tests;
pub mod watermarks;

use std::fmt;
use std::time::Duration;

pub use batch::{BatchQueue, Event, PartitionError, Record, TimestampKind, Waker};
pub use client::{Isolation, KafkaClient, KafkaSettings, Server};
pub use identity::{ClusterIdentity, TopicIdentity};
pub use options::{is_secret, option_from_text, options_from_env};
pub use position::{BackwardOffset, Position, Run};
pub use watermarks::{Bounds, Resume};

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Returns the partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where to begin reading a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset to read, >= 0. It need not exist: the next existing record is delivered first.
    pub offset: i64,
}

/// Why something with Kafka did not work.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// Nobody answered in the time given.
    #[error("no broker answered at `{servers}` within {}{}", seconds(*waited), reason(last_error.as_deref()))]
    BrokersUnreachable {
        /// The bootstrap servers asked.
        servers: String,
        /// How long was waited.
        waited: Duration,
        /// What the client library said last, e.g. a refused connection or a failed login.
        last_error: Option<String>,
    },
    /// An option given by the user would break a guarantee, or has a setting of its own.
    #[error("Kafka option `{option}` cannot be set: {reason}")]
    OptionRefused {
        /// The option's librdkafka name.
        option: String,
        /// What it would break, or what to use instead.
        reason: &'static str,
    },
    /// An option is unknown or its value does not fit; the value is left out, it may be a secret.
    #[error("invalid Kafka option `{option}`: {reason}")]
    OptionInvalid {
        /// The option as given.
        option: String,
        /// librdkafka's words.
        reason: String,
    },
    /// The client could not be made from these settings.
    #[error("failed to create the Kafka client: {reason}")]
    ClientNotCreated {
        /// librdkafka's words.
        reason: String,
    },
    /// A partition to read has no valid start or does not exist.
    #[error("failed to assign {partition} at offset {offset}: {reason}")]
    AssignmentFailed {
        /// The partition.
        partition: TopicPartition,
        /// The start asked for.
        offset: i64,
        /// Why not.
        reason: String,
    },
    /// A question to the brokers was not answered.
    #[error("failed to {what} at `{servers}`: {reason}")]
    RequestFailed {
        /// What was asked, e.g. `list offsets`.
        what: &'static str,
        /// The bootstrap servers.
        servers: String,
        /// librdkafka's words.
        reason: String,
        /// Whether asking again may help.
        retryable: bool,
    },
    /// The client library gave up for good; only a new client helps.
    #[error("the Kafka client stopped: {reason}")]
    ClientDead {
        /// librdkafka's words.
        reason: String,
    },
    /// The group's coordinator will not have us.
    #[error("the consumer group refused this worker: {reason}")]
    GroupRefused {
        /// The coordinator's words.
        reason: String,
    },
    /// A record came where none may come; a programming error that must not lose records silently.
    #[error("a record of {partition} at offset {offset} arrived outside of the assigned queues")]
    UnexpectedRecord {
        /// The partition it came from.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
    },
}

impl KafkaError {
    /// Returns whether the same call may succeed later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::BrokersUnreachable { .. } => true,
            Self::RequestFailed { retryable, .. } => *retryable,
            Self::OptionRefused { .. }
            | Self::OptionInvalid { .. }
            | Self::ClientNotCreated { .. }
            | Self::AssignmentFailed { .. }
            | Self::ClientDead { .. }
            | Self::GroupRefused { .. }
            | Self::UnexpectedRecord { .. } => false,
        }
    }
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

fn reason(last_error: Option<&str>) -> String {
    last_error.map_or_else(String::new, |text| format!(" (last error: {text})"))
}
