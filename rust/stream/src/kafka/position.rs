//! The arithmetic of one partition's position: what was received, what the broker skipped, and how far we are.
//!
//! Offsets on the wire are not contiguous: markers of transactions, aborted records and compacted ones are never
//! delivered. So the next offset is not "last record + 1" alone: the end-of-partition event carries the position
//! behind whatever invisible records close the log, and only with it a log ending in an aborted transaction is ever
//! read to its end. The law here: `next - start == received + skipped`, after every call. No I/O.

/// An offset came that lies below what has been passed already.
///
/// The client library never does that for an assignment that is not changed; if it happens the order is broken and
/// going on would double records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} arrived although everything below {next} has been passed")]
pub struct BackwardOffset {
    /// The offset that came.
    pub offset: i64,
    /// The lowest offset that may still come.
    pub next: i64,
}

/// What happened in one partition between two cuts: `[from, to)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// First offset of the run, inclusive.
    pub from: i64,
    /// End of the run, exclusive: the position to go on from.
    pub to: i64,
    /// Records delivered.
    pub received: u64,
    /// Offsets that were never delivered: control records, aborted transactions, compaction.
    pub skipped_by_broker: u64,
}

impl Run {
    /// Returns whether the position did not move.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }
}

/// Where one partition stands, and the run since the last cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    run: Run,
}

impl Position {
    /// Returns the position before anything was read, at `start` (the first offset asked for).
    pub fn new(start: i64) -> Self {
        Self { run: Run { from: start, to: start, received: 0, skipped_by_broker: 0 } }
    }

    /// Returns the next offset: everything below it is either received or skipped.
    pub fn next(&self) -> i64 {
        self.run.to
    }

    /// Returns the run since the start or the last [`cut`](Self::cut).
    pub fn run(&self) -> Run {
        self.run
    }

    /// Returns whether everything below `end` has been passed.
    pub fn has_reached(&self, end: i64) -> bool {
        self.run.to >= end
    }

    /// Takes one delivered record; offsets between the position and it were skipped by the broker.
    ///
    /// # Errors
    /// [`BackwardOffset`], and nothing changes, if the offset has been passed before.
    #[inline]
    pub fn record(&mut self, offset: i64) -> Result<(), BackwardOffset> {
        self.advance(offset)?;
        self.run.to += 1;
        self.run.received += 1;
        Ok(())
    }

    /// Takes an end-of-partition event: all below `offset` has been fetched, so what was not delivered was skipped.
    ///
    /// # Errors
    /// [`BackwardOffset`], and nothing changes, if the end lies below the position.
    pub fn end_of_partition(&mut self, offset: i64) -> Result<(), BackwardOffset> {
        self.advance(offset)
    }

    /// Returns the run so far and begins the next one where it ended.
    pub fn cut(&mut self) -> Run {
        let next = Self::new(self.run.to).run;
        std::mem::replace(&mut self.run, next)
    }

    #[inline]
    fn advance(&mut self, offset: i64) -> Result<(), BackwardOffset> {
        // `try_from` is the comparison: a negative distance means backwards.
        let skipped = u64::try_from(offset.wrapping_sub(self.run.to))
            .map_err(|_| BackwardOffset { offset, next: self.run.to })?;
        self.run.skipped_by_broker += skipped;
        self.run.to = offset;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contiguous_records_skip_nothing() {
        let mut position = Position::new(5);

        for offset in 5..8 {
            position.record(offset).unwrap();
        }

        assert_eq!(position.run(), Run { from: 5, to: 8, received: 3, skipped_by_broker: 0 });
    }

    #[test]
    fn gap_between_records_is_skipped_by_the_broker() {
        let mut position = Position::new(0);

        position.record(0).unwrap();
        position.record(4).unwrap();

        assert_eq!(position.run(), Run { from: 0, to: 5, received: 2, skipped_by_broker: 3 });
    }

    #[test]
    fn invisible_tail_is_passed_by_the_end_of_partition() {
        let mut position = Position::new(10);
        position.record(10).unwrap();
        assert!(!position.has_reached(20));

        position.end_of_partition(20).unwrap();

        assert!(position.has_reached(20));
        assert_eq!(position.run(), Run { from: 10, to: 20, received: 1, skipped_by_broker: 9 });
    }

    #[test]
    fn repeated_end_of_partition_changes_nothing() {
        let mut position = Position::new(3);

        position.end_of_partition(3).unwrap();
        position.end_of_partition(3).unwrap();

        assert!(position.run().is_empty());
    }

    #[test]
    fn backward_offset_is_refused_and_changes_nothing() {
        let mut position = Position::new(7);
        position.record(9).unwrap();
        let before = position;

        assert_eq!(position.record(9), Err(BackwardOffset { offset: 9, next: 10 }));
        assert_eq!(position.end_of_partition(8), Err(BackwardOffset { offset: 8, next: 10 }));
        assert_eq!(position, before);
    }

    #[test]
    fn cut_begins_the_next_run_where_the_last_ended() {
        let mut position = Position::new(0);
        position.record(2).unwrap();

        assert_eq!(position.cut(), Run { from: 0, to: 3, received: 1, skipped_by_broker: 2 });
        assert_eq!(position.run(), Run { from: 3, to: 3, received: 0, skipped_by_broker: 0 });
    }

    proptest! {
        /// Any log with holes, cut anywhere: the runs chain, and records plus skips are all offsets passed.
        #[test]
        fn every_offset_is_received_or_skipped(start in 0i64..1_000, steps in prop::collection::vec((0i64..5, any::<bool>(), any::<bool>()), 0..200)) {
            let mut position = Position::new(start);
            let (mut runs, mut delivered) = (Vec::new(), 0u64);

            for (hole, is_end, cut) in steps {
                let offset = position.next() + hole;
                if is_end {
                    position.end_of_partition(offset).unwrap();
                } else {
                    position.record(offset).unwrap();
                    delivered += 1;
                }
                if cut {
                    runs.push(position.cut());
                }
            }
            runs.push(position.cut());

            let mut expected_from = start;
            for run in &runs {
                prop_assert_eq!(run.from, expected_from);
                prop_assert_eq!(u64::try_from(run.to - run.from).unwrap(), run.received + run.skipped_by_broker);
                expected_from = run.to;
            }
            prop_assert_eq!(expected_from, position.next());
            prop_assert_eq!(runs.iter().map(|run| run.received).sum::<u64>(), delivered);
        }
    }
}
