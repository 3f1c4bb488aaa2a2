//! The commit protocol as a state machine without I/O: the driver in [`crate::commit`] feeds it what the catalog
//! answered and does what it says. `tests/protocol_model` explores this very code exhaustively.
//!
//! Guarantees, whatever answers are lost, late or repeated:
//! * a change is applied only to the state it was made for, checked on the metadata that the attempt is based on;
//! * a landing of this commit is recognised by its commit id, never by its offsets: the same offsets under another id
//!   are another writer's, and the commit is refused;
//! * after an answer that leaves the outcome open, the table is looked at before anything else happens;
//! * every run ends: landed, or stopped with a [`Refusal`] that says whether an attempt may still land.
//!
//! A late attempt cannot do harm: it asserts the head it was based on, so it lands before the next attempt (which then
//! sees it) or never.

use streamify_core::state::{Change, StateConflict, TableState};
use uuid::Uuid;

/// Which of two differing states to go on from after a rollback or a restored table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResumeFrom {
    /// The newest state in the snapshots of `main`: what was rolled back is read again.
    Snapshot,
    /// The table property: what was rolled back stays out.
    Property,
}

/// What one commit wants. Never changes between attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Intent {
    /// Names this commit in the snapshot summary and in the names of its files.
    pub commit_id: Uuid,
    /// The table that the files were written for.
    pub table_uuid: Uuid,
    /// What it does to the state.
    pub changes: Vec<Change>,
    /// The operator's decision for a table whose two states differ.
    pub resume_from: Option<ResumeFrom>,
}

/// What became of the commit that wrote the table property, judged by the snapshots of `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PropertyCommit {
    /// It is an ancestor of the head, or the head.
    Present,
    /// The snapshots do not reach back far enough to tell: it has expired.
    Expired,
    /// It is not an ancestor of the head: `main` was rolled back, or the table restored.
    RolledBack,
}

/// What the protocol needs to know of a table's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Identity of the table; another one means that it was dropped and made anew.
    pub table_uuid: Uuid,
    /// Snapshot that `main` points to.
    pub head: Option<i64>,
    /// State in the table property.
    pub property: Option<TableState>,
    /// Commit id in the table property: the last commit that wrote it.
    pub property_commit_id: Option<Uuid>,
    /// What became of that commit.
    pub property_commit: PropertyCommit,
    /// State in the newest snapshot of `main`'s ancestry that has one.
    pub ancestry: Option<TableState>,
    /// The snapshot of this commit in `main`'s ancestry.
    pub landed: Option<i64>,
}

impl View {
    /// The state to build on: property and ancestry agree, or the ancestry has expired and the property holds.
    ///
    /// Anything else means that somebody rolled back or restored the table, and `resume_from` must say which holds.
    pub fn state(&self, resume_from: Option<ResumeFrom>) -> Result<TableState, Refusal> {
        let rolled_back = self.property_commit == PropertyCommit::RolledBack;
        match (&self.property, &self.ancestry, resume_from) {
            (None, None, _) => Ok(TableState::default()),
            (Some(property), None, _) if !rolled_back => Ok(property.clone()),
            (Some(property), Some(ancestry), _) if property == ancestry => Ok(property.clone()),
            (_, Some(ancestry), Some(ResumeFrom::Snapshot)) => Ok(ancestry.clone()),
            (property, _, Some(ResumeFrom::Property)) => Ok(property.clone().unwrap_or_default()),
            (property, ancestry, _) => Err(Refusal::StateMismatch {
                property: property.as_ref().map(TableState::to_json),
                snapshot: ancestry.as_ref().map(TableState::to_json),
            }),
        }
    }
}

/// How the catalog answered one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Applied.
    Applied {
        /// the new head
        snapshot_id: i64,
    },
    /// Surely not applied: the base was stale.
    Conflict,
    /// Surely not applied: the catalog would not take it now.
    Unavailable,
    /// Applied or not, or still to be applied: timeout, server error, lost answer.
    Unknown,
    /// Surely not applied, and never will be.
    Rejected(String),
    /// Not sent: what the commit was computed from has changed.
    Overtaken(String),
    /// Not sent: another writer has the lease.
    Held(String),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The table's present metadata.
    Loaded(View),
    /// The metadata could not be had.
    LoadFailed(String),
    /// The table does not exist.
    TableMissing,
    /// The attempt was answered.
    Answered(Answer),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Load the table's metadata.
    Load,
    /// Send an attempt based on the view just seen; it must assert the table's uuid and `head` as the head of `main`.
    Post {
        /// head the attempt is based on
        head: Option<i64>,
        /// state after the commit, to be written to the summary and to the property
        state: TableState,
    },
    /// The commit is in the table.
    Finish {
        /// its snapshot; `None`: landed earlier, and the snapshot has expired since
        snapshot_id: Option<i64>,
        /// state of the table right after it
        state: TableState,
        /// whether an earlier attempt had landed unnoticed
        found: bool,
    },
    /// The commit is not in the table as far as can be known.
    Stop(Refusal),
}

/// Why a commit stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The table was dropped and made anew.
    #[error("the table was replaced: its uuid was `{expected}`, now it is `{found}`")]
    TableReplaced {
        /// uuid the files were written for
        expected: Uuid,
        /// uuid found
        found: Uuid,
    },
    /// The table is gone.
    #[error("the table was dropped")]
    TableMissing,
    /// Property and snapshots disagree.
    #[error(
        "state_mismatch: the table property says {}, the snapshots of `main` say {}",
        property.as_deref().unwrap_or("nothing"), snapshot.as_deref().unwrap_or("nothing")
    )]
    StateMismatch {
        /// state in the property
        property: Option<String>,
        /// newest state in `main`'s ancestry
        snapshot: Option<String>,
    },
    /// Another writer changed the state.
    #[error("fenced by another writer: {conflict}")]
    Fenced {
        /// which expectation failed
        conflict: String,
    },
    /// Rows that the commit was computed from have changed since.
    #[error("overtaken by another commit: {by}")]
    Overtaken {
        /// which one, and what it changed
        by: String,
    },
    /// Another writer has the lease on the table.
    #[error("{lease}")]
    Held {
        /// who, and until when
        lease: String,
    },
    /// The catalog will not take the commit.
    #[error("the catalog rejected the commit: {message}")]
    Rejected {
        /// what it said
        message: String,
    },
    /// No more tries.
    #[error("gave up: {last}")]
    GaveUp {
        /// the last failure
        last: String,
    },
}

