//! Puts the rows of a staging table in the place of the same range of its target, in one commit, after comparing the two.
//!
//! The staging table was filled anew from Kafka by `streamify-stream --replay-into`, and names its range itself. Rows are
//! the same if they come from the same place in Kafka. Rows of the target outside of the range stay, whatever files they
//! share with rows inside. The target's files hold all rows in the end: no file of the staging table is referred to. The
//! target's offsets do not change. Repeated, a swap finds nothing to do.
//!
//! Rows that only the target has (records that Kafka dropped, or that are dead letters by now) keep a swap from being made
//! unless the user accepts their loss. Partitions of the target without any difference are left alone. A live worker does
//! not hinder a swap: overtaken by its appends, the swap only looks whether they touch the range.

mod compare;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use streamify_core::Contract;
use streamify_core::replay::{PROPERTY, ReplayRange};
use streamify_core::state::TableState;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::commit::{Commit, CommitError, Committer, Kind, Untouched};
use streamify_lake::scan::{LiveFile, live_files};
use streamify_lake::{FilePartition, TableSpec};
use tracing::{info, warn};

use self::compare::Compared;
use super::places::{self, COLUMNS};
use crate::context::Context;
use crate::error::BatchError;
use crate::silver::discard;

/// What is swapped.
#[derive(Clone, Debug)]
pub struct SwapOptions {
    /// The staging table.
    pub staging: String,
    /// Whether rows may vanish that only the target has.
    pub accept_loss: bool,
    /// Compare only.
    pub dry_run: bool,
}

/// Rows of the range, compared by their place in Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Rows in both with the same payload.
    pub equal: u64,
    /// Rows in both whose payload differs.
    pub differing: u64,
    /// Rows that only the staging table has: the target misses them.
    pub missing: u64,
    /// Rows that only the target has: they would vanish.
    pub extra: u64,
}

impl Difference {
    fn is_none(&self) -> bool {
        self.differing + self.missing + self.extra == 0
    }

    fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.differing += other.differing;
        self.missing += other.missing;
        self.extra += other.extra;
    }
}

/// What a swap found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SwapReport {
    /// Staging table.
    pub staging: String,
    /// Target.
    pub target: String,
    /// Whether it only compared.
    pub dry_run: bool,
    /// By partition of the target (a day, as a rule).
    pub partitions: BTreeMap<String, Difference>,
    /// All of them.
    pub total: Difference,
    /// Rows outside of the range that were written anew because they shared files with others.
    pub rows_kept: u64,
    /// Files that left the target.
    pub files_removed: u64,
    /// Files added to it.
    pub files_added: u64,
    /// The snapshot; `None`: nothing differs, or a dry run.
    pub snapshot_id: Option<i64>,
    /// Times that a commit of others came first.
    pub restarts: u32,
    /// Seconds.
    pub seconds: f64,
}

/// The files of one partition of the target.
#[derive(Clone, Debug, Default)]
struct Unit {
    staging: Vec<LiveFile>,
    /// Those that may hold rows of the range.
    target: Vec<LiveFile>,
}

/// Compares, and swaps unless it is a dry run.
///
/// # Errors
/// [`BatchError`]; nothing is committed then.
pub async fn run(
    context: &Context,
    contracts: &[Arc<Contract>],
    options: &SwapOptions,
) -> Result<SwapReport, BatchError> {
    let started = Instant::now();
    let staging = context.table(&options.staging).await?;
    let range = range_of(&staging)?;
    let mut restarts = 0;
    loop {
        let swap = Swap { context, staging: &staging, range: &range, options };
        let mut report = SwapReport { target: range.target.clone(), restarts, ..SwapReport::default() };
        report.staging.clone_from(&options.staging);
        report.dry_run = options.dry_run;
        let mut target = swap.target(contracts).await?;
        match swap.attempt(&mut target, &mut report).await? {
            None => {
                report.seconds = started.elapsed().as_secs_f64();
                let Difference { equal, differing, missing, extra } = report.total;
                info!(
                    target = range.target,
                    equal,
                    differing,
                    missing,
                    extra,
                    snapshot_id = report.snapshot_id,
                    "compared with the staging table"
                );
                return Ok(report);
            }
            Some(source) => {
                restarts = report.restarts + 1;
                if restarts > context.max_restarts {
                    let table = range.target.clone();
                    return Err(BatchError::Overtaken { table, times: restarts, source });
                }
                warn!(target = range.target, error = %source, "rows of the range changed meanwhile, comparing again");
            }
        }
    }
}

