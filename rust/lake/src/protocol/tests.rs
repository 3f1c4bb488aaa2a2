use std::collections::BTreeMap;

use streamify_core::state::{SourceIdentity, Span};

use super::*;

const TABLE: Uuid = Uuid::from_u128(1);
const COMMIT: Uuid = Uuid::from_u128(2);

fn change(expected: Option<i64>, start: i64, end: i64) -> Change {
    Change::Advance {
        topic: "t".into(),
        epoch: 0,
        source: SourceIdentity { cluster_id: "c".into(), topic_id: None },
        spans: BTreeMap::from([(0, Span { expected, start, end })]),
    }
}

fn at(offset: i64) -> TableState {
    TableState::default().apply([&change(None, 0, offset)]).unwrap()
}

fn view(state: Option<TableState>) -> View {
    View {
        table_uuid: TABLE,
        head: Some(7),
        property: state.clone(),
        property_commit_id: None,
        property_commit: PropertyCommit::Present,
        ancestry: state,
        landed: None,
    }
}

fn machine() -> Machine {
    Machine::new(Intent {
        commit_id: COMMIT,
        table_uuid: TABLE,
        changes: vec![change(Some(10), 10, 20)],
        resume_from: None,
    })
}

fn posted() -> Machine {
    let mut machine = machine();
    let action = machine.on(Event::Loaded(view(Some(at(10)))), true);
    assert_eq!(action, Action::Post { head: Some(7), state: at(20) });
    machine
}

#[test]
fn hole_11_a_lost_answer_is_found_by_its_commit_id() {
    let mut machine = posted();
    assert_eq!(machine.on(Event::Answered(Answer::Unknown), true), Action::Load);
    assert!(machine.uncertain());
    let landed = View { landed: Some(8), ..view(Some(at(20))) };
    assert_eq!(
        machine.on(Event::Loaded(landed), true),
        Action::Finish { snapshot_id: Some(8), state: at(20), found: true }
    );
}

#[test]
fn hole_04_the_property_tells_of_a_landing_whose_snapshot_expired() {
    let mut machine = posted();
    machine.on(Event::Answered(Answer::Unknown), true);
    let expired = View {
        ancestry: None,
        property_commit_id: Some(COMMIT),
        property_commit: PropertyCommit::Expired,
        ..view(Some(at(20)))
    };
    assert_eq!(
        machine.on(Event::Loaded(expired), true),
        Action::Finish { snapshot_id: None, state: at(20), found: true }
    );
}

#[test]
fn hole_19_the_same_range_under_another_id_is_a_second_writer() {
    let mut machine = posted();
    assert_eq!(machine.on(Event::Answered(Answer::Conflict), true), Action::Load);
    let action = machine.on(Event::Loaded(view(Some(at(20)))), true);
    assert!(matches!(action, Action::Stop(Refusal::Fenced { .. })), "{action:?}");
}

#[test]
fn a_conflict_of_a_foreign_commit_is_retried_on_the_new_head() {
    let mut machine = posted();
    machine.on(Event::Answered(Answer::Conflict), true);
    let compacted = View { head: Some(9), ..view(Some(at(10))) };
    assert_eq!(machine.on(Event::Loaded(compacted), true), Action::Post { head: Some(9), state: at(20) });
}

#[test]
fn a_rollback_stops_until_somebody_decides() {
    let rolled_back = View { ancestry: Some(at(5)), ..view(Some(at(10))) };
    let action = machine().on(Event::Loaded(rolled_back.clone()), true);
    assert!(matches!(action, Action::Stop(Refusal::StateMismatch { .. })), "{action:?}");
    assert_eq!(rolled_back.state(Some(ResumeFrom::Snapshot)), Ok(at(5)));
    assert_eq!(rolled_back.state(Some(ResumeFrom::Property)), Ok(at(10)));
}

#[test]
fn a_rollback_shows_even_if_no_snapshot_has_a_state_any_more() {
    let rolled_back =
        View { ancestry: None, property_commit: PropertyCommit::RolledBack, ..view(Some(at(10))) };
    let action = machine().on(Event::Loaded(rolled_back.clone()), true);
    assert!(matches!(action, Action::Stop(Refusal::StateMismatch { .. })), "{action:?}");
    assert_eq!(rolled_back.state(Some(ResumeFrom::Property)), Ok(at(10)));
    assert!(rolled_back.state(Some(ResumeFrom::Snapshot)).is_err(), "there is nothing to resume from");
}

#[test]
fn hole_06_a_table_made_anew_is_refused() {
    let replaced = View { table_uuid: Uuid::from_u128(9), ..view(None) };
    let action = machine().on(Event::Loaded(replaced), true);
    assert!(matches!(action, Action::Stop(Refusal::TableReplaced { .. })), "{action:?}");
}

#[test]
fn giving_up_looks_once_more_if_an_attempt_may_have_landed() {
    let mut machine = posted();
    assert_eq!(machine.on(Event::Answered(Answer::Unknown), false), Action::Load);
    let action = machine.on(Event::Loaded(view(Some(at(10)))), false);
    assert!(matches!(action, Action::Stop(Refusal::GaveUp { .. })), "{action:?}");
    assert!(machine.uncertain(), "the attempt may still land: its files must stay");
}

#[test]
fn a_rejected_commit_stops_at_once() {
    let action = posted().on(Event::Answered(Answer::Rejected("403".into())), true);
    assert_eq!(action, Action::Stop(Refusal::Rejected { message: "403".into() }));
}
