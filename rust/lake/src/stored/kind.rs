//! The physical types whose values are taken as bytes, and what is known of their order.

use std::cmp::Ordering;

use parquet::basic::{LogicalType, Type};
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;

use crate::files::metrics;

/// A physical type; all values are little-endian, as Parquet's PLAIN encoding has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One byte in memory, one bit in files.
    Bool,
    Int32,
    Int64,
    Float,
    Double,
    /// Text of any length.
    Text,
    /// Bytes of any length.
    Binary,
}

fn four(value: &[u8]) -> [u8; 4] {
    value.first_chunk().copied().unwrap_or_default()
}

fn eight(value: &[u8]) -> [u8; 8] {
    value.first_chunk().copied().unwrap_or_default()
}

impl Kind {
    /// The kind of a column; `None` where the order of its values is not the one below, or it is not flat.
    pub(super) fn of(column: &ColumnDescriptor) -> Option<Self> {
        let flat =
            column.max_rep_level() == 0 && column.max_def_level() <= 1 && column.path().parts().len() == 1;
        let plain = column.logical_type_ref().is_none();
        let ordered = match column.logical_type_ref() {
            Some(LogicalType::Date | LogicalType::Time { .. } | LogicalType::Timestamp { .. }) => true,
            Some(LogicalType::Integer { is_signed, .. }) => *is_signed,
            _ => plain,
        };
        match column.physical_type() {
            _ if !flat => None,
            Type::BOOLEAN => plain.then_some(Self::Bool),
            Type::INT32 => ordered.then_some(Self::Int32),
            Type::INT64 => ordered.then_some(Self::Int64),
            Type::FLOAT => plain.then_some(Self::Float),
            Type::DOUBLE => plain.then_some(Self::Double),
            Type::BYTE_ARRAY if plain => Some(Self::Binary),
            Type::BYTE_ARRAY => {
                matches!(column.logical_type_ref(), Some(LogicalType::String)).then_some(Self::Text)
            }
            Type::INT96 | Type::FIXED_LEN_BYTE_ARRAY => None,
        }
    }

    /// Bytes of a value in PLAIN encoding; `None`: its length comes first, in four bytes.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Int32 | Self::Float => Some(4),
            Self::Int64 | Self::Double => Some(8),
            Self::Text | Self::Binary => None,
        }
    }

    /// Orders two values; NaN beyond all numbers.
    pub(super) fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Self::Bool | Self::Text | Self::Binary => left.cmp(right),
            Self::Int32 => i32::from_le_bytes(four(left)).cmp(&i32::from_le_bytes(four(right))),
            Self::Int64 => i64::from_le_bytes(eight(left)).cmp(&i64::from_le_bytes(eight(right))),
            Self::Float => f32::from_le_bytes(four(left)).total_cmp(&f32::from_le_bytes(four(right))),
            Self::Double => f64::from_le_bytes(eight(left)).total_cmp(&f64::from_le_bytes(eight(right))),
        }
    }

    /// Whether a value is no number.
    pub(super) fn is_nan(self, value: &[u8]) -> bool {
        match self {
            Self::Float => f32::from_le_bytes(four(value)).is_nan(),
            Self::Double => f64::from_le_bytes(eight(value)).is_nan(),
            _ => false,
        }
    }
}

/// The least and the greatest of some values; NaN is left out.
#[derive(Clone, Debug)]
pub(super) struct Bounds<'a> {
    kind: Kind,
    both: Option<(&'a [u8], &'a [u8])>,
    /// The first bytes of both, see [`prefix`]: what lies between them needs no closer look.
    prefixes: (u64, u64),
}

/// The first eight bytes as a number: text that is greater has none that is less.
fn prefix(value: &[u8]) -> u64 {
    match value.first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => {
            value.iter().chain([0; 8].iter()).take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
        }
    }
}

