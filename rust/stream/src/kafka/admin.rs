//! Questions to the brokers that the `rdkafka` crate has no binding for: topic ids, and offsets under an isolation level.
//!
//! `unsafe` lives here and in `batch`. Invariants that every block relies on:
//! * `rk` comes from a live [`KafkaClient`], borrowed for the whole call, so it outlives every handle made from it.
//! * Every handle (`Owned`) is destroyed exactly once, by its `Drop`, and never used after.
//! * What is read from a result event (arrays, names, ids) belongs to the event; it is copied out before the event
//!   is destroyed, and array lengths are those that librdkafka wrote.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as ffi;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::{Isolation, KafkaClient, KafkaError, TopicPartition};

/// Time given to the library beyond the request's own timeout, so that it is the one to report it.
const GRACE: Duration = Duration::from_secs(1);

/// Asks for the first offset still there; the values are those of Kafka's ListOffsets request.
pub(super) const EARLIEST: i64 = -2;
/// Asks for the offset behind the last record readable under the isolation level.
pub(super) const LATEST: i64 = -1;

/// What a broker says of a topic that exists.
pub(super) struct TopicDescription {
    pub name: String,
    /// Base64 of the topic's UUID; `None` from brokers that have no topic ids.
    pub id: Option<String>,
    pub num_partitions: usize,
}