/// The range that a staging table is for, if all of it has been read.
fn range_of(staging: &LoadedTable) -> Result<ReplayRange, BatchError> {
    let invalid = |problem: String| BatchError::Option { option: "--staging".to_owned(), problem };
    let text = staging.metadata.properties().get(PROPERTY);
    let range = text.and_then(|text| ReplayRange::from_json(text)).ok_or_else(|| {
        invalid(format!("table `{}` was not made by `streamify-stream --replay-into`", staging.name))
    })?;
    let state = staging.metadata.properties().get(streamify_lake::commit::keys::STATE);
    let state = state.and_then(|text| TableState::from_json(text).ok()).unwrap_or_default();
    for (partition, [_, end]) in &range.offsets {
        let next = state.next_offset(&range.topic, *partition).unwrap_or(0);
        if next < *end {
            return Err(invalid(format!(
                "table `{}` is at offset {next} of partition {partition}, its range ends at {end}: let the replay run to its end first",
                staging.name
            )));
        }
    }
    Ok(range)
}

struct Swap<'a> {
    context: &'a Context,
    staging: &'a LoadedTable,
    range: &'a ReplayRange,
    options: &'a SwapOptions,
}

impl Swap<'_> {
    /// The target, with all columns that the staging table has.
    async fn target(&self, contracts: &[Arc<Contract>]) -> Result<Committer, BatchError> {
        let range = self.range;
        let contract = contracts
            .iter()
            .find(|contract| contract.topic == range.topic && contract.table == range.target)
            .ok_or_else(|| BatchError::Option {
                option: "--contracts".to_owned(),
                problem: format!("no contract fills table `{}` from topic `{}`", range.target, range.topic),
            })?;
        let mut table = self.context.table(&range.target).await?;
        if !self.options.dry_run {
            table = self.context.lake.ensure_table(&TableSpec::bronze(contract)).await?;
        }
        let catalog = Arc::clone(self.context.lake.catalog());
        let target = Committer::open(catalog, table, self.context.commit.clone()).await?;
        let current = target.state().topics.get(&range.topic).map(|topic| &topic.current);
        let has_all = current.is_some_and(|current| {
            let is_below = |(partition, [_, end]): (&i32, &[i64; 2])| {
                current.next.get(partition).is_some_and(|next| next >= end)
            };
            range.epoch < current.epoch
                || (range.epoch == current.epoch && range.offsets.iter().all(is_below))
        });
        if has_all {
            return Ok(target);
        }
        Err(BatchError::Rows {
            table: range.target.clone(),
            source: "it has not read all of the range: what comes after its offsets is the worker's to write"
                .into(),
        })
    }

    /// Returns what came first if rows of the range changed meanwhile.
    async fn attempt(
        &self,
        target: &mut Committer,
        report: &mut SwapReport,
    ) -> Result<Option<CommitError>, BatchError> {
        let mut units = self.units(target.table()).await?;
        let mut compared = BTreeMap::new();
        let total = units.len();
        for (done, (partition, unit)) in units.iter().enumerate() {
            let what = format!("comparing {partition} of {}", report.target);
            self.context.tell(what, done, total, report.total.equal);
            let found = compare::unit(self, target.table(), unit).await?;
            report.total.add(found.difference);
            report.partitions.insert(partition.to_string(), found.difference);
            compared.insert(*partition, found);
        }
        let extra = report.total.extra;
        if self.options.dry_run || report.total.is_none() {
            return Ok(None);
        }
        if extra > 0 && !self.options.accept_loss {
            let (staging, target) = (report.staging.clone(), report.target.clone());
            return Err(BatchError::SwapLoses { staging, target, rows: extra });
        }
        compared.retain(|_, found| !found.difference.is_none());
        units.retain(|partition, _| compared.contains_key(partition));
        self.commit(target, units, &compared, report).await
    }

    /// The files of the range, by partition of the target.
    async fn units(&self, target: &LoadedTable) -> Result<BTreeMap<FilePartition, Unit>, BatchError> {
        let mut units: BTreeMap<FilePartition, Unit> = BTreeMap::new();
        let other_spec = |table: &LoadedTable, live: &LiveFile| BatchError::Rows {
            table: table.name.clone(),
            source: format!(
                "`{}` was written with another partition spec; rewrite it first",
                live.file.file_path()
            )
            .into(),
        };
        for live in live_files(self.staging, None).await? {
            let partition = live.partition(&self.staging.metadata);
            let partition = partition.ok_or_else(|| other_spec(self.staging, &live))?;
            let partition = as_in(target, partition);
            if self.may_have_days(partition) {
                units.entry(partition).or_default().staging.push(live);
            }
        }
        for live in live_files(target, None).await?.into_iter().filter(|live| self.may_be_in(target, live)) {
            let partition = live.partition(&target.metadata).ok_or_else(|| other_spec(target, &live))?;
            if self.may_have_days(partition) {
                units.entry(partition).or_default().target.push(live);
            }
        }
        Ok(units)
    }

    fn may_have_days(&self, partition: FilePartition) -> bool {
        match partition {
            FilePartition::None => true,
            FilePartition::Day(day) => self.range.has_day(day),
            FilePartition::Hour(hour) => self.range.has_day(hour.div_euclid(24)),
        }
    }

    /// Whether the file's bounds leave room for rows of the range.
    fn may_be_in(&self, target: &LoadedTable, live: &LiveFile) -> bool {
        let [epochs, partitions, offsets] = COLUMNS.map(|column| places::bounds(target, &live.file, column));
        let holds = |bounds: Option<(i64, i64)>, value: i64| {
            bounds.is_none_or(|(low, high)| (low..=high).contains(&value))
        };
        holds(epochs, i64::from(self.range.epoch))
            && self.range.offsets.iter().any(|(partition, [first, end])| {
                holds(partitions, i64::from(*partition))
                    && offsets.is_none_or(|(low, high)| low < *end && high >= *first)
            })
    }

    async fn commit(
        &self,
        target: &mut Committer,
        units: BTreeMap<FilePartition, Unit>,
        compared: &BTreeMap<FilePartition, Compared>,
        report: &mut SwapReport,
    ) -> Result<Option<CommitError>, BatchError> {
        let table = target.table().clone();
        let written = write::units(self, &table, &units, compared, report).await?;
        let paths: Vec<String> = written.files.iter().map(|file| file.file_path().to_owned()).collect();
        let files = written.files.iter().chain(written.removed.iter().map(|live| &live.file));
        let partitions = files.map(|file| file.partition().clone()).collect();
        let mut untouched = Untouched { since: table.metadata.current_snapshot_id(), partitions };
        loop {
            let commit = Commit {
                commit_id: written.commit_id,
                kind: Kind::Overwrite,
                files: written.files.clone(),
                removed: written.removed.clone(),
                untouched: Some(untouched.clone()),
                summary: [(PROPERTY.to_owned(), self.range.to_json())].into(),
                ..Commit::default()
            };
            let error = match target.commit(commit).await {
                Ok(landing) => {
                    report.snapshot_id = landing.snapshot_id;
                    report.files_added = written.files.len() as u64;
                    report.files_removed = written.removed.len() as u64;
                    return Ok(None);
                }
                Err(error) => error,
            };
            let may_go_on = error.overtaken() && report.restarts < self.context.max_restarts;
            if may_go_on && self.is_as_before(target, &units).await? {
                report.restarts += 1;
                untouched.since = target.table().metadata.current_snapshot_id();
                continue;
            }
            if error.surely_not_landed() {
                discard(&table, &paths).await;
            }
            return if error.overtaken() { Ok(Some(error)) } else { Err(error.into()) };
        }
    }

    /// Whether the files that may hold rows of the range are those that were read.
    async fn is_as_before(
        &self,
        target: &mut Committer,
        units: &BTreeMap<FilePartition, Unit>,
    ) -> Result<bool, BatchError> {
        target.refresh().await?;
        let now = self.units(target.table()).await?;
        let paths = |unit: Option<&Unit>| {
            let files = unit.into_iter().flat_map(|unit| &unit.target);
            files.map(|live| live.file.file_path().to_owned()).collect::<BTreeSet<String>>()
        };
        Ok(units.iter().all(|(partition, unit)| paths(Some(unit)) == paths(now.get(partition))))
    }
}

/// The partition of the target to which rows of a partition of the staging table belong.
fn as_in(target: &LoadedTable, partition: FilePartition) -> FilePartition {
    let fields = target.metadata.default_partition_spec().fields();
    match (fields, partition) {
        ([], _) => FilePartition::None,
        ([field], FilePartition::Hour(hour)) if field.transform != iceberg::spec::Transform::Hour => {
            FilePartition::Day(hour.div_euclid(24))
        }
        (_, partition) => partition,
    }
}
