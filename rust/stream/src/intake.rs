//! Intake threads: read batches, decode them, and hand the rows to the topics' writers.
//!
//! Each thread owns a queue with its own topic-partitions, one [`Collector`] per topic among them, and the positions;
//! nothing on the way of a record is shared, locked or allocated. It guarantees:
//! * every record taken from the queue is decoded into a row or a dead letter, in the order of its partition;
//! * a [`Cut`] is sent after all chunks with records below its positions and before any chunk with records above;
//! * no batch is taken while the budget is exhausted; what the thread holds is handed over first, so that the bytes can
//!   be written and freed.

use std::sync::Arc;
use std::time::Duration;

use streamify_core::{Contract, DecodeOptions};
use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

use crate::budget::Budget;
use crate::buffer::{Collector, Cut, Delivery, GROUP_ROWS, PartitionCut};
use crate::clock;
use crate::control::Control;
use crate::dead_letters::Letters;
use crate::error::StreamError;
use crate::kafka::{BatchQueue, Event, PartitionError, Position, Record, Start, TopicPartition};
use crate::metrics::Metrics;
use crate::skips::Skips;

/// Records taken at once; more saves nothing, fewer costs calls.
const BATCH_RECORDS: usize = 2_000;
/// How long an idle thread waits for a record; cuts and stops wake it before.
const IDLE_WAIT: Duration = Duration::from_millis(500);
/// How long a thread waits for room before it looks for cuts again.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// Where one partition begins, and how far a bounded run has to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The partition.
    pub partition: TopicPartition,
    /// Index of its topic among the run's topics.
    pub topic: usize,
    /// The offset in the table; `None` for a partition that is new to it.
    pub expected: Option<i64>,
    /// First offset to read.
    pub start: i64,
    /// The end to reach, if the run is to end there.
    pub end: Option<i64>,
    /// Records that are in the dead-letter table already, and stay dead letters.
    pub letters: Letters,
    /// Whether nothing from `end` on is taken: the range of a replay. Otherwise a run goes on until all are at their end.
    pub stops_at_end: bool,
}

impl Assigned {
    /// Returns where Kafka is to begin.
    pub fn start(&self) -> Start {
        Start { partition: self.partition.clone(), offset: self.start }
    }
}

/// One topic as the intake sees it.
#[derive(Clone)]
pub struct IntakeTopic {
    /// The contract.
    pub contract: Arc<Contract>,
    /// How to decode.
    pub options: DecodeOptions,
    /// To the topic's writer. Not bounded by count: the budget bounds the bytes.
    pub deliveries: UnboundedSender<(usize, Delivery)>,
}

/// Sizes at which rows are handed over.
#[derive(Clone, Copy, Debug)]
pub struct ChunkGoal {
    /// Rows of one topic on one thread; one chunk becomes one row group.
    pub rows: usize,
    /// Bytes of all topics on one thread.
    pub bytes: usize,
}

impl ChunkGoal {
    /// Shares out the budget: a third of it may stand in the decoders of all threads together, because sorting holds rows
    /// twice and files take their part.
    pub fn share(budget: usize, num_threads: usize) -> Self {
        Self { rows: 3 * GROUP_ROWS, bytes: budget / 3 / num_threads.max(1) }
    }
}

/// What all intake threads share.
pub struct Shared {
    /// Cuts and stops.
    pub control: Arc<Control>,
    /// Bytes.
    pub budget: Arc<Budget>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Which topics may have offsets without a record.
    pub skips: Arc<Skips>,
    /// Sizes.
    pub goal: ChunkGoal,
}

struct Slot {
    assigned: Assigned,
    collector: usize,
    position: Position,
    chunk_from: i64,
    newest_ms: Option<i64>,
    at_end: bool,
    behind: bool,
    /// End of the offsets that may be in the dead-letter table already.
    letters_end: i64,
    /// Nothing from here on is taken.
    limit: i64,
}

struct Lane {
    topic: usize,
    collector: Collector,
    deliveries: UnboundedSender<(usize, Delivery)>,
    answered: u64,
    /// Records since the last report to the metrics.
    num_records: u64,
}

/// One intake thread.
pub struct Intake {
    number: usize,
    queue: BatchQueue,
    books: Books,
    shared: Arc<Shared>,
}

/// Everything of a thread but the queue, so that a batch's closure can borrow it.
struct Books {
    slots: Vec<Slot>,
    lanes: Vec<Lane>,
    failure: Option<StreamError>,
}

