//! Bounds the number of snapshots: the whole list is written anew with every commit, so without a bound a commit after ten
//! thousand others costs several times as much.
//!
//! A table property says how many snapshots of `main` are kept ([`MAX_SNAPSHOTS`]; new tables have 1,000, without the
//! property all are kept). Older ones are removed in the same commit, a tenth of the bound at a time; snapshots that a
//! branch or tag points to stay, and so do those that a registered consumer has not read yet ([`consumers`]). Rows, offsets
//! and their check do not depend on old snapshots; time travel does.

use std::collections::{BTreeSet, HashSet};

use iceberg::spec::TableMetadata;

use super::keys;
use crate::care::{consumers, refs};

/// Table property: how many snapshots of `main` are kept; 0 or absent: all.
pub const MAX_SNAPSHOTS: &str = "streamify.max-snapshots";

/// Ids of the snapshots to remove with the next commit; mostly none.
pub(super) fn surplus(metadata: &TableMetadata) -> Vec<i64> {
    let max: usize = metadata.properties().get(MAX_SNAPSHOTS).and_then(|text| text.parse().ok()).unwrap_or(0);
    if max == 0 || metadata.snapshots().count() < max + (max / 10).max(1) {
        return Vec::new();
    }
    let needed_from = consumers::needed_from(metadata, &BTreeSet::new()).unwrap_or(i64::MAX);
    let beyond: Vec<i64> = keys::lineage(metadata)
        .skip(max)
        .filter(|snapshot| snapshot.sequence_number() < needed_from)
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    if beyond.is_empty() {
        return beyond;
    }
    // References that cannot be read keep everything.
    let Ok(refs) = refs::all(metadata) else { return Vec::new() };
    let kept: HashSet<i64> = refs.values().map(|reference| reference.snapshot_id).collect();
    beyond.into_iter().filter(|id| !kept.contains(id)).collect()
}
