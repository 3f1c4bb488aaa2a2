//! Tests of the decoder; each record in them goes through both decoders, which must agree.

mod dirty_data;
mod equality;
mod shape;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};

use super::*;
use crate::builtin;

pub(super) const LISTEN: &str = r#"{"artist":"Nora Vale","song":"Slow Harbour","duration":223.4012,"ts":1793000000926,"sessionId":97,"auth":"Logged In","level":"free","itemInSession":0,"city":"Sandusky","zip":"44870","state":"OH","userAgent":"\"Mozilla/5.0 (X11; Linux x86_64)\"","lon":-82.744814,"lat":41.42828,"userId":42,"lastName":"Reed","firstName":"Ida","gender":"F","registration":1786811444926}"#;
pub(super) const PAGE: &str = r#"{"ts":1793000123926,"sessionId":98,"page":"Login","auth":"Logged Out","method":"PUT","status":307,"level":"paid","itemInSession":1,"city":"Lowell","zip":"01850","state":"MA","userAgent":"\"Mozilla/5.0 (Windows NT 6.1)\"","lon":-71.304,"lat":42.656}"#;
pub(super) const AUTH: &str = r#"{"ts":1793000150926,"sessionId":98,"level":"paid","itemInSession":2,"city":"Lowell","zip":"01850","state":"MA","userAgent":"\"Mozilla/5.0 (Windows NT 6.1)\"","lon":-71.304,"lat":42.656,"success":false}"#;
pub(super) const CHANGE: &str = r#"{"ts":1793000400926,"sessionId":99,"auth":"Logged In","level":"free","itemInSession":7,"city":"Bear","zip":"19701","state":"DE","userAgent":"\"Mozilla/5.0 (iPhone)\"","lon":-75.7009,"lat":39.583153,"userId":29,"lastName":"Ash","firstName":"Leo","gender":"M","registration":1784672710926}"#;

pub(super) fn contract(topic: &str) -> Arc<Contract> {
    builtin().into_iter().find(|contract| contract.topic == topic).unwrap()
}

/// A record a minute after the sample events.
pub(super) fn record(value: &[u8]) -> Record<'_> {
    Record {
        value: Some(value),
        partition: 3,
        offset: 11,
        timestamp_ms: Some(1_793_000_460_926),
        run_id: None,
    }
}

/// Decodes records with both decoders, checks that they agree, and returns the batch and the rejections.
pub(super) fn decode_all(
    contract: &Arc<Contract>,
    options: &DecodeOptions,
    records: &[Record<'_>],
) -> (RecordBatch, Vec<Option<Reason>>) {
    let mut fast = Decoder::new(Arc::clone(contract), options.clone());
    let mut slow = Decoder::new(Arc::clone(contract), options.clone());
    let mut reasons = Vec::new();
    for record in records {
        let (found, expected) = (fast.push(record), slow.push_slowly(record));
        let value = || {
            String::from_utf8_lossy(record.value.unwrap_or_default()).chars().take(600).collect::<String>()
        };
        assert_eq!(found, expected, "{}", value());
        reasons.push(found.err().map(|rejection| rejection.reason));
    }
    let (found, expected) = (fast.finish(5).unwrap(), slow.finish(5).unwrap());
    assert_same_bits(&found, &expected);
    (found, reasons)
}

/// Doubles are compared by their bits, so that -0.0 is not 0.0.
pub(super) fn assert_same_bits(found: &RecordBatch, expected: &RecordBatch) {
    assert_eq!(found, expected);
    for (found, expected) in found.columns().iter().zip(expected.columns()) {
        if let (Some(found), Some(expected)) =
            (found.as_primitive_opt::<Float64Type>(), expected.as_primitive_opt::<Float64Type>())
        {
            let bits = |array: &arrow::array::Float64Array| -> Vec<Option<u64>> {
                array.iter().map(|value| value.map(f64::to_bits)).collect()
            };
            assert_eq!(bits(found), bits(expected));
        }
    }
}

/// Decodes one value of a topic into a batch of one row.
pub(super) fn row(topic: &str, value: &str) -> RecordBatch {
    let (batch, reasons) =
        decode_all(&contract(topic), &DecodeOptions::default(), &[record(value.as_bytes())]);
    assert_eq!(reasons, [None], "{value}");
    batch
}

/// Returns why a listen is a dead letter.
pub(super) fn reason(value: &[u8]) -> Reason {
    let (batch, reasons) =
        decode_all(&contract("listen_events"), &DecodeOptions::default(), &[record(value)]);
    assert_eq!(batch.num_rows(), 0);
    reasons[0].unwrap()
}

pub(super) fn text(batch: &RecordBatch, column: &str) -> Option<String> {
    let array = batch.column_by_name(column).unwrap().as_string::<i32>();
    array.is_valid(0).then(|| array.value(0).to_owned())
}

pub(super) fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let array = batch.column_by_name(column).unwrap().as_string::<i32>();
    array.iter().map(|value| value.map(str::to_owned)).collect()
}

pub(super) fn long(batch: &RecordBatch, column: &str) -> Option<i64> {
    let array = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
    array.is_valid(0).then(|| array.value(0))
}

pub(super) fn int(batch: &RecordBatch, column: &str) -> Option<i32> {
    let array = batch.column_by_name(column).unwrap().as_primitive::<Int32Type>();
    array.is_valid(0).then(|| array.value(0))
}

pub(super) fn double(batch: &RecordBatch, column: &str) -> Option<f64> {
    let array = batch.column_by_name(column).unwrap().as_primitive::<Float64Type>();
    array.is_valid(0).then(|| array.value(0))
}

/// Replaces what must be there.
pub(super) fn with(value: &str, from: &str, to: &str) -> String {
    assert!(value.contains(from), "{from}");
    value.replacen(from, to, 1)
}
