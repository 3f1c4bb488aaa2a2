//! The ends of each partition's log, and whether a stored offset still fits between them.
//!
//! Three ends matter. The *earliest* offset moves up with retention. The *stable end* is where reading under the
//! isolation level can go now: the last stable offset for committed records, else the high watermark; it is the
//! target of a run "until caught up". The *high watermark* is the end of all records; only an offset above it proves
//! that the log is not the one we knew.

use std::time::Duration;

use super::{Isolation, KafkaClient, KafkaError, TopicPartition, admin};

/// The ends of one partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First offset still there.
    pub earliest: i64,
    /// End (exclusive) of what can be read under the client's isolation level.
    pub stable_end: i64,
    /// End (exclusive) of all records, also those of open transactions.
    pub high_watermark: i64,
}

/// Whether reading can go on from a stored offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The offset lies within the log.
    Possible,
    /// Retention (or a deletion of records) overtook us: `[next, earliest)` is gone.
    Gap {
        /// First offset still there.
        earliest: i64,
        /// Number of offsets that cannot be read any more; at most so many records are lost.
        num_missing: u64,
    },
    /// The offset lies behind the log's end: the topic was re-created, or the brokers lost acknowledged records.
    Regression {
        /// End (exclusive) of the log.
        high_watermark: i64,
    },
}

impl Bounds {
    /// Compares `next`, the first offset not yet stored, with the log.
    pub fn resume_from(&self, next: i64) -> Resume {
        if next > self.high_watermark {
            return Resume::Regression { high_watermark: self.high_watermark };
        }
        match u64::try_from(self.earliest - next) {
            Ok(0) | Err(_) => Resume::Possible,
            Ok(num_missing) => Resume::Gap { earliest: self.earliest, num_missing },
        }
    }
}

impl KafkaClient {
    /// Asks for the bounds of `partitions`, in their order. Blocks for up to three times `timeout`.
    ///
    /// # Errors
    /// [`KafkaError::RequestFailed`] if one of them has no answer; retryable while leaders are away.
    pub fn bounds(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Bounds>, KafkaError> {
        use admin::{EARLIEST, LATEST};
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let ask = |end, isolation| {
            let found = admin::list_offsets(self, partitions, end, isolation, timeout)?;
            let known = partitions.iter().zip(found).map(|(partition, offset)| {
                let missing =
                    || self.request_failed("list offsets", format!("no offset of {partition}"), true);
                offset.ok_or_else(missing)
            });
            known.collect::<Result<Vec<i64>, KafkaError>>()
        };
        let stable_end = ask(LATEST, self.settings.isolation)?;
        let high_watermark = match self.settings.isolation {
            Isolation::ReadCommitted => ask(LATEST, Isolation::ReadUncommitted)?,
            Isolation::ReadUncommitted => stable_end.clone(),
        };
        // Asked last: retention can only move it up, so a gap that opens meanwhile is seen.
        let earliest = ask(EARLIEST, Isolation::ReadUncommitted)?;
        let ends = earliest.into_iter().zip(stable_end).zip(high_watermark);
        Ok(ends
            .map(|((earliest, stable_end), high_watermark)| Bounds { earliest, stable_end, high_watermark })
            .collect())
    }

    /// Asks for the first offset of each of `partitions`, in their order, whose record's timestamp is at or after
    /// `timestamp_ms` (ms since 1970, >= 0); `None` if there is none. Blocks for up to `timeout`.
    ///
    /// # Errors
    /// [`KafkaError::RequestFailed`]; retryable while leaders are away.
    pub fn first_offsets_since(
        &self,
        partitions: &[TopicPartition],
        timestamp_ms: i64,
        timeout: Duration,
    ) -> Result<Vec<Option<i64>>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let since = timestamp_ms.max(0);
        admin::list_offsets(self, partitions, since, Isolation::ReadUncommitted, timeout)
    }

    /// Returns the high watermark that the last fetch of `partition` saw, without asking a broker: cheap enough for a lag
    /// metric. `None` before the first fetch.
    pub fn cached_high_watermark(&self, partition: &TopicPartition) -> Option<i64> {
        admin::cached_high_watermark(self, partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { earliest: 100, stable_end: 180, high_watermark: 200 };

    #[test]
    fn offsets_within_the_log_can_be_resumed_from() {
        for next in [100, 150, 180, 190, 200] {
            assert_eq!(BOUNDS.resume_from(next), Resume::Possible, "next {next}");
        }
    }

    #[test]
    fn offset_below_the_earliest_is_a_gap() {
        assert_eq!(BOUNDS.resume_from(99), Resume::Gap { earliest: 100, num_missing: 1 });
        assert_eq!(BOUNDS.resume_from(0), Resume::Gap { earliest: 100, num_missing: 100 });
    }

    #[test]
    fn offset_above_the_high_watermark_is_a_regression() {
        assert_eq!(BOUNDS.resume_from(201), Resume::Regression { high_watermark: 200 });
    }

    #[test]
    fn emptied_log_is_a_gap_up_to_its_end() {
        let emptied = Bounds { earliest: 200, stable_end: 200, high_watermark: 200 };

        assert_eq!(emptied.resume_from(150), Resume::Gap { earliest: 200, num_missing: 50 });
    }
}
