//! Sessions through real tables: any split of the events into runs of silver and sessions, late events, compaction and
//! rebuilt days in between, a kill before the commit, two runs at once; the table must equal the full recompute.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is the report")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::AsArray;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use streamify_batch::compact::{self, CompactOptions};
use streamify_batch::sessions::{self, SessionsOptions, SessionsReport, TABLE};
use streamify_batch::silver::{self, SilverOptions};
use streamify_batch::{BatchError, Context};
use streamify_core::builtin;
use support::{Delivery, context, contract, land, rows};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_772_000_000_000 - 1_772_000_000_000 % DAY_MS;
const DEVICE: &str =
    r#""level":"free","city":"Bear","zip":"01970","state":"DE","userAgent":"x","lon":-75.7,"lat":39.5"#;

/// An event as a producer would tell it; `user` 0 is nobody.
#[derive(Clone, Copy, Debug)]
struct Event {
    topic: usize,
    user: i64,
    session: i64,
    item: i64,
    minute: i64,
}

const TOPICS: [&str; 4] = ["listen_events", "page_view_events", "auth_events", "status_change_events"];

impl Event {
    fn value(self) -> Vec<u8> {
        let Event { topic, user, session, item, minute } = self;
        let time_ms = START_MS + minute * 60_000;
        let person = if user == 0 { String::new() } else { format!(r#","userId":{user}"#) };
        let own = match TOPICS[topic] {
            "listen_events" => r#""artist":"A","song":"S","duration":200.5,"auth":"Logged In""#.to_owned(),
            "page_view_events" => {
                format!(
                    r#""page":"{}","auth":"Logged In","method":"GET","status":200"#,
                    ["Home", "NextSong"][(item % 2) as usize]
                )
            }
            "auth_events" => r#""success":true"#.to_owned(),
            _ => r#""auth":"Logged In""#.to_owned(),
        };
        format!(r#"{{"ts":{time_ms},"sessionId":{session},"itemInSession":{item},{DEVICE},{own}{person}}}"#)
            .into_bytes()
    }
}

async fn bring_up(context: &Context) -> SessionsReport {
    let contracts = builtin();
    for topic in ["listen_events", "page_view_events", "auth_events", "status_change_events"] {
        match silver::run(context, &contracts, &contract(topic), &SilverOptions::default()).await {
            Ok(_) | Err(BatchError::TableMissing { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    sessions::run(context, &contracts, &SessionsOptions::default()).await.unwrap()
}

/// The table as text by session key, without processing times.
async fn table(home: &Path) -> BTreeMap<String, Vec<String>> {
    let lake = support::lake(home).await;
    let Some(batch) = rows(&lake, TABLE).await else { return BTreeMap::new() };
    let keys = batch.column_by_name("session_key").unwrap().as_string::<i32>();
    let mut sessions = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let values = columns
            .filter(|(field, _)| field.name() != "_processed_at")
            .map(|(field, array)| format!("{}={}", field.name(), array_value_to_string(array, row).unwrap()));
        let former = sessions.insert(keys.value(row).to_owned(), values.collect());
        assert!(former.is_none(), "session {} is there twice", keys.value(row));
    }
    sessions
}

async fn land_all(context: &Context, events: &[Event], next: &mut [i64; 4]) {
    for (topic, name) in TOPICS.iter().enumerate() {
        let deliveries: Vec<Delivery> = events
            .iter()
            .filter(|event| event.topic == topic)
            .map(|event| {
                next[topic] += 1;
                Delivery { partition: 0, offset: next[topic] - 1, run_id: None, value: event.value() }
            })
            .collect();
        if !deliveries.is_empty() {
            land(&context.lake, &contract(name), &deliveries).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_event_joins_two_sessions_over_midnight_and_a_login_names_the_visitor() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path()).await;
    let mut next = [0; 4];
    let event = |topic, user, item, minute| Event { topic, user, session: 7, item, minute };
    // 23:30 and 00:25: fifty-five minutes apart. An unknown visitor of the same producer session at 00:20.
    land_all(&context, &[event(0, 5, 0, 1_410), event(0, 5, 3, 1_465), event(1, 0, 2, 1_460)], &mut next)
        .await;
    let first = bring_up(&context).await;
    let before = table(home.path()).await;
    // The one in between comes late.
    land_all(&context, &[event(0, 5, 1, 1_435)], &mut next).await;
    let second = bring_up(&context).await;
    let third = bring_up(&context).await;

    assert_eq!((before.len(), first.full), (2, true));
    let after = table(home.path()).await;
    assert_eq!((after.len(), second.full, third.snapshot_id), (1, false, None));
    let row = after.values().next().unwrap();
    for part in ["event_count=4", "listen_count=3", "page_view_count=1", "user_id=5", "is_closed=false"] {
        assert!(row.iter().any(|value| value == part), "{part} in {row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_and_a_run_that_was_killed_leave_the_full_recompute() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (context(home.path()).await, context(home.path()).await);
    let mut next = [0; 4];
    for round in 0..3 {
        let events: Vec<Event> = (0..60)
            .map(|n| Event {
                topic: (n % 4) as usize,
                user: n % 3,
                session: n % 5,
                item: n,
                minute: (n * 37 + round * 11) % 4_000,
            })
            .collect();
        land_all(&one, &events, &mut next).await;
        let contracts = builtin();
        for topic in TOPICS {
            silver::run(&one, &contracts, &contract(topic), &SilverOptions::default()).await.unwrap();
        }
        // A run that ends before its commit: dropped half-way.
        let options = SessionsOptions::default();
        let killed = tokio::time::timeout(
            std::time::Duration::from_millis(3),
            sessions::run(&one, &contracts, &options),
        );
        let _ = killed.await;
        let (left, right) = tokio::join!(
            sessions::run(&one, &contracts, &options),
            sessions::run(&two, &contracts, &options)
        );
        left.unwrap();
        right.unwrap();
        let incremental = table(home.path()).await;
        sessions::run(&one, &contracts, &SessionsOptions { full: true, ..options }).await.unwrap();
        assert_eq!(incremental, table(home.path()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_that_is_new_than_memory_holds_is_no_matter_but_of_time() {
    let home = tempfile::tempdir().unwrap();
    let mut context = context(home.path()).await;
    let mut next = [0; 4];
    let visits = |minute| (1..41).map(move |user| Event { topic: 0, user, session: user, item: 0, minute });
    land_all(&context, &visits(600).collect::<Vec<_>>(), &mut next).await;
    bring_up(&context).await;

    context.budget = 20_000;
    land_all(&context, &visits(610).take(3).collect::<Vec<_>>(), &mut next).await;
    assert!(!bring_up(&context).await.full, "three visits fit");
    land_all(&context, &visits(3_000).collect::<Vec<_>>(), &mut next).await;
    let report = bring_up(&context).await;

    assert_eq!((report.full, report.rows_out), (true, 80));
    assert_eq!(report.rows_in["silver_listen_events"], 83);
}

#[derive(Clone, Debug)]
enum Between {
    Nothing,
    Compaction,
    Rebuild,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_split_into_runs_equals_the_full_recompute(
        batches in prop::collection::vec(
            (
                prop::collection::vec((0..4_usize, 0..3_i64, 0..4_i64, 0..6_i64, 0..3_i64, 0..6_i64), 1..25),
                prop_oneof![Just(Between::Nothing), Just(Between::Compaction), Just(Between::Rebuild)],
            ),
            1..4,
        ),
        // Of the first nothing fits but a change of one visit, of the second some changes, and a day takes several passes.
        budget in prop::option::of(prop_oneof![Just(4_000_usize), Just(20_000)]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let home = tempfile::tempdir().unwrap();
            let mut context = context(home.path()).await;
            context.budget = budget.unwrap_or(context.budget);
            let mut next = [0; 4];
            for (events, between) in batches {
                // Times close to midnights, a quarter of an hour apart: chains, gaps and days all meet.
                let events: Vec<Event> = events
                    .into_iter()
                    .map(|(topic, user, session, item, day, quarter)| Event {
                        topic,
                        user,
                        session,
                        item,
                        minute: (day + 1) * 1_440 + (quarter - 3) * 16,
                    })
                    .collect();
                land_all(&context, &events, &mut next).await;
                bring_up(&context).await;
                match between {
                    Between::Nothing => {}
                    Between::Compaction => {
                        let options = CompactOptions { min_files: 2, ..CompactOptions::default() };
                        for name in [TABLE, "silver_listen_events", "silver_page_view_events"] {
                            match compact::run(&context, name, &options).await {
                                Ok(_) | Err(BatchError::TableMissing { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                    Between::Rebuild => {
                        let day = i32::try_from(START_MS / DAY_MS).unwrap();
                        let options = SilverOptions { rebuild: Some(BTreeSet::from([day, day + 1])), ..SilverOptions::default() };
                        match silver::run(&context, &builtin(), &contract("page_view_events"), &options).await {
                            Ok(_) | Err(BatchError::TableMissing { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            }
            bring_up(&context).await;
            let incremental = table(home.path()).await;
            sessions::run(&context, &builtin(), &SessionsOptions { full: true, ..SessionsOptions::default() }).await.unwrap();
            assert_eq!(incremental, table(home.path()).await);
        });
    }
}
