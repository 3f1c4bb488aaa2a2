//! Data files as readers see them: written, read back, and compared with what the manifest will say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::builder::{Int64Builder, ListBuilder, StringBuilder};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use iceberg::spec::{Datum, Literal, Struct};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use streamify_core::contract::{Column, ColumnType};
use streamify_core::sort::PartitionKey;
use streamify_lake::{DataFileWriter, FileError, FilePartition, LoadedTable, Partitioning, TableSpec};
use support::{lake, plays};

const DAY: i32 = 19_723;
const MIDNIGHT_US: i64 = 1_704_067_200_000_000;

/// Rows whose columns come in another order than the table's.
fn batch(users: &[Option<i64>], songs: &[Option<&str>]) -> RecordBatch {
    let count = users.len();
    let times = (0..count).map(|row| MIDNIGHT_US + i64::try_from(row).unwrap());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event_date", Arc::new(Date32Array::from(vec![DAY; count]))),
        ("song", Arc::new(StringArray::from(songs.to_vec()))),
        ("event_ts", Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00"))),
        ("userId", Arc::new(Int64Array::from(users.to_vec()))),
        ("length", Arc::new(Float64Array::from_iter_values((0..count).map(|row| row as f64)))),
        ("level", Arc::new(Int32Array::from(vec![7; count]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn table(folder: &Path) -> LoadedTable {
    lake(folder).await.ensure_table(&plays()).await.unwrap()
}

fn open(path: &str) -> ParquetRecordBatchReaderBuilder<File> {
    ParquetRecordBatchReaderBuilder::try_new(File::open(path.trim_start_matches("file://")).unwrap()).unwrap()
}

fn footer() -> Vec<(String, String)> {
    vec![
        ("streamify.commit-id".to_owned(), "c0ffee".to_owned()),
        ("streamify.sources".to_owned(), "[]".to_owned()),
    ]
}

#[tokio::test]
async fn rows_come_back_under_the_tables_names_types_and_ids() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;

    let mut writer = DataFileWriter::create(&table, PartitionKey::EventDate(DAY), "c0ffee-0").await.unwrap();
    writer.write_row_group(&batch(&[Some(3), None], &[Some("é"), None])).await.unwrap();
    let file = writer.close(&footer(), true).await.unwrap();

    assert_eq!(
        file.file_path(),
        format!("{}/data/event_date=2024-01-01/c0ffee-0.parquet", table.metadata.location())
    );
    let reader = open(file.file_path());
    let ids: Vec<i32> = reader
        .parquet_schema()
        .root_schema()
        .get_fields()
        .iter()
        .map(|field| field.get_basic_info().id())
        .collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    let rows = reader.build().unwrap().next().unwrap().unwrap();
    let names: Vec<_> = rows.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["userId", "song", "length", "level", "event_ts", "event_date"]);
    assert_eq!(rows.column(0).as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(3), None]));
    assert_eq!(rows.column(1).as_string::<i32>(), &StringArray::from(vec![Some("é"), None]));
    assert_eq!(rows.column(2).as_primitive::<Float64Type>().values(), &[0.0, 1.0]);
    assert_eq!(rows.column(3).as_primitive::<Int32Type>().values(), &[7, 7]);
}

#[tokio::test]
async fn each_call_is_one_row_group_and_the_footer_has_what_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;
    let mut writer = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-0").await.unwrap();

    for user in 0..3 {
        writer.write_row_group(&batch(&[Some(user), Some(9 - user)], &[Some("a"), Some("b")])).await.unwrap();
    }
    writer.write_row_group(&batch(&[], &[])).await.unwrap();
    assert_eq!(writer.rows_written(), 6);
    assert!(writer.bytes_written() > 0, "row groups are handed over as they are made");
    let file = writer.close(&footer(), false).await.unwrap();

    let reader = open(file.file_path());
    let metadata = reader.metadata();
    assert_eq!(metadata.num_row_groups(), 3);
    let entries: Vec<(String, Option<String>)> = metadata
        .file_metadata()
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect();
    assert_eq!(entries, footer().into_iter().map(|(key, value)| (key, Some(value))).collect::<Vec<_>>());
    assert_eq!(file.record_count(), 6);
    let size = std::fs::metadata(file.file_path().trim_start_matches("file://")).unwrap().len();
    assert_eq!(file.file_size_in_bytes(), size);
    let offsets = file.split_offsets().unwrap();
    assert_eq!((offsets.len(), offsets[0]), (3, 4));
    assert!(offsets.is_sorted());
}

