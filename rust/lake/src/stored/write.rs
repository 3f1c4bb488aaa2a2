//! From rows as they are stored to the column chunks of a row group.
//!
//! Each chunk gets a dictionary of just the values that its rows have, in the order of their first use, unless that grows
//! beyond [`MAX_DICTIONARY`]; then its values are written as they are. Pages, bounds and compression are those of the
//! other data files of the table.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use zstd::bulk::Compressor;

use super::column::{Column, NULL, Nulls, Values, bytes_of};
use super::dictionary::Dictionary;
use super::kind::Bounds;
use super::{Field, Kind, StoredRows, hybrid};

/// Bytes of a dictionary page at most, as the parquet crate has it.
const MAX_DICTIONARY: usize = 1 << 20;
/// Rows of a data page at most, as the parquet crate has it.
const PAGE_ROWS: usize = 20_000;

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
    let mut nan_counts = Vec::new();
    for (field, column) in rows.layout.fields.iter().zip(&rows.columns) {
        let (chunk, closed, num_nans) = Chunk::write(field, column, order, &mut scratch)?;
        if matches!(field.kind, Kind::Float | Kind::Double) {
            nan_counts.push((field.id, num_nans));
        }
        group.append_column(&chunk, closed)?;
    }
    Ok(nan_counts)
}

/// Not in the chunk's dictionary yet.
const UNUSED: u32 = u32::MAX;
/// In the place of a null.
const ABSENT: u32 = u32::MAX - 1;

/// Room that the chunks share, so that it is not taken anew for each.
struct Scratch {
    compressor: Compressor<'static>,
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
    fn new() -> Result<Self, ParquetError> {
        let compressor = Compressor::new(ZstdLevel::default().compression_level())?;
        let (numbers, used, coded, packed, page) = Default::default();
        Ok(Self { compressor, numbers, used, coded, packed, page })
    }

    /// Writes the rows as numbers in the smallest dictionary, and returns the bytes of that in PLAIN encoding.
    fn code(&mut self, codes: &[u32], dictionary: &Dictionary, order: &[u32]) -> usize {
        self.numbers.clear();
        self.numbers.resize(dictionary.len() + 1, UNUSED);
        self.numbers[NULL as usize] = ABSENT;
        self.used.clear();
        self.coded.clear();
        self.coded.reserve(order.len());
        let mut num_bytes = 0;
        for row in order {
            let code = codes[*row as usize];
            let number = &mut self.numbers[code as usize];
            if *number == UNUSED {
                *number = self.used.len() as u32;
                self.used.push(code - 1);
                num_bytes += dictionary.value(code - 1).len() + size_of::<u32>();
            }
            self.coded.push(*number);
        }
        num_bytes
    }
}

/// A chunk in the making.
struct Chunk<'a> {
    field: &'a Field,
    order: &'a [u32],
    sink: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    dictionary_offset: Option<i64>,
    data_offset: i64,
    statistics: Statistics,
    num_nans: u64,
    pages: Vec<PageEncodingStats>,
}

impl<'a> Chunk<'a> {
    fn write(
        field: &'a Field,
        column: &'a Column,
        order: &'a [u32],
        scratch: &mut Scratch,
    ) -> Result<(Bytes, ColumnCloseResult, u64), ParquetError> {
        let mut chunk = Self {
            field,
            order,
            sink: TrackedWrite::new(Vec::new()),
            uncompressed: 0,
            dictionary_offset: None,
            data_offset: 0,
            statistics: Bounds::new(field.kind).statistics(0),
            num_nans: 0,
            pages: Vec::new(),
        };
        match &column.values {
            Values::Coded { codes, dictionary } => {
                chunk.write_coded(column.has_nulls, codes, dictionary, scratch)?;
            }
            Values::Numbers { values, nulls } => chunk.write_numbers(values, nulls, scratch)?,
            Values::Bytes { values, ends, nulls } => chunk.write_bytes(values, ends, nulls, scratch)?,
        }
        chunk.close()
    }

