//! The reader that the sink waits for: how far its group has committed, and whether the broker dropped anything before that.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer, producer::Producer};
use tracing::warn;

use super::{
    super::{
        Sink, SinkError,
        follow::{Unread, stored_ratio},
        topics::{base_config, refused},
    },
    Follow, KafkaSink, REQUEST_TIMEOUT, lock,
};
use crate::event::Topic;

impl KafkaSink {
    pub(super) fn start_following(&mut self, follow: &Follow) -> Result<(), SinkError> {
        let mut config = base_config(&self.settings);
        config.set("group.id", &follow.group).set("enable.auto.commit", "false");
        let refused = |source| refused(&self.settings.servers, source);
        self.reader = Some(config.create().map_err(refused)?);
        for (place, committed) in self.committed()? {
            let (low, high) = self.watermarks(place)?;
            let committed = committed.unwrap_or(low).clamp(low, high);
            self.settled.insert(place, committed);
            lock(&self.reports.unread).insert(place, Unread::new(committed, high));
        }
        Ok(())
    }

    fn watermarks(&self, (topic, partition): (usize, i32)) -> Result<(i64, i64), SinkError> {
        let name = Topic::ALL[topic].name();
        self.clients
            .first()
            .client()
            .fetch_watermarks(name, partition, REQUEST_TIMEOUT)
            .map_err(|source| self.request_failed("look up the offsets of a partition", source))
    }

    /// Returns the committed offset of every partition; `None` where the group has committed nothing.
    fn committed(&self) -> Result<BTreeMap<(usize, i32), Option<i64>>, SinkError> {
        let Some(reader) = &self.reader else { return Ok(BTreeMap::new()) };
        let mut asked = TopicPartitionList::new();
        for (topic, count) in Topic::ALL.iter().zip(&self.num_partitions) {
            asked.add_partition_range(topic.name(), 0, count - 1);
        }
        let answer = reader
            .committed_offsets(asked, REQUEST_TIMEOUT)
            .map_err(|source| self.request_failed("look up the committed offsets of the reader", source))?;
        let mut committed = BTreeMap::new();
        for element in answer.elements() {
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            if let Some(topic) = Topic::ALL.iter().position(|topic| topic.name() == element.topic()) {
                committed.insert((topic, element.partition()), offset);
            }
        }
        Ok(committed)
    }

    /// Counts a record in and waits until there is room for it.
    pub(super) fn make_room(
        &mut self,
        topic: Topic,
        partition: i32,
        num_bytes: u64,
    ) -> Result<(), SinkError> {
        let Some(follow) = self.settings.follow.clone() else { return Ok(()) };
        let place = (topic as usize, partition);
        let mut progress = Instant::now();
        let mut told = false;
        loop {
            let sent = self.reports.sent_bytes.load(Ordering::Relaxed);
            let ratio = stored_ratio(sent, self.reports.payload_bytes.load(Ordering::Relaxed));
            let stored = {
                let mut unread = lock(&self.reports.unread);
                let Some(unread) = unread.get_mut(&place) else { return Ok(()) };
                let stored = ((unread.bytes() + num_bytes) as f64 * ratio) as u64;
                if stored <= follow.max_unread_bytes {
                    unread.wrote(num_bytes);
                    return Ok(());
                }
                stored
            };
            let partition = format!("{}/{partition}", topic.name());
            let waited = progress.elapsed();
            if !follow.timeout.is_zero() && waited >= follow.timeout {
                let (group, seconds) = (follow.group, waited.as_secs());
                return Err(SinkError::ReaderStalled { group, partition, unread_bytes: stored, seconds });
            }
            if !told && waited >= Duration::from_secs(2) {
                warn!(
                    group = follow.group,
                    partition,
                    unread_bytes = stored,
                    "waiting for the reader to commit"
                );
                told = true;
            }
            self.idle(Duration::from_millis(100))?;
            if self.stop.is_cancelled() {
                return Err(SinkError::Stopped);
            }
            if self.learn_commits()? {
                progress = Instant::now();
            }
        }
    }

    /// Takes in what the reader has committed; true if anything is new.
    fn learn_commits(&self) -> Result<bool, SinkError> {
        let committed = self.committed()?;
        let mut unread = lock(&self.reports.unread);
        let mut is_news = false;
        for (place, offset) in committed {
            if let (Some(unread), Some(offset)) = (unread.get_mut(&place), offset) {
                is_news |= unread.commit(offset);
            }
        }
        Ok(is_news)
    }

    /// Checks that the broker still has, or the reader has committed, everything.
    pub(super) fn check_nothing_was_dropped(&self) -> Result<(), SinkError> {
        let Some(follow) = &self.settings.follow else { return Ok(()) };
        for (place, committed) in self.committed()? {
            let (low, _) = self.watermarks(place)?;
            let settled = self.settled.get(&place).copied().unwrap_or(0);
            let count = low - committed.unwrap_or(0).max(settled);
            if count > 0 {
                let partition = format!("{}/{}", Topic::ALL[place.0].name(), place.1);
                return Err(SinkError::DroppedUnread { partition, group: follow.group.clone(), count });
            }
        }
        Ok(())
    }
}
