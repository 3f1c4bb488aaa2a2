//! The table for what could not be decoded: every byte of the record, and why.
//!
//! A dead letter keeps all that is needed to decode it again after a fix, with its original offset. Messages name fields
//! and types, never values, so that they can be logged.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use serde_json::Value;

use crate::contract::{Column, ColumnType, schema_of};
use crate::decode::Reason;

/// Name of the table, without namespace.
pub const TABLE: &str = "bronze_dead_letters";

const MILLISECONDS_PER_DAY: i64 = 86_400_000;
/// Kafka timestamps outside 2000-01-01 .. 2100-01-01 must not open a partition of their own.
const SOUND_TIMESTAMPS_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Kafka topic.
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
    /// Kafka timestamp, ms since 1970 UTC.
    pub timestamp_ms: Option<i64>,
    /// Kafka key.
    pub key: Option<Vec<u8>>,
    /// Kafka headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Kafka value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Why, as a code.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// Version of the contract that refused it.
    pub contract_version: u32,
    /// Source epoch, as in bronze.
    pub source_epoch: u32,
}

/// Returns the columns of the table, in table order; it is partitioned by `event_date`.
#[must_use]
pub fn columns() -> Vec<Column> {
    use ColumnType::{Binary, Boolean, Date, Int, Long, String, Timestamp};
    vec![
        Column::new("topic", String, false, "Kafka topic."),
        Column::new("partition", Int, false, "Kafka partition."),
        Column::new("offset", Long, false, "Kafka offset."),
        Column::new("timestamp", Timestamp, true, "Kafka timestamp, UTC."),
        Column::new("key", Binary, true, "Kafka key."),
        Column::new(
            "headers",
            String,
            false,
            "Kafka headers: JSON array of objects with `name` and `text`, or `hex` where the bytes are not UTF-8.",
        ),
        Column::new("value", Binary, true, "Kafka value, every byte of it; null for a tombstone."),
        Column::new("reason", String, false, "Why it could not be decoded, as a code."),
        Column::new("message", String, false, "Why it could not be decoded, in words, without values."),
        Column::new("contract_version", Int, false, "Version of the contract that refused it."),
        Column::new("source_epoch", Int, false, "Source epoch, as `_source_epoch` in bronze."),
        Column::new("processing_time", Timestamp, false, "When the worker refused it, UTC."),
        Column::new(
            "event_date",
            Date,
            false,
            "Date of the Kafka timestamp, UTC; 1970-01-01 where it has none between the years 2000 and 2100.",
        ),
        Column::new("replayed", Boolean, false, "Whether it was decoded and landed in bronze after a fix."),
    ]
}

/// Returns dead letters as rows of the table; `processing_time_us` is microseconds since 1970 UTC.
///
/// # Errors
/// Those of [`RecordBatch::try_new`].
pub fn to_batch(rows: &[DeadLetter], processing_time_us: i64) -> Result<RecordBatch, ArrowError> {
    let texts = |text: fn(&DeadLetter) -> &str| {
        Arc::new(StringArray::from_iter_values(rows.iter().map(text))) as ArrayRef
    };
    let ints = |int: fn(&DeadLetter) -> i32| {
        Arc::new(Int32Array::from_iter_values(rows.iter().map(int))) as ArrayRef
    };
    let timestamps = rows.iter().map(|row| row.timestamp_ms.map(|ms| ms.saturating_mul(1000)));
    let timestamps = TimestampMicrosecondArray::from_iter(timestamps).with_timezone("+00:00");
    let processing_times = TimestampMicrosecondArray::from_value(processing_time_us, rows.len());
    let headers = StringArray::from_iter_values(rows.iter().map(|row| headers_json(&row.headers)));
    let columns: Vec<ArrayRef> = vec![
        texts(|row| &row.topic),
        ints(|row| row.partition),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.offset))),
        Arc::new(timestamps),
        Arc::new(BinaryArray::from_iter(rows.iter().map(|row| row.key.as_deref()))),
        Arc::new(headers),
        Arc::new(BinaryArray::from_iter(rows.iter().map(|row| row.value.as_deref()))),
        texts(|row| row.reason.as_str()),
        texts(|row| &row.message),
        ints(|row| row.contract_version.cast_signed()),
        ints(|row| row.source_epoch.cast_signed()),
        Arc::new(processing_times.with_timezone("+00:00")),
        Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| event_date(row.timestamp_ms)))),
        Arc::new(BooleanArray::from(vec![false; rows.len()])),
    ];
    RecordBatch::try_new(schema_of(&self::columns()), columns)
}

