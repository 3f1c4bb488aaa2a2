//! Reads data files one by one, in the order of their rows, batch by batch: memory is bounded by a row group.
//!
//! Columns are found by field id, so a file that was written before a column was added gives nulls for it.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::{self, Stream, StreamExt as _};
use iceberg::arrow::ArrowReaderBuilder;
use iceberg::expr::{Bind as _, Predicate};
use iceberg::scan::FileScanTask;
use iceberg::spec::{DataFile, DataFileFormat};
use iceberg::{Error, ErrorKind, Runtime};

use crate::catalog::LoadedTable;
use crate::read::ReadError;

/// Batches of one file.
pub type Batches = Pin<Box<dyn Stream<Item = Result<RecordBatch, ReadError>> + Send>>;

/// Rows per batch.
pub const BATCH_ROWS: usize = 8_192;

impl LoadedTable {
    /// Reads `columns` of one data file; with a filter, only the rows for which it holds (row groups whose statistics
    /// exclude it are not fetched). Call it inside a tokio runtime.
    ///
    /// # Errors
    /// A column that the table has not, a file that is not Parquet or cannot be read.
    pub fn read_file(
        &self,
        file: &DataFile,
        columns: &[&str],
        filter: Option<&Predicate>,
    ) -> Result<Batches, ReadError> {
        let stream = self.open_file(file, columns, filter).map_err(|source| self.unreadable(source))?;
        let name = self.name.clone();
        Ok(Box::pin(stream.map(move |batch| {
            batch.map_err(|source| ReadError { table: name.clone(), source: Box::new(source) })
        })))
    }

    fn open_file(
        &self,
        file: &DataFile,
        columns: &[&str],
        filter: Option<&Predicate>,
    ) -> iceberg::Result<impl Stream<Item = iceberg::Result<RecordBatch>> + Send + use<>> {
        let schema = self.metadata.current_schema();
        if file.file_format() != DataFileFormat::Parquet {
            let message = format!("`{}` is not Parquet", file.file_path());
            return Err(Error::new(ErrorKind::FeatureUnsupported, message));
        }
        let ids = columns.iter().map(|column| {
            schema.field_id_by_name(column).ok_or_else(|| {
                Error::new(ErrorKind::DataInvalid, format!("the table has no column `{column}`"))
            })
        });
        let predicate = match filter {
            Some(filter) => Some(filter.clone().rewrite_not().bind(schema.clone(), true)?),
            None => None,
        };
        let task = FileScanTask::builder()
            .with_file_size_in_bytes(file.file_size_in_bytes())
            .with_start(0)
            .with_length(file.file_size_in_bytes())
            .with_record_count(Some(file.record_count()))
            .with_data_file_path(file.file_path().to_owned())
            .with_data_file_format(file.file_format())
            .with_schema(schema.clone())
            .with_project_field_ids(ids.collect::<iceberg::Result<Vec<_>>>()?)
            .with_predicate(predicate)
            .with_case_sensitive(true)
            .build();
        let reader = ArrowReaderBuilder::new(self.file_io.clone(), Runtime::try_current()?)
            .with_data_file_concurrency_limit(1)
            .with_batch_size(BATCH_ROWS)
            .with_row_group_filtering_enabled(true)
            .build();
        Ok(reader.read(Box::pin(stream::iter([Ok(task)])))?.stream())
    }

    pub(crate) fn unreadable(&self, source: Error) -> ReadError {
        ReadError { table: self.name.clone(), source: Box::new(source) }
    }

    /// Whether the table has a column of this name.
    pub fn has_column(&self, name: &str) -> bool {
        Arc::clone(self.metadata.current_schema()).field_by_name(name).is_some()
    }
}
