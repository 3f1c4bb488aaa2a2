//! `streamify-stream`: parses the command line, wires the parts together, and ends with the right code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode as ProcessExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser as _;
use prometheus_client::registry::Registry;
use streamify_lake::LakeSettings;
use streamify_pipes::Pipes;
use streamify_process::{Keep, bound_allocator};
use streamify_runtime::endpoint::{self, Health};
use streamify_runtime::shutdown_token;
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
fn main() -> ProcessExitCode {
    let started = Instant::now();
    bound_allocator(Keep::Little);
    let cli = Cli::parse();
    let format = cli.log_format;
    streamify_process::run(RUNTIME_THREADS, format, async |pipes| work(cli, started, pipes).await)
}

async fn work(cli: Cli, started: Instant, pipes: Option<&Pipes>) -> Result<(), StreamError> {
    streamify_process::log(cli.log_format, &cli.log, pipes)?;
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