#[tokio::test]
async fn the_manifest_entry_has_counts_bounds_and_the_partition() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;
    let mut writer = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-0").await.unwrap();
    writer
        .write_row_group(&batch(&[Some(5), None], &[Some("a very long title of a song"), None]))
        .await
        .unwrap();
    writer.write_row_group(&batch(&[Some(-2), Some(4)], &[None, None])).await.unwrap();

    let file = writer.close(&[], true).await.unwrap();

    assert_eq!(file.partition(), &Struct::from_iter([Some(Literal::date(DAY))]));
    assert_eq!(file.value_counts(), &HashMap::from([(1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4)]));
    assert_eq!((file.null_value_counts()[&1], file.null_value_counts()[&2]), (1, 3));
    assert_eq!(file.nan_value_counts(), &HashMap::from([(3, 0)]));
    assert!(file.column_sizes().values().all(|size| *size > 0));
    let bounds = |id: i32| (file.lower_bounds()[&id].clone(), file.upper_bounds()[&id].clone());
    assert_eq!(bounds(1), (Datum::long(-2), Datum::long(5)));
    assert_eq!(bounds(2), (Datum::string("a very long titl"), Datum::string("a very long titm")));
    assert_eq!(bounds(3), (Datum::double(0.0), Datum::double(1.0)));
    assert_eq!(
        bounds(5),
        (Datum::timestamptz_micros(MIDNIGHT_US), Datum::timestamptz_micros(MIDNIGHT_US + 1))
    );
    assert_eq!(bounds(6), (Datum::date(DAY), Datum::date(DAY)));
}

#[tokio::test]
async fn nan_is_counted_and_not_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let spec = TableSpec {
        name: "numbers".to_owned(),
        columns: vec![
            Column::new("x", ColumnType::Double, true, ""),
            Column::new("y", ColumnType::Double, true, ""),
        ],
        partitioning: Partitioning::None,
        sort_key: Vec::new(),
        ..plays()
    };
    let table = lake(folder.path()).await.ensure_table(&spec).await.unwrap();
    let mut writer = DataFileWriter::create(&table, FilePartition::None, "c-0").await.unwrap();
    let x: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1.0, 2.0]));
    let y: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN; 3]));
    writer.write_row_group(&RecordBatch::try_from_iter([("x", x), ("y", y)]).unwrap()).await.unwrap();

    let file = writer.close(&[], false).await.unwrap();

    assert!(file.file_path().ends_with("/numbers/data/c-0.parquet"), "{}", file.file_path());
    assert_eq!(file.nan_value_counts(), &HashMap::from([(1, 1), (2, 3)]));
    assert_eq!(
        (file.lower_bounds()[&1].clone(), file.upper_bounds()[&1].clone()),
        (Datum::double(1.0), Datum::double(2.0))
    );
    assert!(!file.lower_bounds().contains_key(&2) && !file.upper_bounds().contains_key(&2));
}

/// Returns two rows with lists, whose elements are as the core's types have them: without ids.
fn lists() -> RecordBatch {
    let element = |kind: ColumnType| match kind.arrow() {
        DataType::List(element) => element,
        other => panic!("{other} is no list"),
    };
    let mut songs = ListBuilder::new(StringBuilder::new()).with_field(element(ColumnType::StringList));
    songs.append_value([Some("a"), Some("é")]);
    songs.append_value::<[Option<&str>; 0], &str>([]);
    let mut ids = ListBuilder::new(Int64Builder::new()).with_field(element(ColumnType::LongList));
    ids.append_value([Some(7)]);
    ids.append_value([Some(-1), Some(2)]);
    let columns: [(&str, ArrayRef); 2] =
        [("ids", Arc::new(ids.finish())), ("songs", Arc::new(songs.finish()))];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[tokio::test]
async fn lists_come_back_and_their_elements_have_the_tables_ids() {
    let folder = tempfile::tempdir().unwrap();
    let spec = TableSpec {
        name: "lists".to_owned(),
        columns: vec![
            Column::new("songs", ColumnType::StringList, false, ""),
            Column::new("ids", ColumnType::LongList, false, ""),
        ],
        partitioning: Partitioning::None,
        sort_key: Vec::new(),
        ..plays()
    };
    let lake = lake(folder.path()).await;
    let table = lake.ensure_table(&spec).await.unwrap();
    let mut writer = DataFileWriter::create(&table, FilePartition::None, "c-0").await.unwrap();

    writer.write_row_group(&lists()).await.unwrap();
    let file = writer.close(&[], false).await.unwrap();

    let again = lake.ensure_table(&spec).await.unwrap();
    assert_eq!(again.metadata.current_schema_id(), table.metadata.current_schema_id());
    let reader = open(file.file_path());
    let leaves = reader.parquet_schema().columns();
    let leaf_ids: Vec<i32> = leaves.iter().map(|leaf| leaf.self_type().get_basic_info().id()).collect();
    assert_eq!(leaf_ids, [3, 4]);
    assert_eq!(leaves[0].path().string(), "songs.list.element");
    let rows = reader.build().unwrap().next().unwrap().unwrap();
    let songs = rows.column(0).as_list::<i32>();
    assert_eq!(songs.value(0).as_string::<i32>(), &StringArray::from(vec!["a", "é"]));
    assert_eq!(songs.value(1).len(), 0);
    assert_eq!(rows.column(1).as_list::<i32>().values().as_primitive::<Int64Type>().values(), &[7, -1, 2]);
    assert_eq!(file.value_counts()[&4], 3);
    assert!(!file.lower_bounds().contains_key(&3) && !file.lower_bounds().contains_key(&4));
}

#[tokio::test]
async fn the_sort_order_is_claimed_only_for_a_sorted_file() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;
    let mut claims = Vec::new();

    for (stem, sorted) in [("a", true), ("b", false)] {
        let mut writer = DataFileWriter::create(&table, FilePartition::Day(DAY), stem).await.unwrap();
        writer.write_row_group(&batch(&[Some(1)], &[Some("a")])).await.unwrap();
        claims.push(writer.close(&[], sorted).await.unwrap().sort_order_id());
    }

    assert_eq!(claims, [Some(1), None]);
}

