//! Sessions over the process's own streams, and the process's own streams within a session. Each runs in a child process: this
//! very program, which runs nothing but the test `child` then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic in a test is the report")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what is printed is what these tests are about"
)]

mod common;

use std::process::{Command, Output, Stdio};

use common::{FileChannel, assert_whole_session, methods, object, read_messages};
use serde_json::{Value, json};
use streamify_pipes::{Bootstrap, Level, Metadata, Options, Pipes};

const SCENARIO: &str = "STREAMIFY_TEST_CHILD";
const MESSAGES: &str = "STREAMIFY_TEST_MESSAGES";

/// The child: a session with the messages parameters of the environment, in which the scenario is carried out.
#[tokio::test]
async fn child() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    let messages: Value = serde_json::from_str(&std::env::var(MESSAGES).unwrap()).unwrap();
    let bootstrap = Bootstrap {
        context: object(json!({"data": {"run_id": "r", "asset_keys": ["a"]}})),
        messages: object(messages),
    };
    let pipes = Pipes::open(&bootstrap, Options::default()).await.unwrap();
    match scenario.as_str() {
        "log" => pipes.log(Level::Info, "heard"),
        "print" => print(),
        "print and panic" => panic!("disk is on fire"),
        "leave a child" => {
            print();
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            pipes.close(Ok(())).await.unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        }
        "flood" => {
            for number in 0..20_000 {
                println!("{number:>0200}");
            }
        }
        other => panic!("no such scenario: {other}"),
    }
    pipes.report_materialization("a", Metadata::new(), None).unwrap();
    pipes.close(Ok(())).await.unwrap();
    println!("after the session");
}

fn print() {
    println!("to stdout");
    eprintln!("to stderr: é🎵");
    assert!(Command::new("sh").args(["-c", "echo of a child"]).status().unwrap().success());
    print!("no newline");
}

fn run(scenario: &str, messages: &Value) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(SCENARIO, scenario)
        .env(MESSAGES, messages.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the messages among other output.
fn messages_in(output: &[u8]) -> Vec<Value> {
    let lines = text(output);
    // The test runner may have begun the line.
    let message = |line: &str| line.find(r#"{"__dagster"#).map(|start| format!("{}\n", &line[start..]));
    read_messages(&lines.lines().filter_map(message).collect::<String>())
}

/// Returns what a stream's messages say.
fn mirrored(messages: &[Value], stream: &str) -> String {
    let of_stream = messages.iter().filter(|message| message["params"]["stream"] == stream);
    of_stream.map(|message| message["params"]["text"].as_str().unwrap()).collect()
}

fn run_with_mirror(scenario: &str) -> (Output, Vec<Value>) {
    let channel = FileChannel::new();
    let messages = json!({"path": channel.path(), "include_stdio_in_messages": true});
    let output = run(scenario, &messages);
    (output, channel.messages())
}

#[test]
fn stderr_is_a_channel() {
    let output = run("log", &json!({"stdio": "stderr"}));

    assert!(output.status.success());
    let messages = read_messages(&text(&output.stderr));
    assert_whole_session(&messages);
    assert_eq!(methods(&messages), ["opened", "log", "report_asset_materialization", "closed"]);
}

#[test]
fn stdout_is_a_channel_between_other_lines() {
    let output = run("log", &json!({"stdio": "stdout"}));

    assert!(output.status.success());
    assert_whole_session(&messages_in(&output.stdout));
}

#[test]
fn a_buffered_stream_gets_all_messages_together_after_everything_else() {
    let output = run("print", &json!({"buffered_stdio": "stderr"}));

    assert!(output.status.success());
    let (first, messages) =
        text(&output.stderr).split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(first, "to stderr: é🎵");
    let messages = read_messages(&messages);
    assert_whole_session(&messages);
    assert_eq!(methods(&messages), ["opened", "report_asset_materialization", "closed"]);
}

#[test]
fn the_process_output_is_mirrored_and_still_goes_where_it_went() {
    let (output, messages) = run_with_mirror("print");

    assert!(output.status.success());
    assert_whole_session(&messages);
    let stdout = mirrored(&messages, "stdout");
    assert!(stdout.ends_with("to stdout\nof a child\nno newline"), "{stdout}");
    assert_eq!(mirrored(&messages, "stderr"), "to stderr: é🎵\n");
    assert!(text(&output.stdout).contains("to stdout\nof a child\nno newline"));
    assert_eq!(text(&output.stderr), "to stderr: é🎵\n");
    assert!(text(&output.stdout).contains("after the session"), "the streams are put back");
    assert!(!stdout.contains("after the session"));
}

#[test]
fn nothing_is_mirrored_where_nobody_asks_for_it() {
    let channel = FileChannel::new();

    let output = run("print", &json!({"path": channel.path(), "include_stdio_in_messages": false}));

    assert!(output.status.success());
    assert_eq!(methods(&channel.messages()), ["opened", "report_asset_materialization", "closed"]);
}

#[test]
fn a_panic_is_mirrored_and_told() {
    let (output, messages) = run_with_mirror("print and panic");

    assert!(!output.status.success());
    assert_whole_session(&messages);
    assert_eq!(messages.last().unwrap()["params"]["exception"]["message"], "disk is on fire");
    assert!(mirrored(&messages, "stderr").contains("disk is on fire"));
}

#[test]
fn a_child_that_outlives_the_session_does_not_hold_up_its_end() {
    let (output, messages) = run_with_mirror("leave a child");

    assert!(output.status.success());
    assert_whole_session(&messages);
    assert!(mirrored(&messages, "stdout").contains("of a child\n"));
}

#[test]
fn a_flood_of_output_is_all_there_or_counted_and_never_delays_the_process() {
    let (output, messages) = run_with_mirror("flood");

    assert!(output.status.success());
    assert_whole_session(&messages);
    let complete = text(&output.stdout).lines().filter(|line| line.len() == 200).count();
    assert_eq!(complete, 20_000);
    let counted =
        messages.iter().any(|message| message["params"]["message"].to_string().contains("dropped log"));
    let all = mirrored(&messages, "stdout").lines().filter(|line| line.len() == 200).count();
    assert!(all == 20_000 || counted, "{all} lines and nothing said of the others");
}
