//! Writes the rows of one day into data files, in sorted runs.
//!
//! Rows are collected up to a run's bytes, put in the table's order and written in row groups small enough that readers need
//! little memory and skip much; a file ends at the table's target size. Memory is two runs and what the encoder holds,
//! whatever the day's size. A file of one run is sorted as a whole and says so.
//!
//! Rows of flat tables wait as they are stored ([`stored`]), those of others as values ([`values`]).

mod stored;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use futures::TryStreamExt as _;
use iceberg::spec::DataFile;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::LiveFile;
use streamify_lake::stored::{StoredLayout, StoredRows};
use streamify_lake::{DataFileWriter, FilePartition};
use uuid::Uuid;

use self::stored::Run;
use self::values::Values;
use crate::compact::column_names;
use crate::context::Context;
use crate::error::BatchError;

/// Size of a finished file if the table does not say, in bytes.
const DEFAULT_FILE_BYTES: u64 = 128 << 20;
/// Rows per run at most.
const RUN_ROWS: usize = 1_000_000;
/// Rows per row group at most: about 16 MB, which a reader holds as a whole.
const GROUP_ROWS: usize = 250_000;

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
struct Files<'a> {
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
    fn new(table: &'a LoadedTable, partition: FilePartition, names: &FileNames) -> Self {
        let target = table.metadata.properties().get("write.target-file-size-bytes");
        let target_bytes = target.and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_FILE_BYTES);
        Self { table, partition, names: names.clone(), open: None, runs: 0, target_bytes, done: Vec::new() }
    }

    /// The open file, a new one if there is none.
    ///
    /// # Errors
    /// A store that does not take it.
    async fn open(&mut self) -> Result<&mut DataFileWriter, BatchError> {
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
    async fn end_run(&mut self) -> Result<(), BatchError> {
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
    async fn finish(mut self) -> Result<Vec<DataFile>, BatchError> {
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
    waiting: Waiting,
    files: Files<'a>,
}

enum Waiting {
    Stored(Run),
    Values(Values),
}

impl<'a> Output<'a> {
    /// Begins a day's files.
    ///
    /// # Errors
    /// A schema that cannot be written.
    pub fn new(
        context: &'a Context,
        table: &'a LoadedTable,
        partition: FilePartition,
        names: &FileNames,
        sort_key: &'a [String],
    ) -> Result<Self, BatchError> {
        let waiting = match StoredLayout::of(table)? {
            Some(layout) => Waiting::Stored(Run::new(layout)),
            None => Waiting::Values(Values::new(table)?),
        };
        Ok(Self { context, table, sort_key, waiting, files: Files::new(table, partition, names) })
    }

    /// Makes room for so many rows, in the room of former ones.
    pub fn make_room(&mut self, num_rows: u64, former: Option<StoredRows>) {
        if let Waiting::Stored(run) = &mut self.waiting {
            run.make_room(usize::try_from(num_rows).unwrap_or(RUN_ROWS), former);
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Rows that do not fit the table, a store that does not take them, [`BatchError::Cancelled`].
    pub async fn add(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        self.context.check()?;
        match &mut self.waiting {
            Waiting::Stored(run) => run.add(batch)?,
            Waiting::Values(values) => values.add(batch)?,
        }
        self.flush_if_full().await
    }

    /// Adds all rows of a file of the table; as they are stored, if that goes.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`Output::add`].
    pub async fn add_file(&mut self, live: &LiveFile) -> Result<(), BatchError> {
        self.context.meter.file(live.file.record_count(), live.file.file_size_in_bytes());
        let file = match &self.waiting {
            Waiting::Stored(run) => run.open(self.table, live).await?,
            Waiting::Values(_) => None,
        };
        let Some(file) = file else {
            let mut batches = self.table.read_file(&live.file, &column_names(self.table), None)?;
            while let Some(batch) = batches.try_next().await? {
                self.add(&batch).await?;
            }
            return Ok(());
        };
        for number in 0..file.num_row_groups() {
            self.context.check()?;
            if let Waiting::Stored(run) = &mut self.waiting {
                run.add_row_group(&file, number).await?;
            }
            self.flush_if_full().await?;
        }
        Ok(())
    }

    /// Writes what waits, closes the last file, and returns all files of the day.
    ///
    /// # Errors
    /// As [`Output::add`].
    pub async fn finish(self) -> Result<Vec<DataFile>, BatchError> {
        Ok(self.finish_and_keep_room().await?.0)
    }

    /// As [`Output::finish`], with room for the rows of another day.
    ///
    /// # Errors
    /// As [`Output::add`].
    pub async fn finish_and_keep_room(mut self) -> Result<(Vec<DataFile>, Option<StoredRows>), BatchError> {
        self.flush().await?;
        let room = match self.waiting {
            Waiting::Stored(run) => Some(run.into_room()),
            Waiting::Values(_) => None,
        };
        Ok((self.files.finish().await?, room))
    }

    async fn flush_if_full(&mut self) -> Result<(), BatchError> {
        let is_full = match &self.waiting {
            Waiting::Stored(run) => run.is_full(self.context),
            Waiting::Values(values) => values.is_full(self.context),
        };
        if is_full { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), BatchError> {
        let Self { context, sort_key, files, .. } = self;
        match &mut self.waiting {
            Waiting::Stored(run) => run.write(context, sort_key, files).await,
            Waiting::Values(values) => values.write(sort_key, files).await,
        }
    }
}
