//! Orphans: files in a table's folders that no snapshot, statistics or metadata log knows.
//!
//! They come from writers that died, from commits that were refused, from snapshots that a commit's own bound removed, and
//! from expiries cut short. A file is an orphan if
//! * it is in a folder that the table writes to, and the table's metadata, *loaded after the listing*, does not lead to it;
//! * the store took it longer ago than the grace period: a file is written before it is committed, and the longest
//!   commit under way must be younger than that;
//! * its commit is not protected by a lease, and no consumer is still to read it.
//!
//! **First the listing, then the metadata.** The other way round, a file that is written and committed in between would be in
//! the listing and not in the metadata: an orphan by mistake. As it is, every file of the listing that is committed by the
//! end of the listing is known to the metadata, and what is committed later is young.
//!
//! Hidden files (names that begin with `_` or `.`, but for partition folders) are not looked at. Where another table of the
//! namespace claims a folder of this one, nothing is done. Memory: the names of the old files that are not accounted for
//! yet, about 200 bytes each.

mod candidates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde::Serialize;
use tracing::info;

use self::candidates::Candidates;
use super::change::load;
use super::delete::{FileKind, Tally, delete};
use super::expire::{ExpireOptions, consumer_status, refuse_without_gc};
use super::folders::Folders;
use super::{CareError, consumers};
use crate::catalog::{Catalog, LoadedTable};

/// Grace period by default.
pub const GRACE: Duration = Duration::from_secs(3 * 86_400);
/// The shortest grace period that is not forced.
pub const MIN_GRACE: Duration = Duration::from_secs(3_600);
/// How many orphans a report names by default.
pub const SAMPLE: usize = 100;
/// How often the table is looked at, each time after an expiry has come between.
const MOST_LOOKS: u32 = 10;

/// Says of a commit id whether its files are in use by a writer that is alive.
pub type Protected<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// How to look for orphans.
#[derive(Clone, Debug)]
pub struct OrphanOptions {
    /// Files that the store took less than this ago are left alone.
    pub grace: Duration,
    /// Allows a grace period below [`MIN_GRACE`]: only where surely nobody writes.
    pub force: bool,
    /// Whether orphans are deleted; else they are only named.
    pub delete: bool,
    /// How many orphans the report names.
    pub sample: usize,
    /// After how long without a word a consumer is stale.
    pub stale_after: Duration,
    /// Whether stale consumers are passed over.
    pub ignore_stale: bool,
}

impl Default for OrphanOptions {
    fn default() -> Self {
        Self {
            grace: GRACE,
            force: false,
            delete: false,
            sample: SAMPLE,
            stale_after: super::expire::STALE_AFTER,
            ignore_stale: false,
        }
    }
}

/// A file that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// Its address.
    pub path: String,
    /// What it was for, by its name.
    pub kind: FileKind,
    /// Bytes.
    pub bytes: u64,
    /// When the store took it, in milliseconds since 1970 UTC.
    pub modified_ms: i64,
}

/// What was found, and whether it was deleted.
#[derive(Clone, Debug, Serialize)]
pub struct OrphanReport {
    /// The table's name.
    pub table: String,
    /// Whether nothing was deleted.
    pub dry_run: bool,
    /// Folders that were listed.
    pub folders: Vec<String>,
    /// All files in them.
    pub listed: Tally,
    /// Files younger than the grace period.
    pub young: Tally,
    /// Files of commits that are protected.
    pub protected: Tally,
    /// Files that have the name of a known file in another folder, to which a link may lead; they are left alone.
    pub alike: Tally,
    /// Orphans by kind.
    pub orphans: BTreeMap<FileKind, Tally>,
    /// The first orphans by address.
    pub sample: Vec<Orphan>,
}

