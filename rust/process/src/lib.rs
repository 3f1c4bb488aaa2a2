//! A program that may have been launched by Dagster, from its first line to its exit code.
//!
//! Guarantees: the session with Dagster is open before anything can fail that Dagster should hear of, and is closed with the
//! outcome; what Dagster was not told never ends with exit code 0; an error is shown once, to whoever looks: a terminal, a
//! log, Dagster.

mod allocator;

use std::error::Error;
use std::process::ExitCode as ProcessExitCode;
use std::time::Duration;

use streamify_pipes::{Bootstrap, ExceptionInfo, Level, Options, Pipes, PipesError};
use streamify_runtime::{BoxedLayer, ExitCode, LogFormat, RuntimeError, init_telemetry, report};

pub use self::allocator::{Keep, bound_allocator};

/// What is left of the 8 s that a shutdown has when the last commit took as long as it may.
const PIPES_CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Blocking calls that still wait for a server when everything is done are not waited for.
const RUNTIME_END_LIMIT: Duration = Duration::from_millis(200);

/// Why a program failed.
pub trait ProcessError: Error + From<PipesError> + 'static {
    /// What to do about it, if we know.
    fn hint(&self) -> Option<String>;
    /// The code the process ends with.
    fn exit_code(&self) -> ExitCode;
}

/// Runs `work` on a runtime of `threads` threads, with the session if Dagster launched this process, and returns the code to
/// end with.
pub fn run<E: ProcessError>(
    threads: usize,
    format: LogFormat,
    work: impl AsyncFnOnce(Option<&Pipes>) -> Result<(), E>,
) -> ProcessExitCode {
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                report::print_error(&error, None);
                return ExitCode::Failure.into();
            }
        };
    let code = runtime.block_on(told(format, work));
    runtime.shutdown_timeout(RUNTIME_END_LIMIT);
    code.into()
}

/// Starts logging, to stderr and to Dagster.
///
/// # Errors
/// As [`init_telemetry`].
pub fn log(format: LogFormat, filter: &str, pipes: Option<&Pipes>) -> Result<(), RuntimeError> {
    let layer = pipes.map(|pipes| Box::new(pipes.layer()) as BoxedLayer);
    init_telemetry(format, Some(filter), layer)
}

async fn told<E: ProcessError>(
    format: LogFormat,
    work: impl AsyncFnOnce(Option<&Pipes>) -> Result<(), E>,
) -> ExitCode {
    let pipes = match open_pipes().await {
        Ok(pipes) => pipes,
        Err(error) => return fail(&E::from(error), format, None),
    };
    let result = work(pipes.as_ref()).await;
    let (code, exception) = match &result {
        Ok(()) => (ExitCode::Done, None),
        Err(error) => (fail(error, format, pipes.as_ref()), Some(ExceptionInfo::from_error(error))),
    };
    if let Some(pipes) = pipes {
        let outcome = exception.as_ref().map_or(Ok(()), Err);
        if let Err(error) = pipes.close(outcome).await {
            report::print_error(&error, None);
            // What Dagster was not told must not look like success there.
            if matches!(code, ExitCode::Done) {
                return ExitCode::Failure;
            }
        }
    }
    code
}

async fn open_pipes() -> Result<Option<Pipes>, PipesError> {
    match Bootstrap::from_process()? {
        None => Ok(None),
        Some(bootstrap) => {
            let options = Options { close_deadline: PIPES_CLOSE_LIMIT, ..Options::default() };
            Ok(Some(Pipes::open(&bootstrap, options).await?))
        }
    }
}

fn fail(error: &impl ProcessError, format: LogFormat, pipes: Option<&Pipes>) -> ExitCode {
    let hint = error.hint();
    match format {
        LogFormat::Human => {
            report::print_error(error, hint.as_deref());
            if let Some(pipes) = pipes {
                pipes.log(Level::Error, report::format_error(error, hint.as_deref()).trim_end());
            }
        }
        LogFormat::Json => {
            let text = report::format_error(error, None);
            let causes: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
            tracing::error!(error = %error, causes = ?causes, hint, "run failed");
        }
    }
    error.exit_code()
}
