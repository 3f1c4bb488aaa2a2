//! Channels that take line by line: a file or one of the process's own streams.
//!
//! Each line is one `write` with its newline in it, because the stock file reader parses whatever is there and a lone newline ends it.
//! Only if the system takes a part of a line is the rest written by another call, and never is a byte written twice.

use std::io::{self, Write};

use super::{Sink, SinkError};

#[derive(Debug)]
pub(crate) struct LineSink<W> {
    output: W,
    /// Bytes of the first line that are written already.
    written: usize,
}

impl<W: Write> LineSink<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, written: 0 }
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        while self.written < line.len() {
            match self.output.write(&line.as_bytes()[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.output.flush()
    }
}

impl<W: Write> Sink for LineSink<W> {
    async fn deliver(&mut self, lines: &mut Vec<String>) -> Result<(), SinkError> {
        let mut num_stored = 0;
        let mut outcome = Ok(());
        for line in lines.iter() {
            outcome = self.write_line(line);
            if outcome.is_err() {
                break;
            }
            num_stored += 1;
        }
        lines.drain(..num_stored);
        outcome.map_err(|error| SinkError {
            is_final: error.kind() == io::ErrorKind::BrokenPipe,
            source: error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each write as told: takes so many bytes or fails.
    struct Scripted {
        answers: Vec<io::Result<usize>>,
        calls: Vec<String>,
        stored: String,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let answer = if self.answers.is_empty() { Ok(bytes.len()) } else { self.answers.remove(0) };
            let count = answer?.min(bytes.len());
            self.stored.push_str(&text[..count]);
            self.calls.push(text);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink(answers: Vec<io::Result<usize>>) -> LineSink<Scripted> {
        LineSink::new(Scripted { answers, calls: Vec::new(), stored: String::new() })
    }

    fn lines() -> Vec<String> {
        vec!["one\n".to_owned(), "two\n".to_owned()]
    }

    #[tokio::test]
    async fn each_line_is_one_write_with_its_newline() {
        let mut sink = sink(vec![]);

        sink.deliver(&mut lines()).await.unwrap();

        assert_eq!(sink.output.calls, ["one\n", "two\n"]);
    }

    #[tokio::test]
    async fn after_an_error_the_rest_is_written_and_no_byte_twice() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let mut sink = sink(vec![Ok(4), Ok(2), Err(full())]);
        let mut lines = lines();

        let error = sink.deliver(&mut lines).await.unwrap_err();
        assert!(!error.is_final);
        assert_eq!(lines, ["two\n"]);
        sink.deliver(&mut lines).await.unwrap();

        assert_eq!(sink.output.stored, "one\ntwo\n");
        assert!(lines.is_empty());
    }

    #[tokio::test]
    async fn a_pipe_without_a_reader_is_final() {
        let mut sink = sink(vec![Err(io::ErrorKind::BrokenPipe.into())]);

        assert!(sink.deliver(&mut lines()).await.unwrap_err().is_final);
    }
}
