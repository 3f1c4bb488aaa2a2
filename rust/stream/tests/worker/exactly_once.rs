//! The worker against an in-process Kafka and a lake on disk: every offset lands exactly once, whatever happens.

use std::collections::BTreeSet;

use crate::support::*;
use arrow::array::{Array, AsArray};
use streamify_lake::commit::CommitError;
use streamify_runtime::ExitCode;
use streamify_stream::error::StreamError;
use streamify_stream::session::End;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_drained_exactly_once_over_several_runs() {
    let kafka = Kafka::with_topics(&[(LISTENS, 4), (PAGES, 2)]);
    let home = Home::new();
    let topics = format!("{LISTENS},{PAGES}");
    kafka.send_events(LISTENS, 4, 0..4_000);
    kafka.send_events(PAGES, 2, 0..500);
    kafka.send(LISTENS, 1, b"not json");
    kafka.flush();

    let first = home.catch_up(&kafka, &topics, &[]).await.unwrap();
    assert_eq!((first.total.rows, first.total.dead_letters, first.total.unaccounted), (4_500, 1, 0));
    home.assert_exactly_once(LISTENS, 0, &[1_000, 1_001, 1_000, 1_000]).await;
    home.assert_exactly_once(PAGES, 0, &[250, 250]).await;

    kafka.send_events(LISTENS, 4, 4_000..4_400);
    let second = home.catch_up(&kafka, &topics, &[]).await.unwrap();
    assert_eq!((second.total.received, second.total.rows), (400, 400));
    home.assert_exactly_once(LISTENS, 0, &[1_100, 1_101, 1_100, 1_100]).await;

    let snapshots = home.num_snapshots("bronze_listen_events").await;
    let third = home.catch_up(&kafka, &topics, &[]).await.unwrap();
    assert_eq!((third.total.received, third.total.commits), (0, 0));
    assert_eq!(home.num_snapshots("bronze_listen_events").await, snapshots, "nothing new, no snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_carry_where_they_came_from_and_the_commit_its_books() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..100);

    let summary = home.catch_up(&kafka, LISTENS, &[]).await.unwrap();

    let ledgers = home.summaries("bronze_listen_events", "streamify.ledger").await;
    let received: u64 = ledgers
        .iter()
        .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap()["received"].as_u64().unwrap())
        .sum();
    assert_eq!(received, 100);
    assert_eq!((summary.offsets[0].from, summary.offsets[0].to, summary.offsets[0].rows), (0, 100, 100));
    let ids: BTreeSet<String> = home
        .rows("bronze_listen_events")
        .await
        .iter()
        .flat_map(|batch| {
            let ids = batch.column_by_name("event_id").unwrap().as_string::<i32>().clone();
            (0..ids.len()).map(move |row| ids.value(row).to_owned())
        })
        .collect();
    assert_eq!(ids.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_land_with_every_byte_and_only_once() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    let garbage: &[u8] = b"{\"ts\": \xff";
    kafka.send(LISTENS, 0, garbage);
    kafka.send_events(LISTENS, 1, 0..10);
    kafka.send(LISTENS, 0, b"");
    kafka.flush();

    let summary = home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();

    assert_eq!((summary.total.rows, summary.total.dead_letters), (10, 2));
    home.assert_exactly_once(LISTENS, 0, &[12]).await;
    let rows = home.rows(DEAD_LETTERS).await;
    let batch = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    let offsets = batch.column_by_name("offset").unwrap().as_primitive::<arrow::datatypes::Int64Type>();
    let row = (0..batch.num_rows()).find(|row| offsets.value(*row) == 0).unwrap();
    assert_eq!(text("reason").value(row), "not_utf8");
    let values =
        arrow::compute::cast(batch.column_by_name("value").unwrap(), &arrow::datatypes::DataType::Binary);
    assert_eq!(values.unwrap().as_binary::<i32>().value(row), garbage);
    let keys =
        arrow::compute::cast(batch.column_by_name("key").unwrap(), &arrow::datatypes::DataType::Binary);
    assert_eq!(keys.unwrap().as_binary::<i32>().value(row), b"key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_dropped_inside_the_worker_is_noticed_and_nothing_is_committed() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..50);
    let mut settings = home.settings(&kafka, LISTENS, &["--until", "caught-up"]);
    settings.drop_record_for_test = true;

    let error = home.run(settings).await.unwrap_err();

    assert!(matches!(error, StreamError::Commit(CommitError::LedgerOpen { .. })), "{error}");
    assert_eq!(home.num_snapshots("bronze_listen_events").await, 0);
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    home.assert_exactly_once(LISTENS, 0, &[50]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_signal_commits_what_was_read_and_a_restart_goes_on() {
    let kafka = Kafka::with_topics(&[(LISTENS, 2)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 2, 0..1_000);
    let running = Running::start(&home, home.settings(&kafka, LISTENS, &["--freshness", "1h"]));
    running.wait_for_rows(1).await;
    // The next interval is an hour away: only the stop can commit these.
    kafka.send_events(LISTENS, 2, 1_000..3_000);
    let report = std::sync::Arc::clone(&running.report);

    assert_eq!(running.stop().await.unwrap(), End::Stopped);

    let stopped_at = report.summary("").total.rows;
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    home.assert_exactly_once(LISTENS, 0, &[1_500, 1_500]).await;
    assert!(stopped_at >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_runs_for_ever_commits_within_the_freshness_goal() {
    let kafka = Kafka::with_topics(&[(LISTENS, 2)]);
    let home = Home::new();
    let running = Running::start(&home, home.settings(&kafka, LISTENS, &["--freshness", "300ms"]));

    for round in 0..5 {
        kafka.send_events(LISTENS, 2, round * 100..(round + 1) * 100);
        running.wait_for_rows(u64::try_from(round + 1).unwrap() * 100).await;
    }

    assert_eq!(running.stop().await.unwrap(), End::Stopped);
    home.assert_exactly_once(LISTENS, 0, &[250, 250]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_is_fenced_and_nothing_doubles() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..10);
    let running = Running::start(&home, home.settings(&kafka, LISTENS, &["--freshness", "1h"]));
    running.wait_for_rows(10).await;
    kafka.send_events(LISTENS, 1, 10..30);
    home.catch_up(&kafka, LISTENS, &["--lease-time", "0s"]).await.unwrap();

    // The first worker has read the same records by now, or reads them while it stops; either way it must not add them.
    let ended = running.stop().await;

    home.assert_exactly_once(LISTENS, 0, &[30]).await;
    if let Err(error) = ended {
        assert_eq!(error.exit_code(), ExitCode::NeedsDecision, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hole_05_another_source_needs_a_decision_and_is_adopted_as_a_new_epoch() {
    let home = Home::new();
    let kafka = Kafka::with_topics(&[(LISTENS, 2)]);
    kafka.send_events(LISTENS, 2, 0..100);
    kafka.send(LISTENS, 0, b"garbage");
    kafka.flush();
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    let new = Kafka::with_topics(&[(LISTENS, 2)]);
    new.send_events(LISTENS, 2, 0..60);
    new.send(LISTENS, 0, b"garbage");
    new.flush();

    let error = home.catch_up(&new, LISTENS, &["--source-id", "second"]).await.unwrap_err();
    assert!(matches!(error, StreamError::SourceChanged { .. }), "{error}");
    assert_eq!(error.exit_code(), ExitCode::NeedsDecision);
    assert!(error.hint().unwrap().contains("--adopt-new-topic"));

    let flags = ["--source-id", "second", "--adopt-new-topic"];
    let adopted = home.catch_up(&new, LISTENS, &flags).await.unwrap();
    assert_eq!((adopted.total.rows, adopted.total.dead_letters), (60, 1));
    home.assert_exactly_once(LISTENS, 0, &[51, 50]).await;
    home.assert_exactly_once(LISTENS, 1, &[31, 30]).await;

    // The permission may stay; it changes nothing any more.
    new.send_events(LISTENS, 2, 60..80);
    home.catch_up(&new, LISTENS, &flags).await.unwrap();
    home.assert_exactly_once(LISTENS, 1, &[41, 40]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_in_the_same_cluster_is_noticed_by_its_id() {
    let home = Home::new();
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    kafka.send_events(LISTENS, 1, 0..10);
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    // Same cluster id, and more records than before: only the topic's id tells.
    let new = Kafka::with_topics(&[(LISTENS, 1)]);
    new.send_events(LISTENS, 1, 0..20);

    let error = home.catch_up(&new, LISTENS, &[]).await.unwrap_err();

    assert!(matches!(error, StreamError::SourceChanged { .. }), "{error}");
    home.assert_exactly_once(LISTENS, 0, &[10]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_with_disjoint_partitions_share_a_table() {
    let kafka = Kafka::with_topics(&[(LISTENS, 4)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 4, 0..400);

    let (left, right) = tokio::join!(
        home.catch_up(&kafka, LISTENS, &["--partitions", "0,1"]),
        home.catch_up(&kafka, LISTENS, &["--partitions", "2-3"]),
    );

    assert_eq!((left.unwrap().total.rows, right.unwrap().total.rows), (200, 200));
    home.assert_exactly_once(LISTENS, 0, &[100, 100, 100, 100]).await;
}
