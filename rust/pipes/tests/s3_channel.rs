//! The S3 channel against a store that fails on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic in a test is the report")]

mod common;
#[path = "common/s3.rs"]
mod s3;

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use base64::Engine;
use common::{PATIENCE, assert_whole_session, methods, wait_for};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use s3::{BUCKET, FakeS3, Fault};
use serde_json::{Value, json};
use streamify_pipes::{ExceptionInfo, Level, Metadata, Options, Pipes};

const FAST: Option<u64> = Some(50);

async fn open(store: &FakeS3, interval_ms: Option<u64>) -> Pipes {
    Pipes::open(&store.bootstrap("run/step", interval_ms), store.options()).await.unwrap()
}

fn all(store: &FakeS3) -> Vec<Value> {
    store.chunks("run/step").concat()
}

fn wait_for_chunks(store: &FakeS3, count: usize) {
    wait_for("chunks", || (store.chunks("run/step").len() >= count).then_some(()));
}

#[tokio::test]
async fn in_stock_mode_opened_goes_at_once_and_all_else_waits_for_the_last_chunk() {
    let store = FakeS3::start();
    let pipes = open(&store, None).await;
    wait_for_chunks(&store, 1);

    pipes.log(Level::Info, "one");
    pipes.log(Level::Info, "two");
    pipes.report_materialization("a", Metadata::new().int("rows", 3), None).unwrap();
    pipes.close(Ok(())).await.unwrap();

    let chunks = store.chunks("run/step");
    assert_eq!(methods(&chunks[0]), ["opened"]);
    assert_eq!(methods(&chunks[1]), ["log", "log", "report_asset_materialization", "closed"]);
    assert_eq!(store.store().puts, ["run/step/1.json", "run/step/2.json"]);
    assert_whole_session(&all(&store));
}

#[tokio::test]
async fn a_faster_reader_gets_chunks_while_the_process_runs() {
    let store = FakeS3::start();
    let pipes = open(&store, FAST).await;

    for count in 1..=5 {
        wait_for_chunks(&store, count);
        pipes.log(Level::Info, "next");
    }
    pipes.close(Ok(())).await.unwrap();

    assert_whole_session(&all(&store));
}

#[tokio::test]
async fn a_chunk_is_put_under_its_own_number_until_it_is_stored() {
    use Fault::{Forbidden, StoredButFailed, Unavailable};
    let store = FakeS3::start();
    store.store().put_faults = vec![Unavailable, StoredButFailed, Forbidden];
    let pipes = open(&store, FAST).await;
    pipes.log(Level::Info, "during the outage");

    wait_for_chunks(&store, 1);
    wait_for("the faults to be used up", || store.store().put_faults.is_empty().then_some(()));
    pipes.report_materialization("a", Metadata::new(), None).unwrap();
    pipes.close(Ok(())).await.unwrap();

    assert!(store.store().puts.starts_with(&["run/step/1.json"; 4].map(str::to_owned)));
    assert_eq!(store.store().rewritten, Vec::<String>::new());
    let messages = all(&store);
    assert_whole_session(&messages);
    assert_eq!(messages.len(), 4);
}

#[tokio::test]
async fn cut_connections_lose_nothing() {
    let store = FakeS3::start();
    let pipes = open(&store, FAST).await;
    wait_for_chunks(&store, 1);

    store.store().resets = 3;
    pipes.report_materialization("a", Metadata::new(), None).unwrap();
    wait_for_chunks(&store, 2);
    store.store().resets = 2;
    pipes.close(Ok(())).await.unwrap();

    assert_eq!(store.store().resets, 0, "the faults have happened");
    assert_whole_session(&all(&store));
}

