//! What the user can set: a job with its options, and what all jobs share; each flag of the latter has an environment form.
//!
//! Everything that can be seen to be wrong without asking a server is refused here, naming the flag; the process then ends
//! with exit code 2.

mod jobs;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use streamify_lake::protocol::ResumeFrom;
use streamify_runtime::LogFormat;
use streamify_runtime::settings::{parse_bytes, parse_duration};

pub use self::jobs::{JobArgs, Order};
use crate::settings::{Settings, parse_resume_from};

/// Makes and takes care of tables in the lake: each job reads Iceberg tables and commits to them, exactly once.
///
/// A job ends when its work is done. Killed half-way, or run twice at once, it neither loses nor doubles a row: run it
/// again. Without POLARIS_URI the local warehouse under STREAMIFY_HOME is used.
#[derive(Clone, Debug, Parser)]
#[command(name = "streamify-batch", version, after_long_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub job: JobArgs,

    /// What all jobs share.
    #[command(flatten)]
    pub frame: Frame,
}

/// Options of every job.
#[derive(Args, Clone, Debug)]
pub struct Frame {
    /// Most memory of the process, kept from 128MB on; at least 64MB. A larger day takes more passes
    #[arg(long, global = true, env = "STREAMIFY_BATCH_MEMORY_LIMIT", value_parser = parse_bytes, default_value = "1GiB", value_name = "SIZE", help_heading = "Run")]
    pub memory_limit: u64,

    /// How often a job begins anew when other commits changed what it had read
    #[arg(
        long,
        global = true,
        env = "STREAMIFY_MAX_RESTARTS",
        default_value_t = 5,
        value_name = "COUNT",
        help_heading = "Run"
    )]
    pub max_restarts: u32,

    /// Folder with contract files, one TOML file per topic, instead of the built-in contracts
    #[arg(long, global = true, env = "STREAMIFY_CONTRACTS", value_name = "DIR", help_heading = "Run")]
    pub contracts: Option<PathBuf>,

    /// Folder of everything embedded: warehouse, catalog
    #[arg(
        long,
        global = true,
        env = "STREAMIFY_HOME",
        default_value = ".streamify",
        value_name = "DIR",
        help_heading = "Run"
    )]
    pub home: PathBuf,

    /// How long a commit goes on trying while catalog or store are away
    #[arg(long, global = true, env = "STREAMIFY_COMMIT_TIMEOUT", value_parser = parse_duration, default_value = "5m", value_name = "TIME", help_heading = "Outages")]
    pub commit_timeout: Duration,

    /// How many conflicts with other committers in a row one commit may meet
    #[arg(
        long,
        global = true,
        env = "STREAMIFY_COMMIT_RETRIES",
        default_value_t = 20,
        value_name = "COUNT",
        help_heading = "Outages"
    )]
    pub commit_retries: u32,

    /// Which state holds for a table that was rolled back or restored, so that its property and snapshots disagree:
    /// `snapshot` or `property`
    #[arg(long, global = true, env = "STREAMIFY_RESUME_FROM", value_parser = parse_resume_from, value_name = "STATE", help_heading = "Decisions")]
    pub resume_from: Option<ResumeFrom>,

    /// Form of the log lines on stderr
    #[arg(long, global = true, env = "STREAMIFY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human, value_name = "FORM", help_heading = "Telemetry")]
    pub log_format: LogFormat,

    /// Which log lines, in the syntax of `tracing`'s EnvFilter, e.g. `info,streamify_batch=debug`
    #[arg(
        long,
        global = true,
        env = "STREAMIFY_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = "Telemetry"
    )]
    pub log: String,

    /// File to write the final report to, as JSON
    #[arg(
        long,
        global = true,
        env = "STREAMIFY_SUMMARY_JSON",
        value_name = "FILE",
        help_heading = "Telemetry"
    )]
    pub summary_json: Option<PathBuf>,

    /// Set by Dagster, read by the Pipes library.
    #[arg(long, global = true, hide = true)]
    pub dagster_pipes_context: Option<String>,

    /// Set by Dagster, read by the Pipes library.
    #[arg(long, global = true, hide = true)]
    pub dagster_pipes_messages: Option<String>,
}

impl Frame {
    /// What the library takes of it.
    pub fn settings(&self) -> Settings {
        Settings {
            memory_limit: self.memory_limit,
            commit_timeout: self.commit_timeout,
            commit_retries: self.commit_retries,
            max_restarts: self.max_restarts,
            resume_from: self.resume_from,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  Bring silver and sessions up to date with what the stream worker landed:
    streamify-batch silver && streamify-batch sessions
  Make three days of one table anew:
    streamify-batch rebuild --days 2026-02-23..2026-02-25 --tables silver_listen_events
  See what compaction would do, then do it for one table:
    streamify-batch compact --dry-run
    streamify-batch compact --tables bronze_listen_events
  On a small machine:
    streamify-batch silver --memory-limit 256MB
  On a catalog:
    POLARIS_URI=http://127.0.0.1:8181/api/catalog POLARIS_CLIENT_ID=... POLARIS_CLIENT_SECRET=... \\
      streamify-batch silver

Stop with Ctrl-C or SIGTERM: it ends within 2 s with exit code 1; what was committed stays, the next run does the rest.

Exit codes:
  0  done
  1  failure, or stopped before the end; nothing is lost, running again does what is left
  2  bad settings
  3  needs a decision (a table was rolled back, made anew, or changed by others): running again does not help";

#[cfg(test)]
mod tests;
