//! Reads columns of a bronze batch with the contract's types, whatever an older table stored.
//!
//! Text may come as a dictionary, and stays one, so that each text is looked at once. A column that is missing is null. A column of a narrower type is widened; text stands for a boolean, and for a number
//! where the contract accepts that on the wire. A value that cannot be converted is an error, never null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;

use super::SilverError;
use super::columns::{EPOCH, OFFSET, PARTITION};
use super::dedup::Coordinates;
use crate::contract::{ColumnType, Contract, Field};

/// A batch with its contract.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) contract: &'a Contract,
    batch: &'a RecordBatch,
}

impl<'a> Source<'a> {
    pub(super) fn new(contract: &'a Contract, batch: &'a RecordBatch) -> Self {
        Self { contract, batch }
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Returns a field's column; a required one must be there, though it may hold nulls.
    pub(super) fn field(&self, field: &Field) -> Result<ArrayRef, SilverError> {
        let kind = ColumnType::from(field.kind).arrow();
        let Some(found) = self.batch.column_by_name(&field.column) else {
            return if field.required {
                Err(self.missing(&field.column))
            } else {
                Ok(new_null_array(&kind, self.rows()))
            };
        };
        let is_text = matches!(found.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        if field.accept_text && (is_text || is_dictionary_of(found.data_type(), &DataType::Utf8)) {
            let texts = self.plain(&field.column, self.convert(&field.column, found, &DataType::Utf8)?)?;
            let numbers =
                numbers(texts.as_string::<i32>()).map_err(|source| self.failed(&field.column, source))?;
            return self.convert(&field.column, &numbers, &kind);
        }
        self.convert(&field.column, found, &kind)
    }

    /// Returns a column that is no payload; null if it is missing.
    pub(super) fn optional(&self, name: &str, kind: ColumnType) -> Result<ArrayRef, SilverError> {
        match self.batch.column_by_name(name) {
            Some(found) => self.convert(name, found, &kind.arrow()),
            None => Ok(new_null_array(&kind.arrow(), self.rows())),
        }
    }

    /// As [`Source::field`], with a value in each row.
    pub(super) fn plain_field(&self, field: &Field) -> Result<ArrayRef, SilverError> {
        self.plain(&field.column, self.field(field)?)
    }

    /// As [`Source::optional`], with a value in each row.
    pub(super) fn plain_optional(&self, name: &str, kind: ColumnType) -> Result<ArrayRef, SilverError> {
        self.plain(name, self.optional(name, kind)?)
    }

    fn plain(&self, name: &str, found: ArrayRef) -> Result<ArrayRef, SilverError> {
        match found.data_type() {
            DataType::Dictionary(_, values) => {
                cast(&found, values).map_err(|source| self.failed(name, source))
            }
            _ => Ok(found),
        }
    }

    /// Returns a column that must be there, with a value in each row.
    pub(super) fn required(&self, name: &str, kind: ColumnType) -> Result<ArrayRef, SilverError> {
        match self.batch.column_by_name(name) {
            Some(found) => self.plain(name, self.convert(name, found, &kind.arrow())?),
            None => Err(self.missing(name)),
        }
    }

    fn convert(&self, name: &str, found: &ArrayRef, to: &DataType) -> Result<ArrayRef, SilverError> {
        if found.data_type() == to || is_dictionary_of(found.data_type(), to) {
            return Ok(Arc::clone(found));
        }
        if !is_convertible(found.data_type(), to) {
            return Err(SilverError::WrongType {
                topic: self.contract.topic.clone(),
                column: name.to_owned(),
                found: found.data_type().clone(),
                expected: to.clone(),
            });
        }
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(found, to, &strict).map_err(|source| self.failed(name, source))
    }

    fn missing(&self, column: &str) -> SilverError {
        SilverError::MissingColumn { topic: self.contract.topic.clone(), column: column.to_owned() }
    }

    pub(super) fn failed(&self, column: &str, source: ArrowError) -> SilverError {
        SilverError::Column { topic: self.contract.topic.clone(), column: column.to_owned(), source }
    }

    pub(super) fn not_an_event(&self, row: usize, column: &str, problem: &'static str) -> SilverError {
        let topic = self.contract.topic.clone();
        SilverError::NotAnEvent { topic, row, column: column.to_owned(), problem }
    }
}

fn is_dictionary_of(found: &DataType, values: &DataType) -> bool {
    matches!((found, values), (DataType::Dictionary(_, found), DataType::Utf8) if **found == DataType::Utf8)
}

fn is_convertible(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Null, Timestamp, Utf8, Utf8View,
    };
    match to {
        Utf8 => matches!(from, LargeUtf8 | Utf8View | Null),
        Int32 => matches!(from, Int8 | Int16 | Null),
        Int64 => matches!(from, Int8 | Int16 | Int32 | Null),
        Float64 => matches!(from, Float32 | Int32 | Null),
        Boolean => matches!(from, Utf8 | LargeUtf8 | Utf8View | Null),
        Timestamp(_, _) => matches!(from, Timestamp(_, _) | Null),
        _ => matches!(from, Null),
    }
}

/// Reads whole numbers; empty text is null, as on the wire.
fn numbers(texts: &StringArray) -> Result<ArrayRef, ArrowError> {
    let number = |text: Option<&str>| match text.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => text.parse::<i64>().map(Some).map_err(|error| {
            ArrowError::CastError(format!("a text of {} bytes is no whole number: {error}", text.len()))
        }),
    };
    Ok(Arc::new(texts.iter().map(number).collect::<Result<Int64Array, _>>()?))
}

/// See [`super::SilverPlan::coordinates`].
pub(super) fn coordinates(source: &Source<'_>) -> Result<Vec<Coordinates>, SilverError> {
    let (epochs, partitions, offsets) = (
        source.optional(EPOCH.0, EPOCH.1)?,
        source.optional(PARTITION.0, PARTITION.1)?,
        source.optional(OFFSET.0, OFFSET.1)?,
    );
    let int = |array: &ArrayRef, row: usize| {
        if array.is_null(row) { i32::MIN } else { array.as_primitive::<Int32Type>().value(row) }
    };
    let offset = |row: usize| {
        if offsets.is_null(row) { i64::MIN } else { offsets.as_primitive::<Int64Type>().value(row) }
    };
    let coordinates = |row: usize| Coordinates {
        epoch: int(&epochs, row),
        partition: int(&partitions, row),
        offset: offset(row),
    };
    Ok((0..source.rows()).map(coordinates).collect())
}
