//! What every job works with: the lake, a memory budget, a way to be stopped, and somebody to tell how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use streamify_lake::Lake;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::commit::CommitOptions;
use tokio_util::sync::CancellationToken;

use crate::error::BatchError;

/// The smallest memory budget with which a job makes progress, in bytes.
pub const LEAST_BUDGET: usize = 64_000_000;
/// The budget if none is asked for, in bytes.
pub const DEFAULT_BUDGET: usize = 1 << 30;
/// What a job takes beside the rows and ids that it counts: code, threads and TLS 30 MB, a batch of rows in three shapes, the row
/// group being read and the one being written, an upload's parts. Measured.
const UNCOUNTED: usize = 80_000_000;
/// The part of the counted bytes that one sorted run takes; it is there about twice while it is put in order, and encoded once.
const RUN_PART: usize = 6;

/// How far a job is. Told after each partition or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is at, for people: `silver_listen_events: reading 2026-02-23`.
    pub what: String,
    /// Steps done.
    pub done: u64,
    /// Steps in all, as far as is known by now.
    pub total: u64,
    /// Rows handled so far.
    pub rows: u64,
}

/// Takes what a job tells.
pub type Listener = Arc<dyn Fn(&Progress) + Send + Sync>;

/// Counts what was read, over all tables of a job.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Meter {
    /// Notes a data file that is read: its rows, and the bytes of the columns that are fetched.
    pub fn file(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Rows, bytes and files read.
    pub fn read(&self) -> (u64, u64, u64) {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (value(&self.rows), value(&self.bytes), value(&self.files))
    }
}

/// What every job works with. Clones share everything.
#[derive(Clone)]
pub struct Context {
    /// Catalog and store.
    pub lake: Lake,
    /// Bytes that a job may hold; below [`LEAST_BUDGET`] it is refused.
    pub budget: usize,
    /// Stops a job at the next batch of rows; nothing of it is committed then.
    pub cancel: CancellationToken,
    /// Time and attempts of a commit.
    pub commit: CommitOptions,
    /// How often a job begins anew when other commits overtook it.
    pub max_restarts: u32,
    /// Is told how far the job is.
    pub listener: Listener,
    /// What was read.
    pub meter: Arc<Meter>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Context");
        debug.field("lake", &self.lake).field("budget", &self.budget).field("commit", &self.commit);
        debug.finish_non_exhaustive()
    }
}

impl Context {
    /// A context with the default budget that tells nobody and is never stopped.
    pub fn new(lake: Lake) -> Self {
        Self {
            lake,
            budget: DEFAULT_BUDGET,
            cancel: CancellationToken::new(),
            commit: CommitOptions::default(),
            max_restarts: 5,
            listener: Arc::new(|_| {}),
            meter: Arc::default(),
        }
    }

    /// Fails if somebody asked the job to stop.
    ///
    /// # Errors
    /// [`BatchError::Cancelled`]
    pub fn check(&self) -> Result<(), BatchError> {
        if self.cancel.is_cancelled() { Err(BatchError::Cancelled) } else { Ok(()) }
    }

    /// Tells how far the job is.
    pub fn tell(&self, what: impl Into<String>, done: usize, total: usize, rows: u64) {
        let (done, total) = (done as u64, total as u64);
        (self.listener)(&Progress { what: what.into(), done, total, rows });
    }

    /// Bytes for the rows and ids that a job holds, which it counts: the budget without what is there in any case,
    /// but a quarter at least.
    pub fn counted_bytes(&self) -> usize {
        self.budget.saturating_sub(UNCOUNTED).max(self.budget / 4)
    }

    /// Bytes of rows that are put in order at once.
    pub fn run_bytes(&self) -> usize {
        self.counted_bytes() / RUN_PART
    }

    /// Loads a table that must exist.
    ///
    /// # Errors
    /// [`BatchError::TableMissing`], [`BatchError::Lake`]
    pub async fn table(&self, name: &str) -> Result<LoadedTable, BatchError> {
        match self.lake.catalog().load_table(name).await {
            Ok(Some(table)) => Ok(table),
            Ok(None) => Err(BatchError::TableMissing { table: name.to_owned() }),
            Err(source) => Err(BatchError::Catalog { table: name.to_owned(), source }),
        }
    }
}
