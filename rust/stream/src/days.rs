//! The files of one commit in the making: which days are open, and what waits to be written.
//!
//! Rows wait per table partition (day) until they are worth a row group; each row group is one sorted run. The days with
//! most rows have a file open, streamed to the store; open files are counted over all topics by permits. Other days are
//! written as whole files when the commit closes or memory gets tight. What is written is described by [`DataFile`]s;
//! their record counts are the rows of the books.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use futures::{StreamExt, stream};
use iceberg::spec::DataFile;
use streamify_core::{Contract, PartitionKey, sort_batch};
use streamify_lake::{DataFileWriter, FileError, LoadedTable};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::budget::{Budget, Reservation};
use crate::buffer::{GROUP_ROWS, Slice};
use crate::error::StreamError;

/// How many files are finished side by side when a commit closes; a history replay has one per day, most of them small.
const FILES_CLOSED_AT_ONCE: usize = 4;

/// What a file is made of, wherever it is made.
#[derive(Clone)]
pub struct FileFrame {
    /// The topic's contract.
    pub contract: Arc<Contract>,
    /// The table.
    pub table: LoadedTable,
    /// The source epoch of the rows.
    pub epoch: u32,
    /// Permits for open files.
    pub permits: Arc<Semaphore>,
    /// The byte budget.
    pub budget: Arc<Budget>,
    /// Size at which a file is closed, in bytes.
    pub file_size: u64,
    /// Bytes of rows that may wait for a full row group while the budget is tight.
    pub waiting_bytes: usize,
}

impl FileFrame {
    fn failed(&self, source: FileError) -> StreamError {
        StreamError::File { table: self.table.name.clone(), source }
    }
}

struct OpenFile {
    writer: DataFileWriter,
    permit: Option<OwnedSemaphorePermit>,
    reservation: Reservation,
    num_groups: usize,
}

impl OpenFile {
    async fn create(
        frame: &FileFrame,
        key: PartitionKey,
        stem: &str,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, StreamError> {
        let writer =
            DataFileWriter::create(&frame.table, key, stem).await.map_err(|source| frame.failed(source))?;
        Ok(Self { writer, permit, reservation: frame.budget.reserve(0), num_groups: 0 })
    }

    /// Writes slices as one sorted row group.
    async fn write(&mut self, frame: &FileFrame, slices: Vec<Slice>) -> Result<(), StreamError> {
        let (batch, reservation) = sorted(slices, frame).await?;
        self.writer.write_row_group(&batch).await.map_err(|source| frame.failed(source))?;
        drop((batch, reservation));
        self.num_groups += 1;
        self.reservation.resize(self.writer.memory());
        Ok(())
    }

    async fn close(
        self,
        frame: &FileFrame,
        commit_id: Uuid,
        ranges: &BTreeMap<i32, (i64, i64)>,
    ) -> Result<(DataFile, Option<OwnedSemaphorePermit>), StreamError> {
        let footer = footer(commit_id, &frame.contract.topic, frame.epoch, ranges);
        let closed = self.writer.close(&footer, self.num_groups == 1).await;
        Ok((closed.map_err(|source| frame.failed(source))?, self.permit))
    }
}

#[derive(Default)]
struct Day {
    waiting: Vec<Slice>,
    waiting_rows: usize,
    open: Option<OpenFile>,
    ranges: BTreeMap<i32, (i64, i64)>,
    /// Number of the last row group written; tells which open day has gone quiet.
    touched: u64,
}

/// The files of one commit.
pub struct Days {
    frame: FileFrame,
    commit_id: Uuid,
    num_files: u32,
    days: BTreeMap<PartitionKey, Day>,
    closed: Vec<DataFile>,
    closed_bytes: u64,
    clock: u64,
    is_full: bool,
}

impl Days {
    /// Begins a commit without files.
    pub fn new(frame: FileFrame) -> Self {
        Self {
            frame,
            commit_id: Uuid::now_v7(),
            num_files: 0,
            days: BTreeMap::new(),
            closed: Vec::new(),
            closed_bytes: 0,
            clock: 0,
            is_full: false,
        }
    }

    /// Returns the id of the commit, which is the prefix of the files' names.
    pub fn commit_id(&self) -> Uuid {
        self.commit_id
    }

    /// Returns whether a file has reached the size goal: the commit is worth making.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Returns the bytes of all files so far.
    pub fn bytes(&self) -> u64 {
        let open = self.days.values().filter_map(|day| day.open.as_ref());
        self.closed_bytes + open.map(|file| file.writer.bytes_written()).sum::<u64>()
    }

