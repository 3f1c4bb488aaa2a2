//! Where messages go: the channel that the messages parameters name.
//!
//! The order of the keys is Dagster's own: `path`, then `stdio`, then `buffered_stdio`, then `bucket`. Opening fails at once if the
//! channel cannot be used, because a process that works without being heard looks like one that succeeded.

mod chunks;
mod lines;

use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) use chunks::ChunkSink;
pub(crate) use lines::LineSink;

use crate::error::{BoxError, PipesError, quoted_keys};
use crate::options::Options;
use crate::pacing::Pacer;

/// The extra key by which a reader announces that it polls faster than the stock one.
pub(crate) const INTERVAL_KEY: &str = "streamify_min_interval_ms";
/// No reader is so fast that chunks closer than this make sense.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);
/// The key by which a reader asks for the process's own output among the messages.
const INCLUDE_STDIO_KEY: &str = "include_stdio_in_messages";

/// Takes lines and makes them durable.
pub(crate) trait Sink {
    /// Stores `lines` and removes what is stored from their front. After an error it is called again with what is left: the
    /// same lines, so that a repetition stores the same bytes.
    fn deliver(&mut self, lines: &mut Vec<String>) -> impl Future<Output = Result<(), SinkError>>;
}

/// A failed delivery.
#[derive(Debug)]
pub(crate) struct SinkError {
    /// Nobody is there to read any more: do not try again.
    pub(crate) is_final: bool,
    pub(crate) source: BoxError,
}

/// A message channel as the parameters name it, not open yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Channel {
    File(String),
    Stdio(Output),
    /// One of the streams too, but all messages come together at the end: the reader sees only the last few kilobytes of a log.
    BufferedStdio(Output),
    S3 {
        bucket: String,
        prefix: String,
        interval: Duration,
    },
}

/// The stream that the `stdio` channel names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

impl Output {
    fn named(name: &str) -> Option<Self> {
        [Self::Stdout, Self::Stderr].into_iter().find(|output| output.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Channel {
    pub(crate) fn from_params(params: &Map<String, Value>, options: &Options) -> Result<Self, PipesError> {
        let text_at = |key: &str| params.get(key).and_then(Value::as_str);
        if let Some(path) = text_at("path") {
            return Ok(Self::File(path.to_owned()));
        }
        if let Some(output) = text_at("stdio").and_then(Output::named) {
            return Ok(Self::Stdio(output));
        }
        if let Some(output) = text_at("buffered_stdio").and_then(Output::named) {
            return Ok(Self::BufferedStdio(output));
        }
        if let Some(bucket) = text_at("bucket") {
            let announced = params.get(INTERVAL_KEY).and_then(Value::as_u64).map(Duration::from_millis);
            return Ok(Self::S3 {
                bucket: bucket.to_owned(),
                prefix: text_at("key_prefix").unwrap_or_default().trim_end_matches('/').to_owned(),
                interval: announced.unwrap_or(options.chunk_interval).max(LEAST_INTERVAL),
            });
        }
        Err(PipesError::Unsupported {
            what: "message channel",
            keys: quoted_keys(params.keys()),
            supported: "`path`, `stdio`, `buffered_stdio`, `bucket`",
        })
    }

    /// Returns whether the process's own output is wanted among the messages. A channel that is such a stream already has it.
    pub(crate) fn wants_stdio(&self, params: &Map<String, Value>) -> bool {
        let is_asked_for = params.get(INCLUDE_STDIO_KEY).and_then(Value::as_bool).unwrap_or(false);
        is_asked_for && matches!(self, Self::File(_) | Self::S3 { .. })
    }

    /// Returns the schedule for this channel: lines go at once or all at the end, chunks at the reader's pace.
    pub(crate) fn pacer(&self) -> Pacer {
        match self {
            Self::File(_) | Self::Stdio(_) => Pacer::unpaced(),
            Self::BufferedStdio(_) => Pacer::at_the_end(),
            Self::S3 { interval, .. } => Pacer::new(*interval),
        }
    }

    pub(crate) fn place(&self) -> String {
        match self {
            Self::File(path) => format!("file `{path}`"),
            Self::Stdio(output) | Self::BufferedStdio(output) => output.name().to_owned(),
            Self::S3 { bucket, prefix, .. } => format!("`s3://{bucket}/{prefix}`"),
        }
    }
}

/// Opens a file to append to; `/dev/null` will do.
pub(crate) fn open_file(path: &str) -> Result<LineSink<std::fs::File>, BoxError> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(LineSink::new(file))
}

/// Opens one of the process's own streams.
pub(crate) fn open_stdio(output: Output) -> LineSink<Box<dyn Write>> {
    LineSink::new(match output {
        Output::Stdout => Box::new(std::io::stdout()),
        Output::Stderr => Box::new(std::io::stderr()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn channel(params: Value) -> Result<Channel, PipesError> {
        Channel::from_params(params.as_object().unwrap(), &Options::default())
    }

    fn s3(prefix: &str, interval: Duration) -> Channel {
        Channel::S3 { bucket: "b".to_owned(), prefix: prefix.to_owned(), interval }
    }

    #[test]
    fn the_parameters_name_the_channel_and_path_comes_first() {
        let all = json!({"path": "/p", "stdio": "stderr", "bucket": "b", "include_stdio_in_messages": true});
        assert_eq!(channel(all).unwrap(), Channel::File("/p".to_owned()));
        assert_eq!(
            channel(json!({"stdio": "stdout", "bucket": "b"})).unwrap(),
            Channel::Stdio(Output::Stdout)
        );
        assert_eq!(
            channel(json!({"buffered_stdio": "stderr", "bucket": "b"})).unwrap(),
            Channel::BufferedStdio(Output::Stderr)
        );
        assert_eq!(
            channel(json!({"bucket": "b", "key_prefix": "x/y/"})).unwrap(),
            s3("x/y", Duration::from_secs(15))
        );
        assert_eq!(channel(json!({"bucket": "b"})).unwrap(), s3("", Duration::from_secs(15)));
    }

    #[test]
    fn a_reader_may_announce_its_pace_within_reason() {
        let announced = |ms: u64| channel(json!({"bucket": "b", INTERVAL_KEY: ms})).unwrap();

        assert_eq!(announced(2_000), s3("", Duration::from_secs(2)));
        assert_eq!(announced(0), s3("", LEAST_INTERVAL));
    }

    #[test]
    fn an_unknown_channel_is_an_error_that_names_its_keys() {
        assert_eq!(
            channel(json!({"volume": "v", "stdio": "printer"})).unwrap_err().to_string(),
            "unsupported Pipes message channel with the keys `stdio`, `volume` (supported: `path`, `stdio`, `buffered_stdio`, `bucket`)"
        );
        assert_eq!(
            channel(json!({})).unwrap_err().to_string(),
            "unsupported Pipes message channel with the keys (none) (supported: `path`, `stdio`, `buffered_stdio`, `bucket`)"
        );
    }

    #[test]
    fn the_output_is_mirrored_where_it_is_asked_for_and_not_into_itself() {
        let wants = |params: Value| {
            let params = params.as_object().unwrap();
            Channel::from_params(params, &Options::default()).unwrap().wants_stdio(params)
        };

        assert!(wants(json!({"path": "/p", "include_stdio_in_messages": true})));
        assert!(wants(json!({"bucket": "b", "include_stdio_in_messages": true})));
        assert!(!wants(json!({"path": "/p", "include_stdio_in_messages": false})));
        assert!(!wants(json!({"path": "/p"})));
        assert!(!wants(json!({"stdio": "stdout", "include_stdio_in_messages": true})));
    }
}
