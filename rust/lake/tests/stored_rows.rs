//! Rows that are moved as they are stored, against the same rows written as values: to a table that has a list too, and so
//! no stored rows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, concat_batches, max, min, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, UInt32Type};
use iceberg::spec::{DataFile, Datum};
use parquet::basic::Encoding;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use proptest::prelude::*;
use streamify_core::contract::{Column, ColumnType};
use streamify_core::order_of;
use streamify_core::sort::PartitionKey;
use streamify_lake::stored::{StoredFile, StoredLayout, StoredRows};
use streamify_lake::{DataFileWriter, LoadedTable, TableSpec};
use support::lake;
use support::random_plays::{DAY, Plan, noise, plain, plans, properties, read, rows, spec, write};

/// The rows of the files, moved into one file.
async fn moved(table: &LoadedTable, files: &[DataFile], group_rows: usize, stem: &str) -> DataFile {
    let layout = StoredLayout::of(table).unwrap().unwrap();
    let mut stored = StoredRows::with_capacity(&layout, 0);
    for file in files {
        let file = StoredFile::open(table, &layout, file).await.unwrap().unwrap();
        for number in 0..file.num_row_groups() {
            stored = file.read(number, stored).await.unwrap();
        }
    }
    sorted(table, stored, group_rows, stem).await
}

/// The rows of batches, of which every second one has its texts in a dictionary, in one file.
async fn pushed(table: &LoadedTable, batches: &[RecordBatch], group_rows: usize, stem: &str) -> DataFile {
    let layout = StoredLayout::of(table).unwrap().unwrap();
    let mut stored = StoredRows::with_capacity(&layout, 0);
    for (number, batch) in batches.iter().enumerate() {
        let batch = if number % 2 == 0 { with_dictionary(batch, number % 4 == 0) } else { batch.clone() };
        let half = batch.num_rows() / 2;
        stored.push(&batch.slice(0, half)).unwrap();
        stored.push(&batch.slice(half, batch.num_rows() - half)).unwrap();
    }
    sorted(table, stored, group_rows, stem).await
}

