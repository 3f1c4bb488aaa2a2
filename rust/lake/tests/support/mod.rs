//! What the tests of this folder share.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod random_plays;
pub mod server;
pub mod small;

use std::path::Path;
use std::sync::Arc;

use streamify_core::contract::{Column, ColumnType};
use streamify_lake::catalog::Catalog;
use streamify_lake::catalog::sqlite::SqliteCatalog;
use streamify_lake::settings::{S3Settings, SqliteSettings};
use streamify_lake::storage::StorageProvider;
use streamify_lake::{Lake, Partitioning, TableSpec};

/// Opens the SQLite catalog of a folder; each call is a connection of its own.
pub async fn sqlite(folder: &Path) -> Arc<dyn Catalog> {
    let settings = SqliteSettings {
        path: folder.join("catalog.db"),
        warehouse: format!("file://{}/warehouse", folder.display()),
        name: "lakehouse".to_owned(),
    };
    let storage = StorageProvider::new(S3Settings::none());
    Arc::new(SqliteCatalog::open(settings, "streamify", storage).await.unwrap())
}

/// Opens a lake on the SQLite catalog of a folder.
pub async fn lake(folder: &Path) -> Lake {
    Lake::new(sqlite(folder).await)
}

/// A small table of plays, partitioned by date and sorted by user and time.
pub fn plays() -> TableSpec {
    use ColumnType::{Date, Double, Int, Long, String, Timestamp};
    TableSpec {
        name: "plays".to_owned(),
        doc: "One row per play".to_owned(),
        columns: vec![
            Column::new("userId", Long, true, "Who"),
            Column::new("song", String, true, "What"),
            Column::new("length", Double, true, "How long"),
            Column::new("level", Int, true, "Which plan"),
            Column::new("event_ts", Timestamp, false, "When"),
            Column::new("event_date", Date, false, "On which day"),
        ],
        identity: Vec::new(),
        partitioning: Partitioning::Identity("event_date".to_owned()),
        sort_key: vec!["userId".to_owned(), "event_ts".to_owned()],
        properties: Vec::new(),
    }
}
