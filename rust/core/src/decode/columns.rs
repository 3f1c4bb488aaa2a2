//! Rows become plain column vectors, and these become Arrow arrays without a copy.
//!
//! Guarantees: a column never holds a value of a row that was rolled back, and a text column's bytes of a value count
//! only once the value is complete. Nulls are lazy: an absent field costs nothing until the column's next value or the
//! end of the batch pads it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

use super::reference::{Cell, Row};
use crate::contract::{Contract, FieldKind};
use crate::identity::Part;

/// The payload of the rows so far: one buffer per field of the contract, and the unknown fields.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) payload: Vec<ColumnBuffer>,
    pub(super) extras: ColumnBuffer,
    /// Complete rows; a row being decoded stands at this index.
    pub(super) rows: usize,
}

impl Columns {
    pub(super) fn new(contract: &Contract) -> Self {
        let payload = contract.fields.iter().map(|field| ColumnBuffer::new(field.kind)).collect();
        Self { payload, extras: ColumnBuffer::new(FieldKind::String), rows: 0 }
    }

    /// Removes every value of the row being decoded.
    pub(super) fn roll_back(&mut self) {
        for column in self.payload.iter_mut().chain([&mut self.extras]) {
            column.truncate(self.rows);
        }
    }

    /// Writes a row that the reference decoder made; it is complete after `rows` has been raised by the caller.
    pub(super) fn write_row(&mut self, row: &Row) {
        for (column, cell) in self.payload.iter_mut().zip(&row.cells) {
            column.push_cell(self.rows, cell);
        }
        if let Some(extras) = &row.extras {
            self.extras.push_text(self.rows, extras.as_bytes());
        }
    }

    /// Returns the bytes in use.
    pub(super) fn bytes(&self) -> usize {
        self.payload.iter().chain([&self.extras]).map(ColumnBuffer::bytes).sum()
    }
}

/// The values of a column, nulls as some default.
#[derive(Debug)]
pub(super) enum Values {
    Text(Text),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Double(Vec<f64>),
    Boolean(Vec<bool>),
}

/// One column: values and the ranges of rows that are null.
#[derive(Debug)]
pub(super) struct ColumnBuffer {
    pub(super) values: Values,
    nulls: Vec<(usize, usize)>,
}

impl ColumnBuffer {
    pub(super) fn new(kind: FieldKind) -> Self {
        let values = match kind {
            FieldKind::String => Values::Text(Text::with_capacity(0, 0)),
            FieldKind::Int => Values::Int(Vec::new()),
            FieldKind::Long => Values::Long(Vec::new()),
            FieldKind::Double => Values::Double(Vec::new()),
            FieldKind::Boolean => Values::Boolean(Vec::new()),
        };
        Self { values, nulls: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Text(text) => text.len(),
            Values::Int(values) => values.len(),
            Values::Long(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Boolean(values) => values.len(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.values {
            Values::Text(text) => text.used + 4 * text.len(),
            Values::Int(values) => 4 * values.len(),
            Values::Long(values) => 8 * values.len(),
            Values::Double(values) => 8 * values.len(),
            Values::Boolean(values) => values.len(),
        }
    }

    /// Fills up with nulls so that the next value belongs to `row`.
    #[inline]
    pub(super) fn pad(&mut self, row: usize) {
        if self.len() < row {
            self.pad_slowly(row);
        }
    }

    #[cold]
    fn pad_slowly(&mut self, row: usize) {
        let from = self.len();
        match &mut self.values {
            Values::Text(text) => text.pad(row),
            Values::Int(values) => values.resize(row, 0),
            Values::Long(values) => values.resize(row, 0),
            Values::Double(values) => values.resize(row, 0.0),
            Values::Boolean(values) => values.resize(row, false),
        }
        match self.nulls.last_mut() {
            Some(last) if last.1 == from => last.1 = row,
            _ => self.nulls.push((from, row)),
        }
    }

    /// Removes values of `rows` and later; rows before it that are still unpadded stay so.
    fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Text(text) => text.truncate(rows),
            Values::Int(values) => values.truncate(rows),
            Values::Long(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Boolean(values) => values.truncate(rows),
        }
    }

    fn push_cell(&mut self, row: usize, cell: &Cell) {
        if matches!(cell, Cell::Null) {
            return;
        }
        self.pad(row);
        match (&mut self.values, cell) {
            (Values::Text(text), Cell::Text(value)) => text.push(value.as_bytes()),
            (Values::Int(values), Cell::Int(value)) => values.push(*value),
            (Values::Long(values), Cell::Long(value)) => values.push(*value),
            (Values::Double(values), Cell::Double(value)) => values.push(*value),
            (Values::Boolean(values), Cell::Boolean(value)) => values.push(*value),
            (_, _) => {
                debug_assert!(false, "the reference decoder made a cell of another kind than the field")
            }
        }
    }

    /// Writes a text of `row`; only for text columns.
    pub(super) fn push_text(&mut self, row: usize, value: &[u8]) {
        self.pad(row);
        if let Values::Text(text) = &mut self.values {
            text.push(value);
        }
    }

    /// Writes a long of `row`; only for long columns.
    pub(super) fn push_long(&mut self, row: usize, value: i64) {
        self.pad(row);
        if let Values::Long(values) = &mut self.values {
            values.push(value);
        }
    }

    /// Returns the last value of a long column.
    pub(super) fn last_long(&self) -> Option<i64> {
        match &self.values {
            Values::Long(values) => values.last().copied(),
            _ => None,
        }
    }

    /// Returns the value of a row as part of an identity, without looking whether it is null.
    #[inline]
    pub(super) fn part(&self, row: usize) -> Part<'_> {
        match &self.values {
            Values::Text(text) => Part::Text(text.get(row)),
            Values::Int(values) => {
                values.get(row).map_or(Part::Null, |value| Part::Number(i64::from(*value)))
            }
            Values::Long(values) => values.get(row).map_or(Part::Null, |value| Part::Number(*value)),
            Values::Double(_) | Values::Boolean(_) => Part::Null,
        }
    }

    /// Returns the ranges of null rows, ascending; complete once padded to the number of rows.
    pub(super) fn null_ranges(&self) -> &[(usize, usize)] {
        &self.nulls
    }

    /// Takes all rows as an array and keeps room for as many again.
    pub(super) fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        let nulls = null_buffer(&self.nulls, rows);
        self.nulls.clear();
        Ok(match &mut self.values {
            Values::Text(text) => Arc::new(text.take(nulls)?),
            Values::Int(values) => Arc::new(Int32Array::try_new(take_vec(values).into(), nulls)?),
            Values::Long(values) => Arc::new(Int64Array::try_new(take_vec(values).into(), nulls)?),
            Values::Double(values) => Arc::new(Float64Array::try_new(take_vec(values).into(), nulls)?),
            Values::Boolean(values) => Arc::new(BooleanArray::new(take_vec(values).into(), nulls)),
        })
    }
}

