//! Tables that older pipelines wrote: columns missing, other types, other ids, rows that are no events.

use arrow::array::{
    BooleanArray, Float32Array, Int32Array, Int64Array, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use serde_json::Value;

use super::*;

/// Returns a batch as an older pipeline wrote it: payload only, ids of its own making.
fn older(topic: &str, lines: &[&str]) -> RecordBatch {
    let mut batch = bronze_of(&contract(topic), lines, None);
    for name in [
        "event_ts",
        "_kafka_partition",
        "_kafka_offset",
        "_kafka_timestamp",
        "_source_epoch",
        "_run_id",
        "_extras",
    ] {
        batch = with_column(&batch, name, None);
    }
    let ids = StringArray::from_iter_values((0..lines.len()).map(|_| "ab".repeat(32)));
    with_column(&batch, "event_id", Some(Arc::new(ids)))
}

#[test]
fn missing_columns_are_null_and_ids_are_computed() {
    for (topic, line) in [
        ("listen_events", LISTEN),
        ("page_view_events", PAGE),
        ("auth_events", AUTH),
        ("status_change_events", CHANGE),
    ] {
        let (older, ours) = (older(topic, &[line]), bronze_of(&contract(topic), &[line], None));
        let mut plan = SilverPlan::new(&contract(topic));
        assert_eq!(plan.stored_ids(&older).unwrap(), None);
        assert_eq!(plan.event_ids(&older).unwrap(), plan.event_ids(&ours).unwrap());
        let (from_older, from_ours) = (plan.transform(&older, 1).unwrap(), plan.transform(&ours, 1).unwrap());
        for column in ["event_id", "event_ts", "event_date", "session_id", "_payload_hash", "user_agent"] {
            assert_eq!(value(&from_older, column, 0), value(&from_ours, column, 0), "{column}");
        }
        for column in
            ["_kafka_partition", "_kafka_offset", "_kafka_timestamp", "_source_epoch", "_extras", "run_id"]
        {
            assert_eq!(value(&from_older, column, 0), Value::Null, "{column}");
        }
        let unknown = Coordinates { epoch: i32::MIN, partition: i32::MIN, offset: i64::MIN };
        assert_eq!(plan.coordinates(&older).unwrap(), [unknown]);
        assert_eq!(plan.coordinates(&ours).unwrap(), [Coordinates { epoch: 0, partition: 3, offset: 11 }]);
    }
}

#[test]
fn an_id_is_taken_or_computed_row_by_row() {
    let ours = bronze("listen_events", &[LISTEN; 4]);
    let id = value(&ours, "event_id", 0).as_str().unwrap().to_owned();
    let forms = [Some(id.to_uppercase()), None, Some("z".repeat(32)), Some(format!("{:032x}", 5))];
    let mixed = with_column(&ours, "event_id", Some(Arc::new(StringArray::from_iter(forms))));
    let mut plan = SilverPlan::new(&contract("listen_events"));
    let number = u128::from_str_radix(&id, 16).unwrap();
    assert_eq!(plan.event_ids(&mixed).unwrap(), [number, number, number, 5]);
    let rows = plan.transform(&mixed, 0).unwrap();
    let ids: Vec<Value> = (0..4).map(|row| value(&rows, "event_id", row)).collect();
    assert_eq!(ids, [id.clone(), id.clone(), id, format!("{:032x}", 5)]);
}

#[test]
fn narrower_and_textual_types_are_taken() {
    let ours = bronze("auth_events", &[AUTH]);
    let expected = SilverPlan::new(&contract("auth_events")).transform(&ours, 1).unwrap();
    let kafka_ms = TimestampMillisecondArray::from(vec![1_793_000_460_926]);
    let columns: [(&str, ArrayRef); 6] = [
        ("sessionId", Arc::new(Int32Array::from(vec![98]))),
        ("success", Arc::new(StringArray::from(vec!["false"]))),
        ("userId", Arc::new(StringArray::from(vec![" "]))),
        ("_kafka_timestamp", Arc::new(kafka_ms)),
        ("zip", Arc::new(arrow::array::LargeStringArray::from(vec!["01850"]))),
        ("city", Arc::new(arrow::array::StringViewArray::from(vec!["Lowell"]))),
    ];
    let other = columns.into_iter().fold(ours, |batch, (name, array)| with_column(&batch, name, Some(array)));
    assert_eq!(SilverPlan::new(&contract("auth_events")).transform(&other, 1).unwrap(), expected);

    let floats = with_column(&other, "lat", Some(Arc::new(Float32Array::from(vec![42.5]))));
    let nanos =
        with_column(&floats, "_kafka_timestamp", Some(Arc::new(TimestampNanosecondArray::from(vec![5_000]))));
    let rows = SilverPlan::new(&contract("auth_events")).transform(&nanos, 1).unwrap();
    assert_eq!((value(&rows, "lat", 0), value(&rows, "_kafka_timestamp", 0)), (42.5.into(), 5.into()));
}

#[test]
fn what_cannot_be_taken_is_an_error_that_names_the_column() {
    let ours = bronze("auth_events", &[AUTH]);
    let refused = |name: &str, to: Option<ArrayRef>| {
        let error = SilverPlan::new(&contract("auth_events"))
            .transform(&with_column(&ours, name, to), 1)
            .unwrap_err();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    };
    assert_eq!(refused("sessionId", None), "bronze rows of topic `auth_events` have no column `sessionId`");
    assert_eq!(
        refused("zip", Some(Arc::new(Int32Array::from(vec![1850])))),
        "column `zip` of topic `auth_events` is of type Int32 (expected Utf8)"
    );
    assert_eq!(
        refused("itemInSession", Some(Arc::new(Int64Array::from(vec![2])))),
        "column `itemInSession` of topic `auth_events` is of type Int64 (expected Int32)"
    );
    let text = refused("userId", Some(Arc::new(StringArray::from(vec!["4x"]))));
    assert!(text.starts_with("failed to make column `userId` of topic `auth_events`: "), "{text}");
    assert!(text.contains("is no whole number") && !text.contains("4x"), "{text}");
    let text = refused("success", Some(Arc::new(StringArray::from(vec!["maybe"]))));
    assert!(text.starts_with("failed to make column `success`"), "{text}");
    assert_eq!(
        refused("sessionId", Some(Arc::new(Int64Array::from(vec![None])))),
        "row 0 of a batch of topic `auth_events` is no event: `sessionId` is null"
    );
}

#[test]
fn rows_that_are_no_events_are_told_apart() {
    let ours = bronze("page_view_events", &[PAGE; 5]);
    let mut plan = SilverPlan::new(&contract("page_view_events"));
    assert_eq!(plan.complete_rows(&ours).unwrap(), None);
    let ts = 1_793_000_123_926;
    let times = Int64Array::from(vec![Some(ts), None, Some(ts), Some(0), Some(1_793_000_123)]);
    let pages = StringArray::from(vec![Some("Login"), Some("Home"), None, Some("Home"), Some("Home")]);
    let dirty = with_column(&ours, "ts", Some(Arc::new(times)));
    let dirty = with_column(&dirty, "page", Some(Arc::new(pages)));
    let complete = plan.complete_rows(&dirty).unwrap().unwrap();
    assert_eq!(complete, BooleanArray::from(vec![true, false, false, false, false]));
    assert!(plan.transform(&dirty, 1).is_err());
    let rest = arrow::compute::filter_record_batch(&dirty, &complete).unwrap();
    assert_eq!(plan.transform(&rest, 1).unwrap().num_rows(), 1);
}

#[test]
fn an_id_cannot_be_computed_from_nothing() {
    let older = older("page_view_events", &[PAGE]);
    let plan = SilverPlan::new(&contract("page_view_events"));
    let empty = with_column(&older, "page", Some(Arc::new(StringArray::from(vec![None::<&str>]))));
    assert_eq!(
        plan.event_ids(&empty).unwrap_err().to_string(),
        "row 0 of a batch of topic `page_view_events` is no event: `page` is null, and the stored `event_id` is not of 32 hex digits"
    );
}
