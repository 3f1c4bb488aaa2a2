//! The one commit path: nothing else changes a table's rows.
//!
//! A [`Committer`] stands for a table in this process. It keeps the metadata and the manifest list of the last head,
//! so that a commit needs no reading; the catalog's answer and the protocol ([`crate::protocol`]) tell when they are
//! stale. One call of [`Committer::commit`] ends with the change in the table exactly once, or with a [`CommitError`] that
//! says whether its files may be deleted and whether a restart can help.
//!
//! Every commit adds files, removes files, and changes the state, under a rule that is checked on the metadata of each
//! attempt:
//!
//! | kind | [`Kind`] | what may have happened since the base | else |
//! | --- | --- | --- | --- |
//! | append | [`Kind::Append`] | anything that left the state as expected | fenced |
//! | insert-new | [`Kind::Append`] with [`Commit::untouched`] | as append, and no rows added to or removed from these partitions | overtaken |
//! | replace partitions | [`Kind::Overwrite`] with [`Commit::untouched`] | the same, and the removed files are live | overtaken |
//! | rewrite files | [`Kind::Replace`] | anything, while the removed files are live and have no delete files | overtaken |
//! | rewrite manifests | [`Kind::Manifests`] | anything: each attempt takes the manifests of its base | - |
//!
//! A committer with a lease ([`Committer::set_claim`]) renews it with each commit, and is refused (`Held`) while another writer
//! has it. One without, such as the care of tables, commits beside any.
//!
//! Overtaken means: nothing was committed; read again and try anew. Rewritten files (`replace` snapshots, whoever made
//! them) leave the rows as they were and overtake only those who remove the same files.

pub mod claim;
mod error;
pub mod history;
pub mod keys;
mod leases;
mod manifests;
mod regroup;
mod removal;
pub(crate) mod retry;
mod rule;
mod snapshot;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iceberg::spec::{DataFile, FormatVersion, MAIN_BRANCH, ManifestFile, SnapshotRetention};
use streamify_core::ledger::Ledger;
use streamify_core::state::{Change, TableState};
use tracing::{debug, warn};
use uuid::Uuid;

use self::claim::Claim;
pub use self::error::CommitError;
pub(crate) use self::manifests::{current as manifests_of_head, entries_of as snapshot_entries};
use self::retry::Retry;
pub use self::rule::Untouched;
use self::snapshot::{Attempt, AttemptError, Draft};
use crate::care::refs;
use crate::catalog::{Catalog, CommitFailure, LoadedTable};
use crate::protocol::{Action, Answer, Event, Intent, Machine, Refusal, ResumeFrom, View};
use crate::scan::LiveFile;

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

/// What a commit does to the rows; becomes the snapshot's operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Adds rows.
    #[default]
    Append,
    /// Puts rows in the place of others.
    Overwrite,
    /// Puts the same rows into other files.
    Replace,
    /// Puts the same files into other manifests, sorted by partition.
    Manifests,
}

/// Files to add and to remove, and what they mean for the table's state.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Fresh for every commit; also the prefix of the files' names.
    pub commit_id: Uuid,
    /// What it does to the rows.
    pub kind: Kind,
    /// Complete data files in the table's default partition spec. May be empty: an empty append carries a change of
    /// state alone, because a change of properties alone could not be fenced.
    pub files: Vec<DataFile>,
    /// Live files that leave the table, of any partition spec.
    pub removed: Vec<LiveFile>,
    /// What must not have been written to since the rows were read that this commit was computed from.
    pub untouched: Option<Untouched>,
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
pub struct Committer {
    catalog: Arc<dyn Catalog>,
    table: LoadedTable,
    /// Manifests of the head of `table`; `None`: to be read.
    manifests: Option<Vec<ManifestFile>>,
    state: TableState,
    /// How long `main` keeps its snapshots, as of the last time that the table was loaded.
    retention: SnapshotRetention,
    options: CommitOptions,
    /// Whether `table` was not loaded for the commit at work.
    base_is_old: bool,
    /// Its lease; without one it commits beside those of others.
    claim: Option<Claim>,
}

