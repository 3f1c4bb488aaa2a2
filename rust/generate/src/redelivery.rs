//! Exact duplicates: some records are delivered a second time, a little later, as restarted producers do.
//!
//! Which records, and how much later, comes from a random stream of its own, so a run with duplicates is the run without them
//! plus copies. A copy has the key, topic and bytes of its original and comes after it.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::{
    event::Topic,
    rng::{Purpose, Rng},
};

/// A copy comes at most this many records after its original.
const MAX_DELAY_RECORDS: usize = 2_000;

/// Copies waiting for their time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Redelivery {
    rng: Rng,
    rate: f64,
    num_records: u64,
    waiting: BinaryHeap<Reverse<Copy>>,
}

/// A second delivery of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Copy {
    due: u64,
    original: u64,
    /// Topic of the record.
    pub topic: Topic,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
}

impl Redelivery {
    /// Starts; each record is copied with probability `rate`.
    pub fn new(seed: u64, rate: f64) -> Self {
        let rng = Rng::new(seed, Purpose::Duplicates, 0);
        Self { rng, rate, num_records: 0, waiting: BinaryHeap::new() }
    }

    /// Sees a record that was delivered, and perhaps keeps a copy.
    pub fn saw(&mut self, topic: Topic, key: Option<&[u8]>, value: &[u8]) {
        self.num_records += 1;
        if self.rate > 0.0 && self.rng.chance(self.rate) {
            let due = self.num_records + self.rng.below(MAX_DELAY_RECORDS) as u64;
            let (key, value) = (key.map(<[u8]>::to_vec), value.to_vec());
            self.waiting.push(Reverse(Copy { due, original: self.num_records, topic, key, value }));
        }
    }

    /// Returns a copy whose time has come; with `is_over`, any copy that is left.
    pub fn take_due(&mut self, is_over: bool) -> Option<Copy> {
        let Reverse(next) = self.waiting.peek()?;
        if next.due > self.num_records && !is_over {
            return None;
        }
        self.waiting.pop().map(|Reverse(copy)| copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_of_records_seen_and_all_come_in_the_end() {
        let mut redelivery = Redelivery::new(1, 0.1);
        let mut copies = 0;
        for record in 0..10_000u32 {
            redelivery.saw(Topic::Listen, None, &record.to_le_bytes());
            while let Some(copy) = redelivery.take_due(false) {
                assert!(u32::from_le_bytes(copy.value.try_into().unwrap()) <= record);
                copies += 1;
            }
        }
        while redelivery.take_due(true).is_some() {
            copies += 1;
        }

        assert!((900..1_100).contains(&copies), "{copies} copies of 10000 records");
    }
}
