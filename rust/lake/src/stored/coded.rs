//! From a column of values that repeat to its chunk.
//!
//! The chunk gets a dictionary of just the values that its rows have, in the order of their first use, unless that grows
//! beyond [`MAX_DICTIONARY`]; then its values are written as they are. Where rows are in the order of a column, most others
//! have the same value for some rows too: these are taken as runs and not row by row.

use std::ops::Range;
use std::{iter, mem, slice};

use parquet::errors::ParquetError;
use parquet::file::statistics::Statistics;

use super::column::{NULL, Presence};
use super::dictionary::Dictionary;
use super::kind::Bounds;
use super::sink::Content;
use super::stretches::{PAGE_BYTES, ROOM, gather, page_sizes, pages};
use super::write::{Chunk, MAX_REPEATED, Scratch};
use super::{Kind, hybrid, plain};

/// Bytes of a dictionary page at most, as the parquet crate has it.
const MAX_DICTIONARY: usize = 1 << 20;
/// Not in the chunk's dictionary yet.
const UNUSED: u32 = u32::MAX;
/// In the place of a null.
const ABSENT: u32 = u32::MAX - 1;
/// Rows are taken as runs if these take not more than such a part of what packed bits take.
const RUNS_PART: usize = 2;

/// Rows that are looked at together for where runs end.
const LOOKED_AT: usize = 64;

/// Rows that follow each other, with one value.
#[derive(Clone, Copy, Debug)]
struct Run {
    number: u32,
    num_rows: u32,
}

/// The rows of a chunk by the numbers of its dictionary. It is used again, so that its room is not taken anew for each.
#[derive(Default)]
pub(super) struct Numbering {
    /// By code: the number in the chunk's dictionary, [`UNUSED`] or [`ABSENT`].
    numbers: Vec<u32>,
    /// The chunk's dictionary: numbers in the column's.
    used: Vec<u32>,
    /// The rows as numbers in the chunk's dictionary, or [`ABSENT`]; codes, if there are runs.
    coded: Vec<u32>,
    /// The rows as runs, none of which is null; or none.
    runs: Vec<Run>,
}

impl Numbering {
    fn number(
        &mut self,
        codes: &[u32],
        dictionary: &Dictionary,
        stretches: &[Range<usize>],
        num_rows: usize,
        may_be_runs: bool,
    ) {
        let Self { numbers, used, coded, runs } = self;
        numbers.clear();
        numbers.resize(dictionary.len() + 1, UNUSED);
        numbers[NULL as usize] = ABSENT;
        used.clear();
        runs.clear();
        coded.resize(num_rows + ROOM, 0);
        gather::<u32, 8>(codes, stretches.iter().cloned(), coded);
        coded.truncate(num_rows);
        let width = hybrid::width_of(dictionary.len() as u32);
        let num_runs = 1 + coded
            .iter()
            .zip(coded.get(1..).unwrap_or_default())
            .filter(|(code, next)| code != next)
            .count();
        let run_bits = num_runs * hybrid::run_bytes(width) * 8;
        if may_be_runs && run_bits * RUNS_PART <= num_rows * width as usize {
            number_runs(coded, numbers, used, runs);
        } else {
            number_rows(coded, numbers, used);
        }
    }
}

/// Replaces codes by numbers in the order of their first use.
///
/// A function of its own: inside a larger one it has no registers left, and takes twice as long.
#[inline(never)]
fn number_rows(coded: &mut [u32], numbers: &mut [u32], used: &mut Vec<u32>) {
    for code in coded {
        *code = number_of(*code, numbers, used);
    }
}

