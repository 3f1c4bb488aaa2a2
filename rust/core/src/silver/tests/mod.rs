//! Tests of silver. Rows are made from JSON lines by the decoder, as in a bronze table.

mod agents;
mod contracts;
mod dedup;
mod hash;
mod login;
mod older_tables;
mod repair;
mod rows;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Field, Schema};

use super::*;
use crate::{DecodeOptions, Decoder, Record, builtin};

pub(super) const LISTEN: &str = r#"{"artist":"Nora Vale","song":"Slow Harbour","duration":223.4012,"ts":1793000000926,"sessionId":97,"auth":"Logged In","level":"free","itemInSession":0,"city":"Sandusky","zip":"44870","state":"OH","userAgent":"\"Mozilla/5.0 (X11; Linux x86_64; rv:31.0) Gecko/20100101 Firefox/31.0\"","lon":-82.744814,"lat":41.42828,"userId":42,"lastName":"Reed","firstName":"Ida","gender":"F","registration":1786811444926}"#;
pub(super) const PAGE: &str = r#"{"ts":1793000123926,"sessionId":98,"page":"Login","auth":"Logged Out","method":"PUT","status":307,"level":"paid","itemInSession":1,"city":"Lowell","zip":"01850","state":"MA","userAgent":"\"Mozilla/5.0 (Windows NT 6.1)\"","lon":-71.304,"lat":42.656}"#;
pub(super) const AUTH: &str = r#"{"ts":1793000150926,"sessionId":98,"level":"paid","itemInSession":2,"city":"Lowell","zip":"01850","state":"MA","userAgent":"\"Mozilla/5.0 (Windows NT 6.1)\"","lon":-71.304,"lat":42.656,"success":false}"#;
pub(super) const CHANGE: &str = r#"{"ts":1793000400926,"sessionId":99,"auth":"Logged In","level":"free","itemInSession":7,"city":"Bear","zip":"19701","state":"DE","userAgent":"\"Mozilla/5.0 (iPhone)\"","lon":-75.7009,"lat":39.583153,"userId":29,"lastName":"Ash","firstName":"Leo","gender":"M","registration":1784672710926}"#;

pub(super) const PROCESSED_AT_US: i64 = 1_793_100_000_000_000;

pub(super) fn contract(topic: &str) -> Arc<Contract> {
    builtin().into_iter().find(|contract| contract.topic == topic).unwrap()
}

/// Returns the bronze rows of some lines, at offsets from 11 on of partition 3.
pub(super) fn bronze_of(contract: &Arc<Contract>, lines: &[&str], run_id: Option<&str>) -> RecordBatch {
    let mut decoder = Decoder::new(Arc::clone(contract), DecodeOptions::default());
    for (offset, line) in (11..).zip(lines) {
        let timestamp_ms = Some(1_793_000_460_926);
        let value = Some(line.as_bytes());
        decoder.push(&Record { value, partition: 3, offset, timestamp_ms, run_id }).unwrap();
    }
    decoder.finish(5).unwrap()
}

pub(super) fn bronze(topic: &str, lines: &[&str]) -> RecordBatch {
    bronze_of(&contract(topic), lines, Some("r-1"))
}

pub(super) fn silver(topic: &str, lines: &[&str]) -> RecordBatch {
    let bronze = bronze(topic, lines);
    SilverPlan::new(&contract(topic)).transform(&bronze, PROCESSED_AT_US).unwrap()
}

/// Returns the rows as JSON objects by column, so that a test can name values; timestamps and dates as numbers.
pub(super) fn value(batch: &RecordBatch, column: &str, row: usize) -> serde_json::Value {
    use arrow::datatypes::{
        DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
    };
    let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no column `{column}`"));
    if array.is_null(row) {
        return serde_json::Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).into(),
        DataType::Timestamp(_, _) => array.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        other => panic!("{other}"),
    }
}

/// Replaces what must be there.
pub(super) fn with(line: &str, from: &str, to: &str) -> String {
    assert!(line.contains(from), "{from}");
    line.replacen(from, to, 1)
}

/// Returns the batch with a column put in the place of the one of that name, or left out.
pub(super) fn with_column(batch: &RecordBatch, name: &str, to: Option<ArrayRef>) -> RecordBatch {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        match (&to, field.name() == name) {
            (_, false) => {
                fields.push(Field::clone(field));
                arrays.push(Arc::clone(array));
            }
            (Some(to), true) => {
                fields.push(Field::new(name, to.data_type().clone(), true));
                arrays.push(Arc::clone(to));
            }
            (None, true) => {}
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}
