//! Tells people how far a job is, and not too often.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use streamify_runtime::figures::grouped;

use crate::context::{Listener, Progress};

/// The least time between two lines in a log.
pub const LOG_INTERVAL: Duration = Duration::from_secs(2);
/// The least time between two pictures on a terminal.
pub const TERMINAL_INTERVAL: Duration = Duration::from_millis(100);

/// Returns a listener that hands on at most one message per interval; the first one goes through at once.
pub fn at_most_every(interval: Duration, tell: impl Fn(&Progress) + Send + Sync + 'static) -> Listener {
    let last: Mutex<Option<Instant>> = Mutex::new(None);
    Arc::new(move |progress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= interval) {
            *last = Some(Instant::now());
            drop(last);
            tell(progress);
        }
    })
}

/// One line about it: `compacting bronze_listen_events 2026-02-23: 12 files (3 of 14, 1,200,000 rows)`.
pub fn line(progress: &Progress) -> String {
    let Progress { what, done, total, rows } = progress;
    match rows {
        0 => format!("{what} ({done} of {total})"),
        rows => format!("{what} ({done} of {total}, {} rows)", grouped(*rows)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn within_an_interval_only_the_first_message_is_told() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let listener = at_most_every(Duration::from_secs(3_600), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let progress = Progress { what: "reading".to_owned(), done: 1, total: 3, rows: 1_200 };

        (0..10).for_each(|_| listener(&progress));

        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(line(&progress), "reading (1 of 3, 1,200 rows)");
    }
}