impl Committer {
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
        let retention = retention(&table);
        Ok(Committer {
            catalog,
            table,
            manifests: None,
            state,
            retention,
            options,
            base_is_old: true,
            claim: None,
        })
    }

    /// What the table has consumed.
    pub fn state(&self) -> &TableState {
        &self.state
    }

    /// The table as of the last commit.
    pub fn table(&self) -> &LoadedTable {
        &self.table
    }

    /// Takes the table's present state for the base of the next commit; without it a commit begins at the last head that
    /// this committer saw, and learns of newer ones by a conflict.
    ///
    /// # Errors
    /// The catalog does not answer, the table is gone or another one, or its state is not usable.
    pub async fn refresh(&mut self) -> Result<(), CommitError> {
        let mut retry = Retry::new(&self.options);
        loop {
            let refused = |refusal| CommitError::refused(&self.table.name, refusal, false);
            match self.catalog.load_table(&self.table.name).await {
                Ok(Some(table)) if table.metadata.uuid() == self.table.metadata.uuid() => {
                    self.state =
                        view(&table, Uuid::nil())?.state(self.options.resume_from).map_err(refused)?;
                    if table.metadata.current_snapshot_id() != self.table.metadata.current_snapshot_id() {
                        self.manifests = None;
                    }
                    self.retention = retention(&table);
                    self.table = table;
                    return Ok(());
                }
                Ok(Some(table)) => {
                    let (expected, found) = (self.table.metadata.uuid(), table.metadata.uuid());
                    return Err(refused(Refusal::TableReplaced { expected, found }));
                }
                Ok(None) => return Err(refused(Refusal::TableMissing)),
                Err(error) => {
                    retry.failed(&error);
                    if !error.is_retryable() || !retry.may_continue() {
                        let last = crate::catalog::with_causes(&error);
                        return Err(CommitError::refused(&self.table.name, Refusal::GaveUp { last }, false));
                    }
                    retry.pause().await;
                }
            }
        }
    }

    /// Adds and removes the files and applies the changes, exactly once. See the module for what an error means.
    ///
    /// # Errors
    /// [`CommitError`]; with [`CommitError::overtaken`] nothing was committed, and the same work on a refreshed table may
    /// succeed.
    pub async fn commit(&mut self, commit: Commit) -> Result<Landing, CommitError> {
        self.check(&commit)?;
        let started = Instant::now();
        self.base_is_old = true;
        let mut retry = Retry::new(&self.options);
        let mut machine = Machine::new(Intent {
            commit_id: commit.commit_id,
            table_uuid: self.table.metadata.uuid(),
            changes: commit.changes.clone(),
            resume_from: self.options.resume_from,
        });
        let commit_id = commit.commit_id;
        let mut draft = Draft::new(commit, self.retention.clone());
        if let Some(claim) = &self.claim {
            draft.note(keys::WRITER_ID, claim.writer_id());
        }
        let mut event = Event::Loaded(view(&self.table, commit_id)?);
        loop {
            let again = retry.may_continue();
            event = match machine.on(event, again) {
                Action::Load => {
                    retry.pause().await;
                    self.load(commit_id, &mut retry).await?
                }
                Action::Post { state, .. } => {
                    Event::Answered(self.post(&mut draft, &state, &mut retry).await)
                }
                Action::Finish { snapshot_id, state, found } => {
                    // From here on property and snapshots agree again.
                    self.options.resume_from = None;
                    if let Some(claim) = &mut self.claim {
                        claim.landed(now_ms());
                    }
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
    fn check(&self, commit: &Commit) -> Result<(), CommitError> {
        let table = || self.table.name.clone();
        if let Some(ledger) = &commit.ledger {
            ledger.check().map_err(|source| CommitError::LedgerOpen { table: table(), source })?;
        }
        let mut paths = HashSet::new();
        for file in commit.files.iter().chain(commit.removed.iter().map(|live| &live.file)) {
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
                self.base_is_old = false;
                if view.table_uuid == self.table.metadata.uuid() {
                    self.retention = retention(&table);
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
            Err(AttemptError::Overtaken(by)) => return Answer::Overtaken(by),
            // The lease may have been given up since the base was read.
            Err(AttemptError::Held(error)) if self.base_is_old => {
                retry.conflicted(&error.to_string());
                return Answer::Conflict;
            }
            Err(AttemptError::Held(error)) => return Answer::Held(error.to_string()),
            Err(AttemptError::Store(error)) => {
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

    async fn attempt(&mut self, draft: &mut Draft, state: &TableState) -> Result<Attempt, AttemptError> {
        let claim = self.claim.as_ref();
        let next = claim.map(|claim| claim.next(&keys::leases(&self.table.metadata), now_ms()));
        let leases = next.transpose().map_err(AttemptError::Held)?;
        let head = match self.manifests.take() {
            Some(manifests) => manifests,
            None => manifests::current(&self.table.metadata, &self.table.file_io).await?,
        };
        let attempt = draft.attempt(&self.table, &head, state, leases.as_ref()).await;
        // Whatever happens to the attempt, these are the manifests of the head it was based on.
        self.manifests = Some(head);
        attempt
    }
}

/// Without snapshots there is no `main` yet, and nothing to keep.
fn retention(table: &LoadedTable) -> SnapshotRetention {
    let main = refs::all(&table.metadata).ok().and_then(|mut refs| refs.remove(MAIN_BRANCH));
    main.map_or_else(|| SnapshotRetention::branch(None, None, None), |main| main.retention)
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn view(table: &LoadedTable, commit_id: Uuid) -> Result<View, CommitError> {
    keys::view(&table.metadata, commit_id).map_err(|source| CommitError::StateUnreadable {
        table: table.name.clone(),
        source: Box::new(source),
    })
}
