//! When listeners come: the daily warp, the weekend's thinning, and the next start of a session.
//!
//! Times are whole seconds since 1970-01-01 UTC; all listeners share one clock without time zones. Pure functions of their
//! arguments and the random stream. The shape follows Eventsim: gaps are exponential, then bent towards the afternoon, then
//! thinned at weekends; the result is never before the end of the last session.

use crate::{
    holidays::Holidays,
    profile::{Daily, Rates, Weekend},
    rng::Rng,
};

/// Seconds of a day.
pub const DAY: i64 = 86_400;
/// Seconds of a year, as rates count it.
pub const YEAR_SECONDS: f64 = 365.0 * 86_400.0;

/// The calendar of a profile: what bends and thins session starts.
#[derive(Clone, Debug)]
pub struct Calendar {
    daily: Daily,
    weekend: Weekend,
    holidays: Holidays,
    session_gap: i64,
}

impl Calendar {
    /// Returns the calendar of a profile's settings.
    pub fn new(rates: &Rates, daily: &Daily, weekend: &Weekend) -> Self {
        Self {
            daily: daily.clone(),
            weekend: weekend.clone(),
            // A checked profile names a country that is known.
            holidays: Holidays::of(&weekend.holidays).unwrap_or_default(),
            session_gap: rates.session_gap_seconds,
        }
    }

    /// Returns `time` moved towards the busy half of the day.
    ///
    /// The density of the result relative to a flat one is 1 / (1 + 2 pi damping cos(theta)): for a damping of 0.09375 it is
    /// 0.63 in the quietest hour and 2.43 twelve hours later.
    pub fn warp(&self, time: i64) -> i64 {
        let second_of_day = time.rem_euclid(DAY) as f64 - self.daily.quietest_hour * 3600.0;
        let angle = std::f64::consts::TAU * second_of_day / DAY as f64;
        time + (self.daily.damping * DAY as f64 * angle.sin()) as i64
    }

    /// Returns whether few come on a day, counted from 1970-01-01: a Saturday, a Sunday or a holiday.
    fn is_quiet(&self, day: i64) -> bool {
        // 1970-01-01 was a Thursday.
        matches!(day.rem_euclid(7), 2 | 3) || self.holidays.contains(day)
    }

    /// Returns the probability with which a session start at `time` is rejected: the damping of weekends and holidays, with
    /// linear ramps up to them and down from them.
    pub fn rejection(&self, time: i64) -> f64 {
        let offset = self.weekend.offset_minutes * 60;
        let scale = (self.weekend.scale_minutes * 60).max(1) as f64;
        let (day, since_midnight) = (time.div_euclid(DAY), time.rem_euclid(DAY));
        let rise = |midnight: i64| ((since_midnight - midnight + offset) as f64 / scale).clamp(0.0, 1.0);
        let fall = |midnight: i64| ((midnight + offset - since_midnight) as f64 / scale).clamp(0.0, 1.0);
        let (before, after) = (self.is_quiet(day - 1), self.is_quiet(day + 1));
        let share = if self.is_quiet(day) {
            let risen = if before { 1.0 } else { rise(0) };
            let falling = if after { 1.0 } else { fall(DAY) };
            risen.min(falling)
        } else {
            let rising = if after { rise(DAY) } else { 0.0 };
            let fallen = if before { fall(0) } else { 0.0 };
            rising.max(fallen)
        };
        self.weekend.damping * share
    }

    /// Returns the start of the session after one that ended at `last`, for a listener with a mean gap of `beta` seconds.
    pub fn next_session_start(&self, last: i64, beta: f64, rng: &mut Rng) -> i64 {
        let mut last = last;
        loop {
            let gap = rng.exponential_seconds(beta) + self.session_gap;
            let next = self.warp(last + gap);
            if next < last {
                last += self.session_gap;
            } else if rng.chance(self.rejection(next)) {
                last = next;
            } else {
                return next;
            }
        }
    }

