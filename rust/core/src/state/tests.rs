use super::*;

fn source(topic_id: &str) -> SourceIdentity {
    SourceIdentity { cluster_id: "c1".into(), topic_id: Some(topic_id.into()) }
}

fn advance(epoch: u32, partition: i32, expected: Option<i64>, start: i64, end: i64) -> Change {
    Change::Advance {
        topic: "listen_events".into(),
        epoch,
        source: source("t1"),
        spans: BTreeMap::from([(partition, Span { expected, start, end })]),
    }
}

fn at(offset: i64) -> TableState {
    TableState::default().apply([&advance(0, 0, None, 0, offset)]).unwrap()
}

#[test]
fn chained_ranges_advance() {
    let state = at(10).apply([&advance(0, 0, Some(10), 10, 25)]).unwrap();
    assert_eq!(state.next_offset("listen_events", 0), Some(25));
}

#[test]
fn several_changes_apply_in_order_or_not_at_all() {
    let first = advance(0, 0, Some(10), 10, 20);
    let second = advance(0, 0, Some(20), 20, 30);
    assert_eq!(at(10).apply([&first, &second]).unwrap().next_offset("listen_events", 0), Some(30));
    assert!(at(10).apply([&second, &first]).is_err());
}

#[test]
fn hole_18_part_of_a_range_landed_is_refused() {
    for stored in [11, 19, 20, 21] {
        let error = at(stored).apply([&advance(0, 0, Some(10), 10, 20)]).unwrap_err();
        assert!(matches!(error, StateConflict::Offset { .. }), "stored {stored}: {error}");
    }
}

#[test]
fn a_table_that_went_back_is_refused() {
    let error = at(5).apply([&advance(0, 0, Some(10), 10, 20)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic `listen_events` partition 0: the table is at offset 5, the commit of [10, 20) expects 10"
    );
}

#[test]
fn one_bad_partition_leaves_all_unchanged() {
    let change = Change::Advance {
        topic: "listen_events".into(),
        epoch: 0,
        source: source("t1"),
        spans: BTreeMap::from([
            (0, Span { expected: Some(10), start: 10, end: 20 }),
            (1, Span { expected: Some(7), start: 7, end: 9 }),
        ]),
    };
    let before = at(10);
    assert!(before.apply([&change]).is_err());
    assert_eq!(before, at(10));
}

#[test]
fn hole_05_a_recreated_topic_is_refused_until_adopted() {
    let foreign = Change::Advance {
        topic: "listen_events".into(),
        epoch: 0,
        source: source("t2"),
        spans: BTreeMap::from([(0, Span { expected: Some(10), start: 10, end: 11 })]),
    };
    assert!(matches!(at(10).apply([&foreign]).unwrap_err(), StateConflict::Source { .. }));

    let adopt = Change::Adopt { topic: "listen_events".into(), from_epoch: 0, source: source("t2") };
    let adopted = at(10).apply([&adopt]).unwrap();
    let state = &adopted.topics["listen_events"];
    assert_eq!((state.current.epoch, state.past.len(), state.past[0].next[&0]), (1, 1, 10));
    assert_eq!(adopted.next_offset("listen_events", 0), None);
    assert!(matches!(adopted.apply([&adopt]).unwrap_err(), StateConflict::Epoch { .. }));
}

#[test]
fn an_unknown_topic_id_matches_and_is_learned() {
    let unknown = SourceIdentity { cluster_id: "c1".into(), topic_id: None };
    let first = Change::Advance {
        topic: "listen_events".into(),
        epoch: 0,
        source: unknown,
        spans: BTreeMap::from([(0, Span { expected: None, start: 0, end: 10 })]),
    };
    let state = TableState::default().apply([&first]).unwrap();
    let state = state.apply([&advance(0, 0, Some(10), 10, 12)]).unwrap();
    assert_eq!(state.topics["listen_events"].current.source, source("t1"));
}

#[test]
fn backward_spans_are_refused() {
    assert!(matches!(
        at(10).apply([&advance(0, 0, Some(10), 9, 20)]).unwrap_err(),
        StateConflict::InvalidSpan { .. }
    ));
    assert!(matches!(
        at(10).apply([&advance(0, 0, Some(10), 12, 11)]).unwrap_err(),
        StateConflict::InvalidSpan { .. }
    ));
}

#[test]
fn an_accepted_gap_starts_above_the_expectation() {
    let state = at(10).apply([&advance(0, 0, Some(10), 15, 20)]).unwrap();
    assert_eq!(state.next_offset("listen_events", 0), Some(20));
}

#[test]
fn the_text_form_round_trips_and_newer_versions_are_refused() {
    let state = at(10);
    let text = state.to_json();
    assert_eq!(TableState::from_json(&text).unwrap(), state);
    assert_eq!(
        text,
        r#"{"version":1,"topics":{"listen_events":{"current":{"epoch":0,"source":{"cluster_id":"c1","topic_id":"t1"},"next":{"0":10}}}}}"#
    );
    let newer = text.replace("\"version\":1", "\"version\":2");
    assert!(matches!(TableState::from_json(&newer).unwrap_err(), StateTextError::Newer { found: 2 }));
    assert!(matches!(TableState::from_json("{").unwrap_err(), StateTextError::Unreadable { .. }));
}
