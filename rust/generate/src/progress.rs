//! What people see: a line that moves while a run goes on, and a short table at its end. All of it on stderr.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use streamify_generate::{
    cli::show_time,
    run::{Outcome, Summary},
};

const EVERY: Duration = Duration::from_secs(2);
/// Below this, making the listeners is not worth a word.
const MANY_USERS: u32 = 100_000;

/// The moving line; silent where stderr is no terminal.
pub(crate) struct Progress {
    is_terminal: bool,
    last: Instant,
    is_shown: bool,
    num_users: u32,
    start_ms: i64,
    end_ms: Option<i64>,
}

impl Progress {
    /// Starts the clock.
    pub(crate) fn new(num_users: u32, start_ms: i64, end_ms: Option<i64>) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_terminal, last: Instant::now(), is_shown: false, num_users, start_ms, end_ms }
    }

    /// Tells that the listeners are being made.
    pub(crate) fn preparing(&mut self) {
        if self.num_users >= MANY_USERS {
            self.line(&format!("making {} listeners", grouped(u64::from(self.num_users))));
        }
    }

    /// Shows what is done, at most every two seconds.
    pub(crate) fn show(&mut self, summary: &Summary) {
        if self.last.elapsed() < EVERY {
            return;
        }
        self.last = Instant::now();
        let now = summary.last_ts.unwrap_or(self.start_ms);
        let part = self.end_ms.map_or_else(String::new, |end_ms| {
            format!(" ({:.0} %)", 100.0 * (now - self.start_ms) as f64 / (end_ms - self.start_ms) as f64)
        });
        self.line(&format!(
            "{} records, {} per second, simulated time {}{part}",
            grouped(summary.events + summary.duplicates + summary.extras),
            grouped(summary.events_per_second as u64),
            show_time(now),
        ));
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&mut self, text: &str) {
        if self.is_terminal {
            // A closed stderr has nobody to tell.
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            let _ = io::stderr().flush();
            self.is_shown = true;
        }
    }
}

/// Prints the closing table.
pub(crate) fn print_summary(summary: &Summary, place: &str, show_time: &dyn Fn(i64) -> String) {
    let mut text = String::new();
    for (topic, counts) in &summary.topics {
        let more = |count: u64, what: &str| match count {
            0 => String::new(),
            count => format!("  + {} {what}", grouped(count)),
        };
        let (copies, extras) = (more(counts.duplicates, "duplicates"), more(counts.extras, "from faults"));
        text.push_str(&format!("  {topic:<22}{:>14}{copies}{extras}\n", grouped(counts.events)));
    }
    let ended = match summary.outcome {
        Outcome::Complete => "",
        Outcome::MaxEvents => " (record limit reached)",
        Outcome::Stopped => " (stopped)",
    };
    let (total, sessions) =
        (grouped(summary.events + summary.duplicates + summary.extras), grouped(summary.sessions));
    let span = match (summary.first_ts, summary.last_ts) {
        (Some(first), Some(last)) => format!("{} to {}", show_time(first), show_time(last)),
        _ => "no event in the window".to_owned(),
    };
    let _ = write!(
        io::stderr(),
        "run {} → {place}{ended}\n{text}  {:<22}{total:>14}  in {sessions} sessions, {:.1} MB\n  {span}\n  \
         {:.1} s, {} records per second\n",
        summary.run_id,
        "total",
        summary.bytes as f64 / 1e6,
        summary.seconds,
        grouped(summary.events_per_second as u64),
    );
}

/// Returns a number with a comma every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped_by_three() {
        let shown = [0, 999, 1_000, 1_234_567].map(grouped);

        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
