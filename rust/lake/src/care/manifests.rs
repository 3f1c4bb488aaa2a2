//! Which live entries go together into which manifest, so that a query that asks for few partitions reads few manifests.
//!
//! A pure plan: entries sorted by partition are cut into manifests of a wanted size. A partition that fills several
//! manifests has them for itself but for the first and last; small neighbours share one. Writing and committing them is the
//! commit path's.

use std::cmp::Ordering;

use iceberg::spec::{Literal, ManifestFile, PrimitiveLiteral, Struct, TableMetadata};

/// Bytes of a manifest that is large enough, as in other engines.
const LARGEST_BYTES: u64 = 8 << 20;
/// Bytes below which reading a manifest costs a request more than it saves.
const SMALLEST_BYTES: u64 = 32 << 10;
/// Standard table property: bytes of a manifest to aim for.
const TARGET_PROPERTY: &str = "commit.manifest.target-size-bytes";
/// How many manifests to aim for: few to name in every commit, and who needs one day reads an eighth of all entries.
const PARTS: u64 = 8;

/// A live entry, as far as its place matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Partition spec of its file; entries of different specs never share a manifest.
    pub spec_id: i32,
    /// Partition of its file.
    pub partition: Struct,
    /// Bytes it takes in a manifest.
    pub bytes: u64,
}

/// One manifest to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Partition spec of its files.
    pub spec_id: i32,
    /// Positions of its entries in what was given, in the order to write them.
    pub entries: Vec<usize>,
    /// Bytes it will have, about.
    pub bytes: u64,
}

/// Returns the bytes of a manifest to aim for: what the table's property says, else an eighth of `all_bytes`, within bounds.
pub fn target_bytes(metadata: &TableMetadata, all_bytes: u64) -> u64 {
    set_bytes(metadata).unwrap_or_else(|| share(all_bytes))
}

/// Returns the bytes from which on a manifest is not merged with others.
pub fn full_bytes(metadata: &TableMetadata) -> u64 {
    set_bytes(metadata).unwrap_or(LARGEST_BYTES) / 2
}

fn set_bytes(metadata: &TableMetadata) -> Option<u64> {
    metadata.properties().get(TARGET_PROPERTY).and_then(|text| text.parse().ok())
}

fn share(all_bytes: u64) -> u64 {
    all_bytes.div_ceil(PARTS).clamp(SMALLEST_BYTES, LARGEST_BYTES)
}

/// Whether a rewrite is worth its while: there are at least `min_manifests`, or one holds more than twice what it should.
pub fn is_due(metadata: &TableMetadata, sizes: &[u64], min_manifests: u64) -> bool {
    are_due(sizes, min_manifests, target_bytes(metadata, sizes.iter().sum()))
}

fn are_due(sizes: &[u64], min_manifests: u64, target: u64) -> bool {
    sizes.len() as u64 >= min_manifests.max(2) || sizes.iter().any(|bytes| *bytes / 2 > target)
}

/// Cuts entries into manifests: by spec, in the order of partitions, each closed before it would exceed `target_bytes`. Every
/// entry is in exactly one; only an entry larger than the target is in a larger manifest, alone.
pub fn group(entries: &[Placed], target_bytes: u64) -> Vec<Group> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|left, right| {
        let (left, right) = (&entries[*left], &entries[*right]);
        left.spec_id.cmp(&right.spec_id).then_with(|| compare(&left.partition, &right.partition))
    });
    let mut groups: Vec<Group> = Vec::new();
    for index in order {
        let entry = &entries[index];
        match groups.last_mut() {
            Some(open) if open.spec_id == entry.spec_id && open.bytes + entry.bytes <= target_bytes => {
                open.entries.push(index);
                open.bytes += entry.bytes;
            }
            _ => {
                groups.push(Group { spec_id: entry.spec_id, entries: vec![index], bytes: entry.bytes });
            }
        }
    }
    groups
}

