//! What the user can set: flags, each with an environment form (but those of a replay, which is for one run).
//!
//! [`Cli`] is the text of the command line. Everything that can be seen to be wrong without asking a server is refused
//! here, naming the flag; the process then ends with exit code 2.

mod check;
mod parse;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use streamify_lake::protocol::ResumeFrom;
use streamify_runtime::LogFormat;
use streamify_runtime::settings::{parse_bytes, parse_duration};

use self::parse::{parse_days, parse_offsets, parse_partitions};
use uuid::Uuid;

use crate::kafka::{self, Isolation};
use crate::settings::{
    AdoptTable, Assignment, KafkaOptions, Memory, Policy, Range, Replay, Settings, SettingsError, Source,
    Until,
};

/// Lands Kafka topics in Apache Iceberg tables, each record exactly once.
///
/// Offsets live in the tables: a run goes on where the last commit ended, whatever happened in between. Without
/// KAFKA_BOOTSTRAP_SERVERS the embedded broker is used, without POLARIS_URI a local warehouse; both under
/// STREAMIFY_HOME.
#[derive(Clone, Debug, Parser)]
#[command(name = "streamify-stream", version, after_long_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do instead of landing records.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Kafka brokers as host:port, separated by commas [default: the embedded broker under STREAMIFY_HOME]
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,...", help_heading = "Source")]
    pub bootstrap_servers: Option<String>,

    /// Topics to read, separated by commas [default: every topic that has a contract]
    #[arg(
        long,
        env = "STREAMIFY_TOPICS",
        value_delimiter = ',',
        value_name = "TOPIC,...",
        help_heading = "Source"
    )]
    pub topics: Vec<String>,

    /// Folder with contract files, one TOML file per topic, instead of the built-in contracts
    #[arg(long, env = "STREAMIFY_CONTRACTS", value_name = "DIR", help_heading = "Source")]
    pub contracts: Option<PathBuf>,

    /// Partitions of every topic to read, e.g. `0-3,7`: a static share for one of several workers [default: all]
    #[arg(long, env = "STREAMIFY_PARTITIONS", value_name = "LIST", value_parser = parse_partitions, help_heading = "Source")]
    pub partitions: Option<Partitions>,

    /// Who decides which partitions this worker reads: `group` shares them out among all workers with the same --group-id;
    /// where to begin still stands in the tables
    #[arg(long, env = "STREAMIFY_ASSIGNMENT", value_enum, default_value_t = AssignmentChoice::All, conflicts_with = "partitions", value_name = "WHO", help_heading = "Source")]
    pub assignment: AssignmentChoice,

    /// Which records of transactions to read
    #[arg(long, env = "STREAMIFY_ISOLATION", value_enum, default_value_t = IsolationChoice::ReadCommitted, help_heading = "Source")]
    pub isolation: IsolationChoice,

    /// Further librdkafka option as key=value, repeatable; in the environment STREAMIFY_KAFKA_<KEY>, with `_` for `.`
    #[arg(long = "kafka-option", value_name = "KEY=VALUE", help_heading = "Source")]
    pub kafka_options: Vec<String>,

    /// Consumer group that is told the committed offsets, for lag tools; empty: tell nobody
    #[arg(
        long,
        env = "STREAMIFY_GROUP_ID",
        default_value = "streamify",
        value_name = "GROUP",
        help_heading = "Source"
    )]
    pub group_id: String,

    /// Identity of the source, instead of the cluster id that the brokers tell
    #[arg(long, env = "STREAMIFY_SOURCE_ID", value_name = "ID", help_heading = "Source")]
    pub source_id: Option<String>,

    /// End by itself: `caught-up` ends when the end offsets found at the start have been committed
    #[arg(long, env = "STREAMIFY_UNTIL", value_enum, value_name = "WHEN", help_heading = "Run")]
    pub until: Option<Until>,

    /// End after this time, committing what was read, e.g. `10m` [default: run until stopped]
    #[arg(long, env = "STREAMIFY_MAX_DURATION", value_parser = parse_duration, value_name = "TIME", help_heading = "Run")]
    pub max_duration: Option<Duration>,

    /// Goal: at most this long from a record's arrival to its row being readable
    #[arg(long, env = "STREAMIFY_FRESHNESS", value_parser = parse_duration, default_value = "10s", value_name = "TIME", help_heading = "Run")]
    pub freshness: Duration,

    /// Goal: a data file is closed, and committed, when it has reached this size
    #[arg(long, env = "STREAMIFY_FILE_SIZE", value_parser = parse_bytes, default_value = "128MB", value_name = "SIZE", help_heading = "Run")]
    pub file_size: u64,

    /// Goal for the memory of the process; buffers take what is left after a fixed base. Full speed may peak a quarter above
    #[arg(long, env = "STREAMIFY_MEMORY_LIMIT", value_parser = parse_bytes, default_value = "192MB", value_name = "SIZE", help_heading = "Run")]
    pub memory_limit: u64,

    /// Threads that read and decode [default: one per core, at most 4]
    #[arg(long, env = "STREAMIFY_DECODE_THREADS", value_name = "COUNT", help_heading = "Run")]
    pub decode_threads: Option<usize>,

    /// Data files open at once over all topics, streamed to the store; other days are written whole
    #[arg(
        long,
        env = "STREAMIFY_OPEN_FILES",
        default_value_t = 4,
        value_name = "COUNT",
        help_heading = "Run"
    )]
    pub open_files: usize,

    /// Event times up to this long after the record's Kafka timestamp are accepted
    #[arg(long, env = "STREAMIFY_MAX_EVENT_TIME_AHEAD", value_parser = parse_duration, default_value = "1d", value_name = "TIME", help_heading = "Run")]
    pub max_event_time_ahead: Duration,

    /// What to do where the topic no longer holds records that were not read yet: stop, or record the gap and go on
    #[arg(long, env = "STREAMIFY_ON_GAP", value_enum, default_value_t = Policy::Fail, value_name = "POLICY", help_heading = "Decisions")]
    pub on_gap: Policy,

    /// What to do where the brokers pass over offsets of a topic that is not compacted: `accept` where producers use
    /// transactions, otherwise records are missing
    #[arg(long, env = "STREAMIFY_ON_SKIP", value_enum, default_value_t = Policy::Fail, value_name = "POLICY", help_heading = "Decisions")]
    pub on_skip: Policy,

    /// Go on with a topic that was deleted and made anew, or with another cluster: opens a new source epoch
    #[arg(long, env = "STREAMIFY_ADOPT_NEW_TOPIC", action = ArgAction::SetTrue, help_heading = "Decisions")]
    pub adopt_new_topic: bool,

    /// Take over a bronze table that another pipeline filled (stop that one first), and go on after the largest offset in its
    /// rows, at the start of the topic (silver drops what is there already), or at the topic's end as it is now
    #[arg(long, env = "STREAMIFY_ADOPT_TABLE", value_enum, value_name = "WHERE", help_heading = "Decisions")]
    pub adopt_table: Option<AdoptTable>,

    /// Which offsets hold for a table that was rolled back or restored, so that its property and snapshots disagree
    #[arg(long, env = "STREAMIFY_RESUME_FROM", value_enum, value_name = "STATE", help_heading = "Decisions")]
    pub resume_from: Option<ResumeChoice>,

    /// Take the place of a writer that holds a lease on a table, without waiting; that one then stops with exit code 3
    #[arg(long, env = "STREAMIFY_TAKE_OVER", action = ArgAction::SetTrue, help_heading = "Decisions")]
    pub take_over: bool,

    /// How long a lease on the tables holds unless it is renewed, which keeps a second writer from being started by accident;
    /// `0s`: take none and look at none
    #[arg(long, env = "STREAMIFY_LEASE_TIME", value_parser = parse_duration, default_value = "90s", value_name = "TIME", help_heading = "Run")]
    pub lease_time: Duration,

    /// How long to wait at the start for brokers, topics, catalog and store
    #[arg(long, env = "STREAMIFY_CONNECT_TIMEOUT", value_parser = parse_duration, default_value = "60s", value_name = "TIME", help_heading = "Outages")]
    pub connect_timeout: Duration,

    /// How long to go on trying during a run while brokers, catalog or store are away
    #[arg(long, env = "STREAMIFY_COMMIT_TIMEOUT", value_parser = parse_duration, default_value = "5m", value_name = "TIME", help_heading = "Outages")]
    pub commit_timeout: Duration,

    /// How many conflicts with other committers in a row one commit may meet
    #[arg(
        long,
        env = "STREAMIFY_COMMIT_RETRIES",
        default_value_t = 20,
        value_name = "COUNT",
        help_heading = "Outages"
    )]
    pub commit_retries: u32,

    /// Read a range of one topic again, into this table instead of the topic's own, and end; `streamify-batch swap` compares
    /// the two and puts its rows in the place of the others
    #[arg(long, value_name = "TABLE", requires = "range", conflicts_with_all = ["partitions", "max_duration", "adopt_table", "adopt_new_topic"], help_heading = "Replay")]
    pub replay_into: Option<String>,

    /// Offsets to read again, by partition, first and last, e.g. `0:100-200,1:0-50`
    #[arg(long, value_name = "RANGES", value_parser = parse_offsets, group = "range", requires = "replay_into", help_heading = "Replay")]
    pub from_offsets: Option<Range>,

    /// Event dates to read again (UTC), first and last, e.g. `2026-02-23..2026-02-25`: reads from the first record whose Kafka
    /// timestamp allows such events (--max-event-time-ahead) up to where the topic's table is, however late they came
    #[arg(long, value_name = "DAYS", value_parser = parse_days, group = "range", requires = "replay_into", help_heading = "Replay")]
    pub event_times: Option<Range>,

    /// Address for /metrics, /healthz, /readyz and /v1 (status, barrier, stop), e.g. `127.0.0.1:9464` [default: no endpoint]
    #[arg(long, env = "STREAMIFY_METRICS_LISTEN", value_name = "ADDRESS", help_heading = "Telemetry")]
    pub metrics_listen: Option<SocketAddr>,

    /// What a stop over that address must name; without it only a loopback address takes one
    #[arg(
        long,
        env = "STREAMIFY_CONTROL_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Telemetry"
    )]
    pub control_token: Option<String>,

    /// Form of the log lines on stderr
    #[arg(long, env = "STREAMIFY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human, value_name = "FORM", help_heading = "Telemetry")]
    pub log_format: LogFormat,

    /// Which log lines, in the syntax of `tracing`'s EnvFilter, e.g. `info,streamify_stream=debug`
    #[arg(
        long,
        env = "STREAMIFY_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = "Telemetry"
    )]
    pub log: String,

    /// File to write the final summary to, as JSON
    #[arg(long, env = "STREAMIFY_SUMMARY_JSON", value_name = "FILE", help_heading = "Telemetry")]
    pub summary_json: Option<PathBuf>,

    /// Folder of everything embedded: broker, warehouse, catalog
    #[arg(
        long,
        env = "STREAMIFY_HOME",
        default_value = ".streamify",
        value_name = "DIR",
        help_heading = "Source"
    )]
    pub home: PathBuf,

    /// Set by Dagster, read by the Pipes library.
    #[arg(long, hide = true)]
    pub dagster_pipes_context: Option<String>,

    /// Set by Dagster, read by the Pipes library.
    #[arg(long, hide = true)]
    pub dagster_pipes_messages: Option<String>,
}

