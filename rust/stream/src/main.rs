//! `streamify-stream`: parses the command line, wires the parts together, and ends with the right code.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode as ProcessExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use prometheus_client::registry::Registry;
use streamify_lake::LakeSettings;
use streamify_pipes::{Bootstrap, Pipes, PipesHandle};
use streamify_process::{Keep, bound_allocator};
use streamify_runtime::endpoint::{self, Health};
use streamify_runtime::settings::Secret;
use streamify_runtime::shutdown_token;
use streamify_stream::api::{self, Api};
use streamify_stream::cli::{Cli, Command};
use streamify_stream::error::StreamError;
use streamify_stream::lease::this_process;
use streamify_stream::live::Live;
use streamify_stream::report::{Report, Summary};
use streamify_stream::settings::Settings;
use streamify_stream::start::check_kafka_options;
use streamify_stream::worker::Worker;
use streamify_stream::{clock, status};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

/// Async work is light: encoding and decoding have threads of their own.
const RUNTIME_THREADS: usize = 2;
/// What a reader of messages sets that wants to hear how far the worker is, in ms; others would only pile it up.
const PROGRESS_PARAMETER: &str = "streamify_progress_interval_ms";

fn main() -> ProcessExitCode {
    let started = Instant::now();
    bound_allocator(Keep::Little);
    let cli = Cli::parse();
    let format = cli.log_format;
    streamify_process::run(RUNTIME_THREADS, format, async |pipes| match cli.command {
        Some(Command::Status) => show_status(cli).await,
        None => work(cli, started, pipes).await,
    })
}

async fn show_status(cli: Cli) -> Result<(), StreamError> {
    // Only the answer: what is the matter with it, an error says.
    let filter = if cli.log == "info" { "warn" } else { &cli.log };
    streamify_process::log(cli.log_format, filter, None)?;
    let settings = cli.settings(std::env::vars())?;
    check_kafka_options(&settings)?;
    let status = status::status(&settings, &lake_settings(&settings)?).await?;
    let text = serde_json::to_string(&status).unwrap_or_default() + "\n";
    // A reader that has gone has no use for the rest.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

async fn work(cli: Cli, started: Instant, pipes: Option<&Pipes>) -> Result<(), StreamError> {
    streamify_process::log(cli.log_format, &cli.log, pipes)?;
    let shutdown = shutdown_token()?;
    let (listen, summary_json) = (cli.metrics_listen, cli.summary_json.clone());
    let control_token = cli.control_token.clone().filter(|token| !token.is_empty()).map(Secret::new);
    let mut settings = cli.settings(std::env::vars())?;
    settings.dagster_run_id = pipes.map(|pipes| pipes.context().run_id.clone());
    check_kafka_options(&settings)?;
    let lake = lake_settings(&settings)?;
    info!(?settings, ?lake, version = env!("CARGO_PKG_VERSION"), "effective settings");

    let mut registry = Registry::default();
    let health = Health::new();
    let (writer_id, dagster_run_id) = (settings.writer_id, settings.dagster_run_id.clone());
    let worker = Worker::new(settings, lake, &mut registry, health.clone(), started)?;
    let (report, live) = (worker.report(), worker.live());
    let endpoint = match listen {
        Some(address) => {
            let api = |address| Api {
                report: Arc::clone(&report),
                live: Arc::clone(&live),
                health: health.clone(),
                shutdown: shutdown.clone(),
                writer_id,
                process: this_process(),
                started_at_ms: clock::now_us() / 1000,
                dagster_run_id,
                control_token,
                address,
            };
            Some(serve(address, registry, health.clone(), api).await?)
        }
        None => None,
    };
    let telling = pipes.and_then(|pipes| tell_progress(pipes.handle(), report, live));
    let ended = worker.run(shutdown).await;
    drop((endpoint, telling));

    let reason = match &ended {
        Ok(end) => end.as_str().to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    let summary = worker.report().summary(reason);
    let told = tell(&summary, summary_json.as_deref(), pipes);
    ended?;
    told
}

/// Serves the endpoint until the answer is dropped.
async fn serve(
    address: SocketAddr,
    registry: Registry,
    health: Health,
    api: impl FnOnce(SocketAddr) -> Api,
) -> Result<DropGuard, StreamError> {
    let listener = endpoint::bind(address).await?;
    // The port may have been chosen by the system.
    let routes = api::router(api(listener.local_addr().unwrap_or(address)));
    let end = CancellationToken::new();
    tokio::spawn(endpoint::serve(listener, Arc::new(registry), health, routes, end.clone()));
    Ok(end.drop_guard())
}

/// Tells Dagster how far the worker is, as often as its reader asked for, until the answer is dropped.
fn tell_progress(pipes: PipesHandle, report: Arc<Report>, live: Arc<Live>) -> Option<DropGuard> {
    let asked = Bootstrap::from_process().ok()??.messages.get(PROGRESS_PARAMETER)?.as_u64()?;
    let end = CancellationToken::new();
    let ended = end.clone();
    tokio::spawn(ended.run_until_cancelled_owned(async move {
        let mut tick = interval(Duration::from_millis(asked.max(100)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Ok(mut payload) = serde_json::to_value(api::progress(&report, &live)) else { continue };
            payload["streamify"] = "progress".into();
            payload["version"] = 1.into();
            // A newer one replaces it; a full channel has more important things to carry.
            let _ = pipes.report_latest("progress", payload);
        }
    }));
    Some(end.drop_guard())
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