    /// Adds rows that came from the given offset ranges; writes a row group if there are enough.
    ///
    /// # Errors
    /// The file could not be written; the commit is lost then, not its records.
    pub async fn add(&mut self, slice: Slice, ranges: &[(i32, i64, i64)]) -> Result<(), StreamError> {
        let key = slice.key;
        let day = self.days.entry(key).or_default();
        for (partition, first, end) in ranges {
            let range = day.ranges.entry(*partition).or_insert((*first, *end));
            *range = (range.0.min(*first), range.1.max(*end));
        }
        if slice.batch.num_rows() >= GROUP_ROWS && self.permit(key).await? {
            return self.write_group(key, vec![slice]).await;
        }
        let day = self.days.entry(key).or_default();
        day.waiting_rows += slice.batch.num_rows();
        day.waiting.push(slice);
        if day.waiting_rows >= GROUP_ROWS && self.permit(key).await? {
            let waiting = self.take_waiting(key);
            self.write_group(key, waiting).await?;
        }
        Ok(())
    }

    fn take_waiting(&mut self, key: PartitionKey) -> Vec<Slice> {
        let Some(day) = self.days.get_mut(&key) else { return Vec::new() };
        day.waiting_rows = 0;
        std::mem::take(&mut day.waiting)
    }

    /// Makes sure that the day has a file open, or returns `false` if no permit can be had.
    async fn permit(&mut self, key: PartitionKey) -> Result<bool, StreamError> {
        if self.days.get(&key).is_some_and(|day| day.open.is_some()) {
            return Ok(true);
        }
        let permit = match Arc::clone(&self.frame.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                // The day with a full row group has most rows now; the one that has been quiet for longest gives way.
                let open = self
                    .days
                    .iter()
                    .filter(|(_, day)| day.open.as_ref().is_some_and(|file| file.permit.is_some()));
                let Some(quiet) = open.min_by_key(|(_, day)| day.touched).map(|(key, _)| *key) else {
                    return Ok(false);
                };
                match self.close_day(quiet).await? {
                    Some(permit) => permit,
                    None => return Ok(false),
                }
            }
        };
        self.open(key, Some(permit)).await?;
        Ok(true)
    }

    async fn open(
        &mut self,
        key: PartitionKey,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), StreamError> {
        let stem = self.next_stem();
        let file = OpenFile::create(&self.frame, key, &stem, permit).await?;
        self.days.entry(key).or_default().open = Some(file);
        Ok(())
    }

    /// Writes slices of a day as one sorted row group of its open file.
    async fn write_group(&mut self, key: PartitionKey, slices: Vec<Slice>) -> Result<(), StreamError> {
        let not_open = || StreamError::Stopped { part: format!("the file of {key:?}") };
        let day = self.days.get_mut(&key).ok_or_else(not_open)?;
        let file = day.open.as_mut().ok_or_else(not_open)?;
        file.write(&self.frame, slices).await?;
        self.clock += 1;
        day.touched = self.clock;
        if file.writer.bytes_written() >= self.frame.file_size {
            self.is_full = true;
            self.close_day(key).await?;
        }
        Ok(())
    }

    /// Closes a day's open file; returns its permit.
    async fn close_day(&mut self, key: PartitionKey) -> Result<Option<OwnedSemaphorePermit>, StreamError> {
        let Some(day) = self.days.get_mut(&key) else { return Ok(None) };
        let Some(file) = day.open.take() else { return Ok(None) };
        let (data_file, permit) = file.close(&self.frame, self.commit_id, &day.ranges).await?;
        self.closed_bytes += data_file.file_size_in_bytes();
        self.closed.push(data_file);
        Ok(permit)
    }

    /// Writes all that waits for a day, to its open file or as a whole file of its own.
    async fn write_out(&mut self, key: PartitionKey) -> Result<(), StreamError> {
        let Some(day) = self.days.get(&key) else { return Ok(()) };
        if day.waiting.is_empty() {
            return Ok(());
        }
        let is_whole = day.open.is_none();
        if is_whole {
            self.open(key, None).await?;
        }
        let waiting = self.take_waiting(key);
        self.write_group(key, waiting).await?;
        if is_whole {
            self.close_day(key).await?;
        }
        Ok(())
    }

    /// Gives memory back: rows that wait, the largest day first, once they take more than their part of a tight budget.
    ///
    /// With `is_stalled`, nothing is on its way here and the budget is exhausted all the same: then all rows that wait are
    /// written, and open files closed, until there is room. Not before: a budget that is full because this writer is the
    /// slowest part empties by itself, and files would become small for nothing.
    ///
    /// # Errors
    /// As [`Days::add`].
    pub async fn relieve(&mut self, is_stalled: bool) -> Result<(), StreamError> {
        let limit = if is_stalled { 0 } else { self.frame.waiting_bytes };
        while self.frame.budget.is_tight() && self.waiting_bytes() > limit {
            let waiting = self.days.iter().filter(|(_, day)| day.waiting_rows > 0);
            let Some(largest) = waiting.max_by_key(|(_, day)| day.waiting_rows).map(|(key, _)| *key) else {
                break;
            };
            self.write_out(largest).await?;
        }
        while is_stalled && self.frame.budget.is_exhausted() {
            let open = self
                .days
                .iter()
                .filter_map(|(key, day)| Some((*key, day.open.as_ref()?.reservation.bytes())));
            let Some((largest, _)) = open.filter(|(_, bytes)| *bytes > 0).max_by_key(|(_, bytes)| *bytes)
            else {
                break;
            };
            self.close_day(largest).await?;
        }
        Ok(())
    }

