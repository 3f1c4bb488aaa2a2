//! One column of rows as they are stored.

use std::mem;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array};
use arrow::buffer::NullBuffer;

use super::dictionary::Dictionary;
use super::ids::Ids;
use super::{Field, Kind};

/// The code of a null; that of a value is its number in the dictionary and one more.
pub(super) const NULL: u32 = 0;

/// Values of a column, row by row.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) values: Values,
    pub(super) num_nulls: usize,
}

/// Which rows of a column have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    All,
    Some,
    None,
}

/// Values, with something in the place of nulls.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Values that repeat.
    Coded { codes: Vec<u32>, dictionary: Dictionary },
    /// Whole numbers of 64 bits that hardly repeat.
    Numbers { values: Vec<[u8; 8]>, nulls: Nulls },
    /// Text or bytes that hardly repeat, each after its length as PLAIN encoding has it.
    Bytes { values: Vec<u8>, ends: Vec<usize>, nulls: Nulls },
    /// The same, where each is digits, and none is null.
    Ids(Ids),
}

/// Which rows are null. Rows beyond the last null are not in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Nulls(pub(super) Vec<bool>);

impl Nulls {
    fn add(&mut self, num_rows: usize, num_nulls: usize) {
        self.0.resize(num_rows, false);
        self.0.resize(num_rows + num_nulls, true);
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.0.get(row).copied().unwrap_or(false)
    }
}

impl Column {
    pub(super) fn new(field: &Field) -> Self {
        let values = match field.kind {
            _ if field.is_coded => {
                Values::Coded { codes: Vec::new(), dictionary: Dictionary::new(field.kind) }
            }
            Kind::Text | Kind::Binary => {
                Values::Bytes { values: Vec::new(), ends: Vec::new(), nulls: Nulls::default() }
            }
            _ => Values::Numbers { values: Vec::new(), nulls: Nulls::default() },
        };
        Self { values, num_nulls: 0 }
    }

    /// Makes room for rows.
    pub(super) fn reserve(&mut self, num_rows: usize) {
        match &mut self.values {
            Values::Coded { codes, .. } => codes.reserve(num_rows),
            Values::Numbers { values, .. } => values.reserve(num_rows),
            Values::Bytes { ends, .. } => ends.reserve(num_rows),
            Values::Ids(ids) => ids.packed.reserve(num_rows * ids.id_bytes()),
        }
    }

    /// Removes all rows and keeps their room.
    pub(super) fn clear(&mut self) {
        self.num_nulls = 0;
        match &mut self.values {
            Values::Coded { codes, dictionary } => {
                codes.clear();
                dictionary.clear();
            }
            Values::Numbers { values, nulls } => {
                values.clear();
                nulls.0.clear();
            }
            Values::Bytes { values, ends, nulls } => {
                values.clear();
                ends.clear();
                nulls.0.clear();
            }
            Values::Ids(ids) => ids.packed.clear(),
        }
    }

    pub(super) fn num_rows(&self) -> usize {
        match &self.values {
            Values::Coded { codes, .. } => codes.len(),
            Values::Numbers { values, .. } => values.len(),
            Values::Bytes { ends, .. } => ends.len(),
            Values::Ids(ids) => ids.len(),
        }
    }

    pub(super) fn presence(&self) -> Presence {
        match self.num_nulls {
            0 => Presence::All,
            number if number == self.num_rows() => Presence::None,
            _ => Presence::Some,
        }
    }

    /// Memory in bytes that is in use.
    pub(super) fn memory(&self) -> usize {
        match &self.values {
            Values::Coded { codes, dictionary } => size_of_val(codes.as_slice()) + dictionary.memory(),
            Values::Numbers { values, nulls } => size_of_val(values.as_slice()) + nulls.0.len(),
            Values::Bytes { values, ends, nulls } => {
                values.len() + size_of_val(ends.as_slice()) + nulls.0.len()
            }
            Values::Ids(ids) => ids.packed.len(),
        }
    }

