//! From the pages of a column chunk to a [`Column`].

use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageReader as _};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::column::{Column, Values};
use super::hybrid::{self, Run};
use super::ids::Ids;
use super::unpacker::{Unpacker, damaged};
use super::{Field, Kind, digits, plain};

/// Rows that are appended at once.
const SHORT: usize = 16;

/// In the place of a code that is not in the dictionary.
const UNKNOWN: u32 = u32::MAX;

/// The values of a dictionary page.
enum Known {
    /// Codes in the column's own dictionary.
    Codes(Vec<u32>),
    /// Bytes: the column has no dictionary, but this file had one for it.
    Values(Vec<Vec<u8>>),
}

/// The parts of a data page.
struct Parts<'a> {
    num_rows: usize,
    /// Runs of rows that have a value, or have none.
    presence: Vec<(bool, usize)>,
    encoding: Encoding,
    values: &'a [u8],
}

/// Appends the rows of a chunk, as many as its row group has.
///
/// # Errors
/// Pages that are damaged, or encoded as [`super::StoredFile::open`] does not take them.
pub(super) fn append<R: ChunkReader + 'static>(
    column: &mut Column,
    field: &Field,
    bytes: &Arc<R>,
    chunk: &ColumnChunkMetaData,
    num_rows: usize,
    unpacker: &mut Unpacker,
) -> Result<(), ParquetError> {
    let is_optional = chunk.column_descr().max_def_level() > 0;
    // zstd pages are asked for as they are: the reader would unpack each into memory of its own, and copy it.
    let is_packed = matches!(chunk.compression(), Compression::ZSTD(_));
    let chunk = match is_packed {
        true => chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?,
        false => chunk.clone(),
    };
    let mut left = num_rows;
    let mut pages = SerializedPageReader::new(Arc::clone(bytes), &chunk, num_rows, None)?;
    let mut known = Known::Codes(Vec::new());
    while let Some(page) = pages.get_next_page()? {
        if let Page::DictionaryPage { buf, num_values, .. } = &page {
            let values = unpacker.unpack(is_packed, buf)?;
            known = dictionary(column, field.kind, values, *num_values as usize)?;
            continue;
        }
        // Before room is made for them.
        left = left
            .checked_sub(page.num_values() as usize)
            .ok_or_else(|| damaged("more rows than announced"))?;
        if is_packed && add_ids(column, &page, is_optional) {
            continue;
        }
        let parts = parts(&page, is_optional, is_packed, unpacker)?;
        match parts.encoding {
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => add_known(column, &known, &parts)?,
            Encoding::PLAIN => add_plain(column, field.kind, &parts)?,
            Encoding::RLE if field.kind == Kind::Bool => add_bits(column, &parts)?,
            other => return Err(damaged(&format!("values in an encoding that was not announced: {other}"))),
        }
    }
    if left > 0 {
        return Err(damaged(&format!("the last {left} of {num_rows} rows are missing")));
    }
    Ok(())
}

fn dictionary(
    column: &mut Column,
    kind: Kind,
    bytes: &[u8],
    num_values: usize,
) -> Result<Known, ParquetError> {
    let mut left = bytes;
    let Values::Coded { dictionary, .. } = &mut column.values else {
        let values = (0..num_values).map(|_| plain::next(kind, &mut left).map(<[u8]>::to_vec));
        return Ok(Known::Values(values.collect::<Result<_, _>>()?));
    };
    // Not more than the bytes allow: a wrong count must not take all memory.
    let room = num_values.min(bytes.len());
    dictionary.reserve(room);
    let mut codes = Vec::with_capacity(room);
    match kind.width() {
        Some(8) => {
            codes.extend(bytes.as_chunks().0.iter().map(|value| dictionary.number_of_fixed::<8>(value) + 1))
        }
        Some(4) => {
            codes.extend(bytes.as_chunks().0.iter().map(|value| dictionary.number_of_fixed::<4>(value) + 1))
        }
        _ => {
            for _ in 0..num_values {
                codes.push(dictionary.number_of(plain::next(kind, &mut left)?) + 1);
            }
        }
    }
    if codes.len() != num_values {
        return Err(damaged("a dictionary is cut off"));
    }
    Ok(Known::Codes(codes))
}

