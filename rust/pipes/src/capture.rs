//! The process's own output as messages, where the reader asks for it (`include_stdio_in_messages`).
//!
//! The descriptors 1 and 2 become pipes. A thread behind each passes what arrives on to where it went before and sends it to
//! Dagster line by line, so the output of libraries and of child processes is mirrored as well.
//!
//! Guarantees: the old destination gets every byte in order; at the end the descriptors are put back, and what was written before that
//! is sent before `closed`. Only a child that outlives the session and still holds a pipe cuts that short, after [`FLUSH_LIMIT`]; its
//! output is passed on as long as the process lives.
//! It does not keep the order between the two streams, and a process that ends without a close may lose what is in the pipes.
//!
//! The only unsafe call of this crate is here: `dup2` has no binding in std.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::message::Stream;

/// How long the end waits for the threads. Without children they are done at once.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
/// Bytes read at once, and the longest line that is kept together. Even if all of it were invalid (each byte becomes three), both
/// together fit into one message.
const PIECE_BYTES: usize = 8 << 10;

/// Both streams, captured. Dropped, it puts them back.
#[derive(Debug)]
pub(crate) struct Capture {
    redirected: Vec<Redirected>,
    /// Nothing is ever sent: it is disconnected once both threads have ended.
    threads: Receiver<()>,
}

impl Capture {
    /// Captures both streams; `send` gets whole lines.
    pub(crate) fn start(send: impl Fn(Stream, &str) + Clone + Send + 'static) -> io::Result<Self> {
        let (thread_tx, threads) = mpsc::channel();
        let mut capture = Self { redirected: Vec::new(), threads };
        for stream in [Stream::Stdout, Stream::Stderr] {
            let (number, original) = match stream {
                Stream::Stdout => (libc::STDOUT_FILENO, io::stdout().as_fd().try_clone_to_owned()?),
                Stream::Stderr => (libc::STDERR_FILENO, io::stderr().as_fd().try_clone_to_owned()?),
            };
            let old_place = File::from(original.try_clone()?);
            let (reader, writer) = io::pipe()?;
            let (send, thread_tx) = (send.clone(), thread_tx.clone());
            thread::Builder::new().name("pipes-stdio".to_owned()).spawn(move || {
                mirror(reader, old_place, |text| send(stream, text));
                drop(thread_tx);
            })?;
            replace(number, writer.as_fd())?;
            capture.redirected.push(Redirected { number, original });
        }
        Ok(capture)
    }

    /// Puts the streams back and waits, at most [`FLUSH_LIMIT`], until what was written is sent.
    pub(crate) fn stop(mut self) {
        let _ = io::stdout().flush();
        self.redirected.clear();
        let _ = self.threads.recv_timeout(FLUSH_LIMIT);
    }
}

/// A descriptor that leads into a pipe until this is dropped.
#[derive(Debug)]
struct Redirected {
    number: RawFd,
    original: OwnedFd,
}

impl Drop for Redirected {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and there is nobody to tell: the streams are what failed.
        let _ = replace(self.number, self.original.as_fd());
    }
}

/// Makes `number` lead to where `source` leads.
fn replace(number: RawFd, source: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: two descriptors, no memory. `source` is open while it is borrowed; `number` is 1 or 2, which no `OwnedFd` owns, so no
    // owner finds another file behind its descriptor.
    let outcome = unsafe { libc::dup2(source.as_raw_fd(), number) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Passes on what arrives until all writers are gone.
fn mirror(mut reader: PipeReader, mut old_place: File, send: impl Fn(&str)) {
    let mut lines = Lines::default();
    let mut piece = vec![0; PIECE_BYTES];
    let mut is_read_there = true;
    loop {
        let bytes = match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => &piece[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        // Nobody reads there any more: Dagster still does.
        is_read_there = is_read_there && old_place.write_all(bytes).is_ok();
        if let Some(text) = lines.push(bytes) {
            send(&text);
        }
    }
    if let Some(text) = lines.finish() {
        send(&text);
    }
}

/// Bytes that are not yet a whole line.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes and returns the whole lines there are now; also a part of a line that is too long to be kept.
    fn push(&mut self, bytes: &[u8]) -> Option<String> {
        self.0.extend_from_slice(bytes);
        let whole = match self.0.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if self.0.len() >= PIECE_BYTES => character_end(&self.0),
            None => return None,
        };
        let rest = self.0.split_off(whole);
        let text = std::mem::replace(&mut self.0, rest);
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns what is left.
    fn finish(self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&self.0).into_owned())
    }
}

/// Returns the length without a character at the end whose last bytes are still to come.
fn character_end(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn whole_lines_are_sent_and_the_rest_waits() {
        let mut lines = Lines::default();

        assert_eq!(lines.push(b"one\ntwo\nthr"), Some("one\ntwo\n".to_owned()));
        assert_eq!(lines.push(b"ee"), None);
        assert_eq!(lines.push(b"\n"), Some("three\n".to_owned()));
        assert_eq!(lines.push(b"end"), None);
        assert_eq!(lines.finish(), Some("end".to_owned()));
        assert_eq!(Lines::default().finish(), None);
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_loses_nothing() {
        let text = format!("x{}", "é".repeat(PIECE_BYTES));
        let mut lines = Lines::default();

        let mut sent: Vec<String> =
            text.as_bytes().chunks(PIECE_BYTES).filter_map(|piece| lines.push(piece)).collect();
        sent.extend(lines.finish());

        assert!(sent.len() > 1);
        assert_eq!(sent.concat(), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(Lines::default().push(b"a\xff\n"), Some("a\u{fffd}\n".to_owned()));
    }

    #[test]
    fn every_byte_gets_to_the_old_place_and_a_lost_one_does_not_end_the_mirror() {
        let sent = Mutex::new(String::new());
        let (reader, mut writer) = io::pipe().unwrap();
        let (old_reader, old_writer) = io::pipe().unwrap();
        drop(old_reader);
        writer.write_all(b"one\ntwo").unwrap();
        drop(writer);

        mirror(reader, File::from(OwnedFd::from(old_writer)), |text| sent.lock().unwrap().push_str(text));

        assert_eq!(*sent.lock().unwrap(), "one\ntwo");
    }
}