impl Intake {
    /// Prepares the thread `number` for the partitions of its queue, in their order.
    pub fn new(
        number: usize,
        queue: BatchQueue,
        assigned: Vec<Assigned>,
        topics: &[IntakeTopic],
        shared: Arc<Shared>,
        drop_record: bool,
    ) -> Self {
        let mut lanes: Vec<Lane> = Vec::new();
        let mut slots = Vec::with_capacity(assigned.len());
        for partition in assigned {
            let known = lanes.iter().position(|lane| lane.topic == partition.topic);
            let collector = known.unwrap_or_else(|| {
                let topic = &topics[partition.topic];
                let contract = Arc::clone(&topic.contract);
                lanes.push(Lane {
                    topic: partition.topic,
                    collector: Collector::new(contract, topic.options.clone(), &shared.budget, drop_record),
                    deliveries: topic.deliveries.clone(),
                    answered: 0,
                    num_records: 0,
                });
                lanes.len() - 1
            });
            slots.push(Slot {
                position: Position::new(partition.start),
                chunk_from: partition.start,
                newest_ms: None,
                at_end: false,
                behind: partition.end.is_some(),
                letters_end: partition.letters.last_key_value().map_or(0, |(last, _)| last + 1),
                limit: partition.end.filter(|_| partition.stops_at_end).unwrap_or(i64::MAX),
                collector,
                assigned: partition,
            });
        }
        Self { number, queue, books: Books { slots, lanes, failure: None }, shared }
    }

    /// Reads until stopped or until a partition fails; what was read is handed over in either case, unless the books
    /// cannot be trusted any more.
    ///
    /// # Errors
    /// What made it stop.
    pub fn run(mut self) -> Result<(), StreamError> {
        let mut result = Ok(());
        self.note_ends();
        while result.is_ok() && !self.shared.control.is_stopping() {
            result = self.step();
        }
        debug!(thread = self.number, "intake ends");
        self.shared.control.stop();
        for lane in 0..self.books.lanes.len() {
            self.hand_over(lane)?;
            self.cut(lane, true)?;
        }
        result
    }

    fn step(&mut self) -> Result<(), StreamError> {
        for lane in 0..self.books.lanes.len() {
            let number = self.shared.control.cut_number(self.books.lanes[lane].topic);
            if number != self.books.lanes[lane].answered {
                self.books.lanes[lane].answered = number;
                self.hand_over(lane)?;
                self.cut(lane, false)?;
            }
        }
        if !self.shared.budget.wait_for_room(ROOM_WAIT) {
            // Only what is handed over can be written and freed.
            for lane in 0..self.books.lanes.len() {
                self.hand_over(lane)?;
            }
            return Ok(());
        }
        let books = &mut self.books;
        self.queue.consume(BATCH_RECORDS, IDLE_WAIT, |event| books.take(event));
        if let Some(error) = self.books.failure.take() {
            return Err(error);
        }
        self.note_ends();
        self.hand_over_if_full()
    }

    fn hand_over_if_full(&mut self) -> Result<(), StreamError> {
        let goal = self.shared.goal;
        let mut bytes = 0;
        for lane in &mut self.books.lanes {
            let num_records = std::mem::take(&mut lane.num_records);
            self.shared.metrics.received(lane.topic, num_records);
            lane.collector.account();
            bytes += lane.collector.bytes();
        }
        for lane in 0..self.books.lanes.len() {
            if self.books.lanes[lane].collector.rows() >= goal.rows {
                bytes -= self.books.lanes[lane].collector.bytes();
                self.hand_over(lane)?;
            }
        }
        while bytes >= goal.bytes {
            let collectors = self.books.lanes.iter().enumerate();
            let Some((largest, held)) =
                collectors.map(|(lane, at)| (lane, at.collector.bytes())).max_by_key(|(_, bytes)| *bytes)
            else {
                break;
            };
            self.hand_over(largest)?;
            let left = self.books.lanes[largest].collector.bytes();
            if left >= held {
                break;
            }
            bytes -= held - left;
        }
        Ok(())
    }

    /// Sends what the lane holds to the topic's writer.
    fn hand_over(&mut self, index: usize) -> Result<(), StreamError> {
        let lane = &mut self.books.lanes[index];
        if lane.collector.is_empty() {
            return Ok(());
        }
        let mut ranges = Vec::new();
        for slot in self.books.slots.iter_mut().filter(|slot| slot.collector == index) {
            let next = slot.position.next();
            if next > slot.chunk_from {
                ranges.push((slot.assigned.partition.partition, slot.chunk_from, next));
                slot.chunk_from = next;
            }
        }
        let chunk = lane
            .collector
            .take_chunk(&self.shared.budget, ranges, clock::now_us())
            .map_err(|source| StreamError::Rows { topic: lane.collector.topic().to_owned(), source })?;
        self.send(index, Delivery::Chunk(Box::new(chunk)));
        Ok(())
    }

