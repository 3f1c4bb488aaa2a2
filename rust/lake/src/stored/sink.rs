//! The pages of one column chunk: compressed, with headers, and what the footer says of them.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::frame::Frame;
use super::repeats::Repeats;
use super::{Field, digits, numbers};

/// What a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Values as they are.
    Values,
    /// Values as they are, `width` bytes each, that hardly repeat: numbers, ids. The first begins at `begin`.
    Unique { begin: usize, width: usize },
    /// Numbers of so many bits in the chunk's dictionary.
    Codes { width: u32 },
    /// The same as runs, in which hardly a byte repeats.
    Runs,
}

/// zstd at the level of the other data files, told what it need not look for.
pub(super) struct Codecs {
    /// Text, and codes of whole bytes.
    usual: Compressor<'static>,
    /// Bits that do not keep to bytes: no byte is more frequent than others. A million of them 25 ms instead of 45, for 1 %
    /// more bytes.
    codes: Compressor<'static>,
    /// Values of which only a part repeats.
    unique: Repeats,
}

impl Codecs {
    pub(super) fn new() -> Result<Self, ParquetError> {
        let new = || Compressor::new(ZstdLevel::default().compression_level());
        let (usual, mut codes) = (new()?, new()?);
        codes.set_parameter(CParameter::TargetLength(1))?;
        Ok(Self { usual, codes, unique: Repeats::new()? })
    }

    fn compress(&mut self, content: Content, page: &[u8]) -> Result<Bytes, ParquetError> {
        Ok(Bytes::from(match content {
            Content::Unique { begin, width } => {
                let known = match width {
                    8 => numbers::compress(page, begin),
                    _ => digits::compress_texts(page, begin, width),
                };
                known.map_or_else(|| self.unique.compress(page, begin, width), Ok)?
            }
            Content::Runs => match Frame::new(page.len()) {
                Some(mut frame) => {
                    frame.raw(page);
                    frame.finish()
                }
                None => self.usual.compress(page)?,
            },
            Content::Codes { width } if width > u8::BITS => self.codes.compress(page)?,
            Content::Codes { .. } | Content::Values => self.usual.compress(page)?,
        }))
    }
}

/// A chunk's bytes.
pub(super) struct Sink<'a> {
    field: &'a Field,
    bytes: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    dictionary_offset: Option<i64>,
    data_offset: Option<i64>,
    pages: Vec<PageEncodingStats>,
}

impl<'a> Sink<'a> {
    /// An empty chunk, in this room.
    pub(super) fn new(field: &'a Field, mut room: Vec<u8>) -> Self {
        room.clear();
        let bytes = TrackedWrite::new(room);
        let (dictionary_offset, data_offset, pages) = Default::default();
        Self { field, bytes, uncompressed: 0, dictionary_offset, data_offset, pages }
    }

    /// Writes the dictionary page, which comes first.
    pub(super) fn dictionary(
        &mut self,
        num_values: usize,
        content: Content,
        page: &[u8],
        codecs: &mut Codecs,
    ) -> Result<(), ParquetError> {
        self.dictionary_offset = Some(self.bytes.bytes_written() as i64);
        let buf = codecs.compress(content, page)?;
        let (num_values, encoding) = (num_values as u32, Encoding::PLAIN);
        self.write(Page::DictionaryPage { buf, num_values, encoding, is_sorted: false }, page.len())
    }

    /// Writes a data page: levels and values.
    pub(super) fn page(
        &mut self,
        num_rows: usize,
        content: Content,
        page: &[u8],
        codecs: &mut Codecs,
    ) -> Result<(), ParquetError> {
        let encoding = match content {
            Content::Codes { .. } | Content::Runs => Encoding::RLE_DICTIONARY,
            Content::Values | Content::Unique { .. } => Encoding::PLAIN,
        };
        self.packed_page(num_rows, encoding, codecs.compress(content, page)?, page.len())
    }

    /// Writes a data page that is compressed already, and has so many bytes without that.
    pub(super) fn packed_page(
        &mut self,
        num_rows: usize,
        encoding: Encoding,
        frame: Bytes,
        num_bytes: usize,
    ) -> Result<(), ParquetError> {
        self.data_offset.get_or_insert(self.bytes.bytes_written() as i64);
        let data = Page::DataPage {
            buf: frame,
            num_values: num_rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.write(data, num_bytes)
    }

    fn write(&mut self, page: Page, num_bytes: usize) -> Result<(), ParquetError> {
        let (page_type, encoding) = (page.page_type(), page.encoding());
        let page = CompressedPage::new(page, num_bytes);
        let written = SerializedPageWriter::new(&mut self.bytes).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        match self.pages.last_mut().filter(|last| last.page_type == page_type && last.encoding == encoding) {
            Some(last) => last.count += 1,
            None => self.pages.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
        Ok(())
    }

    /// The chunk, for `SerializedRowGroupWriter::append_column`.
    pub(super) fn close(
        self,
        num_rows: usize,
        statistics: Statistics,
    ) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
        let bytes = Bytes::from(self.bytes.into_inner()?);
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        encodings.extend(self.dictionary_offset.map(|_| Encoding::RLE_DICTIONARY));
        let metadata = ColumnChunkMetaData::builder(Arc::clone(&self.field.descriptor))
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings(encodings)
            .set_page_encoding_stats(self.pages)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(num_rows as i64)
            .set_dictionary_page_offset(self.dictionary_offset)
            .set_data_page_offset(self.data_offset.unwrap_or_default())
            .set_statistics(statistics)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: num_rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((bytes, closed))
    }
}
