//! Group offsets as a hint: written after the table's commit so that the usual lag tools show us, read by nobody.
//!
//! The table alone decides where to start, so a failure here is logged and forgotten.

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::{KafkaClient, TopicPartition};

impl KafkaClient {
    /// Sends the group's offsets (the next to read) without waiting for the answer, which is logged when it comes.
    ///
    /// Call it only after the table's commit: a lag tool must not show progress that a crash would undo. A group that has
    /// members takes offsets from these only; see [`Held::hints`](super::membership::Held::hints).
    pub fn commit_hint<'a>(&self, next_offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>) {
        send(&self.consumer, next_offsets);
    }
}

/// Sends the group's offsets through a connection that may.
pub(super) fn send<'a, C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    next_offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
) {
    let mut list = TopicPartitionList::new();
    for (partition, next) in next_offsets {
        if let Err(error) =
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(next))
        {
            warn!(%partition, next, %error, "left a partition out of the group's offsets");
        }
    }
    if list.count() == 0 {
        return;
    }
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        log_answer(&Err(error), &list);
    }
}

/// Logs the answer to a commit of group offsets.
pub(super) fn log_answer(result: &KafkaResult<()>, offsets: &TopicPartitionList) {
    let num_partitions = offsets.count();
    match result {
        Ok(()) | Err(RdKafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {
            debug!(num_partitions, "wrote group offsets");
        }
        Err(error) => warn!(num_partitions, %error, "group offsets not written; only lag tools miss them"),
    }
}
