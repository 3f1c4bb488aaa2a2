//! The jobs of the command line, and the library's jobs that they mean.

use std::path::Path;
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand};
use streamify_lake::care::expire::ExpireOptions;
use streamify_lake::care::orphans::OrphanOptions;
use streamify_runtime::settings::parse_duration;

use crate::compact::CompactOptions;
use crate::days::Days;
use crate::error::BatchError;
use crate::jobs::Job;
use crate::replay::dead_letters::ReplayLettersOptions;
use crate::replay::swap::SwapOptions;
use crate::sessions::SessionsOptions;
use crate::settings::contracts;
use crate::silver::SilverOptions;

/// A job and its options.
#[derive(Clone, Debug, Subcommand)]
pub enum JobArgs {
    /// Takes what is new in bronze into silver: cleaned, typed, one row per event
    Silver(SilverArgs),
    /// Makes days of silver anew from all of bronze, in the place of what they hold
    Rebuild(RebuildArgs),
    /// Brings user sessions up to date with what is new in silver
    Sessions(SessionsArgs),
    /// Rewrites small data files into few large ones, sorted; the rows stay the same
    Compact(CompactArgs),
    /// Rewrites manifests, sorted by partition, so that readers of few days read few of them
    RewriteManifests(ManifestArgs),
    /// Removes old snapshots, and the files that only they needed; those that a registered reader still needs stay
    Expire(ExpireArgs),
    /// Deletes files in the tables' folders that no snapshot knows: what killed writers left behind
    RemoveOrphans(OrphanArgs),
    /// Decodes dead letters again with the present contracts; what is good now lands under its original offset
    ReplayDeadLetters(ReplayLettersArgs),
    /// Compares a staging table of `streamify-stream --replay-into` with its target, and puts its rows in the place of the others
    Swap(SwapArgs),
}

/// Which tables.
#[derive(Args, Clone, Debug)]
pub struct Tables {
    /// Tables, separated by commas or given again [default: all that suit the job]
    #[arg(long, value_delimiter = ',', value_name = "TABLE,...")]
    pub tables: Vec<String>,
}

/// What was done by others.
#[derive(Args, Clone, Debug)]
pub struct Accepted {
    /// Snapshots of the table read in which another engine changed or removed rows, to be taken as they are: new rows are
    /// read, rows made from removed ones stay
    #[arg(
        long = "accept-change",
        value_delimiter = ',',
        value_name = "SNAPSHOT,...",
        help_heading = "Decisions"
    )]
    pub accepted: Vec<i64>,
}

/// Options of `silver`.
#[derive(Args, Clone, Debug)]
pub struct SilverArgs {
    #[command(flatten)]
    tables: Tables,

    /// Read bronze from its beginning, whatever was consumed; rows that are there stay
    #[arg(long, action = ArgAction::SetTrue, help_heading = "Decisions")]
    reread: bool,

    #[command(flatten)]
    accepted: Accepted,
}

/// Options of `rebuild`.
#[derive(Args, Clone, Debug)]
pub struct RebuildArgs {
    /// The days (UTC), e.g. `2026-02-23` or `2026-02-23..2026-02-25`, both included
    #[arg(long, value_name = "DAYS")]
    days: Days,

    #[command(flatten)]
    tables: Tables,
}

/// Options of `sessions`.
#[derive(Args, Clone, Debug)]
pub struct SessionsArgs {
    /// Compute every session anew, whatever was consumed
    #[arg(long, action = ArgAction::SetTrue)]
    full: bool,

    #[command(flatten)]
    accepted: Accepted,
}

/// Options of `compact`.
#[derive(Args, Clone, Debug)]
pub struct CompactArgs {
    #[command(flatten)]
    tables: Tables,

    /// Only these days (UTC), e.g. `2026-02-23` or `2026-02-23..2026-02-25`, both included [default: all]
    #[arg(long, value_name = "DAYS")]
    days: Option<Days>,

    /// A file is small below this part of the table's target file size
    #[arg(long, default_value_t = CompactOptions::default().small_below, value_name = "PART")]
    small_below: f64,

    /// A partition with fewer small files is left alone; at least 2
    #[arg(long, default_value_t = CompactOptions::default().min_files, value_name = "COUNT")]
    min_files: usize,

    /// Only say what would be done
    #[arg(long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// Options of `rewrite-manifests`.
#[derive(Args, Clone, Debug)]
pub struct ManifestArgs {
    #[command(flatten)]
    tables: Tables,

    /// A table with fewer manifests, and none far larger than the others, is left alone; at least 2
    #[arg(long, default_value_t = 16, value_name = "COUNT")]
    min_manifests: u64,
}

/// Who reads the table incrementally.
#[derive(Args, Clone, Debug)]
pub struct Readers {
    /// After how long without a word a registered reader is called stale
    #[arg(long, value_parser = parse_duration, default_value = "30d", value_name = "TIME", help_heading = "Decisions")]
    stale_after: Duration,

    /// Pass over readers that are stale: if they come back they have to read everything anew
    #[arg(long, action = ArgAction::SetTrue, help_heading = "Decisions")]
    ignore_stale: bool,
}

/// Options of `expire`.
#[derive(Args, Clone, Debug)]
pub struct ExpireArgs {
    #[command(flatten)]
    tables: Tables,

    /// Snapshots younger than this stay [default: the table's `history.expire.max-snapshot-age-ms`, else 5 days]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    older_than: Option<Duration>,

    /// So many snapshots of each branch stay at least [default: the table's `history.expire.min-snapshots-to-keep`, else 1]
    #[arg(long, value_name = "COUNT")]
    keep: Option<usize>,

    /// Tags and branches older than this go, unless they say it themselves [default: the table's
    /// `history.expire.max-ref-age-ms`, else they stay]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    refs_older_than: Option<Duration>,

