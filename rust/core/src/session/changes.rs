//! The events that are new in silver (or gone from it), as much of them as tells which sessions they touch.

use arrow::array::RecordBatch;

use super::actor::{Runs, Who};
use super::source::People;
use super::{HashMap, SessionError, day_of};

/// The first and the last event time of some events, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

impl Span {
    pub(super) fn at(time_ms: i64) -> Self {
        Self { first_ms: time_ms, last_ms: time_ms }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

/// Bytes per span, together with who is seen around it, whom it touches and from when these are followed back.
const BYTES_PER_SPAN: usize = 512;

/// Changed events, by who and day: memory grows with sessions of the producer, not with events.
///
/// Events that did not change do no harm here but cost time, so both sides of a partition that was replaced may be pushed.
#[derive(Debug, Default)]
pub struct Changes {
    pub(super) runs: Runs,
    pub(super) spans: HashMap<(Who, i32), Span>,
}

impl Changes {
    /// Returns no changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the events of a batch; it needs the columns of [`Read::People`](super::Read::People), of any topic and day.
    ///
    /// # Errors
    /// A column that is missing, of another type, or null where it must not be.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), SessionError> {
        let spans = &mut self.spans;
        People::of(batch)?.each(&mut self.runs, |_, who, time_ms| {
            let span = Span::at(time_ms);
            spans.entry((who, day_of(time_ms))).and_modify(|known| known.join(span)).or_insert(span);
            Ok(())
        })
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the bytes that a run needs to follow these changes to the sessions they touch, about; measured.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.spans.len() * BYTES_PER_SPAN
    }

    /// Returns the latest event time in ms.
    #[must_use]
    pub fn latest_ms(&self) -> Option<i64> {
        self.spans.values().map(|span| span.last_ms).max()
    }
}
