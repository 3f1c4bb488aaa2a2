//! Deliveries that wait for their time: late events by event time, second deliveries by the number of records passed.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Fault, Role};
use crate::event::Topic;

/// A delivery that waits.
#[derive(Debug)]
pub struct Waiting {
    /// What it waits for: an event time in milliseconds, or a number of records.
    pub(super) due: i64,
    /// Ties go by the order of their originals.
    pub(super) original: u64,
    pub(super) topic: Topic,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) role: Role,
    pub(super) faults: Vec<Fault>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.original) == (other.due, other.original)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.original).cmp(&(other.due, other.original))
    }
}

/// Deliveries by the time they wait for, the earliest first.
#[derive(Debug, Default)]
pub struct Queue(BinaryHeap<Reverse<Waiting>>);

/// What a queue takes.
pub(super) struct Entry<'a> {
    pub(super) due: i64,
    pub(super) original: u64,
    pub(super) topic: Topic,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) role: Role,
    pub(super) faults: Vec<Fault>,
}

impl Queue {
    /// Adds a delivery.
    pub(super) fn push(&mut self, entry: Entry<'_>) {
        let Entry { due, original, topic, key, value, role, faults } = entry;
        let (key, value) = (key.map(<[u8]>::to_vec), value.to_vec());
        self.0.push(Reverse(Waiting { due, original, topic, key, value, role, faults }));
    }

    /// Adds a delivery that waited before.
    pub(super) fn push_waiting(&mut self, waiting: Waiting) {
        self.0.push(Reverse(waiting));
    }

    /// Returns all deliveries, in the order of their times.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        let mut all: Vec<&Waiting> = self.0.iter().map(|Reverse(waiting)| waiting).collect();
        all.sort();
        all.into_iter()
    }

    /// Drops the deliveries of records from number `first` on.
    pub(super) fn forget_from(&mut self, first: u64) {
        self.0.retain(|Reverse(waiting)| waiting.original < first);
    }

    /// Returns the first delivery that is due at `now` or before it.
    pub(super) fn pop_due(&mut self, now: i64) -> Option<Waiting> {
        if self.0.peek()?.0.due > now {
            return None;
        }
        self.0.pop().map(|Reverse(waiting)| waiting)
    }
}
