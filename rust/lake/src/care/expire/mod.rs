//! Expiry: old snapshots go, and with them the files that only they needed.
//!
//! The policy stands in the table's properties, under Iceberg's own names, and can be overridden per run. The head, what a
//! branch or tag keeps, and what a registered consumer has not read stay ([`plan`](mod@plan)). The snapshots are removed in
//! one commit that asserts `main` and every branch and tag as they were when it was decided; only then the files are deleted
//! that no snapshot left behind leads to. A run that is cut short between the two leaves orphans, which
//! [`super::orphans`] finds.
//!
//! Memory: the names of the manifests of all snapshots, and of the data files in manifests that only removed snapshots have.

mod garbage;
pub mod plan;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use iceberg::TableUpdate;
use iceberg::spec::{Snapshot, SnapshotRef, TableMetadata};
use serde::Serialize;
use tracing::info;

use self::garbage::Garbage;
pub(super) use self::garbage::is_needed;
use self::plan::{Plan, plan, statistics_of};
use super::change::{Change, change, main_unmoved};
use super::delete::{FileKind, Tally, delete};
use super::{CareError, consumers, refs};
use crate::catalog::{Catalog, LoadedTable};
use crate::commit::CommitOptions;

/// Table property: how many snapshots of each branch stay at least.
pub const MIN_SNAPSHOTS: &str = "history.expire.min-snapshots-to-keep";
/// Table property: up to which age snapshots stay, in milliseconds.
pub const MAX_AGE_MS: &str = "history.expire.max-snapshot-age-ms";
/// Table property: up to which age branches and tags stay that do not say it themselves, in milliseconds; absent: for ever.
pub const MAX_REF_AGE_MS: &str = "history.expire.max-ref-age-ms";
/// Table property: `false` forbids to delete files, because other tables may use them.
pub(super) const GC_ENABLED: &str = "gc.enabled";

const DEFAULT_MIN_SNAPSHOTS: usize = 10;
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(5 * 86_400);
/// After how long without a word a consumer is called stale.
pub const STALE_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// How to expire; what is `None` is taken from the table's properties.
#[derive(Clone, Debug)]
pub struct ExpireOptions {
    /// How many snapshots of each branch stay at least; below 1 counts as 1.
    pub min_snapshots: Option<usize>,
    /// Up to which age snapshots stay.
    pub max_age: Option<Duration>,
    /// Up to which age branches and tags stay that do not say it themselves.
    pub max_ref_age: Option<Duration>,
    /// After how long without a word a consumer is reported as stale.
    pub stale_after: Duration,
    /// Whether stale consumers are passed over: they will have to read everything anew.
    pub ignore_stale: bool,
    /// Whether to say only what would be done.
    pub dry_run: bool,
    /// Bounds of the commit.
    pub commit: CommitOptions,
}

impl Default for ExpireOptions {
    fn default() -> Self {
        Self {
            min_snapshots: None,
            max_age: None,
            max_ref_age: None,
            stale_after: STALE_AFTER,
            ignore_stale: false,
            dry_run: false,
            commit: CommitOptions::default(),
        }
    }
}

/// What a table wants kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Snapshots of each branch that stay at least.
    pub min_snapshots: usize,
    /// Age in milliseconds up to which snapshots stay.
    pub max_age_ms: i64,
    /// Age in milliseconds up to which branches and tags stay; `None`: for ever.
    pub max_ref_age_ms: Option<i64>,
}

/// A registered consumer, as an expiry sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsumerStatus {
    /// Sequence number it has consumed; `None`: its registration cannot be read.
    pub sequence_number: Option<i64>,
    /// When it was last heard of, in milliseconds since 1970 UTC.
    pub updated_at_ms: Option<i64>,
    /// Whether that is too long ago.
    pub stale: bool,
    /// Whether it was passed over.
    pub ignored: bool,
}

/// What an expiry did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct ExpireReport {
    /// The table's name.
    pub table: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Snapshots before.
    pub snapshots_before: usize,
    /// Snapshots after.
    pub snapshots_after: usize,
    /// The snapshots removed, ascending.
    pub removed: Vec<i64>,
    /// Branches and tags removed because of their age.
    pub refs_removed: Vec<String>,
    /// How many snapshots stay for which reason; one may have several.
    pub kept: BTreeMap<String, usize>,
    /// Who reads the table.
    pub consumers: BTreeMap<String, ConsumerStatus>,
    /// Files deleted.
    pub deleted: BTreeMap<FileKind, Tally>,
    /// Unneeded files outside the table's folders, which were left alone: they may be another table's.
    pub outside: Tally,
    /// Commits sent.
    pub attempts: u32,
}

