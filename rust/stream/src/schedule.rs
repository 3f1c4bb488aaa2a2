//! When a topic's next commit begins: from the freshness goal and from what commits cost, not from a fixed interval.

use std::time::Duration;

use tokio::time::Instant;

/// How soon after the start the first commit begins: an unwritable table should show at once, not after an interval.
const FIRST: Duration = Duration::from_millis(200);
/// The weight of the latest commit in the running mean of the costs.
const NEWEST_WEIGHT: f64 = 0.3;

/// The commit times of one topic.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    freshness: Duration,
    last_cut: Instant,
    cost: Option<Duration>,
}

impl Schedule {
    /// Returns the schedule for a freshness goal, from `now` on.
    pub fn new(freshness: Duration, now: Instant) -> Self {
        Self { freshness, last_cut: now, cost: None }
    }

    /// Notes that a cut was asked for.
    pub fn cut(&mut self, now: Instant) {
        self.last_cut = now;
    }

    /// Notes how long the way from a cut to the landed commit took.
    pub fn landed(&mut self, cost: Duration) {
        let mean = match self.cost {
            None => cost,
            Some(mean) => mean.mul_f64(1.0 - NEWEST_WEIGHT) + cost.mul_f64(NEWEST_WEIGHT),
        };
        self.cost = Some(mean);
    }

    /// Returns when the next cut is due.
    ///
    /// A record that comes right after a cut waits for one interval and one commit; both together are to be the goal. At
    /// least a quarter of the goal lies between two cuts, so that a slow catalog is not asked without a pause.
    pub fn due(&self) -> Instant {
        let interval = match self.cost {
            None => FIRST.min(self.freshness),
            Some(cost) => self.freshness.saturating_sub(cost).max(self.freshness / 4),
        };
        self.last_cut + interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOAL: Duration = Duration::from_secs(8);

    fn interval(costs: &[u64]) -> Duration {
        let now = Instant::now();
        let mut schedule = Schedule::new(GOAL, now);
        for cost in costs {
            schedule.landed(Duration::from_secs(*cost));
        }
        schedule.due() - now
    }

    #[test]
    fn the_first_commit_comes_early() {
        assert_eq!(interval(&[]), FIRST);
    }

    #[test]
    fn interval_and_cost_together_are_the_goal() {
        assert_eq!(interval(&[3]), Duration::from_secs(5));
    }

    #[test]
    fn a_catalog_slower_than_the_goal_gets_a_pause() {
        assert_eq!(interval(&[60]), GOAL / 4);
    }

    #[test]
    fn one_slow_commit_does_not_decide_alone() {
        let after = interval(&[1, 1, 4]);
        assert!(after > Duration::from_secs(6) && after < Duration::from_secs(7), "{after:?}");
    }
}
