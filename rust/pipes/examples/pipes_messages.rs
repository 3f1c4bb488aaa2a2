//! A whole worker, small: opens the session, logs through `tracing`, sends a given number of messages spread over a given time,
//! reports the one selected asset and closes. SIGINT and SIGTERM end the work early, and what is done by then is still reported.
//!
//! Usage: `pipes_messages COUNT SECONDS [RATE]`, launched by Dagster. With RATE it only logs, and so many lines a second get
//! through; otherwise each line does, and a custom message beside it. Tests of message readers run it.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use streamify_pipes::{ExceptionInfo, Metadata, Pipes};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    // First of all: from here on Dagster hears of whatever fails.
    let pipes = Pipes::from_process().await?.ok_or("launch this from Dagster")?;
    match work(&pipes).await {
        Ok(()) => {
            pipes.close(Ok(())).await?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            pipes.close(Err(&ExceptionInfo::from_error(error.as_ref()))).await?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn work(pipes: &Pipes) -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().ok_or("first argument: number of messages")?.parse()?;
    let seconds: f64 = arguments.next().ok_or("second argument: seconds to spread them over")?.parse()?;
    let rate: Option<u32> = arguments.next().map(|rate| rate.parse()).transpose()?;
    let pause = Duration::from_secs_f64(seconds / f64::from(count.max(1)));
    let layer = pipes.layer().with_rate(rate.unwrap_or(count.max(10)));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    let mut sent = 0;
    while sent < count {
        sent += 1;
        if rate.is_none() {
            pipes.report_custom(serde_json::json!({ "number": sent }))?;
        }
        tracing::info!("message {sent}");
        if stopped(&mut interrupt, &mut terminate, pause).await {
            tracing::warn!(sent, count, "stopped by a signal");
            break;
        }
    }
    let metadata = Metadata::new().int("messages", i64::from(sent));
    pipes.report_materialization(pipes.context().only_asset_key()?, metadata, None)?;
    Ok(())
}

/// Waits for `pause`; returns true if a signal comes first.
async fn stopped(interrupt: &mut Signal, terminate: &mut Signal, pause: Duration) -> bool {
    tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
        () = tokio::time::sleep(pause) => false,
    }
}