/// Removes the snapshots of a table that its policy does not keep, and the files that only they needed.
///
/// # Errors
/// [`CareError::Refused`] if a property is not a number or `gc.enabled` is false; else what a commit or the store can meet.
/// After [`CareError::Unreadable`] or [`CareError::DeletionFailed`] the snapshots are gone and some files are orphans.
///
/// # Cancel safety
/// As after [`CareError::DeletionFailed`], at worst.
pub async fn expire(
    catalog: &Arc<dyn Catalog>,
    table: &str,
    options: &ExpireOptions,
) -> Result<ExpireReport, CareError> {
    let now_ms = Utc::now().timestamp_millis();
    let mut run = Run::default();
    let changed = change(catalog, table, &options.commit, |table| run.decide(table, options, now_ms)).await?;
    let table = changed.table;
    let (removed, kept) = run.outcome(&table.metadata, options.dry_run);
    let consumers = consumer_status(&table.metadata, options, now_ms);
    let ignored = ignored(&consumers);

    let mut garbage = Garbage::default();
    if !removed.is_empty() {
        let needed_from = consumers::needed_from(&table.metadata, &ignored);
        garbage = garbage::find(&table, &kept, &removed, &run.statistics, needed_from).await?;
    }
    let num_files = garbage.paths.len();
    if !options.dry_run {
        delete(&table, std::mem::take(&mut garbage.paths)).await?;
    }
    let report = ExpireReport {
        table: table.name.clone(),
        dry_run: options.dry_run,
        snapshots_before: run.snapshots_before,
        snapshots_after: kept.len(),
        removed: removed.iter().map(|snapshot| snapshot.snapshot_id()).collect(),
        refs_removed: run.expired_refs.iter().cloned().collect(),
        kept: run.plan.reasons(),
        consumers,
        deleted: garbage.by_kind,
        outside: garbage.outside,
        attempts: changed.attempts,
    };
    info!(
        table = report.table,
        num_removed = report.removed.len(),
        num_kept = kept.len(),
        num_files,
        dry_run = report.dry_run,
        "expired snapshots"
    );
    Ok(report)
}

impl Policy {
    /// Returns the policy of a table, with what a run overrides.
    ///
    /// # Errors
    /// [`CareError::Refused`] if a property is not a whole number of at least 0.
    pub fn of(table: &LoadedTable, options: &ExpireOptions) -> Result<Self, CareError> {
        let millis = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let number = |key: &str| -> Result<Option<i64>, CareError> {
            let Some(text) = table.metadata.properties().get(key) else { return Ok(None) };
            let parsed = text.trim().parse::<i64>().ok().filter(|number| *number >= 0);
            parsed.map(Some).ok_or_else(|| {
                let reason = format!("property `{key}` is `{text}`, not a number of at least 0");
                CareError::refused(&table.name, reason, "correct or remove the property")
            })
        };
        let min_snapshots = number(MIN_SNAPSHOTS)?.and_then(|count| usize::try_from(count).ok());
        let max_age_ms = number(MAX_AGE_MS)?.unwrap_or(millis(DEFAULT_MAX_AGE));
        let min_snapshots = options.min_snapshots.or(min_snapshots).unwrap_or(DEFAULT_MIN_SNAPSHOTS);
        Ok(Self {
            min_snapshots: min_snapshots.max(1),
            max_age_ms: options.max_age.map_or(max_age_ms, millis),
            max_ref_age_ms: options.max_ref_age.map(millis).or(number(MAX_REF_AGE_MS)?),
        })
    }
}

/// What was decided over all attempts.
#[derive(Debug, Default)]
struct Run {
    snapshots_before: usize,
    /// The last decision.
    plan: Plan,
    /// Every snapshot that an attempt wanted removed; it may have landed though its answer was lost.
    wanted: BTreeMap<i64, SnapshotRef>,
    expired_refs: BTreeSet<String>,
    statistics: HashMap<String, u64>,
}

