//! One session: from the tables' offsets through reading, writing and committing to the last commit.
//!
//! Threads and tasks of a session end in the order of the data: intake threads hand over what they hold and cut, writers
//! close their files, committers commit. A session that fails anywhere commits what is sound and leaves the rest to the
//! next one, which begins at the tables' offsets again.

use std::sync::Arc;
use std::time::Duration;

use streamify_core::DecodeOptions;
use streamify_runtime::{TaskError, Tasks};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::budget::Budget;
use crate::buffer::Delivery;
use crate::committer::{CommitTask, Hint};
use crate::control::Control;
use crate::days::FileFrame;
use crate::dead_letters::DeadLetters;
use crate::error::StreamError;
use crate::intake::{Assigned, ChunkGoal, Intake, IntakeTopic, Shared, shares};
use crate::kafka::membership::Held;
use crate::kafka::{KafkaClient, Server, TopicPartition};
use crate::lease::renewal_interval;
use crate::live::{Beginning, Live};
use crate::metrics::Metrics;
use crate::report::Report;
use crate::settings::{Settings, Until};
use crate::skips::Skips;
use crate::start::{Ready, ReadyTopic};
use crate::watch::Watch;
use crate::writer::{Progress, Writer};

/// How long the last commit may take after a stop signal; the report to Dagster needs the rest of the 8 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Why a session ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All that was in the topics at the start is committed.
    CaughtUp,
    /// The time is over.
    MaxDuration,
    /// A signal.
    Stopped,
    /// The topics, or the group's share of them, have changed: begin anew.
    Reassign,
}

impl End {
    /// Returns the reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CaughtUp => "caught up",
            Self::MaxDuration => "maximum duration reached",
            Self::Stopped => "stopped by signal",
            Self::Reassign => "topics or group changed",
        }
    }
}

/// What sessions of one run share.
#[derive(Clone)]
pub struct Frame {
    /// Settings.
    pub settings: Arc<Settings>,
    /// What the run has done.
    pub report: Arc<Report>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// How far the run is.
    pub live: Arc<Live>,
    /// Cancelled by the first signal.
    pub shutdown: CancellationToken,
    /// When the run is to end.
    pub deadline: Option<Instant>,
}

/// The pieces of a session before they run.
struct Parts {
    control: Arc<Control>,
    budget: Arc<Budget>,
    client: Arc<KafkaClient>,
    server: Server,
    partitions: Vec<TopicPartition>,
    /// Given back last, when nothing of it is in flight any more.
    held: Option<Held>,
}

/// Runs a session to its end.
///
/// # Errors
/// What made it end; whether beginning anew may help, [`StreamError::is_retryable`] tells.
pub async fn run(frame: &Frame, ready: Ready) -> Result<End, StreamError> {
    let Ready { topics, dead_letters, client, assigned, identities, held } = ready;
    let token = frame.shutdown.child_token();
    let mut tasks = Tasks::new(token);
    let partitions = assigned.iter().map(|one| one.partition.clone()).collect();
    let parts = Parts {
        control: Control::new(topics.len(), assigned.iter().filter(|one| one.end.is_some()).count()),
        budget: Budget::new(frame.settings.memory.pipeline),
        server: client.spawn_server()?,
        client,
        partitions,
        held,
    };
    frame.metrics.reading_begins();
    frame.live.begin(beginnings(&topics, &assigned), Arc::clone(&parts.control));
    let shares = shares(assigned, frame.settings.decode_threads);
    let intake_topics = spawn_lanes(frame, &parts, topics, dead_letters, &shares, &mut tasks);
    spawn_intake(frame, &parts, shares, &intake_topics, &mut tasks)?;
    drop(intake_topics);

    let watch = Watch {
        client: &parts.client,
        server: &parts.server,
        identities: &identities,
        partitions: &parts.partitions,
        metrics: &frame.metrics,
        live: &frame.live,
        budget: &parts.budget,
        outage_limit: frame.settings.commit_timeout,
    };
    let ended = until_ended(frame, &parts, &watch, &mut tasks).await;
    parts.control.stop();
    frame.live.end();
    let drained = drain(frame, tasks).await;
    frame.report.note_peak(parts.budget.peak());
    let Parts { server, client, held, .. } = parts;
    let closed = spawn_blocking(move || {
        let stopped = server.stop();
        drop(client);
        stopped
    });
    if let Ok(Err(error)) = closed.await {
        warn!(%error, "the Kafka client did not end well");
    }
    drop(held);
    drained?;
    ended
}

