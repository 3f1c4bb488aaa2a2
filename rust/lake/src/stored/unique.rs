//! Values of an Arrow array that hardly repeat, as a column chunk: the parquet crate's writer would search them for repetitions.

use arrow::array::{Array, AsArray};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;

use super::column::{Column, Nulls, Values};
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
        let Some((kind, column)) = kind.and_then(|kind| Some((kind, column(kind, array)?))) else {
            return Ok(false);
        };
        let (arrow, descriptor) = (array.data_type().clone(), ColumnDescPtr::clone(descriptor));
        // Its id is in the descriptor, where it has one.
        let field = Field { id: 0, kind, arrow, descriptor, is_coded: false };
        let all = 0..array.len();
        let stretches = std::slice::from_ref(&all);
        write_column(group, &field, &column, stretches, &mut self.scratch, &mut self.room)?;
        Ok(true)
    }
}

fn column(kind: Kind, array: &dyn Array) -> Option<Column> {
    let nulls = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => Nulls::of(nulls.iter().map(|is_present| !is_present).collect()),
        None => Nulls::default(),
    };
    let values = match kind {
        Kind::Int64 => {
            let data = array.to_data();
            if data.data_type().primitive_width() != Some(size_of::<i64>()) {
                return None;
            }
            let values = data.buffer::<i64>(0).get(..array.len())?;
            Values::Numbers { values: values.iter().map(|value| value.to_le_bytes()).collect(), nulls }
        }
        _ => {
            let texts = array.as_string_opt::<i32>()?;
            let room = texts.value_data().len() + array.len() * size_of::<u32>();
            let (mut values, mut ends) = (Vec::with_capacity(room), Vec::with_capacity(array.len()));
            for text in texts {
                if let Some(text) = text {
                    values.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    values.extend_from_slice(text.as_bytes());
                }
                ends.push(values.len());
            }
            Values::Bytes { values, ends, nulls }
        }
    };
    Some(Column::of(values, array.null_count()))
}
