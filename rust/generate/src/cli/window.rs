//! The window of a run: what its start and end are, out of what was said about them.

use anyhow::{Context, Result, bail};
use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::{pace::Pace, simulation::ENDLESS};

/// The window of a run in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Events are later than this.
    pub start_ms: i64,
    /// Events are earlier than this.
    pub end_ms: i64,
}

const DAY_MS: f64 = 86_400_000.0;
const DEFAULT_DAYS: f64 = 7.0;
/// 1970 to 2200: what every reader of milliseconds can take.
const TIME_RANGE_MS: std::ops::Range<i64> = 0..7_258_118_400_000;

/// What was said about the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// A time, or `now`.
    pub start: Option<&'a str>,
    /// A time, or `now`.
    pub end: Option<&'a str>,
    /// Its length.
    pub days: Option<f64>,
    /// The start, in days before now.
    pub from: Option<f64>,
    /// The end, in days before now.
    pub to: Option<f64>,
    /// Without an end of its own there is none.
    pub is_continuous: bool,
    /// The start of the run that is resumed, in milliseconds since 1970; it takes the place of a start relative to now.
    pub resumed_ms: Option<i64>,
}

impl Wanted<'_> {
    fn start_ms(&self, now_ms: i64) -> Result<Option<i64>> {
        let given = match (self.start, self.from) {
            (Some(text), _) => Some(parse_time(text, now_ms).context("invalid `--start`")?),
            (None, Some(days)) => Some(now_ms - (days * DAY_MS) as i64),
            (None, None) => None,
        };
        let is_absolute = self.start.is_some_and(|text| text != "now");
        Ok(if is_absolute { given } else { self.resumed_ms.or(given) })
    }

    fn end_ms(&self, now_ms: i64) -> Result<Option<i64>> {
        Ok(match (self.end, self.to) {
            (Some(text), _) => Some(parse_time(text, now_ms).context("invalid `--end`")?),
            (None, Some(days)) => Some(now_ms - (days * DAY_MS) as i64),
            (None, None) => None,
        })
    }
}

impl Window {
    /// Resolves what was said at the time `now_ms`.
    ///
    /// # Errors
    /// Says which value cannot be meant, or which are too many.
    pub fn resolve(wanted: &Wanted<'_>, now_ms: i64) -> Result<Self> {
        if let Some(days) = wanted.days
            && !(days > 0.0 && days <= 100_000.0)
        {
            bail!("invalid `--days`: {days} is not between 0 and 100000");
        }
        let length = (wanted.days.unwrap_or(DEFAULT_DAYS) * DAY_MS) as i64;
        let says_start = wanted.start.is_some() || wanted.from.is_some();
        let (start, end) = (wanted.start_ms(now_ms)?, wanted.end_ms(now_ms)?);
        if says_start && end.is_some() && wanted.days.is_some() {
            bail!("`--start`, `--end` and `--days` are one too many; leave one out");
        }
        let start_ms = start.unwrap_or_else(|| end.unwrap_or(now_ms) - length);
        let end_ms = match end {
            Some(end) => end,
            None if wanted.is_continuous => ENDLESS,
            // A window that was open to the past goes up to now.
            None if wanted.from.is_some() && wanted.days.is_none() => now_ms,
            None if says_start => start_ms + length,
            None => now_ms,
        };
        if start_ms >= end_ms {
            bail!("the start ({}) is not before the end ({})", show_time(start_ms), show_time(end_ms));
        }
        let is_in_range = |time| TIME_RANGE_MS.contains(&time) || time == ENDLESS;
        if !is_in_range(start_ms) || !is_in_range(end_ms) {
            let (start, end) = (show_time(start_ms), show_time(end_ms));
            bail!("the window from {start} to {end} leaves the years 1970 to 2199");
        }
        Ok(Self { start_ms, end_ms })
    }
}

impl Window {
    /// Returns whether a run at `pace` that starts at `now_ms` writes events that lie a day or more in the future, which readers
    /// may refuse.
    pub fn reaches_into_the_future(self, pace: Pace, now_ms: i64) -> bool {
        let day = DAY_MS as i64;
        let starts_ahead = self.start_ms >= now_ms + day && pace != Pace::Live;
        let is_faster = match pace {
            Pace::Fastest => true,
            Pace::Compressed(speed) => speed > 1.0,
            Pace::Live => false,
        };
        let overtakes = is_faster && self.end_ms >= now_ms + day;
        starts_ahead || overtakes
    }
}