impl Run {
    fn decide(
        &mut self,
        table: &LoadedTable,
        options: &ExpireOptions,
        now_ms: i64,
    ) -> Result<Option<Change>, CareError> {
        refuse_without_gc(table)?;
        let metadata = &table.metadata;
        let policy = Policy::of(table, options)?;
        let ignored = ignored(&consumer_status(metadata, options, now_ms));
        let refs = refs::of(table)?;
        let plan = plan(metadata, &refs, &policy, &ignored, now_ms);
        self.snapshots_before = self.snapshots_before.max(metadata.snapshots().count());
        self.expired_refs.extend(plan.expired_refs.iter().cloned());
        for id in &plan.remove {
            self.wanted.extend(metadata.snapshot_by_id(*id).map(|snapshot| (*id, snapshot.clone())));
        }
        self.statistics.extend(statistics_of(metadata, &plan.remove.iter().copied().collect()));
        let nothing = plan.remove.is_empty() && plan.expired_refs.is_empty();
        let change = (!options.dry_run && !nothing).then(|| change_of(table, &refs, &plan));
        self.plan = plan;
        Ok(change)
    }

    /// The snapshots that are gone (or would be) and those that stay.
    fn outcome<'a>(
        &'a self,
        metadata: &'a TableMetadata,
        dry_run: bool,
    ) -> (Vec<&'a Snapshot>, Vec<&'a Snapshot>) {
        let goes = |id: &i64| dry_run && self.wanted.contains_key(id);
        let there: HashMap<i64, &Snapshot> = metadata
            .snapshots()
            .map(|snapshot| (snapshot.snapshot_id(), snapshot.as_ref()))
            .filter(|(id, _)| !goes(id))
            .collect();
        let gone = self.wanted.iter().filter(|(id, _)| !there.contains_key(id));
        (gone.map(|(_, snapshot)| snapshot.as_ref()).collect(), there.into_values().collect())
    }
}

fn change_of(table: &LoadedTable, refs: &refs::Refs, plan: &Plan) -> Change {
    // Every name: a tag that was moved onto an expiring snapshot would be lost with it.
    let mut requirements: Vec<_> =
        refs.iter().map(|(name, to)| refs::points_to(name, Some(to.snapshot_id))).collect();
    if table.metadata.current_snapshot().is_none() {
        requirements.push(main_unmoved(table));
    }
    let mut updates: Vec<TableUpdate> = plan
        .expired_refs
        .iter()
        .map(|name| TableUpdate::RemoveSnapshotRef { ref_name: name.clone() })
        .collect();
    for snapshot_id in plan.remove.iter().copied() {
        if table.metadata.statistics_for_snapshot(snapshot_id).is_some() {
            updates.push(TableUpdate::RemoveStatistics { snapshot_id });
        }
        if table.metadata.partition_statistics_for_snapshot(snapshot_id).is_some() {
            updates.push(TableUpdate::RemovePartitionStatistics { snapshot_id });
        }
    }
    if !plan.remove.is_empty() {
        updates.push(TableUpdate::RemoveSnapshots { snapshot_ids: plan.remove.clone() });
    }
    Change { requirements, updates }
}

/// Refuses to delete files of a table whose files other tables may use.
pub(super) fn refuse_without_gc(table: &LoadedTable) -> Result<(), CareError> {
    let forbidden = table.metadata.properties().get(GC_ENABLED);
    if forbidden.is_none_or(|value| !value.eq_ignore_ascii_case("false")) {
        return Ok(());
    }
    let reason = format!("property `{GC_ENABLED}` is false");
    Err(CareError::refused(
        &table.name,
        reason,
        "other tables may use its files; set it to true if none does",
    ))
}

/// Returns all consumers of a table by name.
pub fn consumer_status(
    metadata: &TableMetadata,
    options: &ExpireOptions,
    now_ms: i64,
) -> BTreeMap<String, ConsumerStatus> {
    let stale_after_ms = i64::try_from(options.stale_after.as_millis()).unwrap_or(i64::MAX);
    let status = |consumer: Option<consumers::Consumer>| {
        let stale = consumer.as_ref().is_some_and(|consumer| consumer.is_stale(now_ms, stale_after_ms));
        ConsumerStatus {
            sequence_number: consumer.as_ref().map(|consumer| consumer.sequence_number),
            updated_at_ms: consumer.map(|consumer| consumer.updated_at_ms),
            stale,
            ignored: stale && options.ignore_stale,
        }
    };
    consumers::registered(metadata).into_iter().map(|(name, consumer)| (name, status(consumer))).collect()
}

fn ignored(consumers: &BTreeMap<String, ConsumerStatus>) -> BTreeSet<String> {
    consumers.iter().filter(|(_, status)| status.ignored).map(|(name, _)| name.clone()).collect()
}
