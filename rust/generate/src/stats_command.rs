//! `streamify-generate stats`: reads, compares, prints.

use anyhow::{Context, Result};
use serde::Serialize;
use streamify_generate::{
    cli::StatsArgs,
    stats::{
        Measures, Survey,
        input::{self, InputError},
        report::{self, Row},
    },
};
use streamify_runtime::{ExitCode, shutdown_token};

use crate::{bad_settings, print};

#[derive(Serialize)]
struct Answer<'a> {
    profile: &'static str,
    measures: &'a Measures,
    rows: &'a [Row],
}

/// Prints the statistics of a stream; [`ExitCode::Failure`] if one is outside its tolerance.
pub(crate) fn stats(args: &StatsArgs) -> Result<ExitCode> {
    let source = args.source(std::env::vars()).map_err(bad_settings)?;
    let stop = shutdown_token()?;
    let mut survey = Survey::default();
    match source {
        Some(source) => input::kafka::read(&source, &mut survey, &stop).map_err(|error| match error {
            InputError::KafkaOption { .. } => bad_settings(error),
            error => error.into(),
        })?,
        None => input::files::read(&args.paths, &mut survey, &stop)?,
    }
    let measures = survey.measures(args.users);
    let rows = report::compare(&measures, args.profile);
    if args.json {
        let answer = Answer { profile: args.profile.name(), measures: &measures, rows: &rows };
        let text = serde_json::to_string(&answer).context("failed to write the statistics as JSON")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&report::table(&measures, &rows, args.profile, !args.no_verdict))?;
    }
    let is_bad = !args.no_verdict && report::falls_short(&rows);
    Ok(if is_bad { ExitCode::Failure } else { ExitCode::Done })
}
