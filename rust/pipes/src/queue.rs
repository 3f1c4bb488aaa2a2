//! The messages between the program and the writer.
//!
//! Bounded by bytes. Nobody waits here: when it is full, logs of a lower level than the new message are dropped, lowest level
//! first, else the new log itself; what is dropped is counted and reported in the next batch. Results are always taken, custom
//! messages refused when only such messages are left.
//!
//! After `closed` nothing is taken any more. The end of the writer is announced to all who wait for it, by thread or by task.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::error::PipesError;
use crate::message::{Level, Message, Weight};
use crate::pacing::Urgency;

/// How the writer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything is stored, `closed` included.
    Stored,
    /// So many messages are not, and why.
    Lost { num_messages: usize, reason: String },
}

#[derive(Debug)]
pub(crate) struct Queue {
    limit_bytes: usize,
    state: Mutex<State>,
    arrived: Notify,
    closing_tx: watch::Sender<Option<Instant>>,
    ending_tx: watch::Sender<Option<Ending>>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Message>,
    bytes: usize,
    log_bytes: [usize; Level::ALL.len()],
    dropped: [u64; Level::ALL.len()],
    /// Something that waits is urgent (or was dropped since; then a chunk goes early for nothing).
    urgent: bool,
    closing: bool,
    ending: Option<Ending>,
}

