//! Reading whole batches: one call hands out up to thousands of records without an allocation or a copy for each.
//!
//! The partitions of a [`BatchQueue`] are forwarded into one librdkafka queue of its own, which one thread empties.
//! That costs half of what polling record by record costs (`rd_kafka_consume_batch_queue` has no binding in the
//! `rdkafka` crate). A queue that nobody reads fills to its bound and then stops fetching: that is the backpressure.
//!
//! Two things that librdkafka does must not be relied on, and are not:
//! * `rd_kafka_position` is one too high after an end-of-partition event was taken in a batch (librdkafka 2.12.1).
//!   Pausing and resuming a partition would go on from there and lose a record. So there is no pause here, and
//!   [`Position`](super::Position) keeps the position.
//! * A batch call waits until the batch is full or the time is over. [`BatchQueue::consume`] waits for the first record
//!   only, so that a slow topic is not held up.
//!
//! `unsafe` lives here, in `batch/record.rs` and in `admin.rs`. Invariants that every block relies on:
//! 1. *Life*: a `QueueHandle` owns one reference to its native queue and an `Arc` of the client, so the queue is
//!    destroyed before the client and never used after.
//! 2. *Messages*: a pointer in `buffer` comes from one batch call and is destroyed exactly once, by `Taken`, also when
//!    the caller's closure panics. What an [`Event`] borrows belongs to its message, and its lifetime ends with the
//!    closure's call, before the message is destroyed.
//! 3. *Threads*: librdkafka's queues lock themselves; `consume` takes `&mut self` because of `buffer`; [`Waker`] only
//!    yields. Hence `Send` for the queue, `Send + Sync` for the handle.
//! 4. *Strings*: a native topic object lives as long as any message of it; names are compared, never kept.

mod record;

use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::bindings as ffi;
use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};

use self::record::bytes;
pub use self::record::{Event, PartitionError, Record, TimestampKind};

use super::{KafkaClient, KafkaError, Start, TopicPartition};

/// A native queue and the client it belongs to (invariant 1).
struct QueueHandle {
    queue: NonNull<ffi::rd_kafka_queue_t>,
    /// Set before the queue is yielded, because a call that does not wait may take the yield's mark with it.
    is_woken: AtomicBool,
    client: Arc<KafkaClient>,
}

// SAFETY: invariant 3; the client is `Send + Sync` itself.
unsafe impl Send for QueueHandle {}
// SAFETY: as above.
unsafe impl Sync for QueueHandle {}

