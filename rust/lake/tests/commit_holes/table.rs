//! The table in memory that the holes are dug into.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{ManifestList, TableMetadata};
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::{Commit, CommitError, CommitOptions, Committer, Landing};
use streamify_lake::protocol::Refusal;
use streamify_testing::{MemoryCatalog, advance, creation, data_file};
use uuid::Uuid;

pub const TABLE: &str = "bronze_listen_events";

pub fn options() -> CommitOptions {
    CommitOptions { timeout: Duration::from_secs(60), max_conflicts: 5, resume_from: None }
}

pub async fn table() -> MemoryCatalog {
    let catalog = MemoryCatalog::default();
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    catalog
}

pub async fn open_with(catalog: &MemoryCatalog, options: CommitOptions) -> Result<Committer, CommitError> {
    let table = catalog.load_table(TABLE).await.unwrap().unwrap();
    Committer::open(Arc::new(catalog.clone()), table, options).await
}

pub async fn open(catalog: &MemoryCatalog) -> Committer {
    open_with(catalog, options()).await.unwrap()
}

/// Partition 0 from `expected` to `end`, ten rows in one file.
pub fn range(expected: Option<i64>, end: i64) -> Commit {
    let commit_id = Uuid::now_v7();
    Commit {
        commit_id,
        files: vec![data_file(&format!("memory:///data/{commit_id}-0.parquet"), 10)],
        changes: vec![advance(0, expected, end)],
        ..Commit::default()
    }
}

pub async fn filled_to(catalog: &MemoryCatalog, end: i64) -> Committer {
    let mut appender = open(catalog).await;
    appender.commit(range(None, end)).await.unwrap();
    appender
}

pub fn total_records(metadata: &TableMetadata) -> String {
    metadata.current_snapshot().unwrap().summary().additional_properties["total-records"].clone()
}

pub fn refusal(result: Result<Landing, CommitError>) -> Refusal {
    match result {
        Err(CommitError::Refused { refusal, .. }) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub async fn manifests(catalog: &MemoryCatalog) -> ManifestList {
    let table = catalog.load_table(TABLE).await.unwrap().unwrap();
    let snapshot = table.metadata.current_snapshot().unwrap();
    let bytes = table.file_io.new_input(snapshot.manifest_list()).unwrap().read().await.unwrap();
    ManifestList::parse_with_version(&bytes, table.metadata.format_version()).unwrap()
}

/// Paths of the live files of the head, with their rows; fails if one is there twice.
pub async fn live_files(catalog: &MemoryCatalog) -> BTreeMap<String, u64> {
    let table = catalog.load_table(TABLE).await.unwrap().unwrap();
    let mut files = BTreeMap::new();
    for manifest in manifests(catalog).await.entries() {
        for entry in manifest.load_manifest(&table.file_io).await.unwrap().entries() {
            if entry.is_alive() {
                let former = files.insert(entry.file_path().to_string(), entry.record_count());
                assert_eq!(former, None, "file `{}` is in the table twice", entry.file_path());
            }
        }
    }
    files
}
