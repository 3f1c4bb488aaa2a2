//! Arguments about how a run is carried out: none of them changes an event.

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use streamify_runtime::settings::parse_duration;

/// Continuous mode, rate cap, threads, checkpoint.
#[derive(Clone, Debug, Args)]
pub struct PacingArgs {
    /// Go on for ever: from --start to now as fast as possible, then in step with the wall clock; with --end, up to that
    #[arg(long, conflicts_with = "speed", help_heading = "Time")]
    pub continuous: bool,
    /// Most records a second, duplicates not counted
    #[arg(long, allow_negative_numbers = true, value_name = "COUNT", help_heading = "Time")]
    pub max_eps: Option<f64>,
    /// Threads that make events; the bytes do not depend on it [default: all cores]
    #[arg(long, value_name = "COUNT", help_heading = "Time")]
    pub threads: Option<usize>,
    /// Save the state of the run here, now and then and at the end; if the file is there, go on from it, with the same people.
    /// Files are cut back to where they stood then, so that an interrupted run and its continuation have the bytes of one that
    /// was not; into Kafka, what was sent after the last save is sent a second time
    #[arg(long, env = "STREAMIFY_CHECKPOINT", value_name = "FILE", help_heading = "Time")]
    pub checkpoint: Option<PathBuf>,
    /// How often the state is saved
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "TIME", help_heading = "Time")]
    pub checkpoint_interval: Duration,
}

/// More threads than this are a mistake.
const MAX_THREADS: usize = 1_024;

impl PacingArgs {
    /// Checks the numbers that clap cannot.
    ///
    /// # Errors
    /// Names the flag and what it expects.
    pub fn check(&self) -> Result<()> {
        if let Some(eps) = self.max_eps
            && !(eps > 0.0 && eps.is_finite())
        {
            bail!("invalid `--max-eps`: {eps} is not above 0");
        }
        if let Some(threads) = self.threads
            && !(1..=MAX_THREADS).contains(&threads)
        {
            bail!("invalid `--threads`: {threads} is not between 1 and {MAX_THREADS}");
        }
        Ok(())
    }

    /// Returns the number of threads.
    pub fn num_threads(&self) -> usize {
        self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
    }
}
