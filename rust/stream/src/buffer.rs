//! What one intake thread holds of one topic: decoded rows and dead letters, until they go to the topic's writer.
//!
//! A [`Collector`] counts nothing of what it holds towards the books: positions count what was received, the writer
//! counts what is in the files. That is what makes the comparison of the two worth something.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use streamify_core::dead_letter::DeadLetter;
use streamify_core::{
    Contract, DecodeOptions, Decoder, PartitionKey, Reason, Rejection, sort_batch, split_by_partition,
};

use crate::budget::{Budget, Reservation};
use crate::kafka::{Record, Run};

/// Rows of one table partition that are worth a row group of their own. Such a slice is sorted by the thread that decoded
/// it; the writer joins smaller ones and sorts them then.
pub const GROUP_ROWS: usize = 20_000;

/// Rows of one table partition.
#[derive(Debug)]
pub struct Slice {
    /// The day (or hour).
    pub key: PartitionKey,
    /// The rows.
    pub batch: RecordBatch,
    /// Whether they are in the contract's order already.
    pub sorted: bool,
    /// The bytes they hold, reserved in the budget.
    pub reservation: Reservation,
}

/// A part of what was read of a topic.
#[derive(Debug)]
pub struct Chunk {
    /// Rows by table partition.
    pub slices: Vec<Slice>,
    /// What could not be decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// The bytes that the dead letters hold.
    pub dead_letter_bytes: Reservation,
    /// Offset ranges that the rows come from, by Kafka partition: `(partition, first, end exclusive)`.
    pub ranges: Vec<(i32, i64, i64)>,
}

/// How far one Kafka partition got since the cut before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCut {
    /// The partition.
    pub partition: i32,
    /// The offset that the table (or the commit before) is at.
    pub expected: Option<i64>,
    /// What was received.
    pub run: Run,
    /// Every record with a Kafka timestamp up to this instant is covered, ms since 1970; `None` if unknown.
    pub valid_through_ms: Option<i64>,
}

impl PartitionCut {
    /// Returns whether the table has to learn of it: offsets were passed, or a gap was accepted.
    pub fn changes_state(&self) -> bool {
        !self.run.is_empty() || self.expected.is_some_and(|expected| expected != self.run.from)
    }
}

/// The end of what one intake thread has for a commit.
#[derive(Debug, Default)]
pub struct Cut {
    /// The thread's partitions of the topic.
    pub partitions: Vec<PartitionCut>,
    /// Kafka timestamps of the oldest and the newest record since the cut before, ms since 1970.
    pub timestamps_ms: Option<(i64, i64)>,
    /// Whether the thread ends with it.
    pub is_last: bool,
}

/// From an intake thread to a topic's writer, in the order of reading.
#[derive(Debug)]
pub enum Delivery {
    /// Records.
    Chunk(Box<Chunk>),
    /// All chunks before it belong to one commit, all after it to the next.
    Cut(Cut),
}

/// Collects one topic's records on one thread.
pub struct Collector {
    contract: Arc<Contract>,
    decoder: Decoder,
    epoch: u32,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    timestamps_ms: Option<(i64, i64)>,
    reservation: Reservation,
    drop_next: bool,
}

impl Collector {
    /// Returns an empty collector for the topic of `contract`.
    ///
    /// `drop_record` makes it lose its first record, to prove that the ledger notices.
    pub fn new(
        contract: Arc<Contract>,
        options: DecodeOptions,
        budget: &Arc<Budget>,
        drop_record: bool,
    ) -> Self {
        Self {
            epoch: options.source_epoch,
            decoder: Decoder::new(Arc::clone(&contract), options),
            contract,
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            timestamps_ms: None,
            reservation: budget.reserve(0),
            drop_next: drop_record,
        }
    }

    /// Returns the topic's name.
    pub fn topic(&self) -> &str {
        &self.contract.topic
    }

