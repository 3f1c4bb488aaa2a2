//! Which delivery of an event becomes its row: the first one, unless silver has the event already.
//!
//! Memory is bounded by dividing the ids into buckets and taking one bucket at a time: offer every row to
//! `FirstDelivery::new(bucket, buckets)`, seal it, name the ids that silver has, finish; [`Deliveries::add`] puts the buckets together.
//! The result depends neither on the number of buckets nor on the order of rows and ids. About [`BYTES_PER_ID`] per id of
//! the bucket are held; ids of silver that no row has cost nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use arrow::array::BooleanArray;

/// The most bytes held per distinct id, between two growths of the table.
pub const BYTES_PER_ID: usize = 150;

// A table is at least 7/16 full after it has grown, and has one byte per place beside the entry.
const _: () = assert!((size_of::<(Id, Best)>() + 1) * 16 / 7 <= BYTES_PER_ID);

/// Where a delivery came from; the least one is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Coordinates {
    /// Source epoch.
    pub epoch: i32,
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
}

/// The most ids with several deliveries that are remembered, about 60 MB.
pub const MAX_CONTESTED: usize = 1_000_000;

/// Returns the bucket that an id belongs to, below `buckets`.
#[must_use]
pub fn bucket_of(id: u128, buckets: u32) -> u32 {
    // The top 32 bits, scaled; the product is below 2^32 * buckets.
    (((id >> 96) * u128::from(buckets)) >> 32) as u32
}

/// Collects the deliveries of one bucket.
#[derive(Debug)]
pub struct FirstDelivery {
    bucket: u32,
    buckets: u32,
    ids: HashMap<Id, Best, BuildHasherDefault<IdHasher>>,
    rows: usize,
}

/// The first delivery of an id so far.
#[derive(Clone, Copy, Debug)]
struct Best {
    coordinates: Coordinates,
    row: usize,
    offered: u32,
    payload: Option<i32>,
    is_known: bool,
    is_disputed: bool,
}

impl Best {
    /// Remembers whether all payloads of the id are equal.
    fn compare(&mut self, payload: Option<i32>) {
        self.is_disputed |= matches!((self.payload, payload), (Some(one), Some(other)) if one != other);
        self.payload = self.payload.or(payload);
    }
}

/// In two halves, so that an entry needs no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id(u64, u64);

impl Id {
    fn new(id: u128) -> Self {
        Self((id >> 64) as u64, id as u64)
    }

    fn value(self) -> u128 {
        (u128::from(self.0) << 64) | u128::from(self.1)
    }
}