fn beginnings(topics: &[ReadyTopic], assigned: &[Assigned]) -> Vec<Beginning> {
    let starts = |index| {
        let ours = assigned.iter().filter(move |one| one.topic == index);
        ours.map(|one| (one.partition.partition, one.start)).collect()
    };
    let beginning = |(index, topic): (usize, &ReadyTopic)| Beginning {
        topic: topic.contract.topic.clone(),
        epoch: topic.origin.epoch,
        snapshot_id: topic.appender.table().metadata.current_snapshot_id(),
        starts: starts(index),
    };
    topics.iter().enumerate().map(beginning).collect()
}

/// Starts a writer and a committer for each topic; returns what the intake threads need of them.
fn spawn_lanes(
    frame: &Frame,
    parts: &Parts,
    topics: Vec<ReadyTopic>,
    dead_letters: streamify_lake::commit::Committer,
    shares: &[Vec<Assigned>],
    tasks: &mut Tasks,
) -> Vec<IntakeTopic> {
    let settings = &frame.settings;
    let permits = Arc::new(Semaphore::new(settings.open_files));
    let known = shares.iter().flatten().filter(|one| !one.letters.is_empty());
    let known = known.map(|one| (one.partition.clone(), one.letters.clone())).collect();
    let dead_letters = Arc::new(DeadLetters::new(dead_letters, known));
    let num_topics = topics.len();
    let mut intake_topics = Vec::with_capacity(num_topics);
    for (index, topic) in topics.into_iter().enumerate() {
        let (deliveries_tx, deliveries) = mpsc::unbounded_channel::<(usize, Delivery)>();
        let (flushes_tx, flushes) = mpsc::channel(1);
        let (progress_tx, progress) = watch::channel(Progress::default());
        let has_topic = |share: &&Vec<Assigned>| share.iter().any(|one| one.topic == index);
        let threads = shares.iter().zip(0..).filter(|(share, _)| has_topic(share)).map(|(_, thread)| thread);
        let name = &topic.contract.topic;
        let writer = Writer {
            topic: index,
            frame: FileFrame {
                contract: Arc::clone(&topic.contract),
                table: topic.appender.table().clone(),
                epoch: topic.origin.epoch,
                permits: Arc::clone(&permits),
                budget: Arc::clone(&parts.budget),
                file_size: settings.file_size,
                waiting_bytes: parts.budget.limit() / 2 / num_topics,
            },
            freshness: settings.freshness,
            threads: threads.collect(),
            deliveries,
            flushes: flushes_tx,
            progress,
            control: Arc::clone(&parts.control),
        };
        tasks.spawn_job(format!("writer of {name}"), writer.run());
        intake_topics.push(IntakeTopic {
            contract: Arc::clone(&topic.contract),
            options: decode_options(settings, topic.origin.epoch),
            deliveries: deliveries_tx,
        });
        let task_name = format!("committer of {name}");
        let committer = CommitTask {
            origin: topic.origin,
            appender: topic.appender,
            dead_letters: Arc::clone(&dead_letters),
            flushes,
            progress: progress_tx,
            hint: match (&parts.held, &settings.group_id) {
                (Some(held), _) => Hint::Member(held.hints()),
                (None, Some(_)) => Hint::Client(Arc::clone(&parts.client)),
                (None, None) => Hint::Nobody,
            },
            report: Arc::clone(&frame.report),
            metrics: Arc::clone(&frame.metrics),
            live: Arc::clone(&frame.live),
            lease_interval: settings.lease_time.map(renewal_interval),
            dagster_run_id: settings.dagster_run_id.clone(),
        };
        tasks.spawn_job(task_name, committer.run());
    }
    intake_topics
}

fn decode_options(settings: &Settings, source_epoch: u32) -> DecodeOptions {
    let ahead = settings.max_event_time_ahead.as_millis();
    DecodeOptions {
        max_event_time_ahead_ms: i64::try_from(ahead).unwrap_or(i64::MAX),
        source_epoch,
        ..DecodeOptions::default()
    }
}