/// As [`number_rows`], run by run.
#[inline(never)]
fn number_runs(coded: &[u32], numbers: &mut [u32], used: &mut Vec<u32>, runs: &mut Vec<Run>) {
    let mut begin = 0;
    let mut end_at = |end: usize| {
        runs.push(Run { number: number_of(coded[begin], numbers, used), num_rows: (end - begin) as u32 });
        begin = end;
    };
    // The ends of runs are looked for many rows at a time, without a branch.
    let mut from = 0;
    while let Some(rows) = coded[from..].first_chunk::<{ LOOKED_AT + 1 }>() {
        let ends_of = |place: usize| rows[place..].first_chunk::<9>().map_or(0, hybrid::changes) << place;
        let mut ends = (0..LOOKED_AT).step_by(8).fold(0, |ends, place| ends | ends_of(place));
        while ends != 0 {
            end_at(from + ends.trailing_zeros() as usize + 1);
            ends &= ends - 1;
        }
        from += LOOKED_AT;
    }
    let rest = coded[from..].iter().zip(&coded[from + 1..]);
    for (place, _) in (from + 1..).zip(rest).filter(|(_, (code, next))| code != next) {
        end_at(place);
    }
    end_at(coded.len());
}

#[inline(always)]
fn number_of(code: u32, numbers: &mut [u32], used: &mut Vec<u32>) -> u32 {
    let number = &mut numbers[code as usize];
    if *number == UNUSED {
        *number = used.len() as u32;
        used.push(code - 1);
    }
    *number
}

