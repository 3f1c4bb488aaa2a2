//! A topic's writer: takes chunks from the intake threads, fills files, and closes them at each commit.
//!
//! It decides when a commit begins (freshness, file size, memory), asks the intake threads for a cut, and hands the
//! closed files to the topic's committer. Intake and writing go on while a commit is in flight; a cut is asked for only
//! when none is, so a slow catalog gives fewer and larger commits. What intake threads send after their cut waits here
//! until all of them have cut: it belongs to the next commit.

use std::collections::VecDeque;
use std::time::Duration;

use iceberg::spec::DataFile;
use streamify_core::dead_letter::DeadLetter;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;
use uuid::Uuid;

use crate::budget::Reservation;
use crate::buffer::{Chunk, Cut, Delivery, PartitionCut};
use crate::control::Control;
use crate::days::{Days, FileFrame};
use crate::error::StreamError;
use crate::schedule::Schedule;

/// How long the writer sleeps at most before it looks at the memory again.
const LOOK: Duration = Duration::from_millis(200);
/// Files of one commit may reach this many times the file size while the commit before is still in flight.
const MOST_FILES: u64 = 4;
/// The part of the budget at which dead letters, which wait in memory for their commit, ask for one.
const DEAD_LETTER_PART: usize = 8;

/// Everything for one commit of one topic.
#[derive(Debug)]
pub struct Flush {
    /// Its id.
    pub commit_id: Uuid,
    /// Closed data files.
    pub files: Vec<DataFile>,
    /// What could not be decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// The bytes the dead letters hold; given back when the flush is dropped.
    pub dead_letter_bytes: Reservation,
    /// How far each partition got.
    pub partitions: Vec<PartitionCut>,
    /// Kafka timestamps of the oldest and the newest record, ms since 1970.
    pub timestamps_ms: Option<(i64, i64)>,
    /// When the cut was asked for.
    pub cut_at: Instant,
}

/// What a committer has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Flushes that are in the table.
    pub num_landed: u64,
    /// Time from the cut to the landing of the last one.
    pub cost: Duration,
}

/// One topic's writer.
pub struct Writer {
    /// Index of the topic among the run's topics.
    pub topic: usize,
    /// How files are made.
    pub frame: FileFrame,
    /// Freshness goal.
    pub freshness: Duration,
    /// The intake threads that have partitions of the topic.
    pub threads: Vec<usize>,
    /// From the intake threads.
    pub deliveries: UnboundedReceiver<(usize, Delivery)>,
    /// To the committer. One may wait while one is in flight; that happens at the end of a run only.
    pub flushes: Sender<Flush>,
    /// From the committer.
    pub progress: watch::Receiver<Progress>,
    /// To the intake threads.
    pub control: std::sync::Arc<Control>,
}

/// What an intake thread has sent for the commit in the making.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ThreadState {
    Reading,
    HasCut,
    Ended,
}

/// The commit in the making.
struct Making {
    days: Days,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: Reservation,
    partitions: Vec<PartitionCut>,
    timestamps_ms: Option<(i64, i64)>,
}

impl Making {
    fn new(frame: &FileFrame) -> Self {
        Self {
            days: Days::new(frame.clone()),
            dead_letters: Vec::new(),
            dead_letter_bytes: frame.budget.reserve(0),
            partitions: Vec::new(),
            timestamps_ms: None,
        }
    }
}

struct Work {
    writer: Writer,
    making: Making,
    threads: Vec<(usize, ThreadState)>,
    later: VecDeque<(usize, Delivery)>,
    schedule: Schedule,
    cut_at: Option<Instant>,
    num_flushed: u64,
}

impl Writer {
    /// Runs until all intake threads have ended and their last cut is with the committer.
    ///
    /// If the committer or an intake thread has gone without its last word, the rest is given up: it is not committed,
    /// so the next start reads it again.
    ///
    /// # Errors
    /// A file could not be written or rows not be sorted.
    pub async fn run(self) -> Result<(), StreamError> {
        let mut work = Work {
            making: Making::new(&self.frame),
            threads: self.threads.iter().map(|thread| (*thread, ThreadState::Reading)).collect(),
            later: VecDeque::new(),
            schedule: Schedule::new(self.freshness, Instant::now()),
            cut_at: None,
            num_flushed: 0,
            writer: self,
        };
        while work.step().await? {}
        debug!(topic = work.writer.frame.contract.topic, "writer ends");
        Ok(())
    }
}

