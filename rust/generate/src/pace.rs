//! When an event may leave: as fast as possible, faster than life by a factor, or when the wall clock has come to its time; and
//! in each case at most so many records a second.
//!
//! A [`Pacer`] only says how long still to wait; whoever asks does the waiting, and asks again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// A rate cap may be ahead of its schedule by this much, so that nobody sleeps for microseconds.
const SLACK: Duration = Duration::from_millis(5);

/// The time of day, and a time that only goes forward.
#[derive(Clone, Debug)]
pub struct WallClock {
    started: Instant,
    /// For tests: milliseconds since 1970, moved by hand.
    by_hand: Option<(i64, Arc<AtomicI64>)>,
}

impl WallClock {
    /// Returns the clock of the system.
    pub fn system() -> Self {
        Self { started: Instant::now(), by_hand: None }
    }

    /// Returns a clock that shows `now_ms` until it is moved.
    pub fn by_hand(now_ms: i64) -> Self {
        Self { started: Instant::now(), by_hand: Some((now_ms, Arc::new(AtomicI64::new(now_ms)))) }
    }

    /// Moves a clock made by [`Self::by_hand`], and all its copies.
    pub fn advance(&self, time: Duration) {
        if let Some((_, now)) = &self.by_hand {
            now.fetch_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// Returns the time of day, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        match &self.by_hand {
            Some((_, now)) => now.load(Ordering::Relaxed),
            None => chrono::Utc::now().timestamp_millis(),
        }
    }

    /// Returns the time since the clock was made.
    pub fn elapsed(&self) -> Duration {
        match &self.by_hand {
            Some((origin, now)) => {
                Duration::from_millis(u64::try_from(now.load(Ordering::Relaxed) - origin).unwrap_or(0))
            }
            None => self.started.elapsed(),
        }
    }
}

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pace {
    /// As fast as events can be made.
    #[default]
    Fastest,
    /// So many simulated seconds in a second, from the start on.
    Compressed(f64),
    /// As fast as possible up to the present, then in step with the wall clock.
    Live,
}

/// Says when events may leave.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    /// Time between two records.
    gap: Option<Duration>,
    clock: WallClock,
    /// Simulated time, in milliseconds since 1970, at which the clock was started.
    origin_ms: i64,
    /// When the next record may leave, by the clock's own time.
    next_at: Duration,
}

impl Pacer {
    /// Starts at simulated time `origin_ms`; `max_eps`: most records a second.
    pub fn new(pace: Pace, max_eps: Option<f64>, clock: WallClock, origin_ms: i64) -> Self {
        let gap = max_eps.map(|eps| Duration::try_from_secs_f64(1.0 / eps).unwrap_or(Duration::MAX));
        let next_at = clock.elapsed();
        Self { pace, gap, clock, origin_ms, next_at }
    }

    /// Returns whether there is anything to wait for at all.
    pub fn is_free(&self) -> bool {
        self.pace == Pace::Fastest && self.gap.is_none()
    }

    /// Returns how long events of the time `ts_ms` still have to wait; zero: they may leave.
    pub fn wait(&self, ts_ms: i64) -> Duration {
        let elapsed = self.clock.elapsed();
        let by_time = match self.pace {
            Pace::Fastest => Duration::ZERO,
            Pace::Compressed(speed) => {
                let simulated = Duration::from_millis(u64::try_from(ts_ms - self.origin_ms).unwrap_or(0));
                // Beyond what a Duration can hold is as good as never.
                let due =
                    Duration::try_from_secs_f64(simulated.as_secs_f64() / speed).unwrap_or(Duration::MAX);
                due.saturating_sub(elapsed)
            }
            Pace::Live => Duration::from_millis(u64::try_from(ts_ms - self.clock.now_ms()).unwrap_or(0)),
        };
        let ahead = self.next_at.saturating_sub(elapsed);
        let by_rate = if ahead > SLACK { ahead } else { Duration::ZERO };
        by_time.max(by_rate)
    }

    /// Counts records that leave.
    pub fn sent(&mut self, num_records: usize) {
        if let Some(gap) = self.gap {
            let next = self.next_at.max(self.clock.elapsed());
            let gaps = gap.checked_mul(u32::try_from(num_records).unwrap_or(u32::MAX));
            self.next_at = gaps.and_then(|gaps| next.checked_add(gaps)).unwrap_or(Duration::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_771_804_800_000;

    #[test]
    fn live_events_wait_for_their_time_and_past_ones_do_not() {
        let clock = WallClock::by_hand(NOW);
        let pacer = Pacer::new(Pace::Live, None, clock.clone(), NOW - 86_400_000);

        assert_eq!(pacer.wait(NOW - 5_000), Duration::ZERO);
        assert_eq!(pacer.wait(NOW + 5_000), Duration::from_secs(5));
        clock.advance(Duration::from_secs(5));
        assert_eq!(pacer.wait(NOW + 5_000), Duration::ZERO);
    }

    #[test]
    fn compressed_time_runs_by_its_factor() {
        let clock = WallClock::by_hand(NOW);
        let pacer = Pacer::new(Pace::Compressed(1440.0), None, clock.clone(), 0);

        assert_eq!(pacer.wait(86_400_000), Duration::from_secs(60));
        clock.advance(Duration::from_secs(59));
        assert_eq!(pacer.wait(86_400_000), Duration::from_secs(1));
    }

    #[test]
    fn no_second_has_more_records_than_the_cap() {
        let clock = WallClock::by_hand(NOW);
        let mut pacer = Pacer::new(Pace::Fastest, Some(100.0), clock.clone(), NOW);
        let mut sent_at = Vec::new();
        while sent_at.len() < 1_000 {
            let wait = pacer.wait(NOW);
            if wait.is_zero() {
                pacer.sent(2);
                sent_at.extend([clock.elapsed(); 2]);
            }
            clock.advance(wait.max(Duration::from_millis(1)));
        }

        let last = sent_at.last().unwrap().as_secs_f64();
        assert!((9.9..10.2).contains(&last), "1000 records in {last} s");
        for (index, time) in sent_at.iter().enumerate() {
            let within = sent_at[index..].iter().take_while(|later| **later < *time + Duration::from_secs(1));
            assert!(within.count() <= 102);
        }
        // A pause is not made up for by a burst.
        clock.advance(Duration::from_secs(60));
        pacer.sent(100);
        assert!(pacer.wait(NOW) > Duration::from_millis(900));
    }
}
