//! Leases as workers use them: a second one is stopped at its start, a dead one is in nobody's way.

use std::time::Duration;

use streamify_core::lease::{Lease, Leases, Process};
use streamify_lake::commit::keys;
use streamify_runtime::ExitCode;
use streamify_stream::error::StreamError;
use streamify_stream::lease::this_process;
use streamify_stream::session::End;

use crate::support::{Home, Kafka, LISTENS, Running, until};

const TABLE: &str = "bronze_listen_events";

async fn leases(home: &Home) -> Vec<Lease> {
    home.table(TABLE).await.map_or(Vec::new(), |table| keys::leases(&table.metadata).0)
}

/// Puts a lease into the table, as another process would have left it.
async fn leave(home: &Home, process: Process, seconds: i64) {
    let lake = streamify_lake::Lake::open(&home.lake_settings()).await.unwrap();
    let table = lake.catalog().load_table(TABLE).await.unwrap().unwrap();
    let now_ms = streamify_stream::clock::now_us() / 1000;
    let lease = Lease {
        writer_id: "another".into(),
        process,
        partitions: None,
        since_ms: now_ms,
        valid_until_ms: now_ms + seconds * 1000,
    };
    let updates = std::collections::HashMap::from([(keys::LEASES.to_owned(), Leases(vec![lease]).to_json())]);
    lake.catalog()
        .commit(&table, vec![], vec![iceberg::TableUpdate::SetProperties { updates }])
        .await
        .unwrap();
}

fn elsewhere() -> Process {
    Process { host: "elsewhere".into(), boot_id: Some("another boot".into()), ..this_process() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_is_refused_at_its_start_and_the_first_goes_on() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..10);
    let running = Running::start(&home, home.settings(&kafka, LISTENS, &["--freshness", "200ms"]));
    running.wait_for_rows(10).await;

    let error = home.catch_up(&kafka, LISTENS, &[]).await.unwrap_err();

    assert!(matches!(error, StreamError::LeaseHeld { .. }), "{error}");
    assert_eq!(error.exit_code(), ExitCode::NeedsDecision);
    assert!(error.to_string().contains(&format!("process {} on host", std::process::id())), "{error}");
    kafka.send_events(LISTENS, 1, 10..20);
    running.wait_for_rows(20).await;
    assert_eq!(running.stop().await.unwrap(), End::Stopped);
    assert!(leases(&home).await.is_empty(), "the end of a run gives its lease up");
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    home.assert_exactly_once(LISTENS, 0, &[20]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_goes_on_and_the_other_ends_with_a_decision() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..10);
    let flags = ["--freshness", "200ms", "--lease-time", "3s"];
    let first = Running::start(&home, home.settings(&kafka, LISTENS, &flags));
    first.wait_for_rows(10).await;
    let second =
        Running::start(&home, home.settings(&kafka, LISTENS, &[&flags[..], &["--take-over"]].concat()));

    let error = first.ended().await.unwrap_err();

    assert_eq!(error.exit_code(), ExitCode::NeedsDecision, "{error}");
    assert!(error.to_string().contains("took the lease over"), "{error}");
    kafka.send_events(LISTENS, 1, 10..20);
    second.wait_for_rows(10).await;
    second.stop().await.unwrap();
    home.assert_exactly_once(LISTENS, 0, &[20]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_takes_its_lease_and_renews_it_without_records() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    let running = Running::start(&home, home.settings(&kafka, LISTENS, &["--lease-time", "3s"]));
    until("the lease", || async { !leases(&home).await.is_empty() }).await;
    let [taken] = &leases(&home).await[..] else { panic!("not one lease") };
    let until_ms = taken.valid_until_ms;

    until("a renewal", || async { leases(&home).await.iter().any(|lease| lease.valid_until_ms > until_ms) })
        .await;

    running.stop().await.unwrap();
    assert!(leases(&home).await.is_empty());
    let verbs = home.summaries(TABLE, keys::LEASE).await;
    for verb in ["taken", "renewed", "given up"] {
        assert!(verbs.iter().any(|known| known == verb), "{verb}: {verbs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_in_a_bounded_run_leaves_no_snapshot() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..10);
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    let snapshots = home.num_snapshots(TABLE).await;

    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();

    assert_eq!(home.num_snapshots(TABLE).await, snapshots);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_of_this_machine_is_in_nobodys_way_and_one_elsewhere_for_as_long_as_it_may_live() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..10);
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();

    let killed = Process { started_ticks: Some(1), ..this_process() };
    leave(&home, killed, 3600).await;
    kafka.send_events(LISTENS, 1, 10..20);
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();

    leave(&home, elsewhere(), 2).await;
    kafka.send_events(LISTENS, 1, 20..30);
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    home.assert_exactly_once(LISTENS, 0, &[30]).await;

    leave(&home, elsewhere(), 24 * 3600).await;
    let error = home.catch_up(&kafka, LISTENS, &[]).await.unwrap_err();
    assert!(matches!(error, StreamError::LeaseHeld { .. }), "a clock that is ahead holds nobody up: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_renews_its_lease_elsewhere_is_seen_to_live() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..10);
    home.catch_up(&kafka, LISTENS, &[]).await.unwrap();
    leave(&home, elsewhere(), 20).await;
    let waiting = Running::start(&home, home.settings(&kafka, LISTENS, &["--until", "caught-up"]));

    // Renewed again and again, so that one renewal comes after the first look.
    for seconds in 21.. {
        leave(&home, elsewhere(), seconds).await;
        if waiting.has_ended() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let error = waiting.ended().await.unwrap_err();
    assert!(matches!(error, StreamError::LeaseHeld { .. }), "{error}");
}
