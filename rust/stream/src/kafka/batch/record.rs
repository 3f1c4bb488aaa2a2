//! What a batch hands out: records borrowed from the client library, ends of partitions, errors.
//!
//! Every `unsafe` block here relies on invariant 2 of `batch.rs`: a [`Record`] is made only for a live message that this
//! thread alone holds, and what it lends belongs to that message and cannot outlive `'a`.

use std::ffi::{CStr, c_char, c_void};
use std::{fmt, ptr};

use rdkafka::bindings as ffi;
use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::TopicPartition;

/// The header that carries the producer's run.
const RUN_ID_HEADER: &CStr = c"run_id";

/// What a batch consists of, in the order of each partition's log.
#[derive(Debug)]
pub enum Event<'a> {
    /// A record.
    Record(Record<'a>),
    /// Everything below `offset` has been fetched and there is no more for now.
    EndOfPartition {
        /// Index into [`BatchQueue::partitions`](super::BatchQueue::partitions).
        slot: usize,
        /// The position: the end under the isolation level, behind whatever invisible records close the log.
        offset: i64,
    },
    /// The partition cannot be read on. Records behind it may be missing: take nothing further from the partition,
    /// and never commit past its position.
    Error(PartitionError),
}

/// Why a partition cannot be read on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("failed to read {}: {message}", partition.as_ref().map_or_else(|| "a partition".to_owned(), ToString::to_string))]
pub struct PartitionError {
    /// Index into [`BatchQueue::partitions`](super::BatchQueue::partitions); `None` if the event names none of them.
    pub slot: Option<usize>,
    /// The same partition by name.
    pub partition: Option<TopicPartition>,
    /// The offset where it happened, or below 0 if it has none.
    pub offset: i64,
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
    /// librdkafka's words.
    pub message: String,
}

impl PartitionError {
    /// Returns whether the position is not in the log: retention overtook the reader, or the log was cut or re-created.
    /// Which of these, [`Bounds::resume_from`](crate::kafka::Bounds::resume_from) tells.
    pub fn is_out_of_range(&self) -> bool {
        matches!(self.code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    }
}

/// Who set a record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampKind {
    /// The producer.
    Create,
    /// The broker, on arrival.
    LogAppend,
}

/// A record borrowed from the client library; lives for one call of the closure.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Index into [`BatchQueue::partitions`](super::BatchQueue::partitions).
    pub slot: usize,
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key; `None` if null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` if null (a tombstone).
    pub value: Option<&'a [u8]>,
    message: &'a ffi::rd_kafka_message_t,
}

impl<'a> Record<'a> {
    /// Views a message without an error.
    ///
    /// # Safety
    /// The message is a consumed one, lives for `'a`, and no other thread holds it.
    #[inline]
    pub(super) unsafe fn new(slot: usize, message: &'a ffi::rd_kafka_message_t) -> Self {
        // SAFETY: the library vouches for pointer and length of payload and key; both live as long as the message.
        let (key, value) =
            unsafe { (bytes(message.key, message.key_len), bytes(message.payload, message.len)) };
        Self { slot, partition: message.partition, offset: message.offset, key, value, message }
    }

    /// Returns the timestamp in milliseconds since 1970 and who set it; `None` if the record has none.
    pub fn timestamp_ms(&self) -> Option<(i64, TimestampKind)> {
        let mut kind = ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: invariant 2; `kind` is ours.
        let timestamp_ms = unsafe { ffi::rd_kafka_message_timestamp(self.message, &mut kind) };
        let kind = match kind {
            ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => return None,
            ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => TimestampKind::Create,
            ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => TimestampKind::LogAppend,
        };
        (timestamp_ms >= 0).then_some((timestamp_ms, kind))
    }

    /// Returns the value of the header `run_id` as it came (it should be UTF-8); `None` if absent or null.
    pub fn run_id(&self) -> Option<&'a [u8]> {
        self.header(RUN_ID_HEADER)
    }

    /// Returns the last header called `name`; `None` if absent or null.
    ///
    /// The client library parses (and allocates for) a record's headers at the first question, and only if it has any.
    pub fn header(&self, name: &CStr) -> Option<&'a [u8]> {
        let headers = self.native_headers()?;
        let (mut value, mut len) = (ptr::null::<c_void>(), 0usize);
        // SAFETY: the headers belong to the message (invariant 2); both results are ours.
        let code = unsafe { ffi::rd_kafka_header_get_last(headers, name.as_ptr(), &mut value, &mut len) };
        if code != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the library gave `len` bytes that belong to the message (invariant 2).
        unsafe { bytes(value, len) }
    }

    /// Returns all headers in order, copied; names that are not UTF-8 have the bad bytes replaced.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let Some(headers) = self.native_headers() else { return Vec::new() };
        let mut copied = Vec::new();
        loop {
            let (mut name, mut value, mut len) = (ptr::null::<c_char>(), ptr::null::<c_void>(), 0usize);
            // SAFETY: the headers belong to the message (invariant 2); an index behind the last is answered by an error.
            let code = unsafe {
                ffi::rd_kafka_header_get_all(headers, copied.len(), &mut name, &mut value, &mut len)
            };
            if code != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                return copied;
            }
            // SAFETY: name and value belong to the message (invariant 2) and are copied here.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, len)) };
            copied.push((name.to_string_lossy().into_owned(), value.map(<[u8]>::to_vec)));
        }
    }

    fn native_headers(&self) -> Option<*mut ffi::rd_kafka_headers_t> {
        let mut headers = ptr::null_mut();
        // SAFETY: invariant 2. The library caches the parsed headers in the message, which only this thread holds.
        let code = unsafe { ffi::rd_kafka_message_headers(self.message, &mut headers) };
        (code == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null())
            .then_some(headers)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("slot", &self.slot)
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("value_len", &self.value.map(<[u8]>::len))
            .finish_non_exhaustive()
    }
}

/// Views bytes that belong to a message; `None` if null.
///
/// # Safety
/// `pointer` is null or has `len` bytes that live for `'a`.
#[inline]
pub(super) unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: not null, and the caller vouches for the rest.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), len) })
}
