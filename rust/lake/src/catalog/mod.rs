//! What the project asks of an Iceberg catalog: load, create, list, and commit once.
//!
//! A backend makes exactly one attempt per [`Catalog::commit`] and says truthfully what became of it: the four
//! [`CommitFailure`]s differ in whether the commit may have been applied, which is all that the commit path needs in order
//! to stay exactly-once. Backends do not retry commits, do not look at table state and do not know about snapshots.

pub mod rest;
pub mod sqlite;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadataRef;
use iceberg::{TableCreation, TableRequirement, TableUpdate};

use crate::settings::{CatalogSettings, LakeSettings};
use crate::storage::{LakeStorage, StorageProvider};

/// An Iceberg catalog, bound to one namespace.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// Creates the namespace of the settings if it does not exist.
    async fn ensure_namespace(&self) -> Result<(), CatalogError>;

    /// Returns the current state of a table, or `None` if there is no such table.
    async fn load_table(&self, table: &str) -> Result<Option<LoadedTable>, CatalogError>;

    /// Creates a table and returns it; a table that exists already (a lost race) is loaded instead.
    ///
    /// Field ids are assigned by the catalog: what comes back decides, not what was asked for.
    async fn create_table(&self, table: &str, creation: TableCreation) -> Result<LoadedTable, CatalogError>;

    /// Tries once to apply `updates` under `requirements`, and returns the new state.
    ///
    /// # Errors
    /// See [`CommitFailure`]: each variant says whether the commit may have been applied.
    ///
    /// # Cancel safety
    /// A dropped future may leave the commit applied; treat it as [`CommitFailure::Unknown`].
    async fn commit(
        &self,
        base: &LoadedTable,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CommitFailure>;

    /// Returns the names of all tables of the namespace, ascending.
    async fn list_tables(&self) -> Result<Vec<String>, CatalogError>;

    /// Returns the bytes of metadata files (table metadata, manifest lists, manifests) read so far.
    fn metadata_bytes_read(&self) -> u64;

    /// Returns a phrase for messages, without secrets, such as `Iceberg REST catalog at http://localhost:8181/api/catalog`.
    fn describe(&self) -> String;
}

/// One state of a table: its metadata and the means to read and write its files.
#[derive(Clone, Debug)]
pub struct LoadedTable {
    /// The table's name without its namespace.
    pub name: String,
    /// The metadata as the catalog gave it.
    pub metadata: TableMetadataRef,
    /// The address of the metadata file.
    pub metadata_location: String,
    /// Reads and writes the table's files; shared by all states of one table, so that connections are reused.
    pub file_io: FileIO,
    /// The storage behind `file_io`, which can also list.
    pub storage: Arc<LakeStorage>,
}

/// What became of a commit that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitFailure {
    /// Surely not applied: another commit came first.
    #[error("commit conflicts with another one: {0}")]
    Conflict(String),
    /// Surely not applied: the catalog could not be reached or is overloaded.
    #[error("catalog is not available: {message}")]
    Unavailable {
        /// What the catalog or the network said.
        message: String,
        /// How long the catalog asks to wait.
        retry_after: Option<Duration>,
    },
    /// May have been applied: reload and look before doing anything else.
    #[error("outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// Surely not applied, and never will be in this form.
    #[error("catalog rejected the commit: {0}")]
    Rejected(String),
}

impl CommitFailure {
    /// Returns whether trying again (after a reload) can help.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}

impl From<CatalogError> for CommitFailure {
    /// For errors that happened before the commit was sent: it was surely not applied.
    fn from(error: CatalogError) -> Self {
        let message = with_causes(&error);
        match error {
            CatalogError::Unavailable { retry_after, .. } => Self::Unavailable { message, retry_after },
            CatalogError::BrokenAnswer { .. } | CatalogError::MetadataUnreadable { .. } => {
                Self::Unavailable { message, retry_after: None }
            }
            CatalogError::Unauthorized(_) | CatalogError::Refused(_) | CatalogError::NotFound(_) => {
                Self::Rejected(message)
            }
        }
    }
}

/// Why a catalog operation other than a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The catalog could not be reached, did not answer in time, is overloaded or failed inside.
    #[error("catalog is not available: {message}")]
    Unavailable {
        /// What the catalog or the network said.
        message: String,
        /// How long the catalog asks to wait.
        retry_after: Option<Duration>,
    },
    /// The catalog does not accept the credentials.
    #[error("catalog refused the credentials: {0}")]
    Unauthorized(String),
    /// The catalog understood and refused, for instance for want of a privilege.
    #[error("catalog refused the request: {0}")]
    Refused(String),
    /// The warehouse, namespace or endpoint does not exist.
    #[error("catalog does not have it: {0}")]
    NotFound(String),
    /// The answer is not what the protocol says.
    #[error("answer of the catalog is not understood ({context})")]
    BrokenAnswer {
        /// Which request it answered.
        context: String,
        /// What was wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The table's metadata file cannot be read, written or built on.
    #[error("table metadata `{location}` is not usable")]
    MetadataUnreadable {
        /// The address of the metadata file.
        location: String,
        /// What was wrong with it.
        #[source]
        source: iceberg::Error,
    },
}

impl CatalogError {
    /// Returns whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::MetadataUnreadable { source, .. } => source.retryable(),
            Self::BrokenAnswer { .. } | Self::Unauthorized(_) | Self::Refused(_) | Self::NotFound(_) => false,
        }
    }

    /// Builds [`CatalogError::Unavailable`] without a waiting time.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retry_after: None }
    }
}

/// Opens the catalog that the settings name.
///
/// # Errors
/// A REST catalog is asked for its configuration, so all of [`CatalogError`] can come; SQLite fails if its file cannot be
/// opened or is not a catalog.
pub async fn open(settings: &LakeSettings) -> Result<Arc<dyn Catalog>, CatalogError> {
    let storage = StorageProvider::new(settings.s3.clone());
    match &settings.catalog {
        CatalogSettings::Rest(rest) => {
            let catalog = rest::RestCatalog::connect(rest.clone(), &settings.namespace, storage).await?;
            Ok(Arc::new(catalog))
        }
        CatalogSettings::Sqlite(sqlite) => {
            let catalog = sqlite::SqliteCatalog::open(sqlite.clone(), &settings.namespace, storage).await?;
            Ok(Arc::new(catalog))
        }
    }
}

/// Returns an error's message followed by those of its causes, for places that keep text only.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
