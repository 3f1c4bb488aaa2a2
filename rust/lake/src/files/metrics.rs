//! What a manifest says about a file's columns, computed from the Parquet footer.
//!
//! Bounds follow Iceberg's default mode `truncate(16)`: text is cut to 16 characters, an upper bound is then raised so
//! that it still is one. Columns inside lists have sizes and counts of values alone. NaN is left out of bounds and counted while
//! writing, since the footer does not know it.

use std::collections::HashMap;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::record_batch::RecordBatch;
use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

const MAX_BOUND_CHARS: usize = 16;

/// Per field id: sizes in bytes, counts, bounds.
#[derive(Debug, Default)]
pub(super) struct ColumnMetrics {
    pub(super) sizes: HashMap<i32, u64>,
    pub(super) values: HashMap<i32, u64>,
    pub(super) nulls: HashMap<i32, u64>,
    pub(super) lower: HashMap<i32, Datum>,
    pub(super) upper: HashMap<i32, Datum>,
}

/// Collects the metrics of all columns over all row groups.
pub(super) fn of_columns(schema: &Schema, parquet: &ParquetMetaData) -> ColumnMetrics {
    let mut metrics = ColumnMetrics::default();
    let mut without_bounds = Vec::new();
    for row_group in parquet.row_groups() {
        for chunk in row_group.columns() {
            let descriptor = chunk.column_descr();
            let info = descriptor.self_type().get_basic_info();
            if !info.has_id() {
                continue;
            }
            let id = info.id();
            metrics.count(id, chunk);
            let bounds = primitive(schema, id).filter(|_| descriptor.max_rep_level() == 0);
            if !bounds.is_some_and(|kind| metrics.bound(id, kind, chunk)) {
                without_bounds.push(id);
            }
        }
    }
    // A bound must hold for the whole file: one row group without it spoils it.
    for id in without_bounds {
        metrics.lower.remove(&id);
        metrics.upper.remove(&id);
    }
    metrics
}

/// Returns where a row group begins, for readers that split files.
pub(super) fn first_offset(row_group: &RowGroupMetaData) -> Option<i64> {
    let first = row_group.columns().first()?;
    Some(first.dictionary_page_offset().unwrap_or(first.data_page_offset()).min(first.data_page_offset()))
}

fn primitive(schema: &Schema, id: i32) -> Option<&PrimitiveType> {
    match schema.field_by_id(id)?.field_type.as_ref() {
        Type::Primitive(kind) => Some(kind),
        _ => None,
    }
}

impl ColumnMetrics {
    fn count(&mut self, id: i32, chunk: &ColumnChunkMetaData) {
        *self.sizes.entry(id).or_default() += u64::try_from(chunk.compressed_size()).unwrap_or_default();
        *self.values.entry(id).or_default() += u64::try_from(chunk.num_values()).unwrap_or_default();
        if let Some(nulls) = chunk.statistics().and_then(Statistics::null_count_opt) {
            *self.nulls.entry(id).or_default() += nulls;
        }
    }

    /// Widens the bounds by those of one chunk; `false` if the chunk has values but no usable bounds.
    fn bound(&mut self, id: i32, kind: &PrimitiveType, chunk: &ColumnChunkMetaData) -> bool {
        let Some(statistics) = chunk.statistics() else { return false };
        if statistics.null_count_opt() == u64::try_from(chunk.num_values()).ok() {
            return true;
        }
        let Some((lower, upper)) = bounds(kind, statistics) else { return false };
        let lowest = self.lower.remove(&id).filter(|known| *known <= lower).unwrap_or(lower);
        self.lower.insert(id, lowest);
        let highest = self.upper.remove(&id).filter(|known| *known >= upper).unwrap_or(upper);
        self.upper.insert(id, highest);
        true
    }
}