/// A librdkafka handle that is destroyed on drop.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes over `pointer`; `None` if it is null.
    ///
    /// # Safety
    /// `pointer` is null or owned by the caller, and `destroy` is its destructor.
    unsafe fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer, destroy })
    }

    fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` took over a pointer that belongs to us, with its destructor; drop runs once.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// One question on its way: the options and the queue its answer comes to.
struct Request<'a> {
    client: &'a KafkaClient,
    what: &'static str,
    timeout: Duration,
    options: Owned<ffi::rd_kafka_AdminOptions_t>,
    queue: Owned<ffi::rd_kafka_queue_t>,
}

impl<'a> Request<'a> {
    fn new(
        client: &'a KafkaClient,
        what: &'static str,
        operation: ffi::rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let rk = client.consumer.client().native_ptr();
        // SAFETY: `rk` is live; both handles are ours to destroy.
        let handles = unsafe {
            Owned::new(ffi::rd_kafka_AdminOptions_new(rk, operation), ffi::rd_kafka_AdminOptions_destroy)
                .zip(Owned::new(ffi::rd_kafka_queue_new(rk), ffi::rd_kafka_queue_destroy))
        };
        let Some((options, queue)) = handles else {
            return Err(client.request_failed(what, "the client cannot make the request".to_owned(), false));
        };
        let mut text = [0 as c_char; 256];
        // SAFETY: `options` is live and the buffer's length is given.
        let code = unsafe {
            ffi::rd_kafka_AdminOptions_set_request_timeout(
                options.as_ptr(),
                milliseconds(timeout),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        if code != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(client.request_failed(what, RDKafkaErrorCode::from(code).to_string(), false));
        }
        Ok(Self { client, what, timeout, options, queue })
    }

    /// Waits for the answer and checks the request as a whole; its parts have errors of their own.
    fn answer(&self) -> Result<Owned<ffi::rd_kafka_event_t>, KafkaError> {
        let wait = milliseconds(self.timeout + GRACE);
        // SAFETY: the queue is live; the event is ours to destroy.
        let event = unsafe {
            Owned::new(ffi::rd_kafka_queue_poll(self.queue.as_ptr(), wait), ffi::rd_kafka_event_destroy)
        };
        let Some(event) = event else {
            return Err(self.failed(format!("no answer within {} s", self.timeout.as_secs()), true));
        };
        // SAFETY: the event is live; its text belongs to it and is copied here.
        let (code, text) = unsafe {
            (
                ffi::rd_kafka_event_error(event.as_ptr()),
                owned_text(ffi::rd_kafka_event_error_string(event.as_ptr())),
            )
        };
        match code {
            ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
            code => Err(self.failed(text, is_retryable(code.into()))),
        }
    }

    fn failed(&self, reason: String, retryable: bool) -> KafkaError {
        self.client.request_failed(self.what, reason, retryable)
    }
}

/// Describes those of `topics` that exist, as broker `broker_id` knows them. Blocks for up to `timeout`.
///
/// Left to itself the library asks the controller, and waits in vain where there is none to see (a mock). Any broker knows.
pub(super) fn describe_topics(
    client: &KafkaClient,
    broker_id: i32,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<TopicDescription>, KafkaError> {
    let operation = ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let request = Request::new(client, "describe topics", operation, timeout)?;
    // SAFETY: the options are live; no room for a text is given.
    let code = unsafe {
        ffi::rd_kafka_AdminOptions_set_broker(request.options.as_ptr(), broker_id, ptr::null_mut(), 0)
    };
    if code != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(request.failed(format!("broker {broker_id}: {}", RDKafkaErrorCode::from(code)), false));
    }
    let names: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(*topic)).collect();
    let names = names.map_err(|error| request.failed(format!("topic name: {error}"), false))?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: `pointers` holds as many valid strings as told; they are copied, and live until after the call.
    let collection = unsafe {
        Owned::new(
            ffi::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            ffi::rd_kafka_TopicCollection_destroy,
        )
    };
    let Some(collection) = collection else {
        return Err(request.failed("the client cannot make the request".to_owned(), false));
    };
    // SAFETY: all handles are live; the library copies collection and options before it returns.
    unsafe {
        ffi::rd_kafka_DescribeTopics(
            client.consumer.client().native_ptr(),
            collection.as_ptr(),
            request.options.as_ptr(),
            request.queue.as_ptr(),
        );
    }
    let event = request.answer()?;
    // SAFETY: the event is live and is the answer to DescribeTopics, the only request on this queue; a null result
    // (another kind of event) is handled; the array has the length written and belongs to the event.
    let descriptions = unsafe {
        let result = ffi::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        let mut len = 0;
        let array = if result.is_null() {
            ptr::null_mut()
        } else {
            ffi::rd_kafka_DescribeTopics_result_topics(result, &mut len)
        };
        slice(array, len)
    };
    let mut described = Vec::with_capacity(descriptions.len());
    for description in descriptions {
        // SAFETY: the description is one of the live event's.
        if let Some(topic) = unsafe { read_description(*description) }
            .map_err(|(reason, retryable)| request.failed(reason, retryable))?
        {
            described.push(topic);
        }
    }
    Ok(described)
}

/// Copies one topic's description; `None` if the topic does not exist.
///
/// # Safety
/// `description` belongs to a live event.
unsafe fn read_description(
    description: *const ffi::rd_kafka_TopicDescription_t,
) -> Result<Option<TopicDescription>, (String, bool)> {
    // SAFETY: `description` is live; its parts belong to it and are copied; a null error means success, a null id none.
    unsafe {
        let name = owned_text(ffi::rd_kafka_TopicDescription_name(description));
        let error = ffi::rd_kafka_TopicDescription_error(description);
        if !error.is_null() {
            match RDKafkaErrorCode::from(ffi::rd_kafka_error_code(error)) {
                RDKafkaErrorCode::NoError => {}
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                    return Ok(None);
                }
                code => return Err((format!("topic `{name}`: {code}"), is_retryable(code))),
            }
        }
        let mut num_partitions = 0;
        ffi::rd_kafka_TopicDescription_partitions(description, &mut num_partitions);
        let id = ffi::rd_kafka_TopicDescription_topic_id(description);
        let is_set = !id.is_null()
            && (ffi::rd_kafka_Uuid_most_significant_bits(id) != 0
                || ffi::rd_kafka_Uuid_least_significant_bits(id) != 0);
        let id = is_set.then(|| owned_text(ffi::rd_kafka_Uuid_base64str(id)));
        Ok(Some(TopicDescription { name, id, num_partitions }))
    }
}

/// Asks for one offset of each partition, in the order of `partitions`: [`EARLIEST`], [`LATEST`], or the first one at or after
/// a time (ms since 1970), which may not exist. Blocks for up to `timeout`.
pub(super) fn list_offsets(
    client: &KafkaClient,
    partitions: &[TopicPartition],
    wanted: i64,
    isolation: Isolation,
    timeout: Duration,
) -> Result<Vec<Option<i64>>, KafkaError> {
    let operation = ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let request = Request::new(client, "list offsets", operation, timeout)?;
    let level = match isolation {
        Isolation::ReadCommitted => ffi::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
        Isolation::ReadUncommitted => {
            ffi::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        }
    };
    // SAFETY: the options are live and made for ListOffsets; an error, if any, is ours to destroy.
    let refused = unsafe {
        Owned::new(
            ffi::rd_kafka_AdminOptions_set_isolation_level(request.options.as_ptr(), level),
            ffi::rd_kafka_error_destroy,
        )
    };
    if refused.is_some() {
        return Err(request.failed("the client refused the isolation level".to_owned(), false));
    }
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked
            .add_partition_offset(&partition.topic, partition.partition, Offset::Beginning)
            .map_err(|error| request.failed(error.to_string(), false))?;
    }
    // SAFETY: the list is live and not shared; its `cnt` elements are initialised, and only the plain `offset` changes.
    // The crate has no way to write the logical values of this request.
    unsafe {
        let list = &*asked.ptr();
        let len = usize::try_from(list.cnt).unwrap_or(0);
        for index in 0..len {
            (*list.elems.add(index)).offset = wanted;
        }
    }
    // SAFETY: all handles are live; the library copies list and options before it returns.
    unsafe {
        ffi::rd_kafka_ListOffsets(
            client.consumer.client().native_ptr(),
            asked.ptr(),
            request.options.as_ptr(),
            request.queue.as_ptr(),
        );
    }
    let event = request.answer()?;
    // SAFETY: the event is live and the answer to ListOffsets; a null result is handled; the array has the length written
    // and belongs to the event.
    let found = unsafe {
        let result = ffi::rd_kafka_event_ListOffsets_result(event.as_ptr());
        let mut len = 0;
        let array = if result.is_null() {
            ptr::null_mut()
        } else {
            ffi::rd_kafka_ListOffsets_result_infos(result, &mut len)
        };
        let mut found = Vec::with_capacity(len);
        for info in slice(array, len) {
            let element = &*ffi::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
            let partition = TopicPartition::new(owned_text(element.topic), element.partition);
            found.push((partition, element.offset, RDKafkaErrorCode::from(element.err)));
        }
        found
    };
    partitions.iter().map(|partition| pick(&request, &found, partition)).collect()
}

fn pick(
    request: &Request<'_>,
    found: &[(TopicPartition, i64, RDKafkaErrorCode)],
    partition: &TopicPartition,
) -> Result<Option<i64>, KafkaError> {
    match found.iter().find(|(of, ..)| of == partition) {
        Some((_, offset, RDKafkaErrorCode::NoError)) => Ok(Some(*offset).filter(|offset| *offset >= 0)),
        None => Err(request.failed(format!("no offset of {partition} in the answer"), true)),
        Some((_, _, code)) => Err(request.failed(format!("{partition}: {code}"), is_retryable(*code))),
    }
}

/// Returns the highest offset + 1 that the last fetch of `partition` saw, without asking anyone; `None` before it.
pub(super) fn cached_high_watermark(client: &KafkaClient, partition: &TopicPartition) -> Option<i64> {
    let topic = CString::new(partition.topic.as_str()).ok()?;
    let (mut low, mut high) = (0i64, 0i64);
    // SAFETY: the client is live, the name a valid string, both offsets are ours.
    let code = unsafe {
        ffi::rd_kafka_get_watermark_offsets(
            client.consumer.client().native_ptr(),
            topic.as_ptr(),
            partition.partition,
            &mut low,
            &mut high,
        )
    };
    (code == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

pub(super) fn is_retryable(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::TimedOutQueue
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::ReplicaNotAvailable
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::OffsetNotAvailable
            | RDKafkaErrorCode::UnknownTopicOrPartition
    )
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Copies a C string; empty if null.
///
/// # Safety
/// `text` is null or a string that lives during the call.
unsafe fn owned_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Views a C array; empty if null.
///
/// # Safety
/// `array` is null or has `len` initialised elements that live for `'a`.
unsafe fn slice<'a, T>(array: *mut T, len: usize) -> &'a [T] {
    // SAFETY: not null, and the caller vouches for the rest.
    if array.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(array, len) } }
}