/// What else there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print how far the tables are behind Kafka, and who holds leases, as JSON; needs no running worker, changes nothing
    Status,
}

const EXAMPLES: &str = "\
Examples:
  Drain what is there and end, on the embedded broker and warehouse:
    streamify-stream --until caught-up
  The same for one topic of a real cluster, with TLS and a password:
    KAFKA_BOOTSTRAP_SERVERS=kafka:9093 STREAMIFY_KAFKA_SASL_PASSWORD=... \\
      streamify-stream --until caught-up --topics listen_events \\
        --kafka-option security.protocol=SASL_SSL --kafka-option sasl.mechanism=PLAIN \\
        --kafka-option sasl.username=streamify
  Run as a service, a second behind, with metrics:
    streamify-stream --freshness 1s --metrics-listen 0.0.0.0:9464 --log-format json
  Ask how far the tables are behind:
    streamify-stream status
  Go on after the topic was deleted and made anew:
    streamify-stream --until caught-up --adopt-new-topic
  Read two days of a topic again, with a contract that was corrected, beside the table:
    streamify-stream --topics listen_events --replay-into listen_events_again \\
      --event-times 2026-02-23..2026-02-24
  Take over the tables of another pipeline, once that one is stopped:
    streamify-stream --until caught-up --adopt-table from-offset-columns

