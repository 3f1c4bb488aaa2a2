//! Where the statistics read from.

pub mod files;
pub mod kafka;

use std::path::PathBuf;

use rdkafka::error::KafkaError;

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file system refused, or the compressed data are damaged.
    #[error("failed to read `{}`", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing to read.
    #[error("no file with events in `{}`", path.display())]
    NoFile {
        /// The folder.
        path: PathBuf,
    },
    /// librdkafka does not know an option, or its value does not fit.
    #[error("invalid Kafka option `{option}`: {reason}")]
    KafkaOption {
        /// The option as given.
        option: String,
        /// librdkafka's words; the value is not among them.
        reason: String,
    },
    /// Kafka refused a request.
    #[error("failed to {action} at `{servers}`")]
    Kafka {
        /// What was tried.
        action: String,
        /// Bootstrap servers.
        servers: String,
        /// The answer.
        #[source]
        source: Box<KafkaError>,
    },
    /// None of the topics exists.
    #[error("none of the topics {topics} exists at `{servers}`")]
    NoTopic {
        /// The topics.
        topics: String,
        /// Bootstrap servers.
        servers: String,
    },
    /// Records that were promised do not come.
    #[error("no record from `{servers}` for {seconds} s, {partitions} partitions are not read to their end")]
    Stalled {
        /// Bootstrap servers.
        servers: String,
        /// How long it was waited.
        seconds: u64,
        /// How many partitions are left.
        partitions: usize,
    },
    /// Asked to stop.
    #[error("stopped before everything was read")]
    Stopped,
}

impl InputError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoFile { .. } => Some("expected JSON lines: plain, .gz or .zst"),
            Self::NoTopic { .. } => Some("name other topics with `--topic`"),
            Self::Kafka { .. } | Self::Stalled { .. } => {
                Some("is the broker up? check `--bootstrap-servers`")
            }
            Self::KafkaOption { .. } => Some("see `--kafka-option`; options are librdkafka's"),
            Self::File { .. } | Self::Stopped => None,
        }
    }
}
