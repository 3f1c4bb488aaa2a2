//! From rows as they are stored to the column chunks of a row group.
//!
//! What repeats gets a dictionary (`coded`), the other values are written as they are. Bounds are those of the other data
//! files.

use std::ops::Range;
use std::{iter, mem};

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedRowGroupWriter;

use super::coded::Numbering;
use super::column::{Column, Nulls, Presence, Values, begin_of, bytes_of};
use super::ids::{Ids, unpack};
use super::kind::Bounds;
use super::plain::LENGTH;
use super::sink::{Codecs, Content, Sink};
use super::stretches::{PAGE_BYTES, gather_rows, page_sizes, pages, stretches};
use super::{Field, Kind, StoredRows, digits, hybrid};

/// Bytes of a text, with its length, that may repeat a part of the text before: zstd looks not much farther back.
pub(super) const MAX_REPEATED: usize = 1 << 10;

/// Bytes that a row takes in most chunks at most: an id.
const CHUNK_ROW_BYTES: usize = 20;

/// Writes all columns of some rows, in this order, and returns how many NaNs each field id has.
///
/// # Errors
/// Those of the encoder.
pub(crate) fn write_columns(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    rows: &StoredRows,
    order: &[u32],
) -> Result<Vec<(i32, u64)>, ParquetError> {
    let mut scratch = Scratch::new()?;
    // What is not used costs nothing.
    let (mut nan_counts, mut room) = (Vec::new(), Vec::with_capacity(order.len() * CHUNK_ROW_BYTES));
    let stretches = stretches(order);
    for (field, column) in rows.layout.fields.iter().zip(&rows.columns) {
        let num_nans = write_column(group, field, column, &stretches, &mut scratch, &mut room)?;
        if matches!(field.kind, Kind::Float | Kind::Double) {
            nan_counts.push((field.id, num_nans));
        }
    }
    Ok(nan_counts)
}

/// Writes these rows of a column as the next one of the group, and returns how many NaNs they have.
pub(super) fn write_column(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    field: &Field,
    column: &Column,
    stretches: &[Range<usize>],
    scratch: &mut Scratch,
    room: &mut Vec<u8>,
) -> Result<u64, ParquetError> {
    let chunk = Chunk {
        field,
        stretches,
        num_rows: stretches.iter().map(Range::len).sum(),
        presence: column.presence(),
        scratch,
        sink: Sink::new(field, mem::take(room)),
    };
    let written = chunk.write(column)?;
    group.append_column(&written.bytes, written.closed)?;
    // It was copied, so nobody else has it.
    *room = written.bytes.try_into_mut().map(Vec::from).unwrap_or_default();
    Ok(written.num_nans)
}

/// The bytes of each row, if all have as many.
fn one_width(ends: &[usize]) -> Option<usize> {
    let width = *ends.first()?;
    ends.iter().enumerate().all(|(row, end)| *end == (row + 1) * width).then_some(width)
}

/// Room that the chunks share, so that it is not taken anew for each.
pub(super) struct Scratch {
    pub(super) codecs: Codecs,
    pub(super) numbering: Numbering,
    /// Levels or numbers of one page.
    pub(super) packed: Vec<u32>,
    /// One page.
    pub(super) page: Vec<u8>,
    /// The ids of one page.
    pub(super) ids: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, ParquetError> {
        let (numbering, packed, page, ids) = Default::default();
        Ok(Self { codecs: Codecs::new()?, numbering, packed, page, ids })
    }
}

/// A chunk as it is appended to a row group.
struct Written {
    bytes: Bytes,
    closed: ColumnCloseResult,
    num_nans: u64,
}

/// A chunk in the making.
pub(super) struct Chunk<'a> {
    pub(super) field: &'a Field,
    pub(super) stretches: &'a [Range<usize>],
    pub(super) num_rows: usize,
    pub(super) presence: Presence,
    pub(super) scratch: &'a mut Scratch,
    pub(super) sink: Sink<'a>,
}

