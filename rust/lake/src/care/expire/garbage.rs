//! The files that only removed snapshots needed.
//!
//! What the removed snapshots lead to, less what any snapshot that stays leads to. A data file is looked for only in
//! manifests that no kept snapshot has; of the kept manifests every entry is looked at until no candidate is left, which in
//! a table that only grows is soon. A file that was compacted away counts as needed while a consumer has not read past it.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{ManifestEntry, ManifestFile, Snapshot};

use crate::care::CareError;
use crate::care::delete::{FileKind, Tally};
use crate::care::folders::Folders;
use crate::care::reachable::{Manifests, Missing, manifests, visit_entries};
use crate::catalog::LoadedTable;
use crate::storage::canonical;

/// Files to delete, and how much there would be outside the table's folders.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    pub(super) paths: Vec<String>,
    pub(super) by_kind: BTreeMap<FileKind, Tally>,
    pub(super) outside: Tally,
}

/// Finds what `removed` snapshots need and `kept` ones do not; `statistics` are files of removed ones with their size.
pub(super) async fn find(
    table: &LoadedTable,
    kept: &[&Snapshot],
    removed: &[&Snapshot],
    statistics: &HashMap<String, u64>,
    needed_from: Option<i64>,
) -> Result<Garbage, CareError> {
    let gone = manifests(table, removed.iter().copied(), Missing::Skipped).await?;
    let live = manifests(table, kept.iter().copied(), Missing::Fails).await?;
    let dead: Vec<&ManifestFile> = only_in(&gone, &live);

    let mut data: HashMap<String, u64> = HashMap::new();
    visit_entries(table, dead.iter().copied(), Missing::Skipped, |entry| {
        data.insert(canonical(entry.file_path()).into_owned(), entry.file_size_in_bytes());
        true
    })
    .await?;
    if !data.is_empty() {
        visit_entries(table, live.manifests.values(), Missing::Fails, |entry| {
            if is_needed(entry, needed_from) {
                data.remove(canonical(entry.file_path()).as_ref());
            }
            !data.is_empty()
        })
        .await?;
    }

    let size = |manifest: &ManifestFile| u64::try_from(manifest.manifest_length).unwrap_or_default();
    let manifests =
        dead.iter().map(|manifest| (canonical(&manifest.manifest_path).into_owned(), size(manifest)));
    let lists = gone.lists.iter().filter(|(path, _)| !live.lists.contains_key(*path));
    let lists = lists.map(|(path, bytes)| (path.clone(), *bytes));
    let gone_ids: HashSet<i64> = removed.iter().map(|snapshot| snapshot.snapshot_id()).collect();
    let statistics = only_of_removed(table, statistics, &gone_ids);
    let mut garbage = Garbage::default();
    let folders = Folders::of(&table.metadata);
    garbage.add(FileKind::Data, data, &folders);
    garbage.add(FileKind::Manifest, manifests, &folders);
    garbage.add(FileKind::ManifestList, lists, &folders);
    garbage.add(FileKind::Statistics, statistics, &folders);
    Ok(garbage)
}

impl Garbage {
    fn add(&mut self, kind: FileKind, files: impl IntoIterator<Item = (String, u64)>, folders: &Folders) {
        for (path, bytes) in files {
            if folders.contain(&path) {
                self.by_kind.entry(kind).or_default().add(bytes);
                self.paths.push(path);
            } else {
                self.outside.add(bytes);
            }
        }
    }
}

/// Returns whether an entry of a kept manifest makes its file needed: it is live, or was compacted away after a consumer's
/// state. What does not say when it was added counts as new.
pub(in crate::care) fn is_needed(entry: &ManifestEntry, needed_from: Option<i64>) -> bool {
    let added = entry.file_sequence_number.or(entry.sequence_number());
    entry.is_alive() || needed_from.is_some_and(|from| added.is_none_or(|added| added >= from))
}

fn only_in<'a>(gone: &'a Manifests, live: &Manifests) -> Vec<&'a ManifestFile> {
    let dead = gone.manifests.iter().filter(|(path, _)| !live.manifests.contains_key(*path));
    dead.map(|(_, manifest)| manifest).collect()
}

fn only_of_removed(
    table: &LoadedTable,
    statistics: &HashMap<String, u64>,
    gone: &HashSet<i64>,
) -> Vec<(String, u64)> {
    let metadata = &table.metadata;
    let of_table = metadata.statistics_iter().map(|file| (file.snapshot_id, &file.statistics_path));
    let of_partitions =
        metadata.partition_statistics_iter().map(|file| (file.snapshot_id, &file.statistics_path));
    let left: HashSet<&String> = of_table
        .chain(of_partitions)
        .filter(|(snapshot, _)| !gone.contains(snapshot))
        .map(|(_, path)| path)
        .collect();
    let unneeded = statistics.iter().filter(|(path, _)| !left.contains(path));
    unneeded.map(|(path, bytes)| (canonical(path).into_owned(), *bytes)).collect()
}
