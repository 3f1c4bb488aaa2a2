//! Parquet data files: written row group by row group, streamed to the store, described for the manifest.
//!
//! Each call of [`DataFileWriter::write_row_group`] makes exactly one row group and hands its bytes to the store, so that
//! memory is bounded by one row group and the parts under way, whatever the file's size. Columns are matched to the
//! table's fields by name; the file carries the table's field ids. Encoding runs on the blocking pool: as stored rows
//! ([`crate::stored`]) where all columns are flat, else by values.

mod encoder;
mod encoding;
mod layout;
pub(crate) mod metrics;
mod partition;

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use iceberg::io::FileWrite;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};

use self::encoder::Encoder;
pub(crate) use self::encoding::pays_dictionary;
pub use self::layout::Layout;
pub use self::partition::{FilePartition, check_partitioning};
use crate::catalog::LoadedTable;
use crate::storage::PART_SIZE;
use crate::stored::{StoredLayout, StoredRows};

/// Why a data file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A batch has a column that the table has not: its values would be lost.
    #[error("table `{table}` has no column `{column}`")]
    UnknownColumn {
        /// The table's name.
        table: String,
        /// The batch's column.
        column: String,
    },
    /// A batch lacks a column that must not be null.
    #[error("rows for table `{table}` lack the required column `{column}`")]
    MissingColumn {
        /// The table's name.
        table: String,
        /// The table's column.
        column: String,
    },
    /// A column's values cannot be stored as the table's type.
    #[error("column `{column}` of type {found} does not fit table `{table}`, which has {expected}")]
    TypeMismatch {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// The batch's type.
        found: String,
        /// The table's type.
        expected: String,
    },
    /// A required column has nulls.
    #[error("column `{column}` of table `{table}` must not be null, but {nulls} of its values are")]
    NullInRequired {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// How many.
        nulls: usize,
    },
    /// The partition value does not go with the table's partitioning.
    #[error(
        "a file of partition {partition} does not fit table `{table}`, which is partitioned by {expected}"
    )]
    PartitionMismatch {
        /// The table's name.
        table: String,
        /// The given partition value.
        partition: String,
        /// How the table is partitioned.
        expected: String,
    },
    /// The table's schema cannot be expressed in Arrow.
    #[error("schema of table `{table}` cannot be written")]
    UnsupportedSchema {
        /// The table's name.
        table: String,
        /// Why.
        #[source]
        source: iceberg::Error,
    },
    /// Parquet encoding failed.
    #[error("failed to encode `{path}`")]
    EncodingFailed {
        /// The file's address.
        path: String,
        /// Why.
        #[source]
        source: ParquetError,
    },
    /// The store did not take the bytes.
    #[error("failed to store `{path}`")]
    StoreFailed {
        /// The file's address.
        path: String,
        /// Why.
        #[source]
        source: iceberg::Error,
    },
    /// The writer failed or was cancelled before, or got no rows.
    #[error("file `{path}` cannot be finished: {problem}")]
    NotWritable {
        /// The file's address.
        path: String,
        /// Why.
        problem: String,
    },
}

impl FileError {
    /// Returns whether writing the same rows to another file may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::StoreFailed { source, .. } if source.retryable())
    }
}

/// Writes one data file of one partition.
///
/// # Cancel safety
/// After a cancelled call the writer must be dropped. A dropped writer leaves no file behind (S3: the upload is aborted).
pub struct DataFileWriter {
    path: String,
    layout: Layout,
    /// `None`: a column is nested, and rows are written by values.
    stored: Option<StoredLayout>,
    spec_id: i32,
    sort_order_id: Option<i32>,
    partition: Struct,
    /// `None` while a row group is being encoded, and after a failure.
    encoder: Option<Encoder>,
    output: Box<dyn FileWrite>,
    num_bytes: u64,
    num_rows: u64,
    nan_counts: metrics::NanCounts,
}

impl std::fmt::Debug for DataFileWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("DataFileWriter");
        debug.field("path", &self.path).field("num_bytes", &self.num_bytes).field("num_rows", &self.num_rows);
        debug.finish_non_exhaustive()
    }
}

