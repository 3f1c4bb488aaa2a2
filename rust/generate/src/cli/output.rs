//! The arguments of `run` about songs, dimensions, topics, transactions and files.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use streamify_runtime::settings::parse_duration;

use super::kafka::pairs;
use crate::{
    catalogue::Encoding,
    event::Topic,
    sink::{Compression, Transactions, kafka::TopicOptions, layout::Rotation},
};

/// Songs and dimensions, and how events are laid down.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// Songs from a file as Eventsim reads it (track id, artist, title, duration, listen count, by tabs; plain or .gz)
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub tracks: Option<PathBuf>,
    /// What the bytes of --tracks mean; iso-8859-1 is Eventsim's way, which damages letters beyond ASCII
    #[arg(long, value_enum, default_value_t = Encoding::Utf8, value_name = "NAME", requires = "tracks", help_heading = "Model")]
    pub tracks_encoding: Encoding,
    /// First write users, artists, albums, songs, devices and locations, into compacted topics or files of these names
    #[arg(long, help_heading = "Destination")]
    pub dimensions: bool,
    /// What the names of the dimensions begin with
    #[arg(
        long,
        default_value = "",
        value_name = "TEXT",
        requires = "dimensions",
        help_heading = "Destination"
    )]
    pub dimension_prefix: String,
    /// Partitions of dimension topics that do not exist yet
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=10_000), value_name = "COUNT", help_heading = "Destination")]
    pub dimension_partitions: i32,

    /// Compress files
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Destination")]
    pub compress: Option<Compression>,
    /// Begin new files with each hour of event time: TOPIC/date=2026-02-23/hour=07/part-0000.jsonl
    #[arg(long, value_enum, default_value_t = Rotation::None, value_name = "WHEN", help_heading = "Destination")]
    pub rotate: Rotation,
    /// With --out -: only this topic, without the envelope
    #[arg(long, value_name = "NAME", value_parser = parse_topic, help_heading = "Destination")]
    pub only: Option<Topic>,

    /// Partitions of one topic that does not exist yet, repeatable
    #[arg(long, value_name = "TOPIC=COUNT", help_heading = "Destination")]
    pub topic_partitions: Vec<String>,
    /// How long topics that do not exist yet keep records: 7d, 12h
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Destination")]
    pub retention: Option<Duration>,
    /// Kafka setting of topics that do not exist yet, repeatable, for instance cleanup.policy=compact,delete
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Destination")]
    pub topic_config: Vec<String>,
    /// Write in transactions, all topics together
    #[arg(long, help_heading = "Destination")]
    pub transactions: bool,
    /// Most records of a transaction
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "COUNT", requires = "transactions", help_heading = "Destination")]
    pub transaction_records: u64,
    /// How long a transaction may stay open
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "TIME", requires = "transactions", help_heading = "Destination")]
    pub transaction_age: Duration,
}

fn parse_topic(name: &str) -> Result<Topic, String> {
    let topics = Topic::ALL.map(Topic::name);
    Topic::ALL
        .into_iter()
        .find(|topic| topic.name() == name)
        .ok_or_else(|| format!("there is no such topic (expected one of {})", topics.join(", ")))
}

impl OutputArgs {
    /// Checks what belongs together; `out` and `json` are those of the command.
    ///
    /// # Errors
    /// Names the flags.
    pub fn check(&self, out: Option<&std::path::Path>, json: bool) -> Result<()> {
        let is_stdout = out.is_some_and(|out| out.as_os_str() == "-");
        let is_laid_out = self.compress.is_some() || self.rotate != Rotation::None;
        if is_laid_out && (out.is_none() || is_stdout) {
            bail!("`--compress` and `--rotate` are about files; name a folder with `--out`");
        }
        if self.only.is_some() && !is_stdout {
            bail!("`--only` is about standard output; add `--out -`");
        }
        if is_stdout && json {
            bail!("`--json` and `--out -` would both write to standard output; leave one out");
        }
        if self.only.is_some() && self.dimensions {
            bail!("`--only` leaves out the dimensions; leave out one of the two");
        }
        let is_kafka = !self.topic_partitions.is_empty()
            || self.retention.is_some()
            || !self.topic_config.is_empty()
            || self.transactions;
        if is_kafka && out.is_some() {
            bail!(
                "`--topic-partitions`, `--retention`, `--topic-config` and `--transactions` are about Kafka, not `--out`"
            );
        }
        Ok(())
    }

    /// Returns what topics are to be like.
    ///
    /// # Errors
    /// Names the flag and what it expects.
    pub fn topic_options(&self) -> Result<TopicOptions> {
        let mut partitions = BTreeMap::new();
        for (topic, count) in pairs("--topic-partitions", &self.topic_partitions, "listen_events=8")? {
            parse_topic(&topic)
                .map_err(|problem| anyhow::anyhow!("invalid `--topic-partitions`: `{topic}`: {problem}"))?;
            match count.parse() {
                Ok(count @ 1..=10_000) => partitions.insert(topic, count),
                _ => bail!("invalid `--topic-partitions`: `{topic}={count}` (expected 1 to 10000)"),
            };
        }
        let mut config = pairs("--topic-config", &self.topic_config, "cleanup.policy=compact,delete")?;
        if let Some(retention) = self.retention {
            config.insert("retention.ms".to_owned(), retention.as_millis().to_string());
        }
        Ok(TopicOptions { partitions, config })
    }

    /// Returns when transactions end, if there are any.
    pub fn transactions(&self) -> Option<Transactions> {
        let (max_records, max_age) = (self.transaction_records, self.transaction_age);
        self.transactions.then_some(Transactions { max_records, max_age })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::path::Path;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        output: OutputArgs,
    }

    fn args(words: &[&str]) -> OutputArgs {
        Only::try_parse_from([&["x"], words].concat()).unwrap().output
    }

    #[test]
    fn topics_are_as_asked() {
        let given = [
            "--topic-partitions",
            "listen_events=8",
            "--retention",
            "7d",
            "--topic-config",
            "cleanup.policy=compact",
        ];

        let options = args(&given).topic_options().unwrap();

        assert_eq!(options.partitions["listen_events"], 8);
        assert_eq!(options.config["retention.ms"], "604800000");
        assert_eq!(options.config["cleanup.policy"], "compact");
        for bad in ["listen_events", "listen_events=0", "songs=3"] {
            let error = args(&["--topic-partitions", bad]).topic_options().unwrap_err().to_string();
            assert!(error.starts_with("invalid `--topic-partitions`: `"), "{error}");
        }
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        let check = |words: &[&str], out: Option<&str>, json| {
            args(words).check(out.map(Path::new), json).unwrap_err().to_string()
        };

        assert!(check(&["--rotate", "hour"], None, false).contains("name a folder with `--out`"));
        assert!(check(&["--compress", "zstd"], Some("-"), false).contains("are about files"));
        assert!(check(&["--only", "auth_events"], Some("x"), false).contains("add `--out -`"));
        assert!(check(&[], Some("-"), true).contains("leave one out"));
        assert!(check(&["--transactions"], Some("x"), false).contains("are about Kafka"));
        args(&["--transactions"]).check(None, true).unwrap();
        args(&["--only", "auth_events"]).check(Some(Path::new("-")), false).unwrap();
    }
}
