//! The thread that carries messages to the channel.
//!
//! It has a runtime of its own. What it has taken from the queue it tries to store until that succeeds, the channel breaks for
//! good, or the session is closing and its deadline is over; only then does it take more. So order is kept and a chunk that is
//! tried again has the same bytes.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout, timeout_at};
use tracing::warn;

use crate::channel::{Channel, ChunkSink, Sink, SinkError, open_file, open_stdio};
use crate::error::{BoxError, PipesError};
use crate::layer;
use crate::message::{Encoder, Message};
use crate::options::Options;
use crate::pacing::Pacer;
use crate::queue::{Ending, Queue};
use crate::s3;

/// Longest single try.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest rest of a try once the session is closing: a hanging one must leave time for another.
const CLOSING_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Waits between tries.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_CLOSING_WAIT: Duration = Duration::from_millis(500);

/// Starts the thread and waits until the channel is open.
pub(crate) async fn start(channel: Channel, options: Options, queue: Arc<Queue>) -> Result<(), PipesError> {
    let place = channel.place();
    let (open_tx, open_rx) = oneshot::channel();
    thread::Builder::new()
        .name("pipes-writer".to_owned())
        .spawn(move || {
            let guard = EndGuard(queue);
            layer::mute_this_thread();
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(open_and_run(channel, options, &guard.0, open_tx)),
                Err(error) => drop(open_tx.send(Err(error.into()))),
            }
        })
        .map_err(PipesError::WriterStart)?;
    let failed = |source| PipesError::ChannelOpen { place, source };
    match open_rx.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(failed(source)),
        Err(_) => Err(PipesError::WriterStart(io::Error::other("writer thread ended"))),
    }
}

/// Tells those who wait if the thread ends without having said how.
struct EndGuard(Arc<Queue>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "the writer panicked".to_owned();
            self.0.end(Ending::Lost { num_messages: self.0.len(), reason });
        }
    }
}

async fn open_and_run(
    channel: Channel,
    options: Options,
    queue: &Queue,
    open_tx: oneshot::Sender<Result<(), BoxError>>,
) {
    let pacer = channel.pacer();
    match &channel {
        Channel::File(path) => announce_and_run(open_file(path), queue, pacer, open_tx).await,
        Channel::Stdio(output) | Channel::BufferedStdio(output) => {
            announce_and_run(Ok(open_stdio(*output)), queue, pacer, open_tx).await
        }
        Channel::S3 { bucket, prefix, .. } => {
            let client = s3::client(&options).await;
            announce_and_run(ChunkSink::open(client, bucket, prefix).await, queue, pacer, open_tx).await;
        }
    }
}

async fn announce_and_run<S: Sink>(
    sink: Result<S, BoxError>,
    queue: &Queue,
    pacer: Pacer,
    open_tx: oneshot::Sender<Result<(), BoxError>>,
) {
    match sink {
        Ok(sink) => {
            // If nobody waits for the answer any more, nobody will close the session either.
            if open_tx.send(Ok(())).is_ok() {
                run(sink, queue, pacer).await;
            }
        }
        Err(error) => drop(open_tx.send(Err(error))),
    }
}

/// Carries messages until `closed` is stored or nothing can be stored any more.
async fn run<S: Sink>(mut sink: S, queue: &Queue, mut pacer: Pacer) {
    let started = Instant::now();
    let mut closing = queue.closing();
    let mut encoder = Encoder::new(random_id());
    loop {
        let Some(urgency) = queue.urgency() else {
            queue.arrived().await;
            continue;
        };
        let ready_at = started + pacer.ready_at(urgency);
        if ready_at > Instant::now() {
            // Woken by a more urgent message, or by the time.
            let _ = timeout_at(ready_at.into(), queue.arrived()).await;
            continue;
        }
        let messages = queue.take();
        let is_last = messages.last().is_some_and(Message::is_closed);
        let mut lines = Vec::new();
        for message in messages {
            match encoder.line(&message) {
                Ok(line) => lines.push(line),
                Err(error) => warn!(method = message.method, %error, "message cannot be written as JSON"),
            }
        }
        if let Err(reason) = deliver(&mut sink, &mut lines, &mut closing).await {
            queue.end(Ending::Lost { num_messages: lines.len() + queue.len(), reason });
            return;
        }
        pacer.stored(started.elapsed());
        if is_last {
            queue.end(Ending::Stored);
            return;
        }
    }
}

