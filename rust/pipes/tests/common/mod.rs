//! What the tests of this crate share: a strict reader of messages, and sessions on a file.
//!
//! The reader is written from the protocol's description, not from this crate's types. It refuses everything that is known to
//! end Dagster's own reader: unknown methods, keys too many or too few, values whose form and type disagree. It also asks for
//! more than that reader does: exact keys everywhere, no empty or bare values where a type is due.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use streamify_pipes::{Bootstrap, Options, Pipes};
use tempfile::TempDir;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("a JSON object").clone()
}

/// A file channel and what is written to it.
pub struct FileChannel {
    _folder: TempDir,
    path: PathBuf,
}

impl FileChannel {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("messages");
        Self { _folder: folder, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bootstrap(&self, context: Value) -> Bootstrap {
        Bootstrap {
            context: object(json!({ "data": context })),
            messages: object(json!({"path": self.path, "include_stdio_in_messages": false})),
        }
    }

    pub async fn open(&self, context: Value) -> Pipes {
        Pipes::open(&self.bootstrap(context), Options::default()).await.unwrap()
    }

    /// Returns the messages written so far, each checked.
    pub fn messages(&self) -> Vec<Value> {
        read_messages(&std::fs::read_to_string(&self.path).unwrap_or_default())
    }
}

/// Blocks until `condition` gives a value.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Splits into lines and checks each; the text must end with a newline.
pub fn read_messages(text: &str) -> Vec<Value> {
    assert!(text.is_ascii(), "lines are ASCII");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is complete: {text}");
    // As Dagster splits it: nowhere but at the newline.
    let lines = text.split_terminator('\n');
    let messages: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    for message in &messages {
        if let Err(problem) = check_message(message) {
            panic!("{problem}: {message}");
        }
    }
    messages
}

pub fn methods(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["method"].as_str().unwrap()).collect()
}

/// Asserts the rules of a whole session: numbers without gaps, one `opened` first, one `closed` last.
pub fn assert_whole_session(messages: &[Value]) {
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(message["seq"], index as u64 + 1);
        assert_eq!(message["writer"], messages[0]["writer"]);
    }
    let methods = methods(messages);
    assert_eq!(methods.first(), Some(&"opened"));
    assert_eq!(methods.last(), Some(&"closed"));
    assert_eq!(methods.iter().filter(|method| matches!(**method, "opened" | "closed")).count(), 2);
}

type Checked = Result<(), String>;

fn ensure(condition: bool, problem: &str) -> Checked {
    if condition { Ok(()) } else { Err(problem.to_owned()) }
}

fn keys_are(value: &Value, keys: &[&str]) -> Checked {
    let object = value.as_object().ok_or("not an object")?;
    let mut expected: Vec<&str> = keys.to_vec();
    expected.sort_unstable();
    let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
    found.sort_unstable();
    ensure(found == expected, &format!("keys are {found:?}, expected {expected:?}"))
}