    fn write_coded(
        &mut self,
        has_nulls: bool,
        codes: &[u32],
        dictionary: &Dictionary,
        scratch: &mut Scratch,
    ) -> Result<(), ParquetError> {
        let num_bytes = scratch.code(codes, dictionary, self.order);
        let coded = mem::take(&mut scratch.coded);
        let used = mem::take(&mut scratch.used);
        let value = |number: &u32| dictionary.value(used[*number as usize]);
        let count = |wanted: &dyn Fn(&u32) -> bool| coded.iter().filter(|number| wanted(number)).count() as u64;
        let num_nulls = if has_nulls { count(&|number| *number == ABSENT) } else { 0 };
        let mut bounds = Bounds::new(self.field.kind);
        used.iter().for_each(|number| bounds.add(dictionary.value(*number)));
        self.statistics = bounds.statistics(num_nulls);
        if used.iter().any(|number| self.field.kind.is_nan(dictionary.value(*number))) {
            self.num_nans = count(&|number| *number != ABSENT && self.field.kind.is_nan(value(number)));
        }
        let is_plain = self.field.kind == Kind::Bool || num_bytes > MAX_DICTIONARY || used.is_empty();
        let encoding = if is_plain { Encoding::PLAIN } else { Encoding::RLE_DICTIONARY };
        let width = hybrid::width_of((used.len() as u32).saturating_sub(1));
        if !is_plain {
            scratch.page.clear();
            used.iter().for_each(|number| put_plain(self.field.kind, dictionary.value(*number), &mut scratch.page));
            self.write_dictionary(used.len(), scratch)?;
        }
        for rows in coded.chunks(PAGE_ROWS) {
            self.begin_page(rows.len(), scratch, |row| num_nulls > 0 && rows[row] == ABSENT);
            let present = || rows.iter().filter(|number| **number != ABSENT);
            if self.field.kind == Kind::Bool {
                put_bits(present().map(|number| value(number) == [1]), &mut scratch.page);
            } else if is_plain {
                present().for_each(|number| put_plain(self.field.kind, value(number), &mut scratch.page));
            } else {
                scratch.page.push(width as u8);
                if num_nulls > 0 {
                    scratch.packed.clear();
                    scratch.packed.extend(present());
                    hybrid::encode(&scratch.packed, width, &mut scratch.page);
                } else {
                    hybrid::encode(rows, width, &mut scratch.page);
                }
            }
            self.end_page(rows.len(), encoding, scratch)?;
        }
        (scratch.coded, scratch.used) = (coded, used);
        Ok(())
    }

    fn write_numbers(
        &mut self,
        values: &[[u8; 8]],
        nulls: &Nulls,
        scratch: &mut Scratch,
    ) -> Result<(), ParquetError> {
        let mut bounds = Bounds::new(self.field.kind);
        let mut num_nulls = 0;
        for rows in self.order.chunks(PAGE_ROWS) {
            let is_null = |row: usize| nulls.has(rows[row] as usize);
            num_nulls += self.begin_page(rows.len(), scratch, is_null);
            for row in rows.iter().map(|row| *row as usize).filter(|row| !nulls.has(*row)) {
                bounds.add(&values[row]);
                scratch.page.extend_from_slice(&values[row]);
            }
            self.end_page(rows.len(), Encoding::PLAIN, scratch)?;
        }
        self.statistics = bounds.statistics(num_nulls);
        Ok(())
    }

    fn write_bytes(
        &mut self,
        values: &[u8],
        ends: &[usize],
        nulls: &Nulls,
        scratch: &mut Scratch,
    ) -> Result<(), ParquetError> {
        let mut bounds = Bounds::new(self.field.kind);
        let mut num_nulls = 0;
        for rows in self.order.chunks(PAGE_ROWS) {
            let is_null = |row: usize| nulls.has(rows[row] as usize);
            num_nulls += self.begin_page(rows.len(), scratch, is_null);
            for row in rows.iter().map(|row| *row as usize).filter(|row| !nulls.has(*row)) {
                let value = bytes_of(values, ends, row);
                bounds.add(value);
                put_plain(self.field.kind, value, &mut scratch.page);
            }
            self.end_page(rows.len(), Encoding::PLAIN, scratch)?;
        }
        self.statistics = bounds.statistics(num_nulls);
        Ok(())
    }

