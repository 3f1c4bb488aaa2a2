//! Old files of a table's folders, struck out one by one as the metadata accounts for them.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::TryStreamExt;
use iceberg::spec::Snapshot;
use uuid::Uuid;

use super::{Orphan, OrphanOptions, OrphanReport, Protected};
use crate::care::CareError;
use crate::care::delete::{FileKind, Tally};
use crate::care::expire::is_needed;
use crate::care::folders::Folders;
use crate::care::reachable::{Missing, manifests, visit_entries};
use crate::catalog::LoadedTable;
use crate::storage::{ListedFile, canonical};

/// Files that may be orphans.
///
/// They are struck out by name, without the folder: where a link or another spelling leads to one file by two addresses, the
/// metadata knows only one of them. Names of a table's files are unique, so that this spares nothing else.
#[derive(Debug)]
pub(super) struct Candidates {
    /// By name.
    files: HashMap<String, Vec<Orphan>>,
    /// Files that the store took at this time or later are young; milliseconds since 1970 UTC.
    oldest_young_ms: i64,
    /// Names of partition fields: folders of theirs may begin with `_`.
    partition_fields: HashSet<String>,
    listed: Tally,
    young: Tally,
    protected: Tally,
    /// Files that have the name of a known one, in another folder.
    alike: Tally,
    folders: Folders,
}

impl Candidates {
    pub(super) fn new(table: &LoadedTable, oldest_young_ms: i64) -> Self {
        let specs = table.metadata.partition_specs_iter();
        let fields = specs.flat_map(|spec| spec.fields().iter().map(|field| field.name.clone()));
        Self {
            files: HashMap::new(),
            oldest_young_ms,
            partition_fields: fields.collect(),
            listed: Tally::default(),
            young: Tally::default(),
            protected: Tally::default(),
            folders: Folders::of(&table.metadata),
            alike: Tally::default(),
        }
    }

    /// Lists the folders and keeps what is old enough, visible and not protected.
    pub(super) async fn list(
        &mut self,
        table: &LoadedTable,
        protected: Protected<'_>,
    ) -> Result<(), CareError> {
        for folder in &self.folders.written.clone() {
            let unreadable = |source| CareError::unreadable(&table.name, folder, source);
            let mut files = table.storage.list(folder);
            while let Some(file) = files.try_next().await.map_err(unreadable)? {
                self.take(file, folder, protected);
            }
        }
        Ok(())
    }

    fn take(&mut self, file: ListedFile, folder: &str, protected: Protected<'_>) {
        let path = canonical(&file.path).into_owned();
        let below = path.strip_prefix(folder).unwrap_or(&path);
        if self.is_hidden(below) {
            return;
        }
        self.listed.add(file.size);
        if file.modified_ms >= self.oldest_young_ms {
            self.young.add(file.size);
        } else if commit_id(&path).is_some_and(|id| protected(&id)) {
            self.protected.add(file.size);
        } else {
            let name = name_of(&path).to_owned();
            let kind = kind(&path);
            let orphan = Orphan { path, kind, bytes: file.size, modified_ms: file.modified_ms };
            self.files.entry(name).or_default().push(orphan);
        }
    }

    fn is_hidden(&self, below: &str) -> bool {
        below.split('/').any(|part| {
            let hidden = part.starts_with('_') || part.starts_with('.');
            hidden && part.split_once('=').is_none_or(|(name, _)| !self.partition_fields.contains(name))
        })
    }

    /// Strikes out all that the table's metadata leads to.
    pub(super) async fn strike_out(
        &mut self,
        table: &LoadedTable,
        needed_from: Option<i64>,
    ) -> Result<(), CareError> {
        let metadata = &table.metadata;
        self.strike(&table.metadata_location);
        self.strike(&format!("{}/metadata/version-hint.text", metadata.location().trim_end_matches('/')));
        metadata.metadata_log().iter().for_each(|entry| self.strike(&entry.metadata_file));
        metadata.statistics_iter().for_each(|file| self.strike(&file.statistics_path));
        metadata.partition_statistics_iter().for_each(|file| self.strike(&file.statistics_path));

        let snapshots: Vec<&Snapshot> = metadata.snapshots().map(|snapshot| snapshot.as_ref()).collect();
        let found = manifests(table, snapshots, Missing::Fails).await?;
        found.lists.keys().chain(found.manifests.keys()).for_each(|path| self.strike(path));
        visit_entries(table, found.manifests.values(), Missing::Fails, |entry| {
            if is_needed(entry, needed_from) {
                self.strike(entry.file_path());
            }
            !self.files.is_empty()
        })
        .await
    }

