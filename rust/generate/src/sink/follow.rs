//! How far the reader is behind, in bytes: what keeps the generator from writing more than a small broker can hold.
//!
//! The embedded broker drops the oldest records of a partition beyond 5 MiB. The generator therefore counts what it wrote to
//! each partition, looks up what the reader's consumer group has committed, and waits while the difference is above a limit.
//! Stored bytes are compressed, written ones are not: the ratio is taken from the client's own statistics, over all it has sent
//! so far, with a margin of a quarter; until there are statistics it is 1.

use std::collections::VecDeque;

/// A mark is kept at least every this many bytes, which is also the error of the count.
const MARK_BYTES: u64 = 16 * 1024;

/// Assumed size of records that were in the topic before, which nobody counted.
const UNKNOWN_RECORD_BYTES: u64 = 550;

/// Margin on the measured ratio of stored to written bytes.
const RATIO_MARGIN: f64 = 1.25;

/// What of one partition its reader has not committed.
#[derive(Clone, Debug)]
pub struct Unread {
    /// All bytes written so far, those of earlier writers included.
    written: u64,
    /// Of these, the ones that are acknowledged.
    acknowledged: u64,
    /// Of these, the ones that are committed.
    committed: u64,
    /// (next offset, acknowledged bytes before it), ascending.
    marks: VecDeque<(i64, u64)>,
}

impl Unread {
    /// Starts with a partition that ends at `end` and is committed up to `committed` (both exclusive).
    pub fn new(committed: i64, end: i64) -> Self {
        let backlog = u64::try_from(end - committed).unwrap_or(0) * UNKNOWN_RECORD_BYTES;
        Self { written: backlog, acknowledged: backlog, committed: 0, marks: [(end, backlog)].into() }
    }

    /// Counts a record that is on its way.
    pub fn wrote(&mut self, num_bytes: u64) {
        self.written += num_bytes;
    }

    /// Counts a record that arrived at `offset`.
    pub fn arrived(&mut self, offset: i64, num_bytes: u64) {
        self.acknowledged += num_bytes;
        let last = self.marks.back().map_or(0, |(_, bytes)| *bytes);
        if self.acknowledged - last >= MARK_BYTES {
            self.marks.push_back((offset + 1, self.acknowledged));
        }
    }

    /// Learns that the reader has committed everything before `offset`; true if that is news.
    pub fn commit(&mut self, offset: i64) -> bool {
        let before = self.committed;
        while let Some((next, bytes)) = self.marks.front().copied()
            && next <= offset
        {
            self.committed = self.committed.max(bytes);
            self.marks.pop_front();
        }
        self.committed > before
    }

    /// Returns the bytes that are written and not committed, before compression.
    pub fn bytes(&self) -> u64 {
        self.written.saturating_sub(self.committed)
    }
}

/// Returns the ratio of stored to written bytes for what a client has sent so far: `sent` over the network of `payload` before
/// compression. Never above 1.25, and 1 until 64 KiB have been sent.
pub fn stored_ratio(sent: u64, payload: u64) -> f64 {
    if payload < 64 * 1024 {
        return 1.0;
    }
    (sent as f64 / payload as f64).min(1.0) * RATIO_MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_count_until_the_reader_commits_past_them() {
        let mut unread = Unread::new(0, 0);
        for offset in 0..100 {
            unread.wrote(1_000);
            unread.arrived(offset, 1_000);
        }

        assert_eq!(unread.bytes(), 100_000);
        assert!(!unread.commit(0));
        assert_eq!(unread.bytes(), 100_000);
        assert!(unread.commit(50));
        let halfway = unread.bytes();
        assert!((50_000..50_000 + MARK_BYTES + 1_000).contains(&halfway), "{halfway}");
        unread.commit(100);
        assert!(unread.bytes() <= MARK_BYTES + 1_000, "{}", unread.bytes());
    }

    #[test]
    fn records_on_their_way_count_as_unread() {
        let mut unread = Unread::new(0, 0);
        unread.wrote(500);

        unread.commit(1_000);

        assert_eq!(unread.bytes(), 500);
    }

    #[test]
    fn what_was_there_before_counts_until_it_is_committed() {
        let mut unread = Unread::new(10, 30);

        assert_eq!(unread.bytes(), 20 * UNKNOWN_RECORD_BYTES);
        assert!(unread.commit(30));
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn ratio_is_careful_until_it_is_known() {
        assert_eq!(stored_ratio(10, 1_000), 1.0);
        assert_eq!(stored_ratio(100_000, 1_000_000), 0.125);
        assert_eq!(stored_ratio(2_000_000, 1_000_000), 1.25);
    }
}