Stop with Ctrl-C or SIGTERM: what was read is committed, within 9 s; a second signal ends at once.

Exit codes:
  0  done
  1  failure; nothing is lost, running again goes on from the last commit
  2  bad settings
  3  needs a decision (gap, re-created topic, second writer, rolled-back or foreign table): running again alone does not help";

/// Who decides which partitions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AssignmentChoice {
    /// All of them, or those of --partitions.
    All,
    /// The consumer group.
    Group,
}

/// Which records of transactions to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsolationChoice {
    /// Those of committed ones.
    ReadCommitted,
    /// All, of open and aborted ones too.
    ReadUncommitted,
}

/// Which stored offsets hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResumeChoice {
    /// Those of the newest snapshot of the table.
    Snapshot,
    /// Those of the table property.
    Property,
}

/// A set of partition numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions(pub BTreeSet<i32>);

impl Cli {
    /// Checks the values and returns what they mean; `variables` are the environment, for Kafka options.
    ///
    /// # Errors
    /// The first setting that cannot be meant.
    pub fn settings(
        self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, SettingsError> {
        self.check()?;
        let mut kafka_options =
            kafka::options_from_env(variables, &[]).map_err(SettingsError::KafkaOption)?;
        for text in &self.kafka_options {
            let (key, value) = kafka::option_from_text(text).map_err(SettingsError::KafkaOption)?;
            kafka_options.insert(key, value);
        }
        let range = self.from_offsets.or(self.event_times);
        let replay = self.replay_into.zip(range).map(|(staging, range)| Replay {
            staging,
            target: String::new(),
            range,
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Settings {
            source: given(self.bootstrap_servers).map_or(Source::Embedded, Source::Brokers),
            source_id: given(self.source_id),
            topics: self.topics.into_iter().filter_map(|topic| given(Some(topic))).collect(),
            contracts: self.contracts.filter(|path| !path.as_os_str().is_empty()),
            assignment: match (self.assignment, self.partitions) {
                (AssignmentChoice::Group, _) => Assignment::Group,
                (AssignmentChoice::All, None) => Assignment::All,
                (AssignmentChoice::All, Some(list)) => Assignment::Static(list.0),
            },
            // A replay ends by itself, and what it reads is nobody's lag.
            until: if replay.is_some() { Some(Until::CaughtUp) } else { self.until },
            group_id: given(Some(self.group_id)).filter(|_| replay.is_none()),
            replay,
            isolation: match self.isolation {
                IsolationChoice::ReadCommitted => Isolation::ReadCommitted,
                IsolationChoice::ReadUncommitted => Isolation::ReadUncommitted,
            },
            kafka_options: KafkaOptions(kafka_options),
            max_duration: self.max_duration,
            freshness: self.freshness,
            file_size: self.file_size,
            memory: Memory::share(self.memory_limit),
            decode_threads: self.decode_threads.unwrap_or(cores.min(4)),
            open_files: self.open_files,
            max_event_time_ahead: self.max_event_time_ahead,
            on_gap: self.on_gap,
            on_skip: self.on_skip,
            adopt_new_topic: self.adopt_new_topic,
            adopt_table: self.adopt_table,
            resume_from: self.resume_from.map(|choice| match choice {
                ResumeChoice::Snapshot => ResumeFrom::Snapshot,
                ResumeChoice::Property => ResumeFrom::Property,
            }),
            connect_timeout: self.connect_timeout,
            commit_timeout: self.commit_timeout,
            commit_retries: self.commit_retries,
            lease_time: Some(self.lease_time).filter(|time| !time.is_zero()),
            take_over: self.take_over,
            writer_id: Uuid::new_v4(),
            dagster_run_id: None,
            home: std::path::absolute(&self.home).unwrap_or(self.home),
            drop_record_for_test: false,
        })
    }
}

/// An empty text is what an unset variable becomes in a compose file.
fn given(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
