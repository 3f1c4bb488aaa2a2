//! Verdicts, and the table that shows them.

use std::fmt::Write;

use super::{
    Measures,
    reference::{KnownProfile, Needs, Reference, Tolerance},
};

/// Page views from which the tolerances hold as they stand. Below, they are widened by the square root of the lack.
pub const FULL_PAGE_VIEWS: u64 = 1_000_000;
/// Page views below which there is no verdict.
pub const LEAST_PAGE_VIEWS: u64 = 50_000;

/// What is said of a statistic.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within its tolerance.
    Within,
    /// Outside of it.
    Outside,
    /// For orientation only.
    Shown,
    /// No verdict, because more is needed: what.
    Needs(String),
}

/// A statistic found, and what it is held against.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// Name.
    pub name: &'static str,
    /// `%`, `s`, `h` or nothing.
    pub unit: &'static str,
    /// What was found.
    pub found: Option<f64>,
    /// What is known.
    pub reference: f64,
    /// How far it may be, in the unit; `None`: any distance.
    pub tolerance: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// Compares what was measured with what is known of a profile.
pub fn compare(measures: &Measures, profile: KnownProfile) -> Vec<Row> {
    profile.references().iter().map(|reference| judge(measures, reference)).collect()
}

fn judge(measures: &Measures, reference: &Reference) -> Row {
    let found = measures.value(reference.name);
    let views = measures.tally.page_views;
    let widening = (FULL_PAGE_VIEWS as f64 / views.max(1) as f64).sqrt().max(1.0);
    let tolerance = match reference.tolerance {
        Tolerance::Part(percent) => Some(reference.value * percent / 100.0 * widening),
        Tolerance::Points(points) => Some(points * widening),
        Tolerance::Free => None,
    };
    let verdict = match (found, lack(measures, reference), tolerance) {
        (_, Some(lack), _) => Verdict::Needs(lack),
        (None, ..) => Verdict::Needs("records that are not there".to_owned()),
        (Some(_), None, None) => Verdict::Shown,
        // A billionth for what is lost in arithmetic: 21 is within 5 % of 20.
        (Some(found), None, Some(tolerance)) => {
            if (found - reference.value).abs() <= tolerance + 1e-9 * reference.value {
                Verdict::Within
            } else {
                Verdict::Outside
            }
        }
    };
    let Reference { name, unit, value, .. } = *reference;
    Row { name, unit, found, reference: value, tolerance, verdict }
}

/// Returns what is missing for a verdict.
fn lack(measures: &Measures, reference: &Reference) -> Option<String> {
    let views = measures.tally.page_views;
    if views < LEAST_PAGE_VIEWS {
        return Some(format!("{LEAST_PAGE_VIEWS} page views"));
    }
    let days = measures.days;
    let lack = match reference.needs {
        Needs::Anything => None,
        Needs::Days => (days < 1.0).then(|| "a day".to_owned()),
        Needs::Weeks => (!measures.covers_whole_weeks()).then(|| format!("whole weeks, not {days:.1} days")),
        Needs::Month => (days != 28.0).then(|| format!("28 days, not {days:.1}")),
    };
    let about_users = reference.name.contains("user and day") || reference.name.starts_with("users: active");
    lack.or_else(|| {
        (about_users && measures.users.is_none()).then(|| "`--users`: ids are not consecutive".to_owned())
    })
}

/// Returns whether any statistic is outside its tolerance.
pub fn falls_short(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.verdict == Verdict::Outside)
}