/// The batch with songs in a dictionary; nulls are keys without a value, or keys of a value that is null.
fn with_dictionary(batch: &RecordBatch, null_is_a_value: bool) -> RecordBatch {
    let kind = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    let songs = cast(batch.column(1), &kind).unwrap();
    let songs = songs.as_dictionary::<UInt32Type>();
    let values: StringArray = songs.values().as_string::<i32>().iter().chain([None]).collect();
    let null = null_is_a_value.then_some(values.len() as u32 - 1);
    let keys: UInt32Array = songs.keys().iter().map(|key| key.or(null)).collect();
    let songs = DictionaryArray::new(keys, Arc::new(values));
    let names = batch.schema();
    let columns = names.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column = if field.name() == "song" { Arc::new(songs.clone()) } else { Arc::clone(column) };
        (field.name(), column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

async fn sorted(table: &LoadedTable, stored: StoredRows, group_rows: usize, stem: &str) -> DataFile {
    let order = stored.order(&spec().sort_key).unwrap();
    let stored = Arc::new(stored);
    let mut writer = DataFileWriter::create(table, PartitionKey::EventDate(DAY), stem).await.unwrap();
    for some in order.chunks(group_rows) {
        writer.write_stored(Arc::clone(&stored), some.to_vec()).await.unwrap();
    }
    writer.close(&[], true).await.unwrap()
}

/// The table, and one that has a list too.
async fn tables(folder: &Path) -> (LoadedTable, LoadedTable) {
    let lake = lake(folder).await;
    let list = Column::new("songs", ColumnType::StringList, true, "Nothing");
    let mut with_list = TableSpec { name: "with_list".to_owned(), ..spec() };
    with_list.columns.push(list);
    let tables = (lake.ensure_table(&spec()).await.unwrap(), lake.ensure_table(&with_list).await.unwrap());
    assert!(StoredLayout::of(&tables.1).unwrap().is_none());
    tables
}

/// The same by values, to the table with a list.
async fn by_values(table: &LoadedTable, rows: &RecordBatch, group_rows: usize, stem: &str) -> DataFile {
    let keys = ["userId", "event_ts"].map(|name| rows.column_by_name(name).unwrap());
    let sorted = match order_of(&keys).unwrap() {
        Some(order) => take_record_batch(rows, &order).unwrap(),
        None => rows.clone(),
    };
    let mut writer = DataFileWriter::create(table, PartitionKey::EventDate(DAY), stem).await.unwrap();
    for first in (0..sorted.num_rows()).step_by(group_rows) {
        let some = sorted.slice(first, group_rows.min(sorted.num_rows() - first));
        writer.write_row_group(&some).await.unwrap();
    }
    let file = writer.close(&[], true).await.unwrap();
    check_values(table, &file, &sorted);
    file
}

/// The values in a file against the rows that it was made of, and what its entry says of those that hardly repeat.
fn check_values(table: &LoadedTable, file: &DataFile, rows: &RecordBatch) {
    let found = read(file);
    for (field, expected) in rows.schema().fields().iter().zip(rows.columns()) {
        let name = field.name();
        let id = table.metadata.current_schema().field_id_by_name(name).unwrap();
        let found = cast(found.column_by_name(name).unwrap(), expected.data_type()).unwrap();
        assert_eq!(&found, expected, "column {name}");
        assert_eq!(file.null_value_counts()[&id], expected.null_count() as u64, "column {name}");
        let bounds = match name.as_str() {
            "ts" => min(expected.as_primitive::<Int64Type>()).zip(max(expected.as_primitive::<Int64Type>())),
            _ => continue,
        };
        let bounds = bounds.map(|(least, greatest)| (Datum::long(least), Datum::long(greatest)));
        let both = file.lower_bounds().get(&id).cloned().zip(file.upper_bounds().get(&id).cloned());
        assert_eq!(both, bounds, "column {name}");
    }
}

fn check(moved: &DataFile, by_values: &DataFile) {
    assert_eq!(moved.record_count(), by_values.record_count());
    let (found, expected) = (read(moved), read(by_values));
    for (field, found) in found.schema().fields().iter().zip(found.columns()) {
        assert_eq!(found, expected.column_by_name(field.name()).unwrap(), "column {}", field.name());
    }
    assert_eq!(moved.column_sizes().len(), found.num_columns());
    let known = |counts: &HashMap<i32, u64>| -> HashMap<i32, u64> {
        let ids = moved.column_sizes();
        counts.iter().filter(|(id, _)| ids.contains_key(*id)).map(|(id, count)| (*id, *count)).collect()
    };
    assert_eq!(moved.value_counts(), &known(by_values.value_counts()));
    assert_eq!(moved.null_value_counts(), &known(by_values.null_value_counts()));
    assert_eq!(moved.nan_value_counts(), by_values.nan_value_counts());
    assert_eq!(moved.lower_bounds(), by_values.lower_bounds());
    assert_eq!(moved.upper_bounds(), by_values.upper_bounds());
}

/// Columns of a file as batches, against its rows; in another order than the table's.
async fn check_batches(table: &LoadedTable, file: &DataFile, rows: &RecordBatch) {
    let spec = spec();
    let names = spec.columns.iter().map(|column| column.name.as_str()).filter(|name| *name != "level");
    let names: Vec<&str> = names.rev().collect();
    let layout = StoredLayout::of(table).unwrap().unwrap().select(&names).unwrap();
    let file = StoredFile::open(table, &layout, file).await.unwrap().unwrap();
    let mut first = 0;
    for number in 0..file.num_row_groups() {
        let room = StoredRows::with_capacity(&layout, file.most_rows());
        let batch = file.read(number, room).await.unwrap().to_batch().unwrap();
        assert!(batch.num_rows() <= file.most_rows());
        for (name, found) in names.iter().zip(batch.columns()) {
            let expected = rows.column_by_name(name).unwrap().slice(first, batch.num_rows());
            assert_eq!(&cast(found, expected.data_type()).unwrap(), &expected, "column {name}");
            let is_coded = matches!(found.data_type(), DataType::Dictionary(_, _));
            assert_eq!(is_coded, *name == "song", "column {name}");
        }
        first += batch.num_rows();
    }
    assert_eq!(first, rows.num_rows());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_moved_are_rows_read_sorted_and_written(plans in plans(), group_rows in 1..700_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (table, values) = tables(folder.path()).await;
            let batches: Vec<RecordBatch> = plans.iter().map(|plan| rows(&table, plan)).collect();
            let files: Vec<DataFile> = batches
                .iter()
                .zip(&plans)
                .enumerate()
                .map(|(number, (rows, plan))| write(folder.path(), &format!("{number}.parquet"), rows, properties(plan)))
                .collect();
            let all = concat_batches(&batches[0].schema(), &batches).unwrap();
            let expected = by_values(&values, &all, group_rows, "expected").await;
            let once = moved(&table, &files, group_rows, "moved").await;
            check(&once, &expected);
            // What was moved can be moved again.
            check(&moved(&table, std::slice::from_ref(&once), group_rows, "again").await, &expected);
            check(&pushed(&table, &batches, group_rows, "pushed").await, &expected);
            for (file, rows) in files.iter().zip(&batches) {
                check_batches(&table, file, rows).await;
            }
        });
    }
}

