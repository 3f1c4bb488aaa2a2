//! The largest offset per partition that a table's rows hold.
//!
//! Told by the column bounds of its files where a file has rows of one partition only; of the other files, only those are
//! read that may hold a larger offset than is known already: the newest few.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use futures::TryStreamExt as _;
use iceberg::spec::{Datum, PrimitiveLiteral};
use streamify_lake::LoadedTable;
use streamify_lake::scan::{LiveFile, live_files};

use crate::error::StreamError;

const PARTITION: &str = "_kafka_partition";
const OFFSET: &str = "_kafka_offset";

/// What a file's bounds tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Least and largest partition.
    pub(super) partitions: (i64, i64),
    /// Largest offset of all of them.
    pub(super) offset: i64,
}

/// Returns the largest offset of each partition that has rows.
///
/// # Errors
/// The table has no such columns, or its files cannot be read.
pub(super) async fn largest_offsets(table: &LoadedTable) -> Result<BTreeMap<i32, i64>, StreamError> {
    if let Some(column) = [PARTITION, OFFSET].into_iter().find(|column| !table.has_column(column)) {
        let problem = format!("it has no column `{column}`");
        return Err(StreamError::CannotAdopt { table: table.name.clone(), problem });
    }
    let mut largest = BTreeMap::new();
    for file in unclear(table, live_files(table, None).await?, &mut largest) {
        let is_known = told(table, &file).is_some_and(|told| is_below(told, &largest));
        if is_known {
            continue;
        }
        let mut batches = table.read_file(&file.file, &[PARTITION, OFFSET], None)?;
        while let Some(batch) = batches.try_next().await? {
            note(&batch, &mut largest)
                .map_err(|problem| StreamError::CannotAdopt { table: table.name.clone(), problem })?;
        }
    }
    largest
        .into_iter()
        .map(|(partition, offset)| {
            let partition = i32::try_from(partition).map_err(|_| StreamError::CannotAdopt {
                table: table.name.clone(),
                problem: format!("it has rows of partition {partition}"),
            })?;
            Ok((partition, offset))
        })
        .collect()
}

/// Notes what the files of one partition tell; returns the others, those with the largest offsets first.
fn unclear(table: &LoadedTable, files: Vec<LiveFile>, largest: &mut BTreeMap<i64, i64>) -> Vec<LiveFile> {
    let mut others = Vec::new();
    for file in files {
        match told(table, &file) {
            Some(Told { partitions: (first, last), offset }) if first == last => keep(largest, first, offset),
            told => others.push((told.map_or(i64::MAX, |told| told.offset), file)),
        }
    }
    others.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
    others.into_iter().map(|(_, file)| file).collect()
}

/// Reads the bounds of a file; `None` where one is missing.
fn told(table: &LoadedTable, live: &LiveFile) -> Option<Told> {
    let schema = table.metadata.current_schema();
    let (partition, offset) = (schema.field_id_by_name(PARTITION)?, schema.field_id_by_name(OFFSET)?);
    let (lower, upper) = (live.file.lower_bounds(), live.file.upper_bounds());
    let partitions = (number(lower.get(&partition)?)?, number(upper.get(&partition)?)?);
    Some(Told { partitions, offset: number(upper.get(&offset)?)? })
}

fn number(bound: &Datum) -> Option<i64> {
    match bound.literal() {
        PrimitiveLiteral::Int(value) => Some(i64::from(*value)),
        PrimitiveLiteral::Long(value) => Some(*value),
        _ => None,
    }
}

/// Whether a file cannot hold a larger offset than is known for any of its partitions.
pub(super) fn is_below(told: Told, largest: &BTreeMap<i64, i64>) -> bool {
    let (first, last) = told.partitions;
    // A topic has at most a few thousand partitions; bounds beyond that are not worth counting through.
    (0..100_000).contains(&(last - first))
        && (first..=last).all(|partition| largest.get(&partition).is_some_and(|known| told.offset <= *known))
}

fn keep(largest: &mut BTreeMap<i64, i64>, partition: i64, offset: i64) {
    let known = largest.entry(partition).or_insert(offset);
    *known = offset.max(*known);
}

/// Notes the rows of a batch; rows without coordinates tell nothing.
pub(super) fn note(batch: &RecordBatch, largest: &mut BTreeMap<i64, i64>) -> Result<(), String> {
    let (partitions, offsets) = (longs(batch, PARTITION)?, longs(batch, OFFSET)?);
    for row in 0..batch.num_rows() {
        if partitions.is_valid(row) && offsets.is_valid(row) {
            keep(largest, partitions.value(row), offsets.value(row));
        }
    }
    Ok(())
}

fn longs(batch: &RecordBatch, name: &str) -> Result<Int64Array, String> {
    let not_numbers = || format!("its column `{name}` does not hold whole numbers");
    let column = batch.column_by_name(name).ok_or_else(not_numbers)?;
    if !column.data_type().is_integer() {
        return Err(not_numbers());
    }
    let longs = cast(column, &DataType::Int64).map_err(|_| not_numbers())?;
    longs.as_primitive_opt::<Int64Type>().cloned().ok_or_else(not_numbers)
}
