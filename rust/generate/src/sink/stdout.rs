//! Standard output: all topics in one stream of JSON lines, or one topic as it is.
//!
//! All topics: each line is `{"topic":"listen_events","key":"42","value":{…}}`; `key` is absent where there is none. A value that
//! is not JSON, as faults make them, stands as a string under `text` instead, with `\u{fffd}` for what is not UTF-8; a tombstone is `null`. One topic: the
//! values alone. A reader that closes the stream ends the run as if it had been stopped.

use std::{
    io::{self, BufWriter, ErrorKind, Write},
    time::Duration,
};

use serde::{Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Record, Sink, SinkError};
use crate::event::Topic;

const BUFFER_BYTES: usize = 256 * 1024;

/// A stream of lines.
pub struct LineSink<W: Write> {
    out: BufWriter<W>,
    /// The only topic to write, without the envelope.
    only: Option<Topic>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

impl LineSink<io::Stdout> {
    /// Writes to standard output, `only` one topic if it is given.
    pub fn stdout(only: Option<Topic>) -> Self {
        Self::new(io::stdout(), only)
    }
}

impl<W: Write> LineSink<W> {
    fn new(out: W, only: Option<Topic>) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, out), only }
    }

    /// Writes a record of any topic in its envelope.
    ///
    /// # Errors
    /// [`SinkError::Stopped`] if nobody reads any more, [`SinkError::Stdout`].
    pub(super) fn wrapped(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), SinkError> {
        let bytes = value.unwrap_or(b"null");
        let lossy = String::from_utf8_lossy(bytes);
        let is_json = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        let raw = is_json.then(|| serde_json::from_str::<&RawValue>(&lossy).ok()).flatten();
        let text = raw.is_none().then_some(lossy.as_ref());
        let key = key.map(String::from_utf8_lossy);
        let envelope = Envelope { topic, key: key.as_deref(), value: raw, text };
        serde_json::to_writer(&mut self.out, &envelope)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(failed)
    }
}

fn failed(source: io::Error) -> SinkError {
    if source.kind() == ErrorKind::BrokenPipe { SinkError::Stopped } else { SinkError::Stdout { source } }
}

impl<W: Write> Sink for LineSink<W> {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        match self.only {
            Some(topic) if topic == record.topic => self.out.write_all(&record.line()).map_err(failed),
            Some(_) => Ok(()),
            None => self.wrapped(record.topic.name(), record.key, record.value),
        }
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SinkError> {
        self.out.flush().map_err(failed)?;
        std::thread::sleep(wait);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        match self.out.flush().map_err(failed) {
            // Nobody is there to miss anything.
            Err(SinkError::Stopped) => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(only: Option<Topic>, records: &[Record<'_>]) -> String {
        let mut sink = LineSink::new(Vec::new(), only);
        for record in records {
            sink.write(record).unwrap();
        }
        sink.finish().unwrap();
        String::from_utf8(sink.out.into_inner().unwrap()).unwrap()
    }

    const RECORDS: [Record<'static>; 3] = [
        Record { topic: Topic::Listen, key: Some(b"42"), value: Some(b"{\"song\":\"a\"}\n"), run_id: None },
        Record { topic: Topic::Auth, key: None, value: Some(b"{\"success\":true}\n"), run_id: None },
        Record { topic: Topic::Auth, key: None, value: Some(b"{\"success\":tr\xff\n"), run_id: None },
    ];

    #[test]
    fn all_topics_come_in_an_envelope_that_is_always_json() {
        let text = lines(None, &RECORDS);

        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                r#"{"topic":"listen_events","key":"42","value":{"song":"a"}}"#,
                r#"{"topic":"auth_events","value":{"success":true}}"#,
                "{\"topic\":\"auth_events\",\"text\":\"{\\\"success\\\":tr\u{fffd}\\n\"}",
            ]
        );
    }

    #[test]
    fn one_topic_comes_as_it_is() {
        assert_eq!(lines(Some(Topic::Listen), &RECORDS), "{\"song\":\"a\"}\n");
    }

    #[test]
    fn a_reader_that_has_gone_ends_the_run() {
        struct Gone;

        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let mut sink = LineSink::new(Gone, Some(Topic::Auth));
        sink.write(&Record { topic: Topic::Auth, key: None, value: Some(b"{}\n"), run_id: None }).unwrap();

        assert!(matches!(sink.idle(Duration::ZERO), Err(SinkError::Stopped)));
        sink.finish().unwrap();
    }
}
