//! Silver against a slow, obviously right recompute: any deliveries, any split into runs, any place for a crash or a race.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is the report")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use streamify_batch::compact::{self, CompactOptions};
use streamify_batch::silver::{self, SilverOptions, SilverReport};
use streamify_batch::{BatchError, Context};
use streamify_core::{SilverPlan, builtin};
use support::{Delivery, context, contract, land, rows};

const TOPIC: &str = "listen_events";
const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_772_000_000_000 - 1_772_000_000_000 % DAY_MS;

/// An event by what makes it one; the rest of its payload follows from that.
fn listen(session: i64, item: i64, day: i64) -> Vec<u8> {
    let time_ms = START_MS + day * DAY_MS + item * 60_000 + session;
    let user = session % 7 + 1;
    format!(
        r#"{{"artist":"Bj\u00c3\u00b6rk {session}","song":"Song {item}","duration":200.5,"ts":{time_ms},"sessionId":{session},"auth":"Logged In","level":"free","itemInSession":{item},"city":"Bear","zip":"01970","state":"DE","userAgent":"\"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/31.0\"","lon":-75.7,"lat":39.5,"userId":{user},"lastName":"Ash","firstName":"Leo","gender":"M","registration":1784672710926}}"#
    )
    .into_bytes()
}

async fn run(context: &Context, topic: &str, options: &SilverOptions) -> Result<SilverReport, BatchError> {
    silver::run(context, &builtin(), &contract(topic), options).await
}

async fn update(context: &Context) -> SilverReport {
    run(context, TOPIC, &SilverOptions::default()).await.unwrap()
}

/// Rows as text by event id, without the columns that may differ between runs.
fn by_id(batch: &RecordBatch) -> BTreeMap<String, Vec<String>> {
    let ids = batch.column_by_name("event_id").unwrap().as_string::<i32>();
    let mut rows = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let values = columns
            .filter(|(field, _)| !field.name().starts_with("_kafka") && field.name() != "_processed_at")
            .map(|(field, array)| format!("{}={}", field.name(), array_value_to_string(array, row).unwrap()));
        let former = rows.insert(ids.value(row).to_owned(), values.collect());
        assert!(former.is_none(), "event {} is there twice", ids.value(row));
    }
    rows
}

/// The slow way: all of bronze, transformed row by row, the first of each id.
async fn recompute(home: &Path, topic: &str) -> BTreeMap<String, Vec<String>> {
    let lake = support::lake(home).await;
    let contract = contract(topic);
    let Some(bronze) = rows(&lake, &contract.table).await else { return BTreeMap::new() };
    let mut plan = SilverPlan::new(&contract);
    let silver = plan.transform(&bronze, 0).unwrap();
    let ids = plan.event_ids(&bronze).unwrap();
    let places = plan.coordinates(&bronze).unwrap();
    let mut first = BTreeMap::new();
    for (row, (id, place)) in ids.into_iter().zip(places).enumerate() {
        let best = first.entry(id).or_insert((place, row));
        *best = (*best).min((place, row));
    }
    let kept: Vec<u64> = first.values().map(|(_, row)| *row as u64).collect();
    let kept = arrow::array::UInt64Array::from(kept);
    by_id(&arrow::compute::take_record_batch(&silver, &kept).unwrap())
}