    /// Decodes a record; what cannot be decoded becomes a dead letter.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>, timestamp_ms: Option<i64>) {
        self.note_timestamp(timestamp_ms);
        if self.drop_next {
            self.drop_next = false;
            return;
        }
        // A run id that is not UTF-8 is still one: the same bytes give the same text.
        let run_id = record.run_id().map(String::from_utf8_lossy);
        let decoded = self.decoder.push(&streamify_core::Record {
            value: record.value,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms,
            run_id: run_id.as_deref(),
        });
        if let Err(rejection) = decoded {
            self.bury(record, timestamp_ms, rejection);
        }
    }

    /// Takes a record that is in the dead-letter table already, for `reason`.
    #[cold]
    pub fn push_buried(&mut self, record: &Record<'_>, timestamp_ms: Option<i64>, reason: Reason) {
        self.note_timestamp(timestamp_ms);
        self.bury(record, timestamp_ms, Rejection { reason, message: String::new() });
    }

    #[inline]
    fn note_timestamp(&mut self, timestamp_ms: Option<i64>) {
        if let Some(timestamp_ms) = timestamp_ms {
            let (oldest, newest) = self.timestamps_ms.unwrap_or((timestamp_ms, timestamp_ms));
            self.timestamps_ms = Some((oldest.min(timestamp_ms), newest.max(timestamp_ms)));
        }
    }

    #[cold]
    fn bury(&mut self, record: &Record<'_>, timestamp_ms: Option<i64>, rejection: Rejection) {
        let letter = DeadLetter {
            topic: self.contract.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            headers: record.headers(),
            value: record.value.map(<[u8]>::to_vec),
            reason: rejection.reason,
            message: rejection.message,
            contract_version: self.contract.version,
            source_epoch: self.epoch,
        };
        self.dead_letter_bytes += size_of::<DeadLetter>()
            + letter.value.as_ref().map_or(0, Vec::len)
            + letter.key.as_ref().map_or(0, Vec::len)
            + letter.message.len();
        self.dead_letters.push(letter);
    }

    /// Returns the bytes held.
    pub fn bytes(&self) -> usize {
        self.decoder.bytes() + self.dead_letter_bytes
    }

    /// Returns the rows held.
    pub fn rows(&self) -> usize {
        self.decoder.rows()
    }

    /// Returns whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.decoder.rows() == 0 && self.dead_letters.is_empty()
    }

    /// Accounts for the bytes held now; once per batch, not per record.
    pub fn account(&mut self) {
        let bytes = self.bytes();
        self.reservation.resize(bytes);
    }

    /// Takes the timestamps of the oldest and newest record since the last call.
    pub fn take_timestamps(&mut self) -> Option<(i64, i64)> {
        self.timestamps_ms.take()
    }

    /// Takes everything held: split by table partition, large slices sorted.
    ///
    /// # Errors
    /// Those of Arrow, for columns that do not fit together or grew beyond 2 GB.
    pub fn take_chunk(
        &mut self,
        budget: &Arc<Budget>,
        ranges: Vec<(i32, i64, i64)>,
        processing_time_us: i64,
    ) -> Result<Chunk, ArrowError> {
        let row_bytes = self.decoder.bytes();
        let batch = self.decoder.finish(processing_time_us)?;
        let rows = batch.num_rows();
        let mut slices = Vec::new();
        if rows > 0 {
            for (key, part) in split_by_partition(&batch, &self.contract)? {
                let bytes = share(row_bytes, part.num_rows(), rows);
                slices.push(self.slice(key, part, bytes, budget)?);
            }
        }
        let dead_letters = std::mem::take(&mut self.dead_letters);
        let dead_letter_bytes = budget.reserve(std::mem::take(&mut self.dead_letter_bytes));
        self.account();
        Ok(Chunk { slices, dead_letters, dead_letter_bytes, ranges })
    }

    fn slice(
        &self,
        key: PartitionKey,
        batch: RecordBatch,
        bytes: usize,
        budget: &Arc<Budget>,
    ) -> Result<Slice, ArrowError> {
        let mut reservation = budget.reserve(bytes);
        let sorted = batch.num_rows() >= GROUP_ROWS;
        let batch = if sorted {
            // While it is sorted the rows exist twice.
            reservation.resize(2 * bytes);
            sort_batch(&batch, &self.contract)?
        } else {
            batch
        };
        reservation.resize(bytes);
        Ok(Slice { key, batch, sorted, reservation })
    }
}

/// The part of `bytes` that falls to `rows` of `all` rows.
fn share(bytes: usize, rows: usize, all: usize) -> usize {
    if all == 0 { 0 } else { (bytes as u128 * rows as u128 / all as u128) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(expected: Option<i64>, from: i64, to: i64) -> PartitionCut {
        let run = Run { from, to, received: 0, skipped_by_broker: 0 };
        PartitionCut { partition: 0, expected, run, valid_through_ms: None }
    }

    #[test]
    fn only_progress_and_accepted_gaps_change_the_state() {
        assert!(cut(Some(5), 5, 6).changes_state());
        assert!(cut(None, 0, 1).changes_state());
        assert!(cut(Some(5), 9, 9).changes_state(), "an accepted gap must be recorded");
        assert!(!cut(Some(5), 5, 5).changes_state());
        assert!(!cut(None, 7, 7).changes_state(), "a new and empty partition is not worth a commit");
    }

    #[test]
    fn shares_of_bytes_follow_the_rows() {
        assert_eq!(share(100, 1, 4), 25);
        assert_eq!(share(usize::MAX, 3, 3), usize::MAX);
        assert_eq!(share(100, 0, 0), 0);
    }
}