impl Chunk<'_> {
    /// Writes the chunk; returns what its footer says of it, and how many values are NaN.
    pub(super) fn write_coded(
        &mut self,
        codes: &[u32],
        dictionary: &Dictionary,
    ) -> Result<(Statistics, u64), ParquetError> {
        let kind = self.field.kind;
        match self.presence {
            Presence::None => return self.write_same(None),
            Presence::All if dictionary.len() == 1 && kind != Kind::Bool => {
                return self.write_same(Some(dictionary.value(0)));
            }
            _ => {}
        }
        let mut numbering = mem::take(&mut self.scratch.numbering);
        let may_be_runs = self.presence == Presence::All && kind != Kind::Bool;
        numbering.number(codes, dictionary, self.stretches, self.num_rows, may_be_runs);
        let Numbering { used, coded, runs, .. } = &mut numbering;
        let values = || used.iter().map(|number| dictionary.value(*number));
        let value = |number: u32| used.get(number as usize).map(|number| dictionary.value(*number));
        let num_bytes: usize = values().map(|value| value.len() + size_of::<u32>()).sum();
        let width = hybrid::width_of((used.len() as u32).saturating_sub(1));
        let num_nulls = if kind == Kind::Bool || num_bytes > MAX_DICTIONARY || used.is_empty() {
            if !runs.is_empty() {
                coded.clear();
                coded.extend(runs.iter().flat_map(|run| iter::repeat_n(run.number, run.num_rows as usize)));
            }
            self.write_values(coded, value)?
        } else {
            self.write_dictionary(used.len(), values())?;
            match runs.is_empty() {
                true => self.write_codes(coded, width)?,
                false => self.write_runs(runs, width)?,
            }
        };
        let mut bounds = Bounds::new(kind);
        values().for_each(|value| bounds.add(value));
        let mut num_nans = 0;
        if values().any(|value| kind.is_nan(value)) {
            let is_nan = |number: u32| value(number).is_some_and(|value| kind.is_nan(value));
            num_nans = match runs.is_empty() {
                true => coded.iter().filter(|number| is_nan(**number)).count() as u64,
                false => {
                    runs.iter().filter(|run| is_nan(run.number)).map(|run| u64::from(run.num_rows)).sum()
                }
            };
        }
        let statistics = bounds.statistics(num_nulls);
        self.scratch.numbering = numbering;
        Ok((statistics, num_nans))
    }

    fn write_dictionary<'b>(
        &mut self,
        num_values: usize,
        values: impl Iterator<Item = &'b [u8]>,
    ) -> Result<(), ParquetError> {
        let (kind, scratch) = (self.field.kind, &mut *self.scratch);
        scratch.page.clear();
        values.for_each(|value| plain::put(kind, value, &mut scratch.page));
        let width = match kind.width() {
            None => plain::one_width(&scratch.page, num_values),
            width => width.filter(|width| *width == 8),
        };
        let content = match width {
            Some(width) if width <= MAX_REPEATED => Content::Unique { begin: 0, width },
            _ => Content::Values,
        };
        self.sink.dictionary(num_values, content, &scratch.page, &mut scratch.codecs)
    }

    /// Writes pages of numbers of the dictionary; returns how many rows are null.
    fn write_codes(&mut self, coded: &[u32], width: u32) -> Result<u64, ParquetError> {
        let mut num_nulls = 0;
        for rows in coded.chunks(8 * PAGE_BYTES / width.max(1) as usize) {
            let nulls = self.begin_page(rows.len(), rows.iter().map(|number| *number == ABSENT));
            num_nulls += nulls;
            let Scratch { page, packed, .. } = &mut *self.scratch;
            page.push(width as u8);
            if nulls > 0 {
                packed.clear();
                packed.extend(rows.iter().filter(|number| **number != ABSENT));
                hybrid::encode(packed, width, page);
            } else {
                hybrid::encode(rows, width, page);
            }
            self.end_page(rows.len(), Content::Codes { width })?;
        }
        Ok(num_nulls)
    }

    /// As [`Chunk::write_codes`], of runs; no row is null.
    fn write_runs(&mut self, runs: &[Run], width: u32) -> Result<u64, ParquetError> {
        for runs in runs.chunks(PAGE_BYTES / hybrid::MAX_RUN_BYTES) {
            let num_rows = runs.iter().map(|run| run.num_rows as usize).sum();
            self.begin_page(num_rows, iter::empty());
            let page = &mut self.scratch.page;
            page.push(width as u8);
            for run in runs {
                hybrid::put_repeated(run.number, run.num_rows as usize, width, page);
            }
            // Runs of numbers below 256 have bytes that zstd makes something of.
            let content = if width > u8::BITS { Content::Runs } else { Content::Codes { width } };
            self.end_page(num_rows, content)?;
        }
        Ok(0)
    }

    /// Writes pages of the values themselves; returns how many rows are null.
    fn write_values<'b>(
        &mut self,
        coded: &[u32],
        value: impl Fn(u32) -> Option<&'b [u8]>,
    ) -> Result<u64, ParquetError> {
        let kind = self.field.kind;
        let num_bytes = |number: &u32| value(*number).map_or(0, |value| value.len() + size_of::<u32>());
        let all = 0..coded.len();
        let pages = pages(slice::from_ref(&all), page_sizes(coded.iter().map(num_bytes)));
        let mut num_nulls = 0;
        for rows in pages.into_iter().flatten().map(|rows| &coded[rows]) {
            num_nulls += self.begin_page(rows.len(), rows.iter().map(|number| *number == ABSENT));
            let page = &mut self.scratch.page;
            let present = rows.iter().filter_map(|number| value(*number));
            match kind {
                Kind::Bool => plain::put_bits(present.map(|value| value == [1]), page),
                _ => present.for_each(|value| plain::put(kind, value, page)),
            }
            self.end_page(rows.len(), Content::Values)?;
        }
        Ok(num_nulls)
    }

    /// Writes the chunk where every row has this value, or none has one.
    fn write_same(&mut self, value: Option<&[u8]>) -> Result<(Statistics, u64), ParquetError> {
        let kind = self.field.kind;
        let mut bounds = Bounds::new(kind);
        let mut content = Content::Values;
        if let Some(value) = value {
            self.write_dictionary(1, iter::once(value))?;
            bounds.add(value);
            content = Content::Codes { width: 0 };
        }
        let num_nulls = self.begin_page(self.num_rows, iter::empty());
        if value.is_some() {
            self.scratch.page.push(0);
            hybrid::put_repeated(0, self.num_rows, 0, &mut self.scratch.page);
        }
        self.end_page(self.num_rows, content)?;
        let is_nan = value.is_some_and(|value| kind.is_nan(value));
        Ok((bounds.statistics(num_nulls), if is_nan { self.num_rows as u64 } else { 0 }))
    }
}
