//! Messages and the lines they are written as.
//!
//! A message is made complete here: method, parameters with the exact set of keys that the reader expects, and how it is to be
//! treated while it waits. Numbers are given when it leaves the buffer, so that the numbers written have no gaps.
//! Lines are pure ASCII and end with a newline.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::PipesError;
use crate::exception::{ExceptionInfo, truncated};
use crate::metadata::Metadata;

/// The protocol version that is written.
const PROTOCOL_VERSION: &str = "0.1";
/// Longest text of a log message, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Largest parameters of a message that is not text, in bytes.
const MAX_PARAMS_BYTES: usize = 1 << 20;

const CLOSED: &str = "closed";

/// Level of a log message. There is none below debug: the reader does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// Unexpected, nothing is lost.
    Warning,
    /// Someone must act.
    Error,
    /// The process cannot go on.
    Critical,
}

impl Level {
    /// All levels, lowest first.
    pub(crate) const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];
}

impl From<tracing::Level> for Level {
    /// Trace becomes debug.
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// How bad a failed check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// To be looked at.
    Warn,
    /// The data must not be used.
    Error,
}

/// One of the two output streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a message is treated while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// May be dropped, counted by its level.
    Log(Level),
    /// Never dropped; refused while the buffer is full.
    Custom,
    /// Never dropped, never refused: `opened`, results, `closed`.
    Result,
}

/// A message that waits to be written.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) method: &'static str,
    pub(crate) weight: Weight,
    /// A message that waits in the same slot is replaced by this one.
    pub(crate) slot: Option<String>,
    params: Box<RawValue>,
    /// Milliseconds since 1970.
    created_ms: u64,
}

impl Message {
    fn new(method: &'static str, weight: Weight, params: &impl Serialize) -> Result<Self, PipesError> {
        let params = serde_json::value::to_raw_value(params)
            .map_err(|source| PipesError::Encode { method, source })?;
        let size_bytes = params.get().len();
        // Texts and exceptions are cut where they are made; what is the caller's own is refused.
        if !matches!(method, "log" | "log_external_stream" | CLOSED) && size_bytes > MAX_PARAMS_BYTES {
            return Err(PipesError::MessageTooLarge { method, size_bytes, limit_bytes: MAX_PARAMS_BYTES });
        }
        Ok(Self { method, weight, slot: None, params, created_ms: now_ms() })
    }

    pub(crate) fn opened(extras: &Map<String, Value>) -> Result<Self, PipesError> {
        #[derive(Serialize)]
        struct Params<'a> {
            extras: &'a Map<String, Value>,
        }
        Self::new("opened", Weight::Result, &Params { extras })
    }

    pub(crate) fn closed(exception: Option<&ExceptionInfo>) -> Result<Self, PipesError> {
        #[derive(Serialize)]
        struct Params<'a> {
            // `"exception": null` ends the reader's thread.
            #[serde(skip_serializing_if = "Option::is_none")]
            exception: Option<&'a ExceptionInfo>,
        }
        Self::new(CLOSED, Weight::Result, &Params { exception })
    }

    pub(crate) fn log(level: Level, text: &str) -> Result<Self, PipesError> {
        #[derive(Serialize)]
        struct Params<'a> {
            message: &'a str,
            level: Level,
        }
        let text = truncated(text.to_owned(), MAX_TEXT_BYTES);
        Self::new("log", Weight::Log(level), &Params { message: &text, level })
    }

    pub(crate) fn external_stream(stream: Stream, text: &str) -> Result<Self, PipesError> {
        #[derive(Serialize)]
        struct Params<'a> {
            stream: Stream,
            text: &'a str,
            extras: Map<String, Value>,
        }
        let text = truncated(text.to_owned(), MAX_TEXT_BYTES);
        let params = Params { stream, text: &text, extras: Map::new() };
        Self::new("log_external_stream", Weight::Log(Level::Info), &params)
    }

    pub(crate) fn materialization(
        asset_key: &str,
        metadata: &Metadata,
        data_version: Option<&str>,
    ) -> Result<Self, PipesError> {
        #[derive(Serialize)]
        struct Params<'a> {
            asset_key: &'a str,
            data_version: Option<&'a str>,
            metadata: &'a Metadata,
        }
        Self::new(
            "report_asset_materialization",
            Weight::Result,
            &Params { asset_key, data_version, metadata },
        )
    }

    pub(crate) fn check(
        asset_key: &str,
        check_name: &str,
        passed: bool,
        severity: Severity,
        metadata: &Metadata,
    ) -> Result<Self, PipesError> {
        #[derive(Serialize)]
        struct Params<'a> {
            asset_key: &'a str,
            check_name: &'a str,
            passed: bool,
            severity: Severity,
            metadata: &'a Metadata,
        }
        let params = Params { asset_key, check_name, passed, severity, metadata };
        Self::new("report_asset_check", Weight::Result, &params)
    }

    pub(crate) fn custom(payload: &Value) -> Result<Self, PipesError> {
        #[derive(Serialize)]
        struct Params<'a> {
            payload: &'a Value,
        }
        Self::new("report_custom_message", Weight::Custom, &Params { payload })
    }

    /// Returns the message, to replace the one that waits in `slot`.
    pub(crate) fn in_slot(mut self, slot: &str) -> Self {
        self.slot = Some(slot.to_owned());
        self
    }

    /// Returns the bytes it takes while it waits, about.
    pub(crate) fn size_bytes(&self) -> usize {
        self.params.get().len() + size_of::<Self>()
    }

    /// Returns whether it is the last message of a session.
    pub(crate) fn is_closed(&self) -> bool {
        self.method == CLOSED
    }

    /// Returns whether the reader should see it before the next regular chunk.
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self.weight, Weight::Result | Weight::Log(Level::Error | Level::Critical))
    }
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "__dagster_pipes_version")]
    version: &'static str,
    method: &'static str,
    params: &'a RawValue,
    seq: u64,
    ts: u64,
    writer: &'a str,
}

