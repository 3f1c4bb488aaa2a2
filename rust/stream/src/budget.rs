//! One byte budget that all topics share: what is in memory between Kafka and the store is accounted for here.
//!
//! Who holds bytes holds a [`Reservation`] and resizes it as the bytes grow; dropping it gives them back. Reserving
//! never waits and never fails: bytes that exist are counted, whatever the limit. The limit acts at one place, where
//! new bytes come from: intake does not take another batch while the budget [is exhausted](Budget::is_exhausted), and
//! Kafka's own bounded queue then stops the fetching. So the limit can be passed by what was under way when it was
//! reached: one batch per intake thread, and the second copy of rows that are being sorted, which are never more than what
//! is reserved already. So twice the limit is the bound, and a quarter above it what is seen at full speed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The shared budget, in bytes.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    gate: Mutex<()>,
    freed: Condvar,
}

impl Budget {
    /// Returns a budget of `limit` bytes of which nothing is used.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            gate: Mutex::new(()),
            freed: Condvar::new(),
        })
    }

    /// Returns the limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the bytes reserved now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns the most bytes that were ever reserved at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Returns whether no new records may be taken in.
    pub fn is_exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    /// Returns whether three quarters are used: whoever holds bytes that could be written out should do so.
    pub fn is_tight(&self) -> bool {
        self.used() >= self.limit / 4 * 3
    }

    /// Waits until there is room, at most `timeout`; returns whether there is.
    ///
    /// Blocks the calling thread; meant for intake threads, not for async code.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        if !self.is_exhausted() {
            return true;
        }
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(gate, timeout, |()| self.is_exhausted());
        drop(waited);
        !self.is_exhausted()
    }

    /// Reserves `bytes`, over the limit too.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        let mut reservation = Reservation { budget: Arc::clone(self), bytes: 0 };
        reservation.resize(bytes);
        reservation
    }

    fn add(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        if before >= self.limit && before - bytes < self.limit {
            // The lock orders this wake-up after the check of a thread that is about to wait.
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.freed.notify_all();
        }
    }
}

/// Bytes of a [`Budget`] held by somebody; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Returns the bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds `bytes` from now on, more or fewer than before.
    pub fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.add(bytes - self.bytes);
        } else if bytes < self.bytes {
            self.budget.subtract(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Takes over the bytes of another reservation of the same budget.
    pub fn absorb(&mut self, mut other: Reservation) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Hands all bytes on, and holds none from now on.
    pub fn take(&mut self) -> Reservation {
        Reservation { budget: Arc::clone(&self.budget), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_counted_and_given_back() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(40);
        let second = budget.reserve(30);
        assert_eq!(budget.used(), 70);

        first.resize(90);
        assert_eq!((budget.used(), budget.is_exhausted()), (120, true));
        drop(second);
        first.resize(10);
        assert_eq!((budget.used(), budget.is_exhausted(), budget.peak()), (10, false, 120));
        drop(first);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_change_hands_without_being_counted_twice() {
        let budget = Budget::new(100);
        let mut from = budget.reserve(40);
        let mut to = budget.reserve(5);

        to.absorb(from.take());

        assert_eq!((from.bytes(), to.bytes(), budget.used()), (0, 45, 45));
        drop(from);
        assert_eq!(budget.used(), 45);
    }

    #[test]
    fn a_waiting_thread_goes_on_as_soon_as_there_is_room() {
        let budget = Budget::new(10);
        let held = budget.reserve(10);
        assert!(!budget.wait_for_room(Duration::ZERO));

        let waiter = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.wait_for_room(Duration::from_secs(60)))
        };
        drop(held);

        assert!(waiter.join().unwrap());
    }
}
