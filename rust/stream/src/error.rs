//! Why a run failed, what a person can do about it, and with which code the process ends.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use streamify_core::contract::ContractError;
use streamify_core::lease::Lease;
use streamify_core::state::SourceIdentity;
use streamify_lake::commit::CommitError;
use streamify_lake::protocol::Refusal;
use streamify_lake::read::ReadError;
use streamify_lake::{FileError, LakeError};
use streamify_pipes::PipesError;
use streamify_process::ProcessError;
use streamify_runtime::{ExitCode, RuntimeError};

use crate::kafka::{BackwardOffset, KafkaError, TopicPartition};
use crate::settings::SettingsError;

/// Offsets of one partition that the topic no longer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub partition: TopicPartition,
    /// First offset not in the table.
    pub next: i64,
    /// First offset still in the topic.
    pub earliest: i64,
}

impl Gap {
    /// Returns the number of offsets between.
    pub fn num_missing(&self) -> i64 {
        self.earliest - self.next
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (next, earliest) = (self.next, self.earliest);
        write!(f, "{}: [{next}, {earliest}), {} offsets", self.partition, self.num_missing())
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A setting cannot be meant.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The lake's settings cannot be meant.
    #[error(transparent)]
    LakeSettings(#[from] streamify_lake::settings::SettingsError),
    /// The contracts cannot be used.
    #[error(transparent)]
    Contracts(#[from] ContractError),
    /// A topic was asked for that has no contract.
    #[error("topic `{topic}` has no contract (contracts: {known})")]
    UnknownTopic {
        /// the topic asked for
        topic: String,
        /// topics that have one
        known: String,
    },
    /// The process frame could not be set up.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The Dagster channel does not work.
    #[error(transparent)]
    Pipes(#[from] PipesError),
    /// There is no embedded broker, and none was named.
    #[error("no embedded broker is running: `{}` {problem}", path.display())]
    EmbeddedBrokerMissing {
        /// where it says how to reach it
        path: PathBuf,
        /// what is wrong with the file
        problem: String,
    },
    /// Something with Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Topics do not exist.
    #[error("{} in Kafka after {} s", missing(topics), waited.as_secs())]
    TopicsMissing {
        /// their names
        topics: Vec<String>,
        /// how long was waited for them
        waited: Duration,
    },
    /// The lake cannot be used.
    #[error("failed to {what}")]
    Lake {
        /// what was tried
        what: String,
        /// why not
        #[source]
        source: LakeError,
    },
    /// Rows of a table cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A commit did not land.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Another writer has a table.
    #[error("table `{table}`: another writer holds the lease: {lease}")]
    LeaseHeld {
        /// table
        table: String,
        /// whose, and until when
        lease: Box<Lease>,
    },
    /// A table has rows that this worker's kind did not write.
    #[error("table `{table}` was filled by another pipeline: {found}")]
    ForeignTable {
        /// table
        table: String,
        /// what was found in it
        found: String,
    },
    /// Such a table cannot be taken over as wanted.
    #[error("table `{table}` cannot be adopted: {problem}")]
    CannotAdopt {
        /// table
        table: String,
        /// why not
        problem: String,
    },
    /// A range cannot be read again into a table.
    #[error("cannot replay into table `{table}`: {problem}")]
    CannotReplay {
        /// the staging table
        table: String,
        /// why not
        problem: String,
    },
    /// The topic is not the one the table was filled from.
    #[error(
        "topic `{topic}` is not the one that table `{table}` was filled from: stored {stored}, found {found}"
    )]
    SourceChanged {
        /// topic
        topic: String,
        /// its table
        table: String,
        /// identity in the table
        stored: SourceIdentity,
        /// identity found
        found: SourceIdentity,
    },
    /// Offsets that were not read are gone.
    #[error("records are missing that were not read before the topic dropped them: {}", joined(gaps))]
    Gaps {
        /// per partition
        gaps: Vec<Gap>,
    },
    /// The topic ends before the offset the table is at.
    #[error("{partition} ends at offset {high_watermark}, but the table is at {next} already")]
    Regression {
        /// partition
        partition: TopicPartition,
        /// first offset not in the table
        next: i64,
        /// end of the log
        high_watermark: i64,
    },
    /// The brokers passed over offsets without a reason we know.
    #[error(
        "{partition}: the brokers delivered no record for {skipped} offsets in [{from}, {to}), and the topic is not compacted"
    )]
    Skipped {
        /// partition
        partition: TopicPartition,
        /// start of the range
        from: i64,
        /// its end, exclusive
        to: i64,
        /// offsets without a record
        skipped: u64,
    },
    /// A partition cannot be read any more.
    #[error("failed to read {partition}: {reason}")]
    PartitionFailed {
        /// partition
        partition: TopicPartition,
        /// what the client says
        reason: String,
        /// whether reading again from the table's offsets may help
        retryable: bool,
    },
    /// The order of a partition is broken.
    #[error("{partition} went backwards")]
    Backward {
        /// partition
        partition: TopicPartition,
        /// how
        #[source]
        source: BackwardOffset,
    },
    /// Columns could not be built or sorted.
    #[error("failed to build the rows of topic `{topic}`")]
    Rows {
        /// topic
        topic: String,
        /// why
        #[source]
        source: arrow::error::ArrowError,
    },
    /// A data file could not be written.
    #[error("failed to write a data file of table `{table}`")]
    File {
        /// table
        table: String,
        /// why
        #[source]
        source: FileError,
    },
    /// Brokers, store or catalog were away too long.
    #[error("gave up after {} s: {what}", waited.as_secs())]
    OutageTooLong {
        /// what was away
        what: String,
        /// how long
        waited: Duration,
    },
    /// A part of the worker stopped without saying why.
    #[error("{part} stopped unexpectedly")]
    Stopped {
        /// which part
        part: String,
    },
    /// The last commit did not end in the time a shutdown has.
    #[error("the last commit was not done {} s after the stop signal", waited.as_secs())]
    ShutdownTooSlow {
        /// how long was waited
        waited: Duration,
    },
    /// The final summary could not be written.
    #[error("failed to write the summary to `{}`", path.display())]
    Summary {
        /// file
        path: PathBuf,
        /// why
        #[source]
        source: std::io::Error,
    },
}