/// Ids are hashes already; folding keeps ids of another origin apart as well.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, half: u64) {
        let product = u128::from(self.0 ^ half ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl FirstDelivery {
    /// Returns an empty collection for `bucket` of `buckets`, counted from 0; no id belongs to a bucket beyond the last.
    #[must_use]
    pub fn new(bucket: u32, buckets: u32) -> Self {
        Self { bucket, buckets: buckets.max(1), ids: HashMap::default(), rows: 0 }
    }

    /// Offers one delivery, in whatever order; returns whether its id belongs to this bucket (if not, nothing happens).
    ///
    /// `row` is the caller's number of the row, each offered once; between equal coordinates (tables that did not keep
    /// them) the lower one is first. `payload` is the row's `_payload_hash`, if it is known.
    pub fn offer(&mut self, id: u128, coordinates: Coordinates, row: usize, payload: Option<i32>) -> bool {
        if bucket_of(id, self.buckets) != self.bucket {
            return false;
        }
        self.rows = self.rows.max(row.saturating_add(1));
        match self.ids.entry(Id::new(id)) {
            Entry::Vacant(place) => {
                let (is_known, is_disputed) = (false, false);
                place.insert(Best { coordinates, row, offered: 1, payload, is_known, is_disputed });
            }
            Entry::Occupied(mut place) => {
                let best = place.get_mut();
                best.offered = best.offered.saturating_add(1);
                best.compare(payload);
                if (coordinates, row) < (best.coordinates, best.row) {
                    (best.coordinates, best.row) = (coordinates, row);
                }
            }
        }
        true
    }

    /// Returns the number of distinct ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no delivery belongs to this bucket; then silver need not be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Ends the offers; now ids of silver can be named, without being held.
    #[must_use]
    pub fn seal(self) -> Sealed {
        Sealed { all: self }
    }
}

/// All deliveries of a bucket, to be held against what silver has.
#[derive(Debug)]
pub struct Sealed {
    all: FirstDelivery,
}

impl Sealed {
    /// Says that silver has this id, with this `_payload_hash` if it was read; ids of other buckets, and ids that nobody
    /// offered, are passed over.
    pub fn known(&mut self, id: u128, payload: Option<i32>) {
        if let Some(best) = self.all.ids.get_mut(&Id::new(id)) {
            best.is_known = true;
            best.compare(payload);
        }
    }

    /// Decides.
    #[must_use]
    pub fn finish(self) -> Deliveries {
        let mut deliveries = Deliveries { kept: RowSet::with_rows(self.all.rows), ..Deliveries::default() };
        for (id, best) in self.all.ids {
            let offered = u64::from(best.offered);
            deliveries.offered += offered;
            deliveries.conflicts += u64::from(best.is_disputed);
            if (best.offered > 1 || best.is_known) && deliveries.contested.len() < MAX_CONTESTED {
                deliveries.contested.insert(id.value(), best.payload);
            }
            if best.is_known {
                deliveries.already_known += offered;
            } else {
                deliveries.duplicates += offered - 1;
                deliveries.kept.insert(best.row);
            }
        }
        deliveries
    }
}

/// What became of the rows; `offered` is `kept` + `duplicates` + `already_known`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// The rows that become rows of silver.
    pub kept: RowSet,
    /// Rows offered.
    pub offered: u64,
    /// Rows whose event has a kept row beside them.
    pub duplicates: u64,
    /// Rows whose event was in silver before.
    pub already_known: u64,
    /// Ids whose payload hashes, silver's included, are not all equal, as far as they were given.
    pub conflicts: u64,
    /// Ids with more than one delivery, silver's included, and the first payload hash that was given for them; at most
    /// [`MAX_CONTESTED`]. For who knows the payloads only when the rows are read.
    pub contested: HashMap<u128, Option<i32>>,
}

impl Deliveries {
    /// Adds another bucket of the same rows.
    pub fn add(&mut self, other: &Deliveries) {
        self.kept.add(&other.kept);
        self.offered += other.offered;
        self.duplicates += other.duplicates;
        self.already_known += other.already_known;
        self.conflicts += other.conflicts;
        let room = MAX_CONTESTED.saturating_sub(self.contested.len());
        self.contested.extend(other.contested.iter().take(room).map(|(id, payload)| (*id, *payload)));
    }
}

/// A set of row numbers, one bit each.
#[derive(Clone, Debug, Default)]
pub struct RowSet {
    words: Vec<u64>,
}

impl RowSet {
    fn with_rows(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)] }
    }

    fn insert(&mut self, row: usize) {
        if row / 64 >= self.words.len() {
            self.words.resize(row / 64 + 1, 0);
        }
        self.words[row / 64] |= 1 << (row % 64);
    }

    fn add(&mut self, other: &Self) {
        self.words.resize(self.words.len().max(other.words.len()), 0);
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Whether the row is in the set.
    #[must_use]
    pub fn contains(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Returns the number of rows in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Returns whether each of the rows is in the set, as Arrow's filter takes it.
    #[must_use]
    pub fn mask(&self, rows: Range<usize>) -> BooleanArray {
        rows.map(|row| Some(self.contains(row))).collect()
    }
}

/// Equal if they have the same rows, however much room they have.
impl PartialEq for RowSet {
    fn eq(&self, other: &Self) -> bool {
        let end = self.words.len().max(other.words.len());
        let word = |set: &Self, index: usize| set.words.get(index).copied().unwrap_or(0);
        (0..end).all(|index| word(self, index) == word(other, index))
    }
}

impl Eq for RowSet {}