#[tokio::test]
async fn values_that_outgrow_a_dictionary_are_written_as_they_are_in_pages_of_a_mebibyte() {
    let folder = tempfile::tempdir().unwrap();
    let (table, values) = tables(folder.path()).await;
    let rows = rows(&table, &plain(30_000));
    let songs: StringArray = (0..30_000).map(|row| (row % 7 != 0).then(|| format!("{row:050}"))).collect();
    let mut columns = rows.columns().to_vec();
    columns[1] = Arc::new(songs);
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let file = write(folder.path(), "large.parquet", &rows, WriterProperties::default());

    let moved = moved(&table, &[file], 30_000, "moved").await;

    check(&moved, &by_values(&values, &rows, 30_000, "expected").await);
    let path = moved.file_path().trim_start_matches("file://");
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let group = reader.get_row_group(0).unwrap();
    assert_eq!(group.metadata().column(1).dictionary_page_offset(), None);
    assert!(group.metadata().column(0).dictionary_page_offset().is_some());
    let pages = group.get_column_page_reader(1).unwrap().map(|page| page.unwrap().buffer().len());
    let sizes: Vec<usize> = pages.collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|size| *size < (1 << 20) + 10_000), "{sizes:?}");
}

#[tokio::test]
async fn other_encodings_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = tables(folder.path()).await;
    let layout = StoredLayout::of(&table).unwrap().unwrap();
    let rows = rows(&table, &plain(10));
    let delta = WriterProperties::builder()
        .set_column_dictionary_enabled("ts".into(), false)
        .set_column_encoding("ts".into(), Encoding::DELTA_BINARY_PACKED)
        .build();

    let files = [("delta", delta), ("plain", WriterProperties::default())];

    for (name, properties) in files {
        let file = write(folder.path(), name, &rows, properties);
        let taken = StoredFile::open(&table, &layout, &file).await.unwrap().is_some();
        assert_eq!(taken, name == "plain", "{name}");
    }
}

#[tokio::test]
async fn a_column_that_a_file_lacks_is_null_and_one_of_another_type_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (table, values) = tables(folder.path()).await;
    let layout = StoredLayout::of(&table).unwrap().unwrap();
    let rows = rows(&table, &plain(10));
    let kept: Vec<usize> = (0..rows.num_columns()).filter(|place| ![1, 6, 8].contains(place)).collect();
    let older = rows.project(&kept).unwrap();
    let file = write(folder.path(), "older.parquet", &older, WriterProperties::default());

    let moved = moved(&table, &[file], 100, "moved").await;

    check(&moved, &by_values(&values, &older, 100, "expected").await);

    let required = rows.project(&[0, 1, 2, 3, 4, 6, 7, 8, 9]).unwrap();
    let lacking = write(folder.path(), "lacking.parquet", &required, WriterProperties::default());
    assert!(StoredFile::open(&table, &layout, &lacking).await.unwrap().is_none(), "a required column");
    let field = rows.schema().field(0).clone().with_data_type(DataType::Int32);
    let mut fields: Vec<_> = rows.schema().fields().to_vec();
    fields[0] = Arc::new(field);
    let mut columns = rows.columns().to_vec();
    columns[0] = Arc::new(Int32Array::from(vec![1; 10]));
    let narrow = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap();
    let narrow = write(folder.path(), "narrow.parquet", &narrow, WriterProperties::default());
    assert!(StoredFile::open(&table, &layout, &narrow).await.unwrap().is_none(), "an int for a long");
}

#[tokio::test]
async fn a_damaged_file_is_named_and_nothing_panics() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = tables(folder.path()).await;
    let layout = StoredLayout::of(&table).unwrap().unwrap();
    let rows = rows(&table, &plain(500));
    let file = write(folder.path(), "whole.parquet", &rows, properties(&plain(500)));
    let whole = std::fs::read(folder.path().join("whole.parquet")).unwrap();
    let damage = |range: Range<usize>, to: u8| {
        let mut bytes = whole.clone();
        bytes[range].fill(to);
        std::fs::write(folder.path().join("whole.parquet"), bytes).unwrap();
    };
    let mut refused = 0;
    for at in (4..whole.len() - 8).step_by(whole.len() / 150) {
        damage(at..at + 6, at as u8);
        let read = async {
            let Some(file) = StoredFile::open(&table, &layout, &file).await? else { return Ok(()) };
            let mut stored = StoredRows::with_capacity(&layout, 0);
            for number in 0..file.num_row_groups() {
                stored = file.read(number, stored).await?;
            }
            stored.order(&spec().sort_key).unwrap();
            // Text may be damaged too, which only its reader notices.
            let _ = stored.to_batch();
            Ok::<(), streamify_lake::read::ReadError>(())
        };
        if let Err(error) = read.await {
            assert!(error.source.to_string().contains("whole.parquet"), "{error:?}");
            refused += 1;
        }
    }
    assert!(refused > 50, "only {refused} of 150 were noticed");
}

