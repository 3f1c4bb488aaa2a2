//! Logs: to stderr, for people or as JSON lines, filtered by `STREAMIFY_LOG`.
//!
//! stdout is left alone (it may carry data or Dagster messages). The filter applies to stderr only; an extra layer, such
//! as the one that sends logs to Dagster, has its own level.

use std::io::{IsTerminal, stderr};
use std::str::FromStr;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::RuntimeError;
use crate::status;

/// The environment variable that holds the log filter, in the syntax of `RUST_LOG`.
pub const LOG_VARIABLE: &str = "STREAMIFY_LOG";

/// The filter if nothing is said.
const DEFAULT_FILTER: &str = "info";

/// A further layer beside the one that writes to stderr.
pub type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync + 'static>;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One line per event for people; coloured if stderr is a terminal and `NO_COLOR` is not set.
    #[default]
    Human,
    /// One JSON object per line: `timestamp`, `level`, `target`, `message` and the event's fields at the top level.
    Json,
}

/// A log format that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a log format (expected `human` or `json`)")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(UnknownLogFormat(text.to_owned())),
        }
    }
}

/// Starts logging for the whole process. `filter` wins over `STREAMIFY_LOG`, which wins over `info`.
///
/// # Errors
/// [`RuntimeError::LogFilter`] if the filter cannot be read, [`RuntimeError::SubscriberInstalled`] on a second call.
pub fn init_telemetry(
    format: LogFormat,
    filter: Option<&str>,
    extra_layer: Option<BoxedLayer>,
) -> Result<(), RuntimeError> {
    let from_environment = std::env::var(LOG_VARIABLE).ok().filter(|text| !text.trim().is_empty());
    let filter = parse_filter(filter.or(from_environment.as_deref()).unwrap_or(DEFAULT_FILTER))?;
    let ansi = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let writer = || {
        status::clear();
        stderr()
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi);
    // A reader of stderr that has gone away must not end the process: no second attempt to write there.
    let lines = lines.log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(extra_layer);
    match format {
        LogFormat::Human => registry.with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    }
    .map_err(RuntimeError::SubscriberInstalled)
}

fn parse_filter(text: &str) -> Result<EnvFilter, RuntimeError> {
    EnvFilter::try_new(text).map_err(|source| RuntimeError::LogFilter { filter: text.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_an_example() {
        let error = parse_filter("info,streamify=loud").unwrap_err();

        assert_eq!(
            error.to_string(),
            "invalid `STREAMIFY_LOG`: `info,streamify=loud` is not a log filter (expected e.g. `info,rdkafka=debug`)"
        );
    }

    #[test]
    fn formats_are_known_by_name() {
        assert_eq!("human".parse(), Ok(LogFormat::Human));
        assert_eq!("JSON".parse(), Ok(LogFormat::Json));
        assert_eq!(
            "xml".parse::<LogFormat>().unwrap_err().to_string(),
            "`xml` is not a log format (expected `human` or `json`)"
        );
    }
}