#[tokio::test]
async fn a_file_that_is_not_closed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;
    let mut writer = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-0").await.unwrap();
    writer.write_row_group(&batch(&[Some(1)], &[Some("a")])).await.unwrap();
    let path = writer.path().to_owned();
    let empty = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-1").await.unwrap();

    writer.abort().await;
    let refused = empty.close(&[], true).await;

    assert!(!table.file_io.exists(&path).await.unwrap());
    assert!(matches!(refused, Err(FileError::NotWritable { .. })), "{refused:?}");
    assert!(!table.file_io.exists(path.replace("c-0", "c-1")).await.unwrap());
}

#[tokio::test]
async fn a_file_is_never_written_twice() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;
    let mut writer = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-0").await.unwrap();
    writer.write_row_group(&batch(&[Some(1)], &[Some("a")])).await.unwrap();
    writer.close(&[], true).await.unwrap();

    let again = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-0").await;

    assert!(matches!(again, Err(FileError::StoreFailed { .. })), "{again:?}");
}

#[tokio::test]
async fn a_partition_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;

    let error = DataFileWriter::create(&table, PartitionKey::Hour(1), "c-0").await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "a file of partition 1970-01-01-01 does not fit table `plays`, which is partitioned by identity as `event_date`"
    );
}

#[tokio::test]
async fn hours_are_partitions_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let hourly = TableSpec { partitioning: Partitioning::Hour("event_ts".to_owned()), ..plays() };
    let table = lake(folder.path()).await.ensure_table(&hourly).await.unwrap();
    let mut writer = DataFileWriter::create(&table, PartitionKey::Hour(DAY * 24 + 5), "c-0").await.unwrap();
    writer.write_row_group(&batch(&[Some(1)], &[Some("a")])).await.unwrap();

    let file = writer.close(&[], true).await.unwrap();

    assert!(file.file_path().contains("/data/event_ts_hour=2024-01-01-05/"), "{}", file.file_path());
    assert_eq!(file.partition(), &Struct::from_iter([Some(Literal::int(DAY * 24 + 5))]));
}

#[tokio::test]
async fn a_file_can_be_written_by_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;

    let writing = tokio::spawn(async move {
        let mut writer = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-0").await?;
        writer.write_row_group(&batch(&[Some(1)], &[Some("a")])).await?;
        writer.close(&[], true).await
    });

    assert_eq!(writing.await.unwrap().unwrap().record_count(), 1);
}

#[tokio::test]
async fn after_a_refused_batch_the_writer_is_of_no_more_use() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path()).await;
    let mut writer = DataFileWriter::create(&table, FilePartition::Day(DAY), "c-0").await.unwrap();
    let stray: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let stray = RecordBatch::try_from_iter([("stray", stray)]).unwrap();

    let refused = writer.write_row_group(&stray).await.unwrap_err();
    let then = writer.write_row_group(&batch(&[Some(1)], &[Some("a")])).await.unwrap_err();

    assert_eq!(refused.to_string(), "table `plays` has no column `stray`");
    assert!(matches!(then, FileError::NotWritable { .. }), "{then}");
}
