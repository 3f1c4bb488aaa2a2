//! Each rule by an example.

use super::super::{Changes, DAY_MS, GAP_MS, Options, Planner, Read, SessionError, Step, Topic, columns};
use super::lake::{Fact, Lake, Row, silver_batch};
use crate::contract::ColumnType;

/// 2026-03-02, in days since 1970.
const DAY: i32 = 20_514;
const NOON_MS: i64 = DAY as i64 * DAY_MS + DAY_MS / 2;
const MIDNIGHT_MS: i64 = (DAY as i64 + 1) * DAY_MS;

fn page(user: Option<i64>, session: i64, item: i32, time_ms: i64, page: &'static str) -> Fact {
    Fact {
        topic: Topic::PageView,
        run: Some("a"),
        user,
        session,
        item,
        time_ms,
        page,
        level: Some("free"),
        new_level: None,
        city: Some("Bear"),
        artist: None,
        song: None,
        seconds: None,
    }
}

fn home(user: impl Into<Option<i64>>, session: i64, item: i32, time_ms: i64) -> Fact {
    page(user.into(), session, item, time_ms, "Home")
}

fn song(topic: Topic, item: i32, time_ms: i64) -> Fact {
    let name = if topic == Topic::PageView { "NextSong" } else { "" };
    Fact {
        topic,
        artist: Some("Nora Vale"),
        song: Some("Slow Harbour"),
        seconds: Some(223.5),
        ..page(Some(1), 1, item, time_ms, name)
    }
}

fn upgrade(item: i32, time_ms: i64) -> Fact {
    Fact { topic: Topic::StatusChange, new_level: Some("paid"), ..page(Some(1), 1, item, time_ms, "") }
}

fn sessions(facts: &[Fact]) -> Vec<Row> {
    let mut lake = Lake::default();
    lake.change(facts, &[], 1_000);
    let mut rows = lake.rows();
    rows.sort_by_key(|row| row.span_ms);
    rows
}

fn starts(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.span_ms.0 - NOON_MS).collect()
}

#[test]
fn a_pause_of_half_an_hour_belongs_to_the_session_and_a_longer_one_does_not() {
    let second = NOON_MS + GAP_MS;
    let third = second + GAP_MS + 1;

    let rows = sessions(&[home(1, 1, 0, NOON_MS), home(1, 1, 1, second), home(1, 1, 2, third)]);

    assert_eq!(starts(&rows), [0, 2 * GAP_MS + 1]);
    assert_eq!(rows[0].span_ms.2, GAP_MS);
    assert_eq!(rows[1].span_ms.2, 0);
}

#[test]
fn midnight_does_not_cut_and_the_session_lies_in_the_day_it_begins() {
    let rows = sessions(&[home(1, 1, 0, MIDNIGHT_MS - 1), home(1, 1, 1, MIDNIGHT_MS)]);

    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].date, DAY);
    assert_eq!(rows[0].pages, ["Home", "Home"]);
}

#[test]
fn producer_sessions_do_not_cut_and_runs_do() {
    let other_run = Fact { run: Some("b"), ..home(1, 1, 0, NOON_MS + 2_000) };

    let rows = sessions(&[home(1, 2, 5, NOON_MS), home(1, 1, 0, NOON_MS + 1_000), other_run]);

    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].session_ids, [1, 2]);
    assert!(rows[0].truncated, "the first producer session, 2, begins at item 5");
    assert_eq!(rows[1].run.as_deref(), Some("b"));
    assert!(!rows[1].truncated);
}

#[test]
fn a_song_that_both_topics_tell_of_is_one_listen() {
    let both = [song(Topic::PageView, 0, NOON_MS), song(Topic::Listen, 0, NOON_MS)];
    let only_listen = [song(Topic::Listen, 0, NOON_MS)];
    let only_page = [song(Topic::PageView, 0, NOON_MS)];

    let [both, listen, page] = [&both[..], &only_listen, &only_page].map(sessions);

    assert_eq!(both[0].counts, [1, 1, 0, 0, 0]);
    assert_eq!(both[0].songs, ["Slow Harbour"]);
    assert_eq!(both[0].seconds, 223.5);
    assert!(both[0].pages.is_empty());
    assert_eq!(both, listen);
    assert_eq!(both, page);
}