#[tokio::test]
async fn a_close_during_an_outage_ends_at_its_deadline_and_says_what_is_lost() {
    let store = FakeS3::start();
    let options = Options { close_deadline: Duration::from_secs(1), ..store.options() };
    let pipes = Pipes::open(&store.bootstrap("run/step", FAST), options).await.unwrap();
    wait_for_chunks(&store, 1);
    store.store().put_faults = vec![Fault::Unavailable; 10_000];
    pipes.log(Level::Info, "unheard");

    let started = Instant::now();
    let error = pipes.close(Ok(())).await.unwrap_err();

    assert!(started.elapsed() < PATIENCE);
    let text = error.to_string();
    assert!(text.starts_with("2 Pipes messages were not stored: ") && text.contains("SlowDown"), "{text}");
}

#[tokio::test]
async fn a_process_restarted_on_the_same_prefix_goes_on_after_the_highest_chunk() {
    let store = FakeS3::start();
    for key in ["1", "2", "10", "context", "011"] {
        store.store().objects.insert(format!("run/step/{key}.json"), Bytes::from_static(b"{}"));
    }
    store.store().objects.insert("run/step2/99.json".to_owned(), Bytes::new());
    store.store().max_keys_per_page = Some(2);

    open(&store, None).await.close(Ok(())).await.unwrap();

    // `closed` may have been quick enough to go with `opened`.
    let puts = store.store().puts.clone();
    assert!(["run/step/11.json", "run/step/12.json"].map(str::to_owned).starts_with(&puts), "{puts:?}");
    assert!(store.store().objects.contains_key("run/step/11.json"));
}

#[tokio::test]
async fn without_the_right_to_list_it_starts_at_one() {
    let store = FakeS3::start();
    store.store().list_forbidden = true;

    open(&store, None).await.close(Ok(())).await.unwrap();

    assert_whole_session(&all(&store));
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_an_error_at_once() {
    let store = FakeS3::start();
    let mut bootstrap = store.bootstrap("run/step", None);
    bootstrap.messages.insert("bucket".to_owned(), "other".into());

    let error = Pipes::open(&bootstrap, store.options()).await.unwrap_err();

    assert_eq!(error.to_string(), "failed to open the Pipes message channel `s3://other/run/step`");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("NoSuchBucket"));
}

#[test]
fn a_panic_gets_out_as_the_last_chunk() {
    let store = FakeS3::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipes = runtime.block_on(open(&store, None));

    let panicked = std::thread::spawn(move || {
        let _pipes = pipes;
        panic!("disk is on fire");
    })
    .join();

    assert!(panicked.is_err());
    let messages = all(&store);
    assert_whole_session(&messages);
    assert_eq!(messages.last().unwrap()["params"]["exception"]["message"], "disk is on fire");
}

/// The child: reports from a process that knows its session and its store from the environment alone.
#[tokio::test]
async fn child() {
    if std::env::var_os("STREAMIFY_TEST_CHILD").is_none() {
        return;
    }
    let pipes = Pipes::from_process().await.unwrap().unwrap();
    let extras = Value::Object(pipes.context().extras.clone());
    pipes.report_custom(extras).unwrap();
    pipes.close(Err(&ExceptionInfo::new("Stopped", "as planned"))).await.unwrap();
}

fn encode(params: &Value) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(params.to_string().as_bytes()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap())
}

#[test]
fn a_process_finds_context_and_channel_in_its_environment() {
    let store = FakeS3::start();
    let context = json!({"run_id": "r", "asset_keys": ["a"], "extras": {"partitions": ["2026-11-19"]}});
    store.store().objects.insert("abc/context.json".to_owned(), Bytes::from(context.to_string()));

    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env("STREAMIFY_TEST_CHILD", "1")
        .env("DAGSTER_PIPES_CONTEXT", encode(&json!({"bucket": BUCKET, "key": "abc/context.json"})))
        .env("DAGSTER_PIPES_MESSAGES", encode(&json!({"bucket": BUCKET, "key_prefix": "run/step"})))
        .env("AWS_ENDPOINT_URL", store.endpoint())
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env_remove("AWS_REGION")
        .status()
        .unwrap();

    assert!(status.success());
    let messages = all(&store);
    assert_whole_session(&messages);
    assert_eq!(messages[1]["params"]["payload"], json!({"partitions": ["2026-11-19"]}));
    assert_eq!(messages[2]["params"]["exception"]["name"], "Stopped");
}
