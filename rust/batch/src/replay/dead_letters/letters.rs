//! The rows of the dead-letter table as records to be decoded again.

use arrow::array::{Array, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use serde::Deserialize;
use streamify_core::{Record, dead_letter};

use crate::error::BatchError;

/// What is read of a letter.
pub(super) const COLUMNS: [&str; 9] =
    ["topic", "partition", "offset", "timestamp", "headers", "value", "reason", "source_epoch", "replayed"];

const RUN_ID: &str = "run_id";

/// A batch of letters, typed.
pub(super) struct Letters<'a> {
    topics: &'a StringArray,
    partitions: &'a Int32Array,
    offsets: &'a Int64Array,
    timestamps: &'a arrow::array::TimestampMicrosecondArray,
    headers: &'a StringArray,
    values: &'a dyn Array,
    reasons: &'a StringArray,
    epochs: &'a Int32Array,
    replayed: &'a BooleanArray,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    hex: Option<String>,
}

impl<'a> Letters<'a> {
    /// Types the columns.
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, BatchError> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| unusable(name));
        let text = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| unusable(name));
        let int = |name: &str| column(name)?.as_primitive_opt::<Int32Type>().ok_or_else(|| unusable(name));
        let values = column("value")?;
        let is_time =
            matches!(column("timestamp")?.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
        if !matches!(values.data_type(), DataType::Binary | DataType::LargeBinary) || !is_time {
            return Err(unusable("value` or `timestamp"));
        }
        Ok(Self {
            topics: text("topic")?,
            partitions: int("partition")?,
            offsets: column("offset")?.as_primitive_opt::<Int64Type>().ok_or_else(|| unusable("offset"))?,
            timestamps: column("timestamp")?.as_primitive::<TimestampMicrosecondType>(),
            headers: text("headers")?,
            values,
            reasons: text("reason")?,
            epochs: int("source_epoch")?,
            replayed: column("replayed")?.as_boolean_opt().ok_or_else(|| unusable("replayed"))?,
        })
    }

    pub(super) fn topic(&self, row: usize) -> &'a str {
        self.topics.value(row)
    }

    pub(super) fn reason(&self, row: usize) -> &'a str {
        self.reasons.value(row)
    }

    pub(super) fn epoch(&self, row: usize) -> u32 {
        self.epochs.value(row).cast_unsigned()
    }

    pub(super) fn is_replayed(&self, row: usize) -> bool {
        self.replayed.is_valid(row) && self.replayed.value(row)
    }

    /// The last header `run_id`, as the worker takes it.
    pub(super) fn run_id(&self, row: usize) -> Result<Option<String>, BatchError> {
        let unreadable = |source| BatchError::Rows { table: dead_letter::TABLE.to_owned(), source };
        let headers: Vec<Header> =
            serde_json::from_str(self.headers.value(row)).map_err(|error| unreadable(error.into()))?;
        let Some(last) = headers.into_iter().rev().find(|header| header.name == RUN_ID) else {
            return Ok(None);
        };
        match (last.text, last.hex) {
            (Some(text), _) => Ok(Some(text)),
            (None, Some(digits)) => {
                let bytes = bytes(&digits).ok_or_else(|| unreadable("a header is no hex".into()))?;
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            (None, None) => Ok(None),
        }
    }

    pub(super) fn record<'b>(&self, row: usize, run_id: Option<&'b str>) -> Record<'b>
    where
        'a: 'b,
    {
        let value = if self.values.is_null(row) {
            None
        } else if let Some(values) = self.values.as_binary_opt::<i32>() {
            Some(values.value(row))
        } else {
            self.values.as_binary_opt::<i64>().map(|values| values.value(row))
        };
        Record {
            value,
            partition: self.partitions.value(row),
            offset: self.offsets.value(row),
            timestamp_ms: self.timestamps.is_valid(row).then(|| self.timestamps.value(row).div_euclid(1000)),
            run_id,
        }
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn unusable(column: &str) -> BatchError {
    BatchError::Rows {
        table: dead_letter::TABLE.to_owned(),
        source: format!("column `{column}` is missing or of another type").into(),
    }
}
