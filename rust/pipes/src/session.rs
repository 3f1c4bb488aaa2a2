//! A session: from `opened` to `closed`.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::bootstrap::Bootstrap;
use crate::capture::Capture;
use crate::channel::Channel;
use crate::context::Context;
use crate::error::PipesError;
use crate::exception::ExceptionInfo;
use crate::layer::PipesLayer;
use crate::message::{Level, Message, Severity, Stream};
use crate::metadata::Metadata;
use crate::options::Options;
use crate::panic;
use crate::queue::{Ending, Queue};
use crate::writer;

/// How much longer than the writer's deadline a close waits for its answer.
const GRACE: Duration = Duration::from_millis(250);

/// The session of this process with Dagster; all methods of [`PipesHandle`] are its methods too.
///
/// Dropped without [`Pipes::close`] it closes itself with an exception: that of the panic that drops it, else one that says so.
/// That blocks the thread up to the close deadline.
#[derive(Debug)]
pub struct Pipes {
    handle: PipesHandle,
}

/// A handle on the session: cheap to clone, for any thread.
#[derive(Debug, Clone)]
pub struct PipesHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    context: Context,
    messages_params: Map<String, Value>,
    queue: Arc<Queue>,
    close_deadline: Duration,
    reported: Mutex<Reported>,
    /// Log messages that the rate limit has turned away and nobody was told of.
    num_suppressed: AtomicU64,
    /// The process's own output, while it is mirrored.
    capture: Mutex<Option<Capture>>,
}

/// Dagster fails the step on a second result of the same kind.
#[derive(Debug, Default)]
struct Reported {
    assets: HashSet<String>,
    checks: HashSet<(String, String)>,
}