pub fn check_message(message: &Value) -> Checked {
    keys_are(message, &["__dagster_pipes_version", "method", "params", "seq", "ts", "writer"])?;
    ensure(message["__dagster_pipes_version"] == "0.1", "version")?;
    ensure(message["seq"].is_u64() && message["ts"].is_u64() && message["writer"].is_string(), "envelope")?;
    let params = &message["params"];
    match message["method"].as_str().ok_or("method is no string")? {
        "opened" => {
            keys_are(params, &["extras"])?;
            ensure(params["extras"].is_object(), "extras")
        }
        "closed" if params.get("exception").is_some() => {
            keys_are(params, &["exception"])?;
            check_exception(&params["exception"])
        }
        "closed" => keys_are(params, &[]),
        "log" => {
            keys_are(params, &["message", "level"])?;
            ensure(params["message"].is_string(), "message")?;
            one_of(&params["level"], &["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
        }
        "log_external_stream" => {
            keys_are(params, &["stream", "text", "extras"])?;
            ensure(params["text"].is_string() && params["extras"].is_object(), "text or extras")?;
            one_of(&params["stream"], &["stdout", "stderr"])
        }
        "report_asset_materialization" => {
            keys_are(params, &["asset_key", "data_version", "metadata"])?;
            ensure(params["asset_key"].is_string(), "asset key")?;
            ensure(params["data_version"].is_string() || params["data_version"].is_null(), "data version")?;
            check_metadata(&params["metadata"])
        }
        "report_asset_check" => {
            keys_are(params, &["asset_key", "check_name", "passed", "severity", "metadata"])?;
            ensure(params["asset_key"].is_string() && params["check_name"].is_string(), "names")?;
            ensure(params["passed"].is_boolean(), "passed")?;
            one_of(&params["severity"], &["WARN", "ERROR"])?;
            check_metadata(&params["metadata"])
        }
        "report_custom_message" => keys_are(params, &["payload"]),
        other => Err(format!("unknown method {other}")),
    }
}

fn one_of(value: &Value, allowed: &[&str]) -> Checked {
    ensure(
        value.as_str().is_some_and(|text| allowed.contains(&text)),
        &format!("{value} is none of {allowed:?}"),
    )
}

fn check_exception(exception: &Value) -> Checked {
    keys_are(exception, &["message", "stack", "name", "cause", "context"])?;
    ensure(exception["message"].is_string(), "message")?;
    let stack = exception["stack"].as_array().ok_or("stack")?;
    ensure(stack.iter().all(Value::is_string), "stack lines")?;
    ensure(exception["name"].is_string() || exception["name"].is_null(), "name")?;
    for inner in [&exception["cause"], &exception["context"]] {
        if !inner.is_null() {
            check_exception(inner)?;
        }
    }
    Ok(())
}

fn check_metadata(metadata: &Value) -> Checked {
    if metadata.is_null() {
        return Ok(());
    }
    for (name, entry) in metadata.as_object().ok_or("metadata")? {
        keys_are(entry, &["raw_value", "type"])?;
        let raw = &entry["raw_value"];
        let kind = entry["type"].as_str().ok_or("type is no string")?;
        check_value(kind, raw).map_err(|problem| format!("{name}: {problem}"))?;
    }
    Ok(())
}

fn check_value(kind: &str, raw: &Value) -> Checked {
    let is_right = match kind {
        "text" | "url" | "path" | "notebook" | "md" | "dagster_run" | "asset" => raw.is_string(),
        "json" => raw.is_object() || raw.is_array(),
        "int" => raw.is_i64() || raw.is_u64(),
        "float" => raw.is_f64() || raw.is_null(),
        "bool" => raw.is_boolean(),
        "null" => raw.is_null(),
        "timestamp" => raw.is_number(),
        "table" => {
            keys_are(raw, &["records", "schema"])?;
            for record in raw["records"].as_array().ok_or("records")? {
                let cells = record.as_object().ok_or("record")?;
                ensure(!cells.values().any(|cell| cell.is_array() || cell.is_object()), "nested record")?;
            }
            return check_columns(&raw["schema"]);
        }
        "table_schema" => {
            keys_are(raw, &["columns"])?;
            return check_columns(&raw["columns"]);
        }
        "table_column_lineage" => {
            keys_are(raw, &["deps_by_column"])?;
            for deps in raw["deps_by_column"].as_object().ok_or("deps_by_column")?.values() {
                for dep in deps.as_array().ok_or("deps")? {
                    keys_are(dep, &["asset_key", "column_name"])?;
                    // Dagster takes text as a key of one part, a list as its parts.
                    let key = &dep["asset_key"];
                    let parts = key.as_array().is_some_and(|parts| parts.iter().all(Value::is_string));
                    ensure((key.is_string() || parts) && dep["column_name"].is_string(), "dep")?;
                }
            }
            true
        }
        other => return Err(format!("unknown metadata type {other}")),
    };
    ensure(is_right, &format!("{raw} is no {kind}"))
}

fn check_columns(columns: &Value) -> Checked {
    for column in columns.as_array().ok_or("columns")? {
        check_column(column.as_object().ok_or("column is no object")?)?;
    }
    Ok(())
}

fn check_column(column: &Map<String, Value>) -> Checked {
    for (key, value) in column {
        let is_right = match key.as_str() {
            "name" | "type" => value.is_string(),
            "description" => value.is_string() || value.is_null(),
            "tags" => {
                value.is_null() || value.as_object().is_some_and(|tags| tags.values().all(Value::is_string))
            }
            "constraints" => {
                keys_are(value, &["nullable", "unique", "other"])?;
                let other = value["other"].as_array().ok_or("other")?;
                value["nullable"].is_boolean()
                    && value["unique"].is_boolean()
                    && other.iter().all(Value::is_string)
            }
            _ => false,
        };
        ensure(is_right, &format!("column with {key} {value}"))?;
    }
    ensure(column.contains_key("name") && column.contains_key("type"), "column without name or type")
}
