//! From rows as they are stored to the column chunks of a row group.
//!
//! Each chunk gets a dictionary of just the values that its rows have, in the order of their first use, unless that grows
//! beyond [`MAX_DICTIONARY`]; then its values are written as they are. Bounds are those of the other data files.

use std::ops::Range;
use std::{iter, mem, slice};

use bytes::Bytes;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedRowGroupWriter;

use super::column::{Column, NULL, Nulls, Presence, Values, begin_of, bytes_of};
use super::dictionary::Dictionary;
use super::kind::Bounds;
use super::sink::{Codecs, Content, Sink};
use super::stretches::{PAGE_BYTES, gather, gather_rows, page_sizes, pages, stretches};
use super::{Field, Kind, StoredRows, hybrid, plain};

/// Bytes of a dictionary page at most, as the parquet crate has it.
const MAX_DICTIONARY: usize = 1 << 20;
/// Bytes of a text, with its length, that may repeat a part of the text before: zstd looks not much farther back.
const MAX_REPEATED: usize = 1 << 10;
/// Not in the chunk's dictionary yet.
const UNUSED: u32 = u32::MAX;
/// In the place of a null.
const ABSENT: u32 = u32::MAX - 1;

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
    let (mut nan_counts, mut room) = (Vec::new(), Vec::new());
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
    codecs: Codecs,
    /// By code: the number in the chunk's dictionary, [`UNUSED`] or [`ABSENT`].
    numbers: Vec<u32>,
    /// The chunk's dictionary: numbers in the column's.
    used: Vec<u32>,
    /// The rows as numbers in the chunk's dictionary, or [`ABSENT`].
    coded: Vec<u32>,
    /// Levels or numbers of one page.
    packed: Vec<u32>,
    /// One page.
    page: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, ParquetError> {
        let (numbers, used, coded, packed, page) = Default::default();
        Ok(Self { codecs: Codecs::new()?, numbers, used, coded, packed, page })
    }

    /// Makes `used` and `coded`, and returns the bytes of the chunk's dictionary in PLAIN encoding.
    fn code(
        &mut self,
        codes: &[u32],
        dictionary: &Dictionary,
        rows: &[Range<usize>],
        num_rows: usize,
    ) -> usize {
        let Self { numbers, used, coded, .. } = self;
        numbers.clear();
        numbers.resize(dictionary.len() + 1, UNUSED);
        numbers[NULL as usize] = ABSENT;
        used.clear();
        coded.clear();
        gather::<u32, 8>(codes, rows.iter().cloned(), num_rows, coded);
        renumber(coded, numbers, used);
        used.iter().map(|number| dictionary.value(*number).len() + size_of::<u32>()).sum()
    }
}

/// Replaces codes by numbers in the order of their first use.
///
/// A function of its own: inside a larger one it has no registers left, and takes twice as long.
#[inline(never)]
fn renumber(coded: &mut [u32], numbers: &mut [u32], used: &mut Vec<u32>) {
    for code in coded {
        let number = &mut numbers[*code as usize];
        if *number == UNUSED {
            *number = used.len() as u32;
            used.push(*code - 1);
        }
        *code = *number;
    }
}

/// A chunk as it is appended to a row group.
struct Written {
    bytes: Bytes,
    closed: ColumnCloseResult,
    num_nans: u64,
}

/// A chunk in the making.
struct Chunk<'a> {
    field: &'a Field,
    stretches: &'a [Range<usize>],
    num_rows: usize,
    presence: Presence,
    scratch: &'a mut Scratch,
    sink: Sink<'a>,
}