    fn cut(&mut self, index: usize, is_last: bool) -> Result<(), StreamError> {
        let now_ms = clock::now_us() / 1000;
        let mut partitions = Vec::new();
        for slot in self.books.slots.iter_mut().filter(|slot| slot.collector == index) {
            let run = slot.position.run();
            if run.skipped_by_broker > 0 {
                self.shared.skips.check(&slot.assigned.partition, &run)?;
            }
            let cut = PartitionCut {
                partition: slot.assigned.partition.partition,
                expected: slot.assigned.expected,
                run: slot.position.cut(),
                valid_through_ms: if slot.at_end { Some(now_ms) } else { slot.newest_ms },
            };
            if cut.changes_state() {
                slot.assigned.expected = Some(cut.run.to);
            }
            partitions.push(cut);
        }
        let timestamps_ms = self.books.lanes[index].collector.take_timestamps();
        self.send(index, Delivery::Cut(Cut { partitions, timestamps_ms, is_last }));
        Ok(())
    }

    fn send(&self, index: usize, delivery: Delivery) {
        if self.books.lanes[index].deliveries.send((self.number, delivery)).is_err() {
            // The writer has ended before its time and reports why; nothing that comes after can be committed.
            self.shared.control.stop();
        }
    }

    /// Reports partitions that have reached the end they are to reach.
    fn note_ends(&mut self) {
        for slot in self.books.slots.iter_mut().filter(|slot| slot.behind) {
            if slot.assigned.end.is_some_and(|end| slot.position.has_reached(end)) {
                slot.behind = false;
                self.shared.control.reached_end();
            }
        }
    }
}

impl Books {
    #[inline]
    fn take(&mut self, event: Event<'_>) {
        if self.failure.is_some() {
            // Behind a failure the order is broken; the table's offsets tell where to go on.
            return;
        }
        match event {
            Event::Record(record) => self.record(&record),
            Event::EndOfPartition { slot, offset } => self.end_of_partition(slot, offset),
            Event::Error(error) => self.failure = Some(partition_failed(error)),
        }
    }

    #[inline]
    fn record(&mut self, record: &Record<'_>) {
        let slot = &mut self.slots[record.slot];
        if record.offset >= slot.limit {
            return self.end_of_partition(record.slot, record.offset);
        }
        if let Err(source) = slot.position.record(record.offset) {
            let partition = slot.assigned.partition.clone();
            self.failure = Some(StreamError::Backward { partition, source });
            return;
        }
        let timestamp_ms = record.timestamp_ms().map(|(timestamp_ms, _)| timestamp_ms);
        slot.newest_ms = slot.newest_ms.max(timestamp_ms);
        slot.at_end = false;
        let lane = &mut self.lanes[slot.collector];
        lane.num_records += 1;
        if record.offset < slot.letters_end
            && let Some(reason) = slot.assigned.letters.get(&record.offset)
        {
            lane.collector.push_buried(record, timestamp_ms, *reason);
            return;
        }
        lane.collector.push(record, timestamp_ms);
    }

    fn end_of_partition(&mut self, slot: usize, offset: i64) {
        let slot = &mut self.slots[slot];
        slot.at_end = true;
        if let Err(source) = slot.position.end_of_partition(offset.min(slot.limit)) {
            let partition = slot.assigned.partition.clone();
            self.failure = Some(StreamError::Backward { partition, source });
        }
    }
}

fn partition_failed(error: PartitionError) -> StreamError {
    use rdkafka::error::RDKafkaErrorCode as Code;
    // Whether a position out of range is a gap or a re-created topic is decided at the next start, from the log's ends.
    let is_final = matches!(error.code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed);
    StreamError::PartitionFailed {
        partition: error.partition.unwrap_or_else(|| TopicPartition::new("?", -1)),
        reason: error.message,
        retryable: !is_final,
    }
}

/// Divides the partitions among at most `num_threads` threads so that each has a like share of every topic.
pub fn shares(mut assigned: Vec<Assigned>, num_threads: usize) -> Vec<Vec<Assigned>> {
    assigned.sort_by(|left, right| left.partition.cmp(&right.partition));
    let num_threads = num_threads.clamp(1, assigned.len().max(1));
    let mut shares: Vec<Vec<Assigned>> = (0..num_threads).map(|_| Vec::new()).collect();
    for (index, partition) in assigned.into_iter().enumerate() {
        shares[index % num_threads].push(partition);
    }
    shares
}

#[cfg(test)]
mod tests;