/// Finds, and if asked deletes, the orphans of a table.
///
/// # Errors
/// [`CareError::Refused`] for too short a grace period, for `gc.enabled` false, if another table of the namespace claims a
/// folder of this one, or if the table was replaced meanwhile; else what catalog and store can meet. Nothing is deleted
/// then, except before [`CareError::DeletionFailed`].
pub async fn remove(
    catalog: &Arc<dyn Catalog>,
    name: &str,
    options: &OrphanOptions,
    protected: Protected<'_>,
) -> Result<OrphanReport, CareError> {
    let before = load(catalog, name).await?;
    refuse_short_grace(name, options)?;
    refuse_without_gc(&before)?;
    refuse_shared(catalog, name, &Folders::of(&before.metadata)).await?;

    let grace_ms = i64::try_from(options.grace.as_millis()).unwrap_or(i64::MAX);
    let oldest_young_ms = Utc::now().timestamp_millis().saturating_sub(grace_ms);
    let mut candidates = Candidates::new(&before, oldest_young_ms);
    candidates.list(&before, protected).await?;

    let table = strike_out_known(catalog, &before, &mut candidates, options).await?;
    let (report, orphans) = candidates.finish(&table, options);
    let (num_listed, num_orphans) = (report.listed.files, orphans.len());
    if options.delete {
        delete(&table, orphans.into_iter().map(|orphan| orphan.path).collect()).await?;
    }
    info!(table = name, num_listed, num_orphans, dry_run = report.dry_run, "looked for orphans");
    Ok(report)
}

/// Strikes out what the table leads to, and returns the table as it was then.
///
/// An expiry may take a snapshot with its files between the load of the table and the reading of its manifests: then the table is
/// loaded anew. What was struck out before stays so, which spares a file too many at worst.
async fn strike_out_known(
    catalog: &Arc<dyn Catalog>,
    before: &LoadedTable,
    candidates: &mut Candidates,
    options: &OrphanOptions,
) -> Result<LoadedTable, CareError> {
    let name = &before.name;
    let mut table = load(catalog, name).await?;
    let mut looks = 1;
    loop {
        if table.metadata.uuid() != before.metadata.uuid() {
            let reason = "it was dropped and made anew meanwhile";
            return Err(CareError::refused(name, reason, "run it again if the new table is meant"));
        }
        let needed_from = consumers::needed_from(&table.metadata, &passed_over(&table, options));
        let error = match candidates.strike_out(&table, needed_from).await {
            Ok(()) => return Ok(table),
            Err(error @ CareError::Unreadable { .. }) if looks < MOST_LOOKS => error,
            Err(error) => return Err(error),
        };
        let newer = load(catalog, name).await?;
        if newer.metadata_location == table.metadata_location {
            return Err(error);
        }
        (table, looks) = (newer, looks + 1);
    }
}

fn refuse_short_grace(table: &str, options: &OrphanOptions) -> Result<(), CareError> {
    if options.grace >= MIN_GRACE || options.force {
        return Ok(());
    }
    let reason =
        format!("a grace period of {} s is shorter than {} s", options.grace.as_secs(), MIN_GRACE.as_secs());
    let hint = "a commit under way would lose its files; force it only where surely nobody writes";
    Err(CareError::refused(table, reason, hint))
}

/// Files of another table are unknown to this one, and would all be orphans.
async fn refuse_shared(catalog: &Arc<dyn Catalog>, name: &str, folders: &Folders) -> Result<(), CareError> {
    let unavailable = |source| CareError::Unavailable { table: name.to_owned(), source };
    for other in catalog.list_tables().await.map_err(unavailable)? {
        if other == name {
            continue;
        }
        let loaded = catalog.load_table(&other).await;
        let loaded = loaded.map_err(|source| CareError::Unavailable { table: other.clone(), source })?;
        let shared = loaded.and_then(|table| folders.shared_with(&Folders::of(&table.metadata)));
        if let Some(folder) = shared {
            let reason = format!("table `{other}` has the folder `{folder}` too");
            return Err(CareError::refused(
                name,
                reason,
                "move one of the two tables to a folder of its own",
            ));
        }
    }
    Ok(())
}

fn passed_over(table: &LoadedTable, options: &OrphanOptions) -> BTreeSet<String> {
    let options = ExpireOptions {
        stale_after: options.stale_after,
        ignore_stale: options.ignore_stale,
        ..ExpireOptions::default()
    };
    let status = consumer_status(&table.metadata, &options, Utc::now().timestamp_millis());
    status.into_iter().filter(|(_, status)| status.ignored).map(|(name, _)| name).collect()
}
