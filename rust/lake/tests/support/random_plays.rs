//! Plays with a column of each kind, by a rule, and data files of them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, Struct};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;
use streamify_core::contract::{Column, ColumnType};
use streamify_lake::{LoadedTable, TableSpec};

use super::plays;

pub const DAY: i32 = 19_723;

/// Plays with a column of each kind, some with values that repeat and some with values that do not.
pub fn spec() -> TableSpec {
    use ColumnType::{Binary, Boolean, Long, String};
    let mut spec = plays();
    spec.columns.extend([
        Column::new("event_id", String, true, "Nearly unique"),
        Column::new("paid", Boolean, true, "Whether it was paid for"),
        Column::new("ts", Long, true, "When, in milliseconds"),
        Column::new("raw", Binary, true, "As it came"),
    ]);
    spec
}

/// How a file is written, and by whatever rule its values are made.
#[derive(Clone, Debug)]
pub struct Plan {
    pub num_rows: usize,
    pub seed: u64,
    /// Different values of a column that repeats.
    pub distinct: u64,
    /// Of a hundred values so many are null.
    pub nulls: u64,
    pub newest: bool,
    pub dictionary: bool,
    pub compression: Compression,
    pub page_rows: usize,
    pub group_rows: usize,
}

pub fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let compression = prop_oneof![
        Just(Compression::UNCOMPRESSED),
        Just(Compression::SNAPPY),
        Just(Compression::ZSTD(ZstdLevel::default()))
    ];
    let nulls = prop_oneof![Just(0_u64), 1..99_u64, Just(100_u64)];
    let sizes = (1..600_usize, 1..200_usize, 20..600_usize);
    let distinct = prop_oneof![Just(1_u64), 1..40_u64];
    let plan = (sizes, any::<u64>(), distinct, nulls, any::<bool>(), any::<bool>(), compression).prop_map(
        |((num_rows, page_rows, group_rows), seed, distinct, nulls, newest, dictionary, compression)| Plan {
            num_rows,
            seed,
            distinct,
            nulls,
            newest,
            dictionary,
            compression,
            page_rows,
            group_rows,
        },
    );
    prop::collection::vec(plan, 1..5)
}

/// A number that is as good as random, by row and column.
pub fn noise(seed: u64, row: u64, column: u64) -> u64 {
    let mixed =
        (seed ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ column << 32).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53) >> 7
}

pub fn rows(table: &LoadedTable, plan: &Plan) -> RecordBatch {
    let number = |row: usize, column: u64| noise(plan.seed, row as u64, column);
    let present = |row: usize, column: u64| number(row, column + 100) % 100 >= plan.nulls;
    let few = |row: usize, column: u64| {
        // Long stretches of one value, as sorted files have them.
        let row = if plan.seed.is_multiple_of(2) { row / 37 } else { row };
        present(row, column).then(|| noise(plan.seed % 3, row as u64, column) % plan.distinct)
    };
    let length =
        |value: u64| [f64::NAN, 0.0, -0.0, -1.5, f64::MAX][value as usize % 5] * (1 + value / 5) as f64;
    let range = 0..plan.num_rows;
    let times = range.clone().map(|row| 1_704_067_200_000_000 + (number(row, 1) % 1_000) as i64);
    let id = |row| present(row, 2).then(|| format!("{:016x}{:016x}", number(row, 2), number(row, 10)));
    let song = |row| few(row, 3).map(|value| "é".repeat(value as usize));
    let raw = |row| present(row, 4).then(|| number(row, 4).to_be_bytes()[..row % 9].to_vec());
    let raws: Vec<Option<Vec<u8>>> = range.clone().map(raw).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(range.clone().map(|row| few(row, 5).map(|value| value as i64 - 7)).collect::<Int64Array>()),
        Arc::new(range.clone().map(song).collect::<StringArray>()),
        Arc::new(range.clone().map(|row| few(row, 6).map(length)).collect::<Float64Array>()),
        Arc::new(range.clone().map(|row| few(row, 8).map(|value| -(value as i32))).collect::<Int32Array>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00")),
        Arc::new(Date32Array::from(vec![DAY; plan.num_rows])),
        Arc::new(range.clone().map(id).collect::<StringArray>()),
        Arc::new(range.clone().map(|row| few(row, 7).map(|value| value % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(
            range
                .clone()
                .map(|row| present(row, 9).then(|| number(row, 9) as i64 - (1 << 40)))
                .collect::<Int64Array>(),
        ),
        Arc::new(LargeBinaryArray::from_iter(raws)),
    ];
    let schema = schema_to_arrow_schema(table.metadata.current_schema()).unwrap();
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

pub fn write(folder: &Path, name: &str, rows: &RecordBatch, properties: WriterProperties) -> DataFile {
    let path = folder.join(name);
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("file://{}", path.display()))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(DAY))]))
        .record_count(rows.num_rows() as u64)
        .file_size_in_bytes(path.metadata().unwrap().len())
        .build()
        .unwrap()
}

pub fn properties(plan: &Plan) -> WriterProperties {
    let version = if plan.newest { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
    let builder = WriterProperties::builder()
        .set_writer_version(version)
        .set_compression(plan.compression)
        .set_dictionary_enabled(plan.dictionary)
        // Some columns outgrow their dictionary half-way.
        .set_dictionary_page_size_limit(200)
        .set_write_batch_size(plan.page_rows)
        .set_data_page_row_count_limit(plan.page_rows)
        .set_max_row_group_row_count(Some(plan.group_rows));
    // The newest version has other encodings where there is no dictionary; truths keep theirs.
    let plain = ["userId", "event_id", "song", "length", "level", "ts", "raw", "event_ts", "event_date"];
    plain
        .into_iter()
        .fold(builder, |builder, name| builder.set_column_encoding(name.into(), Encoding::PLAIN))
        .build()
}

pub fn read(file: &DataFile) -> RecordBatch {
    let path = file.file_path().trim_start_matches("file://");
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

/// A plan without surprises.
pub fn plain(num_rows: usize) -> Plan {
    let compression = Compression::ZSTD(ZstdLevel::default());
    let (seed, distinct, nulls, newest, dictionary) = (7, 30, 10, false, true);
    Plan {
        num_rows,
        seed,
        distinct,
        nulls,
        newest,
        dictionary,
        compression,
        page_rows: 100,
        group_rows: 1_000,
    }
}
