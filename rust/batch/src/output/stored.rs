//! Rows on their way to a file as they are stored. A run takes twice the bytes of one of values: it is not copied to be put
//! in order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::LiveFile;
use streamify_lake::stored::{StoredFile, StoredLayout, StoredRows};

use super::{Files, GROUP_ROWS, RUN_ROWS};
use crate::context::Context;
use crate::error::BatchError;

/// The rows of a run.
pub(super) struct Run {
    layout: StoredLayout,
    rows: StoredRows,
    /// Rows to make room for.
    expected: usize,
}

impl Run {
    pub(super) fn new(layout: StoredLayout) -> Self {
        let rows = StoredRows::with_capacity(&layout, 0);
        Self { layout, rows, expected: 0 }
    }

    /// Makes room for so many rows, in the room of former ones.
    pub(super) fn make_room(&mut self, num_rows: usize, former: Option<StoredRows>) {
        self.expected = num_rows.min(RUN_ROWS);
        self.rows = match former {
            Some(former) => former.emptied(&self.layout, self.expected),
            None => StoredRows::with_capacity(&self.layout, self.expected),
        };
    }

    pub(super) fn is_full(&self, context: &Context) -> bool {
        self.rows.memory() >= 2 * context.run_bytes() || self.rows.num_rows() >= RUN_ROWS
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        Ok(self.rows.push(batch)?)
    }

    /// Opens a file to be moved; `None` if its rows must be read as values.
    pub(super) async fn open(
        &self,
        table: &LoadedTable,
        live: &LiveFile,
    ) -> Result<Option<StoredFile>, BatchError> {
        Ok(StoredFile::open(table, &self.layout, &live.file).await?)
    }

    pub(super) async fn add_row_group(&mut self, file: &StoredFile, number: usize) -> Result<(), BatchError> {
        let rows = self.taken();
        self.rows = file.read(number, rows).await?;
        Ok(())
    }

    /// Writes the rows in the table's order.
    pub(super) async fn write(
        &mut self,
        context: &Context,
        sort_key: &[String],
        files: &mut Files<'_>,
    ) -> Result<(), BatchError> {
        if self.rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = Arc::new(self.taken());
        let order = rows.order(sort_key)?;
        let writer = files.open().await?;
        for some in order.chunks(GROUP_ROWS) {
            context.check()?;
            writer.write_stored(Arc::clone(&rows), some.to_vec()).await?;
        }
        if let Some(former) = Arc::into_inner(rows) {
            self.rows = former.emptied(&self.layout, self.expected);
        }
        files.end_run().await
    }

    /// The room of the rows, for those of another day.
    pub(super) fn into_room(self) -> StoredRows {
        self.rows
    }

    fn taken(&mut self) -> StoredRows {
        std::mem::replace(&mut self.rows, StoredRows::with_capacity(&self.layout, 0))
    }
}
