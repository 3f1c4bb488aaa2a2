//! A Parquet file in the making, in memory: row groups of values, or of rows as they are stored.

use std::mem;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{
    ArrowRowGroupWriterFactory, ArrowWriter, ArrowWriterOptions, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;

use super::metrics::NanCounts;
use super::{Layout, encoding};
use crate::stored::{StoredRows, UniqueColumns, write_columns};

/// Bytes of an encoded row, generously.
const ROW_BYTES: usize = 64;

/// Encodes one file. After an error it must be dropped.
pub(super) struct Encoder {
    file: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
}

impl Encoder {
    pub(super) fn new(layout: &Layout) -> Result<Self, ParquetError> {
        // Readers take the types from the Parquet schema; a second description in Arrow's terms would only cost bytes.
        let options = ArrowWriterOptions::new()
            .with_properties(encoding::writer_properties(layout.schema()))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), layout.arrow_schema(), options)?;
        let (file, columns) = writer.into_serialized_writer()?;
        Ok(Self { file, columns })
    }

    /// Appends a batch in the file's columns as one row group.
    pub(super) fn write_values(
        &mut self,
        layout: &Layout,
        batch: &RecordBatch,
    ) -> Result<NanCounts, ParquetError> {
        let number = self.file.flushed_row_groups().len();
        let writers = self.columns.create_column_writers(number)?;
        let leaves: Vec<ColumnDescPtr> = self.file.schema_descr().columns().to_vec();
        let mut leaves = writers.into_iter().zip(leaves).peekable();
        let missing = || ParquetError::General("fewer column writers than columns".to_owned());
        let mut group = self.file.next_row_group()?;
        let mut unique = UniqueColumns::new()?;
        let kinds = layout.schema().as_struct().fields();
        for ((field, values), kind) in batch.schema_ref().fields().iter().zip(batch.columns()).zip(kinds) {
            let (_, leaf) = leaves.peek().ok_or_else(missing)?;
            let repeats = encoding::pays_dictionary(&kind.name, &kind.field_type);
            if !repeats && unique.write(&mut group, leaf, values)? {
                leaves.next();
                continue;
            }
            // One leaf per column, several for one that is nested.
            for leaf in compute_leaves(field, values)? {
                let (mut writer, _) = leaves.next().ok_or_else(missing)?;
                writer.write(&leaf)?;
                writer.close()?.append_to_row_group(&mut group)?;
            }
        }
        group.close()?;
        Ok(NanCounts::of(layout.schema(), batch))
    }

    /// Appends rows in this order as one row group.
    pub(super) fn write_stored(
        &mut self,
        rows: &StoredRows,
        order: &[u32],
    ) -> Result<NanCounts, ParquetError> {
        // So that the bytes are not copied again and again as they grow; what is not used costs nothing.
        self.file.inner_mut().reserve(order.len() * ROW_BYTES);
        let mut group = self.file.next_row_group()?;
        let nan_counts = write_columns(&mut group, rows, order)?;
        group.close()?;
        Ok(NanCounts::from_iter(nan_counts))
    }

    /// Ends the file with a footer that has these entries.
    pub(super) fn finish(&mut self, footer: Vec<KeyValue>) -> Result<ParquetMetaData, ParquetError> {
        footer.into_iter().for_each(|entry| self.file.append_key_value_metadata(entry));
        self.file.finish()
    }

    /// Takes the bytes that were made since the last call.
    pub(super) fn take_bytes(&mut self) -> Result<Bytes, ParquetError> {
        self.file.flush()?;
        Ok(Bytes::from(mem::take(self.file.inner_mut())))
    }
}
