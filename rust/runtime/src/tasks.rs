//! Tasks with names, watched together.
//!
//! Guarantees: a task that fails, panics or (if it is a service) ends before shutdown cancels the shutdown token and is
//! reported by name; nothing ends unseen. A drain reports once per interval who is still running, also when nothing ends at all, and
//! gives up at its deadline with the names.
//!
//! It does not stop tasks itself before the deadline: they watch the token at their loop heads.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// How often a drain says who is still running.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a set of tasks did not end well.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task returned an error.
    #[error("task `{name}` failed")]
    Failed {
        /// Name of the task.
        name: String,
        /// What it returned.
        #[source]
        source: BoxError,
    },
    /// A task panicked.
    #[error("task `{name}` panicked: {message}")]
    Panicked {
        /// Name of the task.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// A service returned without an error although no shutdown was asked for.
    #[error("task `{name}` ended although it was to run until shutdown")]
    EndedEarly {
        /// Name of the task.
        name: String,
    },
    /// Tasks were still running at the drain deadline and were aborted.
    #[error("{} still running {waited:?} after shutdown: {}", count(names.len()), quoted(names))]
    StillRunning {
        /// Names of the tasks, sorted.
        names: Vec<String>,
        /// How long the drain waited.
        waited: Duration,
    },
}

impl TaskError {
    /// Returns the error that the task returned, if it returned one. The process's exit code is decided by it.
    pub fn task_source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match self {
            Self::Failed { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }

    /// Returns whether starting the process again may help: always, but for errors of the task itself, of which this type
    /// knows nothing.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

/// When a task may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Runs until shutdown.
    Service,
    /// Ends by itself when its work is done.
    Job,
}

/// A set of named tasks under one shutdown token.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<Result<(), BoxError>>,
    running: BTreeMap<Id, (String, Kind)>,
    shutdown: CancellationToken,
    had_jobs: bool,
    first_error: Option<TaskError>,
    progress_interval: Duration,
}

impl Tasks {
    /// Returns an empty set; `shutdown` is cancelled by the first task that ends before its time.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            running: BTreeMap::new(),
            shutdown,
            had_jobs: false,
            first_error: None,
            progress_interval: PROGRESS_INTERVAL,
        }
    }

    /// Starts a service: a task that has to run until shutdown.
    pub fn spawn<F, E>(&mut self, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.start(name.into(), Kind::Service, future);
    }

    /// Starts a job: a task that may end without an error at any time.
    pub fn spawn_job<F, E>(&mut self, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.had_jobs = true;
        self.start(name.into(), Kind::Job, future);
    }

    fn start<F, E>(&mut self, name: String, kind: Kind, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let handle = self.set.spawn(async move { future.await.map_err(Into::into) });
        self.running.insert(handle.id(), (name, kind));
    }

    /// Returns the names of the tasks that have not ended, sorted.
    pub fn running(&self) -> Vec<String> {
        let mut names: Vec<String> = self.running.values().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Waits until shutdown is asked for, all jobs are done (if there were any), or a task ends before its time; then cancels the token
    /// and drains.
    ///
    /// # Errors
    /// The first thing that went wrong, before or during the drain; later ones are logged.
    pub async fn run(mut self, drain_deadline: Duration) -> Result<(), TaskError> {
        self.supervise().await;
        self.drain(drain_deadline).await
    }

    /// Waits until shutdown is asked for, all jobs are done, or a task ends before its time. The token is cancelled when this
    /// returns; what went wrong is returned by [`Tasks::drain`].
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn supervise(&mut self) {
        let shutdown = self.shutdown.clone();
        while self.first_error.is_none() && self.has_work() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                ended = self.set.join_next_with_id() => match ended {
                    Some(ended) => self.note(ended, shutdown.is_cancelled()),
                    None => break,
                },
            }
        }
        shutdown.cancel();
    }

    /// Cancels the token and waits for all tasks, at most `deadline`; what still runs then is aborted and named. A blocking
    /// closure cannot be aborted: close the channel it waits on.
    ///
    /// # Errors
    /// The first thing that went wrong since the set was made.
    pub async fn drain(mut self, deadline: Duration) -> Result<(), TaskError> {
        self.shutdown.cancel();
        let started = Instant::now();
        let mut progress = interval_at(started + self.progress_interval, self.progress_interval);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.set.is_empty() {
            let step = async {
                tokio::select! {
                    ended = self.set.join_next_with_id() => ended,
                    _ = progress.tick() => None,
                }
            };
            match timeout_at(started + deadline, step).await {
                Ok(Some(ended)) => self.note(ended, true),
                Ok(None) => warn!(tasks = quoted(&self.running()), "still waiting for tasks to end"),
                Err(_) => {
                    let names = self.running();
                    self.set.abort_all();
                    self.keep(TaskError::StillRunning { names, waited: deadline });
                    break;
                }
            }
        }
        self.first_error.map_or(Ok(()), Err)
    }

    fn has_work(&self) -> bool {
        if self.had_jobs {
            self.running.values().any(|(_, kind)| *kind == Kind::Job)
        } else {
            !self.running.is_empty()
        }
    }

    fn note(&mut self, ended: Result<(Id, Result<(), BoxError>), JoinError>, shutting_down: bool) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let (name, kind) = self.running.remove(&id).unwrap_or_else(|| ("?".to_owned(), Kind::Job));
        match ended {
            Ok((_, Ok(()))) if kind == Kind::Job || shutting_down => debug!(task = name, "task ended"),
            Ok((_, Ok(()))) => self.keep(TaskError::EndedEarly { name }),
            Ok((_, Err(source))) => self.keep(TaskError::Failed { name, source }),
            Err(error) => match error.try_into_panic() {
                Ok(payload) => {
                    self.keep(TaskError::Panicked { name, message: panic_message(payload.as_ref()) })
                }
                Err(_) => debug!(task = name, "task was aborted"),
            },
        }
    }

    /// Keeps the first error for the caller and logs the others.
    fn keep(&mut self, task_error: TaskError) {
        if self.first_error.is_none() {
            self.first_error = Some(task_error);
            return;
        }
        let cause = task_error.task_source().map(ToString::to_string);
        error!(error = %task_error, cause, "another task ended badly");
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "(no message)".to_owned())
}

fn count(num_tasks: usize) -> String {
    if num_tasks == 1 { "1 task is".to_owned() } else { format!("{num_tasks} tasks are") }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
