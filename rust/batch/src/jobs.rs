//! Every job under one roof, so that the command line and Python start them alike and report alike.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::compact::{self, CompactOptions};
use crate::context::Context;
use crate::error::BatchError;

/// A job and its options; it works on one table at a time.
#[derive(Clone, Debug)]
pub enum Job {
    /// Rewrites small files into large ones.
    Compact(CompactOptions),
}

/// What a job did to one table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Counts, ids and seconds by name, as the job's own report has them.
    #[serde(flatten)]
    pub figures: Map<String, Value>,
}

impl Job {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Compact(_) => "compact",
        }
    }

    /// Refuses options that cannot be meant.
    ///
    /// # Errors
    /// [`BatchError::Option`]
    pub fn check(&self) -> Result<(), BatchError> {
        match self {
            Self::Compact(options) if !(options.small_below > 0.0 && options.small_below <= 1.0) => {
                Err(invalid("small-below", "expected a part of the target size, above 0 and at most 1"))
            }
            Self::Compact(options) if options.min_files < 2 => {
                Err(invalid("min-files", "one file alone cannot be joined to another; expected at least 2"))
            }
            Self::Compact(_) => Ok(()),
        }
    }

    /// The tables it works on if none are named, ascending.
    ///
    /// # Errors
    /// [`BatchError::Tables`]
    pub async fn suitable(&self, context: &Context) -> Result<Vec<String>, BatchError> {
        match self {
            Self::Compact(_) => {
                context.lake.catalog().list_tables().await.map_err(|source| BatchError::Tables { source })
            }
        }
    }

    /// Does it to one table.
    ///
    /// # Errors
    /// [`BatchError`]; what is committed by then stays.
    pub async fn run(&self, context: &Context, table: &str) -> Result<TableReport, BatchError> {
        match self {
            Self::Compact(options) => Ok(table_report(table, &compact::run(context, table, options).await?)),
        }
    }
}

fn invalid(option: &str, problem: &str) -> BatchError {
    BatchError::Option { option: option.to_owned(), problem: problem.to_owned() }
}

/// The fields of a job's report; the table's name stands apart.
fn table_report(table: &str, report: &impl Serialize) -> TableReport {
    let mut figures = match serde_json::to_value(report) {
        Ok(Value::Object(figures)) => figures,
        _ => Map::new(),
    };
    figures.remove("table");
    TableReport { table: table.to_owned(), figures }
}