impl Drop for QueueHandle {
    fn drop(&mut self) {
        // SAFETY: invariant 1: the reference is ours, and the client still lives. Messages left inside are destroyed by the library.
        unsafe { ffi::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Ends a waiting [`BatchQueue::consume`] from another thread, e.g. for a shutdown.
#[derive(Clone)]
pub struct Waker {
    handle: Arc<QueueHandle>,
}

impl Waker {
    /// Makes the present or the next waiting call return without waiting any longer; sometimes both.
    pub fn wake(&self) {
        self.handle.is_woken.store(true, Ordering::SeqCst);
        // SAFETY: invariants 1 and 3.
        unsafe { ffi::rd_kafka_queue_yield(self.handle.queue.as_ptr()) }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// The records of chosen partitions, for one reading thread.
pub struct BatchQueue {
    handle: Arc<QueueHandle>,
    partitions: Vec<TopicPartition>,
    /// Room for one batch; empty between calls.
    buffer: Vec<*mut ffi::rd_kafka_message_t>,
}

// SAFETY: invariant 3; `buffer` holds no live pointers between calls.
unsafe impl Send for BatchQueue {}

impl KafkaClient {
    /// Assigns all partitions in `shares` at their start offsets; each share becomes one queue, for one thread.
    ///
    /// Call it once per client: an assignment replaces the one before. Start offsets come from the table; there is no
    /// moment at which another offset could be read, because forwarding is set up before the assignment.
    ///
    /// # Errors
    /// [`KafkaError::AssignmentFailed`] for a negative offset, a partition named twice, or if the library refuses.
    pub fn assign(self: &Arc<Self>, shares: Vec<Vec<Start>>) -> Result<Vec<BatchQueue>, KafkaError> {
        let mut list = TopicPartitionList::new();
        for start in shares.iter().flatten() {
            let TopicPartition { topic, partition } = &start.partition;
            if start.offset < 0 {
                return Err(assignment_failed(start, "the offset is negative".to_owned()));
            }
            if list.find_partition(topic, *partition).is_some() {
                return Err(assignment_failed(start, "the partition is named twice".to_owned()));
            }
            list.add_partition_offset(topic, *partition, Offset::Offset(start.offset))
                .map_err(|error| assignment_failed(start, error.to_string()))?;
        }
        let queues: Result<Vec<BatchQueue>, KafkaError> =
            shares.iter().map(|share| BatchQueue::forward(self, share)).collect();
        let queues = queues?;
        self.consumer.assign(&list).map_err(|error| KafkaError::ClientNotCreated {
            reason: format!("assignment of {} partitions: {error}", list.count()),
        })?;
        Ok(queues)
    }
}

fn assignment_failed(start: &Start, reason: String) -> KafkaError {
    KafkaError::AssignmentFailed { partition: start.partition.clone(), offset: start.offset, reason }
}

impl BatchQueue {
    /// Makes a queue and forwards the share's partitions into it.
    fn forward(client: &Arc<KafkaClient>, share: &[Start]) -> Result<Self, KafkaError> {
        let rk = client.consumer.client().native_ptr();
        // SAFETY: `rk` is live; the handle takes over the reference (invariant 1).
        let Some(queue) = NonNull::new(unsafe { ffi::rd_kafka_queue_new(rk) }) else {
            return Err(KafkaError::ClientNotCreated { reason: "no queue to read from".to_owned() });
        };
        let handle =
            Arc::new(QueueHandle { queue, is_woken: AtomicBool::new(false), client: Arc::clone(client) });
        for start in share {
            let topic = CString::new(start.partition.topic.as_str())
                .map_err(|error| assignment_failed(start, error.to_string()))?;
            // SAFETY: `rk` is live and the name a valid string, copied by the library.
            let source =
                unsafe { ffi::rd_kafka_queue_get_partition(rk, topic.as_ptr(), start.partition.partition) };
            if source.is_null() {
                return Err(assignment_failed(start, "the client has no queue for it".to_owned()));
            }
            // SAFETY: both queues are live. The forwarding keeps its own reference to ours, so the source's can go; the
            // library keeps a forwarding made by the application when the partition is assigned later.
            unsafe {
                ffi::rd_kafka_queue_forward(source, queue.as_ptr());
                ffi::rd_kafka_queue_destroy(source);
            }
        }
        let partitions = share.iter().map(|start| start.partition.clone()).collect();
        Ok(Self { handle, partitions, buffer: Vec::new() })
    }

    /// Returns the partitions in the order of the share; an event's `slot` is an index into it.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// Returns the client.
    pub fn client(&self) -> &Arc<KafkaClient> {
        &self.handle.client
    }

    /// Returns the number of events fetched and not yet consumed.
    pub fn num_waiting(&self) -> usize {
        // SAFETY: invariants 1 and 3.
        unsafe { ffi::rd_kafka_queue_length(self.handle.queue.as_ptr()) }
    }

    /// Returns a handle that ends a wait from another thread.
    pub fn waker(&self) -> Waker {
        Waker { handle: Arc::clone(&self.handle) }
    }

    /// Hands all events that are there, up to `max`, to `handle`, one after the other, and returns their number.
    /// If there is none, waits for the first one for up to `wait`, or until woken.
    ///
    /// Each message's memory is released right after its call. All events taken are handed out: there is no way back
    /// for a record, so a closure that fails must keep its error and ignore the rest.
    pub fn consume(&mut self, max: usize, wait: Duration, mut handle: impl FnMut(Event<'_>)) -> usize {
        let max = max.max(1);
        let mut num_taken = self.take(0, max, Duration::ZERO);
        // Asked after the call that does not wait: it may have swallowed the yield, but not this mark.
        let is_woken = self.handle.is_woken.swap(false, Ordering::SeqCst);
        if num_taken == 0 && !is_woken && !wait.is_zero() {
            num_taken = self.take(0, 1, wait);
            if num_taken > 0 && max > 1 {
                num_taken += self.take(1, max - 1, Duration::ZERO);
            }
        }
        let mut taken = Taken { messages: &self.buffer[..num_taken], next: 0 };
        let mut lookup = Lookup { partitions: &self.partitions, last: None };
        while let Some(message) = taken.current() {
            handle(lookup.event(message));
            taken.release();
        }
        num_taken
    }

    /// Takes up to `max` messages into the buffer from index `at` on, and returns how many.
    fn take(&mut self, at: usize, max: usize, wait: Duration) -> usize {
        if self.buffer.len() < at + max {
            self.buffer.resize(at + max, ptr::null_mut());
        }
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: invariants 1 and 3; the buffer has room for `max` pointers from `at` on.
        let num_taken = unsafe {
            ffi::rd_kafka_consume_batch_queue(
                self.handle.queue.as_ptr(),
                wait_ms,
                self.buffer.as_mut_ptr().add(at),
                max,
            )
        };
        // Negative only for arguments that cannot occur here.
        usize::try_from(num_taken).unwrap_or(0)
    }
}

impl fmt::Debug for BatchQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchQueue").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

/// The messages of one call; destroys those not yet released when dropped (invariant 2).
struct Taken<'q> {
    messages: &'q [*mut ffi::rd_kafka_message_t],
    next: usize,
}

impl Taken<'_> {
    /// Returns the message at hand; it lives until [`release`](Self::release).
    #[inline]
    fn current(&self) -> Option<&ffi::rd_kafka_message_t> {
        // SAFETY: invariant 2: the message was taken in this call and is not destroyed before `next` passes it, which
        // needs `&mut self`.
        self.messages.get(self.next).map(|message| unsafe { &**message })
    }

    #[inline]
    fn release(&mut self) {
        if let Some(message) = self.messages.get(self.next) {
            self.next += 1;
            // SAFETY: invariant 2: `next` has passed it, so this is the only time.
            unsafe { ffi::rd_kafka_message_destroy(*message) }
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        while self.next < self.messages.len() {
            self.release();
        }
    }
}

/// Finds a message's slot. Messages come in runs of one partition, so the last answer nearly always fits.
struct Lookup<'q> {
    partitions: &'q [TopicPartition],
    /// Native topic, partition and slot of the last message; the address is only compared (invariant 4).
    last: Option<(*mut ffi::rd_kafka_topic_t, i32, usize)>,
}

impl Lookup<'_> {
    #[inline]
    fn event<'m>(&mut self, message: &'m ffi::rd_kafka_message_t) -> Event<'m> {
        let slot = self.slot(message);
        match (message.err, slot) {
            (ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, Some(slot)) => {
                // SAFETY: invariant 2: `'m` ends before the message is destroyed, and this thread alone holds it.
                Event::Record(unsafe { Record::new(slot, message) })
            }
            (ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(slot)) => {
                Event::EndOfPartition { slot, offset: message.offset }
            }
            (code, slot) => Event::Error(self.error(message, code, slot)),
        }
    }

    #[inline]
    fn slot(&mut self, message: &ffi::rd_kafka_message_t) -> Option<usize> {
        match self.last {
            Some((topic, partition, slot)) if topic == message.rkt && partition == message.partition => {
                Some(slot)
            }
            _ => self.find(message),
        }
    }

    #[cold]
    fn find(&mut self, message: &ffi::rd_kafka_message_t) -> Option<usize> {
        if message.rkt.is_null() {
            return None;
        }
        // SAFETY: invariant 4: the topic lives as long as the message, and so does its name.
        let name = unsafe { CStr::from_ptr(ffi::rd_kafka_topic_name(message.rkt)) };
        let is_it = |candidate: &TopicPartition| {
            candidate.partition == message.partition && candidate.topic.as_bytes() == name.to_bytes()
        };
        let slot = self.partitions.iter().position(is_it)?;
        self.last = Some((message.rkt, message.partition, slot));
        Some(slot)
    }

    #[cold]
    fn error(
        &self,
        message: &ffi::rd_kafka_message_t,
        code: ffi::rd_kafka_resp_err_t,
        slot: Option<usize>,
    ) -> PartitionError {
        let text = if code == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            "a record of a partition that is not assigned to this queue".to_owned()
        } else {
            // SAFETY: an error's payload is its text (invariant 2), copied here.
            let text = unsafe { bytes(message.payload, message.len) }.unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        PartitionError {
            slot,
            partition: slot.map(|slot| self.partitions[slot].clone()),
            offset: message.offset,
            code: code.into(),
            message: text,
        }
    }
}
