//! A table of tiny files, for tests that care about which files there are and not about what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use iceberg::TableCreation;
use iceberg::spec::{DataFile, ManifestList, NestedField, PrimitiveType, Schema, Snapshot, Type};
use streamify_lake::LoadedTable;
use streamify_lake::catalog::Catalog;
use streamify_lake::catalog::rest::RestCatalog;
use streamify_lake::commit::{Commit, CommitOptions, Committer, Kind};
use streamify_lake::scan::live_files;
use streamify_lake::settings::{RestSettings, S3Settings};
use streamify_lake::storage::StorageProvider;
use streamify_testing::data_file;
use uuid::Uuid;

use super::server::Server;
use super::sqlite;

pub const TABLE: &str = "small";

/// An unpartitioned table with two columns, where the catalog wants it.
pub fn creation(name: &str) -> TableCreation {
    let field =
        |id, name: &str| Arc::new(NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long)));
    let schema = Schema::builder().with_fields([field(1, "value"), field(2, "other")]).build().unwrap();
    TableCreation::builder().name(name.to_owned()).schema(schema).build()
}

/// Opens a REST catalog whose tables lie in a folder.
pub async fn rest(folder: &Path) -> (Server, Arc<dyn Catalog>) {
    let server = Server::start().await;
    server.set_root(&format!("file://{}/rest", folder.display()));
    let settings = RestSettings::new(&server.uri, "lakehouse");
    let storage = StorageProvider::new(S3Settings::none());
    let catalog = RestCatalog::connect(settings, "streamify", storage).await.unwrap();
    (server, Arc::new(catalog))
}

/// Both catalogs, each with the table.
pub async fn catalogs(folder: &Path) -> Vec<Arc<dyn Catalog>> {
    let both = vec![sqlite(folder).await, rest(folder).await.1];
    for catalog in &both {
        catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    }
    both
}

/// The table as the catalog has it.
pub async fn load(catalog: &Arc<dyn Catalog>) -> LoadedTable {
    catalog.load_table(TABLE).await.unwrap().unwrap()
}

/// A committer of the table.
pub async fn open(catalog: &Arc<dyn Catalog>) -> Committer {
    Committer::open(catalog.clone(), load(catalog).await, CommitOptions::default()).await.unwrap()
}

/// Writes a tiny file of a commit and returns its entry.
pub async fn write(table: &LoadedTable, commit_id: Uuid, number: usize) -> DataFile {
    let path = format!("{}/data/{commit_id}-{number}.parquet", table.metadata.location());
    let output = table.file_io.new_output(&path).unwrap();
    output.write(Bytes::from_static(b"rows")).await.unwrap();
    data_file(&path, 1)
}

/// Appends files; returns their addresses.
pub async fn append(committer: &mut Committer, num_files: usize) -> Vec<String> {
    let commit_id = Uuid::now_v7();
    let mut files = Vec::new();
    for number in 0..num_files {
        files.push(write(committer.table(), commit_id, number).await);
    }
    let paths = files.iter().map(|file| file.file_path().to_owned()).collect();
    committer.commit(Commit { commit_id, files, ..Commit::default() }).await.unwrap();
    paths
}

/// Puts one file in the place of up to `most` live ones; returns its address.
pub async fn rewrite(committer: &mut Committer, kind: Kind, most: usize) -> String {
    let commit_id = Uuid::now_v7();
    let mut removed = live_files(committer.table(), None).await.unwrap();
    removed.truncate(most);
    let files = vec![write(committer.table(), commit_id, 0).await];
    let path = files[0].file_path().to_owned();
    committer.commit(Commit { commit_id, kind, files, removed, ..Commit::default() }).await.unwrap();
    path
}

/// The data files that are live in a snapshot; fails if anything that leads to them is not there.
pub async fn live_in(table: &LoadedTable, snapshot: &Snapshot) -> BTreeSet<String> {
    let bytes = table.file_io.new_input(snapshot.manifest_list()).unwrap().read().await.unwrap();
    let list = ManifestList::parse_with_version(&bytes, table.metadata.format_version()).unwrap();
    let mut files = BTreeSet::new();
    for manifest in list.entries() {
        let manifest = manifest.load_manifest(&table.file_io).await.unwrap();
        let live = manifest.entries().iter().filter(|entry| entry.is_alive());
        files.extend(live.map(|entry| entry.file_path().to_owned()));
    }
    files
}

/// Live files by snapshot; fails if one of the files is not there.
pub async fn check_readable(table: &LoadedTable) -> BTreeMap<i64, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for snapshot in table.metadata.snapshots() {
        let files = live_in(table, snapshot).await;
        for file in &files {
            let there = table.file_io.exists(file).await.unwrap();
            assert!(there, "`{file}` of snapshot {} is gone", snapshot.snapshot_id());
        }
        found.insert(snapshot.snapshot_id(), files);
    }
    found
}

/// Files of a folder on disk, at any depth.
pub fn files_in(address: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![address.trim_start_matches("file://").to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = path.to_str().unwrap().to_owned();
            if path.is_dir() {
                waiting.push(text);
            } else {
                found.insert(text);
            }
        }
    }
    found
}

/// Makes a file look as if it had been written some time ago.
pub fn age(path: &str, by: Duration) {
    let file = std::fs::File::options().write(true).open(path.trim_start_matches("file://")).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}