/// Takes a vector and leaves an empty one with room for as many values.
pub(super) fn take_vec<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn null_buffer(nulls: &[(usize, usize)], rows: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut builder = arrow::array::BooleanBufferBuilder::new(rows);
    for (from, to) in nulls {
        builder.append_n(from - builder.len(), true);
        builder.append_n(to - from, false);
    }
    builder.append_n(rows - builder.len(), true);
    Some(NullBuffer::new(builder.finish()))
}

/// The bytes of a text column. `bytes` is longer than what is in use, so that a scan may store 8 bytes at a time past the
/// end of a value; `used` is where the complete values end.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    pub(super) used: usize,
    offsets: Vec<i32>,
}

/// Room is initialised in steps of at least this, which keeps both the number of steps and the touched memory small.
const STEP: usize = 32 * 1024;

impl Text {
    fn with_capacity(values: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(values + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(bytes), used: 0, offsets }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Makes `bytes` at least `room` longer than what is in use.
    #[inline]
    pub(super) fn make_room(&mut self, room: usize) {
        if self.bytes.len() < self.used + room {
            self.grow(room);
        }
    }

    #[cold]
    fn grow(&mut self, room: usize) {
        self.bytes.resize(self.used + room.max(STEP), 0);
    }

    /// Makes the bytes up to `end` the next value.
    #[inline]
    pub(super) fn commit(&mut self, end: usize) {
        self.used = end;
        self.offsets.push(offset(end));
    }

    fn push(&mut self, value: &[u8]) {
        self.make_room(value.len());
        let end = self.used + value.len();
        self.bytes[self.used..end].copy_from_slice(value);
        self.commit(end);
    }

    fn pad(&mut self, values: usize) {
        self.offsets.resize(values + 1, offset(self.used));
    }

    fn truncate(&mut self, values: usize) {
        if self.len() > values {
            self.offsets.truncate(values + 1);
            self.used = self.offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
        }
    }

    pub(super) fn get(&self, row: usize) -> &[u8] {
        let at = |index: usize| self.offsets.get(index).and_then(|end| usize::try_from(*end).ok());
        match (at(row), at(row + 1)) {
            (Some(from), Some(to)) => &self.bytes[from..to],
            _ => &[],
        }
    }

    fn take(&mut self, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
        if i32::try_from(self.used).is_err() {
            return Err(ArrowError::OffsetOverflowError(self.used));
        }
        let empty = Self::with_capacity(self.len(), self.used + STEP);
        let mut full = std::mem::replace(self, empty);
        full.bytes.truncate(full.used);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(full.offsets));
        StringArray::try_new(offsets, Buffer::from_vec(full.bytes), nulls)
    }
}

/// Offsets saturate: `take` refuses a column above 2 GiB before it uses them.
#[inline]
fn offset(end: usize) -> i32 {
    i32::try_from(end).unwrap_or(i32::MAX)
}
