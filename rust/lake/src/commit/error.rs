//! Why an append is not in the table.

use streamify_core::ledger::LedgerError;
use streamify_core::state::StateTextError;

use crate::protocol::Refusal;

/// An append that is not in the table as far as can be known.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The protocol stopped.
    #[error("failed to commit to table `{table}`: {refusal}")]
    Refused {
        /// table name
        table: String,
        /// why
        refusal: Refusal,
        /// an attempt may still land: the files must stay
        uncertain: bool,
    },
    /// The books do not close; nothing was sent.
    #[error("refused to commit to table `{table}`")]
    LedgerOpen {
        /// table name
        table: String,
        /// which equation fails
        #[source]
        source: LedgerError,
    },
    /// One file was given twice.
    #[error("refused to commit to table `{table}`: file `{path}` is in the append twice")]
    FileTwice {
        /// table name
        table: String,
        /// the file
        path: String,
    },
    /// The state in the table cannot be read.
    #[error("failed to read the offsets stored in table `{table}`")]
    StateUnreadable {
        /// table name
        table: String,
        /// what is wrong with it
        #[source]
        source: Box<StateTextError>,
    },
    /// Not an Iceberg v2 table.
    #[error("table `{table}` has Iceberg format {version}; only format v2 is written")]
    UnsupportedFormat {
        /// table name
        table: String,
        /// format version
        version: String,
    },
}

impl CommitError {
    pub(super) fn refused(table: &str, refusal: Refusal, uncertain: bool) -> Self {
        CommitError::Refused { table: table.to_string(), refusal, uncertain }
    }

    /// Whether the rows that the commit was computed from have changed: nothing was committed, and the same work on a
    /// refreshed table may succeed.
    pub fn overtaken(&self) -> bool {
        matches!(self, CommitError::Refused { refusal: Refusal::Overtaken { .. }, .. })
    }

    /// Whether a person must decide before a restart makes sense (exit code 3).
    pub fn needs_decision(&self) -> bool {
        match self {
            CommitError::Refused { refusal, .. } => refusal.needs_decision(),
            CommitError::LedgerOpen { .. } | CommitError::FileTwice { .. } => false,
            CommitError::StateUnreadable { .. } | CommitError::UnsupportedFormat { .. } => true,
        }
    }

    /// Whether no attempt can land any more; only then may the files of the append be deleted, and after a refusal by
    /// another writer they should stay for whoever looks into it.
    pub fn surely_not_landed(&self) -> bool {
        !matches!(self, CommitError::Refused { uncertain: true, .. })
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CommitError::Refused { refusal, .. } => refusal.hint(),
            CommitError::LedgerOpen { .. } | CommitError::FileTwice { .. } => Some(
                "a record was lost or doubled inside the worker; nothing was committed, a restart reads the range again; please report this",
            ),
            CommitError::StateUnreadable { .. } => {
                Some("a newer version wrote this table, or the property `streamify.state` was edited by hand")
            }
            CommitError::UnsupportedFormat { .. } => Some("rewrite the table as format version 2"),
        }
    }
}