/// Returns the table for people; without verdicts only names and values.
pub fn table(measures: &Measures, rows: &[Row], profile: KnownProfile, with_verdicts: bool) -> String {
    let mut text = head(measures);
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "\n{:<width$}  {:>12}  {:>12}  {:>12}  {}",
        "statistic",
        "found",
        profile.name(),
        "tolerance",
        if with_verdicts { "verdict" } else { "" },
    );
    for row in rows {
        let number = |value: f64| format!("{}{}", number(value, row.reference), row.unit);
        let found = row.found.map_or_else(|| "-".to_owned(), number);
        let tolerance =
            row.tolerance.map_or_else(|| "any".to_owned(), |value| format!("± {}", number(value)));
        let verdict = match &row.verdict {
            Verdict::Within => "ok".to_owned(),
            Verdict::Outside => "OUTSIDE".to_owned(),
            Verdict::Shown => String::new(),
            Verdict::Needs(what) => format!("needs {what}"),
        };
        let verdict = if with_verdicts { verdict } else { String::new() };
        let line = format!(
            "{:<width$}  {found:>12}  {:>12}  {tolerance:>12}  {verdict}",
            row.name,
            number(row.reference)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if with_verdicts {
        let count =
            |wanted: &dyn Fn(&Verdict) -> bool| rows.iter().filter(|row| wanted(&row.verdict)).count();
        let _ = writeln!(
            text,
            "\n{} within, {} outside, {} without a verdict",
            count(&|verdict| *verdict == Verdict::Within),
            count(&|verdict| *verdict == Verdict::Outside),
            count(&|verdict| matches!(verdict, Verdict::Shown | Verdict::Needs(_))),
        );
    }
    text
}

fn head(measures: &Measures) -> String {
    let tally = measures.tally;
    let mut text = format!(
        "{} page views, {} listens, {} auth events, {} status changes in {} sessions\n",
        tally.page_views, tally.listens, tally.auths, tally.status_changes, measures.sessions
    );
    if let Some((first, last)) = measures.span_ms {
        let show = crate::cli::show_time;
        let users = measures.users.map_or_else(|| "unknown".to_owned(), |users| users.to_string());
        let _ = writeln!(
            text,
            "{} to {}, {:.2} days; {users} users, {} of them seen",
            show(first),
            show(last),
            measures.days,
            measures.users_seen
        );
    }
    for (count, what) in [
        (tally.repeated, "page views delivered again, counted once"),
        (tally.others, "objects that are no events"),
        (tally.malformed, "records that are not JSON objects with the known types, left out"),
        (tally.out_of_time, "records with a time outside 2000 to 2100, left out"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
    if (LEAST_PAGE_VIEWS..FULL_PAGE_VIEWS).contains(&tally.page_views) {
        let _ = writeln!(text, "fewer than {FULL_PAGE_VIEWS} page views: tolerances are wider");
    }
    text
}

/// Returns a number with four digits of the size of `scale`.
fn number(value: f64, scale: f64) -> String {
    let digits = (3 - scale.abs().max(1e-6).log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Tally, reference::Tolerance::Part};

    fn measures(page_views: u64, days: f64, users: Option<u64>, found: f64) -> Measures {
        let tally = Tally { page_views, ..Tally::default() };
        let values = [("page views per user and day".to_owned(), found)].into();
        Measures { tally, days, users, values, ..Measures::default() }
    }

    const REFERENCE: Reference = Reference {
        name: "page views per user and day",
        unit: "",
        value: 2.0,
        tolerance: Part(5.0),
        needs: Needs::Weeks,
    };

    fn verdict(measures: &Measures) -> Verdict {
        judge(measures, &REFERENCE).verdict
    }

    #[test]
    fn edges_of_the_tolerance_are_within() {
        for (found, expected) in [
            (2.1, Verdict::Within),
            (1.9, Verdict::Within),
            (2.11, Verdict::Outside),
            (1.89, Verdict::Outside),
        ] {
            assert_eq!(verdict(&measures(1_000_000, 28.0, Some(7), found)), expected, "{found}");
        }
    }

    #[test]
    fn a_quarter_of_the_data_has_twice_the_tolerance() {
        assert_eq!(verdict(&measures(250_000, 7.0, Some(7), 2.2)), Verdict::Within);
        assert_eq!(verdict(&measures(250_000, 7.0, Some(7), 2.21)), Verdict::Outside);
    }

    #[test]
    fn too_little_of_anything_is_said_instead_of_a_verdict() {
        let needs = |measures: Measures| match verdict(&measures) {
            Verdict::Needs(what) => what,
            other => panic!("{other:?}"),
        };

        assert_eq!(needs(measures(49_999, 28.0, Some(7), 9.0)), "50000 page views");
        assert_eq!(needs(measures(1_000_000, 10.0, Some(7), 9.0)), "whole weeks, not 10.0 days");
        assert_eq!(needs(measures(1_000_000, 28.0, None, 9.0)), "`--users`: ids are not consecutive");
        let nothing = Measures { values: [].into(), ..measures(1_000_000, 28.0, Some(7), 9.0) };
        assert_eq!(needs(nothing), "records that are not there");
    }

    #[test]
    fn numbers_have_four_digits_of_their_reference() {
        assert_eq!(number(0.000_812_3, 0.000_845), "0.000812");
        assert_eq!(number(4203.51, 4003.0), "4204");
        assert_eq!(number(83.9, 84.0), "83.90");
    }
}
