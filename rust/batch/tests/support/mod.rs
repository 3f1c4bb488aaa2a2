//! What the tests and benchmarks of this crate share: a lake in a folder, and bronze tables filled without Kafka.

#![allow(dead_code, reason = "each user takes a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is the report")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt as _;
use streamify_batch::Context;
use streamify_core::state::{Change, SourceIdentity, Span};
use streamify_core::{Contract, DecodeOptions, Decoder, Record, builtin, sort_batch, split_by_partition};
use streamify_lake::catalog::LoadedTable;
use streamify_lake::commit::{Commit, CommitOptions, Committer};
use streamify_lake::scan::live_files;
use streamify_lake::{DataFileWriter, Lake, LakeSettings, TableSpec};
use uuid::Uuid;

/// Opens the embedded lake of a folder; each call is a connection of its own.
pub async fn lake(home: &Path) -> Lake {
    let home = home.to_string_lossy().into_owned();
    let lookup = |name: &str| (name == "STREAMIFY_HOME").then(|| home.clone());
    Lake::open(&LakeSettings::from_env(&lookup).unwrap()).await.unwrap()
}

/// A context on the lake of a folder.
pub async fn context(home: &Path) -> Context {
    Context::new(lake(home).await)
}

/// The built-in contract of a topic.
pub fn contract(topic: &str) -> Arc<Contract> {
    builtin().into_iter().find(|contract| contract.topic == topic).unwrap()
}

/// One delivery of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub partition: i32,
    pub offset: i64,
    pub run_id: Option<String>,
    pub value: Vec<u8>,
}

/// Appends deliveries to a topic's bronze table as the stream worker would: one file per day, one commit, the offsets with
/// it. What cannot be decoded is left out. Returns the number of rows.
pub async fn land(lake: &Lake, contract: &Arc<Contract>, deliveries: &[Delivery]) -> usize {
    let table = lake.ensure_table(&TableSpec::bronze(contract)).await.unwrap();
    let mut committer =
        Committer::open(Arc::clone(lake.catalog()), table, CommitOptions::default()).await.unwrap();
    let mut decoder = Decoder::new(Arc::clone(contract), DecodeOptions::default());
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for delivery in deliveries {
        let record = Record {
            value: Some(&delivery.value),
            partition: delivery.partition,
            offset: delivery.offset,
            timestamp_ms: None,
            run_id: delivery.run_id.as_deref(),
        };
        let _ = decoder.push(&record);
        let end = ends.entry(delivery.partition).or_default();
        *end = (*end).max(delivery.offset + 1);
    }
    let batch = decoder.finish(0).unwrap();
    let commit_id = Uuid::now_v7();
    let mut files = Vec::new();
    let sorted = sort_batch(&batch, contract).unwrap();
    for (number, (key, rows)) in split_by_partition(&sorted, contract).unwrap().into_iter().enumerate() {
        let stem = format!("{commit_id}-{number}");
        let mut writer = DataFileWriter::create(committer.table(), key, &stem).await.unwrap();
        writer.write_row_group(&rows).await.unwrap();
        files.push(writer.close(&[], true).await.unwrap());
    }
    let state = committer.state().clone();
    let spans = ends.into_iter().map(|(partition, end)| {
        let expected = state.next_offset(&contract.topic, partition);
        (partition, Span { expected, start: expected.unwrap_or(0), end: end.max(expected.unwrap_or(0)) })
    });
    let change = Change::Advance {
        topic: contract.topic.clone(),
        epoch: 0,
        source: SourceIdentity { cluster_id: "test".to_owned(), topic_id: None },
        spans: spans.collect(),
    };
    let commit = Commit { commit_id, files, changes: vec![change], ..Commit::default() };
    committer.commit(commit).await.unwrap();
    batch.num_rows()
}

/// All rows of a table in one batch, in no particular order; `None` if it does not exist or is empty.
pub async fn rows(lake: &Lake, table: &str) -> Option<RecordBatch> {
    let table: LoadedTable = lake.catalog().load_table(table).await.unwrap()?;
    let names: Vec<String> =
        table.metadata.current_schema().as_struct().fields().iter().map(|field| field.name.clone()).collect();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut batches = Vec::new();
    for live in live_files(&table, None).await.unwrap() {
        let file: Vec<RecordBatch> =
            table.read_file(&live.file, &columns, None).unwrap().try_collect().await.unwrap();
        batches.extend(file);
    }
    let schema = batches.first()?.schema();
    Some(concat_batches(&schema, &batches).unwrap())
}
