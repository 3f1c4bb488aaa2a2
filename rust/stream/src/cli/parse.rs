//! Values of flags that have a syntax of their own.

use std::collections::{BTreeMap, BTreeSet};

use arrow::compute::kernels::cast_utils::Parser as _;
use arrow::datatypes::Date32Type;

use super::Partitions;
use crate::settings::Range;

/// Reads numbers and ranges of them: `0-3,7`.
pub(super) fn parse_partitions(text: &str) -> Result<Partitions, String> {
    let explain = || format!("`{text}` is not a list of partitions (expected e.g. `0-3,7`)");
    let mut set = BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: i32 = first.trim().parse().map_err(|_| explain())?;
        let last: i32 = last.trim().parse().map_err(|_| explain())?;
        if first < 0 || last < first || last - first > 100_000 {
            return Err(explain());
        }
        set.extend(first..=last);
    }
    Ok(Partitions(set))
}

/// Reads offset ranges by partition, with both ends: `0:100-200,1:0-50`.
pub(super) fn parse_offsets(text: &str) -> Result<Range, String> {
    let explain = || format!("`{text}` is no list of offset ranges (expected e.g. `0:100-200,1:0-50`)");
    let mut ranges = BTreeMap::new();
    for part in text.split(',').map(str::trim) {
        let (partition, range) = part.split_once(':').ok_or_else(explain)?;
        let (first, last) = range.split_once('-').ok_or_else(explain)?;
        let partition: i32 = partition.trim().parse().map_err(|_| explain())?;
        let first: i64 = first.trim().parse().map_err(|_| explain())?;
        let last: i64 = last.trim().parse().map_err(|_| explain())?;
        let is_range = partition >= 0 && first >= 0 && last >= first && last < i64::MAX;
        if !is_range || ranges.insert(partition, [first, last + 1]).is_some() {
            return Err(explain());
        }
    }
    Ok(Range::Offsets(ranges))
}

/// Reads a day, or the first and last of several: `2026-02-23..2026-02-25`.
pub(super) fn parse_days(text: &str) -> Result<Range, String> {
    let day = |text: &str| Date32Type::parse(text.trim()).filter(|_| text.trim().len() == 10);
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (day(first), day(last)) {
        (Some(first), Some(last)) if first <= last => Ok(Range::Days([first, last])),
        _ => Err(format!("`{text}` is no range of days (expected e.g. `2026-02-23..2026-02-25`)")),
    }
}
