//! One call into Rust: the work goes on in our threads, the calling thread waits without the interpreter's lock, tells the
//! callback how far it is, and looks for signals.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use streamify_batch::BatchError;
use streamify_batch::context::Listener;
use streamify_batch::stop::stoppable;
use tokio_util::sync::CancellationToken;

use crate::errors::{panicked, raised};
use crate::runtime::runtime;

/// How often a waiting thread looks for signals. Only Python's main thread gets any.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// Stops calls: give it to one or several, and cancel it from any thread.
#[pyclass(frozen, module = "dagster_project._native")]
#[derive(Default)]
pub struct CancelToken {
    token: CancellationToken,
}

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Asks every call that has this token to end; each raises `CancelledError` within two seconds.
    fn cancel(&self) {
        self.token.cancel();
    }

    /// Whether it was cancelled; it stays so.
    #[getter]
    fn cancelled(&self) -> bool {
        self.token.is_cancelled()
    }
}

/// How far a call is.
#[pyclass(frozen, get_all, module = "dagster_project._native")]
pub struct Progress {
    /// What it is at, for people.
    what: String,
    /// Steps done.
    done: u64,
    /// Steps in all, as far as is known by now.
    total: u64,
    /// Rows handled so far.
    rows: u64,
}

#[pymethods]
impl Progress {
    fn __repr__(&self) -> String {
        let Self { what, done, total, rows } = self;
        format!("Progress(what={what:?}, done={done}, total={total}, rows={rows})")
    }
}

impl From<streamify_batch::Progress> for Progress {
    fn from(progress: streamify_batch::Progress) -> Self {
        let streamify_batch::Progress { what, done, total, rows } = progress;
        Self { what, done, total, rows }
    }
}

/// What the working threads leave for the waiting one: the newest progress, and the end.
struct Mailbox<T> {
    content: Mutex<Content<T>>,
    changed: Condvar,
}

struct Content<T> {
    progress: Option<streamify_batch::Progress>,
    end: Option<Result<T, BatchError>>,
}

enum News<T> {
    Progress(streamify_batch::Progress),
    End(Result<T, BatchError>),
    Nothing,
}

impl<T> Mailbox<T> {
    fn new() -> Self {
        Self { content: Mutex::new(Content { progress: None, end: None }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Content<T>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, change: impl FnOnce(&mut Content<T>)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Waits for news; the last progress comes before the end.
    fn wait(&self, limit: Duration) -> News<T> {
        let nothing = |content: &mut Content<T>| content.progress.is_none() && content.end.is_none();
        let waited = self.changed.wait_timeout_while(self.lock(), limit, nothing);
        let (mut content, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = content.progress.take() {
            return News::Progress(progress);
        }
        content.end.take().map_or(News::Nothing, News::End)
    }
}

/// What a caller may watch and stop a call with.
#[derive(Default)]
pub struct Watch {
    /// Is called with each [`Progress`], on the calling thread.
    pub progress: Option<Py<PyAny>>,
    /// Ends the call.
    pub cancel: Option<Py<CancelToken>>,
}

/// Runs `work` to its end. `work` gets the token to look at and the listener to tell.
///
/// # Errors
/// Those of `work`; an exception of the callback or of a signal's handler, after `work` has ended.
pub fn run<T, F>(
    py: Python<'_>,
    watch: Watch,
    work: impl FnOnce(CancellationToken, Listener) -> F + Send + 'static,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BatchError>>,
{
    let runtime = runtime()?;
    // A signal ends this call only, not those that share the caller's token.
    let cancel = watch.cancel.map_or_else(CancellationToken::new, |token| token.get().token.child_token());
    let mailbox = Arc::new(Mailbox::<T>::new());
    let told = Arc::clone(&mailbox);
    let listener: Listener =
        Arc::new(move |progress| told.put(|content| content.progress = Some(progress.clone())));
    let (ended, token) = (Arc::clone(&mailbox), cancel.clone());
    runtime.spawn(async move {
        let end = stoppable(token.clone(), move || work(token, listener)).await;
        ended.put(|content| content.end = Some(end));
    });
    let stop = cancel.drop_guard();
    loop {
        let news = py.detach(|| mailbox.wait(SIGNAL_INTERVAL));
        let interrupted = match news {
            News::End(result) => return result.map_err(|error| raised(py, &error)),
            News::Nothing => py.check_signals(),
            News::Progress(progress) => match &watch.progress {
                None => py.check_signals(),
                Some(callback) => {
                    callback.call1(py, (Progress::from(progress),)).and_then(|_| py.check_signals())
                }
            },
        };
        if let Err(exception) = interrupted {
            drop(stop);
            // The job has a time limit from here on, so this ends.
            py.detach(|| while !matches!(mailbox.wait(SIGNAL_INTERVAL), News::End(_)) {});
            return Err(exception);
        }
    }
}

/// Runs the body of a function that Python calls; a panic becomes an exception.
pub fn guarded<T>(py: Python<'_>, body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(panicked(py, payload.as_ref())))
}
