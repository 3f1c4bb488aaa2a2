//! `streamify-stream`: parses the command line, wires the parts together, and ends with the right code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode as ProcessExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use prometheus_client::registry::Registry;
use streamify_lake::LakeSettings;
use streamify_pipes::{Bootstrap, ExceptionInfo, Level, Options, Pipes};
use streamify_runtime::endpoint::{self, Health};
use streamify_runtime::{BoxedLayer, ExitCode, LogFormat, init_telemetry, report, shutdown_token};
use streamify_stream::allocator;
use streamify_stream::cli::Cli;
use streamify_stream::error::StreamError;
use streamify_stream::report::Summary;
use streamify_stream::settings::Settings;
use streamify_stream::start::check_kafka_options;
use streamify_stream::worker::Worker;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Async work is light: encoding and decoding have threads of their own.
const RUNTIME_THREADS: usize = 2;
/// What is left of the 8 s that a shutdown has when the last commit took as long as it may.
const PIPES_CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Blocking calls that still wait for a server when everything is done are not waited for.
const RUNTIME_END_LIMIT: Duration = Duration::from_millis(200);

fn main() -> ProcessExitCode {
    let started = Instant::now();
    allocator::bound_allocator();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            report::print_error(&error, None);
            return ExitCode::Failure.into();
        }
    };
    let code = runtime.block_on(run(cli, started));
    runtime.shutdown_timeout(RUNTIME_END_LIMIT);
    code.into()
}

async fn run(cli: Cli, started: Instant) -> ExitCode {
    let format = cli.log_format;
    let pipes = match open_pipes().await {
        Ok(pipes) => pipes,
        Err(error) => return fail(&error, format, None),
    };
    let result = work(cli, started, pipes.as_ref()).await;
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

async fn open_pipes() -> Result<Option<Pipes>, StreamError> {
    match Bootstrap::from_process()? {
        None => Ok(None),
        Some(bootstrap) => {
            let options = Options { close_deadline: PIPES_CLOSE_LIMIT, ..Options::default() };
            Ok(Some(Pipes::open(&bootstrap, options).await?))
        }
    }
}

async fn work(cli: Cli, started: Instant, pipes: Option<&Pipes>) -> Result<(), StreamError> {
    let layer: Option<BoxedLayer> = pipes.map(|pipes| Box::new(pipes.layer()) as BoxedLayer);
    init_telemetry(cli.log_format, Some(&cli.log), layer)?;
    let shutdown = shutdown_token()?;
    let (listen, summary_json) = (cli.metrics_listen, cli.summary_json.clone());
    let settings = cli.settings(std::env::vars())?;
    check_kafka_options(&settings)?;
    let lake = lake_settings(&settings)?;
    info!(?settings, ?lake, version = env!("CARGO_PKG_VERSION"), "effective settings");

    let mut registry = Registry::default();
    let health = Health::new();
    let worker = Worker::new(settings, lake, &mut registry, health.clone(), started)?;
    let endpoint_end = CancellationToken::new();
    let endpoint = match listen {
        Some(address) => {
            let listener = endpoint::bind(address).await?;
            Some(tokio::spawn(endpoint::serve(listener, Arc::new(registry), health, endpoint_end.clone())))
        }
        None => None,
    };
    let ended = worker.run(shutdown).await;
    endpoint_end.cancel();
    drop(endpoint);

    let reason = match &ended {
        Ok(end) => end.as_str().to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    let summary = worker.report().summary(reason);
    let told = tell(&summary, summary_json.as_deref(), pipes);
    ended?;
    told
}

/// The home folder may be given by flag; the lake reads it from the environment.
fn lake_settings(settings: &Settings) -> Result<LakeSettings, StreamError> {
    let home = settings.home.to_string_lossy().into_owned();
    let lookup = |name: &str| match name {
        "STREAMIFY_HOME" => Some(home.clone()),
        _ => std::env::var(name).ok(),
    };
    Ok(LakeSettings::from_env(&lookup)?)
}

/// Shows the summary to whoever asked for it: a terminal, a file, Dagster.
fn tell(summary: &Summary, file: Option<&Path>, pipes: Option<&Pipes>) -> Result<(), StreamError> {
    let total = &summary.total;
    let (rows, dead_letters, unaccounted) = (total.rows, total.dead_letters, total.unaccounted);
    let (commits, seconds) = (total.commits, summary.seconds);
    info!(rows, dead_letters, unaccounted, commits, seconds, reason = summary.exit_reason, "run ended");
    if std::io::stderr().is_terminal() {
        let _ = std::io::stderr().lock().write_all(summary.text().as_bytes());
    }
    if let Some(pipes) = pipes
        && let Ok(asset_key) = pipes.context().only_asset_key()
    {
        pipes.report_materialization(asset_key, summary.metadata(), None)?;
    }
    if let Some(path) = file {
        let failed = |source| StreamError::Summary { path: path.to_owned(), source };
        let text = serde_json::to_string_pretty(summary).map_err(|error| failed(error.into()))?;
        std::fs::write(path, text + "\n").map_err(failed)?;
    }
    Ok(())
}

fn fail(error: &StreamError, format: LogFormat, pipes: Option<&Pipes>) -> ExitCode {
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
