//! Writes the rows of one day into data files, in sorted runs.
//!
//! Rows are collected up to a run's bytes, put in the table's order and written in row groups small enough that readers need
//! little memory and skip much; a file ends at the table's target size. Memory is two runs and what the encoder holds,
//! whatever the day's size. A file of one run is sorted as a whole and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    Array as _, ArrayData, ArrayRef, AsArray, Capacities, MutableArrayData, RecordBatch, make_array,
};
use arrow::compute::{concat, interleave_record_batch, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use iceberg::spec::DataFile;
use streamify_core::order_of;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::files::Layout;
use streamify_lake::{DataFileWriter, FilePartition};
use uuid::Uuid;

use crate::context::Context;
use crate::error::BatchError;

/// Size of a finished file if the table does not say, in bytes.
const DEFAULT_FILE_BYTES: u64 = 128 << 20;
/// Rows per run at most.
pub(crate) const RUN_ROWS: usize = 1_000_000;
/// Rows per row group at most: about 16 MB, which a reader holds as a whole.
pub(crate) const GROUP_ROWS: usize = 250_000;

/// Rows that lie side by side, on average, from which on runs of rows are copied and not single ones.
const LONG_RUN: usize = 8;

/// Gives unique names to the files of one commit: `<commit id>-<n>.parquet`. Clones share the count.
#[derive(Clone, Debug)]
pub struct FileNames {
    commit_id: Uuid,
    count: Arc<AtomicUsize>,
}

impl FileNames {
    /// Names for a commit.
    pub fn new(commit_id: Uuid) -> Self {
        Self { commit_id, count: Arc::default() }
    }

    /// The commit's id.
    pub fn commit_id(&self) -> Uuid {
        self.commit_id
    }

    fn next(&self) -> String {
        format!("{}-{}", self.commit_id, self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// The files of one partition in the making: row groups go to the open one, which ends at the table's target size.
pub struct Files<'a> {
    table: &'a LoadedTable,
    partition: FilePartition,
    names: FileNames,
    open: Option<DataFileWriter>,
    runs: usize,
    target_bytes: u64,
    done: Vec<DataFile>,
}

impl<'a> Files<'a> {
    /// No files yet.
    pub fn new(table: &'a LoadedTable, partition: FilePartition, names: &FileNames) -> Self {
        let target = table.metadata.properties().get("write.target-file-size-bytes");
        let target_bytes = target.and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_FILE_BYTES);
        Self { table, partition, names: names.clone(), open: None, runs: 0, target_bytes, done: Vec::new() }
    }

    /// The open file, a new one if there is none.
    ///
    /// # Errors
    /// A store that does not take it.
    pub async fn open(&mut self) -> Result<&mut DataFileWriter, BatchError> {
        let writer = match self.open.take() {
            Some(writer) => writer,
            None => {
                self.runs = 0;
                DataFileWriter::create(self.table, self.partition, &self.names.next()).await?
            }
        };
        Ok(self.open.insert(writer))
    }

    /// Notes that the rows since the last call are in order, and ends the file if it is large enough.
    ///
    /// # Errors
    /// A store that does not take the rest.
    pub async fn end_run(&mut self) -> Result<(), BatchError> {
        self.runs += 1;
        if self.open.as_ref().is_some_and(|writer| writer.bytes_written() >= self.target_bytes) {
            self.close().await?;
        }
        Ok(())
    }

    /// Ends the last file, and returns all.
    ///
    /// # Errors
    /// A store that does not take the rest.
    pub async fn finish(mut self) -> Result<Vec<DataFile>, BatchError> {
        self.close().await?;
        Ok(self.done)
    }

    async fn close(&mut self) -> Result<(), BatchError> {
        if let Some(writer) = self.open.take() {
            let footer = [("streamify.commit-id".to_owned(), self.names.commit_id.to_string())];
            self.done.push(writer.close(&footer, self.runs == 1).await?);
        }
        Ok(())
    }
}

/// Collects the rows of one day (or of an unpartitioned table) and writes them run by run.
pub struct Output<'a> {
    context: &'a Context,
    table: &'a LoadedTable,
    sort_key: &'a [String],
    layout: Option<Layout>,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    waiting_rows: usize,
    files: Files<'a>,
}

impl<'a> Output<'a> {
    /// Begins a day's files.
    pub fn new(
        context: &'a Context,
        table: &'a LoadedTable,
        partition: FilePartition,
        names: &FileNames,
        sort_key: &'a [String],
    ) -> Self {
        Self {
            context,
            table,
            sort_key,
            layout: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_rows: 0,
            files: Files::new(table, partition, names),
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Rows that do not fit the table, a store that does not take them, [`BatchError::Cancelled`].
    pub async fn add(&mut self, batch: RecordBatch) -> Result<(), BatchError> {
        self.context.check()?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // Rows of several origins meet in one run: all of them in the table's own types.
        let batch = match &self.layout {
            Some(layout) => layout.arrange(&batch)?,
            None => {
                let layout = Layout::new(&self.table.name, self.table.metadata.current_schema())?;
                self.layout.insert(layout).arrange(&batch)?
            }
        };
        self.waiting_bytes += batch.get_array_memory_size();
        self.waiting_rows += batch.num_rows();
        self.waiting.push(batch);
        if self.waiting_bytes >= self.context.run_bytes() || self.waiting_rows >= RUN_ROWS {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes what waits, closes the last file, and returns all files of the day.
    ///
    /// # Errors
    /// As [`Output::add`].
    pub async fn finish(mut self) -> Result<Vec<DataFile>, BatchError> {
        self.flush().await?;
        self.files.finish().await
    }

    async fn flush(&mut self) -> Result<(), BatchError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        (self.waiting_bytes, self.waiting_rows) = (0, 0);
        let sorted = sorted(&waiting, self.sort_key)?;
        drop(waiting);
        let writer = self.files.open().await?;
        for first in (0..sorted.num_rows()).step_by(GROUP_ROWS) {
            let rows = GROUP_ROWS.min(sorted.num_rows() - first);
            writer.write_row_group(&sorted.slice(first, rows)).await?;
        }
        self.files.end_run().await
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
