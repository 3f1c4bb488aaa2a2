//! Public holidays: which days of which country, from `profiles/holidays.toml`.
//!
//! A [`Holidays`] answers in constant time for the years 1970 to 2200; later years have none.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate, Weekday};
use serde::Deserialize;

const TABLE: &str = include_str!("../profiles/holidays.toml");
const FIRST_YEAR: i32 = 1970;
const LAST_YEAR: i32 = 2200;

/// A holiday, as the table writes it.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Rule {
    Date { month: u32, day: u32 },
    Weekday { month: u32, weekday: Weekday, nth: i8 },
    Easter { easter: i64 },
}

/// The holidays of a country.
#[derive(Clone, Debug, Default)]
pub struct Holidays {
    /// For each day from 1970-01-01 on, whether it is one.
    days: Vec<bool>,
}

impl Holidays {
    /// Returns the holidays of a country; none for an empty code.
    ///
    /// # Errors
    /// The known codes, if it is none of them.
    pub fn of(code: &str) -> Result<Self, String> {
        let mut holidays = Self::default();
        if code.is_empty() {
            return Ok(holidays);
        }
        let table = table();
        let Some(rules) = table.get(code) else {
            let known: Vec<String> = table.keys().map(|code| format!("`{code}`")).collect();
            return Err(known.join(", "));
        };
        for date in (FIRST_YEAR..=LAST_YEAR).flat_map(|year| rules.values().map(move |rule| rule.date(year)))
        {
            let day = date.and_then(|date| usize::try_from(date.to_epoch_days()).ok());
            if let Some(day) = day {
                if holidays.days.len() <= day {
                    holidays.days.resize(day + 1, false);
                }
                holidays.days[day] = true;
            }
        }
        Ok(holidays)
    }

    /// Returns whether a day, counted from 1970-01-01, is a holiday.
    pub fn contains(&self, day: i64) -> bool {
        usize::try_from(day).is_ok_and(|day| self.days.get(day).copied().unwrap_or(false))
    }
}

fn table() -> BTreeMap<String, BTreeMap<String, Rule>> {
    // A test parses the table, which is part of the program.
    toml::from_str(TABLE).unwrap_or_default()
}

impl Rule {
    fn date(&self, year: i32) -> Option<NaiveDate> {
        match *self {
            Self::Date { month, day } => NaiveDate::from_ymd_opt(year, month, day),
            Self::Weekday { month, weekday, nth } if nth > 0 => {
                NaiveDate::from_weekday_of_month_opt(year, month, weekday, nth.unsigned_abs())
            }
            Self::Weekday { month, weekday, .. } => {
                (1..=5).rev().find_map(|nth| NaiveDate::from_weekday_of_month_opt(year, month, weekday, nth))
            }
            Self::Easter { easter } => {
                let sunday = easter_sunday(year)?;
                let days = Days::new(easter.unsigned_abs());
                if easter < 0 { sunday.checked_sub_days(days) } else { sunday.checked_add_days(days) }
            }
        }
    }
}

/// Returns Easter Sunday of a year (the "anonymous Gregorian" computus, Nature, 20 April 1876).
fn easter_sunday(year: i32) -> Option<NaiveDate> {
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let (d, e, f) = (b / 4, b % 4, (b + 8) / 25);
    let g = (b - f + 1) / 3;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let sum = h + l - 7 * m + 114;
    NaiveDate::from_ymd_opt(year, u32::try_from(sum / 31).ok()?, u32::try_from(sum % 31 + 1).ok()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn dates(code: &str, year: i32) -> Vec<String> {
        let table = table();
        let dates = table[code].values().map(|rule| rule.date(year).unwrap().format("%m-%d").to_string());
        dates.collect::<BTreeSet<String>>().into_iter().collect()
    }

    #[test]
    fn the_holidays_of_2026_are_on_their_days() {
        let us = ["01-01", "01-19", "02-16", "05-25", "07-04", "09-07", "10-12", "11-11", "11-26", "12-25"];
        let de = ["01-01", "04-03", "04-06", "05-01", "05-14", "05-25", "10-03", "12-25", "12-26"];

        assert_eq!(dates("US", 2026), us);
        assert_eq!(dates("DE", 2026), de);
        assert_eq!(easter_sunday(2025).unwrap().to_string(), "2025-04-20");
    }

    #[test]
    fn countries_are_found_and_unknown_ones_are_told_the_known_ones() {
        let (us, fourth) = (Holidays::of("US").unwrap(), NaiveDate::from_ymd_opt(2026, 7, 4).unwrap());
        let day = i64::from(fourth.to_epoch_days());

        assert!(us.contains(day) && !us.contains(day + 1) && !us.contains(-1));
        assert!(!Holidays::of("").unwrap().contains(day));
        assert_eq!(Holidays::of("XX").unwrap_err(), "`CA`, `DE`, `FR`, `GB`, `US`");
    }
}
