//! Rows on their way to a file as values.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayData, ArrayRef, AsArray, Capacities, MutableArrayData, RecordBatch, make_array,
};
use arrow::compute::{concat, interleave_record_batch, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use streamify_core::order_of;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::files::Layout;

use super::{Files, GROUP_ROWS, RUN_ROWS};
use crate::context::Context;
use crate::error::BatchError;

/// Rows that lie side by side, on average, from which on runs of rows are copied and not single ones.
const LONG_RUN: usize = 8;

/// The rows of a run.
pub(super) struct Values {
    layout: Layout,
    batches: Vec<RecordBatch>,
    num_bytes: usize,
    num_rows: usize,
}

impl Values {
    pub(super) fn new(table: &LoadedTable) -> Result<Self, BatchError> {
        let layout = Layout::new(&table.name, table.metadata.current_schema())?;
        Ok(Self { layout, batches: Vec::new(), num_bytes: 0, num_rows: 0 })
    }

    pub(super) fn is_full(&self, context: &Context) -> bool {
        self.num_bytes >= context.run_bytes() || self.num_rows >= RUN_ROWS
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        if batch.num_rows() > 0 {
            // Rows of several origins meet in one run: all of them in the table's own types.
            let batch = self.layout.arrange(batch)?;
            self.num_bytes += batch.get_array_memory_size();
            self.num_rows += batch.num_rows();
            self.batches.push(batch);
        }
        Ok(())
    }

    /// Writes the rows in the table's order.
    pub(super) async fn write(
        &mut self,
        sort_key: &[String],
        files: &mut Files<'_>,
    ) -> Result<(), BatchError> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(&mut self.batches);
        (self.num_bytes, self.num_rows) = (0, 0);
        let sorted = sorted(&batches, sort_key)?;
        drop(batches);
        let writer = files.open().await?;
        for first in (0..sorted.num_rows()).step_by(GROUP_ROWS) {
            let rows = GROUP_ROWS.min(sorted.num_rows() - first);
            writer.write_row_group(&sorted.slice(first, rows)).await?;
        }
        files.end_run().await
    }
}

/// Puts rows of equal columns in the order of the key columns (those that they have).
fn sorted(batches: &[RecordBatch], sort_key: &[String]) -> Result<RecordBatch, BatchError> {
    let mut keys: Vec<ArrayRef> = Vec::with_capacity(sort_key.len());
    for name in sort_key {
        let parts: Vec<&dyn arrow::array::Array> =
            batches.iter().filter_map(|batch| batch.column_by_name(name)).map(AsRef::as_ref).collect();
        if parts.len() == batches.len() && !parts.is_empty() {
            keys.push(concat(&parts)?);
        }
    }
    let order = order_of(&keys.iter().collect::<Vec<_>>())?;
    if let ([one], order) = (batches, &order) {
        return Ok(match order {
            None => one.clone(),
            Some(order) => {
                let columns = one.columns().iter().map(|column| take(column, order, None));
                RecordBatch::try_new(one.schema(), columns.collect::<Result<_, _>>()?)?
            }
        });
    }
    let places: Vec<(usize, usize)> = batches
        .iter()
        .enumerate()
        .flat_map(|(number, batch)| (0..batch.num_rows()).map(move |row| (number, row)))
        .collect();
    let places: Vec<(usize, usize)> = match &order {
        None => places,
        Some(order) => order.values().iter().map(|row| places[*row as usize]).collect(),
    };
    let runs: Vec<&[(usize, usize)]> = places.chunk_by(follows).collect();
    // More than an array can hold is an error there, and would be a panic here.
    let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    match runs.len().saturating_mul(LONG_RUN) < places.len() && i32::try_from(bytes).is_ok() {
        true => joined(batches, &runs),
        false => Ok(interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &places)?),
    }
}

/// Whether a place, of batch and row, comes right after another.
fn follows(before: &(usize, usize), after: &(usize, usize)) -> bool {
    before.0 == after.0 && before.1 + 1 == after.1
}

/// Returns rows that lie side by side, run by run.
fn joined(batches: &[RecordBatch], runs: &[&[(usize, usize)]]) -> Result<RecordBatch, BatchError> {
    let [first, ..] = batches else {
        return Err(ArrowError::InvalidArgumentError("no rows".to_owned()).into());
    };
    let columns = (0..first.num_columns()).map(|column| {
        let parts: Vec<ArrayRef> = batches.iter().map(|batch| Arc::clone(batch.column(column))).collect();
        let room = room(&parts);
        let parts: Vec<ArrayData> = parts.iter().map(|part| part.to_data()).collect();
        let mut all = MutableArrayData::with_capacities(parts.iter().collect(), false, room);
        for run in runs {
            if let Some((batch, row)) = run.first() {
                all.extend(*batch, *row, row + run.len());
            }
        }
        make_array(all.freeze())
    });
    Ok(RecordBatch::try_new(first.schema(), columns.collect())?)
}

/// Room for all values of some arrays: what grows takes twice as much in between.
fn room(parts: &[ArrayRef]) -> Capacities {
    let num_rows = parts.iter().map(|part| part.len()).sum();
    match parts.first().map(|part| part.data_type()) {
        Some(DataType::Utf8) => {
            let texts = parts.iter().filter_map(|part| part.as_string_opt::<i32>());
            Capacities::Binary(num_rows, Some(texts.map(|part| part.value_data().len()).sum()))
        }
        Some(DataType::List(_)) => {
            let lists = parts.iter().filter_map(|part| part.as_list_opt::<i32>());
            let elements: Vec<ArrayRef> = lists.map(|part| Arc::clone(part.values())).collect();
            Capacities::List(num_rows, Some(Box::new(room(&elements))))
        }
        _ => Capacities::Array(num_rows),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    /// Rows of a user, numbered from one number on, each with a list of its number.
    fn rows(users: &[i64], first: i32) -> RecordBatch {
        let numbers = (first..).take(users.len()).map(|number| Some(vec![Some(number)]));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(numbers);
        let columns: [(&str, ArrayRef); 2] =
            [("user", Arc::new(Int64Array::from(users.to_vec()))), ("list", Arc::new(lists))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn rows_in_long_runs_are_ordered_as_rows_in_short_ones() {
        let long: Vec<i64> = (0..100).map(|user| user / 2).collect();
        let few = [3, 20, 99];
        let batches = [rows(&long, 0), rows(&few, 1_000)];
        let key = ["user".to_owned()];

        let found = sorted(&batches, &key).unwrap();

        let places: Vec<(usize, usize)> =
            (0..8).map(|row| (0, row)).chain([(1, 0)]).chain((8..42).map(|row| (0, row))).collect();
        let places: Vec<(usize, usize)> =
            places.into_iter().chain([(1, 1)]).chain((42..100).map(|row| (0, row))).chain([(1, 2)]).collect();
        let expected = interleave_record_batch(&[&batches[0], &batches[1]], &places).unwrap();
        assert_eq!(found, expected);
        assert_eq!(sorted(&[rows(&[2, 1, 2], 0), rows(&[1], 9)], &key).unwrap(), {
            let batches = [rows(&[2, 1, 2], 0), rows(&[1], 9)];
            interleave_record_batch(&[&batches[0], &batches[1]], &[(0, 1), (1, 0), (0, 0), (0, 2)]).unwrap()
        });
    }
}
