//! The books of a commit: every offset a commit covers is a row, a dead letter or a record the broker never delivered.
//!
//! `received` is counted where records come in, `rows` and `dead_letters` from the files that were written, and
//! `skipped_by_broker` from the gaps between delivered offsets up to the consumer's position. They are counted in
//! different places, so a record lost in between shows; a commit whose books do not close is refused.

use serde::{Deserialize, Serialize};

/// Counts of one commit, or sums over several; all in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Offsets covered: the sum of `end - start` over the ranges of the commit.
    pub offsets: u64,
    /// Records delivered by the broker.
    pub received: u64,
    /// Rows in the data files.
    pub rows: u64,
    /// Records in the dead-letter table, those that an earlier attempt had already put there included.
    pub dead_letters: u64,
    /// Offsets that hold no record for a reader: control records, aborted transactions, records removed by compaction.
    pub skipped_by_broker: u64,
}

/// The books do not close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Records came in and are neither a row nor a dead letter (positive), or more went out than came in (negative).
    #[error(
        "the ledger does not close: {unaccounted} of {received} received records are neither rows nor dead letters"
    )]
    Unaccounted {
        /// `received - rows - dead_letters`
        unaccounted: i64,
        /// records received
        received: u64,
    },
    /// Offsets were passed over that were neither received nor reported as skipped.
    #[error(
        "the ledger does not close: the commit covers {offsets} offsets, but {received} were received and {skipped} skipped by the broker"
    )]
    OffsetsUncovered {
        /// offsets covered by the ranges
        offsets: u64,
        /// records received
        received: u64,
        /// offsets without a record
        skipped: u64,
    },
}

impl Ledger {
    /// `received - rows - dead_letters`; anything but 0 means that a record was lost or doubled inside the worker.
    pub fn unaccounted(&self) -> i64 {
        self.received as i64 - self.rows as i64 - self.dead_letters as i64
    }

    /// Checks both equations: `received = rows + dead_letters` and `offsets = received + skipped_by_broker`.
    pub fn check(&self) -> Result<(), LedgerError> {
        if self.unaccounted() != 0 {
            return Err(LedgerError::Unaccounted {
                unaccounted: self.unaccounted(),
                received: self.received,
            });
        }
        if self.offsets != self.received + self.skipped_by_broker {
            return Err(LedgerError::OffsetsUncovered {
                offsets: self.offsets,
                received: self.received,
                skipped: self.skipped_by_broker,
            });
        }
        Ok(())
    }

    /// Adds another commit's counts to these.
    pub fn add(&mut self, other: &Ledger) {
        self.offsets += other.offsets;
        self.received += other.received;
        self.rows += other.rows;
        self.dead_letters += other.dead_letters;
        self.skipped_by_broker += other.skipped_by_broker;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Ledger =
        Ledger { offsets: 12, received: 10, rows: 7, dead_letters: 3, skipped_by_broker: 2 };

    #[test]
    fn closed_books_pass() {
        assert_eq!(CLOSED.check(), Ok(()));
        assert_eq!(CLOSED.unaccounted(), 0);
    }

    #[test]
    fn a_lost_record_is_refused_and_named() {
        let lost = Ledger { rows: 6, ..CLOSED };
        let error = lost.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the ledger does not close: 1 of 10 received records are neither rows nor dead letters"
        );
    }

    #[test]
    fn a_doubled_record_is_refused() {
        let doubled = Ledger { rows: 8, ..CLOSED };
        assert_eq!(doubled.check(), Err(LedgerError::Unaccounted { unaccounted: -1, received: 10 }));
    }

    #[test]
    fn an_unexplained_jump_in_offsets_is_refused() {
        let jumped = Ledger { offsets: 13, ..CLOSED };
        assert_eq!(
            jumped.check(),
            Err(LedgerError::OffsetsUncovered { offsets: 13, received: 10, skipped: 2 })
        );
    }

    #[test]
    fn sums_of_closed_books_are_closed() {
        let mut sum = Ledger::default();
        sum.add(&CLOSED);
        sum.add(&CLOSED);
        assert_eq!(sum.rows, 14);
        assert_eq!(sum.check(), Ok(()));
    }
}