impl<'a> Bounds<'a> {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, both: None, prefixes: (u64::MAX, 0) }
    }

    /// Takes in a value.
    pub(super) fn add(&mut self, value: &'a [u8]) {
        let is_text = matches!(self.kind, Kind::Text | Kind::Binary);
        let (least, greatest) = self.prefixes;
        if self.kind.is_nan(value) || is_text && (least.saturating_add(1)..greatest).contains(&prefix(value))
        {
            return;
        }
        let both = match self.both {
            None => (value, value),
            Some((least, greatest)) if self.kind.compare(value, least).is_lt() => (value, greatest),
            Some((least, greatest)) if self.kind.compare(value, greatest).is_gt() => (least, value),
            Some(both) => both,
        };
        self.prefixes = (prefix(both.0), prefix(both.1));
        self.both = Some(both);
    }

    /// The least and the greatest; `None` of no values.
    pub(super) fn both(&self) -> Option<[&'a [u8]; 2]> {
        self.both.map(|(least, greatest)| [least, greatest])
    }

    /// Takes in texts or bytes: only those with the least or greatest first bytes are looked at closely.
    pub(super) fn add_texts(&mut self, texts: impl Iterator<Item = &'a [u8]> + Clone) {
        let prefixes = texts.clone().map(prefix);
        let (least, greatest) = prefixes
            .fold((u64::MAX, 0), |(least, greatest), prefix| (prefix.min(least), prefix.max(greatest)));
        let may_be_bound =
            |text: &&[u8]| matches!(prefix(text), prefix if prefix == least || prefix == greatest);
        texts.filter(may_be_bound).for_each(|text| self.add(text));
    }

    /// What a footer says of the values, and of the nulls beside them. Text is cut as in manifests; bytes have no bounds.
    pub(super) fn statistics(&self, num_nulls: u64) -> Statistics {
        let (least, greatest) = self.both.unzip();
        let nulls = Some(num_nulls);
        match self.kind {
            Kind::Bool => {
                let value = |bytes: &[u8]| bytes == [1];
                Statistics::boolean(least.map(value), greatest.map(value), None, nulls, false)
            }
            Kind::Int32 => {
                let value = |bytes: &[u8]| i32::from_le_bytes(four(bytes));
                Statistics::int32(least.map(value), greatest.map(value), None, nulls, false)
            }
            Kind::Int64 => {
                let value = |bytes: &[u8]| i64::from_le_bytes(eight(bytes));
                Statistics::int64(least.map(value), greatest.map(value), None, nulls, false)
            }
            // A zero stands for both zeros, which are equal to a reader.
            Kind::Float => {
                let value = |bytes: &[u8]| f32::from_le_bytes(four(bytes));
                let least = least.map(value).map(|value| if value == 0.0 { -0.0 } else { value });
                let greatest = greatest.map(value).map(|value| if value == 0.0 { 0.0 } else { value });
                Statistics::float(least, greatest, None, nulls, false)
            }
            Kind::Double => {
                let value = |bytes: &[u8]| f64::from_le_bytes(eight(bytes));
                let least = least.map(value).map(|value| if value == 0.0 { -0.0 } else { value });
                let greatest = greatest.map(value).map(|value| if value == 0.0 { 0.0 } else { value });
                Statistics::double(least, greatest, None, nulls, false)
            }
            Kind::Text => text_statistics(least, greatest, nulls),
            Kind::Binary => Statistics::byte_array(None, None, None, nulls, false),
        }
    }
}

fn text_statistics(least: Option<&[u8]>, greatest: Option<&[u8]>, num_nulls: Option<u64>) -> Statistics {
    let text = |bytes| str::from_utf8(bytes).ok();
    let lower = least.and_then(text).map(|text| metrics::cut(text).to_owned());
    let upper = greatest.and_then(text).and_then(metrics::raised);
    let is_exact = |value: Option<&[u8]>, bound: &Option<String>| {
        value.is_some() && value == bound.as_ref().map(String::as_bytes)
    };
    let (lower_is_exact, upper_is_exact) = (is_exact(least, &lower), is_exact(greatest, &upper));
    let bound = |text: String| ByteArray::from(text.into_bytes());
    Statistics::ByteArray(
        ValueStatistics::new(lower.map(bound), upper.map(bound), None, num_nulls, false)
            .with_min_is_exact(lower_is_exact)
            .with_max_is_exact(upper_is_exact),
    )
}