impl Pipes {
    /// Opens the session of this process, or returns `None` if Dagster did not launch it.
    ///
    /// # Errors
    /// If it did and a parameter, the context or the message channel is not usable. The process should end then: it would work unheard.
    pub async fn from_process() -> Result<Option<Self>, PipesError> {
        match Bootstrap::from_process()? {
            Some(bootstrap) => Self::open(&bootstrap, Options::default()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens the session that `bootstrap` names: loads the context, opens the channel, sends `opened`. If the reader asks for the
    /// process's own output, that is mirrored from now to the close.
    ///
    /// # Errors
    /// If the context or the message channel is not usable, or the output cannot be captured.
    pub async fn open(bootstrap: &Bootstrap, options: Options) -> Result<Self, PipesError> {
        let channel = Channel::from_params(&bootstrap.messages, &options)?;
        let context = Context::load(&bootstrap.context, &options).await?;
        let queue = Arc::new(Queue::new(options.max_buffer_bytes));
        queue.push(Message::opened(&options.opened_extras)?)?;
        // Before the writer: if one of the two cannot be started, no thread is left that waits for a close.
        let capture = if channel.wants_stdio(&bootstrap.messages) { Some(capture(&queue)?) } else { None };
        let close_deadline = options.close_deadline;
        writer::start(channel, options, Arc::clone(&queue)).await?;
        panic::install();
        let shared = Shared {
            context,
            messages_params: bootstrap.messages.clone(),
            queue,
            close_deadline,
            reported: Mutex::default(),
            num_suppressed: AtomicU64::new(0),
            capture: Mutex::new(capture),
        };
        Ok(Self { handle: PipesHandle { shared: Arc::new(shared) } })
    }

    /// Returns a handle for other threads and tasks.
    pub fn handle(&self) -> PipesHandle {
        self.handle.clone()
    }

    /// Sends `closed`, with the exception if there is one, and waits until everything is stored, at most the close deadline.
    ///
    /// # Errors
    /// [`PipesError::NotStored`] if something could not be stored by then.
    ///
    /// # Cancel safety
    /// Dropped before its end, `closed` is on its way and the drop waits for it.
    pub async fn close(self, outcome: Result<(), &ExceptionInfo>) -> Result<(), PipesError> {
        self.handle.close(outcome).await
    }
}

impl Deref for Pipes {
    type Target = PipesHandle;

    fn deref(&self) -> &PipesHandle {
        &self.handle
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        if shared.queue.deadline().is_none() {
            let exception = if thread::panicking() { panic::take_last() } else { None };
            let exception = exception.unwrap_or_else(|| {
                ExceptionInfo::new("NotClosed", "the process dropped its Pipes session without closing it")
            });
            shared.begin_close(Err(&exception));
        }
        // The deadline of the first close: after one that did not make it there is nothing more to wait for.
        if let Some(deadline) = shared.queue.deadline() {
            shared.queue.ending_blocking(deadline + GRACE);
        }
    }
}

impl PipesHandle {
    /// Returns what Dagster told this process.
    pub fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Returns a parameter that the reader gave along with the channel. By these a reader of one's own asks a writer of one's own for
    /// something; stock writers pass over what they do not know.
    pub fn messages_param(&self, name: &str) -> Option<&Value> {
        self.shared.messages_params.get(name)
    }

    /// Sends a log message. Never fails and never waits: without a session that takes it, it is lost.
    pub fn log(&self, level: Level, text: &str) {
        if let Ok(message) = Message::log(level, text) {
            let _ = self.shared.queue.push(message);
        }
    }

    /// Sends a piece of the process's output, to be shown among Dagster's compute logs. Never fails, never waits.
    pub fn external_stream(&self, stream: Stream, text: &str) {
        if let Ok(message) = Message::external_stream(stream, text) {
            let _ = self.shared.queue.push(message);
        }
    }

    /// Reports that an asset was materialized. `asset_key` is written as in [`Context::asset_keys`].
    ///
    /// # Errors
    /// [`PipesError::AssetNotInStep`]; [`PipesError::AlreadyMaterialized`] the second time; [`PipesError::MessageTooLarge`];
    /// [`PipesError::Closed`]; [`PipesError::NotStored`] if the channel has broken.
    pub fn report_materialization(
        &self,
        asset_key: &str,
        metadata: Metadata,
        data_version: Option<&str>,
    ) -> Result<(), PipesError> {
        self.shared.context.check_asset_key(asset_key)?;
        let message = Message::materialization(asset_key, &metadata, data_version)?;
        let mut reported = self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.assets.contains(asset_key) {
            return Err(PipesError::AlreadyMaterialized { asset_key: asset_key.to_owned() });
        }
        self.shared.queue.push(message)?;
        reported.assets.insert(asset_key.to_owned());
        Ok(())
    }

    /// Reports the result of a check.
    ///
    /// # Errors
    /// [`PipesError::AlreadyChecked`] the second time, else as [`PipesHandle::report_materialization`].
    pub fn report_check(
        &self,
        asset_key: &str,
        check_name: &str,
        passed: bool,
        severity: Severity,
        metadata: Metadata,
    ) -> Result<(), PipesError> {
        self.shared.context.check_asset_key(asset_key)?;
        let message = Message::check(asset_key, check_name, passed, severity, &metadata)?;
        let mut reported = self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let check = (asset_key.to_owned(), check_name.to_owned());
        if reported.checks.contains(&check) {
            let (asset_key, check_name) = check;
            return Err(PipesError::AlreadyChecked { asset_key, check_name });
        }
        self.shared.queue.push(message)?;
        reported.checks.insert(check);
        Ok(())
    }

    /// Sends a message whose meaning only the asset's code knows; any JSON.
    ///
    /// # Errors
    /// [`PipesError::BufferFull`] while the channel is away and the buffer is full; [`PipesError::MessageTooLarge`];
    /// [`PipesError::Closed`]; [`PipesError::NotStored`].
    pub fn report_custom(&self, payload: Value) -> Result<(), PipesError> {
        self.shared.queue.push(Message::custom(&payload)?)
    }

    /// Sends a custom message that replaces the one of the same `slot` if that still waits. For progress and heartbeats: while the
    /// channel is away they do not pile up.
    ///
    /// # Errors
    /// As [`PipesHandle::report_custom`].
    pub fn report_latest(&self, slot: &str, payload: Value) -> Result<(), PipesError> {
        self.shared.queue.push(Message::custom(&payload)?.in_slot(slot))
    }

    /// Returns a layer that sends `tracing` events of level info and above as log messages.
    pub fn layer(&self) -> PipesLayer {
        PipesLayer::new(self.clone())
    }

    /// Counts a log message that was not sent.
    pub(crate) fn note_suppressed(&self) {
        self.shared.num_suppressed.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells of the log messages that were not sent, if there are any.
    pub(crate) fn tell_suppressed(&self) {
        self.shared.tell_suppressed();
    }

    /// Closes the session as [`Pipes::close`] does. Only the first close counts; later ones wait for the same end.
    ///
    /// # Errors
    /// [`PipesError::NotStored`].
    pub async fn close(&self, outcome: Result<(), &ExceptionInfo>) -> Result<(), PipesError> {
        let shared = &self.shared;
        shared.begin_close(outcome);
        let limit = shared.close_deadline + GRACE;
        let ending = tokio::time::timeout(limit, shared.queue.ending()).await;
        match ending.unwrap_or_else(|_| shared.queue.no_ending()) {
            Ending::Stored => Ok(()),
            Ending::Lost { num_messages, reason } => Err(PipesError::NotStored { num_messages, reason }),
        }
    }
}

impl Shared {
    fn begin_close(&self, outcome: Result<(), &ExceptionInfo>) {
        let deadline = Instant::now() + self.close_deadline;
        {
            // Held to the end: who closes at the same time must not overtake the output.
            let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(capture) = capture.take() {
                capture.stop();
            }
        }
        self.tell_suppressed();
        let closed = Message::closed(outcome.err()).or_else(|_| Message::closed(None));
        if let Ok(closed) = closed {
            self.queue.close(closed, deadline);
        }
    }

    fn tell_suppressed(&self) {
        let num_suppressed = self.num_suppressed.swap(0, Ordering::Relaxed);
        if num_suppressed == 0 {
            return;
        }
        let text = format!("{num_suppressed} log messages were suppressed by the rate limit");
        if let Ok(message) = Message::log(Level::Warning, &text) {
            let _ = self.queue.push(message);
        }
    }
}

/// Mirrors the process's output into `queue`.
fn capture(queue: &Arc<Queue>) -> Result<Capture, PipesError> {
    let queue = Arc::clone(queue);
    let send = move |stream: Stream, text: &str| {
        if let Ok(message) = Message::external_stream(stream, text) {
            let _ = queue.push(message);
        }
    };
    Capture::start(send).map_err(PipesError::Capture)
}