impl Chunk<'_> {
    fn write(mut self, column: &Column) -> Result<Written, ParquetError> {
        let (statistics, num_nans) = match &column.values {
            Values::Coded { codes, dictionary } => self.write_coded(codes, dictionary)?,
            Values::Numbers { values, nulls } => (self.write_numbers(values, nulls)?, 0),
            Values::Bytes { values, ends, nulls } => (self.write_bytes(values, ends, nulls)?, 0),
            Values::Ids(ids) => (self.write_ids(ids)?, 0),
        };
        let (bytes, closed) = self.sink.close(self.num_rows, statistics)?;
        Ok(Written { bytes, closed, num_nans })
    }

    fn write_numbers(&mut self, values: &[[u8; 8]], nulls: &Nulls) -> Result<Statistics, ParquetError> {
        let (mut least, mut greatest) = (i64::MAX, i64::MIN);
        let mut num_nulls = 0;
        for page in pages(self.stretches, iter::repeat(PAGE_BYTES / 8)) {
            let num_rows = page.iter().map(ExactSizeIterator::len).sum();
            let nulls_here =
                self.begin_page(num_rows, page.iter().cloned().flatten().map(|row| nulls.has(row)));
            num_nulls += nulls_here;
            let begin = self.scratch.page.len();
            if nulls_here == 0 {
                gather_rows(values.as_flattened(), &page, size_of::<i64>(), &mut self.scratch.page);
            } else {
                let present = page.into_iter().flatten().filter(|row| !nulls.has(*row));
                present.for_each(|row| self.scratch.page.extend_from_slice(&values[row]));
            }
            for value in self.scratch.page[begin..].as_chunks().0 {
                let number = i64::from_le_bytes(*value);
                (least, greatest) = (least.min(number), greatest.max(number));
            }
            self.end_page(num_rows, Content::Unique { begin, width: 8 })?;
        }
        let both = [least.to_le_bytes(), greatest.to_le_bytes()];
        let mut bounds = Bounds::new(self.field.kind);
        if num_nulls < self.num_rows as u64 {
            both.iter().for_each(|value| bounds.add(value));
        }
        Ok(bounds.statistics(num_nulls))
    }

    fn write_bytes(
        &mut self,
        values: &[u8],
        ends: &[usize],
        nulls: &Nulls,
    ) -> Result<Statistics, ParquetError> {
        if let Some(width) = one_width(ends).filter(|_| self.presence == Presence::All) {
            return self.write_bytes_of_width(values, width);
        }
        let mut bounds = Bounds::new(self.field.kind);
        let mut num_nulls = 0;
        let num_bytes = |row| ends[row] - begin_of(ends, row);
        let sizes = page_sizes(self.stretches.iter().cloned().flatten().map(num_bytes));
        for page in pages(self.stretches, sizes) {
            let num_rows = page.iter().map(ExactSizeIterator::len).sum();
            // A null has no bytes here, so a stretch can be taken as a whole.
            let rows = || page.iter().cloned().flatten();
            num_nulls += self.begin_page(num_rows, rows().map(|row| nulls.has(row)));
            let mut widths = rows().filter(|row| !nulls.has(*row)).map(num_bytes);
            let width =
                widths.next().filter(|width| *width <= MAX_REPEATED && widths.all(|other| other == *width));
            let begin = self.scratch.page.len();
            let content = width.map_or(Content::Values, |width| Content::Unique { begin, width });
            for stretch in &page {
                let whole = begin_of(ends, stretch.start)..begin_of(ends, stretch.end);
                self.scratch.page.extend_from_slice(&values[whole]);
                for row in stretch.clone().filter(|row| !nulls.has(*row)) {
                    bounds.add(bytes_of(values, ends, row));
                }
            }
            self.end_page(num_rows, content)?;
        }
        Ok(bounds.statistics(num_nulls))
    }

    /// As [`Chunk::write_bytes`], where every row has an id.
    fn write_ids(&mut self, ids: &Ids) -> Result<Statistics, ParquetError> {
        // They order as their digits do.
        let mut bounds = Bounds::new(self.field.kind);
        let mut some = Ids { num_digits: ids.num_digits, packed: mem::take(&mut self.scratch.ids) };
        for page in pages(self.stretches, iter::repeat(PAGE_BYTES / ids.width())) {
            let num_rows = page.iter().map(ExactSizeIterator::len).sum();
            self.begin_page(num_rows, iter::empty());
            some.packed.clear();
            gather_rows(&ids.packed, &page, ids.id_bytes(), &mut some.packed);
            let rows =
                page.iter().map(|rows| &ids.packed[rows.start * ids.id_bytes()..rows.end * ids.id_bytes()]);
            bounds.add_texts(rows.flat_map(|rows| rows.chunks_exact(ids.id_bytes())));
            let begin = self.scratch.page.len();
            match digits::compress(&self.scratch.page, &some) {
                Some(frame) => {
                    self.sink.packed_page(
                        num_rows,
                        Encoding::PLAIN,
                        frame.into(),
                        begin + num_rows * ids.width(),
                    )?;
                }
                None => {
                    some.put_texts(&mut self.scratch.page);
                    self.end_page(num_rows, Content::Unique { begin, width: ids.width() })?;
                }
            }
        }
        self.scratch.ids = some.packed;
        let digits = bounds.both().map(|both| {
            both.map(|packed| {
                let mut digits = vec![0; ids.num_digits];
                unpack(packed, &mut digits);
                digits
            })
        });
        let mut bounds = Bounds::new(self.field.kind);
        digits.iter().flatten().for_each(|digits| bounds.add(digits));
        Ok(bounds.statistics(0))
    }

    /// As [`Chunk::write_bytes`], where every row has a value of so many bytes, with its length: ids, mostly.
    fn write_bytes_of_width(&mut self, values: &[u8], width: usize) -> Result<Statistics, ParquetError> {
        let mut bounds = Bounds::new(self.field.kind);
        for page in pages(self.stretches, iter::repeat((PAGE_BYTES / width).max(1))) {
            let num_rows = page.iter().map(ExactSizeIterator::len).sum();
            self.begin_page(num_rows, iter::empty());
            let begin = self.scratch.page.len();
            gather_rows(values, &page, width, &mut self.scratch.page);
            let rows = page.iter().map(|stretch| &values[stretch.start * width..stretch.end * width]);
            bounds.add_texts(rows.flat_map(|rows| rows.chunks_exact(width)).map(|value| &value[LENGTH..]));
            let content = match width <= MAX_REPEATED {
                true => Content::Unique { begin, width },
                false => Content::Values,
            };
            self.end_page(num_rows, content)?;
        }
        Ok(bounds.statistics(0))
    }

    /// Begins a page with its definition levels; returns how many of its rows are null.
    pub(super) fn begin_page(&mut self, num_rows: usize, are_null: impl Iterator<Item = bool>) -> u64 {
        let Scratch { page, packed, .. } = &mut *self.scratch;
        page.clear();
        if self.field.descriptor.max_def_level() == 0 {
            return 0;
        }
        // The length of the levels comes before them.
        page.extend_from_slice(&[0; 4]);
        let mut num_nulls = 0;
        match self.presence {
            Presence::All => hybrid::put_repeated(1, num_rows, 1, page),
            Presence::None => {
                num_nulls = num_rows as u64;
                hybrid::put_repeated(0, num_rows, 1, page);
            }
            Presence::Some => {
                packed.clear();
                packed.extend(are_null.map(|is_null| u32::from(!is_null)));
                num_nulls = packed.iter().map(|level| u64::from(level ^ 1)).sum();
                hybrid::encode(packed, 1, page);
            }
        }
        let length = (page.len() - 4) as u32;
        page[..4].copy_from_slice(&length.to_le_bytes());
        num_nulls
    }

    pub(super) fn end_page(&mut self, num_rows: usize, content: Content) -> Result<(), ParquetError> {
        let Scratch { page, codecs, .. } = &mut *self.scratch;
        self.sink.page(num_rows, content, page, codecs)
    }
}