impl StreamError {
    /// Returns whether reading again from the offsets in the tables may help, in this process.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Kafka(error) => error.is_retryable() || matches!(error, KafkaError::ClientDead { .. }),
            Self::Lake { source, .. } => source.is_retryable(),
            Self::File { source, .. } => source.is_retryable(),
            Self::PartitionFailed { retryable, .. } => *retryable,
            // The store may be away for a moment; what is truly broken ends the run after `--commit-timeout`.
            Self::TopicsMissing { .. } | Self::Read(_) => true,
            _ => false,
        }
    }

    /// Returns whether another writer was first with a range of ours.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Commit(CommitError::Refused { refusal: Refusal::Fenced { .. }, .. }))
    }

    /// Returns the code the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::LakeSettings(_)
            | Self::Contracts(_)
            | Self::UnknownTopic { .. }
            | Self::CannotReplay { .. } => ExitCode::BadSettings,
            Self::Kafka(KafkaError::OptionRefused { .. } | KafkaError::OptionInvalid { .. }) => {
                ExitCode::BadSettings
            }
            Self::Runtime(RuntimeError::LogFilter { .. }) => ExitCode::BadSettings,
            Self::ForeignTable { .. }
            | Self::LeaseHeld { .. }
            | Self::CannotAdopt { .. }
            | Self::SourceChanged { .. }
            | Self::Gaps { .. }
            | Self::Regression { .. }
            | Self::Skipped { .. } => ExitCode::NeedsDecision,
            Self::Lake { source: LakeError::SchemaMismatch { .. }, .. } => ExitCode::NeedsDecision,
            Self::Commit(error) if error.needs_decision() => ExitCode::NeedsDecision,
            _ => ExitCode::Failure,
        }
    }

    /// Returns what to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Commit(error) => return error.hint().map(|hint| hint.to_string()),
            Self::Kafka(KafkaError::BrokersUnreachable { .. }) => {
                "check `KAFKA_BOOTSTRAP_SERVERS`, that the brokers' advertised addresses can be reached from here, and, where they want TLS or a login, `STREAMIFY_KAFKA_SECURITY_PROTOCOL` and its companions; `--connect-timeout` says how long to wait"
            }
            Self::EmbeddedBrokerMissing { .. } => {
                "start one with `streamify-generate broker` (or `make demo`), or name a real one by `KAFKA_BOOTSTRAP_SERVERS`"
            }
            Self::TopicsMissing { .. } => "create them, or name the topics to read with `--topics`",
            Self::UnknownTopic { .. } => "a topic needs a contract file; name the folder with `--contracts`",
            Self::LeaseHeld { .. } => {
                "stop that worker first (`streamify-stream status` shows the leases); one that was killed on another machine is waited for until its lease runs out; if it is surely gone, rerun with `--take-over`"
            }
            Self::ForeignTable { .. } => {
                "stop the other pipeline, then run once with `--adopt-table from-offset-columns` (goes on after the largest offset in the table), `--adopt-table earliest` (reads the whole topic; silver drops what is there twice) or `--adopt-table latest` (only what comes from now on)"
            }
            Self::CannotAdopt { .. } => {
                "choose another `--adopt-table`, or let the contract name another table and leave this one as it is"
            }
            Self::Lake { source: LakeError::SchemaMismatch { .. }, .. } => {
                "a column of another kind cannot be changed in place (a timestamp without zone, say, does not tell its instant): rewrite the table with the wanted type, or let the contract name another table"
            }
            Self::SourceChanged { .. } => {
                "if the topic was deleted and made anew, or the cluster replaced, on purpose: rerun with `--adopt-new-topic`; rows already stored stay, under their source epoch"
            }
            Self::Gaps { .. } => {
                "the topic's retention is shorter than the outage; rerun with `--on-gap accept` to record the gap and go on from what is left"
            }
            Self::Regression { .. } => {
                "the brokers lost records, or the topic was made anew on a cluster without topic ids; find out which, then rerun with `--adopt-new-topic` to read it from its start as a new source epoch"
            }
            Self::Skipped { .. } => {
                "if the producers of the topic use transactions this is normal: rerun with `--on-skip accept`; otherwise the brokers lost records"
            }
            Self::ShutdownTooSlow { .. } => {
                "nothing is lost: the next run reads what was not committed again"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl ProcessError for StreamError {
    fn hint(&self) -> Option<String> {
        self.hint()
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

fn missing(topics: &[String]) -> String {
    let names = topics.iter().map(|topic| format!("`{topic}`")).collect::<Vec<_>>().join(", ");
    if topics.len() == 1 {
        format!("topic {names} does not exist")
    } else {
        format!("topics {names} do not exist")
    }
}

fn joined(gaps: &[Gap]) -> String {
    gaps.iter().map(Gap::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap() -> StreamError {
        let partition = TopicPartition::new("listen_events", 7);
        StreamError::Gaps { gaps: vec![Gap { partition, next: 1205, earliest: 1390 }] }
    }

    #[test]
    fn a_gap_names_the_offsets_and_needs_a_decision() {
        assert_eq!(
            gap().to_string(),
            "records are missing that were not read before the topic dropped them: listen_events/7: [1205, 1390), 185 offsets"
        );
        assert_eq!(gap().exit_code(), ExitCode::NeedsDecision);
        assert!(gap().hint().unwrap().contains("--on-gap accept"));
        assert!(!gap().is_retryable());
    }

    #[test]
    fn settings_end_with_their_own_code() {
        let error = StreamError::UnknownTopic { topic: "x".into(), known: "`listen_events`".into() };
        assert_eq!(error.exit_code(), ExitCode::BadSettings);
        let error = StreamError::Kafka(KafkaError::OptionRefused { option: "x".into(), reason: "y" });
        assert_eq!(error.exit_code(), ExitCode::BadSettings);
    }

    #[test]
    fn missing_topics_are_listed() {
        let error = StreamError::TopicsMissing {
            topics: vec!["a".into(), "b".into()],
            waited: Duration::from_secs(60),
        };
        assert_eq!(error.to_string(), "topics `a`, `b` do not exist in Kafka after 60 s");
        assert_eq!(error.exit_code(), ExitCode::Failure);
    }
}