/// Returns a time as people read it.
pub fn show_time(time_ms: i64) -> String {
    DateTime::from_timestamp_millis(time_ms)
        .map_or_else(|| format!("{time_ms} ms"), |time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

pub(super) fn parse_time(text: &str, now_ms: i64) -> Result<i64> {
    if text == "now" {
        return Ok(now_ms);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Ok(time.and_utc().timestamp_millis());
        }
    }
    match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(date) => Ok(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()),
        Err(_) => bail!("`{text}` is not a time (expected e.g. `2026-02-23`, `2026-02-23T09:30:00Z`, `now`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_793_000_000_926;

    fn window(start: Option<&str>, end: Option<&str>, days: Option<f64>) -> Result<Window> {
        Window::resolve(&Wanted { start, end, days, ..Wanted::default() }, NOW)
    }

    #[test]
    fn only_live_runs_may_end_in_the_future() {
        let month = window(Some("now"), None, Some(30.0)).unwrap();
        let past = window(None, None, Some(30.0)).unwrap();

        assert!(!month.reaches_into_the_future(Pace::Compressed(1.0), NOW));
        assert!(month.reaches_into_the_future(Pace::Compressed(1440.0), NOW));
        assert!(month.reaches_into_the_future(Pace::Fastest, NOW));
        assert!(!past.reaches_into_the_future(Pace::Fastest, NOW));
    }

    fn message(result: Result<Window>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn window_needs_two_of_three_at_most() {
        let monday = 1_771_804_800_000;
        let day = DAY_MS as i64;

        assert_eq!(window(None, None, Some(2.0)).unwrap(), Window { start_ms: NOW - 2 * day, end_ms: NOW });
        let given = window(Some("2026-02-23"), None, None).unwrap();
        assert_eq!(given, Window { start_ms: monday, end_ms: monday + 7 * day });
        let given = window(Some("2026-02-23T01:00:00.926+01:00"), Some("2026-02-24"), None).unwrap();
        assert_eq!(given, Window { start_ms: monday + 926, end_ms: monday + day });
        assert_eq!(window(Some("now"), None, Some(0.5)).unwrap().end_ms, NOW + day / 2);
    }

    #[test]
    fn windows_that_cannot_be_meant_are_explained() {
        let both = message(window(Some("2026-02-23"), Some("2026-02-24"), Some(1.0)));
        assert_eq!(both, "`--start`, `--end` and `--days` are one too many; leave one out");
        let turned = message(window(Some("2026-02-24"), Some("2026-02-23"), None));
        assert!(turned.contains("(2026-02-24T00:00:00.000Z) is not before the end"), "{turned}");
        let unreadable = message(window(Some("yesterday"), None, None));
        assert!(unreadable.starts_with("invalid `--start`: `yesterday` is not a time"), "{unreadable}");
        assert!(message(window(None, None, Some(-1.0))).starts_with("invalid `--days`: -1"));
        assert!(message(window(Some("0001-01-01"), None, None)).contains("leaves the years"));
    }

    #[test]
    fn continuous_windows_have_no_end_unless_one_is_given() {
        let continuous = Wanted { is_continuous: true, ..Wanted::default() };
        let from = Window::resolve(&Wanted { from: Some(30.0), ..continuous }, NOW).unwrap();
        let ended =
            Window::resolve(&Wanted { start: Some("now"), end: Some("2027-01-01"), ..continuous }, NOW);

        assert_eq!(from, Window { start_ms: NOW - 30 * DAY_MS as i64, end_ms: ENDLESS });
        assert!(!from.reaches_into_the_future(Pace::Live, NOW));
        assert_eq!(ended.unwrap().end_ms, 1_798_761_600_000);
    }

    #[test]
    fn days_ago_are_counted_back_from_now() {
        let day = DAY_MS as i64;
        let wanted = Wanted { from: Some(15.0), to: Some(1.0), ..Wanted::default() };

        let window = Window::resolve(&wanted, NOW).unwrap();

        assert_eq!(window, Window { start_ms: NOW - 15 * day, end_ms: NOW - day });
    }

    #[test]
    fn a_resumed_run_keeps_its_start_unless_another_one_is_named() {
        let resumed_ms = Some(NOW - 1_000_000_000);
        let start = |wanted: Wanted<'_>| Window::resolve(&wanted, NOW).unwrap().start_ms;
        let again = Wanted { resumed_ms, is_continuous: true, ..Wanted::default() };

        assert_eq!(start(Wanted { start: Some("now"), ..again }), NOW - 1_000_000_000);
        assert_eq!(start(Wanted { from: Some(3.0), ..again }), NOW - 1_000_000_000);
        assert_eq!(start(again), NOW - 1_000_000_000);
        assert_eq!(start(Wanted { start: Some("2026-02-23"), ..again }), 1_771_804_800_000);
    }
}
