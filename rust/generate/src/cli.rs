//! The command line, and what its values mean together.

mod eventsim;
mod faults;
mod kafka;
mod output;
mod pacing;
mod people;
mod resolve;
mod stats;
mod window;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use streamify_runtime::settings::{parse_bytes, parse_duration};

pub use self::{kafka::KafkaOptions, output::OutputArgs, stats::StatsArgs};
use crate::run::Key;
pub use eventsim::EventsimArgs;
pub use faults::FaultArgs;
pub use pacing::PacingArgs;
pub use people::PeopleArgs;
pub use window::{Wanted, Window, show_time};

/// Generates the events of a music service, as the public generator Eventsim would make them: listeners with their own pace,
/// sessions, songs, logins, upgrades. The same seed gives the same bytes.
#[derive(Debug, Parser)]
#[command(name = "streamify-generate", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Three days of 1,000 listeners as four files:
    streamify-generate run --users 1000 --start 2026-02-23 --days 3 --out events
  The same into Kafka, keyed by session:
    streamify-generate run --users 1000 --start 2026-02-23 --days 3 --key session --bootstrap-servers localhost:9092
  Without any Kafka: the embedded broker, then a fortnight up to now:
    streamify-generate broker start
    streamify-generate run --users 2000 --days 14
  Live, until Ctrl-C:
    streamify-generate run --users 100000 --start now --continuous
  The past quarter, then live, for ever, going on with the same people when started again:
    streamify-generate run --users 100000 --from 90 --continuous --checkpoint state.ckpt
  The same for the past quarter, a day a minute:
    streamify-generate run --users 100000 --days 90 --speed 1440
  How close is it to real streams?
    streamify-generate stats events
  Dirty, with the truth beside it:
    streamify-generate run --fault all --fault D19=0.05 --truth truth --out events
  A profile of your own:
    streamify-generate profile example > mine.toml
    streamify-generate run --profile mine.toml --out events";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate events into Kafka or files
    ///
    /// Four topics: listen_events, page_view_events, auth_events, status_change_events. Each value is one JSON object and a
    /// newline; each record has a header run_id, derived from profile, seed, users, first user id and start.
    ///
    /// Destination: --out DIR; else --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; else the embedded broker under
    /// STREAMIFY_HOME. The embedded broker keeps 5 MiB per partition: with it the generator waits whenever the reader (the
    /// consumer group of --follow-group) is behind by more than --max-unread.
    Run(Box<RunArgs>),
    /// Start, find or stop the embedded broker
    ///
    /// A Kafka-protocol broker in memory, on a free port of 127.0.0.1, for demos: no installation, nothing persists. Its
    /// address and identity are in STREAMIFY_HOME/broker/broker.json.
    Broker {
        /// What to do with it
        #[command(subcommand)]
        command: BrokerCommand,
    },
    /// Hold a stream against what is known of real ones
    ///
    /// Reads page views, listens, logins and status changes from files or topics, ours or Eventsim's, and prints each known
    /// statistic with its reference, tolerance and verdict. Topics are read up to the end they have at the start. Exit code 1
    /// if one is outside its tolerance. A set of files is taken for one run; in topics runs are told apart by the header run_id.
    Stats(Box<StatsArgs>),
    /// List the faults that a run can be given, and what must become of each downstream
    Faults,
    /// Print a built-in profile, to copy and change
    Profile {
        /// Its name; the format is described in its first lines
        #[arg(default_value = "example")]
        name: String,
    },
}

/// What to do with the embedded broker.
#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// Start it in the background and wait until it answers; if one is up already, say so
    Start {
        /// Where it lives
        #[command(flatten)]
        home: HomeArgs,
        /// Partitions of each of the four topics
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=64), value_name = "COUNT")]
        partitions: i32,
        /// Print broker.json instead of a sentence
        #[arg(long)]
        json: bool,
    },
    /// Tell whether it is up (exit code 0) or not (1)
    Status {
        /// Where it lives
        #[command(flatten)]
        home: HomeArgs,
        /// Print broker.json instead of a sentence
        #[arg(long)]
        json: bool,
    },
    /// Stop it; what it held is gone
    Stop {
        /// Where it lives
        #[command(flatten)]
        home: HomeArgs,
    },
    /// Run it in the foreground until Ctrl-C
    Run {
        /// Where it lives
        #[command(flatten)]
        home: HomeArgs,
        /// Partitions of each of the four topics
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=64), value_name = "COUNT")]
        partitions: i32,
        /// Leave the terminal (what `start` does with it)
        #[arg(long, hide = true)]
        detached: bool,
    },
}