#[test]
fn an_event_without_user_is_of_the_one_user_of_its_producer_session() {
    let rows = sessions(&[home(None, 1, 0, NOON_MS), home(1, 1, 1, NOON_MS + 1_000)]);

    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].user, Some(1));
    assert_eq!(rows[0].counts[0], 2);
}

#[test]
fn with_several_users_or_none_it_is_a_visitor_of_its_own() {
    let several = [home(None, 1, 0, NOON_MS), home(1, 1, 1, NOON_MS), home(2, 1, 2, NOON_MS)];

    let users = |facts: &[Fact]| {
        let mut users: Vec<_> = sessions(facts).iter().map(|row| row.user).collect();
        users.sort_unstable();
        users
    };

    assert_eq!(users(&several), [None, Some(1), Some(2)]);
    assert_eq!(users(&several[..1]), [None]);
}

#[test]
fn users_are_looked_for_on_the_day_before_and_after_and_no_further() {
    let visitor = home(None, 1, 0, NOON_MS);
    let user = |days| sessions(&[visitor.clone(), home(1, 1, 1, NOON_MS + days * DAY_MS)]);

    for (days, found) in [(-2, false), (-1, true), (1, true), (2, false)] {
        let of_visitor = user(days).into_iter().find(|row| row.span_ms.0 == NOON_MS).unwrap();
        assert_eq!(of_visitor.user == Some(1), found, "{days} days away");
    }
}

#[test]
fn a_late_user_takes_the_visitors_session_and_a_second_one_gives_it_back() {
    let mut lake = Lake::default();
    let visitors = |lake: &Lake| lake.rows().iter().filter(|row| row.user.is_none()).count();

    lake.change(&[home(None, 1, 0, NOON_MS)], &[], 1_000);
    assert_eq!(visitors(&lake), 1);
    lake.change(&[home(1, 1, 1, NOON_MS + DAY_MS)], &[], 1_000);
    assert_eq!(visitors(&lake), 0);
    assert_eq!(lake.rows().len(), 2);
    lake.change(&[home(2, 1, 2, NOON_MS - DAY_MS)], &[], 1_000);
    assert_eq!(visitors(&lake), 1);
    assert_eq!(lake.rows().len(), 3);
}

#[test]
fn a_user_who_is_gone_gives_back_what_made_a_session_cross_midnight() {
    let mut lake = Lake::default();
    let only_naming = home(1, 1, 1, MIDNIGHT_MS + DAY_MS / 2);
    let facts = [home(1, 2, 0, MIDNIGHT_MS - 1_000), home(None, 1, 0, MIDNIGHT_MS), only_naming.clone()];
    lake.change(&facts, &[], 1_000);
    assert_eq!(lake.rows().len(), 2);

    lake.change(&[], &[only_naming], 1_000);

    let mut counts: Vec<_> = lake.rows().iter().map(|row| (row.user, row.counts[0])).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(None, 1), (Some(1), 1)]);
}

#[test]
fn levels_are_told_in_order_and_a_status_change_ends_in_its_new_level() {
    let page = |item, time_ms| Fact { level: None, ..home(1, 1, item, time_ms) };

    let rows = sessions(&[page(0, NOON_MS), upgrade(1, NOON_MS + 1), page(2, NOON_MS + 2)]);
    let same = sessions(&[home(1, 1, 0, NOON_MS), home(1, 1, 1, NOON_MS + 1)]);

    assert_eq!(rows[0].levels, (Some("free".into()), Some("paid".into()), true));
    assert_eq!(rows[0].counts, [3, 0, 2, 0, 1]);
    assert_eq!(same[0].levels, (Some("free".into()), Some("free".into()), false));
}