    fn waiting_bytes(&self) -> usize {
        self.days.values().flat_map(|day| &day.waiting).map(|slice| slice.reservation.bytes()).sum()
    }

    /// Writes and closes everything, several files at a time; returns the commit's id and files.
    ///
    /// # Errors
    /// As [`Days::add`].
    pub async fn finish(mut self) -> Result<(Uuid, Vec<DataFile>), StreamError> {
        let mut rest = Vec::new();
        for (key, day) in std::mem::take(&mut self.days) {
            if day.open.is_none() && day.waiting.is_empty() {
                continue;
            }
            let stem = self.next_stem();
            rest.push(finish_day(self.frame.clone(), self.commit_id, key, day, stem));
        }
        let mut closing = stream::iter(rest).buffer_unordered(FILES_CLOSED_AT_ONCE);
        while let Some(file) = closing.next().await {
            self.closed.push(file?);
        }
        drop(closing);
        Ok((self.commit_id, self.closed))
    }

    fn next_stem(&mut self) -> String {
        self.num_files += 1;
        format!("{}-{}", self.commit_id, self.num_files - 1)
    }
}

/// Writes what waits for a day to its open file, or to a new one, and closes it.
async fn finish_day(
    frame: FileFrame,
    commit_id: Uuid,
    key: PartitionKey,
    day: Day,
    stem: String,
) -> Result<DataFile, StreamError> {
    let mut file = match day.open {
        Some(file) => file,
        None => OpenFile::create(&frame, key, &stem, None).await?,
    };
    if !day.waiting.is_empty() {
        file.write(&frame, day.waiting).await?;
    }
    file.close(&frame, commit_id, &day.ranges).await.map(|(data_file, _)| data_file)
}

/// Returns what stands in a Parquet footer: where the rows came from and which commit they belong to.
pub fn footer(
    commit_id: Uuid,
    topic: &str,
    epoch: u32,
    ranges: &BTreeMap<i32, (i64, i64)>,
) -> Vec<(String, String)> {
    vec![
        ("streamify.commit-id".to_owned(), commit_id.to_string()),
        ("streamify.topic".to_owned(), topic.to_owned()),
        ("streamify.source-epoch".to_owned(), epoch.to_string()),
        // `{"0":[120,340]}`: rows of this file lie within; end exclusive.
        ("streamify.source-ranges".to_owned(), serde_json::to_string(ranges).unwrap_or_default()),
    ]
}

/// Joins and sorts slices of one day. Columns are copied on the blocking pool, never on the runtime's own threads.
async fn sorted(
    mut slices: Vec<Slice>,
    frame: &FileFrame,
) -> Result<(RecordBatch, Reservation), StreamError> {
    if slices.len() == 1
        && slices[0].sorted
        && let Some(slice) = slices.pop()
    {
        return Ok((slice.batch, slice.reservation));
    }
    let mut reservation = frame.budget.reserve(0);
    let mut batches = Vec::with_capacity(slices.len());
    for slice in slices {
        reservation.absorb(slice.reservation);
        batches.push(slice.batch);
    }
    let bytes = reservation.bytes();
    // While rows are copied they exist twice.
    reservation.resize(2 * bytes);
    let contract = Arc::clone(&frame.contract);
    let joined = tokio::task::spawn_blocking(move || join_and_sort(batches, &contract)).await;
    reservation.resize(bytes);
    match joined {
        Ok(Ok(batch)) => Ok((batch, reservation)),
        Ok(Err(source)) => Err(StreamError::Rows { topic: frame.contract.topic.clone(), source }),
        Err(_) => Err(StreamError::Stopped { part: format!("sorting of topic `{}`", frame.contract.topic) }),
    }
}

fn join_and_sort(batches: Vec<RecordBatch>, contract: &Contract) -> Result<RecordBatch, ArrowError> {
    match batches.as_slice() {
        [one] => sort_batch(one, contract),
        [first, ..] => {
            let joined = concat_batches(&first.schema(), &batches)?;
            drop(batches);
            sort_batch(&joined, contract)
        }
        [] => Err(ArrowError::InvalidArgumentError("no rows to sort".to_owned())),
    }
}