/// Where the embedded broker lives.
#[derive(Clone, Debug, Args)]
pub struct HomeArgs {
    /// Folder of the embedded parts
    #[arg(long, env = "STREAMIFY_HOME", default_value = ".streamify", value_name = "DIR")]
    pub home: PathBuf,
}

/// What to generate, and where to.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Built-in profile (`example`, `engagement`), a TOML file (see `streamify-generate profile`) or an Eventsim configuration;
    /// what else an Eventsim configuration says (seed, n-users, start-date, ...) counts where the command line says nothing
    #[arg(
        long,
        visible_alias = "config",
        env = "STREAMIFY_PROFILE",
        default_value = "example",
        value_name = "NAME|FILE",
        help_heading = "Model"
    )]
    pub profile: String,
    /// Where all randomness comes from [default: 1]
    #[arg(
        long,
        visible_alias = "randomseed",
        env = "STREAMIFY_SEED",
        value_name = "NUMBER",
        help_heading = "Model"
    )]
    pub seed: Option<u64>,
    /// Listeners at the start (the example profile makes about 5 records per listener and day) [default: 1000]
    #[arg(long, visible_alias = "nusers", env = "STREAMIFY_USERS", value_parser = clap::value_parser!(u32).range(1..=50_000_000), value_name = "COUNT", help_heading = "Model")]
    pub users: Option<u32>,
    /// Number of the first listener [default: 1]
    #[arg(long, visible_alias = "userid", value_parser = clap::value_parser!(u64).range(0..=1 << 53), value_name = "NUMBER", help_heading = "Model")]
    pub first_user_id: Option<u64>,
    /// Label on all events that name the listener
    #[arg(long, value_name = "TEXT", help_heading = "Model")]
    pub tag: Option<String>,
    /// Growth, attrition, holidays
    #[command(flatten)]
    pub people: PeopleArgs,

    /// Start of the simulated time: 2026-02-23, 2026-02-23T09:30:00, `now`; UTC unless it says otherwise [default: --days before the end]
    #[arg(long, visible_alias = "start-time", value_name = "TIME", help_heading = "Time")]
    pub start: Option<String>,
    /// End of the simulated time [default: --days after the start if that is given, else now]
    #[arg(long, visible_alias = "end-time", value_name = "TIME", help_heading = "Time")]
    pub end: Option<String>,
    /// Length of the simulated time in days, 0.5 is half a day [default: 7]
    #[arg(long, value_name = "DAYS", help_heading = "Time")]
    pub days: Option<f64>,
    /// Simulated seconds per second: 1 is real time, 1440 a day a minute [default: as fast as possible]
    #[arg(long, env = "STREAMIFY_SPEED", value_name = "FACTOR", help_heading = "Time")]
    pub speed: Option<f64>,
    /// Stop after this many events; what faults add is not counted
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT", help_heading = "Time")]
    pub max_events: Option<u64>,
    /// Continuous mode, rate cap, threads, checkpoint
    #[command(flatten)]
    pub pacing: PacingArgs,

    /// Write listen_events.jsonl etc. into this folder instead of Kafka; `-`: to standard output, {"topic":…,"key":…,"value":…} a line
    #[arg(long, value_name = "DIR", help_heading = "Destination")]
    pub out: Option<PathBuf>,
    /// Overwrite files that exist, those of --truth too
    #[arg(long, help_heading = "Destination")]
    pub overwrite: bool,
    /// Kafka brokers as host:port, separated by commas [default: the embedded broker under STREAMIFY_HOME]
    #[arg(
        long,
        visible_alias = "kafkaBrokerList",
        env = "KAFKA_BOOTSTRAP_SERVERS",
        value_name = "HOST:PORT,...",
        help_heading = "Destination"
    )]
    pub bootstrap_servers: Option<String>,
    /// Options of the Kafka client
    #[command(flatten)]
    pub kafka: KafkaOptions,
    /// Songs, dimensions, topics, transactions, files
    #[command(flatten)]
    pub output: OutputArgs,
    /// Partitions of topics that do not exist yet
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000), value_name = "COUNT", help_heading = "Destination")]
    pub partitions: i32,
    /// Replicas of topics that do not exist yet; -1: the broker's default
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..=100), value_name = "COUNT", help_heading = "Destination")]
    pub replication: i32,
    /// Compression of batches
    #[arg(long, default_value = "zstd", value_parser = ["zstd", "lz4", "gzip", "snappy", "none"], value_name = "KIND", help_heading = "Destination")]
    pub compression: String,
    /// Message key
    #[arg(long, value_enum, default_value_t = Key::None, value_name = "KEY", help_heading = "Destination")]
    pub key: Key,
    /// What goes wrong, and the truth
    #[command(flatten)]
    pub faults: FaultArgs,

    /// Consumer group of the reader to wait for [default: with the embedded broker STREAMIFY_GROUP_ID or `streamify`, else nobody]
    #[arg(long, value_name = "GROUP", help_heading = "Reader")]
    pub follow_group: Option<String>,
    /// Wait for nobody; the embedded broker then drops what it cannot keep
    #[arg(long, conflicts_with = "follow_group", help_heading = "Reader")]
    pub no_follow: bool,
    /// Most stored bytes of a partition that the reader may not have committed
    #[arg(long, default_value = "3MiB", value_parser = parse_bytes, value_name = "SIZE", help_heading = "Reader")]
    pub max_unread: u64,
    /// Give up if the reader commits nothing for this long; 0s: never
    #[arg(long, default_value = "10m", value_parser = parse_duration, value_name = "TIME", help_heading = "Reader")]
    pub follow_timeout: Duration,

    /// Where the embedded broker lives
    #[command(flatten)]
    pub home: HomeArgs,
    /// Print the summary as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// What users of Eventsim are used to
    #[command(flatten)]
    pub eventsim: EventsimArgs,
}

