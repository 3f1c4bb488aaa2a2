//! Every job under one roof, so that the command line and Python start them alike and report alike.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use streamify_core::contract::Contract;
use streamify_core::dead_letter;
use streamify_lake::care::expire::{self, ExpireOptions};
use streamify_lake::care::orphans::{self, OrphanOptions};

use crate::compact::{self, CompactOptions};
use crate::context::Context;
use crate::error::BatchError;
use crate::manifests;
use crate::replay::dead_letters::{self, ReplayLettersOptions};
use crate::replay::swap::{self, SwapOptions};
use crate::sessions::{self, SessionsOptions};
use crate::silver::{self, SilverOptions};

/// The contracts of all topics.
pub type Contracts = Vec<Arc<Contract>>;

/// A job and its options; it works on one table at a time.
#[derive(Clone, Debug)]
pub enum Job {
    /// Brings silver tables up to date, or makes days of them anew.
    Silver(Contracts, SilverOptions),
    /// Brings the sessions up to date.
    Sessions(Contracts, SessionsOptions),
    /// Rewrites small files into large ones.
    Compact(CompactOptions),
    /// Rewrites the manifests of tables that have at least so many.
    RewriteManifests(u64),
    /// Removes old snapshots and the files that only they needed.
    Expire(ExpireOptions),
    /// Deletes files that no snapshot knows.
    RemoveOrphans(OrphanOptions),
    /// Decodes dead letters again.
    ReplayLetters(Contracts, ReplayLettersOptions),
    /// Puts the rows of a staging table in the place of others.
    Swap(Contracts, SwapOptions),
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
            Self::Silver(_, options) if options.rebuild.is_some() => "rebuild",
            Self::Silver(..) => "silver",
            Self::Sessions(..) => "sessions",
            Self::Compact(_) => "compact",
            Self::RewriteManifests(_) => "rewrite-manifests",
            Self::Expire(_) => "expire",
            Self::RemoveOrphans(_) => "remove-orphans",
            Self::ReplayLetters(..) => "replay-dead-letters",
            Self::Swap(..) => "swap",
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
            _ => Ok(()),
        }
    }

    /// The tables it works on if none are named.
    ///
    /// # Errors
    /// [`BatchError::Tables`]
    pub async fn suitable(&self, context: &Context) -> Result<Vec<String>, BatchError> {
        let existing = async || {
            context.lake.catalog().list_tables().await.map_err(|source| BatchError::Tables { source })
        };
        match self {
            Self::Silver(contracts, _) => {
                let existing = existing().await?;
                let mut with_bronze: Vec<_> =
                    contracts.iter().filter(|contract| existing.contains(&contract.table)).collect();
                // What looks at other topics comes after them, so that it sees what they got in this run.
                with_bronze.sort_by_key(|contract| contract.silver.precedence.is_some());
                Ok(with_bronze.into_iter().map(|contract| contract.silver.table.clone()).collect())
            }
            Self::Sessions(..) => Ok(vec![sessions::TABLE.to_owned()]),
            Self::Compact(_) | Self::RewriteManifests(_) | Self::Expire(_) | Self::RemoveOrphans(_) => {
                existing().await
            }
            Self::ReplayLetters(..) => Ok(vec![dead_letter::TABLE.to_owned()]),
            Self::Swap(_, options) => Ok(vec![options.staging.clone()]),
        }
    }

    /// Does it to one table.
    ///
    /// # Errors
    /// [`BatchError`]; what is committed by then stays.
    pub async fn run(&self, context: &Context, table: &str) -> Result<TableReport, BatchError> {
        match self {
            Self::Silver(contracts, options) => {
                let contract = contract_of(contracts, table)?;
                let report = silver::run(context, contracts, contract, options).await?;
                Ok(table_report(&contract.silver.table, &report))
            }
            Self::Sessions(contracts, options) if table == sessions::TABLE => {
                Ok(table_report(table, &sessions::run(context, contracts, options).await?))
            }
            Self::Sessions(..) => Err(invalid(
                "tables",
                &format!("sessions are in `{}` only, not in `{table}`", sessions::TABLE),
            )),
            Self::Compact(options) => Ok(table_report(table, &compact::run(context, table, options).await?)),
            Self::RewriteManifests(least) => {
                Ok(table_report(table, &manifests::run(context, table, *least).await?))
            }
            Self::Expire(options) => {
                let options = ExpireOptions { commit: context.commit.clone(), ..options.clone() };
                context.check()?;
                context.tell(format!("expiring snapshots of {table}"), 0, 1, 0);
                let report = expire::expire(context.lake.catalog(), table, &options).await?;
                context.tell(format!("expired snapshots of {table}"), 1, 1, 0);
                Ok(table_report(table, &report))
            }
            Self::RemoveOrphans(options) => {
                context.check()?;
                context.tell(format!("looking for orphans of {table}"), 0, 1, 0);
                let report = orphans::remove(context.lake.catalog(), table, options, &|_| false).await?;
                context.tell(format!("looked for orphans of {table}"), 1, 1, 0);
                Ok(table_report(table, &report))
            }
            Self::ReplayLetters(contracts, options) => {
                Ok(table_report(table, &dead_letters::run(context, contracts, options).await?))
            }
            Self::Swap(contracts, options) => {
                let report = swap::run(context, contracts, options).await?;
                Ok(table_report(&report.target, &report))
            }
        }
    }
}

/// The contract of a silver table, named by it, by its bronze table or by the topic.
fn contract_of<'a>(contracts: &'a Contracts, name: &str) -> Result<&'a Arc<Contract>, BatchError> {
    let names = |contract: &Contract| {
        [contract.silver.table.as_str(), contract.table.as_str(), contract.topic.as_str()].contains(&name)
    };
    contracts.iter().find(|contract| names(contract)).ok_or_else(|| {
        let known: Vec<&str> = contracts.iter().map(|contract| contract.silver.table.as_str()).collect();
        invalid("tables", &format!("`{name}` is not made by this job (it makes: {})", known.join(", ")))
    })
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
