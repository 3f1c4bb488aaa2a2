//! A session from `opened` to `closed`, on a file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic in a test is the report")]

mod common;

use std::thread;

use common::{FileChannel, assert_whole_session, methods, object, wait_for};
use serde_json::{Value, json};
use streamify_pipes::{ExceptionInfo, Level, Metadata, Options, Pipes, PipesError, Severity};
use tracing_subscriber::layer::SubscriberExt;

fn context() -> Value {
    json!({"run_id": "r", "asset_keys": ["a", "b/c"], "extras": {"x": 1}})
}

fn closing_exception(channel: &FileChannel) -> Value {
    let messages = channel.messages();
    assert_whole_session(&messages);
    messages.last().unwrap()["params"]["exception"].clone()
}

#[tokio::test]
async fn a_failure_is_told_with_its_causes() {
    let channel = FileChannel::new();
    let pipes = channel.open(context()).await;
    let error = std::io::Error::other("bucket is gone");

    pipes.close(Err(&ExceptionInfo::from_error(&error))).await.unwrap();

    let exception = closing_exception(&channel);
    assert_eq!(exception["message"], "bucket is gone");
    assert_eq!(exception["name"], "Custom");
}

#[tokio::test]
async fn only_the_first_close_counts_and_nothing_is_taken_after_it() {
    let channel = FileChannel::new();
    let pipes = channel.open(context()).await;
    let handle = pipes.handle();

    handle.close(Ok(())).await.unwrap();
    handle.close(Err(&ExceptionInfo::new("Late", "too late"))).await.unwrap();
    handle.log(Level::Error, "too late");
    let refused = handle.report_materialization("a", Metadata::new(), None);
    pipes.close(Ok(())).await.unwrap();

    assert!(matches!(refused, Err(PipesError::Closed)));
    assert_eq!(methods(&channel.messages()), ["opened", "closed"]);
    assert_eq!(closing_exception(&channel), Value::Null);
}

#[tokio::test]
async fn a_second_result_of_one_asset_or_check_is_refused() {
    let channel = FileChannel::new();
    let pipes = channel.open(context()).await;
    let check = |name: &str| pipes.report_check("a", name, true, Severity::Warn, Metadata::new());

    pipes.report_materialization("a", Metadata::new(), None).unwrap();
    let again = pipes.report_materialization("a", Metadata::new(), None).unwrap_err();
    pipes.report_materialization("b/c", Metadata::new(), None).unwrap();
    check("ids_are_unique").unwrap();
    check("lag_below_limit").unwrap();
    let checked_again = check("ids_are_unique").unwrap_err();
    let unknown = pipes.report_materialization("c", Metadata::new(), None).unwrap_err();
    pipes.close(Ok(())).await.unwrap();

    assert_eq!(again.to_string(), "asset `a` was already reported as materialized in this session");
    assert_eq!(
        checked_again.to_string(),
        "check `ids_are_unique` of asset `a` was already reported in this session"
    );
    assert_eq!(unknown.to_string(), "asset `c` is not one of this step's: `a`, `b/c`");
    assert_eq!(channel.messages().len(), 6);
}

#[tokio::test]
async fn dropped_without_a_close_it_says_so() {
    let channel = FileChannel::new();
    let pipes = channel.open(context()).await;

    drop(pipes);

    assert_eq!(closing_exception(&channel)["name"], "NotClosed");
}

#[test]
fn a_panic_that_unwinds_through_it_is_told_with_its_place() {
    let channel = FileChannel::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipes = runtime.block_on(channel.open(context()));

    let panicked = thread::spawn(move || {
        pipes.log(Level::Info, "before");
        let offset = 7;
        assert_eq!(offset, 8, "offset went backwards");
    })
    .join();

    assert!(panicked.is_err());
    assert_eq!(methods(&channel.messages()), ["opened", "log", "closed"]);
    let exception = closing_exception(&channel);
    assert_eq!(exception["name"], "panic");
    assert!(exception["message"].as_str().unwrap().contains("offset went backwards"), "{exception}");
    assert!(exception["stack"][0].as_str().unwrap().contains("tests/session.rs"), "{exception}");
}

#[test]
fn a_panic_inside_a_blocked_runtime_gets_out_as_well() {
    let channel = FileChannel::new();
    let path = channel.path().to_owned();
    let bootstrap = channel.bootstrap(context());

    let panicked = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let _pipes = Pipes::open(&bootstrap, Options::default()).await.unwrap();
            let missing = path.with_extension("missing");
            std::fs::read(&missing).expect("contract file");
        });
    })
    .join();

    assert!(panicked.is_err());
    assert!(closing_exception(&channel)["message"].as_str().unwrap().starts_with("contract file"));
}

#[test]
fn messages_get_out_while_the_callers_runtime_is_blocked() {
    let channel = FileChannel::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    runtime.block_on(async {
        let pipes = channel.open(context()).await;
        pipes.log(Level::Info, "still here");
        // Blocks the only thread of this runtime until the message is in the file.
        let messages =
            wait_for("the message", || Some(channel.messages()).filter(|messages| messages.len() == 2));
        assert_eq!(messages[1]["params"], json!({"message": "still here", "level": "INFO"}));
        pipes.close(Ok(())).await.unwrap();
    });
}

