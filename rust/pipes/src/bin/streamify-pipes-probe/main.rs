//! `streamify-pipes-probe`: the program that tests of Dagster Pipes launch to see whether a writer keeps the protocol.
//!
//! It takes the command line of Dagster's public conformance suite (`dagster-pipes-tests`), so that suite can be pointed at it:
//!
//! * `--test-name NAME`: which test; some mean more than their options say
//! * `--extras FILE`, `--job-name TEXT`: what the context must hold
//! * `--context-loader s3`, `--message-writer s3`: where context and messages must be
//! * `--custom-payload FILE`: `{"payload": any}`, to be reported
//! * `--report-asset-materialization FILE`: `{"dataVersion"?, "assetKey"?}`
//! * `--report-asset-check FILE`: `{"checkName", "passed", "severity", "assetKey"?}`
//! * `--script FILE`: not of that suite: a list of steps (see [`script`]) for whatever it does not cover
//!
//! An expectation that does not hold is reported as the exception of `closed` and ends the process with 1; so does anything else
//! that fails, a launch by someone else than Dagster included.

mod script;
mod values;

use std::collections::HashMap;
use std::process::ExitCode;

use serde_json::{Value, json};
use streamify_pipes::{Bootstrap, ExceptionInfo, Level, Options, Pipes, Severity, without_pipes_arguments};

type Failure = Box<dyn std::error::Error>;

const OPTIONS: [&str; 9] = [
    "test-name",
    "extras",
    "job-name",
    "context-loader",
    "message-writer",
    "custom-payload",
    "report-asset-materialization",
    "report-asset-check",
    "script",
];

/// Options with a value each, by name.
struct Arguments(HashMap<String, String>);

impl Arguments {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let mut options = HashMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").filter(|name| OPTIONS.contains(name));
            let name = name.ok_or_else(|| format!("unknown argument `{argument}`"))?;
            let value = arguments.next().ok_or_else(|| format!("`{argument}` has no value"))?;
            options.insert(name.to_owned(), value);
        }
        Ok(Self(options))
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
    let bootstrap = Bootstrap::from_process()?.ok_or("not launched by Dagster")?;
    let pipes = Pipes::open(&bootstrap, Options::default()).await?;
    match run(&pipes, &bootstrap).await {
        Ok(()) => {
            pipes.close(Ok(())).await?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let here = format!("{} {}\n", env!("CARGO_BIN_NAME"), env!("CARGO_PKG_VERSION"));
            pipes.close(Err(&exception(error.as_ref()).with_stack([here]))).await?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A failure that is a mere text has no name of its own.
fn exception(error: &(dyn std::error::Error + 'static)) -> ExceptionInfo {
    match error.source() {
        Some(_) => ExceptionInfo::from_error(error),
        None => ExceptionInfo::new("Failure", error.to_string()),
    }
}

async fn run(pipes: &Pipes, bootstrap: &Bootstrap) -> Result<(), Failure> {
    let others = without_pipes_arguments(std::env::args_os().skip(1));
    let others = others.into_iter().map(|argument| argument.to_string_lossy().into_owned());
    let arguments = Arguments::parse(others)?;
    check_context(pipes, bootstrap, &arguments)?;
    carry_out(pipes, &arguments)?;
    report(pipes, &arguments)?;
    match arguments.json("script")? {
        Some(steps) => script::run(pipes, serde_json::from_value(steps)?).await,
        None => Ok(()),
    }
}

fn check_context(pipes: &Pipes, bootstrap: &Bootstrap, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(expected) = arguments.json("extras")? {
        expect("extras", &expected, &Value::Object(pipes.context().extras.clone()))?;
    }
    if let Some(expected) = arguments.text("job-name") {
        expect("job name", &json!(expected), &json!(pipes.context().job_name))?;
    }
    for (option, params) in [("context-loader", &bootstrap.context), ("message-writer", &bootstrap.messages)]
    {
        if let Some(expected) = arguments.text(option) {
            let found = if params.contains_key("bucket") { "s3" } else { "default" };
            expect(option, &json!(expected), &json!(found))?;
        }
    }
    Ok(())
}

fn expect(what: &str, expected: &Value, found: &Value) -> Result<(), Failure> {
    if expected == found { Ok(()) } else { Err(format!("{what}: expected {expected}, found {found}").into()) }
}

/// Does what lies in the name of the test.
fn carry_out(pipes: &Pipes, arguments: &Arguments) -> Result<(), Failure> {
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
    Ok(())
}

/// Reports what is asked for.
fn report(pipes: &Pipes, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(custom) = arguments.json("custom-payload")? {
        let payload = custom.get("payload").ok_or("`payload` is missing")?;
        pipes.report_custom(payload.clone())?;
    }
    if let Some(wanted) = arguments.json("report-asset-materialization")? {
        let asset_key = asset_key(pipes, wanted["assetKey"].as_str())?;
        pipes.report_materialization(asset_key, values::known(), wanted["dataVersion"].as_str())?;
    }
    if let Some(wanted) = arguments.json("report-asset-check")? {
        let severity = match wanted["severity"].as_str() {
            Some("WARN") => Severity::Warn,
            Some("ERROR") => Severity::Error,
            _ => return Err("`severity` is neither WARN nor ERROR".into()),
        };
        let name = wanted["checkName"].as_str().ok_or("`checkName` is missing")?;
        let passed = wanted["passed"].as_bool().ok_or("`passed` is missing")?;
        let asset_key = asset_key(pipes, wanted["assetKey"].as_str())?;
        pipes.report_check(asset_key, name, passed, severity, values::known())?;
    }
    Ok(())
}

/// Returns the key that is given, else that of the only asset.
fn asset_key<'a>(pipes: &'a Pipes, given: Option<&'a str>) -> Result<&'a str, Failure> {
    match given {
        Some(key) => Ok(key),
        None => Ok(pipes.context().only_asset_key()?),
    }
}
