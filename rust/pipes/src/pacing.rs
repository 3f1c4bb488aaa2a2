//! When the next S3 chunk may be written.
//!
//! The stock reader takes one chunk per 11 to 12 s, and after the process has ended about one per second for 11 s; chunks that it has
//! not read by then are lost, `closed` among them. So unread chunks must never pile up:
//!
//! * the first chunk goes at once (the reader waits for it), the last one at once;
//! * between two regular chunks lie at least `interval` (15 s);
//! * up to [`BURST`] chunks with urgent messages may go before their time, at least a second apart; each is paid back by the
//!   wait of those after it.
//!
//! So at most one regular, three early and the last chunk wait for the reader: five. This is the virtual scheduling form of the
//! generic cell rate algorithm (ITU-T I.371). Times are durations since the start; there is no clock in here.

use std::time::Duration;

/// How many chunks may go before their time.
const BURST: u32 = 3;
/// Least time between an early chunk and the one before, so that urgent messages travel together.
const EARLY_GAP: Duration = Duration::from_secs(1);
/// Longer than any process lives, and short enough to be added to a clock.
const HELD: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How much the waiting messages are in a hurry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// The next regular chunk will do.
    Regular,
    /// Results and errors.
    Urgent,
    /// The session is closing: this is the last chunk.
    Final,
}

/// The schedule of chunks.
#[derive(Debug)]
pub(crate) struct Pacer {
    interval: Duration,
    /// Nothing goes before the last chunk.
    holds: bool,
    /// When the next regular chunk is due.
    due: Duration,
    last: Option<Duration>,
}

impl Pacer {
    /// Returns a schedule whose first chunk may go at once.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, holds: false, due: Duration::ZERO, last: None }
    }

    /// Returns a schedule in which everything may go at once.
    pub(crate) fn unpaced() -> Self {
        Self::new(Duration::ZERO)
    }

    /// Returns a schedule in which everything goes with the last chunk. What waits until then is bounded by the buffer.
    pub(crate) fn at_the_end() -> Self {
        Self { holds: true, ..Self::unpaced() }
    }

    /// Returns the time from which on a chunk of this urgency may be written.
    pub(crate) fn ready_at(&self, urgency: Urgency) -> Duration {
        match (urgency, self.last) {
            (Urgency::Final, _) => Duration::ZERO,
            _ if self.holds => HELD,
            (_, None) => Duration::ZERO,
            (Urgency::Regular, _) => self.due,
            (Urgency::Urgent, Some(last)) => {
                let allowed = self.due.saturating_sub(self.interval * BURST);
                allowed.max(last + EARLY_GAP.min(self.interval)).min(self.due)
            }
        }
    }

    /// Notes that a chunk was stored at `now`.
    pub(crate) fn stored(&mut self, now: Duration) {
        self.due = self.due.max(now) + self.interval;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_first_chunk_goes_at_once_and_regular_ones_are_an_interval_apart() {
        let mut pacer = Pacer::new(INTERVAL);
        assert_eq!(pacer.ready_at(Urgency::Regular), Duration::ZERO);

        pacer.stored(seconds(2));
        assert_eq!(pacer.ready_at(Urgency::Regular), seconds(17));

        pacer.stored(seconds(40));
        assert_eq!(pacer.ready_at(Urgency::Regular), seconds(55));
    }

    #[test]
    fn three_urgent_chunks_may_go_early_and_are_paid_back() {
        let mut pacer = Pacer::new(INTERVAL);
        pacer.stored(seconds(0));

        for expected in [1, 2, 3] {
            assert_eq!(pacer.ready_at(Urgency::Urgent), seconds(expected));
            pacer.stored(seconds(expected));
        }

        assert_eq!(pacer.ready_at(Urgency::Urgent), seconds(15));
        assert_eq!(pacer.ready_at(Urgency::Regular), seconds(60));
        pacer.stored(seconds(60));
        assert_eq!(pacer.ready_at(Urgency::Urgent), seconds(61));
    }

    #[test]
    fn the_last_chunk_never_waits() {
        let mut pacer = Pacer::new(INTERVAL);
        pacer.stored(seconds(0));

        assert_eq!(pacer.ready_at(Urgency::Final), Duration::ZERO);
    }

    #[test]
    fn without_an_interval_nothing_waits() {
        let mut pacer = Pacer::unpaced();
        pacer.stored(seconds(5));

        assert!(pacer.ready_at(Urgency::Regular) <= seconds(5));
        assert!(pacer.ready_at(Urgency::Urgent) <= seconds(5));
    }

    #[test]
    fn held_messages_go_with_the_last_chunk_only() {
        let pacer = Pacer::at_the_end();

        assert_eq!(pacer.ready_at(Urgency::Regular), HELD);
        assert_eq!(pacer.ready_at(Urgency::Urgent), HELD);
        assert_eq!(pacer.ready_at(Urgency::Final), Duration::ZERO);
    }

    /// The stock reader as measured: one chunk per period while the process lives.
    fn unread_at_the_end(stored: &[Duration], period: Duration) -> usize {
        let end = stored.last().copied().unwrap_or_default();
        let (mut read, mut poll) = (0, Duration::from_millis(900));
        while poll <= end {
            if stored.get(read).is_some_and(|time| *time <= poll) {
                read += 1;
            }
            poll += period;
        }
        stored.len() - read
    }

    proptest! {
        #[test]
        fn the_stock_reader_never_has_more_than_five_chunks_before_it(
            waits in prop::collection::vec((0_u64..40_000, any::<bool>()), 1..200),
            period_ms in 10_500_u64..13_000,
        ) {
            let mut pacer = Pacer::new(INTERVAL);
            let (mut now, mut stored) = (Duration::ZERO, Vec::new());
            for (wait_ms, is_urgent) in waits {
                let urgency = if is_urgent { Urgency::Urgent } else { Urgency::Regular };
                now = (now + Duration::from_millis(wait_ms)).max(pacer.ready_at(urgency));
                pacer.stored(now);
                stored.push(now);
            }
            stored.push(now.max(pacer.ready_at(Urgency::Final)));

            prop_assert!(unread_at_the_end(&stored, Duration::from_millis(period_ms)) <= 5);
        }
    }
}