/// Returns the partition of a dead letter, days since 1970.
fn event_date(timestamp_ms: Option<i64>) -> i32 {
    let sound = timestamp_ms.filter(|ms| SOUND_TIMESTAMPS_MS.contains(ms)).unwrap_or(0);
    i32::try_from(sound.div_euclid(MILLISECONDS_PER_DAY)).unwrap_or(0)
}

fn headers_json(headers: &[(String, Option<Vec<u8>>)]) -> String {
    let object = |(name, value): &(String, Option<Vec<u8>>)| match value.as_deref().map(std::str::from_utf8) {
        None => serde_json::json!({ "name": name, "text": Value::Null }),
        Some(Ok(text)) => serde_json::json!({ "name": name, "text": text }),
        Some(Err(_)) => serde_json::json!({ "name": name, "hex": hex(value.as_deref().unwrap_or_default()) }),
    };
    Value::Array(headers.iter().map(object).collect()).to_string()
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};

    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            topic: "listen_events".into(),
            partition: 3,
            offset: 1391,
            timestamp_ms: Some(1_793_000_000_926),
            key: None,
            headers: vec![
                ("run_id".into(), Some(b"a1".to_vec())),
                ("raw".into(), Some(vec![0xFF])),
                ("none".into(), None),
            ],
            value: Some(b"{\xFF".to_vec()),
            reason: Reason::NotUtf8,
            message: "value is not UTF-8".into(),
            contract_version: 1,
            source_epoch: 2,
        }
    }

    #[test]
    fn every_byte_of_the_record_is_kept() {
        let batch =
            to_batch(&[letter(), DeadLetter { value: None, timestamp_ms: None, ..letter() }], 5).unwrap();
        assert_eq!(batch.column_by_name("value").unwrap().as_binary::<i32>().value(0), b"{\xFF");
        assert!(batch.column_by_name("value").unwrap().is_null(1));
        assert_eq!(batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>().value(0), 1391);
        let timestamps =
            batch.column_by_name("timestamp").unwrap().as_primitive::<TimestampMicrosecondType>();
        assert_eq!(timestamps.value(0), 1_793_000_000_926_000);
        assert!(timestamps.is_null(1));
        assert_eq!(
            batch.column_by_name("headers").unwrap().as_string::<i32>().value(0),
            r#"[{"name":"run_id","text":"a1"},{"hex":"ff","name":"raw"},{"name":"none","text":null}]"#
        );
        assert_eq!(batch.column_by_name("reason").unwrap().as_string::<i32>().value(0), "not_utf8");
    }

    #[test]
    fn a_senseless_kafka_timestamp_opens_no_partition_of_its_own() {
        let far = DeadLetter { timestamp_ms: Some(i64::MAX), ..letter() };
        let batch = to_batch(&[letter(), far], 0).unwrap();
        assert_eq!(
            batch.column_by_name("event_date").unwrap().as_primitive::<Date32Type>().values(),
            &[20_752, 0]
        );
    }

    #[test]
    fn no_dead_letters_make_an_empty_batch_with_the_same_schema() {
        let batch = to_batch(&[], 0).unwrap();
        assert_eq!(batch.num_rows(), 0);
        assert_eq!(batch.schema(), schema_of(&columns()));
    }
}
