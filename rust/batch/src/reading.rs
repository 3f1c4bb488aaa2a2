//! Reads columns of a data file in the order of its rows: row group by row group as they are stored, with texts as
//! dictionaries, or, where that does not go, batch by batch as values.

use arrow::array::RecordBatch;
use futures::TryStreamExt as _;
use iceberg::expr::Predicate;
use iceberg::spec::DataFile;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::reader::Batches;
use streamify_lake::stored::{StoredFile, StoredLayout, StoredRows};

use crate::context::Context;
use crate::error::BatchError;

/// The rows of a file.
pub struct Reading<'a> {
    context: &'a Context,
    table: &'a LoadedTable,
    rows: Rows,
}

enum Rows {
    Stored { layout: StoredLayout, file: Box<StoredFile>, next_group: usize, room: StoredRows },
    Values(Batches),
}

impl<'a> Reading<'a> {
    /// Opens a file, and counts what is read of it. With a filter, only the rows for which it holds are read.
    ///
    /// # Errors
    /// A column that the table has not, a file that is not Parquet or cannot be read.
    pub async fn open(
        context: &'a Context,
        table: &'a LoadedTable,
        file: &DataFile,
        columns: &[&str],
        filter: Option<&Predicate>,
    ) -> Result<Self, BatchError> {
        let schema = table.metadata.current_schema();
        let ids = columns.iter().filter_map(|name| schema.field_id_by_name(name));
        let bytes = ids.filter_map(|id| file.column_sizes().get(&id)).sum();
        context.meter.file(file.record_count(), bytes);
        let stored = match filter {
            None => stored(context, table, file, columns).await?,
            Some(_) => None,
        };
        let rows = match stored {
            Some(stored) => stored,
            None => Rows::Values(table.read_file(file, columns, filter)?),
        };
        Ok(Self { context, table, rows })
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// A file that cannot be read, [`BatchError::Cancelled`].
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, BatchError> {
        self.context.check()?;
        match &mut self.rows {
            Rows::Values(batches) => Ok(batches.try_next().await?),
            Rows::Stored { layout, file, next_group, room } => {
                if *next_group == file.num_row_groups() {
                    return Ok(None);
                }
                let rows = std::mem::replace(room, StoredRows::with_capacity(layout, 0));
                *room = file.read(*next_group, rows.emptied(layout, 0)).await?;
                *next_group += 1;
                let batch = room.to_batch().map_err(|error| BatchError::Rows {
                    table: self.table.name.clone(),
                    source: Box::new(error),
                })?;
                Ok(Some(batch))
            }
        }
    }
}

/// The file, if it can be read as it is stored and its largest row group is a small part of the budget.
async fn stored(
    context: &Context,
    table: &LoadedTable,
    file: &DataFile,
    columns: &[&str],
) -> Result<Option<Rows>, BatchError> {
    let layout = StoredLayout::of(table)?.and_then(|layout| layout.select(columns));
    let Some(layout) = layout else { return Ok(None) };
    let Some(file) = StoredFile::open(table, &layout, file).await? else { return Ok(None) };
    if file.most_rows().saturating_mul(layout.row_bytes()) > context.run_bytes() {
        return Ok(None);
    }
    let room = StoredRows::with_capacity(&layout, file.most_rows());
    Ok(Some(Rows::Stored { layout, file: Box::new(file), next_group: 0, room }))
}