fn spawn_intake(
    frame: &Frame,
    parts: &Parts,
    shares: Vec<Vec<Assigned>>,
    topics: &[IntakeTopic],
    tasks: &mut Tasks,
) -> Result<(), StreamError> {
    let starts = shares.iter().map(|share| share.iter().map(Assigned::start).collect()).collect();
    let queues = parts.client.assign(starts)?;
    let kafka_settings = parts.client.settings().clone();
    let shared = Arc::new(Shared {
        control: Arc::clone(&parts.control),
        budget: Arc::clone(&parts.budget),
        metrics: Arc::clone(&frame.metrics),
        skips: Arc::new(Skips::new(frame.settings.on_skip, kafka_settings, Handle::current())),
        goal: ChunkGoal::share(parts.budget.limit(), shares.len()),
    });
    for (number, (queue, share)) in queues.into_iter().zip(shares).enumerate() {
        parts.control.add_waker(queue.waker());
        let drop_record = frame.settings.drop_record_for_test && number == 0;
        let intake = Intake::new(number, queue, share, topics, Arc::clone(&shared), drop_record);
        let thread = spawn_blocking(move || intake.run());
        tasks.spawn_job(format!("intake {number}"), async move {
            match thread.await {
                Ok(result) => result,
                Err(_) => Err(StreamError::Stopped { part: format!("intake thread {number}") }),
            }
        });
    }
    Ok(())
}

/// Waits for whatever ends the session first. A task's error is kept by `tasks`.
async fn until_ended(
    frame: &Frame,
    parts: &Parts,
    watch: &Watch<'_>,
    tasks: &mut Tasks,
) -> Result<End, StreamError> {
    // Without partitions there is no task whose end would mean something.
    let has_tasks = !parts.partitions.is_empty();
    let revoked = async {
        match &parts.held {
            Some(held) => held.revoked().await,
            None => std::future::pending().await,
        }
    };
    let is_bounded = frame.settings.until == Some(Until::CaughtUp);
    let far = Instant::now() + Duration::from_secs(60 * 60 * 24 * 365);
    tokio::select! {
        biased;
        () = frame.shutdown.cancelled() => Ok(End::Stopped),
        () = tasks.supervise(), if has_tasks => Ok(End::Stopped),
        () = parts.control.caught_up(), if is_bounded => Ok(End::CaughtUp),
        () = revoked => Ok(End::Reassign),
        () = sleep_until(frame.deadline.unwrap_or(far)), if frame.deadline.is_some() => Ok(End::MaxDuration),
        changed = watch.run() => changed.map(|()| End::Reassign),
    }
}

/// Waits until everything handed over is committed; after a stop signal only as long as a shutdown has.
async fn drain(frame: &Frame, mut tasks: Tasks) -> Result<(), StreamError> {
    // The appender gives up at the commit timeout; closing files is bounded by the store client's retries.
    let limit = 2 * frame.settings.commit_timeout + Duration::from_secs(60);
    let too_slow = async {
        frame.shutdown.cancelled().await;
        sleep(DRAIN_LIMIT).await;
    };
    let drained = async {
        // Returns at once if a task has failed or a signal has come; without these, all is well however long it takes.
        let _ = timeout(limit, tasks.supervise()).await;
        tasks.drain(limit).await
    };
    tokio::select! {
        drained = drained => drained.map_err(task_failed),
        () = too_slow => Err(StreamError::ShutdownTooSlow { waited: DRAIN_LIMIT }),
    }
}

fn task_failed(error: TaskError) -> StreamError {
    match error {
        TaskError::Failed { name, source } => match source.downcast::<StreamError>() {
            Ok(error) => *error,
            Err(_) => StreamError::Stopped { part: name },
        },
        TaskError::Panicked { name, message } => {
            StreamError::Stopped { part: format!("{name} (panic: {message})") }
        }
        TaskError::EndedEarly { name } => StreamError::Stopped { part: name },
        TaskError::StillRunning { names, waited } => {
            StreamError::OutageTooLong { what: format!("{} did not end", names.join(", ")), waited }
        }
    }
}
