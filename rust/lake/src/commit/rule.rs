//! Whether rows that a commit was computed from have changed since they were read.
//!
//! The walk goes over the snapshots between the base and the head, so its cost follows what others committed meanwhile.
//! A `replace` snapshot moves rows between files and never counts; appended or overwritten files count where their
//! partition is one of those named.

use std::collections::HashSet;

use iceberg::io::FileIO;
use iceberg::spec::{Operation, Snapshot, Struct, TableMetadata};

use super::keys;
use super::manifests::entries_of;
use super::snapshot::AttemptError;

/// The partitions that a commit was computed from, and as of when.
#[derive(Clone, Debug)]
pub struct Untouched {
    /// Snapshot that was read; `None`: the table was empty.
    pub since: Option<i64>,
    /// Partition values as in the manifests of the default partition spec.
    pub partitions: HashSet<Struct>,
}

/// Fails with [`AttemptError::Overtaken`] if a snapshot after the base wrote to one of the partitions.
pub(super) async fn check(
    untouched: &Untouched,
    metadata: &TableMetadata,
    io: &FileIO,
) -> Result<(), AttemptError> {
    if metadata.current_snapshot_id() == untouched.since {
        return Ok(());
    }
    let mut newer = Vec::new();
    let mut found = untouched.since.is_none();
    for snapshot in keys::lineage(metadata) {
        if Some(snapshot.snapshot_id()) == untouched.since {
            found = true;
            break;
        }
        newer.push(snapshot);
    }
    if !found {
        let base = untouched.since.unwrap_or_default();
        return Err(AttemptError::Overtaken(format!(
            "snapshot {base}, which was read, is not in `main` any more"
        )));
    }
    for snapshot in newer.into_iter().filter(|snapshot| snapshot.summary().operation != Operation::Replace) {
        if let Some(file) = written(snapshot, metadata, io, &untouched.partitions).await? {
            let (id, operation) = (snapshot.snapshot_id(), snapshot.summary().operation.as_str());
            return Err(AttemptError::Overtaken(format!("snapshot {id} ({operation}) changed `{file}`")));
        }
    }
    Ok(())
}

/// The first file that the snapshot added to or removed from one of the partitions.
async fn written(
    snapshot: &Snapshot,
    metadata: &TableMetadata,
    io: &FileIO,
    partitions: &HashSet<Struct>,
) -> iceberg::Result<Option<String>> {
    let default = metadata.default_partition_spec_id();
    let entries = entries_of(snapshot, metadata, io).await?;
    let hit = entries.into_iter().find(|(spec, entry)| {
        // A file of another spec may hold rows of any partition.
        *spec != default || partitions.contains(entry.data_file().partition())
    });
    Ok(hit.map(|(_, entry)| entry.file_path().to_string()))
}
