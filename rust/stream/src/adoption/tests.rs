use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch};
use streamify_core::state::{SourceIdentity, TableState};
use streamify_runtime::ExitCode;

use super::stored::{Told, is_below, note};
use super::*;
use crate::kafka::Bounds;

fn log(ends: &[(i64, i64)]) -> Log {
    let bounds = (0..).zip(ends).map(|(partition, (earliest, end))| {
        (partition, Bounds { earliest: *earliest, stable_end: *end, high_watermark: *end })
    });
    Log {
        topic: "t".into(),
        table: "bronze_t".into(),
        source: SourceIdentity { cluster_id: "c".into(), topic_id: Some("a".into()) },
        num_partitions: i32::try_from(ends.len()).unwrap(),
        bounds: bounds.collect(),
    }
}

#[test]
fn the_next_offset_is_the_one_after_the_largest_and_unknown_partitions_begin_at_their_start() {
    let log = log(&[(0, 10), (0, 8), (3, 9)]);

    let next = after(&BTreeMap::from([(0, 9), (1, 4)]), &log).unwrap();

    assert_eq!(next, BTreeMap::from([(0, 10), (1, 5)]));
    let state =
        TableState::default().apply(&commit(&log, AdoptTable::FromOffsetColumns, &next).changes).unwrap();
    assert_eq!(state.next_offset("t", 0), Some(10));
    assert_eq!(state.next_offset("t", 2), None);
}

#[test]
fn offsets_that_the_topic_does_not_have_are_refused() {
    let log = log(&[(0, 10)]);

    let beyond = after(&BTreeMap::from([(0, 10)]), &log).unwrap_err();
    let partition = after(&BTreeMap::from([(1, 2)]), &log).unwrap_err();
    let none = after(&BTreeMap::new(), &log).unwrap_err();

    assert_eq!(
        beyond.to_string(),
        "table `bronze_t` cannot be adopted: its largest offset of partition 0 is 10, but topic `t` ends at 10 there: another topic, or made anew"
    );
    assert!(partition.to_string().contains("partition 1, but topic `t` has 1 partitions"), "{partition}");
    assert!(none.to_string().contains("_kafka_offset"), "{none}");
    assert_eq!(beyond.exit_code(), ExitCode::NeedsDecision);
}

#[test]
fn an_adoption_without_offsets_is_a_state_all_the_same() {
    let made = commit(&log(&[(0, 10)]), AdoptTable::Earliest, &BTreeMap::new());

    let state = TableState::default().apply(&made.changes).unwrap();

    assert!(state.topics["t"].current.next.is_empty());
    assert!(made.summary[ADOPTION].contains(r#""from":"earliest""#), "{:?}", made.summary);
}

#[test]
fn a_file_is_read_only_if_it_may_hold_a_larger_offset() {
    let known = BTreeMap::from([(0, 100), (1, 50)]);

    assert!(is_below(Told { partitions: (0, 1), offset: 50 }, &known));
    assert!(!is_below(Told { partitions: (0, 1), offset: 51 }, &known), "it may be of partition 1");
    assert!(!is_below(Told { partitions: (0, 2), offset: 1 }, &known), "nothing is known of partition 2");
}

#[test]
fn rows_without_coordinates_tell_nothing_and_int_offsets_count() {
    let partitions = Int32Array::from(vec![Some(0), None, Some(0), Some(1)]);
    let columns = |offsets: Arc<dyn arrow::array::Array>| {
        RecordBatch::try_from_iter([
            ("_kafka_partition", Arc::new(partitions.clone()) as _),
            ("_kafka_offset", offsets),
        ])
        .unwrap()
    };
    let mut largest = BTreeMap::new();

    note(&columns(Arc::new(Int64Array::from(vec![Some(3), Some(9), Some(2), None]))), &mut largest).unwrap();
    note(&columns(Arc::new(Int32Array::from(vec![5, 5, 5, 7]))), &mut largest).unwrap();

    assert_eq!(largest, BTreeMap::from([(0, 5), (1, 7)]));
    let dates = arrow::array::StringArray::from(vec!["1", "2", "3", "4"]);
    assert!(note(&columns(Arc::new(dates)), &mut largest).unwrap_err().contains("whole numbers"));
}

#[test]
fn what_was_found_is_named() {
    let foreign = Foreign {
        rows: Some("1200".into()),
        snapshots: 3,
        engine: Some("spark".into()),
        lacks: vec!["_source_epoch".into(), "_run_id".into()],
    };
    let error = StreamError::ForeignTable { table: "bronze_t".into(), found: foreign.to_string() };

    assert_eq!(
        error.to_string(),
        "table `bronze_t` was filled by another pipeline: 1200 rows in 3 snapshots of `spark`, but no offsets of ours (`streamify.state`); it lacks the columns `_source_epoch`, `_run_id`"
    );
    assert_eq!(error.exit_code(), ExitCode::NeedsDecision);
    assert!(error.hint().unwrap().contains("--adopt-table latest"));
    assert!(!error.is_retryable());
}