impl Queue {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            state: Mutex::default(),
            arrived: Notify::new(),
            closing_tx: watch::Sender::new(None),
            ending_tx: watch::Sender::new(None),
            ended: Condvar::new(),
        }
    }

    /// A panic while the lock is held cannot leave the state half changed in a way that matters, so poison is passed over.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message.
    pub(crate) fn push(&self, message: Message) -> Result<(), PipesError> {
        {
            let mut state = self.lock();
            state.check_open()?;
            state.admit(message, self.limit_bytes)?;
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes `closed`, after which nothing is taken, and gives the writer until `deadline`. Returns false if it was closed
    /// before.
    pub(crate) fn close(&self, closed: Message, deadline: Instant) -> bool {
        {
            let mut state = self.lock();
            if state.closing {
                return false;
            }
            state.closing = true;
            state.append(closed);
            // Under the lock: who finds the session closed finds the deadline too.
            self.closing_tx.send_replace(Some(deadline));
        }
        self.arrived.notify_one();
        true
    }

    /// Returns until when the writer has time, or `None` if the session is open.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        *self.closing_tx.borrow()
    }

    /// Returns how much the waiting messages are in a hurry, or `None` if there are none.
    pub(crate) fn urgency(&self) -> Option<Urgency> {
        let state = self.lock();
        if state.closing {
            return (!state.waiting.is_empty()).then_some(Urgency::Final);
        }
        if state.urgent {
            return Some(Urgency::Urgent);
        }
        (!state.waiting.is_empty() || state.has_dropped()).then_some(Urgency::Regular)
    }

    /// Waits until a message has arrived since the last call.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Removes and returns all that waits, first a log that tells of what was dropped.
    pub(crate) fn take(&self) -> Vec<Message> {
        let mut state = self.lock();
        let summary = state.has_dropped().then(|| drop_summary(&state.dropped, self.limit_bytes));
        let summary = summary.and_then(|text| Message::log(Level::Warning, &text).ok());
        state.dropped = Default::default();
        state.urgent = false;
        state.bytes = 0;
        state.log_bytes = Default::default();
        summary.into_iter().chain(state.waiting.drain(..)).collect()
    }

    /// Returns the number of messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Returns a view of the close deadline: `None` until the session is closing.
    pub(crate) fn closing(&self) -> watch::Receiver<Option<Instant>> {
        self.closing_tx.subscribe()
    }

    /// Announces that the writer has ended. From now on nothing is taken.
    pub(crate) fn end(&self, ending: Ending) {
        self.lock().ending = Some(ending.clone());
        self.ending_tx.send_replace(Some(ending));
        self.ended.notify_all();
    }

    /// Waits for the end of the writer.
    pub(crate) async fn ending(&self) -> Ending {
        let mut receiver = self.ending_tx.subscribe();
        let ended = receiver.wait_for(Option::is_some).await.map(|ending| ending.clone());
        ended.ok().flatten().unwrap_or_else(|| self.no_ending())
    }

    /// Waits for the end of the writer, blocking the thread at most until `deadline`.
    pub(crate) fn ending_blocking(&self, deadline: Instant) -> Ending {
        let mut state = self.lock();
        loop {
            if let Some(ending) = &state.ending {
                return ending.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                drop(state);
                return self.no_ending();
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The ending to report when the writer did not answer in time.
    pub(crate) fn no_ending(&self) -> Ending {
        Ending::Lost { num_messages: self.len(), reason: "the writer did not end in time".to_owned() }
    }
}

impl State {
    fn check_open(&self) -> Result<(), PipesError> {
        match &self.ending {
            Some(Ending::Lost { num_messages, reason }) => {
                Err(PipesError::NotStored { num_messages: *num_messages, reason: reason.clone() })
            }
            Some(Ending::Stored) => Err(PipesError::Closed),
            None if self.closing => Err(PipesError::Closed),
            None => Ok(()),
        }
    }

    fn has_dropped(&self) -> bool {
        self.dropped.iter().any(|count| *count > 0)
    }

    fn admit(&mut self, message: Message, limit_bytes: usize) -> Result<(), PipesError> {
        if let Some(index) = self.slot_of(&message) {
            self.bytes = self.bytes - self.waiting[index].size_bytes() + message.size_bytes();
            self.waiting[index] = message;
            return Ok(());
        }
        self.make_room(&message, limit_bytes);
        if self.bytes + message.size_bytes() > limit_bytes {
            match message.weight {
                Weight::Log(level) => {
                    self.dropped[level as usize] += 1;
                    return Ok(());
                }
                Weight::Custom => return Err(PipesError::BufferFull { limit_bytes }),
                Weight::Result => {}
            }
        }
        self.append(message);
        Ok(())
    }

    fn slot_of(&self, message: &Message) -> Option<usize> {
        let slot = message.slot.as_ref()?;
        self.waiting.iter().position(|waiting| waiting.slot.as_ref() == Some(slot))
    }

    fn append(&mut self, message: Message) {
        let size_bytes = message.size_bytes();
        self.bytes += size_bytes;
        self.urgent |= message.is_urgent();
        if let Weight::Log(level) = message.weight {
            self.log_bytes[level as usize] += size_bytes;
        }
        self.waiting.push_back(message);
    }

    /// Drops logs below the message's level, a whole level at a time (so that a storm costs little per message), until the message
    /// fits or there are none.
    fn make_room(&mut self, message: &Message, limit_bytes: usize) {
        let droppable = match message.weight {
            Weight::Log(level) => level as usize,
            Weight::Custom | Weight::Result => Level::ALL.len(),
        };
        for level in 0..droppable {
            if self.bytes + message.size_bytes() <= limit_bytes {
                return;
            }
            if self.log_bytes[level] == 0 {
                continue;
            }
            let before = self.waiting.len();
            self.waiting.retain(|waiting| waiting.weight != Weight::Log(Level::ALL[level]));
            self.dropped[level] += (before - self.waiting.len()) as u64;
            self.bytes -= self.log_bytes[level];
            self.log_bytes[level] = 0;
        }
    }
}

fn drop_summary(dropped: &[u64; Level::ALL.len()], limit_bytes: usize) -> String {
    let counts: Vec<String> = Level::ALL
        .iter()
        .zip(dropped)
        .filter(|(_, count)| **count > 0)
        .map(|(level, count)| format!("{count} {}", format!("{level:?}").to_lowercase()))
        .collect();
    format!("dropped log messages ({}): message buffer of {limit_bytes} bytes was full", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(level: Level, text: &str) -> Message {
        Message::log(level, text).unwrap()
    }

    fn result(name: &str) -> Message {
        Message::materialization(name, &Default::default(), None).unwrap()
    }

    fn lines(queue: &Queue) -> Vec<String> {
        let mut encoder = crate::message::Encoder::new("w".to_owned());
        queue.take().iter().map(|message| encoder.line(message).unwrap()).collect()
    }

    #[test]
    fn when_full_lower_levels_make_room_and_are_counted() {
        let queue = Queue::new(2_000);
        queue.push(log(Level::Debug, &"d".repeat(500))).unwrap();
        queue.push(log(Level::Info, &"i".repeat(500))).unwrap();

        for index in 0..4 {
            queue.push(log(Level::Error, &format!("{index}{}", "e".repeat(400)))).unwrap();
        }
        queue.push(log(Level::Info, &"j".repeat(500))).unwrap();

        let lines = lines(&queue);
        assert!(
            lines[0].contains(
                "dropped log messages (1 debug, 2 info, 1 error): message buffer of 2000 bytes was full"
            ),
            "{}",
            lines[0]
        );
        assert_eq!(lines.len(), 4, "the summary and three errors");
    }

    #[test]
    fn results_are_taken_even_when_full_and_custom_messages_are_refused() {
        let queue = Queue::new(500);
        queue.push(result("a")).unwrap();
        for index in 0..10 {
            queue.push(result(&format!("asset {index}"))).unwrap();
        }

        let refused = queue.push(Message::custom(&json!("progress")).unwrap()).unwrap_err();

        assert!(refused.is_retryable());
        assert_eq!(
            refused.to_string(),
            "message buffer is full (500 bytes); the channel has stored nothing for a while"
        );
        assert_eq!(queue.take().len(), 11);
        queue.push(Message::custom(&json!("progress")).unwrap()).unwrap();
    }

    #[test]
    fn a_message_in_a_slot_replaces_the_one_that_waits_there() {
        let queue = Queue::new(1 << 20);
        let progress = |payload: &str| Message::custom(&json!(payload)).unwrap().in_slot("progress");

        queue.push(progress("first")).unwrap();
        queue.push(log(Level::Info, "between")).unwrap();
        queue.push(progress("second")).unwrap();

        let lines = lines(&queue);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("second") && lines[1].contains("between"), "{lines:?}");
    }

    #[test]
    fn after_closed_nothing_is_taken() {
        let queue = Queue::new(1 << 20);
        let closed = || Message::closed(None).unwrap();

        assert!(queue.close(closed(), Instant::now()));

        assert!(!queue.close(closed(), Instant::now()));
        assert!(matches!(queue.push(result("a")), Err(PipesError::Closed)));
        assert_eq!(queue.urgency(), Some(Urgency::Final));
        assert_eq!(queue.take().len(), 1);
    }

    #[test]
    fn results_and_errors_are_urgent() {
        let queue = Queue::new(1 << 20);
        assert_eq!(queue.urgency(), None);

        queue.push(log(Level::Info, "x")).unwrap();
        assert_eq!(queue.urgency(), Some(Urgency::Regular));

        queue.push(log(Level::Error, "x")).unwrap();
        assert_eq!(queue.urgency(), Some(Urgency::Urgent));
    }

    #[test]
    fn waiting_for_the_end_gives_up_at_the_deadline() {
        let queue = Queue::new(1 << 20);
        queue.push(result("a")).unwrap();

        let ending = queue.ending_blocking(Instant::now());

        assert_eq!(
            ending,
            Ending::Lost { num_messages: 1, reason: "the writer did not end in time".to_owned() }
        );
    }
}