#[tokio::test]
async fn rows_that_do_not_fit_the_table_are_refused_as_by_values() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = tables(folder.path()).await;
    let layout = StoredLayout::of(&table).unwrap().unwrap();
    let rows = rows(&table, &plain(3));
    let refused =
        |batch: RecordBatch| StoredRows::with_capacity(&layout, 0).push(&batch).unwrap_err().to_string();
    let with = |name: &str, column: ArrayRef| {
        let fields = rows.schema();
        let columns = fields.fields().iter().zip(rows.columns()).map(|(field, known)| {
            (field.name(), if field.name() == name { Arc::clone(&column) } else { Arc::clone(known) }, true)
        });
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };

    let no_time = TimestampMicrosecondArray::from(vec![None, Some(1), None]).with_timezone("+00:00");
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "3"]));
    let numbers = cast(
        &Int64Array::from(vec![1, 2, 3]),
        &DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Int64)),
    );

    assert!(
        refused(with("event_ts", Arc::new(no_time))).contains("must not be null, but 2 of its values are")
    );
    assert!(refused(with("userId", text)).contains("userId"));
    assert!(refused(with("song", numbers.unwrap())).contains("song"));
    assert!(refused(rows.project(&[0, 1]).unwrap()).contains("lack the required column"));
    assert_eq!(StoredRows::with_capacity(&layout, 0).num_rows(), 0);
}

#[tokio::test]
async fn ids_of_any_kind_come_together_and_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (table, values) = tables(folder.path()).await;
    let layout = StoredLayout::of(&table).unwrap().unwrap();
    let batch = |seed: u64, id: &dyn Fn(u64) -> Option<String>| {
        let rows = rows(&table, &Plan { seed, ..plain(600) });
        let ids: StringArray = (0..600).map(|row| id(noise(seed, row, 2))).collect();
        let mut columns = rows.columns().to_vec();
        columns[6] = Arc::new(ids);
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    let kinds = [
        batch(1, &|number| Some(format!("{number:032x}"))),
        batch(2, &|number| Some(format!("{:032x}", u128::from(number) << 64))),
        batch(3, &|number| Some(format!("{number:064x}"))),
        batch(4, &|number| Some(format!("{number:032X}"))),
        batch(5, &|number| (number % 7 > 0).then(|| format!("{number:032x}"))),
        batch(6, &|_| None),
    ];
    // Another reader's name for a time zone may be another one.
    let as_pushed = |file: &DataFile| {
        let (found, schema) = (read(file), kinds[0].schema());
        let columns = found.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap()).collect();
        RecordBatch::try_new(schema, columns).unwrap()
    };
    let mut files = Vec::new();
    for (number, rows) in kinds.iter().enumerate() {
        let ours = pushed(&table, std::slice::from_ref(rows), 600, &format!("kind-{number}")).await;
        check_batches(&table, &ours, &read(&ours)).await;
        let theirs =
            write(folder.path(), &format!("theirs-{number}.parquet"), rows, WriterProperties::default());
        files.push([ours, theirs]);
    }
    for (first, second) in (0..6).flat_map(|first| (0..6).map(move |second| (first, second))) {
        let two = [files[first][second % 2].clone(), files[second][first % 2].clone()];
        let all = concat_batches(&kinds[0].schema(), &two.each_ref().map(as_pushed)).unwrap();
        let stem = format!("{first}-{second}");

        check(&moved(&table, &two, 1200, &stem).await, &by_values(&values, &all, 1200, &stem).await);

        let mut stored = StoredRows::with_capacity(&layout, 0);
        for file in &two {
            let file = StoredFile::open(&table, &layout, file).await.unwrap().unwrap();
            stored = file.read(0, stored).await.unwrap();
        }
        let expected = order_of(&[all.column_by_name("event_id").unwrap()]).unwrap();
        let expected = expected.map_or((0..1200).collect(), |order| order.values().to_vec());
        assert_eq!(stored.order(&["event_id".to_owned()]).unwrap(), expected, "{stem}");
    }
}