impl DataFileWriter {
    /// Begins a file `<table location>/data/<partition>/<stem>.parquet`.
    ///
    /// # Errors
    /// [`FileError::PartitionMismatch`], [`FileError::UnsupportedSchema`], [`FileError::StoreFailed`]
    pub async fn create(
        table: &LoadedTable,
        partition: impl Into<FilePartition>,
        stem: &str,
    ) -> Result<Self, FileError> {
        let placed = partition::place(table, partition.into())?;
        let path = format!("{}/{stem}.parquet", placed.folder);
        let metadata = &table.metadata;
        let layout = Layout::new(&table.name, metadata.current_schema())?;
        let encoder = Encoder::new(&layout)
            .map_err(|source| FileError::EncodingFailed { path: path.clone(), source })?;
        let store_failed = |source| FileError::StoreFailed { path: path.clone(), source };
        let output =
            table.file_io.new_output(&path).map_err(store_failed)?.writer().await.map_err(store_failed)?;
        let order = metadata.default_sort_order();
        let sort_order_id = if order.is_unsorted() { None } else { i32::try_from(order.order_id).ok() };
        Ok(Self {
            path,
            layout,
            stored: StoredLayout::of(table)?,
            spec_id: metadata.default_partition_spec_id(),
            sort_order_id,
            partition: placed.value,
            encoder: Some(encoder),
            output,
            num_bytes: 0,
            num_rows: 0,
            nan_counts: metrics::NanCounts::default(),
        })
    }

    /// Returns the file's address.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns how many bytes went to the store so far.
    pub fn bytes_written(&self) -> u64 {
        self.num_bytes
    }

    /// Returns how many rows the file has so far.
    pub fn rows_written(&self) -> u64 {
        self.num_rows
    }

    /// Returns an upper bound of the bytes that this writer holds between calls: those not yet accepted by the store.
    pub fn memory(&self) -> usize {
        if !self.path.starts_with("s3") {
            return 0;
        }
        // One part being collected and, with several writers at once, about one under way.
        usize::try_from(self.num_bytes).unwrap_or(usize::MAX).min(2 * PART_SIZE)
    }

    /// Appends all rows of `batch` as one row group; no rows, no row group.
    ///
    /// # Errors
    /// Any [`FileError`]; after one the writer can only be dropped.
    pub async fn write_row_group(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        let Some(encoder) = self.encoder.take() else {
            return Err(self.not_writable("an earlier write failed or was cancelled"));
        };
        if batch.num_rows() == 0 {
            self.encoder = Some(encoder);
            return Ok(());
        }
        let (layout, stored, path) = (self.layout.clone(), self.stored.clone(), self.path.clone());
        let rows = batch.clone();
        let work = move |encoder: &mut Encoder| {
            let written = match stored {
                Some(stored) => {
                    let mut stored = StoredRows::with_capacity(&stored, rows.num_rows());
                    stored.push(&rows)?;
                    encoder.write_stored(&stored, &(0..rows.num_rows() as u32).collect::<Vec<_>>())
                }
                None => encoder.write_values(&layout, &layout.arrange(&rows)?),
            };
            written.map_err(|source| FileError::EncodingFailed { path, source })
        };
        self.row_group(encoder, batch.num_rows(), work).await
    }

    /// Appends rows in this order as one row group; no rows, no row group. They must be of this table's layout.
    ///
    /// # Errors
    /// Any [`FileError`]; after one the writer can only be dropped.
    pub async fn write_stored(&mut self, rows: Arc<StoredRows>, order: Vec<u32>) -> Result<(), FileError> {
        let Some(encoder) = self.encoder.take() else {
            return Err(self.not_writable("an earlier write failed or was cancelled"));
        };
        if order.is_empty() {
            self.encoder = Some(encoder);
            return Ok(());
        }
        let (path, num_rows) = (self.path.clone(), order.len());
        let work = move |encoder: &mut Encoder| {
            let written = encoder.write_stored(&rows, &order);
            written.map_err(|source| FileError::EncodingFailed { path, source })
        };
        self.row_group(encoder, num_rows, work).await
    }

