//! Sends a given number of messages through whatever channel Dagster chose, spread over a given time, then reports the
//! one selected asset and closes: `pipes_messages COUNT SECONDS`. Tests of message readers run it.

use std::error::Error;
use std::time::Duration;

use streamify_pipes::{Level, Metadata, Pipes};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().ok_or("first argument: number of messages")?.parse()?;
    let seconds: f64 = arguments.next().ok_or("second argument: seconds to spread them over")?.parse()?;
    let pipes = Pipes::from_process().await?.ok_or("launch this from Dagster")?;
    let pause = Duration::from_secs_f64(seconds / f64::from(count.max(1)));
    for number in 1..=count {
        pipes.report_custom(serde_json::json!({ "number": number }))?;
        pipes.log(Level::Info, &format!("message {number}"));
        tokio::time::sleep(pause).await;
    }
    let asset = pipes.context().only_asset_key()?.to_owned();
    pipes.report_materialization(&asset, Metadata::new().int("messages", i64::from(count)), None)?;
    pipes.close(Ok(())).await?;
    Ok(())
}