    /// The ids of a column that has nothing else; `None` if it has.
    pub(super) fn ids(&mut self) -> Option<&mut Ids> {
        if let Values::Bytes { values, ends, .. } = &mut self.values
            && ends.is_empty()
        {
            let mut ids = Ids::new(mem::take(values));
            ids.packed.reserve(ends.capacity() * ids.id_bytes());
            self.values = Values::Ids(ids);
        }
        match &mut self.values {
            Values::Ids(ids) => Some(ids),
            _ => None,
        }
    }

    /// Makes texts of ids, so that any others can be added.
    pub(super) fn spread_ids(&mut self) {
        if let Values::Ids(ids) = &self.values {
            let (mut values, nulls) = (Vec::new(), Nulls::default());
            ids.put_texts(&mut values);
            let ends = (1..=ids.len()).map(|count| count * ids.width()).collect();
            self.values = Values::Bytes { values, ends, nulls };
        }
    }

    /// Appends a row with a value: little-endian bytes of its type, or the text itself.
    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) {
        match &mut self.values {
            Values::Coded { codes, dictionary } => codes.push(dictionary.number_of(value) + 1),
            Values::Numbers { values, .. } => values.push(value.first_chunk().copied().unwrap_or_default()),
            Values::Bytes { values, ends, .. } => {
                values.extend_from_slice(&(value.len() as u32).to_le_bytes());
                values.extend_from_slice(value);
                ends.push(values.len());
            }
            Values::Ids(_) => {
                self.spread_ids();
                self.push(value);
            }
        }
    }

    /// Appends rows that are null.
    pub(super) fn push_nulls(&mut self, count: usize) {
        let num_rows = self.num_rows();
        match &mut self.values {
            Values::Coded { codes, .. } => codes.resize(num_rows + count, NULL),
            Values::Numbers { values, nulls } => {
                values.resize(num_rows + count, [0; 8]);
                nulls.add(num_rows, count);
            }
            Values::Bytes { values, ends, nulls } => {
                ends.resize(num_rows + count, values.len());
                nulls.add(num_rows, count);
            }
            Values::Ids(_) => {
                self.spread_ids();
                return self.push_nulls(count);
            }
        }
        self.num_nulls += count;
    }

    /// Numbers or bytes that order as the values do, for `streamify_core::order_of`.
    pub(super) fn sort_key(&self) -> ArrayRef {
        match &self.values {
            Values::Coded { codes, dictionary } => {
                let ranks = dictionary.ranks();
                // Null comes first in any case, and a place before all others does not need a mask.
                let ranks: Vec<i32> =
                    [-1].into_iter().chain(ranks.into_iter().map(|rank| rank as i32)).collect();
                let key: Vec<i32> = codes.iter().map(|code| ranks[*code as usize]).collect();
                Arc::new(Int32Array::from(key))
            }
            Values::Numbers { values, nulls } => {
                let present = nulls
                    .0
                    .iter()
                    .any(|is_null| *is_null)
                    .then(|| NullBuffer::from_iter((0..values.len()).map(|row| !nulls.has(row))));
                let values: Vec<i64> = values.iter().map(|value| i64::from_le_bytes(*value)).collect();
                Arc::new(Int64Array::new(values.into(), present))
            }
            Values::Bytes { values, ends, nulls } => {
                let value = |row: usize| (!nulls.has(row)).then(|| bytes_of(values, ends, row));
                Arc::new((0..ends.len()).map(value).collect::<BinaryArray>())
            }
            Values::Ids(ids) => {
                Arc::new(BinaryArray::from_iter_values(ids.packed.chunks_exact(ids.id_bytes())))
            }
        }
    }
}

/// The text or bytes of one row, that is not null.
#[inline]
pub(super) fn bytes_of<'a>(values: &'a [u8], ends: &[usize], row: usize) -> &'a [u8] {
    &values[begin_of(ends, row) + size_of::<u32>()..ends[row]]
}

/// Where the bytes of a row begin, with their length.
#[inline]
pub(super) fn begin_of(ends: &[usize], row: usize) -> usize {
    row.checked_sub(1).map_or(0, |before| ends[before])
}
