//! Why a table could not be cared for.

use crate::catalog::CatalogError;

/// Table care that did not end well. Nothing that a reader needs is gone in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// There is no such table.
    #[error("table `{table}` does not exist")]
    TableMissing {
        /// The table's name.
        table: String,
    },
    /// The catalog did not give a table.
    #[error("failed to load table `{table}`")]
    Unavailable {
        /// The table's name.
        table: String,
        /// What the catalog said.
        #[source]
        source: CatalogError,
    },
    /// The catalog did not take the change within the bounds.
    #[error("failed to change table `{table}` after {attempts} attempts: {reason}")]
    NotCommitted {
        /// The table's name.
        table: String,
        /// Attempts sent.
        attempts: u32,
        /// What the catalog said at last.
        reason: String,
        /// Whether the catalog said no for good.
        rejected: bool,
    },
    /// The request contradicts the table or a rule.
    #[error("refused for table `{table}`: {reason}")]
    Refused {
        /// The table's name.
        table: String,
        /// Which rule.
        reason: String,
        /// What to do next.
        hint: &'static str,
    },
    /// A manifest list, a manifest or a folder cannot be read; nothing was deleted.
    #[error("failed to read `{path}` of table `{table}`; no file was deleted")]
    Unreadable {
        /// The table's name.
        table: String,
        /// The file or folder.
        path: String,
        /// What the store said.
        #[source]
        source: iceberg::Error,
    },
    /// The store did not delete; what is left is nobody's, and is found as orphans.
    #[error("deleted {deleted} of {wanted} unneeded files of table `{table}`, then failed")]
    DeletionFailed {
        /// The table's name.
        table: String,
        /// Files deleted.
        deleted: usize,
        /// Files to be deleted.
        wanted: usize,
        /// What the store said.
        #[source]
        source: iceberg::Error,
    },
}

impl CareError {
    pub(crate) fn refused(table: &str, reason: impl Into<String>, hint: &'static str) -> Self {
        Self::Refused { table: table.to_owned(), reason: reason.into(), hint }
    }

    pub(crate) fn unreadable(table: &str, path: &str, source: iceberg::Error) -> Self {
        Self::Unreadable { table: table.to_owned(), path: path.to_owned(), source }
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TableMissing { .. } | Self::Refused { .. } => false,
            Self::Unavailable { source, .. } => source.is_retryable(),
            Self::NotCommitted { rejected, .. } => !rejected,
            Self::Unreadable { source, .. } | Self::DeletionFailed { source, .. } => source.retryable(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { hint, .. } => Some(hint),
            Self::TableMissing { .. } => Some("check the name and the namespace"),
            Self::NotCommitted { rejected: true, .. } => {
                Some("check the rights of the catalog principal and the table's settings")
            }
            Self::NotCommitted { .. } => {
                Some("nothing is lost: run it again, it begins from what the table says")
            }
            Self::Unavailable { .. } => {
                Some("check that the catalog runs and can be reached, then run it again")
            }
            Self::Unreadable { .. } => Some("check the store; nothing was deleted, so it can be run again"),
            Self::DeletionFailed { .. } => Some("the table is whole; removing orphans deletes what is left"),
        }
    }
}
