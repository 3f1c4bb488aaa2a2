//! Ages a table on purpose and cares for it, in the catalog that the environment names (POLARIS_URI and so on, or a local
//! one under STREAMIFY_HOME), so that other engines can be asked what they then read.
//!
//! `care_probe TABLE` creates the table, appends rows, compacts them, sets a tag and a sort order, expires all but two
//! snapshots, and removes the orphans that it planted. Prints one JSON line: the rows there must be (`rows`, values 0 up to
//! it), the tagged snapshot with its rows, and the reports.
#![allow(clippy::print_stdout, reason = "a command line program")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use chrono::Utc;
use iceberg::spec::{DataFile, SnapshotRetention};
use streamify_core::contract::{Column, ColumnType};
use streamify_lake::care::expire::{ExpireOptions, expire};
use streamify_lake::care::orphans::{self, OrphanOptions};
use streamify_lake::care::refs::{self, NewRef};
use streamify_lake::care::settings::set_sort_order;
use streamify_lake::commit::{Commit, CommitOptions, Committer, Kind};
use streamify_lake::scan::live_files;
use streamify_lake::{DataFileWriter, FilePartition, Lake, LakeSettings, Partitioning, TableSpec};
use uuid::Uuid;

const APPENDS: i64 = 8;
const ROWS_EACH: i64 = 10;
const TAGGED_AFTER: i64 = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: care_probe TABLE")?;
    let lake = Lake::open(&LakeSettings::from_env(&|name| std::env::var(name).ok())?).await?;
    lake.catalog().ensure_namespace().await?;
    let table = lake.ensure_table(&spec(&name)).await?;
    let catalog = lake.catalog();
    let bounds = CommitOptions::default();
    let mut committer = Committer::open(catalog.clone(), table, bounds.clone()).await?;

    for number in 0..APPENDS {
        let values = number * ROWS_EACH..(number + 1) * ROWS_EACH;
        append(&mut committer, values).await?;
        if number + 1 == TAGGED_AFTER {
            let retention = SnapshotRetention::Tag { max_ref_age_ms: None };
            let tag = NewRef { name: "audit".into(), snapshot_id: None, retention, replace: false };
            refs::set(catalog, &name, &tag, &bounds).await?;
        }
    }
    compact(&mut committer, 0..APPENDS * ROWS_EACH).await?;
    append(&mut committer, APPENDS * ROWS_EACH..(APPENDS + 1) * ROWS_EACH).await?;
    set_sort_order(catalog, &name, &["value".into()], &bounds).await?;

    let options =
        ExpireOptions { min_snapshots: Some(2), max_age: Some(Duration::ZERO), ..ExpireOptions::default() };
    let expired = expire(catalog, &name, &options).await?;
    write(&committer, Uuid::now_v7(), 0..1).await?;
    // Without a grace period, too, a file of this very millisecond is young.
    let planted_ms = Utc::now().timestamp_millis();
    while Utc::now().timestamp_millis() <= planted_ms {
        tokio::task::yield_now().await;
    }
    let options =
        OrphanOptions { grace: Duration::ZERO, force: true, delete: true, ..OrphanOptions::default() };
    let removed = orphans::remove(catalog, &name, &options, &|_| false).await?;
    let report = serde_json::json!({
        "rows": (APPENDS + 1) * ROWS_EACH, "tagged_rows": TAGGED_AFTER * ROWS_EACH,
        "expired": expired, "orphans": removed,
    });
    println!("{report}");
    Ok(())
}

fn spec(name: &str) -> TableSpec {
    TableSpec {
        name: name.to_owned(),
        doc: "filled by care_probe".into(),
        columns: vec![Column::new("value", ColumnType::Long, false, "a number")],
        identity: Vec::new(),
        partitioning: Partitioning::None,
        sort_key: Vec::new(),
        properties: Vec::new(),
    }
}

async fn write(
    committer: &Committer,
    commit_id: Uuid,
    values: std::ops::Range<i64>,
) -> Result<DataFile, Box<dyn Error>> {
    let stem = format!("{commit_id}-0");
    let mut writer = DataFileWriter::create(committer.table(), FilePartition::None, &stem).await?;
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    writer.write_row_group(&RecordBatch::try_from_iter([("value", column)])?).await?;
    Ok(writer.close(&[], false).await?)
}

async fn append(committer: &mut Committer, values: std::ops::Range<i64>) -> Result<(), Box<dyn Error>> {
    let commit_id = Uuid::now_v7();
    let files = vec![write(committer, commit_id, values).await?];
    committer.commit(Commit { commit_id, files, ..Commit::default() }).await?;
    Ok(())
}

async fn compact(committer: &mut Committer, values: std::ops::Range<i64>) -> Result<(), Box<dyn Error>> {
    let commit_id = Uuid::now_v7();
    let removed = live_files(committer.table(), None).await?;
    let files = vec![write(committer, commit_id, values).await?];
    committer.commit(Commit { commit_id, kind: Kind::Replace, files, removed, ..Commit::default() }).await?;
    Ok(())
}
