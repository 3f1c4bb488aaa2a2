//! The manifests of a snapshot: one new manifest for the files of a commit, and merging so that their number stays
//! bounded.
//!
//! Manifests fall into classes by their number of files (below 32, below 32², …). Once a class holds
//! [`MERGE_AT`] manifests they become one of the next class, so a table of n files has at most `32 · log₃₂ n` manifests and
//! every file's entry is rewritten `log₃₂ n` times: a commit costs the same after ten thousand others. Manifests of
//! several MiB (half of `commit.manifest.target-size-bytes`) stay as they are.

use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestList, ManifestStatus,
    ManifestWriter, ManifestWriterBuilder, Snapshot, TableMetadata, UNASSIGNED_SEQUENCE_NUMBER,
};
use iceberg::{Error, ErrorKind, Result};
use uuid::Uuid;

use super::removal::no_snapshot_id;
use crate::care::manifests::full_bytes;

/// How many manifests of one size class are merged into one.
pub const MERGE_AT: usize = 32;

/// Gives unique names to the manifests of one commit.
#[derive(Debug)]
pub struct ManifestNames {
    prefix: String,
    count: usize,
}

impl ManifestNames {
    /// Names below the table's metadata folder, beginning with the commit id.
    pub fn new(metadata: &TableMetadata, commit_id: Uuid) -> Self {
        ManifestNames { prefix: format!("{}/metadata/{commit_id}", metadata.location()), count: 0 }
    }

    fn next(&mut self) -> String {
        let name = format!("{}-m{}.avro", self.prefix, self.count);
        self.count += 1;
        name
    }
}

/// Loads the manifests of `main`'s head; none for an empty table.
pub async fn current(metadata: &TableMetadata, io: &FileIO) -> Result<Vec<ManifestFile>> {
    match metadata.current_snapshot() {
        Some(snapshot) => of(snapshot, metadata, io).await,
        None => Ok(Vec::new()),
    }
}

/// Loads the manifests of a snapshot.
pub(crate) async fn of(
    snapshot: &Snapshot,
    metadata: &TableMetadata,
    io: &FileIO,
) -> Result<Vec<ManifestFile>> {
    let bytes = io.new_input(snapshot.manifest_list())?.read().await?;
    let list = ManifestList::parse_with_version(&bytes, metadata.format_version())?;
    Ok(list.consume_entries().into_iter().collect())
}

/// Loads what a snapshot itself did: its added and removed data files, with their partition spec.
pub(crate) async fn entries_of(
    snapshot: &Snapshot,
    metadata: &TableMetadata,
    io: &FileIO,
) -> Result<Vec<(i32, ManifestEntryRef)>> {
    let id = snapshot.snapshot_id();
    let mut entries = Vec::new();
    for manifest in of(snapshot, metadata, io).await? {
        if manifest.added_snapshot_id != id || manifest.content != ManifestContentType::Data {
            continue;
        }
        let loaded = manifest.load_manifest(io).await?;
        let own = loaded
            .entries()
            .iter()
            .filter(|entry| entry.snapshot_id() == Some(id) && entry.status() != ManifestStatus::Existing);
        entries.extend(own.map(|entry| (manifest.partition_spec_id, entry.clone())));
    }
    Ok(entries)
}

/// Writes the manifest of the files that a commit adds.
pub async fn write_added(
    metadata: &TableMetadata,
    io: &FileIO,
    names: &mut ManifestNames,
    snapshot_id: i64,
    files: Vec<DataFile>,
) -> Result<ManifestFile> {
    let mut writer = new_writer(metadata, io, names, snapshot_id)?;
    for file in files {
        // Negative: the files take the sequence number of whichever attempt lands.
        writer.add_file(file, UNASSIGNED_SEQUENCE_NUMBER)?;
    }
    writer.write_manifest_file().await
}

/// Merges every full size class of data manifests with the default partition spec; the others pass unchanged.
pub async fn merge(
    metadata: &TableMetadata,
    io: &FileIO,
    names: &mut ManifestNames,
    snapshot_id: i64,
    mut manifests: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>> {
    while let Some(class) = full_class(metadata, &manifests) {
        let (merging, kept): (Vec<_>, Vec<_>) =
            manifests.into_iter().partition(|manifest| size_class(metadata, manifest) == Some(class));
        let mut writer = new_writer(metadata, io, names, snapshot_id)?;
        for manifest in &merging {
            copy_live_entries(manifest, io, &mut writer).await?;
        }
        manifests = kept;
        manifests.push(writer.write_manifest_file().await?);
    }
    Ok(manifests)
}

async fn copy_live_entries(manifest: &ManifestFile, io: &FileIO, writer: &mut ManifestWriter) -> Result<()> {
    for entry in manifest.load_manifest(io).await?.entries() {
        if !entry.is_alive() {
            continue;
        }
        let (Some(snapshot), Some(sequence)) = (entry.snapshot_id(), entry.sequence_number()) else {
            return Err(no_snapshot_id(manifest));
        };
        let file_sequence = entry.file_sequence_number.or(Some(sequence));
        writer.add_existing_file(entry.data_file().clone(), snapshot, sequence, file_sequence)?;
    }
    Ok(())
}

fn new_writer(
    metadata: &TableMetadata,
    io: &FileIO,
    names: &mut ManifestNames,
    snapshot_id: i64,
) -> Result<ManifestWriter> {
    writer_for(metadata, io, names, snapshot_id, metadata.default_partition_spec_id())
}

/// A writer for data files of a given partition spec.
pub(super) fn writer_for(
    metadata: &TableMetadata,
    io: &FileIO,
    names: &mut ManifestNames,
    snapshot_id: i64,
    spec_id: i32,
) -> Result<ManifestWriter> {
    let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
        Error::new(ErrorKind::DataInvalid, format!("the table has no partition spec {spec_id}"))
    })?;
    let output = io.new_output(names.next())?;
    let builder = ManifestWriterBuilder::new(
        output,
        Some(snapshot_id),
        metadata.current_schema().clone(),
        spec.as_ref().clone(),
    );
    Ok(builder.build_v2_data())
}

/// 0 for fewer than [`MERGE_AT`] files, 1 for fewer than its square, and so on; `None`: never merged.
fn size_class(metadata: &TableMetadata, manifest: &ManifestFile) -> Option<u32> {
    let is_full = u64::try_from(manifest.manifest_length).is_ok_and(|bytes| bytes >= full_bytes(metadata));
    let mergeable = manifest.content == ManifestContentType::Data
        && manifest.partition_spec_id == metadata.default_partition_spec_id()
        && !is_full;
    if !mergeable {
        return None;
    }
    let files = u64::from(manifest.added_files_count.unwrap_or(0))
        + u64::from(manifest.existing_files_count.unwrap_or(0));
    Some(files.max(1).ilog(MERGE_AT as u64))
}

fn full_class(metadata: &TableMetadata, manifests: &[ManifestFile]) -> Option<u32> {
    let classes: Vec<u32> = manifests.iter().filter_map(|manifest| size_class(metadata, manifest)).collect();
    classes.iter().copied().find(|class| classes.iter().filter(|other| *other == class).count() >= MERGE_AT)
}