    fn strike(&mut self, path: &str) {
        let path = canonical(path);
        for file in self.files.remove(name_of(&path)).into_iter().flatten() {
            if file.path != path {
                self.alike.add(file.bytes);
            }
        }
    }

    /// What was found, with the orphans themselves in the order of their addresses.
    pub(super) fn finish(self, table: &LoadedTable, options: &OrphanOptions) -> (OrphanReport, Vec<Orphan>) {
        let mut orphans: Vec<Orphan> = self.files.into_values().flatten().collect();
        orphans.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        let mut report = OrphanReport {
            table: table.name.clone(),
            dry_run: !options.delete,
            folders: self.folders.written,
            listed: self.listed,
            young: self.young,
            protected: self.protected,
            alike: self.alike,
            orphans: BTreeMap::new(),
            sample: orphans.iter().take(options.sample).cloned().collect(),
        };
        for orphan in &orphans {
            report.orphans.entry(orphan.kind).or_default().add(orphan.bytes);
        }
        (report, orphans)
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn kind(path: &str) -> FileKind {
    let name = name_of(path);
    if name.ends_with(".metadata.json") || name.ends_with(".gz.metadata.json") {
        FileKind::Metadata
    } else if name.starts_with("snap-") && name.ends_with(".avro") {
        FileKind::ManifestList
    } else if name.ends_with(".avro") && path.contains("/metadata/") {
        FileKind::Manifest
    } else if name.ends_with(".stats") || (name.ends_with(".puffin") && path.contains("/metadata/")) {
        FileKind::Statistics
    } else if [".parquet", ".orc", ".avro", ".puffin"].iter().any(|end| name.ends_with(end)) {
        FileKind::Data
    } else {
        FileKind::Other
    }
}

/// The id of the commit that a file was written for, by its name: `<id>-<n>.parquet`, `<id>-m<n>.avro` and
/// `snap-<snapshot>-<attempt>-<id>.avro`.
fn commit_id(path: &str) -> Option<String> {
    const LENGTH: usize = 36;
    let name = name_of(path);
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let head = stem.get(..LENGTH);
    let tail = stem.len().checked_sub(LENGTH).and_then(|start| stem.get(start..));
    let id = if name.starts_with("snap-") { tail } else { head };
    id.and_then(|text| Uuid::try_parse(text).ok()).map(|id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_id_is_read_from_each_kind_of_name() {
        let id = "0190f3c4-7b2a-7c11-8e00-0123456789ab";
        for name in [format!("{id}-0.parquet"), format!("{id}-m12.avro"), format!("snap-77-3-{id}.avro")] {
            assert_eq!(commit_id(&format!("s3://b/t/data/{name}")).as_deref(), Some(id), "{name}");
        }
        for name in ["short.parquet", "00012-é-0190f3c4-7b2a-7c11-8e00.metadata.json", "snap-1.avro", ""] {
            assert_eq!(commit_id(name), None, "{name}");
        }
    }

    #[test]
    fn names_tell_what_a_file_is_for() {
        let kinds = ["/t/metadata/1.metadata.json", "/t/metadata/snap-1-0-x.avro", "/t/metadata/x-m0.avro"];
        assert_eq!(kinds.map(kind), [FileKind::Metadata, FileKind::ManifestList, FileKind::Manifest]);
        assert_eq!(kind("/t/data/day=1/x-0.parquet"), FileKind::Data);
        assert_eq!(kind("/t/data/notes.txt"), FileKind::Other);
    }
}
