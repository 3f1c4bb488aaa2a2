//! Bounds of one append: time while the catalog is away, number of conflicts; and the pauses in between.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tracing::{debug, warn};
use uuid::Uuid;

use super::CommitOptions;
use crate::protocol::Refusal;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const WARN_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    conflicts_left: u32,
    pause: Duration,
    asked_pause: Option<Duration>,
    last: String,
    warned: Option<Instant>,
}

impl Retry {
    pub(crate) fn new(options: &CommitOptions) -> Self {
        Retry {
            deadline: Instant::now() + options.timeout,
            conflicts_left: options.max_conflicts,
            pause: Duration::ZERO,
            asked_pause: None,
            last: String::new(),
            warned: None,
        }
    }

    pub(crate) fn may_continue(&self) -> bool {
        self.conflicts_left > 0 && Instant::now() < self.deadline
    }

    /// Another committer was faster: try again almost at once.
    pub(crate) fn conflicted(&mut self, message: &str) {
        self.conflicts_left = self.conflicts_left.saturating_sub(1);
        self.pause = FIRST_PAUSE;
        self.last = message.to_string();
        debug!(message, "commit conflict, looking at the table again");
    }

    pub(crate) fn unavailable(&mut self, message: &str, retry_after: Option<Duration>) {
        self.asked_pause = retry_after;
        self.failed(&message);
    }

    pub(crate) fn failed(&mut self, error: &dyn Display) {
        self.last = error.to_string();
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            let seconds_left = self.deadline.saturating_duration_since(Instant::now()).as_secs();
            warn!(error = self.last, seconds_left, "commit waits for catalog or store");
        }
    }

    /// Waits before the next look: the pause asked for by the server, else growing ones, with jitter so that two
    /// committers do not meet again.
    pub(crate) async fn pause(&mut self) {
        let pause = self.asked_pause.take().unwrap_or(self.pause).min(LONGEST_PAUSE * 6);
        let jitter = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * jitter)).await;
    }

    pub(crate) fn explain(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::GaveUp { last } if !self.last.is_empty() => {
                Refusal::GaveUp { last: format!("{last}; last answer: {}", self.last) }
            }
            other => other,
        }
    }
}
