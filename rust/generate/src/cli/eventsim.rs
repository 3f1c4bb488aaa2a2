//! Arguments that users of Eventsim are used to. Most of Eventsim's names are aliases of ours and stand there; here is what has
//! no other name, and what is answered with a reason.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

/// Eventsim's own arguments.
#[derive(Clone, Debug, Default, Args)]
pub struct EventsimArgs {
    /// Start so many days ago
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "DAYS",
        conflicts_with = "start",
        help_heading = "Time"
    )]
    pub from: Option<f64>,
    /// End so many days ago
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "DAYS",
        conflicts_with = "end",
        help_heading = "Time"
    )]
    pub to: Option<f64>,
    /// Do as Eventsim does in what people may depend on: the first listener's number is --userid + 1; accounts are --growth-rate
    /// years old on average, five at most, and made at the start where nobody comes; the window is from 15 days to 1 day ago
    #[arg(long, help_heading = "Model")]
    pub compat: bool,
    /// Folder for the files, as --out
    #[arg(value_name = "OUTPUT_DIR", conflicts_with = "out")]
    pub output_dir: Option<PathBuf>,
    /// Not supported
    #[arg(long = "useAvro", hide = true)]
    pub use_avro: bool,
    /// Not supported
    #[arg(long, hide = true)]
    pub generate_counts: bool,
    /// Not supported
    #[arg(long, hide = true)]
    pub generate_similars: bool,
}

impl EventsimArgs {
    /// Refuses what is not supported.
    ///
    /// # Errors
    /// Says why.
    pub fn check(&self) -> Result<()> {
        if self.use_avro {
            bail!(
                "`--useAvro` is not supported: all known readers of these topics take JSON, and Eventsim's Avro records carry \
                 fields of earlier events over into later ones"
            );
        }
        if self.generate_counts {
            bail!(
                "`--generate-counts` is not supported: it prepares Eventsim's song file from data that may not be passed on; \
                 the catalogue here is invented from the seed"
            );
        }
        if self.generate_similars {
            bail!(
                "`--generate-similars` is not supported: it prepares a file of similar songs from data that may not be passed \
                 on; songs are drawn by popularity here, as Eventsim does without that file"
            );
        }
        for (flag, days) in [("--from", self.from), ("--to", self.to)] {
            if let Some(days) = days
                && !(0.0..=100_000.0).contains(&days)
            {
                bail!("invalid `{flag}`: {days} is not between 0 and 100000 days");
            }
        }
        Ok(())
    }
}
