//! Rows of Arrow batches as stored ones: values that repeat become numbers, once and for all.

use arrow::array::{Array, ArrayData, AsArray, BooleanArray, DictionaryArray, GenericByteArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ByteArrayType, DataType, UInt32Type};
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;

use super::column::{Column, NULL, Nulls, Values};
use super::dictionary::Dictionary;
use super::ids::Ids;
use super::{Kind, StoredRows};
use crate::files::FileError;

/// A value of a dictionary that no row had yet.
const UNSEEN: u32 = u32::MAX;

impl StoredRows {
    /// Appends the rows of a batch in the table's columns, by the rules of [`Layout::arrange`](crate::files::Layout::arrange).
    /// Text may be a dictionary with keys of 32 bits: its values are compared once, and not row by row. After an error the
    /// rows can only be dropped.
    ///
    /// # Errors
    /// Those of [`Layout::arrange`](crate::files::Layout::arrange), and more rows than [`StoredRows::MAX_ROWS`].
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        let table = &self.layout.table;
        let failed = |source| FileError::EncodingFailed { path: table.name().to_owned(), source };
        let total = self.num_rows.saturating_add(batch.num_rows());
        if total > Self::MAX_ROWS {
            return Err(failed(ParquetError::General(format!("{total} rows are too many at once"))));
        }
        let fields = &self.layout.fields;
        let is_kept = |place: usize| fields.get(place).is_some_and(|field| field.is_coded);
        let arrays = table.columns(batch, is_kept)?;
        for ((column, field), array) in self.columns.iter_mut().zip(fields.iter()).zip(arrays) {
            column.extend(field.kind, &array).ok_or_else(|| {
                let (name, found) = (field.descriptor.name(), array.data_type());
                failed(ParquetError::General(format!("column `{name}` cannot take {found}")))
            })?;
        }
        self.num_rows = total;
        Ok(())
    }
}

impl Column {
    /// Appends the values of an array; `None` if they are of another kind, and nothing was appended.
    pub(super) fn extend(&mut self, kind: Kind, array: &dyn Array) -> Option<()> {
        if let Some(texts) = array.as_string_opt::<i32>().filter(|texts| texts.null_count() == 0)
            && self.ids().is_some_and(|ids| put_ids(texts, ids))
        {
            return Some(());
        }
        self.spread_ids();
        let num_rows = self.num_rows();
        let mut num_nulls = array.null_count();
        match &mut self.values {
            Values::Coded { codes, dictionary } => {
                codes.reserve(array.len());
                code(codes, dictionary, kind, array)?;
                num_nulls = codes[num_rows..].iter().filter(|code| **code == NULL).count();
            }
            Values::Numbers { values, nulls } => {
                values.extend_from_slice(fixed(&array.to_data())?);
                nulls.extend(num_rows, array.nulls());
            }
            Values::Bytes { values, ends, nulls } => {
                match array.data_type() {
                    DataType::Utf8 => put(array.as_string::<i32>(), values, ends),
                    DataType::Binary => put(array.as_binary::<i32>(), values, ends),
                    DataType::LargeBinary => put(array.as_binary::<i64>(), values, ends),
                    _ => return None,
                }
                nulls.extend(num_rows, array.nulls());
            }
            // They were spread.
            Values::Ids(_) => return None,
        }
        self.num_nulls += num_nulls;
        Some(())
    }
}

impl Nulls {
    /// Adds the nulls of an array to those of so many rows.
    fn extend(&mut self, num_rows: usize, nulls: Option<&NullBuffer>) {
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return };
        self.0.resize(num_rows, false);
        self.0.extend(nulls.iter().map(|is_present| !is_present));
    }
}

/// Values of so many bytes each, those of nulls too; `None` if they are of another width.
fn fixed<const WIDTH: usize>(data: &ArrayData) -> Option<&[[u8; WIDTH]]> {
    let values = data.buffers().first().filter(|_| data.data_type().primitive_width() == Some(WIDTH))?;
    values.as_chunks().0.get(data.offset()..data.offset() + data.len())
}