fn bounds(kind: &PrimitiveType, statistics: &Statistics) -> Option<(Datum, Datum)> {
    match (kind, statistics) {
        (PrimitiveType::Boolean, Statistics::Boolean(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::bool(*v))
        }
        (PrimitiveType::Int, Statistics::Int32(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::int(*v))
        }
        (PrimitiveType::Date, Statistics::Int32(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::date(*v))
        }
        (PrimitiveType::Long, Statistics::Int64(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::long(*v))
        }
        (PrimitiveType::Timestamptz, Statistics::Int64(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::timestamptz_micros(*v))
        }
        (PrimitiveType::Timestamp, Statistics::Int64(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::timestamp_micros(*v))
        }
        (PrimitiveType::Float, Statistics::Float(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::float(*v))
        }
        (PrimitiveType::Double, Statistics::Double(stats)) => {
            both(stats.min_opt()?, stats.max_opt()?, |v| Datum::double(*v))
        }
        (PrimitiveType::String, Statistics::ByteArray(stats)) => {
            let lower = std::str::from_utf8(stats.min_opt()?.data()).ok()?;
            let upper = std::str::from_utf8(stats.max_opt()?.data()).ok()?;
            Some((Datum::string(cut(lower)), Datum::string(raised(upper)?)))
        }
        _ => None,
    }
}

fn both<T>(lower: &T, upper: &T, datum: impl Fn(&T) -> Datum) -> Option<(Datum, Datum)> {
    Some((datum(lower), datum(upper)))
}

/// Cuts text to the bound's length: a lower bound.
pub(crate) fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_BOUND_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Cuts text to the bound's length and raises it, so that it is not below the whole; `None` if there is no such text.
pub(crate) fn raised(text: &str) -> Option<String> {
    if text.chars().nth(MAX_BOUND_CHARS).is_none() {
        return Some(text.to_owned());
    }
    let mut kept: Vec<char> = text.chars().take(MAX_BOUND_CHARS).collect();
    while let Some(last) = kept.pop() {
        // Between U+D7FF and U+E000 there are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

/// How many NaNs each floating-point column has.
#[derive(Clone, Debug, Default)]
pub(super) struct NanCounts(HashMap<i32, u64>);

impl NanCounts {
    /// Counts the top-level columns of a batch whose columns are those of `schema`, in order.
    pub(super) fn of(schema: &Schema, batch: &RecordBatch) -> Self {
        let mut counts = HashMap::new();
        for (field, values) in schema.as_struct().fields().iter().zip(batch.columns()) {
            let nans = match values.data_type() {
                DataType::Float32 => {
                    values.as_primitive::<Float32Type>().iter().flatten().filter(|v| v.is_nan()).count()
                }
                DataType::Float64 => {
                    values.as_primitive::<Float64Type>().iter().flatten().filter(|v| v.is_nan()).count()
                }
                _ => continue,
            };
            counts.insert(field.id, nans as u64);
        }
        Self(counts)
    }

    /// Adds the counts of further rows.
    pub(super) fn add(&mut self, other: Self) {
        for (id, nans) in other.0 {
            *self.0.entry(id).or_default() += nans;
        }
    }

    /// Counts by field id.
    pub(super) fn from_iter(counts: impl IntoIterator<Item = (i32, u64)>) -> Self {
        Self(counts.into_iter().collect())
    }

    pub(super) fn into_map(self) -> HashMap<i32, u64> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_its_own_upper_bound() {
        assert_eq!(raised("sixteen letters!").as_deref(), Some("sixteen letters!"));
    }

    #[test]
    fn a_cut_upper_bound_is_not_below_the_whole_text() {
        for text in [
            "seventeen letters",
            "ééééééééééééééééé",
            "aaaaaaaaaaaaaaa\u{d7ff}zz",
            "aaaaaaaaaaaaaaa\u{10ffff}zz",
        ] {
            let bound = raised(text).unwrap();
            assert!(bound.as_str() >= text, "{bound} < {text}");
            assert!(bound.chars().count() <= MAX_BOUND_CHARS);
        }
    }

    #[test]
    fn text_of_the_highest_characters_has_no_upper_bound() {
        assert_eq!(raised(&"\u{10ffff}".repeat(17)), None);
    }
}