/// The machine for one commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    intent: Intent,
    /// An attempt is out whose outcome is not known.
    uncertain: bool,
    /// Set when no further attempt may be made; the text is why.
    last_look: Option<Refusal>,
    /// State of the attempt that is out.
    pending: Option<TableState>,
}

impl Machine {
    /// A machine that has seen nothing yet; give it [`Event::Loaded`] first.
    pub fn new(intent: Intent) -> Self {
        Machine { intent, uncertain: false, last_look: None, pending: None }
    }

    /// Whether an attempt may be in the table, or may still land, unseen. While this is so, no file of the commit may
    /// be deleted.
    pub fn uncertain(&self) -> bool {
        self.uncertain
    }

    /// Takes an event; `may_retry` says whether time and attempts allow another round.
    pub fn on(&mut self, event: Event, may_retry: bool) -> Action {
        match event {
            Event::Loaded(view) => self.look(&view),
            Event::TableMissing => Action::Stop(Refusal::TableMissing),
            Event::LoadFailed(_) if may_retry => Action::Load,
            Event::LoadFailed(last) => {
                Action::Stop(self.last_look.take().unwrap_or(Refusal::GaveUp { last }))
            }
            Event::Answered(answer) => self.answered(answer, may_retry),
        }
    }

    fn look(&mut self, view: &View) -> Action {
        if view.table_uuid != self.intent.table_uuid {
            return Action::Stop(Refusal::TableReplaced {
                expected: self.intent.table_uuid,
                found: view.table_uuid,
            });
        }
        let state = view.state(self.intent.resume_from);
        if view.landed.is_some() || view.property_commit_id == Some(self.intent.commit_id) {
            return match state {
                Ok(state) => Action::Finish { snapshot_id: view.landed, state, found: true },
                Err(refusal) => Action::Stop(refusal),
            };
        }
        let state = match state {
            Ok(state) => state,
            Err(refusal) => return Action::Stop(refusal),
        };
        if let Some(refusal) = self.last_look.take() {
            return Action::Stop(refusal);
        }
        match state.apply(&self.intent.changes) {
            Ok(state) => {
                self.pending = Some(state.clone());
                Action::Post { head: view.head, state }
            }
            Err(conflict) => Action::Stop(fenced(&conflict)),
        }
    }

    fn answered(&mut self, answer: Answer, may_retry: bool) -> Action {
        let last = match answer {
            Answer::Applied { snapshot_id } => {
                self.uncertain = false;
                let state = self.pending.take().unwrap_or_default();
                return Action::Finish { snapshot_id: Some(snapshot_id), state, found: false };
            }
            Answer::Conflict => Refusal::GaveUp { last: "the table changed under every attempt".to_string() },
            Answer::Unavailable => Refusal::GaveUp { last: "the catalog was not available".to_string() },
            Answer::Unknown => {
                self.uncertain = true;
                Refusal::GaveUp { last: "the outcome of the last attempt is not known".to_string() }
            }
            Answer::Rejected(message) => return self.stop_or_look(Refusal::Rejected { message }),
            Answer::Overtaken(by) => return self.stop_or_look(Refusal::Overtaken { by }),
            Answer::Held(lease) => return self.stop_or_look(Refusal::Held { lease }),
        };
        if may_retry { Action::Load } else { self.stop_or_look(last) }
    }

    /// No further attempt: stop at once if nothing can have landed, else look once more.
    fn stop_or_look(&mut self, refusal: Refusal) -> Action {
        if self.uncertain {
            self.last_look = Some(refusal);
            Action::Load
        } else {
            Action::Stop(refusal)
        }
    }
}

fn fenced(conflict: &StateConflict) -> Refusal {
    Refusal::Fenced { conflict: conflict.to_string() }
}

impl Refusal {
    /// Whether a person must decide before a restart makes sense.
    pub fn needs_decision(&self) -> bool {
        !matches!(self, Refusal::Overtaken { .. } | Refusal::Rejected { .. } | Refusal::GaveUp { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Refusal::TableReplaced { .. } | Refusal::TableMissing => Some(
                "nothing was written to the new table; restart to fill it from the earliest offsets of the topic",
            ),
            Refusal::StateMismatch { .. } => Some(
                "the table was rolled back or restored; restart with `--resume-from snapshot` to read the rolled back range again, or `--resume-from property` to leave it out",
            ),
            Refusal::Fenced { .. } => Some(
                "another worker writes this table; stop it, then restart: the table's own offsets decide where to go on",
            ),
            Refusal::Overtaken { .. } => {
                Some("nothing was committed; start it again, it reads the table as it is now")
            }
            Refusal::Held { .. } => Some(
                "stop that writer, or wait until its lease has run out; if it is surely gone, start with `--take-over`",
            ),
            Refusal::Rejected { .. } => {
                Some("check the rights of the catalog principal and the table's settings")
            }
            Refusal::GaveUp { .. } => {
                Some("nothing is lost: a restart looks at the table and goes on from what it says")
            }
        }
    }
}

#[cfg(test)]
mod tests;