impl Chunk<'_> {
    fn write(mut self, column: &Column) -> Result<Written, ParquetError> {
        let (statistics, num_nans) = match &column.values {
            Values::Coded { codes, dictionary } => self.write_coded(codes, dictionary)?,
            Values::Numbers { values, nulls } => (self.write_numbers(values, nulls)?, 0),
            Values::Bytes { values, ends, nulls } => (self.write_bytes(values, ends, nulls)?, 0),
        };
        let (bytes, closed) = self.sink.close(self.num_rows, statistics)?;
        Ok(Written { bytes, closed, num_nans })
    }

    fn write_coded(
        &mut self,
        codes: &[u32],
        dictionary: &Dictionary,
    ) -> Result<(Statistics, u64), ParquetError> {
        let (kind, scratch) = (self.field.kind, &mut *self.scratch);
        match self.presence {
            Presence::None => return self.write_same(None),
            Presence::All if dictionary.len() == 1 && kind != Kind::Bool => {
                return self.write_same(Some(dictionary.value(0)));
            }
            _ => {}
        }
        let num_bytes = scratch.code(codes, dictionary, self.stretches, self.num_rows);
        let (coded, used) = (mem::take(&mut scratch.coded), mem::take(&mut scratch.used));
        let value = |number: &u32| dictionary.value(used[*number as usize]);
        let is_plain = kind == Kind::Bool || num_bytes > MAX_DICTIONARY || used.is_empty();
        let width = hybrid::width_of((used.len() as u32).saturating_sub(1));
        if !is_plain {
            scratch.page.clear();
            used.iter().for_each(|number| plain::put(kind, dictionary.value(*number), &mut scratch.page));
            let content = match kind.width() {
                Some(8) => Content::Unique { begin: 0, width: 8 },
                _ => Content::Values,
            };
            self.sink.dictionary(used.len(), content, &scratch.page, &mut scratch.codecs)?;
        }
        let num_bytes = |number: &u32| match *number {
            ABSENT => 0,
            _ => value(number).len() + size_of::<u32>(),
        };
        let all = 0..coded.len();
        let whole = slice::from_ref(&all);
        let pages = match is_plain {
            true => pages(whole, page_sizes(coded.iter().map(num_bytes))),
            false => pages(whole, iter::repeat(8 * PAGE_BYTES / width.max(1) as usize)),
        };
        let mut num_nulls = 0;
        for rows in pages.into_iter().flatten().map(|rows| &coded[rows]) {
            let nulls = self.begin_page(rows.len(), rows.iter().map(|number| *number == ABSENT));
            num_nulls += nulls;
            let scratch = &mut *self.scratch;
            let present = || rows.iter().filter(|number| **number != ABSENT);
            let content = if is_plain { Content::Values } else { Content::Codes { width } };
            if kind == Kind::Bool {
                plain::put_bits(present().map(|number| value(number) == [1]), &mut scratch.page);
            } else if is_plain {
                present().for_each(|number| plain::put(kind, value(number), &mut scratch.page));
            } else {
                scratch.page.push(width as u8);
                if nulls > 0 {
                    scratch.packed.clear();
                    scratch.packed.extend(present());
                    hybrid::encode(&scratch.packed, width, &mut scratch.page);
                } else {
                    hybrid::encode(rows, width, &mut scratch.page);
                }
            }
            self.end_page(rows.len(), content)?;
        }
        let mut bounds = Bounds::new(kind);
        used.iter().for_each(|number| bounds.add(dictionary.value(*number)));
        let is_nan = |number: &&u32| **number != ABSENT && kind.is_nan(value(number));
        let has_nans = used.iter().any(|number| kind.is_nan(dictionary.value(*number)));
        let num_nans = if has_nans { coded.iter().filter(is_nan).count() as u64 } else { 0 };
        let statistics = bounds.statistics(num_nulls);
        (self.scratch.coded, self.scratch.used) = (coded, used);
        Ok((statistics, num_nans))
    }

    /// As [`Chunk::write_coded`], where every row has this value, or none has one.
    fn write_same(&mut self, value: Option<&[u8]>) -> Result<(Statistics, u64), ParquetError> {
        let (kind, scratch) = (self.field.kind, &mut *self.scratch);
        if let Some(value) = value {
            scratch.page.clear();
            plain::put(kind, value, &mut scratch.page);
            self.sink.dictionary(1, Content::Values, &scratch.page, &mut scratch.codecs)?;
        }
        let num_nulls = self.begin_page(self.num_rows, iter::empty());
        let mut content = Content::Values;
        let mut bounds = Bounds::new(kind);
        if let Some(value) = value {
            content = Content::Codes { width: 0 };
            self.scratch.page.push(0);
            hybrid::put_repeated(0, self.num_rows, 0, &mut self.scratch.page);
            bounds.add(value);
        }
        self.end_page(self.num_rows, content)?;
        let is_nan = value.is_some_and(|value| kind.is_nan(value));
        Ok((bounds.statistics(num_nulls), if is_nan { self.num_rows as u64 } else { 0 }))
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

    /// As [`Chunk::write_bytes`], where every row has a value of so many bytes, with its length: ids, mostly.
    fn write_bytes_of_width(&mut self, values: &[u8], width: usize) -> Result<Statistics, ParquetError> {
        let mut bounds = Bounds::new(self.field.kind);
        for page in pages(self.stretches, iter::repeat((PAGE_BYTES / width).max(1))) {
            let num_rows = page.iter().map(ExactSizeIterator::len).sum();
            self.begin_page(num_rows, iter::empty());
            let begin = self.scratch.page.len();
            gather_rows(values, &page, width, &mut self.scratch.page);
            let rows = page.into_iter().map(|stretch| &values[stretch.start * width..stretch.end * width]);
            for value in rows.flat_map(|rows| rows.chunks_exact(width)) {
                bounds.add(&value[size_of::<u32>()..]);
            }
            let content = match width <= MAX_REPEATED {
                true => Content::Unique { begin, width },
                false => Content::Values,
            };
            self.end_page(num_rows, content)?;
        }
        Ok(bounds.statistics(0))
    }

    /// Begins a page with its definition levels; returns how many of its rows are null.
    fn begin_page(&mut self, num_rows: usize, are_null: impl Iterator<Item = bool>) -> u64 {
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

    fn end_page(&mut self, num_rows: usize, content: Content) -> Result<(), ParquetError> {
        let Scratch { page, codecs, .. } = &mut *self.scratch;
        self.sink.page(num_rows, content, page, codecs)
    }
}
