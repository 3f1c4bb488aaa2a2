//! Values of an Arrow array that hardly repeat, as a column chunk: the parquet crate's writer would search them for repetitions.

use arrow::array::Array;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;

use super::column::Column;
use super::write::{Scratch, write_column};
use super::{Field, Kind};

/// Writes the columns of one row group that can be written this way.
pub(crate) struct UniqueColumns {
    scratch: Scratch,
    room: Vec<u8>,
}

impl UniqueColumns {
    pub(crate) fn new() -> Result<Self, ParquetError> {
        Ok(Self { scratch: Scratch::new()?, room: Vec::new() })
    }

    /// Appends the values as the next column of the row group; `false` if they are of another kind, and nothing was written.
    pub(crate) fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        descriptor: &ColumnDescPtr,
        array: &dyn Array,
    ) -> Result<bool, ParquetError> {
        let kind = Kind::of(descriptor).filter(|kind| matches!(kind, Kind::Int64 | Kind::Text));
        let Some(kind) = kind else { return Ok(false) };
        let (arrow, descriptor) = (array.data_type().clone(), ColumnDescPtr::clone(descriptor));
        // Its id is in the descriptor, where it has one.
        let field = Field { id: 0, kind, arrow, descriptor, is_coded: false };
        let mut column = Column::new(&field);
        if column.extend(kind, array).is_none() {
            return Ok(false);
        }
        let all = 0..array.len();
        let stretches = std::slice::from_ref(&all);
        write_column(group, &field, &column, stretches, &mut self.scratch, &mut self.room)?;
        Ok(true)
    }
}
