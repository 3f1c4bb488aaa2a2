//! The options of faults and truth.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Window, window::parse_time};
use crate::{faults::plan::Plan, simulation::ENDLESS};

/// What goes wrong, and where the truth is written.
#[derive(Clone, Debug, Default, Args)]
pub struct FaultArgs {
    /// Make the stream dirty, repeatable: `D19=0.02`, `D15.cut=0.01`, `all`, `all=0.01`; `streamify-generate faults` lists them
    #[arg(long = "fault", value_name = "FAULT[=PART]", help_heading = "Faults and truth")]
    pub faults: Vec<String>,
    /// Deliver this part of the records twice, byte for byte, a little later: 0.02 is 2 %; the same as `--fault D19=PART`
    #[arg(long, value_name = "PART", help_heading = "Faults and truth")]
    pub duplicates: Option<f64>,
    /// When the schema drift of D20 begins [default: the middle of the window; its start if it has no end]
    #[arg(long, value_name = "TIME", help_heading = "Faults and truth")]
    pub drift_at: Option<String>,
    /// Write what really happened into this folder, as Parquet files; a run that is cut and resumed has none
    #[arg(long, value_name = "DIR", conflicts_with = "checkpoint", help_heading = "Faults and truth")]
    pub truth: Option<PathBuf>,
}

impl FaultArgs {
    /// Returns the faults that are asked for in a run over `window`.
    ///
    /// # Errors
    /// Names the option, and what it expects.
    pub fn plan(&self, window: Window, now_ms: i64) -> Result<Plan> {
        let is_endless = window.end_ms == ENDLESS;
        let usual = if is_endless { window.start_ms } else { window.start_ms.midpoint(window.end_ms) };
        let drift_at = self.drift_at.as_deref().map(|text| parse_time(text, now_ms));
        let drift_at_ms = drift_at.transpose().context("invalid `--drift-at`")?.unwrap_or(usual);
        let plan = Plan::parse(self.faults.iter().map(String::as_str), drift_at_ms)?;
        let Some(rate) = self.duplicates else { return Ok(plan) };
        if !(0.0..=1.0).contains(&rate) {
            bail!("invalid `--duplicates`: {rate} is not between 0 and 1");
        }
        if plan.wanted.iter().any(|wanted| wanted.kind.id == "D19") {
            bail!("`--duplicates` and `--fault` both say how much is delivered twice; leave one out");
        }
        Ok(plan.with_duplicates(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(faults: &[&str], duplicates: Option<f64>, drift_at: Option<&str>) -> Result<Plan> {
        let faults = faults.iter().map(|word| (*word).to_owned()).collect();
        let args = FaultArgs { faults, duplicates, drift_at: drift_at.map(str::to_owned), truth: None };
        args.plan(Window { start_ms: 1_000, end_ms: 3_000 }, 0)
    }

    #[test]
    fn options_become_a_plan() {
        assert!(plan(&[], None, None).unwrap().is_empty());
        assert_eq!(plan(&["D20"], None, None).unwrap().drift_at_ms, 2_000);
        assert_eq!(plan(&[], None, Some("1970-01-02")).unwrap().drift_at_ms, 86_400_000);
        let both = plan(&["D1"], Some(0.5), None).unwrap();
        let ids: Vec<&str> = both.wanted.iter().map(|wanted| wanted.kind.id).collect();
        assert_eq!(ids, ["D1", "D19"]);
    }

    #[test]
    fn what_cannot_be_meant_is_explained() {
        let message = |result: Result<Plan>| format!("{:#}", result.unwrap_err());

        assert_eq!(message(plan(&[], Some(2.0), None)), "invalid `--duplicates`: 2 is not between 0 and 1");
        assert!(message(plan(&["all"], Some(0.1), None)).contains("leave one out"));
        assert!(
            message(plan(&["D20"], None, Some("noon"))).starts_with("invalid `--drift-at`: `noon` is not")
        );
    }
}