#[tokio::test]
async fn events_become_log_messages_with_their_fields() {
    let channel = FileChannel::new();
    let pipes = channel.open(context()).await;
    let subscriber = tracing_subscriber::registry().with(pipes.layer());

    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(partition = 3, table = "bronze", note = "two words", lag = ?Some(1), "committed {}", 42);
        tracing::debug!("not shown");
        tracing::error!(rows = 1.5);
    });
    pipes.close(Ok(())).await.unwrap();

    let messages = channel.messages();
    let logs: Vec<&Value> = messages.iter().filter(|m| m["method"] == "log").map(|m| &m["params"]).collect();
    assert_eq!(
        logs,
        [
            &json!({"message": "committed 42 partition=3 table=bronze note=\"two words\" lag=Some(1)", "level": "INFO"}),
            &json!({"message": "rows=1.5", "level": "ERROR"}),
        ]
    );
}

#[tokio::test]
async fn a_storm_of_events_is_cut_short_and_counted() {
    let channel = FileChannel::new();
    let pipes = channel.open(context()).await;
    let subscriber = tracing_subscriber::registry().with(pipes.layer().with_rate(1));

    tracing::subscriber::with_default(subscriber, || {
        for index in 0..1000 {
            tracing::info!(index, "storm");
        }
        tracing::error!("the end");
    });
    pipes.close(Ok(())).await.unwrap();

    let messages = channel.messages();
    let texts: Vec<&str> = messages.iter().filter_map(|m| m["params"]["message"].as_str()).collect();
    assert!(texts.len() < 50, "{}", texts.len());
    let num_shown = texts.iter().filter(|text| text.starts_with("storm")).count();
    let expected = format!("{} log messages were suppressed by the rate limit", 1000 - num_shown);
    assert_eq!(texts[texts.len() - 2..], [expected.as_str(), "the end"]);
}

#[tokio::test]
async fn what_the_rate_limit_turned_away_last_is_told_before_the_end() {
    let channel = FileChannel::new();
    let pipes = channel.open(context()).await;
    let subscriber = tracing_subscriber::registry().with(pipes.layer().with_rate(1));

    tracing::subscriber::with_default(subscriber, || {
        (0..20).for_each(|index| tracing::info!(index, "storm"))
    });
    pipes.close(Ok(())).await.unwrap();

    let messages = channel.messages();
    assert_whole_session(&messages);
    let texts = messages.iter().filter_map(|message| message["params"]["message"].as_str());
    let (shown, counts): (Vec<&str>, Vec<&str>) = texts.partition(|text| text.starts_with("storm"));
    let suppressed = counts.iter().map(|text| text.split(' ').next().unwrap().parse::<usize>().unwrap());
    assert!(!counts.is_empty() && shown.len() + suppressed.sum::<usize>() == 20, "{shown:?} {counts:?}");
}

#[tokio::test]
async fn a_reader_may_ask_for_something_in_the_parameters_of_its_channel() {
    let channel = FileChannel::new();
    let mut bootstrap = channel.bootstrap(context());
    bootstrap.messages.insert("streamify_progress_interval_ms".to_owned(), json!(10_000));

    let pipes = Pipes::open(&bootstrap, Options::default()).await.unwrap();

    assert_eq!(pipes.messages_param("streamify_progress_interval_ms"), Some(&json!(10_000)));
    assert_eq!(pipes.messages_param("something else"), None);
    pipes.close(Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_channel_that_cannot_be_opened_is_an_error_at_once() {
    let channel = FileChannel::new();
    let mut bootstrap = channel.bootstrap(context());
    bootstrap.messages.insert("path".to_owned(), json!("/nowhere/messages"));

    let error = Pipes::open(&bootstrap, Options::default()).await.unwrap_err();

    assert_eq!(error.to_string(), "failed to open the Pipes message channel file `/nowhere/messages`");
}

#[tokio::test]
async fn what_is_too_large_for_a_message_is_refused() {
    let channel = FileChannel::new();
    let text = "x".repeat(1 << 20);
    let extras = object(json!({ "text": text }));
    let options = Options { opened_extras: extras, ..Options::default() };
    let pipes = channel.open(context()).await;

    let opened = Pipes::open(&channel.bootstrap(context()), options).await.unwrap_err();
    let custom = pipes.report_custom(json!(text)).unwrap_err();
    pipes.log(Level::Info, &text);
    pipes.close(Ok(())).await.unwrap();

    let size = text.len();
    let told = |method: &str, extra: usize| {
        format!("message `{method}` of {} bytes is larger than {size} bytes", size + extra)
    };
    assert_eq!(opened.to_string(), told("opened", r#"{"extras":{"text":""}}"#.len()));
    assert_eq!(custom.to_string(), told("report_custom_message", r#"{"payload":""}"#.len()));
    let messages = channel.messages();
    assert_eq!(methods(&messages), ["opened", "log", "closed"]);
    assert!(messages[1]["params"]["message"].as_str().unwrap().ends_with("bytes left out)"));
}

#[tokio::test]
async fn the_null_device_is_a_channel() {
    let channel = FileChannel::new();
    let mut bootstrap = channel.bootstrap(context());
    bootstrap.messages.insert("path".to_owned(), json!("/dev/null"));

    let pipes = Pipes::open(&bootstrap, Options::default()).await.unwrap();
    pipes.log(Level::Info, "unheard");

    pipes.close(Ok(())).await.unwrap();
}
