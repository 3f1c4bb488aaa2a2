//! What is left of the manifests of a head when files are removed: each manifest that names one is written anew, the removed
//! files marked as deleted, the others as existing. Manifests without any live file are dropped.

use std::collections::HashMap;

use iceberg::io::FileIO;
use iceberg::spec::{ManifestContentType, ManifestFile, TableMetadata};
use iceberg::{Error, ErrorKind};

use super::manifests::{ManifestNames, writer_for};
use super::snapshot::AttemptError;
use crate::scan::{LiveFile, days_of_manifest, has_deletes};

/// Writes the manifests of `head` without the `removed` files.
///
/// # Errors
/// [`AttemptError::Overtaken`] if one of them is not live any more, or delete files of another engine may apply to it.
pub(super) async fn without(
    metadata: &TableMetadata,
    io: &FileIO,
    names: &mut ManifestNames,
    snapshot_id: i64,
    head: &[ManifestFile],
    removed: &[LiveFile],
) -> Result<Vec<ManifestFile>, AttemptError> {
    let mut missing: HashMap<&str, &LiveFile> =
        removed.iter().map(|live| (live.file.file_path(), live)).collect();
    let mut kept = Vec::with_capacity(head.len());
    for manifest in head {
        if manifest.content == ManifestContentType::Deletes {
            if has_deletes(manifest) {
                return Err(AttemptError::Overtaken(
                    "another engine wrote delete files; rewrite the table with it (Spark: rewrite_data_files) first"
                        .to_string(),
                ));
            }
            kept.push(manifest.clone());
            continue;
        }
        if !(manifest.has_added_files() || manifest.has_existing_files()) {
            continue;
        }
        if missing.is_empty() || !may_hold(manifest, metadata, missing.values().copied()) {
            kept.push(manifest.clone());
            continue;
        }
        let loaded = manifest.load_manifest(io).await?;
        let named =
            loaded.entries().iter().any(|entry| entry.is_alive() && missing.contains_key(entry.file_path()));
        if !named {
            kept.push(manifest.clone());
            continue;
        }
        let mut writer = writer_for(metadata, io, names, snapshot_id, manifest.partition_spec_id)?;
        for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
            let (Some(added_by), Some(sequence)) = (entry.snapshot_id(), entry.sequence_number()) else {
                return Err(no_snapshot_id(manifest).into());
            };
            let file_sequence = entry.file_sequence_number.or(Some(sequence));
            match missing.remove(entry.file_path()) {
                Some(_) => writer.add_delete_file(entry.data_file().clone(), sequence, file_sequence)?,
                None => {
                    writer.add_existing_file(entry.data_file().clone(), added_by, sequence, file_sequence)?
                }
            }
        }
        kept.push(writer.write_manifest_file().await?);
    }
    match missing.keys().next() {
        None => Ok(kept),
        Some(path) => Err(AttemptError::Overtaken(format!("`{path}` is not in the table any more"))),
    }
}

/// Whether a manifest may name one of the files, by its partition bounds; `true` where they do not tell.
fn may_hold<'a>(
    manifest: &ManifestFile,
    metadata: &TableMetadata,
    mut files: impl Iterator<Item = &'a LiveFile>,
) -> bool {
    days_of_manifest(manifest, metadata)
        .is_none_or(|days| files.any(|live| live.day(metadata).is_none_or(|day| days.contains(&day))))
}

pub(super) fn no_snapshot_id(manifest: &ManifestFile) -> Error {
    Error::new(
        ErrorKind::DataInvalid,
        format!("manifest `{}` has an entry without snapshot id", manifest.manifest_path),
    )
}
