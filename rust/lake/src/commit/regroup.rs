//! The same live files in other manifests: sorted by partition, each manifest of a wanted size.

use iceberg::io::FileIO;
use iceberg::spec::{ManifestContentType, ManifestFile, TableMetadata};

use super::manifests::{ManifestNames, writer_for};
use super::removal::no_snapshot_id;
use crate::care::manifests::{Placed, TARGET_BYTES, bytes_per_entry, group};

/// Standard table property: bytes of a manifest to aim for.
const TARGET_PROPERTY: &str = "commit.manifest.target-size-bytes";

/// Writes all live data files of `head` into new manifests; manifests of delete files pass unchanged.
pub(super) async fn all(
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
    let target = metadata.properties().get(TARGET_PROPERTY).and_then(|text| text.parse().ok());
    for group in group(&places, target.unwrap_or(TARGET_BYTES)) {
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
