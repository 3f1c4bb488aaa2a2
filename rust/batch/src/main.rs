//! `streamify-batch`: parses the command line, runs the job table by table, and ends with the right code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode as ProcessExitCode;
use std::time::Instant;

use clap::Parser as _;
use streamify_batch::cli::{Cli, Frame, Order};
use streamify_batch::context::{Context, Listener};
use streamify_batch::error::BatchError;
use streamify_batch::jobs::TableReport;
use streamify_batch::progress::{self, LOG_INTERVAL, TERMINAL_INTERVAL};
use streamify_batch::report::{DONE, Report};
use streamify_batch::stop::stoppable;
use streamify_lake::LakeSettings;
use streamify_pipes::Pipes;
use streamify_process::{Keep, bound_allocator};
use streamify_runtime::{shutdown_token, status};
use tokio_util::sync::CancellationToken;
use tracing::info;

fn main() -> ProcessExitCode {
    let started = Instant::now();
    let cli = Cli::parse();
    bound_allocator(Keep::within(usize::try_from(cli.frame.memory_limit).unwrap_or(usize::MAX)));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let format = cli.frame.log_format;
    streamify_process::run(threads, format, async |pipes| work(cli, started, pipes).await)
}

async fn work(cli: Cli, started: Instant, pipes: Option<&Pipes>) -> Result<(), BatchError> {
    let Cli { job, frame } = cli;
    streamify_process::log(frame.log_format, &frame.log, pipes)?;
    let stop = shutdown_token()?;
    let order = job.order(frame.contracts.as_deref())?;
    info!(job = order.job.name(), tables = ?order.tables, settings = ?frame.settings(), version = env!("CARGO_PKG_VERSION"), "effective settings");

    let mut done = Vec::new();
    let ended = tables(&order, &frame, stop, pipes.is_some(), &mut done).await;
    status::clear();
    let report = Report {
        job: order.job.name(),
        exit_reason: match &ended {
            Ok(()) => DONE.to_owned(),
            Err(BatchError::Cancelled) => "stopped".to_owned(),
            Err(error) => format!("failed: {error}"),
        },
        dry_run: order.dry_run,
        binary_version: env!("CARGO_PKG_VERSION"),
        seconds: started.elapsed().as_secs_f64(),
        tables: done,
    };
    let told = tell(&report, &frame, pipes);
    ended?;
    told
}

/// Does the job table by table; those that are done are in `done`, whatever comes after them.
async fn tables(
    order: &Order,
    frame: &Frame,
    stop: CancellationToken,
    watched: bool,
    done: &mut Vec<TableReport>,
) -> Result<(), BatchError> {
    let lake = lake_settings(frame)?;
    let settings = frame.settings();
    let context = stoppable(stop.clone(), move || settings.open(lake)).await?;
    let context = Context { cancel: stop.clone(), listener: listener(watched), ..context };
    let tables = match order.tables.as_slice() {
        [] => {
            let (context, job) = (context.clone(), order.job.clone());
            stoppable(stop.clone(), async move || job.suitable(&context).await).await?
        }
        tables => tables.to_vec(),
    };
    for table in tables {
        let (context, job) = (context.clone(), order.job.clone());
        done.push(stoppable(stop.clone(), async move || job.run(&context, &table).await).await?);
    }
    Ok(())
}

/// The home folder may be given by flag; the lake reads it from the environment.
fn lake_settings(frame: &Frame) -> Result<LakeSettings, BatchError> {
    let home = frame.home.to_string_lossy();
    let lookup = |name: &str| match name {
        "STREAMIFY_HOME" => Some(home.clone().into_owned()),
        _ => std::env::var(name).ok(),
    };
    Ok(LakeSettings::from_env(&lookup)?)
}

/// A person at a terminal sees one line move; a log, and Dagster, get a line now and then.
fn listener(watched: bool) -> Listener {
    if status::possible() && !watched {
        return progress::at_most_every(TERMINAL_INTERVAL, |progress| {
            status::show(&progress::line(progress))
        });
    }
    progress::at_most_every(LOG_INTERVAL, |progress| info!("{}", progress::line(progress)))
}

/// Shows the report to whoever asked for it: a terminal, a file, Dagster.
fn tell(report: &Report, frame: &Frame, pipes: Option<&Pipes>) -> Result<(), BatchError> {
    let (job, reason, tables) = (report.job, &report.exit_reason, report.tables.len());
    info!(job, reason, tables, seconds = report.seconds, "run ended");
    if std::io::stderr().is_terminal() {
        let _ = std::io::stderr().lock().write_all(report.text().as_bytes());
    }
    if let Some(pipes) = pipes {
        for (asset_key, metadata) in
            report.materializations(pipes.context().asset_keys.as_deref().unwrap_or(&[]))
        {
            pipes.report_materialization(asset_key, metadata, None)?;
        }
    }
    if let Some(path) = &frame.summary_json {
        let failed = |source| BatchError::Report { path: path.display().to_string(), source };
        let text = serde_json::to_string_pretty(report).map_err(|error| failed(error.into()))?;
        std::fs::write(path, text + "\n").map_err(failed)?;
    }
    Ok(())
}
