//! Silver: bronze rows cleaned, typed, one per event.
//!
//! A run takes what came into bronze since the last one, day by day. For each day it decides which deliveries are the first of
//! their event ([`dedup`]), makes their rows ([`rows`]) and adds them to the day's partition; all days and the new consumed
//! state are one commit. Memory is bounded by the budget: a day's ids are taken in hash buckets, its rows in sorted runs.
//!
//! The law: ids and payloads equal a full recompute, for any split into runs. Late events land in their own day. Where two
//! deliveries of one event disagree, the first consumed stays and the conflict is counted.

mod dedup;
mod marks;
mod plan;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::spec::DataFile;
use serde::Serialize;
use streamify_core::contract::Contract;
use streamify_core::silver::SilverPlan;
use streamify_core::state::{Change, Consumed};
use streamify_lake::catalog::LoadedTable;
use streamify_lake::commit::{Commit, Committer, Kind, Untouched};
use streamify_lake::scan::LiveFile;
use streamify_lake::{Partitioning, TableSpec};
use tracing::{info, warn};
use uuid::Uuid;

use self::plan::Plan;
use crate::context::Context;
use crate::error::BatchError;
use crate::registration;
use crate::restart::{Effort, until_first};

/// What a run of silver does.
#[derive(Clone, Debug, Default)]
pub struct SilverOptions {
    /// Make these days anew from all of bronze, in the place of what they hold; the consumed state stays. `None`: take what
    /// is new.
    pub rebuild: Option<BTreeSet<i32>>,
    /// Read bronze from its beginning, whatever was consumed; rows that are there stay.
    pub reread: bool,
    /// Snapshots of bronze in which another engine changed rows, to be taken as they are.
    pub accepted: Vec<i64>,
}

/// What a run of silver did with one topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SilverReport {
    /// Silver table.
    pub table: String,
    /// Bronze table.
    pub source: String,
    /// Bronze rows offered.
    pub rows_in: u64,
    /// Rows added (at a rebuild: rows of the rebuilt days).
    pub rows_out: u64,
    /// Further deliveries of events of this run.
    pub duplicates: u64,
    /// Deliveries of events that silver had before.
    pub already_known: u64,
    /// Events whose deliveries disagree in their payload; a lower bound above a million repeated events.
    pub conflicts: u64,
    /// Bronze rows that are no events: a required field is null (tables of older pipelines).
    pub incomplete: u64,
    /// Texts repaired, by column.
    pub repaired: BTreeMap<String, u64>,
    /// Rows marked anew because the event before them came later (`is_login_result`).
    pub remarked: u64,
    /// Days touched, `YYYY-MM-DD`.
    pub days: Vec<String>,
    /// Bronze snapshots consumed.
    pub snapshots: u64,
    /// Files added.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of data files read.
    pub bytes_read: u64,
    /// Bytes of metadata files read: table metadata, manifest lists, manifests.
    pub metadata_bytes: u64,
    /// Snapshot made; `None`: there was nothing to do.
    pub snapshot_id: Option<i64>,
    /// Times the run began anew because another commit came first.
    pub restarts: u32,
    /// Seconds.
    pub seconds: f64,
}

/// What a silver table must look like.
pub fn table_spec(plan: &SilverPlan) -> TableSpec {
    TableSpec {
        name: plan.table().to_owned(),
        doc: format!("{} Cleaned, typed, one row per event.", plan.contract().doc),
        columns: plan.columns(),
        identity: plan.identity().iter().map(|name| (*name).to_owned()).collect(),
        partitioning: Partitioning::Identity("event_date".to_owned()),
        sort_key: plan.sort_key(),
        properties: Vec::new(),
    }
}

/// Brings the silver table of a topic up to date.
///
/// # Errors
/// [`BatchError`]; nothing is committed then.
pub async fn run(
    context: &Context,
    contracts: &[Arc<Contract>],
    contract: &Arc<Contract>,
    options: &SilverOptions,
) -> Result<SilverReport, BatchError> {
    let once = || attempt(context, contracts, contract, options);
    let (report, effort) = until_first(context, &contract.silver.table, once).await?;
    let Effort { restarts, seconds, bytes_read, metadata_bytes } = effort;
    Ok(SilverReport { restarts, seconds, bytes_read, metadata_bytes, ..report })
}