/// Returns the bytes that one entry of a manifest takes, on average; at least 1.
pub fn bytes_per_entry(manifest: &ManifestFile) -> u64 {
    let counts = [manifest.added_files_count, manifest.existing_files_count, manifest.deleted_files_count];
    let entries: u64 = counts.iter().map(|count| u64::from(count.unwrap_or(0))).sum();
    let bytes = u64::try_from(manifest.manifest_length).unwrap_or_default();
    (bytes / entries.max(1)).max(1)
}

/// Orders partitions field by field, null first; what has no order is equal.
fn compare(left: &Struct, right: &Struct) -> Ordering {
    left.iter().map(primitive).partial_cmp(right.iter().map(primitive)).unwrap_or(Ordering::Equal)
}

fn primitive(literal: Option<&Literal>) -> Option<&PrimitiveLiteral> {
    match literal {
        Some(Literal::Primitive(primitive)) => Some(primitive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn placed(spec_id: i32, day: Option<i32>, bytes: u64) -> Placed {
        Placed { spec_id, partition: Struct::from_iter([day.map(Literal::date)]), bytes }
    }

    #[test]
    fn neighbours_share_and_specs_do_not() {
        let entries =
            [placed(0, Some(3), 4), placed(1, Some(1), 4), placed(0, None, 4), placed(0, Some(1), 4)];

        let groups = group(&entries, 8);

        let found: Vec<(i32, Vec<usize>)> =
            groups.into_iter().map(|group| (group.spec_id, group.entries)).collect();
        assert_eq!(found, [(0, vec![2, 3]), (0, vec![0]), (1, vec![1])]);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(group(&[], share(0)), []);
    }

    #[test]
    fn days_are_spread_over_about_eight_manifests() {
        let days = |count: i32, bytes| (0..count).map(|day| placed(0, Some(day), bytes)).collect::<Vec<_>>();
        let manifests =
            |entries: &[Placed]| group(entries, share(entries.iter().map(|entry| entry.bytes).sum())).len();

        assert_eq!(manifests(&days(10, 3000)), 1, "little is not cut");
        assert_eq!(manifests(&days(600, 3000)), 8);
        assert_eq!(manifests(&days(100, 8 << 20)), 100, "and none is larger than need be");
    }

    #[test]
    fn many_manifests_are_due_and_so_is_one_with_far_more_than_its_share() {
        let due = |sizes: &[u64], min| are_due(sizes, min, share(sizes.iter().sum()));

        assert!(!due(&[10_000; 15], 16));
        assert!(due(&[10_000; 16], 16));
        assert!(!due(&[10_000], 0), "one is never many");
        assert!(!due(&[60_000], 16), "too little to be cut");
        assert!(due(&[400_000], 16));
        assert!(due(&[400_000, 10_000], 16));
        assert!(!due(&[50_000; 8], 16), "what a rewrite leaves is not due");
    }

    proptest! {
        #[test]
        fn every_entry_is_in_one_manifest_of_the_size_and_partitions_lie_together(
            raw in prop::collection::vec((0..2_i32, prop::option::of(0..5_i32), 1..60_u64), 0..80)
        ) {
            let entries: Vec<Placed> =
                raw.iter().map(|(spec, day, bytes)| placed(*spec, *day, *bytes)).collect();
            let groups = group(&entries, 50);

            let mut all: Vec<usize> = groups.iter().flat_map(|group| group.entries.clone()).collect();
            let runs: Vec<(i32, Option<i32>)> = all.iter().map(|index| (raw[*index].0, raw[*index].1)).collect();
            prop_assert!(runs.is_sorted(), "partitions are in order over all manifests: {runs:?}");
            all.sort_unstable();
            prop_assert_eq!(all, (0..entries.len()).collect::<Vec<_>>());
            for group in &groups {
                prop_assert!(group.bytes <= 50 || group.entries.len() == 1);
                prop_assert_eq!(group.bytes, group.entries.iter().map(|index| entries[*index].bytes).sum::<u64>());
                prop_assert!(group.entries.iter().all(|index| entries[*index].spec_id == group.spec_id));
            }
        }
    }
}
