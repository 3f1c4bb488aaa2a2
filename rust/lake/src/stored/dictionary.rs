//! The distinct values of a column, as bytes in the order of their arrival.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::Kind;

/// Distinct values, each with a number from 0 on.
#[derive(Clone, Debug)]
pub(super) struct Dictionary {
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
    /// Hash and number of each value.
    numbers: HashTable<(u64, u32)>,
    hasher: FixedState,
}

impl Default for Dictionary {
    fn default() -> Self {
        let (bytes, ends, numbers) = Default::default();
        Self { bytes, ends, numbers, hasher: FixedState::with_seed(0) }
    }
}

fn value<'a>(bytes: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[begin..ends[number]]
}

impl Dictionary {
    /// Makes room for values.
    pub(super) fn reserve(&mut self, num_values: usize) {
        self.ends.reserve(num_values);
        self.numbers.reserve(num_values, |entry| entry.0);
    }

    /// Returns the number of a value, a new one if it is not there yet.
    pub(super) fn number_of(&mut self, wanted: &[u8]) -> u32 {
        let Self { bytes, ends, numbers, hasher } = self;
        let mut hasher = hasher.build_hasher();
        hasher.write(wanted);
        let hash = hasher.finish();
        let is_it = |entry: &(u64, u32)| entry.0 == hash && value(bytes, ends, entry.1 as usize) == wanted;
        if let Some((_, number)) = numbers.find(hash, is_it) {
            return *number;
        }
        // Rows have 32-bit numbers, see `StoredRows::MAX_ROWS`, and there are not more values than rows.
        let number = ends.len() as u32;
        bytes.extend_from_slice(wanted);
        ends.push(bytes.len());
        numbers.insert_unique(hash, (hash, number), |entry| entry.0);
        number
    }

    /// Returns the value of a number that [`Dictionary::number_of`] gave.
    pub(super) fn value(&self, number: u32) -> &[u8] {
        value(&self.bytes, &self.ends, number as usize)
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Memory in bytes, about.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>() + self.numbers.allocation_size()
    }

    /// Returns the place of each value in the order of `kind`.
    pub(super) fn ranks(&self, kind: Kind) -> Vec<u32> {
        let mut sorted: Vec<u32> = (0..self.len() as u32).collect();
        sorted.sort_unstable_by(|left, right| kind.compare(self.value(*left), self.value(*right)));
        let mut ranks = vec![0; sorted.len()];
        for (rank, number) in (0..).zip(sorted) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_and_the_empty_one_is_a_value() {
        let mut dictionary = Dictionary::default();
        let numbers: Vec<u32> =
            ["b", "", "a", "b", ""].map(|text| dictionary.number_of(text.as_bytes())).to_vec();
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
        assert_eq!(dictionary.value(1), b"");
        assert_eq!(dictionary.value(2), b"a");
        assert_eq!(dictionary.ranks(Kind::Text), [2, 0, 1]);
    }

    #[test]
    fn numbers_are_ranked_by_value_and_not_by_their_bytes() {
        let mut dictionary = Dictionary::default();
        for number in [256_i64, -1, 3] {
            dictionary.number_of(&number.to_le_bytes());
        }
        assert_eq!(dictionary.ranks(Kind::Int64), [2, 0, 1]);
    }
}
