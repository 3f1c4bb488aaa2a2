//! Which files snapshots lead to: manifest lists, manifests, and the entries of manifests.
//!
//! Addresses are compared in their canonical spelling ([`canonical`]). One manifest's entries are in memory at a time per
//! request under way; the names of lists and manifests are kept, those of data files only by who asks.

use std::collections::HashMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::spec::{ManifestEntry, ManifestFile, ManifestList, Snapshot};

use super::CareError;
use crate::catalog::LoadedTable;
use crate::storage::canonical;

/// Requests to the store at the same time.
const CONCURRENCY: usize = 8;

/// Manifest lists and manifests of some snapshots, by canonical address.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    /// Bytes by list.
    pub(super) lists: HashMap<String, u64>,
    pub(super) manifests: HashMap<String, ManifestFile>,
}

/// What to do about a manifest list or manifest that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Stop: what it names would be taken for unneeded.
    Fails,
    /// Go on if it does not exist: an earlier run has deleted it.
    Skipped,
}

/// Reads the manifest lists of snapshots.
pub(super) async fn manifests<'a>(
    table: &LoadedTable,
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    missing: Missing,
) -> Result<Manifests, CareError> {
    let paths: Vec<String> =
        snapshots.into_iter().map(|snapshot| snapshot.manifest_list().to_owned()).collect();
    let lists = stream::iter(paths).map(|path| async move {
        let list = read_list(table, &path).await;
        Ok::<_, CareError>(unless_missing(table, &path, list, missing).await?.map(|list| (path, list)))
    });
    let mut lists = lists.buffer_unordered(CONCURRENCY);
    let mut found = Manifests::default();
    while let Some(list) = lists.try_next().await? {
        let Some((path, (bytes, list))) = list else { continue };
        found.lists.insert(canonical(&path).into_owned(), bytes);
        for manifest in list.consume_entries() {
            found.manifests.entry(canonical(&manifest.manifest_path).into_owned()).or_insert(manifest);
        }
    }
    Ok(found)
}

/// Calls `visit` with every entry of every manifest, until it says that it has seen enough.
pub(super) async fn visit_entries(
    table: &LoadedTable,
    manifests: impl IntoIterator<Item = &ManifestFile>,
    missing: Missing,
    mut visit: impl FnMut(&ManifestEntry) -> bool,
) -> Result<(), CareError> {
    let manifests: Vec<ManifestFile> = manifests.into_iter().cloned().collect();
    let loaded = stream::iter(manifests).map(|manifest| async move {
        let entries = manifest.load_manifest(&table.file_io).await;
        unless_missing(table, &manifest.manifest_path, entries, missing).await
    });
    let mut loaded = loaded.buffer_unordered(CONCURRENCY);
    while let Some(manifest) = loaded.try_next().await? {
        let Some(manifest) = manifest else { continue };
        for entry in manifest.entries() {
            if !visit(entry) {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn read_list(table: &LoadedTable, path: &str) -> iceberg::Result<(u64, ManifestList)> {
    let bytes = table.file_io.new_input(path)?.read().await?;
    let list = ManifestList::parse_with_version(&bytes, table.metadata.format_version())?;
    Ok((bytes.len() as u64, list))
}

async fn unless_missing<T>(
    table: &LoadedTable,
    path: &str,
    read: iceberg::Result<T>,
    missing: Missing,
) -> Result<Option<T>, CareError> {
    let error = match read {
        Ok(value) => return Ok(Some(value)),
        Err(error) => error,
    };
    if missing == Missing::Skipped && matches!(table.file_io.exists(path).await, Ok(false)) {
        return Ok(None);
    }
    Err(CareError::unreadable(&table.name, path, error))
}
