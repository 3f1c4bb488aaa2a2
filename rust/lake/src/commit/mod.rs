//! The one commit path: nothing else changes a table.
//!
//! An [`Appender`] is a table's committer in this process. It keeps the metadata and the manifest list of the last head,
//! so that a commit needs no reading; the catalog's answer and the protocol ([`crate::protocol`]) tell when they are
//! stale. One call of [`Appender::append`] ends with the change in the table exactly once, or with a [`CommitError`] that
//! says whether its files may be deleted and whether a restart can help.

mod error;
pub mod history;
pub mod keys;
mod manifests;
pub(crate) mod retry;
mod snapshot;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iceberg::spec::{DataFile, FormatVersion, ManifestFile};
use streamify_core::ledger::Ledger;
use streamify_core::state::{Change, TableState};
use tracing::{debug, warn};
use uuid::Uuid;

pub use self::error::CommitError;
use self::retry::Retry;
use self::snapshot::{Attempt, Draft};
use crate::catalog::{Catalog, CommitFailure, LoadedTable};
use crate::protocol::{Action, Answer, Event, Intent, Machine, ResumeFrom, View};

/// How long and how often a commit is tried.
#[derive(Clone, Debug)]
pub struct CommitOptions {
    /// How long to go on while catalog or store do not answer or leave the outcome open.
    pub timeout: Duration,
    /// How many conflicts with other committers are met by another attempt.
    pub max_conflicts: u32,
    /// The operator's decision for a table whose property and snapshots disagree.
    pub resume_from: Option<ResumeFrom>,
}

impl Default for CommitOptions {
    fn default() -> Self {
        CommitOptions { timeout: Duration::from_secs(300), max_conflicts: 20, resume_from: None }
    }
}

/// Files to add, and what they mean for the table's state.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// Fresh for every append; also the prefix of the files' names.
    pub commit_id: Uuid,
    /// Complete data files in the table's default partition spec. May be empty: an empty append carries a change of
    /// state alone, because a change of properties alone could not be fenced.
    pub files: Vec<DataFile>,
    /// Changes of the state, applied in order.
    pub changes: Vec<Change>,
    /// The books of the commit; refused if they do not close.
    pub ledger: Option<Ledger>,
    /// Further entries of the snapshot summary.
    pub summary: BTreeMap<String, String>,
}

/// A commit that is in the table.
#[derive(Clone, Debug)]
pub struct Landing {
    /// Its snapshot; `None` if it was found by the table property after the snapshot had expired.
    pub snapshot_id: Option<i64>,
    /// State of the table after it.
    pub state: TableState,
    /// Attempts sent.
    pub attempts: u32,
    /// Seconds from the call to the landing.
    pub seconds: f64,
    /// Whether an attempt had landed although its answer did not say so.
    pub found: bool,
}

/// A table's committer.
#[derive(Debug)]
pub struct Appender {
    catalog: Arc<dyn Catalog>,
    table: LoadedTable,
    /// Manifests of the head of `table`; `None`: to be read.
    manifests: Option<Vec<ManifestFile>>,
    state: TableState,
    options: CommitOptions,
}

impl Appender {
    /// Takes over a table; fails if its property and its snapshots disagree and no decision is given.
    pub async fn open(
        catalog: Arc<dyn Catalog>,
        table: LoadedTable,
        options: CommitOptions,
    ) -> Result<Self, CommitError> {
        let version = table.metadata.format_version();
        if version != FormatVersion::V2 {
            return Err(CommitError::UnsupportedFormat { table: table.name, version: version.to_string() });
        }
        let state = view(&table, Uuid::nil())?
            .state(options.resume_from)
            .map_err(|refusal| CommitError::refused(&table.name, refusal, false))?;
        Ok(Appender { catalog, table, manifests: None, state, options })
    }

    /// What the table has consumed.
    pub fn state(&self) -> &TableState {
        &self.state
    }

    /// The table as of the last commit.
    pub fn table(&self) -> &LoadedTable {
        &self.table
    }

