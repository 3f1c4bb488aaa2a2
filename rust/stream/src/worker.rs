//! The worker: sessions one after the other until the work is done, and what may be tried again in between.
//!
//! A failure that beginning anew can heal (a store that lost an upload, a Kafka client that died, a partition whose log
//! was cut) ends a session, not the run: the next session begins at the tables' offsets. That goes on for at most
//! `--commit-timeout` without a commit in between. At the start nothing is tried beyond `--connect-timeout`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use streamify_core::Contract;
use streamify_lake::LakeSettings;
use streamify_runtime::endpoint::Health;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::StreamError;
use crate::kafka::membership::Membership;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::replay;
use crate::report::Report;
use crate::session::{self, End, Frame};
use crate::settings::{Assignment, Settings};
use crate::start::prepare;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A worker that has not begun.
pub struct Worker {
    settings: Arc<Settings>,
    lake: LakeSettings,
    contracts: Vec<Arc<Contract>>,
    report: Arc<Report>,
    metrics: Arc<Metrics>,
    live: Arc<Live>,
    health: Health,
}

impl Worker {
    /// Chooses the contracts and registers the metrics.
    ///
    /// # Errors
    /// A contract is not valid, or a topic has none.
    pub fn new(
        mut settings: Settings,
        lake: LakeSettings,
        registry: &mut Registry,
        health: Health,
        started: Instant,
    ) -> Result<Self, StreamError> {
        let mut contracts = contracts(&settings)?;
        if let Some(replay) = &mut settings.replay {
            replay::redirect(replay, &mut contracts)?;
        }
        let topics: Vec<String> = contracts.iter().map(|contract| contract.topic.clone()).collect();
        let tables = contracts.iter().map(|contract| (contract.topic.clone(), contract.table.clone()));
        Ok(Self {
            report: Arc::new(Report::new(tables, started)),
            metrics: Arc::new(Metrics::new(registry, &topics)),
            settings: Arc::new(settings),
            live: Arc::default(),
            lake,
            contracts,
            health,
        })
    }

    /// Returns what was done so far; grows while the worker runs.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report)
    }

    /// Returns how far the run is, partition by partition.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Runs until the work is done or `shutdown` is cancelled.
    ///
    /// # Errors
    /// What ended the run; everything in the report is in the tables all the same.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<End, StreamError> {
        let frame = Frame {
            settings: Arc::clone(&self.settings),
            report: Arc::clone(&self.report),
            metrics: Arc::clone(&self.metrics),
            live: Arc::clone(&self.live),
            deadline: self.settings.max_duration.map(|limit| tokio::time::Instant::now() + limit),
            shutdown,
        };
        let mut trouble = Trouble::new(self.settings.commit_timeout);
        let mut is_first = true;
        let mut member = None;
        loop {
            let ended = self.session(&frame, &mut member, is_first).await;
            self.health.set_ready(false);
            match ended {
                Ok(End::Reassign) => info!("beginning a new session"),
                Ok(end) => {
                    leave(member.take()).await;
                    return Ok(end);
                }
                Err((error, has_begun)) => {
                    let is_over = !has_begun && is_first || frame.shutdown.is_cancelled();
                    let pause = trouble.pause(self.report.num_commits());
                    let (Some(pause), true, false) = (pause, self.may_heal(&error), is_over) else {
                        return Err(error);
                    };
                    // Whoever else is in the group may do better with our share meanwhile.
                    leave(member.take()).await;
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, cause, pause_seconds = pause.as_secs_f64(), "session failed, beginning anew from the tables' offsets");
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = frame.shutdown.cancelled() => return Ok(End::Stopped),
                    }
                }
            }
            is_first = false;
        }
    }

    /// Tells whether beginning anew may help. A group may give a partition to another worker while our last commit is in
    /// flight; then the table lets one of us through, and the other begins anew with what it is given next.
    fn may_heal(&self, error: &StreamError) -> bool {
        error.is_retryable() || self.settings.assignment == Assignment::Group && error.is_fenced()
    }

    /// Runs one session; an error tells whether reading had begun.
    async fn session(
        &self,
        frame: &Frame,
        member: &mut Option<Membership>,
        is_first: bool,
    ) -> Result<End, (StreamError, bool)> {
        let far = tokio::time::Instant::now() + Duration::from_secs(60 * 60 * 24 * 365);
        let ready = tokio::select! {
            ready = prepare(&self.settings, &self.lake, &self.contracts, member) => ready.map_err(|error| (error, false))?,
            () = frame.shutdown.cancelled() => return Ok(End::Stopped),
            () = sleep_until(frame.deadline.unwrap_or(far)), if frame.deadline.is_some() => return Ok(End::MaxDuration),
        };
        if is_first {
            info!(topics = ready.topics.len(), partitions = ready.assigned.len(), "ready");
        }
        self.health.set_ready(true);
        session::run(frame, ready).await.map_err(|error| (error, true))
    }
}

/// Leaves the group, which may take a moment.
async fn leave(member: Option<Membership>) {
    let _ = spawn_blocking(move || drop(member)).await;
}

/// Returns the contracts of the topics that are read.
///
/// # Errors
/// A contract is not valid, or a topic has none.
pub fn contracts(settings: &Settings) -> Result<Vec<Arc<Contract>>, StreamError> {
    let all = match &settings.contracts {
        Some(folder) => streamify_core::load_dir(folder)?,
        None => streamify_core::builtin(),
    };
    if settings.topics.is_empty() {
        return Ok(all);
    }
    let find = |topic: &String| {
        all.iter().find(|contract| contract.topic == *topic).cloned().ok_or_else(|| {
            StreamError::UnknownTopic {
                topic: topic.clone(),
                known: all
                    .iter()
                    .map(|contract| format!("`{}`", contract.topic))
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        })
    };
    let mut chosen: Vec<Arc<Contract>> = settings.topics.iter().map(find).collect::<Result<_, _>>()?;
    chosen.sort_by(|left, right| left.topic.cmp(&right.topic));
    chosen.dedup_by(|left, right| left.topic == right.topic);
    Ok(chosen)
}

/// Failures in a row, without a commit between them.
struct Trouble {
    limit: Duration,
    since: Option<Instant>,
    num_commits: u64,
    pause: Duration,
}

impl Trouble {
    fn new(limit: Duration) -> Self {
        Self { limit, since: None, num_commits: 0, pause: FIRST_PAUSE }
    }

    /// Returns how long to wait before the next session; `None` if it has gone on for too long.
    fn pause(&mut self, num_commits: u64) -> Option<Duration> {
        if self.since.is_none() || num_commits > self.num_commits {
            self.since = Some(Instant::now());
            self.num_commits = num_commits;
            self.pause = FIRST_PAUSE;
        }
        if self.since.is_some_and(|since| since.elapsed() >= self.limit) {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_commit_lands_and_end_with_the_limit() {
        let mut trouble = Trouble::new(Duration::from_secs(60));
        assert_eq!(trouble.pause(0), Some(FIRST_PAUSE));
        assert_eq!(trouble.pause(0), Some(FIRST_PAUSE * 2));
        assert_eq!(trouble.pause(3), Some(FIRST_PAUSE), "a commit in between begins the count anew");

        assert_eq!(Trouble::new(Duration::ZERO).pause(0), None);
    }
}