fn parts<'a>(
    page: &'a Page,
    is_optional: bool,
    is_packed: bool,
    unpacker: &'a mut Unpacker,
) -> Result<Parts<'a>, ParquetError> {
    let cut_off = || damaged("a page is cut off");
    let (num_rows, encoding, levels, values) = match page {
        Page::DataPage { buf, num_values, encoding, .. } => {
            let mut values = unpacker.unpack(is_packed, buf)?;
            let mut levels: &[u8] = &[];
            if is_optional {
                let length =
                    values.split_off(..4).and_then(|bytes| bytes.first_chunk()).ok_or_else(cut_off)?;
                levels = values.split_off(..u32::from_le_bytes(*length) as usize).ok_or_else(cut_off)?;
            }
            (*num_values as usize, *encoding, levels, values)
        }
        Page::DataPageV2 {
            buf,
            num_values,
            encoding,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed,
            ..
        } => {
            let mut values: &[u8] = buf;
            values.split_off(..*rep_levels_byte_len as usize).ok_or_else(cut_off)?;
            let levels = values.split_off(..*def_levels_byte_len as usize).ok_or_else(cut_off)?;
            let values = unpacker.unpack(is_packed && *is_compressed, values)?;
            (*num_values as usize, *encoding, levels, values)
        }
        Page::DictionaryPage { .. } => return Err(damaged("a dictionary where rows should be")),
    };
    let presence = if is_optional { presence(levels, num_rows)? } else { vec![(true, num_rows)] };
    Ok(Parts { num_rows, presence, encoding, values })
}

fn presence(levels: &[u8], num_rows: usize) -> Result<Vec<(bool, usize)>, ParquetError> {
    let mut runs: Vec<(bool, usize)> = Vec::new();
    let mut add = |is_present, count| match runs.last_mut() {
        Some(last) if last.0 == is_present => last.1 += count,
        _ => runs.push((is_present, count)),
    };
    hybrid::decode(levels, 1, num_rows, |run| {
        match run {
            Run::Repeated(level, count) => add(level != 0, count),
            Run::Values(levels) => levels.iter().for_each(|level| add(*level != 0, 1)),
        }
        Ok(())
    })?;
    Ok(runs)
}

impl Parts<'_> {
    fn num_values(&self) -> usize {
        self.presence.iter().filter(|run| run.0).map(|run| run.1).sum()
    }

    /// Hands over the values' places run by run, and appends nulls between them.
    fn place(
        &self,
        column: &mut Column,
        mut add: impl FnMut(&mut Column, usize) -> Result<(), ParquetError>,
    ) -> Result<(), ParquetError> {
        for (is_present, count) in &self.presence {
            if *is_present { add(column, *count)? } else { column.push_nulls(*count) }
        }
        Ok(())
    }
}

/// Values that are in the dictionary.
fn add_known(column: &mut Column, known: &Known, parts: &Parts<'_>) -> Result<(), ParquetError> {
    let num_values = parts.num_values();
    let unknown = || damaged("a value that is not in the dictionary");
    let (width, bytes) = match parts.values.split_first() {
        Some((width, bytes)) => (u32::from(*width), bytes),
        None if num_values == 0 => (0, parts.values),
        None => return Err(damaged("a page without values")),
    };
    match (known, &mut column.values) {
        (Known::Codes(known), Values::Coded { codes, .. }) if num_values == parts.num_rows => {
            add_codes(codes, known, width, bytes, num_values)
        }
        (Known::Codes(known), _) => {
            let mut found = Vec::with_capacity(num_values);
            add_codes(&mut found, known, width, bytes, num_values)?;
            let mut found = found.as_slice();
            parts.place(column, |column, count| {
                if let (Values::Coded { codes, .. }, Some(some)) =
                    (&mut column.values, found.split_off(..count))
                {
                    codes.extend_from_slice(some);
                }
                Ok(())
            })
        }
        (Known::Values(known), _) => {
            let mut places = Vec::with_capacity(num_values);
            let identity: Vec<u32> = (0..known.len() as u32).collect();
            add_codes(&mut places, &identity, width, bytes, num_values)?;
            let mut places = places.into_iter();
            parts.place(column, |column, count| {
                for place in places.by_ref().take(count) {
                    column.push(known.get(place as usize).ok_or_else(unknown)?);
                }
                Ok(())
            })
        }
    }
}