    /// Adds the files and applies the changes, exactly once. See the module for what an error means.
    pub async fn append(&mut self, append: Append) -> Result<Landing, CommitError> {
        self.check(&append)?;
        let started = Instant::now();
        let mut retry = Retry::new(&self.options);
        let mut machine = Machine::new(Intent {
            commit_id: append.commit_id,
            table_uuid: self.table.metadata.uuid(),
            changes: append.changes.clone(),
            resume_from: self.options.resume_from,
        });
        let mut draft = Draft::new(
            append.commit_id,
            append.files,
            summary(&append.changes, append.ledger, append.summary),
        );
        let mut event = Event::Loaded(view(&self.table, append.commit_id)?);
        loop {
            let again = retry.may_continue();
            event = match machine.on(event, again) {
                Action::Load => {
                    retry.pause().await;
                    self.load(append.commit_id, &mut retry).await?
                }
                Action::Post { state, .. } => {
                    Event::Answered(self.post(&mut draft, &state, &mut retry).await)
                }
                Action::Finish { snapshot_id, state, found } => {
                    // From here on property and snapshots agree again.
                    self.options.resume_from = None;
                    self.state = state.clone();
                    let seconds = started.elapsed().as_secs_f64();
                    let attempts = draft.attempts();
                    debug!(table = %self.table.name, snapshot_id, attempts, found, seconds, "committed");
                    return Ok(Landing { snapshot_id, state, attempts, seconds, found });
                }
                Action::Stop(refusal) => {
                    let refusal = retry.explain(refusal);
                    return Err(CommitError::refused(&self.table.name, refusal, machine.uncertain()));
                }
            };
        }
    }

    /// What can be refused without asking the catalog.
    fn check(&self, append: &Append) -> Result<(), CommitError> {
        let table = || self.table.name.clone();
        if let Some(ledger) = &append.ledger {
            ledger.check().map_err(|source| CommitError::LedgerOpen { table: table(), source })?;
        }
        let mut paths = HashSet::new();
        for file in &append.files {
            if !paths.insert(file.file_path()) {
                return Err(CommitError::FileTwice { table: table(), path: file.file_path().to_string() });
            }
        }
        Ok(())
    }

    async fn load(&mut self, commit_id: Uuid, retry: &mut Retry) -> Result<Event, CommitError> {
        match self.catalog.load_table(&self.table.name).await {
            Ok(Some(table)) => {
                if table.metadata.current_snapshot_id() != self.table.metadata.current_snapshot_id() {
                    self.manifests = None;
                }
                let view = view(&table, commit_id)?;
                if view.table_uuid == self.table.metadata.uuid() {
                    self.table = table;
                }
                Ok(Event::Loaded(view))
            }
            Ok(None) => Ok(Event::TableMissing),
            Err(error) => {
                retry.failed(&error);
                Ok(Event::LoadFailed(error.to_string()))
            }
        }
    }

    async fn post(&mut self, draft: &mut Draft, state: &TableState, retry: &mut Retry) -> Answer {
        let attempt = match self.attempt(draft, state).await {
            Ok(attempt) => attempt,
            Err(error) => {
                // Nothing was sent: the store did not take the manifests, or did not give them.
                retry.failed(&error);
                return Answer::Unavailable;
            }
        };
        match self.catalog.commit(&self.table, attempt.requirements, attempt.updates).await {
            Ok(table) => {
                self.manifests = Some(attempt.manifests);
                self.table = table;
                Answer::Applied { snapshot_id: attempt.snapshot_id }
            }
            Err(CommitFailure::Conflict(message)) => {
                retry.conflicted(&message);
                Answer::Conflict
            }
            Err(CommitFailure::Unavailable { message, retry_after }) => {
                retry.unavailable(&message, retry_after);
                Answer::Unavailable
            }
            Err(CommitFailure::Unknown(message)) => {
                warn!(table = %self.table.name, message, "outcome of a commit unknown, looking at the table");
                retry.unavailable(&message, None);
                Answer::Unknown
            }
            Err(CommitFailure::Rejected(message)) => Answer::Rejected(message),
        }
    }

    async fn attempt(&mut self, draft: &mut Draft, state: &TableState) -> iceberg::Result<Attempt> {
        let head = match self.manifests.take() {
            Some(manifests) => manifests,
            None => manifests::current(&self.table.metadata, &self.table.file_io).await?,
        };
        let attempt = draft.attempt(&self.table, &head, state).await;
        // Whatever happens to the attempt, these are the manifests of the head it was based on.
        self.manifests = Some(head);
        attempt
    }
}

fn view(table: &LoadedTable, commit_id: Uuid) -> Result<View, CommitError> {
    keys::view(&table.metadata, commit_id).map_err(|source| CommitError::StateUnreadable {
        table: table.name.clone(),
        source: Box::new(source),
    })
}

fn summary(
    changes: &[Change],
    ledger: Option<Ledger>,
    mut summary: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    // Maps and numbers only: cannot fail.
    summary.insert(keys::CHANGES.to_string(), serde_json::to_string(changes).unwrap_or_default());
    if let Some(ledger) = ledger {
        summary.insert(keys::LEDGER.to_string(), serde_json::to_string(&ledger).unwrap_or_default());
    }
    summary
}