impl Work {
    /// One turn; `false` ends the work.
    async fn step(&mut self) -> Result<bool, StreamError> {
        let look =
            self.schedule.due().clamp(Instant::now() + Duration::from_millis(1), Instant::now() + LOOK);
        let is_overfull = self.is_committing()
            && self.making.days.bytes() >= MOST_FILES.saturating_mul(self.writer.frame.file_size);
        tokio::select! {
            delivery = self.writer.deliveries.recv(), if !is_overfull => match delivery {
                Some((thread, delivery)) => self.take(thread, delivery).await?,
                None => return Ok(false),
            },
            changed = self.writer.progress.changed() => match changed {
                Ok(()) => self.schedule.landed(self.writer.progress.borrow_and_update().cost),
                Err(_) => return Ok(false),
            },
            () = sleep_until(look) => {}
        }
        while self.all_have_cut() {
            if !self.flush().await? {
                return Ok(false);
            }
        }
        let is_stalled = self.writer.deliveries.is_empty() && self.writer.frame.budget.is_exhausted();
        self.making.days.relieve(is_stalled).await?;
        self.request_cut_if_due();
        Ok(true)
    }

    fn is_committing(&self) -> bool {
        self.writer.progress.borrow().num_landed < self.num_flushed
    }

    async fn take(&mut self, thread: usize, delivery: Delivery) -> Result<(), StreamError> {
        if self.state(thread) != ThreadState::Reading {
            self.later.push_back((thread, delivery));
            return Ok(());
        }
        match delivery {
            Delivery::Chunk(chunk) => self.add(*chunk).await,
            Delivery::Cut(cut) => {
                self.note_cut(thread, cut);
                Ok(())
            }
        }
    }

    async fn add(&mut self, chunk: Chunk) -> Result<(), StreamError> {
        self.making.dead_letters.extend(chunk.dead_letters);
        self.making.dead_letter_bytes.absorb(chunk.dead_letter_bytes);
        for slice in chunk.slices {
            self.making.days.add(slice, &chunk.ranges).await?;
        }
        Ok(())
    }

    fn note_cut(&mut self, thread: usize, cut: Cut) {
        self.making.partitions.extend(cut.partitions);
        if let Some((oldest, newest)) = cut.timestamps_ms {
            let (first, last) = self.making.timestamps_ms.unwrap_or((oldest, newest));
            self.making.timestamps_ms = Some((first.min(oldest), last.max(newest)));
        }
        let state = if cut.is_last { ThreadState::Ended } else { ThreadState::HasCut };
        if let Some(entry) = self.threads.iter_mut().find(|(number, _)| *number == thread) {
            entry.1 = state;
        }
    }

    fn state(&self, thread: usize) -> ThreadState {
        self.threads
            .iter()
            .find(|(number, _)| *number == thread)
            .map_or(ThreadState::Ended, |(_, state)| *state)
    }

    fn all_have_cut(&self) -> bool {
        self.threads.iter().all(|(_, state)| *state != ThreadState::Reading)
    }

    /// Closes the commit in the making and hands it on; `false` if it was the last, or if the committer has gone.
    async fn flush(&mut self) -> Result<bool, StreamError> {
        let making = std::mem::replace(&mut self.making, Making::new(&self.writer.frame));
        let (commit_id, files) = making.days.finish().await?;
        let flush = Flush {
            commit_id,
            files,
            dead_letters: making.dead_letters,
            dead_letter_bytes: making.dead_letter_bytes,
            partitions: making.partitions,
            timestamps_ms: making.timestamps_ms,
            cut_at: self.cut_at.take().unwrap_or_else(Instant::now),
        };
        if flush.partitions.iter().any(PartitionCut::changes_state) {
            self.num_flushed += 1;
            if self.writer.flushes.send(flush).await.is_err() {
                return Ok(false);
            }
        }
        if self.threads.iter().all(|(_, state)| *state == ThreadState::Ended) {
            return Ok(false);
        }
        for (_, state) in &mut self.threads {
            if *state == ThreadState::HasCut {
                *state = ThreadState::Reading;
            }
        }
        for (thread, delivery) in std::mem::take(&mut self.later) {
            self.take(thread, delivery).await?;
        }
        Ok(true)
    }

    fn request_cut_if_due(&mut self) {
        if self.cut_at.is_some() || self.is_committing() {
            return;
        }
        let now = Instant::now();
        let dead_letter_limit = self.writer.frame.budget.limit() / DEAD_LETTER_PART;
        let is_due = now >= self.schedule.due()
            || self.writer.control.is_in_hurry(self.writer.topic)
            || self.making.days.is_full()
            || self.making.dead_letter_bytes.bytes() >= dead_letter_limit;
        if is_due {
            self.cut_at = Some(now);
            self.schedule.cut(now);
            self.writer.control.request_cut(self.writer.topic);
        }
    }
}
