//! Rewrites a table's manifests: the same files, sorted by partition into few manifests of like size, so that a reader of few
//! days reads few of them. Appends never disturb it, and it disturbs nobody.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use streamify_lake::care::manifests::is_due;
use streamify_lake::commit::{Commit, Committer, Kind};
use uuid::Uuid;

use crate::context::Context;
use crate::error::BatchError;

/// What was done to a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ManifestsReport {
    /// Table.
    pub table: String,
    /// Manifests before.
    pub manifests_before: u64,
    /// Manifests after.
    pub manifests_after: u64,
    /// Snapshot made; `None`: there was nothing to do.
    pub snapshot_id: Option<i64>,
    /// Seconds.
    pub seconds: f64,
}

/// Rewrites the manifests of a table that has at least `min_manifests` (2 or more) of them, or one that is too large.
///
/// # Errors
/// [`BatchError`]; nothing is changed then.
pub async fn run(context: &Context, table: &str, min_manifests: u64) -> Result<ManifestsReport, BatchError> {
    let started = Instant::now();
    context.check()?;
    let table = context.table(table).await?;
    let sizes = table.manifest_sizes().await?;
    let before = sizes.len() as u64;
    let mut report = ManifestsReport {
        table: table.name.clone(),
        manifests_before: before,
        manifests_after: before,
        ..ManifestsReport::default()
    };
    if is_due(&table.metadata, &sizes, min_manifests) {
        let mut committer =
            Committer::open(Arc::clone(context.lake.catalog()), table, context.commit.clone()).await?;
        let commit = Commit { commit_id: Uuid::now_v7(), kind: Kind::Manifests, ..Commit::default() };
        report.snapshot_id = committer.commit(commit).await?.snapshot_id;
        report.manifests_after = committer.table().manifest_sizes().await?.len() as u64;
    }
    report.seconds = started.elapsed().as_secs_f64();
    context.tell(format!("{}: manifests rewritten", report.table), 1, 1, 0);
    Ok(report)
}
