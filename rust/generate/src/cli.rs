//! The command line, and what its values mean together.

mod eventsim;
mod pacing;
mod people;
mod resolve;
mod window;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use streamify_runtime::settings::{parse_bytes, parse_duration};

use crate::run::Key;
pub use eventsim::EventsimArgs;
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
    /// Stop after this many records, duplicates not counted
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT", help_heading = "Time")]
    pub max_events: Option<u64>,
    /// Continuous mode, rate cap, threads, checkpoint
    #[command(flatten)]
    pub pacing: PacingArgs,

    /// Write listen_events.jsonl etc. into this folder instead of Kafka
    #[arg(long, value_name = "DIR", help_heading = "Destination")]
    pub out: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long, requires = "out", help_heading = "Destination")]
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
    /// Further librdkafka option as key=value, repeatable; in the environment STREAMIFY_KAFKA_<KEY>, with `_` for `.`
    #[arg(long = "kafka-option", value_name = "KEY=VALUE", help_heading = "Destination")]
    pub kafka_options: Vec<String>,
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
    /// Deliver this part of the records twice, byte for byte, a little later: 0.02 is 2 %
    #[arg(long, default_value_t = 0.0, value_name = "PART", help_heading = "Destination")]
    pub duplicates: f64,

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
        if !(0.0..=1.0).contains(&self.duplicates) {
            bail!("invalid `--duplicates`: {} is not between 0 and 1", self.duplicates);
        }
        if let Some(speed) = self.speed
            && !(speed > 0.0 && speed.is_finite())
        {
            bail!("invalid `--speed`: {speed} is not above 0");
        }
        self.pacing.check()?;
        self.eventsim.check()
    }

    /// Returns the librdkafka options from the environment, then those of the command line, which win.
    ///
    /// # Errors
    /// Names the option that is not `key=value`.
    pub fn kafka_options(
        &self,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<BTreeMap<String, String>> {
        // These have settings of their own in the programs that read.
        const NOT_OPTIONS: [&str; 3] = ["group.id", "isolation.level", "options"];
        let mut options = BTreeMap::new();
        for (name, value) in env {
            let Some(suffix) = name.strip_prefix("STREAMIFY_KAFKA_") else { continue };
            let option = suffix.to_ascii_lowercase().replace('_', ".");
            if !option.is_empty() && !NOT_OPTIONS.contains(&option.as_str()) {
                options.insert(option, value);
            }
        }
        for text in &self.kafka_options {
            match text.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    options.insert(key.trim().to_owned(), value.to_owned());
                }
                _ => {
                    bail!("invalid `--kafka-option`: `{text}` is not key=value (expected e.g. `linger.ms=5`)")
                }
            }
        }
        Ok(options)
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

        assert_eq!(check(&["--duplicates", "2"]), "invalid `--duplicates`: 2 is not between 0 and 1");
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

    #[test]
    fn kafka_options_come_from_the_environment_and_the_command_line_wins() {
        let args = run_args(&["--kafka-option", "linger.ms=7", "--kafka-option", "sasl.password=a=b"]);
        let env = [("STREAMIFY_KAFKA_LINGER_MS", "9"), ("STREAMIFY_KAFKA_GROUP_ID", "x"), ("HOME", "/")];

        let options = args.kafka_options(env.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned()))).unwrap();
        let bad = run_args(&["--kafka-option", "linger"]).kafka_options(std::iter::empty()).unwrap_err();

        assert_eq!(options["linger.ms"], "7");
        assert_eq!(options["sasl.password"], "a=b");
        assert_eq!(options.len(), 2);
        assert!(bad.to_string().starts_with("invalid `--kafka-option`: `linger` is not key=value"));
    }
}
