//! Moves the rows of one day from files to files as they are stored: `Output` for rows whose values nobody looks at.
//!
//! Runs, row groups and files are those of [`crate::output`]. A run takes twice the bytes of one that is read as values:
//! it is not copied to be put in order.

use std::sync::Arc;

use iceberg::spec::DataFile;
use streamify_lake::FilePartition;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::LiveFile;
use streamify_lake::stored::{StoredFile, StoredLayout, StoredRows};

use crate::context::Context;
use crate::error::BatchError;
use crate::output::{FileNames, Files, GROUP_ROWS, RUN_ROWS};

/// The files of one day in the making.
pub struct Moved<'a> {
    context: &'a Context,
    table: &'a LoadedTable,
    layout: StoredLayout,
    sort_key: &'a [String],
    /// Rows of a run at most; all there are, if they are fewer.
    run_rows: usize,
    rows: StoredRows,
    files: Files<'a>,
}

impl<'a> Moved<'a> {
    /// Begins the files of a day of so many rows, in the room of former rows; `None` if the table has columns that must be
    /// read as values.
    ///
    /// # Errors
    /// A schema that cannot be written.
    pub fn new(
        context: &'a Context,
        table: &'a LoadedTable,
        partition: FilePartition,
        names: &FileNames,
        sort_key: &'a [String],
        num_rows: u64,
        former: Option<StoredRows>,
    ) -> Result<Option<Self>, BatchError> {
        let Some(layout) = StoredLayout::of(table)? else { return Ok(None) };
        let run_rows = usize::try_from(num_rows).unwrap_or(RUN_ROWS).min(RUN_ROWS);
        let rows = match former {
            Some(former) => former.emptied(&layout, run_rows),
            None => StoredRows::with_capacity(&layout, run_rows),
        };
        let files = Files::new(table, partition, names);
        Ok(Some(Self { context, table, layout, sort_key, run_rows, rows, files }))
    }

    /// Adds a file's rows; `false` if they must be read as values, and with them the whole day.
    ///
    /// # Errors
    /// A file that cannot be read, a store that does not take the rows, [`BatchError::Cancelled`].
    pub async fn add(&mut self, live: &LiveFile) -> Result<bool, BatchError> {
        let Some(file) = StoredFile::open(self.table, &self.layout, &live.file).await? else {
            return Ok(false);
        };
        for number in 0..file.num_row_groups() {
            self.context.check()?;
            let rows = std::mem::replace(&mut self.rows, StoredRows::with_capacity(&self.layout, 0));
            self.rows = file.read(number, rows).await?;
            if self.rows.memory() >= 2 * self.context.run_bytes() || self.rows.num_rows() >= RUN_ROWS {
                self.flush().await?;
            }
        }
        Ok(true)
    }

    /// Writes what waits, closes the last file, and returns all files of the day, and the room for other rows.
    ///
    /// # Errors
    /// As [`Moved::add`].
    pub async fn finish(mut self) -> Result<(Vec<DataFile>, StoredRows), BatchError> {
        self.flush().await?;
        Ok((self.files.finish().await?, self.rows))
    }

    async fn flush(&mut self) -> Result<(), BatchError> {
        if self.rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = std::mem::replace(&mut self.rows, StoredRows::with_capacity(&self.layout, 0));
        let rows = Arc::new(rows);
        let order = rows.order(self.sort_key)?;
        let writer = self.files.open().await?;
        for some in order.chunks(GROUP_ROWS) {
            self.context.check()?;
            writer.write_stored(Arc::clone(&rows), some.to_vec()).await?;
        }
        if let Some(former) = Arc::into_inner(rows) {
            self.rows = former.emptied(&self.layout, self.run_rows);
        }
        self.files.end_run().await
    }
}