async fn silver_rows(home: &Path, topic: &str) -> BTreeMap<String, Vec<String>> {
    let lake = support::lake(home).await;
    rows(&lake, &contract(topic).silver.table).await.map_or_else(BTreeMap::new, |batch| by_id(&batch))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_cleaned_and_a_second_run_has_nothing_to_do() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path()).await;
    let deliveries: Vec<Delivery> = [(1, 0), (1, 1), (1, 0), (2, 0)]
        .into_iter()
        .enumerate()
        .map(|(offset, (session, item))| Delivery {
            partition: 0,
            offset: offset as i64,
            run_id: None,
            value: listen(session, item, 0),
        })
        .collect();
    land(&context.lake, &contract(TOPIC), &deliveries).await;

    let first = update(&context).await;
    let second = update(&context).await;

    assert_eq!((first.rows_in, first.rows_out, first.duplicates, first.conflicts), (4, 3, 1, 0));
    assert_eq!(first.repaired["artist"], 3);
    assert_eq!((second.rows_in, second.snapshot_id), (0, None));
    let batch = rows(&context.lake, "silver_listen_events").await.unwrap();
    let text = |column: &str| batch.column_by_name(column).unwrap().as_string::<i32>().value(0).to_owned();
    assert!(text("artist").starts_with("Björk "), "{}", text("artist"));
    assert!(text("artist_original").starts_with("BjÃ¶rk "));
    assert_eq!(text("browser"), "Firefox");
    assert!(!text("user_agent").contains('"'));
    assert_eq!(silver_rows(home.path(), TOPIC).await, recompute(home.path(), TOPIC).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_disagree_are_counted_and_the_first_stays() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path()).await;
    let other = |song: &str| String::from_utf8(listen(1, 0, 0)).unwrap().replace("Song 0", song).into_bytes();
    let delivery = |offset, value| Delivery { partition: 0, offset, run_id: None, value };
    land(&context.lake, &contract(TOPIC), &[delivery(0, other("first")), delivery(1, other("second"))]).await;
    let one = update(&context).await;
    land(&context.lake, &contract(TOPIC), &[delivery(2, other("third")), delivery(3, other("first"))]).await;
    let two = update(&context).await;

    assert_eq!((one.rows_out, one.duplicates, one.conflicts), (1, 1, 1));
    assert_eq!((two.rows_out, two.already_known, two.conflicts), (0, 2, 1));
    let batch = rows(&context.lake, "silver_listen_events").await.unwrap();
    assert_eq!(batch.column_by_name("song").unwrap().as_string::<i32>().value(0), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_double_nothing() {
    let home = tempfile::tempdir().unwrap();
    let context_one = context(home.path()).await;
    let context_two = context(home.path()).await;
    for round in 0..4_i64 {
        let deliveries: Vec<Delivery> = (0..40)
            .map(|n| Delivery {
                partition: 0,
                offset: round * 40 + n,
                run_id: None,
                value: listen(n % 9, n + round * 20, n % 3),
            })
            .collect();
        land(&context_one.lake, &contract(TOPIC), &deliveries).await;
        let (one, two) = tokio::join!(update(&context_one), update(&context_two));
        assert_eq!(one.rows_out + two.rows_out, new_events(round));
        assert_eq!(silver_rows(home.path(), TOPIC).await, recompute(home.path(), TOPIC).await);
    }
}

/// Events of a round that no earlier round had.
fn new_events(round: i64) -> u64 {
    let events = |round: i64| -> BTreeSet<(i64, i64, i64)> {
        (0..40).map(|n| (n % 9, n + round * 20, n % 3)).collect()
    };
    let before: BTreeSet<_> = (0..round).flat_map(events).collect();
    events(round).difference(&before).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_commits_nothing() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path()).await;
    let delivery = Delivery { partition: 0, offset: 0, run_id: None, value: listen(1, 0, 0) };
    land(&context.lake, &contract(TOPIC), &[delivery]).await;
    context.cancel.cancel();

    let error = run(&context, TOPIC, &SilverOptions::default()).await.unwrap_err();

    assert!(matches!(error, BatchError::Cancelled), "{error}");
    assert!(silver_rows(home.path(), TOPIC).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_bronze_the_error_names_it_and_the_way_on() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path()).await;

    let error = run(&context, TOPIC, &SilverOptions::default()).await.unwrap_err();

    assert_eq!(error.to_string(), "table `bronze_listen_events` does not exist");
    assert!(error.hint().unwrap().contains("streamify-stream"));
}