/// Appends ids; `false` if the texts are none, or of another length, and nothing was appended.
fn put_ids(texts: &StringArray, ids: &mut Ids) -> bool {
    let offsets = texts.value_offsets();
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return false };
    let num_digits = offsets.get(1).map_or(0, |end| end - first);
    offsets.windows(2).all(|pair| pair[1] - pair[0] == num_digits)
        && ids.add_digits(&texts.value_data()[*first as usize..*last as usize], num_digits as usize)
}

/// Appends texts or bytes, each after its length.
fn put<T: ByteArrayType>(array: &GenericByteArray<T>, values: &mut Vec<u8>, ends: &mut Vec<usize>) {
    ends.reserve(array.len());
    values.reserve(array.value_data().len() + array.len() * size_of::<u32>());
    for value in array {
        if let Some(value) = value {
            let value: &[u8] = value.as_ref();
            values.extend_from_slice(&(value.len() as u32).to_le_bytes());
            values.extend_from_slice(value);
        }
        ends.push(values.len());
    }
}

fn code(codes: &mut Vec<u32>, dictionary: &mut Dictionary, kind: Kind, array: &dyn Array) -> Option<()> {
    match kind {
        Kind::Int64 | Kind::Double => code_fixed::<8>(codes, dictionary, &array.to_data()),
        Kind::Int32 | Kind::Float => code_fixed::<4>(codes, dictionary, &array.to_data()),
        Kind::Bool => code_truths(codes, dictionary, array.as_boolean_opt()?),
        Kind::Text | Kind::Binary => match array.as_dictionary_opt() {
            Some(texts) => code_dictionary(codes, dictionary, texts),
            None => {
                let code = |text: Option<&str>| {
                    text.map_or(NULL, |text| dictionary.number_of_text(text.as_bytes()) + 1)
                };
                codes.extend(array.as_string_opt::<i32>()?.iter().map(code));
                Some(())
            }
        },
    }
}

fn code_fixed<const WIDTH: usize>(
    codes: &mut Vec<u32>,
    dictionary: &mut Dictionary,
    data: &ArrayData,
) -> Option<()> {
    let is_null = |row| data.nulls().is_some_and(|nulls| nulls.is_null(row));
    let mut last = None;
    for (row, value) in fixed::<WIDTH>(data)?.iter().enumerate() {
        let code = match last {
            _ if is_null(row) => NULL,
            // Many numbers repeat at once: partitions, epochs, days.
            Some((known, code)) if known == value => code,
            _ => {
                let code = dictionary.number_of_fixed(value) + 1;
                last = Some((value, code));
                code
            }
        };
        codes.push(code);
    }
    Some(())
}

fn code_truths(codes: &mut Vec<u32>, dictionary: &mut Dictionary, truths: &BooleanArray) -> Option<()> {
    let code =
        |truth: Option<bool>| truth.map_or(NULL, |truth| dictionary.number_of_fixed(&[u8::from(truth)]) + 1);
    codes.extend(truths.iter().map(code));
    Some(())
}

/// A text of the array's dictionary is looked for when it is first needed.
fn code_dictionary(
    codes: &mut Vec<u32>,
    dictionary: &mut Dictionary,
    texts: &DictionaryArray<UInt32Type>,
) -> Option<()> {
    let values = texts.values().as_string_opt::<i32>()?;
    let mut known = vec![UNSEEN; values.len()];
    for (row, key) in texts.keys().values().iter().map(|key| *key as usize).enumerate() {
        if texts.is_null(row) {
            codes.push(NULL);
            continue;
        }
        if known[key] == UNSEEN {
            known[key] = match values.is_null(key) {
                true => NULL,
                false => dictionary.number_of_text(values.value(key).as_bytes()) + 1,
            };
        }
        codes.push(known[key]);
    }
    Some(())
}