    #[command(flatten)]
    readers: Readers,

    /// Only say what would be done
    #[arg(long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// Options of `replay-dead-letters`.
#[derive(Args, Clone, Debug)]
pub struct ReplayLettersArgs {
    /// Only letters of these topics [default: all that have a contract]
    #[arg(long, value_delimiter = ',', value_name = "TOPIC,...")]
    topics: Vec<String>,

    /// Only letters with these reason codes, e.g. `wrong_type` [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CODE,...")]
    reasons: Vec<String>,

    /// Only letters whose Kafka timestamps lie on these days (UTC), e.g. `2026-02-23..2026-02-25`, both included [default: all]
    #[arg(long, value_name = "DAYS")]
    days: Option<Days>,

    /// Take letters that were replayed before too: after a table was rolled back; rows that are there stay single
    #[arg(long, action = ArgAction::SetTrue)]
    again: bool,

    /// Event times up to this long after the record's Kafka timestamp are accepted
    #[arg(long, env = "STREAMIFY_MAX_EVENT_TIME_AHEAD", value_parser = parse_duration, default_value = "1d", value_name = "TIME")]
    max_event_time_ahead: Duration,

    /// Only count, by reason
    #[arg(long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// Options of `remove-orphans`.
#[derive(Args, Clone, Debug)]
pub struct OrphanArgs {
    #[command(flatten)]
    tables: Tables,

    /// Files younger than this are left alone: a writer may be about to commit them; at least 1h
    #[arg(long, value_parser = parse_duration, default_value = "3d", value_name = "TIME")]
    older_than: Duration,

    /// Allow less than 1h: only where surely nobody writes
    #[arg(long, action = ArgAction::SetTrue, help_heading = "Decisions")]
    force: bool,

    #[command(flatten)]
    readers: Readers,

    /// Delete them; without it they are only listed
    #[arg(long, action = ArgAction::SetTrue)]
    delete: bool,
}

/// Options of `swap`.
#[derive(Args, Clone, Debug)]
pub struct SwapArgs {
    /// The staging table; it names its target and its range itself
    #[arg(value_name = "TABLE")]
    staging: String,

    /// Let rows go that only the target has
    #[arg(long, action = ArgAction::SetTrue, help_heading = "Decisions")]
    accept_loss: bool,

    /// Only compare
    #[arg(long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Order {
    /// The job.
    pub job: Job,
    /// The tables; empty: all that suit it.
    pub tables: Vec<String>,
    /// Whether it only says what it would do.
    pub dry_run: bool,
}

impl JobArgs {
    /// What is to be done, with the contracts of a folder (`None`: the built-in ones).
    ///
    /// # Errors
    /// [`BatchError::Option`]: a value that cannot be meant; [`BatchError::Contracts`].
    pub fn order(self, folder: Option<&Path>) -> Result<Order, BatchError> {
        let (job, tables, dry_run) = match self {
            Self::Silver(args) => {
                let accepted = args.accepted.accepted;
                let options = SilverOptions { rebuild: None, reread: args.reread, accepted };
                (Job::Silver(contracts(folder)?, options), args.tables.tables, false)
            }
            Self::Rebuild(args) => {
                let options = SilverOptions { rebuild: Some(args.days.0), ..SilverOptions::default() };
                (Job::Silver(contracts(folder)?, options), args.tables.tables, false)
            }
            Self::Sessions(args) => {
                let options = SessionsOptions { full: args.full, accepted: args.accepted.accepted };
                (Job::Sessions(contracts(folder)?, options), Vec::new(), false)
            }
            Self::Compact(args) => {
                let options = CompactOptions {
                    small_below: args.small_below,
                    min_files: args.min_files,
                    days: args.days.map(|days| days.0),
                    dry_run: args.dry_run,
                };
                (Job::Compact(options), args.tables.tables, args.dry_run)
            }
            Self::RewriteManifests(args) => {
                (Job::RewriteManifests(args.min_manifests), args.tables.tables, false)
            }
            Self::Expire(args) => {
                let options = ExpireOptions {
                    min_snapshots: args.keep,
                    max_age: args.older_than,
                    max_ref_age: args.refs_older_than,
                    stale_after: args.readers.stale_after,
                    ignore_stale: args.readers.ignore_stale,
                    dry_run: args.dry_run,
                    ..ExpireOptions::default()
                };
                (Job::Expire(options), args.tables.tables, args.dry_run)
            }
            Self::RemoveOrphans(args) => {
                let options = OrphanOptions {
                    grace: args.older_than,
                    force: args.force,
                    delete: args.delete,
                    stale_after: args.readers.stale_after,
                    ignore_stale: args.readers.ignore_stale,
                    ..OrphanOptions::default()
                };
                (Job::RemoveOrphans(options), args.tables.tables, !args.delete)
            }
            Self::ReplayDeadLetters(args) => {
                let options = ReplayLettersOptions {
                    topics: args.topics,
                    reasons: args.reasons,
                    days: args.days.map(|days| days.0),
                    again: args.again,
                    max_event_time_ahead: args.max_event_time_ahead,
                    dry_run: args.dry_run,
                };
                (Job::ReplayLetters(contracts(folder)?, options), Vec::new(), args.dry_run)
            }
            Self::Swap(args) => {
                let options = SwapOptions {
                    staging: args.staging,
                    accept_loss: args.accept_loss,
                    dry_run: args.dry_run,
                };
                (Job::Swap(contracts(folder)?, options), Vec::new(), args.dry_run)
            }
        };
        job.check()?;
        let tables = tables.into_iter().filter(|table| !table.trim().is_empty()).collect();
        Ok(Order { job, tables, dry_run })
    }
}
