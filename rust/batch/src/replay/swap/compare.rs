//! Compares the rows of a range in two tables, by their place in Kafka and a hash of their payload.
//!
//! Where a partition has more rows than the budget holds, it is compared in several passes over parts of the offsets.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher as _};

use arrow::array::{ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type};
use arrow::row::{RowConverter, SortField};
use futures::TryStreamExt as _;
use streamify_core::replay::ReplayRange;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::LiveFile;

use super::{Difference, Swap, Unit};
use crate::error::BatchError;
use crate::replay::places::{self, COLUMNS, Place};

/// Bytes of a row in the table of hashes, with its spare room.
const BYTES_PER_ROW: usize = 64;
/// The part of the budget that hashes may take.
const HASHES_PART: usize = 3;
/// Columns that tell how a row came here, not what happened.
const NOT_PAYLOAD: [&str; 4] = ["_source_epoch", "_kafka_partition", "_kafka_offset", "_processing_time"];

/// What was found in one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Compared {
    pub(super) difference: Difference,
    /// Files of the target that hold rows of the range.
    pub(super) concerned: BTreeSet<String>,
}

/// Which rows of a batch are in the range.
pub(super) fn in_range(
    range: &ReplayRange,
    table: &str,
    rows: &RecordBatch,
) -> Result<Vec<Option<Place>>, BatchError> {
    let days = rows.column_by_name("event_date").and_then(|column| column.as_primitive_opt::<Date32Type>());
    let has_day = |row: usize| match days {
        Some(days) => range.has_day(days.value(row)),
        None => range.days.is_none(),
    };
    let places = places::of_rows(table, rows)?;
    let kept = places.into_iter().enumerate().map(|(row, place)| {
        place
            .filter(|(epoch, partition, offset)| range.has_place(*epoch, *partition, *offset) && has_day(row))
    });
    Ok(kept.collect())
}

/// Compares one partition.
pub(super) async fn unit(swap: &Swap<'_>, target: &LoadedTable, unit: &Unit) -> Result<Compared, BatchError> {
    let rows: u64 = unit.staging.iter().map(|live| live.file.record_count()).sum();
    let bytes = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_ROW);
    let passes = bytes.div_ceil(swap.context.counted_bytes() / HASHES_PART).max(1) as i64;
    let payload = payload(swap.staging);
    let mut compared = Compared::default();
    for pass in 0..passes {
        let is_mine = |place: &Place| place.2.rem_euclid(passes) == pass;
        let mut hashes: HashMap<Place, u64> = HashMap::new();
        let mut reader = Hashes::new(&payload);
        for live in &unit.staging {
            reader
                .each(swap, swap.staging, live, |place, hash| {
                    if is_mine(&place) {
                        hashes.insert(place, hash);
                    }
                })
                .await?;
        }
        for live in &unit.target {
            let path = live.file.file_path();
            let found = &mut compared;
            reader
                .each(swap, target, live, |place, hash| {
                    if !is_mine(&place) {
                        return;
                    }
                    if !found.concerned.contains(path) {
                        found.concerned.insert(path.to_owned());
                    }
                    match hashes.remove(&place) {
                        Some(same) if same == hash => found.difference.equal += 1,
                        Some(_) => found.difference.differing += 1,
                        None => found.difference.extra += 1,
                    }
                })
                .await?;
        }
        compared.difference.missing += hashes.len() as u64;
    }
    Ok(compared)
}

/// The payload's columns with the types that the staging table has.
fn payload(staging: &LoadedTable) -> Vec<String> {
    let fields = staging.metadata.current_schema().as_struct().fields();
    let names = fields.iter().map(|field| field.name.clone());
    names.filter(|name| !NOT_PAYLOAD.contains(&name.as_str())).collect()
}

/// Hashes payloads. Types are those of the first batch, which is the staging table's.
struct Hashes<'a> {
    payload: &'a [String],
    converter: Option<(RowConverter, Vec<DataType>)>,
}

impl<'a> Hashes<'a> {
    fn new(payload: &'a [String]) -> Self {
        Self { payload, converter: None }
    }

    async fn each(
        &mut self,
        swap: &Swap<'_>,
        table: &LoadedTable,
        live: &LiveFile,
        mut take: impl FnMut(Place, u64),
    ) -> Result<(), BatchError> {
        swap.context.meter.file(live.file.record_count(), live.file.file_size_in_bytes());
        let columns = self.payload.iter().map(String::as_str).chain(COLUMNS);
        let columns: Vec<&str> = columns.filter(|column| table.has_column(column)).collect();
        let mut batches = table.read_file(&live.file, &columns, None)?;
        while let Some(batch) = batches.try_next().await? {
            swap.context.check()?;
            let places = in_range(swap.range, &table.name, &batch)?;
            if places.iter().all(Option::is_none) {
                continue;
            }
            let hashes = self.of(&batch)?;
            places.into_iter().zip(hashes).for_each(|(place, hash)| {
                if let Some(place) = place {
                    take(place, hash);
                }
            });
        }
        Ok(())
    }

    fn of(&mut self, batch: &RecordBatch) -> Result<Vec<u64>, BatchError> {
        let (converter, types) = match &mut self.converter {
            Some(known) => known,
            None => {
                let kind = |name: &String| {
                    batch.column_by_name(name).map_or(DataType::Null, |column| column.data_type().clone())
                };
                let types: Vec<DataType> = self.payload.iter().map(kind).collect();
                let fields = types.iter().cloned().map(SortField::new).collect();
                self.converter.insert((RowConverter::new(fields)?, types))
            }
        };
        let column = |(name, kind): (&String, &DataType)| match batch.column_by_name(name) {
            Some(column) if column.data_type() == kind => Ok(column.clone()),
            Some(column) => cast(column, kind),
            None => Ok(new_null_array(kind, batch.num_rows())),
        };
        let columns: Vec<ArrayRef> =
            self.payload.iter().zip(types.iter()).map(column).collect::<Result<_, _>>()?;
        let rows = converter.convert_columns(&columns)?;
        let hash = |row: arrow::row::Row<'_>| {
            let mut hasher = DefaultHasher::new();
            hasher.write(row.as_ref());
            hasher.finish()
        };
        Ok(rows.iter().map(hash).collect())
    }
}
