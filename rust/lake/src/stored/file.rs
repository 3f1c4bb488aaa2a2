//! Reads row groups of data files as they are stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join_all};
use iceberg::io::FileRead;
use iceberg::spec::{DataFile, DataFileFormat};
use iceberg::{Error, ErrorKind};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};

use super::unpacker::Unpacker;
use super::{Field, StoredLayout, StoredRows, pages};
use crate::catalog::LoadedTable;
use crate::read::ReadError;

/// A file up to this size is fetched at once: one request instead of three.
const WHOLE_BYTES: u64 = 8 << 20;
/// The same where only some of its columns are wanted.
const SOME_WHOLE_BYTES: u64 = 1 << 20;
/// Columns that lie closer together than this are fetched together.
const NEAR_BYTES: u64 = 256 << 10;
/// Of a larger file, so much of the end is fetched first: the footer, in nearly all cases.
const END_BYTES: u64 = 64 << 10;

/// A data file whose row groups can be moved without being read.
pub struct StoredFile {
    table: String,
    path: String,
    /// By column of the table: its place in the file; `None`: the file was written before the column was added.
    places: Vec<Option<usize>>,
    metadata: Arc<ParquetMetaData>,
    source: Source,
}

impl std::fmt::Debug for StoredFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StoredFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A file's bytes, the end of which is there already.
struct Source {
    reader: Box<dyn FileRead>,
    end: Chunk,
}

/// Bytes from a place in a file on.
#[derive(Clone, Debug)]
struct Chunk {
    offset: u64,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn slice(&self, range: &Range<u64>) -> Option<Bytes> {
        let begin = usize::try_from(range.start.checked_sub(self.offset)?).ok()?;
        let end = usize::try_from(range.end.checked_sub(self.offset)?).ok()?;
        (begin <= end && end <= self.bytes.len()).then(|| self.bytes.slice(begin..end))
    }
}

/// Places of a file that were fetched.
struct Chunks(Vec<Chunk>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.iter().map(Chunk::end).max().unwrap_or_default()
    }
}

impl ChunkReader for Chunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let bytes = self.0.iter().find_map(|chunk| chunk.slice(&(start..chunk.end())));
        bytes.map(Bytes::reader).ok_or_else(|| ParquetError::EOF(format!("no byte at {start}")))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let range = start..start.saturating_add(length as u64);
        let bytes = self.0.iter().find_map(|chunk| chunk.slice(&range));
        bytes.ok_or_else(|| ParquetError::EOF(format!("no {length} bytes at {start}")))
    }
}

/// Joins ranges that overlap or lie near each other.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(NEAR_BYTES) => {
                last.end = last.end.max(range.end)
            }
            _ => joined.push(range),
        }
    }
    joined
}

impl Source {
    async fn range(&self, range: Range<u64>) -> iceberg::Result<Chunk> {
        let offset = range.start;
        let bytes = match self.end.slice(&range) {
            Some(bytes) => bytes,
            None => self.reader.read(range).await?,
        };
        Ok(Chunk { offset, bytes })
    }
}

impl MetadataFetch for &Source {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let source = *self;
        async move {
            let chunk = source.range(range).await;
            chunk.map(|chunk| chunk.bytes).map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }
}

impl StoredFile {
    /// Opens a file; `None` if its rows must be read as values: another type than the table's, or another encoding.
    ///
    /// # Errors
    /// A file that is not there, or is no Parquet.
    pub async fn open(
        table: &LoadedTable,
        layout: &StoredLayout,
        file: &DataFile,
    ) -> Result<Option<Self>, ReadError> {
        if file.file_format() != DataFileFormat::Parquet {
            return Ok(None);
        }
        let opened = open_source(table, layout, file).await;
        let (source, metadata) = opened.map_err(|source| table.unreadable(source))?;
        let Some(places) = places(layout, &metadata) else { return Ok(None) };
        let (name, path) = (table.name.clone(), file.file_path().to_owned());
        Ok(Some(Self { table: name, path, places, metadata: Arc::new(metadata), source }))
    }