    /// Returns the start of a listener's first session in a run that starts at `start`: up to one mean gap before it, so that
    /// the run begins in the middle of lives and not with everybody arriving.
    pub fn first_session_start(&self, start: i64, beta: f64, rng: &mut Rng) -> i64 {
        let mut candidate = self.next_session_start(start - (2.0 * beta) as i64, beta, rng);
        while candidate < start - beta as i64 {
            candidate = self.next_session_start(candidate, beta, rng);
        }
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    /// Monday 2026-02-23.
    const MONDAY: i64 = 1_771_804_800;
    const HOUR: i64 = 3600;

    fn calendar() -> Calendar {
        let profile = crate::profile::Profile::builtin("example").unwrap();
        Calendar::new(&profile.rates, &profile.daily, &profile.weekend)
    }

    #[test]
    fn weekend_ramps_from_friday_evening_to_monday_morning() {
        let calendar = calendar();
        let at = |day: i64, hour: i64| calendar.rejection(MONDAY + day * DAY + hour * HOUR);

        assert_eq!(at(2, 12), 0.0);
        assert_eq!(at(4, 20), 0.0);
        assert_eq!(at(5, 0), 0.25);
        assert_eq!(at(5, 3), 0.5);
        assert_eq!(at(6, 20), 0.5);
        assert_eq!(at(7, 0), 0.25);
        assert_eq!(at(7, 3), 0.0);
    }

    #[test]
    fn holidays_are_like_weekends_and_join_them() {
        let calendar = calendar();
        let at = |day: i64, hour: i64| calendar.rejection(MONDAY + day * DAY + hour * HOUR);

        // Thanksgiving, Thursday 2026-11-26: 276 days after Monday 2026-02-23.
        assert_eq!(
            [at(275, 12), at(276, 0), at(276, 12), at(277, 0), at(277, 12)],
            [0.0, 0.25, 0.5, 0.25, 0.0]
        );
        // Memorial Day, Monday 2026-05-25: no fall on Sunday night.
        assert_eq!([at(90, 12), at(91, 0), at(91, 12), at(92, 0), at(92, 12)], [0.5, 0.5, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn holidays_lower_the_number_of_sessions_of_their_day() {
        let calendar = calendar();
        let thanksgiving = MONDAY + 276 * DAY;
        let (mut on_it, mut the_week_before) = (0u32, 0u32);

        for listener in 0..40_000 {
            let mut rng = Rng::new(6, Purpose::Listener, listener);
            let mut time = calendar.first_session_start(thanksgiving - 8 * DAY, 259_200.0, &mut rng);
            while time < thanksgiving + DAY {
                on_it += u32::from(time.div_euclid(DAY) == thanksgiving / DAY);
                the_week_before += u32::from(time.div_euclid(DAY) == thanksgiving / DAY - 7);
                time = calendar.next_session_start(time + 1_000, 259_200.0, &mut rng);
            }
        }

        let ratio = f64::from(on_it) / f64::from(the_week_before);
        assert!(
            (ratio - 0.55).abs() < 0.05,
            "{on_it} sessions on the day, {the_week_before} a week before: {ratio}"
        );
    }

    #[test]
    fn warp_stands_still_in_the_quietest_and_busiest_hour_and_is_monotonic() {
        let calendar = calendar();

        assert_eq!(calendar.warp(MONDAY + 3 * HOUR), MONDAY + 3 * HOUR);
        assert_eq!(calendar.warp(MONDAY + 15 * HOUR), MONDAY + 15 * HOUR);
        let warped: Vec<i64> = (0..DAY).step_by(60).map(|second| calendar.warp(MONDAY + second)).collect();
        assert!(warped.is_sorted());
    }

    #[test]
    fn sessions_start_in_the_afternoon_and_on_weekdays() {
        let calendar = calendar();
        let (mut by_hour, mut weekend, mut weekday) = ([0.0f64; 24], 0.0f64, 0.0f64);

        for listener in 0..3_000 {
            let mut rng = Rng::new(5, Purpose::Listener, listener);
            let mut time = calendar.first_session_start(MONDAY, 604_800.0, &mut rng);
            while time < MONDAY + 56 * DAY {
                if time > MONDAY {
                    by_hour[(time.rem_euclid(DAY) / HOUR) as usize] += 1.0;
                    let day = (time - MONDAY) / DAY % 7;
                    *(if day >= 5 { &mut weekend } else { &mut weekday }) += 1.0;
                }
                time = calendar.next_session_start(time + 1_000, 604_800.0, &mut rng);
            }
        }

        let total: f64 = by_hour.iter().sum();
        assert!((by_hour[15] / total - 0.095).abs() < 0.007, "15 h: {}", by_hour[15] / total);
        assert!((by_hour[3] / total - 0.0266).abs() < 0.005, "3 h: {}", by_hour[3] / total);
        let ratio = (weekend / 2.0) / (weekday / 5.0);
        assert!((ratio - 0.518).abs() < 0.03, "weekend to weekday {ratio}");
    }
}