impl RunArgs {
    /// Checks the numbers that clap cannot.
    ///
    /// # Errors
    /// Names the flag and what it expects.
    pub fn check(&self) -> Result<()> {
        if let Some(speed) = self.speed
            && !(speed > 0.0 && speed.is_finite())
        {
            bail!("invalid `--speed`: {speed} is not above 0");
        }
        self.pacing.check()?;
        self.output.check(self.folder(), self.json)?;
        self.eventsim.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn run_args(words: &[&str]) -> RunArgs {
        let words = [&["streamify-generate", "run"], words].concat();
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_out_of_range_name_the_flag() {
        let check = |words: &[&str]| run_args(words).check().unwrap_err().to_string();

        assert_eq!(check(&["--speed", "0"]), "invalid `--speed`: 0 is not above 0");
        assert_eq!(check(&["--speed", "NaN"]), "invalid `--speed`: NaN is not above 0");
        assert_eq!(check(&["--max-eps", "0"]), "invalid `--max-eps`: 0 is not above 0");
        assert_eq!(check(&["--threads", "0"]), "invalid `--threads`: 0 is not between 1 and 1024");
        let none =
            Cli::try_parse_from(["streamify-generate", "run", "--users", "0"]).unwrap_err().to_string();
        assert!(none.contains("--users"), "{none}");
    }

    #[test]
    fn what_eventsim_has_and_this_has_not_is_answered_with_a_reason() {
        let check = |flag: &str| run_args(&[flag]).check().unwrap_err().to_string();

        for flag in ["--useAvro", "--generate-counts", "--generate-similars"] {
            let message = check(flag);
            assert!(message.starts_with(&format!("`{flag}` is not supported: ")), "{message}");
        }
    }
}