/// Ids from the frame of a page, whose digits need not be put together; `false` if it has others, and nothing was added.
fn add_ids(column: &mut Column, page: &Page, is_optional: bool) -> bool {
    let Page::DataPage { buf, num_values, encoding: Encoding::PLAIN, .. } = page else { return false };
    let (Some(ids), num_rows) = (column.ids(), *num_values as usize) else { return false };
    let before = ids.len();
    let Some(levels) = digits::read(buf, ids) else { return false };
    let all = [(true, num_rows)];
    let are_all = match is_optional {
        true => {
            levels.get(4..).is_some_and(|levels| presence(levels, num_rows).is_ok_and(|runs| runs == all))
        }
        false => levels.is_empty(),
    };
    if !are_all || ids.len() - before != num_rows {
        ids.truncate(before);
        return false;
    }
    true
}

fn add_codes(
    codes: &mut Vec<u32>,
    known: &[u32],
    width: u32,
    bytes: &[u8],
    count: usize,
) -> Result<(), ParquetError> {
    let unknown = || damaged("a value that is not in the dictionary");
    codes.reserve(count + SHORT);
    hybrid::decode(bytes, width, count, |run| {
        match run {
            Run::Repeated(place, times) => {
                let code = *known.get(place as usize).ok_or_else(unknown)?;
                let before = codes.len();
                // Most runs are short, where rows are in order.
                match times {
                    ..=SHORT => codes.extend_from_slice(&[code; SHORT]),
                    _ => codes.resize(before + times, code),
                }
                codes.truncate(before + times);
            }
            Run::Values(places) => {
                let before = codes.len();
                let code = |place: &u32| known.get(*place as usize).copied().unwrap_or(UNKNOWN);
                codes.extend(places.iter().map(code));
                if codes[before..].contains(&UNKNOWN) {
                    return Err(unknown());
                }
            }
        }
        Ok(())
    })
}

/// Values that stand there themselves.
fn add_plain(column: &mut Column, kind: Kind, parts: &Parts<'_>) -> Result<(), ParquetError> {
    let mut left = parts.values;
    if kind == Kind::Bool {
        let bits = (0..).map(|number| left.get(number / 8).map(|byte| byte >> (number % 8) & 1));
        return add_each(column, parts, bits);
    }
    let are_ids = |ids: &mut Ids| ids.add(left, parts.num_rows);
    if parts.num_values() == parts.num_rows && column.ids().is_some_and(are_ids) {
        return Ok(());
    }
    column.spread_ids();
    parts.place(column, |column, count| {
        match &mut column.values {
            Values::Numbers { values, .. } => {
                let bytes =
                    left.split_off(..count.saturating_mul(8)).ok_or_else(|| damaged("a page is cut off"))?;
                values.extend_from_slice(bytes.as_chunks().0);
            }
            Values::Bytes { values, ends, .. } => {
                let (all, before) = (left, values.len());
                if let Some(width) = plain::one_width(left, count) {
                    ends.extend((1..=count).map(|number| before + number * width));
                    left = &[];
                    values.extend_from_slice(all);
                    return Ok(());
                }
                for _ in 0..count {
                    plain::next(kind, &mut left)?;
                    ends.push(before + all.len() - left.len());
                }
                values.extend_from_slice(&all[..all.len() - left.len()]);
            }
            // They were spread.
            Values::Ids(_) => return Err(damaged("texts among ids")),
            Values::Coded { codes, dictionary } => {
                for _ in 0..count {
                    codes.push(dictionary.number_of(plain::next(kind, &mut left)?) + 1);
                }
            }
        }
        Ok(())
    })
}

/// Truths as runs, which newer files have.
fn add_bits(column: &mut Column, parts: &Parts<'_>) -> Result<(), ParquetError> {
    // The length of the runs stands before them.
    let runs = parts.values.get(4..).unwrap_or_default();
    let mut bits = Vec::new();
    hybrid::decode(runs, 1, parts.num_values(), |run| {
        match run {
            Run::Repeated(bit, times) => bits.extend(std::iter::repeat_n(bit as u8, times)),
            Run::Values(some) => bits.extend(some.iter().map(|bit| *bit as u8)),
        }
        Ok(())
    })?;
    add_each(column, parts, bits.into_iter().map(Some))
}

fn add_each(
    column: &mut Column,
    parts: &Parts<'_>,
    mut bits: impl Iterator<Item = Option<u8>>,
) -> Result<(), ParquetError> {
    parts.place(column, |column, count| {
        for _ in 0..count {
            column.push(&[bits.next().flatten().ok_or_else(|| damaged("a page is cut off"))?]);
        }
        Ok(())
    })
}
