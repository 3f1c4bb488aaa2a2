//! Old files of a table's folders, struck out one by one as the metadata accounts for them.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;
use iceberg::spec::Snapshot;
use uuid::Uuid;

use super::{Orphan, OrphanOptions, OrphanReport, Protected};
use crate::care::CareError;
use crate::care::delete::{Doomed, FileKind, Tally};
use crate::care::expire::is_needed;
use crate::care::folders::Folders;
use crate::care::reachable::{Missing, manifests, visit_entries};
use crate::catalog::LoadedTable;
use crate::storage::{ListedFile, canonical};

/// Files that may be orphans, by canonical address.
#[derive(Debug)]
pub(super) struct Candidates {
    files: HashMap<String, (u64, i64)>,
    /// Files that the store took at this time or later are young; milliseconds since 1970 UTC.
    oldest_young_ms: i64,
    /// Names of partition fields: folders of theirs may begin with `_`.
    partition_fields: HashSet<String>,
    listed: Tally,
    young: Tally,
    protected: Tally,
    folders: Folders,
    /// Files that the metadata leads to; those of them in the folders; those that were among the old ones listed.
    known: u64,
    known_inside: u64,
    known_and_listed: u64,
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
            known: 0,
            known_inside: 0,
            known_and_listed: 0,
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
            self.files.insert(path, (file.size, file.modified_ms));
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
        self.known += 1;
        self.known_inside += u64::from(self.folders.contain(&path));
        self.known_and_listed += u64::from(self.files.remove(path.as_ref()).is_some());
    }

    /// Refuses if not one known file is in the folders or was found there: the store and the metadata spell addresses in
    /// different ways, and everything would be an orphan.
    pub(super) fn check_spelling(&self, table: &LoadedTable) -> Result<(), CareError> {
        let has_rows = table.metadata.snapshots().count() > 0;
        let none_found = self.known_and_listed == 0 && self.young.files == 0;
        let strange = has_rows && (self.known_inside == 0 || none_found);
        if !strange || self.files.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "none of its {} known files was found among {} in its folders",
            self.known, self.listed.files
        );
        Err(CareError::refused(
            &table.name,
            reason,
            "its files are addressed in another way than they are listed",
        ))
    }

    pub(super) fn report(&self, table: &LoadedTable, options: &OrphanOptions) -> OrphanReport {
        let mut paths: Vec<&String> = self.files.keys().collect();
        paths.sort_unstable();
        let sample = paths.into_iter().take(options.sample).map(|path| {
            let (bytes, modified_ms) = self.files[path];
            Orphan { path: path.clone(), kind: kind(path), bytes, modified_ms }
        });
        OrphanReport {
            table: table.name.clone(),
            dry_run: !options.delete,
            folders: self.folders.written.clone(),
            listed: self.listed,
            young: self.young,
            protected: self.protected,
            orphans: Default::default(),
            sample: sample.collect(),
        }
    }

    pub(super) fn into_orphans(self) -> Vec<Doomed> {
        let doomed = |(path, (bytes, _)): (String, (u64, i64))| Doomed { kind: kind(&path), path, bytes };
        self.files.into_iter().map(doomed).collect()
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
