//! Compaction of real tables: which partitions land, in how many commits, and that the rows stay.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::util::display::array_value_to_string;
use streamify_batch::Context;
use streamify_batch::compact::{self, CompactOptions};
use streamify_lake::scan::live_files;
use support::{Delivery, context, contract, lake, land, rows};

const TOPIC: &str = "listen_events";
const TABLE: &str = "bronze_listen_events";
const DAYS: [i64; 3] = [0, 1, 2];
const FIRST_DAY: i32 = 20_752;
const DAY_MS: i64 = 86_400_000;

fn options(days: Option<&[i64]>) -> CompactOptions {
    let days = days.map(|days| days.iter().map(|day| FIRST_DAY + *day as i32).collect::<BTreeSet<i32>>());
    CompactOptions { min_files: 2, days, ..CompactOptions::default() }
}

/// Four commits, each with rows of all days.
async fn fill(home: &Path) {
    let mut offset = 0;
    for commit in 0..4_i64 {
        let events = (0..30).flat_map(|item| DAYS.map(|day| (item, day)));
        let deliveries: Vec<Delivery> = events
            .map(|(item, day)| {
                let time_ms = (i64::from(FIRST_DAY) + day) * DAY_MS + item * 60_000 + commit;
                let user = (item * 7 + commit) % 5;
                let value = format!(
                    r#"{{"artist":"Björk","song":"Song {item}","duration":200.5,"ts":{time_ms},"sessionId":{commit},"auth":"Logged In","level":"free","itemInSession":{item},"userId":{user}}}"#
                );
                offset += 1;
                Delivery { partition: 0, offset: offset - 1, run_id: None, value: value.into_bytes() }
            })
            .collect();
        assert_eq!(land(&lake(home).await, &contract(TOPIC), &deliveries).await, 90);
    }
}

/// All rows as text, by event id.
async fn by_id(home: &Path) -> BTreeMap<String, Vec<String>> {
    let batch = rows(&lake(home).await, TABLE).await.unwrap();
    let ids = batch.column_by_name("event_id").unwrap().as_string::<i32>();
    let text =
        |row| batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect();
    (0..batch.num_rows()).map(|row| (ids.value(row).to_owned(), text(row))).collect()
}

/// Files of each day, and how many snapshots there are.
async fn state(context: &Context) -> (BTreeMap<i32, usize>, usize) {
    let table = context.table(TABLE).await.unwrap();
    let mut files = BTreeMap::new();
    for live in live_files(&table, None).await.unwrap() {
        *files.entry(live.day(&table.metadata).unwrap() - FIRST_DAY).or_default() += 1;
    }
    (files, table.metadata.snapshots().count())
}

#[tokio::test]
async fn small_partitions_land_in_one_commit() {
    let home = tempfile::tempdir().unwrap();
    fill(home.path()).await;
    let before = by_id(home.path()).await;
    let context = context(home.path()).await;
    let (_, snapshots) = state(&context).await;

    let report = compact::run(&context, TABLE, &options(None)).await.unwrap();

    assert_eq!((report.partitions, report.partitions_left, report.rows), (3, 0, 360));
    assert_eq!((report.files_rewritten, report.files_added, report.files_after), (12, 3, 3));
    assert_eq!(state(&context).await, (BTreeMap::from([(0, 1), (1, 1), (2, 1)]), snapshots + 1));
    assert_eq!(by_id(home.path()).await, before);
}

#[tokio::test]
async fn a_budget_that_holds_a_few_rows_gives_the_same_rows() {
    let home = tempfile::tempdir().unwrap();
    fill(home.path()).await;
    let before = by_id(home.path()).await;
    let mut context = context(home.path()).await;
    context.budget = 4_000;

    compact::run(&context, TABLE, &options(None)).await.unwrap();

    assert_eq!(by_id(home.path()).await, before);
}

/// Another job compacts the middle day while this one is at the last: the other two days land all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_another_job_changed_is_left_and_the_others_land() {
    let home = tempfile::tempdir().unwrap();
    fill(home.path()).await;
    let before = by_id(home.path()).await;
    let mut context = context(home.path()).await;
    let path = home.path().to_owned();
    context.listener = Arc::new(move |progress| {
        if progress.done != 2 {
            return;
        }
        let path = path.clone();
        let rival = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let context = support::context(&path).await;
                compact::run(&context, TABLE, &options(Some(&[1]))).await.unwrap()
            })
        });
        assert_eq!(rival.join().unwrap().partitions, 1);
    });

    let report = compact::run(&context, TABLE, &options(None)).await.unwrap();

    assert_eq!((report.partitions, report.partitions_left, report.rows), (2, 1, 240));
    let (files, _) = state(&context).await;
    assert_eq!(files, BTreeMap::from([(0, 1), (1, 1), (2, 1)]));
    assert_eq!(by_id(home.path()).await, before);
}

/// A file of the last day is cut off: the run says so, and the days before it land.
#[tokio::test]
async fn a_file_that_cannot_be_read_ends_the_run_and_keeps_no_other_day_from_landing() {
    let home = tempfile::tempdir().unwrap();
    fill(home.path()).await;
    let context = context(home.path()).await;
    let table = context.table(TABLE).await.unwrap();
    let files = live_files(&table, None).await.unwrap();
    let last = files.iter().find(|live| live.day(&table.metadata) == Some(FIRST_DAY + 2)).unwrap();
    let path = last.file.file_path().trim_start_matches("file://");
    let whole = std::fs::read(path).unwrap();
    std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
    let (_, snapshots) = state(&context).await;

    let error = compact::run(&context, TABLE, &options(None)).await.unwrap_err();

    let file = path.rsplit('/').next().unwrap();
    let causes: Vec<String> =
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect();
    assert!(causes.join(": ").contains(file), "{causes:?}");
    assert_eq!(state(&context).await, (BTreeMap::from([(0, 1), (1, 1), (2, 4)]), snapshots + 1));
    std::fs::write(path, whole).unwrap();
    assert_eq!(by_id(home.path()).await.len(), 360);
}
