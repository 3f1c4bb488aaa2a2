//! The jobs of the command line, and the library's jobs that they mean.

use clap::{ArgAction, Args, Subcommand};

use crate::compact::CompactOptions;
use crate::days::Days;
use crate::error::BatchError;
use crate::jobs::Job;

/// A job and its options.
#[derive(Clone, Debug, Subcommand)]
pub enum JobArgs {
    /// Rewrites small data files into few large ones, sorted; the rows stay the same
    Compact(CompactArgs),
}

/// Which tables.
#[derive(Args, Clone, Debug)]
pub struct Tables {
    /// Tables, separated by commas or given again [default: all that suit the job]
    #[arg(long, value_delimiter = ',', value_name = "TABLE,...")]
    pub tables: Vec<String>,
}

/// Which days.
#[derive(Args, Clone, Debug)]
pub struct DaysArg {
    /// Only these days (UTC), e.g. `2026-02-23` or `2026-02-23..2026-02-25`, both included [default: all]
    #[arg(long, value_name = "DAYS")]
    pub days: Option<Days>,
}

/// Options of `compact`.
#[derive(Args, Clone, Debug)]
pub struct CompactArgs {
    #[command(flatten)]
    tables: Tables,

    #[command(flatten)]
    days: DaysArg,

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
    /// What is to be done.
    ///
    /// # Errors
    /// [`BatchError::Option`]: a value that cannot be meant.
    pub fn order(self) -> Result<Order, BatchError> {
        let order = match self {
            Self::Compact(args) => Order {
                dry_run: args.dry_run,
                tables: args.tables.tables,
                job: Job::Compact(CompactOptions {
                    small_below: args.small_below,
                    min_files: args.min_files,
                    days: args.days.days.map(|days| days.0),
                    dry_run: args.dry_run,
                }),
            },
        };
        order.job.check()?;
        let mut tables = order.tables;
        tables.retain(|table| !table.trim().is_empty());
        Ok(Order { tables, ..order })
    }
}
