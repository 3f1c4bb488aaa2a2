//! Days as people write them: `2026-02-23`, ranges with both ends, lists of both.

use std::collections::BTreeSet;

use chrono::NaiveDate;

/// The most days that a list may name; more than this is a slip of the hand.
const MOST_DAYS: i32 = 36_525;

/// A set of days, in days since 1970-01-01 (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Days(pub BTreeSet<i32>);

impl std::str::FromStr for Days {
    type Err = String;

    /// Reads `2026-02-23`, `2026-02-23..2026-02-25` (both included), or several of them separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut days = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once("..").unwrap_or((part, part));
            let (first, last) = (day_number(first)?, day_number(last)?);
            if last < first {
                return Err(format!("`{part}` ends before it begins"));
            }
            if last - first >= MOST_DAYS {
                return Err(format!("`{part}` is longer than a hundred years"));
            }
            days.extend(first..=last);
        }
        Ok(Self(days))
    }
}

/// The number of a day, in days since 1970-01-01.
///
/// # Errors
/// The text is not a date.
pub fn day_number(text: &str) -> Result<i32, String> {
    let text = text.trim();
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| {
        format!("`{text}` is not a day (expected e.g. `2026-02-23` or `2026-02-23..2026-02-25`)")
    })?;
    Ok(date.to_epoch_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_ranges_and_lists_are_read() {
        let days: Days = "1970-01-02, 1970-01-04..1970-01-06".parse().unwrap();

        assert_eq!(days.0, BTreeSet::from([1, 3, 4, 5]));
    }

    #[test]
    fn what_is_no_list_of_days_is_refused_with_what_would_be_right() {
        for text in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-02-25..2026-02-23",
            "2026-02-23..",
            "0001-01-01..2026-01-01",
        ] {
            assert!(text.parse::<Days>().is_err(), "`{text}` was taken");
        }
        assert_eq!(
            "23.02.2026".parse::<Days>().unwrap_err(),
            "`23.02.2026` is not a day (expected e.g. `2026-02-23` or `2026-02-23..2026-02-25`)"
        );
    }
}