    /// Begins a page with its definition levels; returns how many of its rows are null.
    fn begin_page(&self, num_rows: usize, scratch: &mut Scratch, is_null: impl Fn(usize) -> bool) -> u64 {
        scratch.page.clear();
        if self.field.descriptor.max_def_level() == 0 {
            return 0;
        }
        scratch.packed.clear();
        scratch.packed.extend((0..num_rows).map(|row| u32::from(!is_null(row))));
        scratch.page.extend_from_slice(&[0; 4]);
        hybrid::encode(&scratch.packed, 1, &mut scratch.page);
        let length = (scratch.page.len() - 4) as u32;
        scratch.page[..4].copy_from_slice(&length.to_le_bytes());
        num_rows as u64 - scratch.packed.iter().map(|level| u64::from(*level)).sum::<u64>()
    }

    fn end_page(&mut self, num_rows: usize, encoding: Encoding, scratch: &mut Scratch) -> Result<(), ParquetError> {
        if self.pages.iter().all(|stats| stats.page_type != PageType::DATA_PAGE) {
            self.data_offset = self.sink.bytes_written() as i64;
        }
        let buf = Bytes::from(scratch.compressor.compress(&scratch.page)?);
        let page = Page::DataPage {
            buf,
            num_values: num_rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.write_page(page, scratch.page.len())
    }

    fn write_dictionary(&mut self, num_values: usize, scratch: &mut Scratch) -> Result<(), ParquetError> {
        self.dictionary_offset = Some(self.sink.bytes_written() as i64);
        let buf = Bytes::from(scratch.compressor.compress(&scratch.page)?);
        let (num_values, encoding) = (num_values as u32, Encoding::PLAIN);
        let page = Page::DictionaryPage { buf, num_values, encoding, is_sorted: false };
        self.write_page(page, scratch.page.len())
    }

    fn write_page(&mut self, page: Page, num_bytes: usize) -> Result<(), ParquetError> {
        let (page_type, encoding) = (page.page_type(), page.encoding());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, num_bytes))?;
        self.uncompressed += written.uncompressed_size;
        match self.pages.last_mut().filter(|last| last.page_type == page_type && last.encoding == encoding) {
            Some(last) => last.count += 1,
            None => self.pages.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
        Ok(())
    }

    fn close(self) -> Result<(Bytes, ColumnCloseResult, u64), ParquetError> {
        let bytes = Bytes::from(self.sink.into_inner()?);
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        if self.dictionary_offset.is_some() {
            encodings.push(Encoding::RLE_DICTIONARY);
        }
        let metadata = ColumnChunkMetaData::builder(Arc::clone(&self.field.descriptor))
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings(encodings)
            .set_page_encoding_stats(self.pages)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.order.len() as i64)
            .set_dictionary_page_offset(self.dictionary_offset)
            .set_data_page_offset(self.data_offset)
            .set_statistics(self.statistics)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.order.len() as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((bytes, closed, self.num_nans))
    }
}

/// Appends a value in PLAIN encoding, of any kind but truths.
#[inline]
fn put_plain(kind: Kind, value: &[u8], out: &mut Vec<u8>) {
    if kind.width().is_none() {
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(value);
}

/// Appends truths in PLAIN encoding: a bit each, the lowest first.
fn put_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    for (number, bit) in bits.enumerate() {
        if number % 8 == 0 {
            out.push(0);
        }
        if let Some(last) = out.last_mut().filter(|_| bit) {
            *last |= 1 << (number % 8);
        }
    }
}
