//! The program that the conformance suite for Dagster Pipes (`dagster-pipes-tests`) launches; also the shortest tour of this crate.
//!
//! `--test-name` names the test, the other options are paths of JSON files with what to expect or to report. Context and messages
//! come as Dagster passes them, so the loader and writer options are accepted and not needed. A failed expectation ends it with 1.

use std::collections::HashMap;
use std::process::ExitCode;

use serde_json::{Value, json};
use streamify_pipes::{ExceptionInfo, Level, Metadata, MetadataValue, Pipes, Severity};

type Failure = Box<dyn std::error::Error>;

/// Options with a value each, by name.
struct Arguments(HashMap<String, String>);

impl Arguments {
    fn parse() -> Self {
        let mut options = HashMap::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            if let Some(name) = argument.strip_prefix("--") {
                options.insert(name.to_owned(), arguments.next().unwrap_or_default());
            }
        }
        Self(options)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn json(&self, name: &str) -> Result<Option<Value>, Failure> {
        let Some(path) = self.text(name) else {
            return Ok(None);
        };
        Ok(Some(serde_json::from_str(&std::fs::read_to_string(path)?)?))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Failure> {
    let arguments = Arguments::parse();
    let pipes = Pipes::from_process().await?.ok_or("not launched by Dagster")?;
    let outcome = run(&pipes, &arguments);
    match outcome {
        Ok(()) => {
            pipes.close(Ok(())).await?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            pipes.close(Err(&ExceptionInfo::new("Failure", error.to_string()))).await?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn run(pipes: &Pipes, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(expected) = arguments.json("extras")? {
        expect("extras", &expected, &Value::Object(pipes.context().extras.clone()))?;
    }
    if let Some(expected) = arguments.text("job-name") {
        expect("job name", &json!(expected), &json!(pipes.context().job_name))?;
    }
    match arguments.text("test-name").unwrap_or_default() {
        "test_error_reporting" => return Err("Very bad error has happened!".into()),
        "test_components" => pipes.report_custom(json!("Hello from external process!"))?,
        "test_message_log" => {
            pipes.log(Level::Debug, "Debug message");
            pipes.log(Level::Info, "Info message");
            pipes.log(Level::Warning, "Warning message");
            pipes.log(Level::Error, "Error message");
            pipes.log(Level::Critical, "Critical message");
        }
        _ => {}
    }
    if let Some(custom) = arguments.json("custom-payload")? {
        pipes.report_custom(custom["payload"].clone())?;
    }
    if let Some(wanted) = arguments.json("report-asset-materialization")? {
        pipes.report_materialization(
            asset_key(pipes, &wanted)?,
            every_value(),
            wanted["dataVersion"].as_str(),
        )?;
    }
    if let Some(wanted) = arguments.json("report-asset-check")? {
        let severity = if wanted["severity"] == "WARN" { Severity::Warn } else { Severity::Error };
        let name = wanted["checkName"].as_str().ok_or("`checkName` is missing")?;
        let passed = wanted["passed"].as_bool().ok_or("`passed` is missing")?;
        pipes.report_check(asset_key(pipes, &wanted)?, name, passed, severity, every_value())?;
    }
    Ok(())
}

fn expect(what: &str, expected: &Value, found: &Value) -> Result<(), Failure> {
    if expected == found { Ok(()) } else { Err(format!("{what}: expected {expected}, found {found}").into()) }
}

fn asset_key<'a>(pipes: &'a Pipes, wanted: &'a Value) -> Result<&'a str, Failure> {
    match wanted["assetKey"].as_str() {
        Some(key) => Ok(key),
        None => Ok(pipes.context().only_asset_key()?),
    }
}

fn every_value() -> Metadata {
    let nested = json!({"quux": {"a": 1, "b": 2}, "corge": null, "qux": [1, 2, 3], "foo": "bar", "baz": 1});
    Metadata::new()
        .bool("bool_true", true)
        .bool("bool_false", false)
        .float("float", 0.1)
        .int("int", 1)
        .with("url", MetadataValue::url("https://dagster.io"))
        .with("path", MetadataValue::path("/dev/null"))
        .with("null", MetadataValue::null())
        .with("md", MetadataValue::md("**markdown**"))
        .json("json", nested)
        .text("text", "hello")
        .with("asset", MetadataValue::asset("foo/bar"))
        .with("dagster_run", MetadataValue::dagster_run("db892d7f-0031-4747-973d-22e8b9095d9d"))
        .with("notebook", MetadataValue::notebook("notebook.ipynb"))
}