fn auth(session: i64, item: i64) -> Vec<u8> {
    let time_ms = START_MS + item * 60_000;
    format!(r#"{{"ts":{time_ms},"sessionId":{session},"level":"free","itemInSession":{item},"city":"Bear","zip":"01970","state":"DE","userAgent":"x","lon":-75.7,"lat":39.5,"userId":{session},"success":true}}"#).into_bytes()
}

fn view(session: i64, item: i64, page: &str) -> Vec<u8> {
    let time_ms = START_MS + item * 60_000;
    format!(r#"{{"ts":{time_ms},"sessionId":{session},"page":"{page}","auth":"Logged Out","method":"PUT","status":307,"level":"free","itemInSession":{item},"city":"Bear","zip":"01970","state":"DE","userAgent":"x","lon":-75.7,"lat":39.5}}"#).into_bytes()
}

/// Marks of auth events by (session, item).
async fn login_marks(context: &Context) -> BTreeMap<(i64, i32), bool> {
    let batch = rows(&context.lake, "silver_auth_events").await.unwrap();
    let longs = batch.column_by_name("session_id").unwrap().as_primitive::<arrow::datatypes::Int64Type>();
    let items =
        batch.column_by_name("item_in_session").unwrap().as_primitive::<arrow::datatypes::Int32Type>();
    let marks = batch.column_by_name("is_login_result").unwrap().as_boolean();
    (0..batch.num_rows()).map(|row| ((longs.value(row), items.value(row)), marks.value(row))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auth_event_is_a_login_result_whichever_of_both_topics_comes_first() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path()).await;
    let delivery = |offset, value| Delivery { partition: 0, offset, run_id: None, value };
    let options = SilverOptions::default();
    // Session 1: login seen before its outcome, then the repeated outcome of the same login. Session 2: the other way round.
    let (auths, views) = (contract("auth_events"), contract("page_view_events"));
    land(&context.lake, &views, &[delivery(0, view(1, 3, "Login")), delivery(1, view(1, 4, "Home"))]).await;
    run(&context, "page_view_events", &options).await.unwrap();
    land(&context.lake, &auths, &[delivery(0, auth(1, 4)), delivery(1, auth(1, 5)), delivery(2, auth(2, 8))])
        .await;
    run(&context, "auth_events", &options).await.unwrap();
    let before = login_marks(&context).await;

    land(&context.lake, &views, &[delivery(2, view(2, 7, "Login"))]).await;
    run(&context, "page_view_events", &options).await.unwrap();
    let report = run(&context, "auth_events", &options).await.unwrap();

    assert_eq!(before, BTreeMap::from([((1, 4), true), ((1, 5), false), ((2, 8), false)]));
    assert_eq!(
        login_marks(&context).await,
        BTreeMap::from([((1, 4), true), ((1, 5), false), ((2, 8), true)])
    );
    assert_eq!((report.rows_in, report.remarked), (0, 1));
}

/// What happens between two runs.
#[derive(Clone, Debug)]
enum Between {
    Nothing,
    Compaction,
    Rebuild,
    Reread,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The law of silver: for any deliveries, any split into batches and any care in between, the rows equal a recompute.
    #[test]
    fn any_split_into_runs_gives_the_rows_of_a_full_recompute(
        batches in prop::collection::vec(
            (
                prop::collection::vec((0..6_i64, 0..5_i64, 0..3_i64, 0..2_i32), 1..20),
                prop_oneof![Just(Between::Nothing), Just(Between::Compaction), Just(Between::Rebuild), Just(Between::Reread)],
                prop::bool::ANY,
            ),
            1..5,
        ),
        budget in prop::option::of(prop_oneof![Just(4_000_usize), Just(30_000)]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let home = tempfile::tempdir().unwrap();
            let mut context = context(home.path()).await;
            // Far below what is allowed: a few ids per bucket, a few rows per run. With the larger one, ids are read as they
            // are stored and the same rows by values: both must come in one order.
            context.budget = budget.unwrap_or(context.budget);
            let mut next = [0_i64; 2];
            for (events, between, runs_now) in batches {
                let deliveries: Vec<Delivery> = events
                    .into_iter()
                    .map(|(session, item, day, partition)| {
                        let offset = next[partition as usize];
                        next[partition as usize] += 1;
                        Delivery { partition, offset, run_id: Some("r".to_owned()), value: listen(session, item, day) }
                    })
                    .collect();
                land(&context.lake, &contract(TOPIC), &deliveries).await;
                let options = CompactOptions { min_files: 2, ..CompactOptions::default() };
                match between {
                    Between::Nothing => {}
                    Between::Compaction => {
                        compact::run(&context, "bronze_listen_events", &options).await.unwrap();
                        if context.lake.catalog().load_table("silver_listen_events").await.unwrap().is_some() {
                            compact::run(&context, "silver_listen_events", &options).await.unwrap();
                        }
                    }
                    Between::Rebuild => {
                        let day = i32::try_from(START_MS / DAY_MS).unwrap();
                        let rebuild = Some(BTreeSet::from([day, day + 1]));
                        let options = SilverOptions { rebuild, ..SilverOptions::default() };
                        run(&context, TOPIC, &options).await.unwrap();
                    }
                    Between::Reread => {
                        let options = SilverOptions { reread: true, ..SilverOptions::default() };
                        run(&context, TOPIC, &options).await.unwrap();
                    }
                }
                if runs_now {
                    update(&context).await;
                    assert_eq!(silver_rows(home.path(), TOPIC).await, recompute(home.path(), TOPIC).await);
                }
            }
            update(&context).await;
            assert_eq!(silver_rows(home.path(), TOPIC).await, recompute(home.path(), TOPIC).await);
        });
    }
}