    async fn row_group<F>(&mut self, encoder: Encoder, num_rows: usize, work: F) -> Result<(), FileError>
    where
        F: FnOnce(&mut Encoder) -> Result<metrics::NanCounts, FileError> + Send + 'static,
    {
        let (encoder, bytes, nan_counts) = self.encode(encoder, work).await?;
        self.nan_counts.add(nan_counts);
        self.send(bytes).await?;
        self.num_rows += num_rows as u64;
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Finishes the file and describes it for the manifest.
    ///
    /// `footer` becomes key-value metadata of the file. `sorted` says that the rows of the whole file, over all its row
    /// groups, follow the table's sort order.
    ///
    /// # Errors
    /// Any [`FileError`]; a file without rows is refused, because it must not get into a table.
    pub async fn close(mut self, footer: &[(String, String)], sorted: bool) -> Result<DataFile, FileError> {
        let Some(encoder) = self.encoder.take() else {
            return Err(self.not_writable("an earlier write failed or was cancelled"));
        };
        if self.num_rows == 0 {
            return Err(self.not_writable("it has no rows"));
        }
        let entries: Vec<KeyValue> =
            footer.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        let path = self.path.clone();
        let (_, bytes, parquet) = self
            .encode(encoder, move |encoder| {
                encoder.finish(entries).map_err(|source| FileError::EncodingFailed { path, source })
            })
            .await?;
        self.send(bytes).await?;
        let closed = self.output.close().await;
        closed.map_err(|source| self.store_failed(source))?;
        self.describe(&parquet, sorted)
    }

    /// Gives the file up; nothing of it stays in the store.
    pub async fn abort(self) {
        // The store's writer cleans up when it is dropped.
        drop(self);
    }

    /// Lets the encoder work on the blocking pool, and takes the bytes it has made.
    ///
    /// Exclusive, although nothing is changed: the store's writer cannot be shared between threads.
    async fn encode<T, F>(&mut self, mut encoder: Encoder, work: F) -> Result<(Encoder, Bytes, T), FileError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Encoder) -> Result<T, FileError> + Send + 'static,
    {
        let path = self.path.clone();
        let job = tokio::task::spawn_blocking(move || {
            let value = work(&mut encoder)?;
            let bytes = encoder.take_bytes().map_err(|source| FileError::EncodingFailed { path, source })?;
            Ok((encoder, bytes, value))
        });
        job.await.unwrap_or_else(|error| Err(self.not_writable(&error.to_string())))
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), FileError> {
        let num_bytes = bytes.len() as u64;
        let sent = self.output.write(bytes).await;
        sent.map_err(|source| self.store_failed(source))?;
        self.num_bytes += num_bytes;
        Ok(())
    }

    fn describe(&self, parquet: &ParquetMetaData, sorted: bool) -> Result<DataFile, FileError> {
        let columns = metrics::of_columns(self.layout.schema(), parquet);
        let split_offsets = parquet.row_groups().iter().filter_map(metrics::first_offset).collect();
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path(self.path.clone())
            .file_format(DataFileFormat::Parquet)
            .partition(self.partition.clone())
            .partition_spec_id(self.spec_id)
            .record_count(self.num_rows)
            .file_size_in_bytes(self.num_bytes)
            .column_sizes(columns.sizes)
            .value_counts(columns.values)
            .null_value_counts(columns.nulls)
            .nan_value_counts(self.nan_counts.clone().into_map())
            .lower_bounds(columns.lower)
            .upper_bounds(columns.upper)
            .split_offsets(Some(split_offsets));
        if let Some(order) = self.sort_order_id.filter(|_| sorted) {
            builder.sort_order_id(order);
        }
        builder.build().map_err(|error| self.not_writable(&error.to_string()))
    }

    fn store_failed(&self, source: iceberg::Error) -> FileError {
        FileError::StoreFailed { path: self.path.clone(), source }
    }

    fn not_writable(&self, problem: &str) -> FileError {
        FileError::NotWritable { path: self.path.clone(), problem: problem.to_owned() }
    }
}
