//! The arguments of `streamify-generate stats`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::KafkaOptions;
use crate::{
    event::Topic,
    stats::{input::kafka::Source, reference::KnownProfile},
};

/// What to take statistics of, and what to hold them against.
#[derive(Clone, Debug, Args)]
pub struct StatsArgs {
    /// Files or folders of JSON lines, plain, .gz or .zst; `-`: standard input [default: Kafka]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Kafka brokers as host:port, separated by commas
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,...", help_heading = "Kafka")]
    pub bootstrap_servers: Option<String>,
    /// Topic to read, repeatable [default: the four topics of `run`]
    #[arg(long = "topic", value_name = "NAME", conflicts_with = "paths", help_heading = "Kafka")]
    pub topics: Vec<String>,
    /// Options of the Kafka client
    #[command(flatten)]
    pub kafka: KafkaOptions,
    /// The profile whose statistics are known
    #[arg(long, value_enum, default_value_t = KnownProfile::Example, value_name = "NAME", help_heading = "Comparison")]
    pub profile: KnownProfile,
    /// Users, the silent ones included [default: from the span of their ids]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT", help_heading = "Comparison")]
    pub users: Option<u64>,
    /// Only print: no verdicts, exit code 0
    #[arg(long, help_heading = "Comparison")]
    pub no_verdict: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

impl StatsArgs {
    /// Returns the topics to read, or `None` if files are named.
    ///
    /// # Errors
    /// Says that neither is named, or which Kafka option is none.
    pub fn source(&self, env: impl Iterator<Item = (String, String)>) -> Result<Option<Source>> {
        if !self.paths.is_empty() {
            return Ok(None);
        }
        let servers = self.bootstrap_servers.as_deref().map(str::trim).filter(|servers| !servers.is_empty());
        let Some(servers) = servers else {
            bail!("nothing to read: name files or folders, or a broker with `--bootstrap-servers`");
        };
        let topics = match &self.topics[..] {
            [] => Topic::ALL.map(|topic| topic.name().to_owned()).to_vec(),
            topics => topics.to_vec(),
        };
        let options = self.kafka.resolve(env)?;
        Ok(Some(Source { servers: servers.to_owned(), options, topics }))
    }
}
