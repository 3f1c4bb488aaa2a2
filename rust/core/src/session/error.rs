//! What can be wrong with batches that are pushed.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Why sessions could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A batch lacks a column.
    #[error("batch has no column `{column}`")]
    MissingColumn {
        /// The column's name.
        column: &'static str,
    },
    /// A column has another type.
    #[error("column `{column}` is of type {found}, but {expected} is wanted")]
    WrongType {
        /// The column's name.
        column: &'static str,
        /// The type it has.
        found: DataType,
        /// The type it should have.
        expected: &'static str,
    },
    /// A column that must not be null is.
    #[error("column `{column}` must not be null, but {nulls} of its values are")]
    Null {
        /// The column's name.
        column: &'static str,
        /// How many values are null.
        nulls: usize,
    },
    /// A row is not of the day that was asked for.
    #[error("an event of day {found} (days since 1970) lies in the partition of day {day}")]
    WrongDay {
        /// The day asked for.
        day: i32,
        /// The day of the event.
        found: i32,
    },
    /// One session has more text than an Arrow array can hold (2 GiB).
    #[error(
        "the session of day {day} that starts at {started_ms} ms has {bytes} bytes of text, more than 2 GiB"
    )]
    TooLarge {
        /// The day it starts on.
        day: i32,
        /// Its first event time.
        started_ms: i64,
        /// Bytes of text of its lists.
        bytes: usize,
    },
    /// A pass over one day has more events than fit a 32-bit number.
    #[error("one pass has more than {limit} events; lower the most events of one pass", limit = u32::MAX)]
    TooManyEvents,
    /// A batch was pushed that the last step did not ask for.
    #[error("{what} were pushed, but the last step did not ask for them")]
    NotAsked {
        /// What was pushed.
        what: &'static str,
    },
    /// Arrow refused to build or filter a batch.
    #[error("failed to build a batch of sessions")]
    Arrow(#[from] ArrowError),
}
