//! The same live files in other manifests: sorted by partition, each manifest of a wanted size.
//!
//! The work is done once. An attempt that comes too late because others appended takes what the first one wrote, and the
//! manifests that came since as they are; else a table that is written faster than its manifests can be read would never
//! get there.

use std::collections::HashSet;

use iceberg::io::FileIO;
use iceberg::spec::{ManifestContentType, ManifestFile, TableMetadata};

use super::manifests::{ManifestNames, writer_for};
use super::removal::no_snapshot_id;
use crate::care::manifests::{Placed, bytes_per_entry, group, target_bytes};

/// Manifests that were written in the place of others.
#[derive(Debug)]
pub(super) struct Regrouped {
    of: HashSet<String>,
    into: Vec<ManifestFile>,
}

impl Regrouped {
    /// Regroups all of `head`.
    pub(super) async fn new(
        metadata: &TableMetadata,
        io: &FileIO,
        names: &mut ManifestNames,
        snapshot_id: i64,
        head: &[ManifestFile],
    ) -> iceberg::Result<Self> {
        let of = head.iter().map(|manifest| manifest.manifest_path.clone()).collect();
        Ok(Self { of, into: all(metadata, io, names, snapshot_id, head).await? })
    }

    /// Returns the manifests of `head` with these in the place of the others; `None` if one of those has gone since.
    pub(super) fn within(&self, head: &[ManifestFile]) -> Option<Vec<ManifestFile>> {
        let (known, new): (Vec<_>, Vec<_>) =
            head.iter().partition(|manifest| self.of.contains(&manifest.manifest_path));
        let is_whole = known.len() == self.of.len();
        is_whole.then(|| self.into.iter().chain(new).cloned().collect())
    }
}

/// Writes all live data files of `head` into new manifests; manifests of delete files pass unchanged.
async fn all(
    metadata: &TableMetadata,
    io: &FileIO,
    names: &mut ManifestNames,
    snapshot_id: i64,
    head: &[ManifestFile],
) -> iceberg::Result<Vec<ManifestFile>> {
    let (mut kept, mut entries, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for manifest in head {
        if manifest.content == ManifestContentType::Deletes {
            kept.push(manifest.clone());
            continue;
        }
        let bytes = bytes_per_entry(manifest);
        let loaded = manifest.load_manifest(io).await?;
        for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
            let (Some(added_by), Some(sequence)) = (entry.snapshot_id(), entry.sequence_number()) else {
                return Err(no_snapshot_id(manifest));
            };
            let partition = entry.data_file().partition().clone();
            places.push(Placed { spec_id: manifest.partition_spec_id, partition, bytes });
            entries.push((entry.clone(), added_by, sequence));
        }
    }
    let target = target_bytes(metadata, places.iter().map(|placed| placed.bytes).sum());
    for group in group(&places, target) {
        let mut writer = writer_for(metadata, io, names, snapshot_id, group.spec_id)?;
        for index in group.entries {
            let (entry, added_by, sequence) = &entries[index];
            let file_sequence = entry.file_sequence_number.or(Some(*sequence));
            writer.add_existing_file(entry.data_file().clone(), *added_by, *sequence, file_sequence)?;
        }
        kept.push(writer.write_manifest_file().await?);
    }
    Ok(kept)
}
