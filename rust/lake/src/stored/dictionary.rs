//! The distinct values of a column, as bytes in the order of their arrival.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::Kind;

/// Distinct values, each with a number from 0 on.
#[derive(Clone, Debug)]
pub(super) struct Dictionary {
    kind: Kind,
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
    /// Hash and number of each value.
    numbers: HashTable<(u64, u32)>,
}

/// Whole numbers lie close together if the greatest is less than so many times their count above the least.
const SPREAD: u32 = 16;
const HASHER: FixedState = FixedState::with_seed(0);

/// A hash that no two numbers share, so that it stands for the number (the last step of MurmurHash3).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

fn value<'a>(bytes: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let begin = number.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[begin..ends[number]]
}

impl Dictionary {
    /// No values; `kind` is that of all that will come.
    pub(super) fn new(kind: Kind) -> Self {
        let (bytes, ends, numbers) = Default::default();
        Self { kind, bytes, ends, numbers }
    }

    /// Removes all values and keeps their room.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.numbers.clear();
    }

    /// Makes room for the first values. Those that come later are mostly the same.
    pub(super) fn reserve(&mut self, num_values: usize) {
        if self.ends.is_empty() {
            self.ends.reserve(num_values);
            self.numbers.reserve(num_values, |entry| entry.0);
        }
    }

    /// Returns the number of a value, a new one if it is not there yet.
    pub(super) fn number_of(&mut self, wanted: &[u8]) -> u32 {
        match (self.kind.width(), wanted) {
            (Some(8), wanted) => self.number_of_fixed::<8>(wanted.first_chunk().unwrap_or(&[0; 8])),
            (Some(4), wanted) => self.number_of_fixed::<4>(wanted.first_chunk().unwrap_or(&[0; 4])),
            (Some(_), wanted) => self.number_of_fixed::<1>(wanted.first_chunk().unwrap_or(&[0; 1])),
            (None, wanted) => self.number_of_text(wanted),
        }
    }

    /// As [`Dictionary::number_of`], of a kind of this width.
    #[inline]
    pub(super) fn number_of_fixed<const WIDTH: usize>(&mut self, wanted: &[u8; WIDTH]) -> u32 {
        let mut eight = [0; 8];
        eight[..WIDTH].copy_from_slice(wanted);
        let hash = mixed(u64::from_le_bytes(eight));
        self.found_or_added(hash, wanted, |_, _, _| true)
    }

    /// As [`Dictionary::number_of`], of a kind whose values have no width.
    #[inline]
    pub(super) fn number_of_text(&mut self, wanted: &[u8]) -> u32 {
        let mut hasher = HASHER.build_hasher();
        hasher.write(wanted);
        let is_it = |bytes: &[u8], ends: &[usize], number| value(bytes, ends, number) == wanted;
        self.found_or_added(hasher.finish(), wanted, is_it)
    }

    /// `is_it` decides between values of one hash, by all bytes, where they end, and the number of one.
    #[inline]
    fn found_or_added(
        &mut self,
        hash: u64,
        wanted: &[u8],
        is_it: impl Fn(&[u8], &[usize], usize) -> bool,
    ) -> u32 {
        let Self { bytes, ends, numbers, .. } = self;
        let is_it = |entry: &(u64, u32)| entry.0 == hash && is_it(bytes, ends, entry.1 as usize);
        match numbers.entry(hash, is_it, |entry| entry.0) {
            Entry::Occupied(found) => found.get().1,
            Entry::Vacant(place) => {
                // Rows have 32-bit numbers, see `StoredRows::MAX_ROWS`, and there are not more values than rows.
                let number = ends.len() as u32;
                bytes.extend_from_slice(wanted);
                ends.push(bytes.len());
                place.insert((hash, number));
                number
            }
        }
    }

    /// Returns the value of a number that [`Dictionary::number_of`] gave.
    pub(super) fn value(&self, number: u32) -> &[u8] {
        value(&self.bytes, &self.ends, number as usize)
    }

    /// The bytes of all values, one after the other.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Memory in bytes that is in use, about; the table has room for twice its entries at most.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(self.ends.as_slice()) + self.len() * 2 * size_of::<(u64, u32)>()
    }

    /// Returns a number for each value that orders as the values do, below [`SPREAD`] times their count.
    pub(super) fn ranks(&self) -> Vec<u32> {
        if let Some(distances) = self.distances() {
            return distances;
        }
        let mut sorted: Vec<u32> = (0..self.len() as u32).collect();
        sorted.sort_unstable_by(|left, right| self.kind.compare(self.value(*left), self.value(*right)));
        let mut ranks = vec![0; sorted.len()];
        for (rank, number) in (0..).zip(sorted) {
            ranks[number as usize] = rank;
        }
        ranks
    }

    /// How far each value is from the least, which needs no sorting; `None` but for whole numbers that lie close together.
    fn distances(&self) -> Option<Vec<u32>> {
        if self.kind != Kind::Int64 {
            return None;
        }
        let values = self.bytes.as_chunks().0.iter().map(|value| i64::from_le_bytes(*value));
        let least = values.clone().min()?;
        let most = u32::try_from(self.len()).ok()?.checked_mul(SPREAD)?.min(i32::MAX as u32);
        let distance =
            |value: i64| u32::try_from(value.abs_diff(least)).ok().filter(|distance| *distance < most);
        values.map(distance).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_and_the_empty_one_is_a_value() {
        let mut dictionary = Dictionary::new(Kind::Text);
        let numbers = ["b", "", "a", "b", ""].map(|text| dictionary.number_of(text.as_bytes()));
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
        assert_eq!(dictionary.value(1), b"");
        assert_eq!(dictionary.value(2), b"a");
        assert_eq!(dictionary.ranks(), [2, 0, 1]);
    }

    #[test]
    fn numbers_are_ranked_by_value_and_not_by_their_bytes() {
        let mut dictionary = Dictionary::new(Kind::Int64);
        let numbers = [256_i64, -1, 3, -1].map(|number| dictionary.number_of(&number.to_le_bytes()));
        assert_eq!(numbers, [0, 1, 2, 1]);
        assert_eq!(dictionary.ranks(), [2, 0, 1]);
    }

    #[test]
    fn numbers_that_lie_close_together_are_ranked_by_their_distances() {
        let mut dictionary = Dictionary::new(Kind::Int64);
        let numbers = [7_i64, -1, 46].map(|number| dictionary.number_of(&number.to_le_bytes()));
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(dictionary.ranks(), [8, 0, 47]);
        dictionary.number_of(&i64::MAX.to_le_bytes());
        assert_eq!(dictionary.ranks(), [1, 0, 2, 3]);
    }
}
