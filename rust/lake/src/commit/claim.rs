//! A committer's claim on its table: the lease that travels with each of its commits.
//!
//! The leases stand in a table property, which a catalog does not compare; but they only change together with a snapshot,
//! and that asserts the head it was made for. So of two writers who take a lease at once, one is refused or looks again.

use std::time::Duration;

use streamify_core::lease::{Lease, LeaseError, Leases, Process};

/// Tells whether a process has surely ended.
pub type HasDied = fn(&Process) -> bool;

/// A writer's claim on a table.
#[derive(Clone, Debug)]
pub struct Claim {
    lease: Lease,
    time: Duration,
    take_over: bool,
    has_died: HasDied,
    is_taken: bool,
    is_ending: bool,
}

impl Claim {
    /// Returns a claim that is not in the table yet.
    ///
    /// # Arguments
    /// * `lease`: whose and for what; its times are set with each commit.
    /// * `time`: how long the lease holds after each commit.
    /// * `take_over`: whether to take the place of another writer.
    pub fn new(lease: Lease, time: Duration, take_over: bool, has_died: HasDied) -> Self {
        Self { lease, time, take_over, has_died, is_taken: false, is_ending: false }
    }

    /// Returns the writer's id.
    pub fn writer_id(&self) -> &str {
        &self.lease.writer_id
    }

    /// Returns whether the lease is in the table.
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Returns the other writer that has the table at present; none for one that takes over.
    pub fn holder<'a>(&self, leases: &'a Leases, now_ms: i64) -> Option<&'a Lease> {
        if self.take_over { None } else { leases.holder(&self.lease, now_ms, self.has_died) }
    }

    /// Returns the table's leases after the next commit.
    pub(super) fn next(&self, leases: &Leases, now_ms: i64) -> Result<Leases, LeaseError> {
        if self.is_ending {
            return Ok(leases.without(&self.lease.writer_id));
        }
        let time_ms = i64::try_from(self.time.as_millis()).unwrap_or(i64::MAX / 2);
        let since_ms = if self.is_taken { self.lease.since_ms } else { now_ms };
        let lease = Lease { since_ms, valid_until_ms: now_ms + time_ms, ..self.lease.clone() };
        if self.is_taken {
            leases.renew(&lease)
        } else {
            leases.take(&lease, now_ms, self.take_over, self.has_died)
        }
    }

    /// What the next commit does to the lease, in a word.
    pub(super) fn verb(&self) -> &'static str {
        match (self.is_ending, self.is_taken) {
            (true, _) => "given up",
            (false, true) => "renewed",
            (false, false) => "taken",
        }
    }

    pub(super) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Takes note of a landing at `now_ms`.
    pub(super) fn landed(&mut self, now_ms: i64) {
        if !self.is_taken {
            self.lease.since_ms = now_ms;
        }
        // Who is taken over once must not be pushed out by every commit after it.
        self.take_over = false;
        self.is_taken = !self.is_ending;
    }
}