    /// How many row groups there are.
    pub fn num_row_groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// How many rows the largest row group has.
    pub fn most_rows(&self) -> usize {
        let rows = self.metadata.row_groups().iter().map(|group| group.num_rows());
        usize::try_from(rows.max().unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// Appends the rows of a row group, and returns all rows.
    ///
    /// # Errors
    /// Bytes that cannot be fetched, or are damaged. The rows are lost then.
    pub async fn read(&self, number: usize, mut rows: StoredRows) -> Result<StoredRows, ReadError> {
        let group = self.metadata.row_group(number);
        let ranges = self.places.iter().flatten().map(|place| {
            let (begin, length) = group.column(*place).byte_range();
            begin..begin.saturating_add(length)
        });
        let fetched = joined(ranges.collect()).into_iter().map(|range| self.source.range(range));
        let fetched = try_join_all(fetched).await.map_err(|source| self.unreadable(source))?;
        let chunks = Arc::new(Chunks(fetched));
        let (metadata, places) = (Arc::clone(&self.metadata), self.places.clone());
        let work = move || append(&mut rows, metadata.row_group(number), &places, &chunks).map(|()| rows);
        let appended = tokio::task::spawn_blocking(work).await;
        let appended = appended.unwrap_or_else(|error| Err(ParquetError::External(Box::new(error))));
        appended.map_err(|source| {
            let message = format!("`{}` is damaged in row group {number}", self.path);
            self.unreadable(Error::new(ErrorKind::DataInvalid, message).with_source(source))
        })
    }

    fn unreadable(&self, source: Error) -> ReadError {
        ReadError { table: self.table.clone(), source: Box::new(source) }
    }
}

async fn open_source(
    table: &LoadedTable,
    layout: &StoredLayout,
    file: &DataFile,
) -> iceberg::Result<(Source, ParquetMetaData)> {
    let size = file.file_size_in_bytes();
    let reader = table.file_io.new_input(file.file_path())?.reader().await?;
    let whole = if layout.is_whole { WHOLE_BYTES } else { SOME_WHOLE_BYTES };
    let offset = if size <= whole { 0 } else { size - END_BYTES };
    let bytes = reader.read(offset..size).await?;
    let source = Source { reader, end: Chunk { offset, bytes } };
    let metadata = ParquetMetaDataReader::new().load_and_finish(&source, size).await.map_err(|error| {
        Error::new(ErrorKind::DataInvalid, format!("`{}` has no Parquet footer", file.file_path()))
            .with_source(error)
    })?;
    let counted: i64 = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).sum();
    if u64::try_from(counted) != Ok(file.record_count()) {
        let (path, expected) = (file.file_path(), file.record_count());
        let message = format!("`{path}` has {counted} rows by its footer, and {expected} by the table");
        return Err(Error::new(ErrorKind::DataInvalid, message));
    }
    Ok((source, metadata))
}

/// Where the table's columns are in a file; `None` if one of them cannot be taken as it is.
fn places(layout: &StoredLayout, metadata: &ParquetMetaData) -> Option<Vec<Option<usize>>> {
    let columns = metadata.file_metadata().schema_descr().columns();
    if columns.iter().any(|column| !column.self_type().get_basic_info().has_id()) {
        return None;
    }
    let place = |field: &Field| {
        let wanted = &field.descriptor;
        let Some(place) =
            columns.iter().position(|column| column.self_type().get_basic_info().id() == field.id)
        else {
            return (wanted.max_def_level() > 0).then_some(None);
        };
        let found = &columns[place];
        let fits = found.physical_type() == wanted.physical_type()
            && found.logical_type_ref() == wanted.logical_type_ref()
            && found.max_rep_level() == 0
            && found.max_def_level() <= wanted.max_def_level()
            && metadata.row_groups().iter().all(|group| is_plain_or_coded(group.column(place)));
        fits.then_some(Some(place))
    };
    layout.fields.iter().map(place).collect()
}

fn is_plain_or_coded(chunk: &ColumnChunkMetaData) -> bool {
    let known = |encoding: Encoding| {
        matches!(
            encoding,
            Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY | Encoding::RLE
        )
    };
    chunk.encodings().all(known)
}

fn append(
    rows: &mut StoredRows,
    group: &RowGroupMetaData,
    places: &[Option<usize>],
    bytes: &Arc<Chunks>,
) -> Result<(), ParquetError> {
    let num_rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
    let total = rows.num_rows.saturating_add(num_rows);
    if total > StoredRows::MAX_ROWS {
        return Err(ParquetError::General(format!("{total} rows are too many at once")));
    }
    let mut unpacker = Unpacker::new()?;
    for ((column, field), place) in rows.columns.iter_mut().zip(rows.layout.fields.iter()).zip(places) {
        let Some(place) = *place else {
            column.push_nulls(num_rows);
            continue;
        };
        let chunk = group.column(place);
        pages::append(column, field, bytes, chunk, num_rows, &mut unpacker).map_err(|error| {
            ParquetError::General(format!("column `{}`: {error}", field.descriptor.name()))
        })?;
    }
    rows.num_rows = total;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_near_is_fetched_together_and_what_lies_far_is_not() {
        let far = NEAR_BYTES + 1;
        let ranges = vec![100 + 2 * far..200 + 2 * far, 50..100, 0..60, 100 + far..120 + far];
        assert_eq!(joined(ranges), [0..100, 100 + far..200 + 2 * far]);
        assert_eq!(joined(Vec::new()), []);
    }

    #[test]
    fn bytes_are_found_wherever_they_were_fetched() {
        let chunk = |offset, bytes: &'static [u8]| Chunk { offset, bytes: Bytes::from_static(bytes) };
        let chunks = Chunks(vec![chunk(10, b"abc"), chunk(20, b"def")]);
        assert_eq!(chunks.get_bytes(21, 2).unwrap(), "ef");
        assert_eq!(chunks.get_bytes(10, 3).unwrap(), "abc");
        assert_eq!(chunks.get_read(11).unwrap().into_inner(), "bc");
        assert!(chunks.get_bytes(12, 2).is_err());
        assert!(chunks.get_bytes(22, usize::MAX).is_err());
        assert!(chunks.get_read(15).is_err());
    }
}
