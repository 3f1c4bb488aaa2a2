//! Bounds the number of snapshots: the whole list is written anew with every commit, so without a bound a commit after ten
//! thousand others costs several times as much.
//!
//! A table property says how many snapshots of `main` are kept ([`MAX_SNAPSHOTS`]; new tables have 1,000, without the
//! property all are kept). Older ones are removed in the same commit, a tenth of the bound at a time; snapshots that a
//! branch or tag points to stay. Rows, offsets and their check do not depend on old snapshots; time travel does.

use std::collections::HashSet;

use iceberg::spec::TableMetadata;

use super::keys;

/// Table property: how many snapshots of `main` are kept; 0 or absent: all.
pub const MAX_SNAPSHOTS: &str = "streamify.max-snapshots";

/// Ids of the snapshots to remove with the next commit; mostly none.
pub(super) fn surplus(metadata: &TableMetadata) -> Vec<i64> {
    let max: usize = metadata.properties().get(MAX_SNAPSHOTS).and_then(|text| text.parse().ok()).unwrap_or(0);
    if max == 0 || metadata.snapshots().count() < max + (max / 10).max(1) {
        return Vec::new();
    }
    let kept = referenced(metadata);
    keys::lineage(metadata)
        .skip(max)
        .map(|snapshot| snapshot.snapshot_id())
        .filter(|id| !kept.contains(id))
        .collect()
}

/// Snapshots that a branch or tag points to. The crate shows them in the JSON form only.
fn referenced(metadata: &TableMetadata) -> HashSet<i64> {
    let json = serde_json::to_value(metadata).unwrap_or_default();
    let refs = json.get("refs").and_then(|refs| refs.as_object());
    refs.into_iter().flatten().filter_map(|(_, reference)| reference.get("snapshot-id")?.as_i64()).collect()
}
