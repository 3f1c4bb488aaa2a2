//! Stored rows as an Arrow batch: numbers as values, and text that repeats as a dictionary, in which each text stands once.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayData, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, UInt32Array, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field as ArrowField, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::column::{Column, NULL, Presence, Values, bytes_of};
use super::dictionary::Dictionary;
use super::ids::unpack;
use super::{Field, Kind, StoredRows};

impl StoredRows {
    /// Returns the rows as a batch of these columns; text that repeats is a dictionary with keys of 32 bits.
    ///
    /// # Errors
    /// Text that is not UTF-8, or too much for an array.
    pub fn to_batch(&self) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (field, column) in self.layout.fields.iter().zip(&self.columns) {
            let array = column.array(field)?;
            let is_optional = field.descriptor.max_def_level() > 0;
            fields.push(ArrowField::new(field.descriptor.name(), array.data_type().clone(), is_optional));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.num_rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }
}

impl Column {
    fn array(&self, field: &Field) -> Result<ArrayRef, ArrowError> {
        match &self.values {
            Values::Coded { codes, dictionary } => {
                let nulls = self.nulls(|row| codes[row] == NULL);
                coded(codes, nulls, dictionary, field)
            }
            Values::Numbers { values, nulls } => {
                let numbers = values.iter().map(|value| i64::from_le_bytes(*value)).collect();
                let nulls = self.nulls(|row| nulls.has(row));
                fixed(Buffer::from_vec::<i64>(numbers), values.len(), nulls, field)
            }
            Values::Bytes { values, ends, nulls } => {
                let nulls = self.nulls(|row| nulls.has(row));
                typed(&without_lengths(values, ends, nulls)?, &field.arrow)
            }
            Values::Ids(ids) => {
                let mut digits = vec![0; ids.packed.len() * 2];
                unpack(&ids.packed, &mut digits);
                if i32::try_from(digits.len()).is_err() {
                    return Err(ArrowError::OffsetOverflowError(digits.len()));
                }
                let lengths = OffsetBuffer::from_repeated_length(ids.num_digits, ids.len());
                typed(&BinaryArray::try_new(lengths, Buffer::from_vec(digits), None)?, &field.arrow)
            }
        }
    }

    fn nulls(&self, is_null: impl Fn(usize) -> bool) -> Option<NullBuffer> {
        let present = || BooleanBuffer::collect_bool(self.num_rows(), |row| !is_null(row));
        (self.presence() != Presence::All).then(|| NullBuffer::new(present()))
    }
}

fn coded(
    codes: &[u32],
    nulls: Option<NullBuffer>,
    dictionary: &Dictionary,
    field: &Field,
) -> Result<ArrayRef, ArrowError> {
    let eight = |value: &[u8]| i64::from_le_bytes(value.first_chunk().copied().unwrap_or_default());
    let four = |value: &[u8]| i32::from_le_bytes(value.first_chunk().copied().unwrap_or_default());
    match field.kind {
        Kind::Int64 | Kind::Double => {
            fixed(Buffer::from_vec(looked_up(codes, dictionary, eight)), codes.len(), nulls, field)
        }
        Kind::Int32 | Kind::Float => {
            fixed(Buffer::from_vec(looked_up(codes, dictionary, four)), codes.len(), nulls, field)
        }
        Kind::Bool => {
            let truths = looked_up(codes, dictionary, |value| value == [1]);
            let truths = BooleanBuffer::collect_bool(codes.len(), |row| truths[row]);
            Ok(Arc::new(BooleanArray::new(truths, nulls)))
        }
        Kind::Text | Kind::Binary => {
            let keys: Vec<u32> = codes.iter().map(|code| code.saturating_sub(1)).collect();
            let keys = UInt32Array::new(keys.into(), nulls);
            let values = texts(dictionary, &field.arrow)?;
            match field.kind {
                Kind::Text => Ok(Arc::new(DictionaryArray::try_new(keys, values)?)),
                _ => take(&values, &keys, None),
            }
        }
    }
}

/// The value of each row, a default for null.
fn looked_up<T: Copy + Default>(
    codes: &[u32],
    dictionary: &Dictionary,
    value: impl Fn(&[u8]) -> T,
) -> Vec<T> {
    let values = (0..dictionary.len() as u32).map(|number| value(dictionary.value(number)));
    let values: Vec<T> = [T::default()].into_iter().chain(values).collect();
    codes.iter().map(|code| values[*code as usize]).collect()
}

fn fixed(
    values: Buffer,
    num_rows: usize,
    nulls: Option<NullBuffer>,
    field: &Field,
) -> Result<ArrayRef, ArrowError> {
    let data = ArrayData::builder(field.arrow.clone()).len(num_rows).nulls(nulls).add_buffer(values);
    Ok(make_array(data.build()?))
}

/// Values that each come after their length, as an array.
fn without_lengths(
    values: &[u8],
    ends: &[usize],
    nulls: Option<NullBuffer>,
) -> Result<BinaryArray, ArrowError> {
    let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let (mut bytes, mut offsets) = (Vec::with_capacity(values.len()), Vec::with_capacity(ends.len() + 1));
    offsets.push(0);
    for row in 0..ends.len() {
        if !is_null(row) {
            bytes.extend_from_slice(bytes_of(values, ends, row));
        }
        offsets.push(i32::try_from(bytes.len()).map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?);
    }
    BinaryArray::try_new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes), nulls)
}

/// The values of a dictionary as an array.
fn texts(dictionary: &Dictionary, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    let lengths = (0..dictionary.len() as u32).map(|number| dictionary.value(number).len());
    let bytes = Buffer::from(dictionary.bytes());
    if i32::try_from(bytes.len()).is_err() {
        return Err(ArrowError::OffsetOverflowError(bytes.len()));
    }
    typed(&BinaryArray::try_new(OffsetBuffer::from_lengths(lengths), bytes, None)?, wanted)
}

/// Bytes as text, or as they are.
fn typed(bytes: &BinaryArray, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    // What is no text is an error, and not null.
    cast_with_options(bytes, wanted, &CastOptions { safe: false, ..CastOptions::default() })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};

    use super::*;

    #[test]
    fn what_is_no_text_is_an_error() {
        let mut dictionary = Dictionary::new(Kind::Text);
        dictionary.number_of("é".as_bytes());
        let found = texts(&dictionary, &DataType::Utf8).unwrap();
        assert_eq!((found.len(), found.as_string::<i32>().value(0)), (1, "é"));
        dictionary.number_of(&[b'a', 0xff]);
        assert!(texts(&dictionary, &DataType::Utf8).is_err());
    }
}