#[test]
fn a_session_closes_once_the_watermark_is_more_than_a_gap_past_its_end() {
    let mut lake = Lake::default();
    let closed = |lake: &Lake| lake.rows().iter().filter(|row| row.closed).count();

    lake.change(&[home(1, 1, 0, NOON_MS)], &[], 1_000);
    lake.change(&[home(2, 2, 0, NOON_MS + GAP_MS)], &[], 1_000);
    assert_eq!((closed(&lake), lake.open_from_day), (0, Some(DAY)));
    let replaced = lake.change(&[home(2, 2, 1, NOON_MS + 3 * DAY_MS)], &[], 1_000);

    assert_eq!(closed(&lake), 2);
    assert_eq!(lake.open_from_day, Some(DAY + 3));
    assert_eq!(replaced.into_iter().collect::<Vec<_>>(), [DAY, DAY + 3]);
}

#[test]
fn a_late_event_replaces_and_reads_only_the_days_around_it() {
    let mut lake = Lake::default();
    let days: Vec<_> = (0..20).map(|day| home(1, day, 0, NOON_MS + day * DAY_MS)).collect();
    lake.change(&days, &[], 1_000);

    let replaced = lake.change(&[home(1, 5, 1, NOON_MS + 5 * DAY_MS + 1_000)], &[], 1_000);

    assert_eq!(replaced.into_iter().collect::<Vec<_>>(), [DAY + 5]);
    assert_eq!(lake.days_read, [DAY + 4, DAY + 5]);
}

#[test]
fn a_bridge_over_midnight_takes_the_row_out_of_the_later_partition() {
    let mut lake = Lake::default();
    lake.change(&[home(1, 1, 0, MIDNIGHT_MS - GAP_MS), home(1, 1, 2, MIDNIGHT_MS + 1)], &[], 1_000);
    assert_eq!(lake.rows().len(), 2);

    let replaced = lake.change(&[home(1, 1, 1, MIDNIGHT_MS - 1_000)], &[], 1_000);

    assert_eq!(lake.rows().len(), 1);
    assert_eq!(replaced.into_iter().collect::<Vec<_>>(), [DAY, DAY + 1]);
    assert!(!lake.sessions.contains_key(&(DAY + 1)), "the later partition is empty");
}

#[test]
fn a_session_of_many_days_is_followed_back_to_its_beginning() {
    let mut lake = Lake::default();
    let steps = 5 * DAY_MS / GAP_MS;
    let facts: Vec<_> = (0..i32::try_from(steps).unwrap())
        .map(|item| home(1, 1, item, NOON_MS + i64::from(item) * GAP_MS))
        .collect();
    lake.change(&facts, &[], 7);

    let replaced = lake.change(&[home(1, 1, 1_000, NOON_MS + steps * GAP_MS)], &[], 7);

    assert_eq!(replaced.into_iter().collect::<Vec<_>>(), [DAY, DAY + 5]);
    assert_eq!(lake.rows()[0].counts[0], i32::try_from(steps).unwrap() + 1);
}

#[test]
fn the_list_columns_are_lists() {
    let kinds = |kind| columns().into_iter().filter(|column| column.kind == kind).count();

    assert_eq!((kinds(ColumnType::StringList), kinds(ColumnType::LongList)), (3, 1));
}

#[test]
fn the_planner_can_move_between_threads() {
    fn is_send<T: Send>() {}

    is_send::<Planner>();
}

#[test]
fn rows_that_do_not_suit_are_refused_with_a_reason() {
    let fact = home(1, 1, 0, NOON_MS);
    let batch = silver_batch(Topic::PageView, &[&fact], Read::Events);
    let mut planner = Planner::full([DAY + 1].into(), None, Options { processed_at_us: 0, max_events: 9 });
    let early = planner.push(Topic::PageView, &batch).unwrap_err();
    assert!(matches!(planner.next_step().unwrap(), Step::Read { .. }));

    let wrong_day = planner.push(Topic::PageView, &batch).unwrap_err();
    let no_column = Changes::new().push(&batch.project(&[0, 1]).unwrap()).unwrap_err();

    assert_eq!(early.to_string(), "silver rows were pushed, but the last step did not ask for them");
    assert_eq!(
        wrong_day.to_string(),
        "an event of day 20514 (days since 1970) lies in the partition of day 20515"
    );
    assert!(matches!(no_column, SessionError::MissingColumn { column: "session_id" }), "{no_column}");
}
