//! Steps for what the conformance suite does not cover: a JSON list of objects, each with `do` and what belongs to it.
//!
//! A step with `refused` must fail with just that text; any other that fails ends the probe.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use streamify_pipes::{Level, Pipes, Severity, Stream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;

use crate::values::Values;
use crate::{Failure, asset_key};

/// How long the probe waits for what the test must do.
const PATIENCE: Duration = Duration::from_secs(60);

/// One step.
#[derive(Debug, Deserialize)]
pub struct Step {
    #[serde(flatten)]
    action: Action,
    refused: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Action {
    /// A log message.
    Log {
        level: String,
        message: String,
    },
    /// So many `tracing` events of level info with a field `index`, then one of level error, if there is to be one.
    Trace {
        times: u64,
        error: Option<String>,
    },
    /// A custom message.
    Custom {
        payload: Value,
    },
    /// Custom messages `FROM` up to `TO`, not included.
    Numbers {
        from: u64,
        to: u64,
    },
    /// The context, as a custom message.
    Context,
    /// Text on a stream of the process.
    Print {
        stream: String,
        text: String,
    },
    /// A child process, waited for.
    Run {
        command: Vec<String>,
    },
    Materialize {
        asset_key: Option<String>,
        data_version: Option<String>,
        #[serde(default)]
        values: Values,
    },
    Check {
        asset_key: Option<String>,
        check_name: String,
        #[serde(default)]
        values: Values,
    },
    /// Creates a file, so that the test knows where we are.
    Touch {
        path: PathBuf,
    },
    /// Waits for a file that the test makes.
    UntilFile {
        path: PathBuf,
    },
    /// Waits for SIGINT or SIGTERM, and logs which it was.
    UntilSignal,
    Panic {
        message: String,
    },
    /// Fails with an error and its causes.
    Fail {
        chain: Vec<String>,
    },
    Close,
    /// Ends the process on the spot.
    Abort,
}

/// Carries out the steps.
pub async fn run(pipes: &Pipes, steps: Vec<Step>) -> Result<(), Failure> {
    // From the start on, so that no signal comes too early.
    let waits = steps.iter().any(|step| matches!(step.action, Action::UntilSignal));
    let mut signals = if waits { Some(Signals::listen()?) } else { None };
    for Step { action, refused } in steps {
        let outcome = match action {
            Action::UntilSignal => signal_logged(pipes, signals.as_mut()).await,
            Action::UntilFile { path } => until_file(&path).await,
            Action::Close => pipes.handle().close(Ok(())).await.map_err(Failure::from),
            action => carry_out(pipes, action),
        };
        match (outcome, refused) {
            (outcome, None) => outcome?,
            (Err(error), Some(expected)) if error.to_string() == expected => {}
            (outcome, Some(expected)) => {
                return Err(format!("expected to be refused with `{expected}`: {outcome:?}").into());
            }
        }
    }
    Ok(())
}

#[allow(clippy::panic, reason = "it is what the test asks for")]
fn carry_out(pipes: &Pipes, action: Action) -> Result<(), Failure> {
    match action {
        Action::Log { level, message } => pipes.log(level_named(&level)?, &message),
        Action::Trace { times, error } => trace(pipes, times, error.as_deref()),
        Action::Custom { payload } => pipes.report_custom(payload)?,
        Action::Numbers { from, to } => {
            for number in from..to {
                pipes.report_custom(number.into())?;
            }
        }
        Action::Context => pipes.report_custom(serde_json::to_value(pipes.context())?)?,
        Action::Print { stream, text } => print(stream_named(&stream)?, &text)?,
        Action::Run { command } => {
            let (program, arguments) = command.split_first().ok_or("no command")?;
            let status = Command::new(program).args(arguments).status()?;
            return if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) };
        }
        Action::Materialize { asset_key: given, data_version, values } => {
            let key = asset_key(pipes, given.as_deref())?;
            pipes.report_materialization(key, values.metadata(), data_version.as_deref())?;
        }
        Action::Check { asset_key: given, check_name, values } => {
            let key = asset_key(pipes, given.as_deref())?;
            pipes.report_check(key, &check_name, true, Severity::Error, values.metadata())?;
        }
        Action::Touch { path } => std::fs::write(path, std::process::id().to_string())?,
        Action::Panic { message } => panic!("{message}"),
        Action::Fail { chain } => return Err(chained(chain).into()),
        Action::Abort => std::process::abort(),
        Action::UntilSignal | Action::UntilFile { .. } | Action::Close => {}
    }
    Ok(())
}

fn level_named(name: &str) -> Result<Level, Failure> {
    Ok(match name {
        "DEBUG" => Level::Debug,
        "INFO" => Level::Info,
        "WARNING" => Level::Warning,
        "ERROR" => Level::Error,
        "CRITICAL" => Level::Critical,
        other => return Err(format!("no such level: `{other}`").into()),
    })
}

fn stream_named(name: &str) -> Result<Stream, Failure> {
    match name {
        "stdout" => Ok(Stream::Stdout),
        "stderr" => Ok(Stream::Stderr),
        other => Err(format!("no such stream: `{other}`").into()),
    }
}

fn print(stream: Stream, text: &str) -> std::io::Result<()> {
    match stream {
        Stream::Stdout => std::io::stdout().write_all(text.as_bytes()),
        Stream::Stderr => std::io::stderr().write_all(text.as_bytes()),
    }
}

fn trace(pipes: &Pipes, times: u64, error: Option<&str>) {
    let subscriber = tracing_subscriber::registry().with(pipes.layer());
    tracing::subscriber::with_default(subscriber, || {
        for index in 0..times {
            tracing::info!(index, note = "two words", "event");
        }
        if let Some(error) = error {
            tracing::error!(error, "failed");
        }
    });
}

async fn until_file(path: &Path) -> Result<(), Failure> {
    let appears = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, appears).await;
    waited.map_err(|_| format!("waited in vain for `{}`", path.display()).into())
}

async fn signal_logged(pipes: &Pipes, signals: Option<&mut Signals>) -> Result<(), Failure> {
    let signals = signals.ok_or("nobody listens for signals")?;
    let name = tokio::time::timeout(PATIENCE, signals.next()).await?;
    pipes.log(Level::Info, &format!("stopping on {name}"));
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// An error with causes.
#[derive(Debug)]
struct Chained {
    message: String,
    source: Option<Box<Chained>>,
}

fn chained(messages: Vec<String>) -> Chained {
    let link = |source: Option<Box<Chained>>, message: String| Some(Box::new(Chained { message, source }));
    let chain = messages.into_iter().rev().fold(None, link);
    Chained { message: "failed".to_owned(), source: chain }
}

impl fmt::Display for Chained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Error for Chained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