async fn attempt(
    context: &Context,
    contracts: &[Arc<Contract>],
    contract: &Arc<Contract>,
    options: &SilverOptions,
) -> Result<SilverReport, BatchError> {
    let bronze = context.table(&contract.table).await?;
    let silver_plan = SilverPlan::new(contract);
    let silver = context.lake.ensure_table(&table_spec(&silver_plan)).await?;
    let mut committer =
        Committer::open(Arc::clone(context.lake.catalog()), silver, context.commit.clone()).await?;
    let mut report = SilverReport {
        table: contract.silver.table.clone(),
        source: contract.table.clone(),
        ..SilverReport::default()
    };
    let plan = Plan::make(context, contracts, contract, bronze, &committer, options).await?;
    report.snapshots = plan.snapshots;
    if plan.is_idle() {
        context.tell(format!("{} is up to date", report.table), 1, 1, 0);
        return Ok(report);
    }
    let work = Work { context, plan: &plan, silver: committer.table() };
    let commit = work.rows(silver_plan, &mut report).await?;
    let changes = commit.changes.clone();
    let written: Vec<String> = commit.files.iter().map(|file| file.file_path().to_owned()).collect();
    match committer.commit(commit).await {
        Ok(landing) => {
            report.snapshot_id = landing.snapshot_id;
            registration::renew(context, committer.table(), &changes).await;
            let (rows_out, days) = (report.rows_out, report.days.len());
            info!(table = report.table, rows_in = report.rows_in, rows_out, days, "silver is up to date");
            Ok(report)
        }
        Err(error) => {
            if error.surely_not_landed() {
                discard(committer.table(), &written).await;
            }
            Err(error.into())
        }
    }
}

/// Deletes files of a commit that surely did not land; what cannot be deleted is left to the orphan removal.
pub(crate) async fn discard(table: &LoadedTable, paths: &[String]) {
    for path in paths {
        if let Err(error) = table.file_io.delete(path).await {
            warn!(path, %error, "a file of a commit that did not land stays");
        }
    }
}

/// One run over what a plan names.
struct Work<'a> {
    context: &'a Context,
    plan: &'a Plan,
    silver: &'a LoadedTable,
}

impl Work<'_> {
    /// Writes the files of all days and puts the commit together.
    async fn rows(
        &self,
        mut silver_plan: SilverPlan,
        report: &mut SilverReport,
    ) -> Result<Commit, BatchError> {
        let commit_id = Uuid::now_v7();
        let names = crate::output::FileNames::new(commit_id);
        let mut files: Vec<DataFile> = Vec::new();
        let mut removed: Vec<LiveFile> = Vec::new();
        let mut untouched =
            Untouched { since: self.silver.metadata.current_snapshot_id(), partitions: Default::default() };
        let total = self.plan.days.len();
        for (done, (day, work)) in self.plan.days.iter().enumerate() {
            self.context.check()?;
            let date = crate::compact::date(*day);
            self.context.tell(format!("{}: {date}", report.table), done, total, report.rows_in);
            let marks = marks::of_day(self.context, self.plan, *day).await?;
            let is_replaced =
                self.plan.is_rebuild || marks::changes_old_rows(self, work, &marks, &silver_plan).await?;
            let made =
                rows::make(self, *day, work, is_replaced, &marks, &mut silver_plan, &names, report).await?;
            if made.is_empty() && !is_replaced {
                continue;
            }
            files.extend(made);
            untouched
                .partitions
                .insert(iceberg::spec::Struct::from_iter([Some(iceberg::spec::Literal::date(*day))]));
            if is_replaced {
                removed.extend(work.silver.iter().cloned());
            }
            report.days.push(date);
        }
        report.files = files.len() as u64;
        report.bytes = files.iter().map(DataFile::file_size_in_bytes).sum();
        let kind = if removed.is_empty() { Kind::Append } else { Kind::Overwrite };
        let changes = if self.plan.is_rebuild { Vec::new() } else { self.plan.changes.clone() };
        let summary = BTreeMap::from([
            (
                "streamify.job".to_owned(),
                if self.plan.is_rebuild { "silver-rebuild" } else { "silver" }.to_owned(),
            ),
            ("streamify.rows-in".to_owned(), report.rows_in.to_string()),
            ("streamify.duplicates".to_owned(), report.duplicates.to_string()),
            ("streamify.already-known".to_owned(), report.already_known.to_string()),
            ("streamify.conflicts".to_owned(), report.conflicts.to_string()),
        ]);
        Ok(Commit {
            commit_id,
            kind,
            files,
            removed,
            untouched: Some(untouched),
            changes,
            ledger: None,
            summary,
        })
    }
}

/// The change that carries what was consumed of a table.
pub(crate) fn consume(table: &str, expected: Option<&Consumed>, to: Consumed) -> Change {
    Change::Consume { table: table.to_owned(), expected: expected.cloned(), to }
}