/// Stores `lines`, however often that takes. The reason of a failure is the last that the channel gave; that a try was cut short
/// at the deadline says less.
async fn deliver<S: Sink>(
    sink: &mut S,
    lines: &mut Vec<String>,
    closing: &mut watch::Receiver<Option<Instant>>,
) -> Result<(), String> {
    let mut wait = FIRST_WAIT;
    let mut reason = "timed out".to_owned();
    for attempt in 1_u64.. {
        let is_final = match attempt_within_limits(sink, lines, closing).await {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => {
                reason = error.source.to_string();
                error.is_final
            }
            None => false,
        };
        if is_final || !pause(wait, closing).await {
            return Err(format!("{reason} (attempts: {attempt})"));
        }
        if attempt.is_power_of_two() {
            warn!(attempt, reason, "failed to store messages; trying again");
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Ok(())
}

/// Waits between two tries; a close ends or shortens the wait, there is little time. Returns false at the close deadline.
async fn pause(wait: Duration, closing: &mut watch::Receiver<Option<Instant>>) -> bool {
    let wait = jittered(wait);
    if closing.borrow().is_none() {
        let _ = timeout(wait, closing.wait_for(Option::is_some)).await;
        return true;
    }
    let until = Instant::now() + wait.min(LONGEST_CLOSING_WAIT);
    let deadline = closing.borrow().unwrap_or(until);
    tokio::time::sleep_until(until.min(deadline).into()).await;
    Instant::now() < deadline
}

/// One try, shortened if the session is closing or begins to. `None` if it was cut short.
async fn attempt_within_limits<S: Sink>(
    sink: &mut S,
    lines: &mut Vec<String>,
    closing: &mut watch::Receiver<Option<Instant>>,
) -> Option<Result<(), SinkError>> {
    let mut delivery = pin!(sink.deliver(lines));
    if closing.borrow().is_none() {
        tokio::select! {
            outcome = &mut delivery => return Some(outcome),
            () = sleep(ATTEMPT_TIMEOUT) => return None,
            _ = closing.wait_for(Option::is_some) => {}
        }
    }
    let limit = Instant::now() + CLOSING_ATTEMPT_TIMEOUT;
    let limit = closing.borrow().map_or(limit, |deadline| limit.min(deadline));
    timeout_at(limit.into(), delivery).await.ok()
}

/// Returns between half and all of `wait`, so that many writers do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let share = (random_number() >> 40) as f64 / (1_u64 << 24) as f64;
    wait.mul_f64(0.5 + share / 2.0)
}

/// The standard library seeds its hash maps from the system's randomness, which is all that is needed here.
fn random_number() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn random_id() -> String {
    format!("{:016x}", random_number())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use serde_json::Value;

    use super::*;
    use crate::message::Level;

    /// What a try does.
    enum Answer {
        Store,
        Fail,
        Break,
        Hang,
    }

    #[derive(Default)]
    struct Script {
        answers: VecDeque<Answer>,
        tries: Vec<Vec<String>>,
        stored: Vec<String>,
    }

    #[derive(Clone, Default)]
    struct Scripted(Arc<Mutex<Script>>);

    impl Scripted {
        fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
            let script = Script { answers: answers.into_iter().collect(), ..Script::default() };
            Self(Arc::new(Mutex::new(script)))
        }

        fn stored_messages(&self) -> Vec<(u64, String)> {
            let script = self.0.lock().unwrap();
            let parsed = script.stored.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
            parsed
                .map(|line| (line["seq"].as_u64().unwrap(), line["method"].as_str().unwrap().to_owned()))
                .collect()
        }
    }

    impl Sink for Scripted {
        async fn deliver(&mut self, lines: &mut Vec<String>) -> Result<(), SinkError> {
            let answer = {
                let mut script = self.0.lock().unwrap();
                script.tries.push(lines.clone());
                script.answers.pop_front().unwrap_or(Answer::Store)
            };
            let is_final = match answer {
                Answer::Store => {
                    self.0.lock().unwrap().stored.append(lines);
                    return Ok(());
                }
                Answer::Hang => std::future::pending().await,
                Answer::Fail => false,
                Answer::Break => true,
            };
            Err(SinkError { is_final, source: "store is away".into() })
        }
    }

    fn queue_with_log() -> Queue {
        let queue = Queue::new(1 << 20);
        queue.push(Message::opened(&Default::default()).unwrap()).unwrap();
        queue.push(Message::log(Level::Info, "x").unwrap()).unwrap();
        queue
    }

    fn close(queue: &Queue, patience: Duration) {
        assert!(queue.close(Message::closed(None).unwrap(), Instant::now() + patience));
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_with_the_same_lines_until_it_is_stored() {
        let sink = Scripted::new([Answer::Fail, Answer::Fail]);
        let queue = queue_with_log();
        close(&queue, Duration::from_secs(20));

        run(sink.clone(), &queue, Pacer::unpaced()).await;

        assert_eq!(queue.ending().await, Ending::Stored);
        let tries = sink.0.lock().unwrap().tries.clone();
        assert_eq!(tries.len(), 3);
        assert!(tries.iter().all(|lines| *lines == tries[0]));
        let names = ["opened", "log", "closed"].map(str::to_owned);
        assert_eq!(sink.stored_messages(), (1..).zip(names).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_channel_that_breaks_for_good_ends_the_writer_and_says_what_is_lost() {
        let sink = Scripted::new([Answer::Break]);
        let queue = queue_with_log();

        run(sink, &queue, Pacer::unpaced()).await;

        let reason = "store is away (attempts: 1)".to_owned();
        assert_eq!(queue.ending().await, Ending::Lost { num_messages: 2, reason });
        assert!(matches!(
            queue.push(Message::log(Level::Info, "late").unwrap()),
            Err(PipesError::NotStored { num_messages: 2, .. })
        ));
    }

    #[tokio::test]
    async fn the_close_deadline_ends_the_trying() {
        let sink = Scripted::new((0..100).map(|_| Answer::Fail));
        let queue = queue_with_log();
        close(&queue, Duration::from_millis(100));

        run(sink, &queue, Pacer::unpaced()).await;

        assert!(matches!(queue.ending().await, Ending::Lost { num_messages: 3, .. }));
    }

    #[tokio::test]
    async fn a_hanging_try_ends_at_the_close_deadline() {
        let sink = Scripted::new([Answer::Hang]);
        let queue = queue_with_log();
        close(&queue, Duration::from_millis(50));

        run(sink, &queue, Pacer::unpaced()).await;

        let reason = "timed out (attempts: 1)".to_owned();
        assert_eq!(queue.ending().await, Ending::Lost { num_messages: 3, reason });
    }

    #[test]
    fn waits_are_spread_between_half_and_all() {
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(2));
            assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&wait), "{wait:?}");
        }
    }
}
