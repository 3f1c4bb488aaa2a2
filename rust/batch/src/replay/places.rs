//! Where rows came from: source epoch, Kafka partition and offset, which together name a record once and for all.
//!
//! Whether a table has some of them is told by the column bounds of its files first; only files that may hold one are read,
//! and of them only these three columns.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt as _;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{DataFile, Datum, PrimitiveLiteral};
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::{LiveFile, live_files};

use crate::context::Context;
use crate::error::BatchError;

/// The three columns, in the order of [`Place`].
pub(super) const COLUMNS: [&str; 3] = ["_source_epoch", "_kafka_partition", "_kafka_offset"];

/// Source epoch, partition, offset.
pub(super) type Place = (i32, i32, i64);

/// A set of places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<(i32, i32), BTreeSet<i64>>);

impl Places {
    pub(super) fn insert(&mut self, (epoch, partition, offset): Place) {
        self.0.entry((epoch, partition)).or_default().insert(offset);
    }

    pub(super) fn contains(&self, (epoch, partition, offset): &Place) -> bool {
        self.0.get(&(*epoch, *partition)).is_some_and(|offsets| offsets.contains(offset))
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    fn span(&self) -> Option<(i64, i64)> {
        let first = self.0.values().filter_map(BTreeSet::first).min()?;
        let last = self.0.values().filter_map(BTreeSet::last).max()?;
        Some((*first, *last))
    }

    /// Whether the file's bounds leave room for one of the places.
    fn may_be_in(&self, table: &LoadedTable, file: &DataFile) -> bool {
        let bounds = COLUMNS.map(|column| bounds(table, file, column));
        let holds =
            |bounds: Bounds, value: i64| bounds.is_none_or(|(low, high)| (low..=high).contains(&value));
        let [epochs, partitions, offsets] = bounds;
        self.0.iter().any(|((epoch, partition), wanted)| {
            let (low, high) = offsets.unwrap_or((i64::MIN, i64::MAX));
            holds(epochs, i64::from(*epoch))
                && holds(partitions, i64::from(*partition))
                && low <= high
                && wanted.range(low..=high).next().is_some()
        })
    }
}

type Bounds = Option<(i64, i64)>;

/// Least and largest value of a column of whole numbers; `None` where the file does not tell. A column without any value
/// has bounds that hold nothing.
pub(super) fn bounds(table: &LoadedTable, file: &DataFile, column: &str) -> Bounds {
    let id = table.metadata.current_schema().field_id_by_name(column)?;
    if file.null_value_counts().get(&id) == Some(&file.record_count()) {
        return Some((i64::MAX, i64::MIN));
    }
    let number = |bound: Option<&Datum>| match bound?.literal() {
        PrimitiveLiteral::Int(value) => Some(i64::from(*value)),
        PrimitiveLiteral::Long(value) => Some(*value),
        _ => None,
    };
    Some((number(file.lower_bounds().get(&id))?, number(file.upper_bounds().get(&id))?))
}

/// The places of the rows; `None` for a row of an older pipeline, which has no epoch.
pub(super) fn of_rows(table: &str, rows: &RecordBatch) -> Result<Vec<Option<Place>>, BatchError> {
    let other = |name: &str| BatchError::Rows {
        table: table.to_owned(),
        source: format!("column `{name}` is missing or of another type").into(),
    };
    let [epoch, partition, offset] = COLUMNS;
    let epochs = rows.column_by_name(epoch).and_then(|column| column.as_primitive_opt::<Int32Type>());
    let partitions = rows.column_by_name(partition).and_then(|column| column.as_primitive_opt::<Int32Type>());
    let offsets = rows.column_by_name(offset).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let epochs = epochs.ok_or_else(|| other(epoch))?;
    let partitions = partitions.ok_or_else(|| other(partition))?;
    let offsets = offsets.ok_or_else(|| other(offset))?;
    let place = |row: usize| {
        let is_known = epochs.is_valid(row) && partitions.is_valid(row) && offsets.is_valid(row);
        is_known.then(|| (epochs.value(row), partitions.value(row), offsets.value(row)))
    };
    Ok((0..rows.num_rows()).map(place).collect())
}

/// Returns those of `wanted` that the table has rows of.
pub(super) async fn present(
    context: &Context,
    table: &LoadedTable,
    wanted: &Places,
) -> Result<Places, BatchError> {
    let mut found = Places::default();
    let Some((first, last)) = wanted.span() else { return Ok(found) };
    if COLUMNS.iter().any(|column| !table.has_column(column)) {
        return Ok(found);
    }
    let filter = offsets_within(first, last);
    for LiveFile { file, .. } in live_files(table, None).await? {
        if !wanted.may_be_in(table, &file) {
            continue;
        }
        context.meter.file(file.record_count(), 0);
        let mut batches = table.read_file(&file, &COLUMNS, Some(&filter))?;
        while let Some(batch) = batches.try_next().await? {
            context.check()?;
            let places = of_rows(&table.name, &batch)?;
            places
                .into_iter()
                .flatten()
                .filter(|place| wanted.contains(place))
                .for_each(|place| found.insert(place));
        }
    }
    Ok(found)
}

/// `first <= _kafka_offset <= last`.
pub(super) fn offsets_within(first: i64, last: i64) -> Predicate {
    let offset = || Reference::new(COLUMNS[2]);
    offset()
        .greater_than_or_equal_to(Datum::long(first))
        .and(offset().less_than_or_equal_to(Datum::long(last)))
}

/// The rows for which `keep` holds.
pub(super) fn rows_where(
    table: &str,
    rows: &RecordBatch,
    keep: impl Fn(Option<&Place>) -> bool,
) -> Result<RecordBatch, BatchError> {
    let places = of_rows(table, rows)?;
    let mask: BooleanArray = places.iter().map(|place| Some(keep(place.as_ref()))).collect();
    Ok(filter_record_batch(rows, &mask)?)
}