/// Turns messages into numbered lines.
#[derive(Debug)]
pub(crate) struct Encoder {
    writer: String,
    last_seq: u64,
}

impl Encoder {
    /// Returns an encoder whose first line has the number 1; `writer` names the process in each line.
    pub(crate) fn new(writer: String) -> Self {
        Self { writer, last_seq: 0 }
    }

    /// Returns the line of `message`, newline included.
    pub(crate) fn line(&mut self, message: &Message) -> Result<String, serde_json::Error> {
        let envelope = Envelope {
            version: PROTOCOL_VERSION,
            method: message.method,
            params: &message.params,
            seq: self.last_seq + 1,
            ts: message.created_ms,
            writer: &self.writer,
        };
        let mut line = ascii(&serde_json::to_string(&envelope)?);
        line.push('\n');
        self.last_seq += 1;
        Ok(line)
    }
}

/// Escapes what is not ASCII. In JSON that can only stand inside strings. Some readers split lines where Unicode does, or read
/// the file in another encoding.
fn ascii(json: &str) -> String {
    if json.is_ascii() {
        return json.to_owned();
    }
    let mut escaped = String::with_capacity(json.len() * 2);
    let mut units = [0_u16; 2];
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut units) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::metadata::MetadataValue;

    fn line(message: Message) -> String {
        let message = Message { created_ms: 1_700_000_000_123, ..message };
        Encoder::new("w1".to_owned()).line(&message).unwrap()
    }

    fn around(method: &str, params: &str) -> String {
        format!(
            "{{\"__dagster_pipes_version\":\"0.1\",\"method\":\"{method}\",\"params\":{params},\
             \"seq\":1,\"ts\":1700000000123,\"writer\":\"w1\"}}\n"
        )
    }

    #[test]
    fn messages_of_the_session_are_written_as_the_reader_expects() {
        let mut extras = Map::new();
        extras.insert("pid".to_owned(), json!(7));
        let exception = ExceptionInfo::new("Fenced", "another writer is active");

        assert_eq!(line(Message::opened(&extras).unwrap()), around("opened", r#"{"extras":{"pid":7}}"#));
        assert_eq!(line(Message::closed(None).unwrap()), around("closed", "{}"));
        assert_eq!(
            line(Message::closed(Some(&exception)).unwrap()),
            around(
                "closed",
                r#"{"exception":{"message":"another writer is active","stack":[],"name":"Fenced","cause":null,"context":null}}"#
            )
        );
    }

    #[test]
    fn logs_are_written_as_the_reader_expects() {
        assert_eq!(
            line(Message::log(Level::Warning, "slow").unwrap()),
            around("log", r#"{"message":"slow","level":"WARNING"}"#)
        );
        assert_eq!(
            line(Message::external_stream(Stream::Stderr, "oops").unwrap()),
            around("log_external_stream", r#"{"stream":"stderr","text":"oops","extras":{}}"#)
        );
    }

    #[test]
    fn results_are_written_as_the_reader_expects() {
        let metadata = Metadata::new().with("share", MetadataValue::float(1.0));

        assert_eq!(
            line(Message::materialization("a/b", &metadata, None).unwrap()),
            around(
                "report_asset_materialization",
                r#"{"asset_key":"a/b","data_version":null,"metadata":{"share":{"raw_value":1.0,"type":"float"}}}"#
            )
        );
        assert_eq!(
            line(Message::check("a", "c", false, Severity::Warn, &Metadata::new()).unwrap()),
            around(
                "report_asset_check",
                r#"{"asset_key":"a","check_name":"c","passed":false,"severity":"WARN","metadata":{}}"#
            )
        );
        assert_eq!(
            line(Message::custom(&json!(1.0)).unwrap()),
            around("report_custom_message", r#"{"payload":1.0}"#)
        );
    }

    #[test]
    fn a_line_is_ascii_and_has_one_newline_at_its_end() {
        let text = "näïve 🎵 \u{2028}\u{85}\r\n\u{0}";

        let line = line(Message::log(Level::Info, text).unwrap());

        assert!(line.is_ascii());
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["params"]["message"], text);
    }

    #[test]
    fn lines_are_numbered_without_gaps() {
        let mut encoder = Encoder::new("w1".to_owned());

        for expected in 1..=3 {
            let line = encoder.line(&Message::log(Level::Info, "x").unwrap()).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["seq"], expected);
        }
    }

    #[test]
    fn long_texts_are_cut_and_other_long_messages_refused() {
        let log = Message::log(Level::Info, &"x".repeat(MAX_TEXT_BYTES * 2)).unwrap();
        let custom = Message::custom(&json!("x".repeat(MAX_PARAMS_BYTES))).unwrap_err();

        assert!(log.size_bytes() < MAX_TEXT_BYTES + 1024);
        assert_eq!(
            custom.to_string(),
            "message `report_custom_message` of 1048590 bytes is larger than 1048576 bytes"
        );
    }

    #[test]
    fn trace_is_reported_as_debug() {
        assert_eq!(Level::from(tracing::Level::TRACE), Level::Debug);
        assert_eq!(Level::from(tracing::Level::WARN), Level::Warning);
    }
}
