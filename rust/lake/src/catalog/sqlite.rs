//! The embedded catalog: one SQLite file with the tables of PyIceberg's `SqlCatalog`, so that other tools open it too.
//!
//! A commit checks its requirements on the current metadata, writes the next metadata file, and moves the pointer by a
//! compare-and-swap; a lost swap is a conflict and its metadata file is removed. The pointer moves in a synced transaction,
//! after the file it points to is durable. Old metadata files are deleted here, as a server would do it.

mod database;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::spec::{TableMetadata, TableMetadataBuilder, TableMetadataRef};
use iceberg::{MetadataLocation, TableCreation, TableRequirement, TableUpdate};

use self::database::{Database, DatabaseError};
use super::{Catalog, CatalogError, CommitFailure, LoadedTable, with_causes};
use crate::settings::SqliteSettings;
use crate::storage::{StorageProvider, TableStore};

/// A catalog in a SQLite file.
#[derive(Debug)]
pub struct SqliteCatalog {
    settings: SqliteSettings,
    namespace: String,
    database: Arc<Database>,
    storage: StorageProvider,
    /// The last state of each table; metadata files never change, so an equal location means equal metadata.
    known: Mutex<HashMap<String, LoadedTable>>,
}

impl SqliteCatalog {
    /// Opens the file, creating it and its tables if they do not exist.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] if the file is locked for too long, [`CatalogError::Refused`] if it cannot be opened
    /// or is no catalog.
    pub async fn open(
        settings: SqliteSettings,
        namespace: &str,
        storage: StorageProvider,
    ) -> Result<Self, CatalogError> {
        let (path, name, levels) = (settings.path.clone(), settings.name.clone(), namespace.to_owned());
        let opened = tokio::task::spawn_blocking(move || Database::open(&path, &name, &levels)).await;
        let database = opened.unwrap_or_else(|error| Err(DatabaseError::died(&error)));
        let database = database.map_err(|error| error.at(&settings))?;
        Ok(Self {
            namespace: namespace.to_owned(),
            database: Arc::new(database),
            storage,
            known: Mutex::default(),
            settings,
        })
    }

    /// Runs a statement on the blocking pool.
    async fn query<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Database) -> Result<T, DatabaseError> + Send + 'static,
    {
        let database = self.database.clone();
        let result = tokio::task::spawn_blocking(move || work(&database)).await;
        result.unwrap_or_else(|error| Err(DatabaseError::died(&error)))
    }

    async fn current_location(&self, table: &str) -> Result<Option<String>, DatabaseError> {
        let name = table.to_owned();
        self.query(move |database| database.location(&name)).await
    }

    async fn state_at(&self, table: &str, location: String) -> Result<LoadedTable, CatalogError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(table).cloned();
        if let Some(known) = known.filter(|known| known.metadata_location == location) {
            return Ok(known);
        }
        let (file_io, address) = (self.storage.default_store().io, location.clone());
        let read = off_runtime(async move { TableMetadata::read_from(&file_io, &address).await }).await;
        let metadata =
            read.map_err(|source| CatalogError::MetadataUnreadable { location: location.clone(), source })?;
        Ok(self.remember(table, Arc::new(metadata), location))
    }

    fn remember(&self, table: &str, metadata: TableMetadataRef, metadata_location: String) -> LoadedTable {
        let TableStore { io, storage } = self.storage.default_store();
        let state = LoadedTable { name: table.to_owned(), metadata, metadata_location, file_io: io, storage };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), state.clone());
        state
    }

    async fn discard(&self, location: &str) {
        if let Err(error) = self.storage.default_store().io.delete(location).await {
            tracing::warn!(location, %error, "failed to delete an unused metadata file");
        }
    }
}

/// Polls a future on the blocking pool: (de)serializing large metadata would block the runtime's threads.
async fn off_runtime<T, F>(work: F) -> iceberg::Result<T>
where
    T: Send + 'static,
    F: Future<Output = iceberg::Result<T>> + Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    let result = tokio::task::spawn_blocking(move || runtime.block_on(work)).await;
    result.unwrap_or_else(|error| {
        Err(iceberg::Error::new(iceberg::ErrorKind::Unexpected, "metadata work was cut short")
            .with_source(error))
    })
}

/// The next metadata of a table, written but not yet pointed to.
struct Prepared {
    metadata: TableMetadata,
    location: String,
    expired: Vec<String>,
}

async fn prepare(base: LoadedTable, updates: Vec<TableUpdate>) -> iceberg::Result<Prepared> {
    off_runtime(async move {
        let mut builder = base.metadata.as_ref().clone().into_builder(Some(base.metadata_location.clone()));
        for update in updates {
            builder = update.apply(builder)?;
        }
        let built = builder.build()?;
        let next = match base.metadata_location.parse::<MetadataLocation>() {
            Ok(current) => current.with_next_version().with_new_metadata(&built.metadata),
            // A table that another tool registered under a name of its own.
            Err(_) => MetadataLocation::new_with_metadata(built.metadata.location(), &built.metadata),
        };
        built.metadata.write_to(&base.file_io, &next).await?;
        let expired = built.expired_metadata_logs.into_iter().map(|entry| entry.metadata_file).collect();
        Ok(Prepared { metadata: built.metadata, location: next.to_string(), expired })
    })
    .await
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn ensure_namespace(&self) -> Result<(), CatalogError> {
        self.query(Database::ensure_namespace).await.map_err(|error| error.at(&self.settings))
    }

    async fn load_table(&self, table: &str) -> Result<Option<LoadedTable>, CatalogError> {
        let location = self.current_location(table).await.map_err(|error| error.at(&self.settings))?;
        match location {
            Some(location) => self.state_at(table, location).await.map(Some),
            None => Ok(None),
        }
    }

    async fn create_table(
        &self,
        table: &str,
        mut creation: TableCreation,
    ) -> Result<LoadedTable, CatalogError> {
        let folder = self.namespace.replace('.', "/");
        let location = creation.location.take();
        let location = location.unwrap_or_else(|| format!("{}/{folder}/{table}", self.settings.warehouse));
        creation.location = Some(location.clone());
        let file_io = self.storage.default_store().io;
        let written = off_runtime(async move {
            let metadata = TableMetadataBuilder::from_table_creation(creation)?.build()?.metadata;
            let address = MetadataLocation::new_with_metadata(metadata.location(), &metadata);
            metadata.write_to(&file_io, &address).await?;
            Ok((metadata, address.to_string()))
        });
        let (metadata, address) =
            written.await.map_err(|source| CatalogError::MetadataUnreadable { location, source })?;
        let (name, pointer) = (table.to_owned(), address.clone());
        let inserted = self.query(move |database| database.insert(&name, &pointer)).await;
        if inserted.map_err(|error| error.at(&self.settings))? {
            return Ok(self.remember(table, Arc::new(metadata), address));
        }
        self.discard(&address).await;
        self.load_table(table).await?.ok_or_else(|| {
            CatalogError::unavailable(format!(
                "table `{table}` was created and dropped by someone else at the same time"
            ))
        })
    }

    async fn commit(
        &self,
        base: &LoadedTable,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CommitFailure> {
        let table = base.name.as_str();
        let location = self.current_location(table).await.map_err(|error| error.at(&self.settings))?;
        let Some(location) = location else {
            return Err(CommitFailure::Rejected(format!("table `{table}` does not exist")));
        };
        let is_base = location == base.metadata_location;
        let current = if is_base { base.clone() } else { self.state_at(table, location.clone()).await? };
        for requirement in &requirements {
            let checked = requirement.check(Some(&current.metadata));
            checked.map_err(|error| CommitFailure::Conflict(error.to_string()))?;
        }
        let prepared = prepare(current, updates).await.map_err(|error| match error.kind() {
            // An update that was right for `base` but is not for what came after it.
            iceberg::ErrorKind::DataInvalid if !is_base => CommitFailure::Conflict(with_causes(&error)),
            iceberg::ErrorKind::DataInvalid => CommitFailure::Rejected(with_causes(&error)),
            _ => CommitFailure::Unavailable { message: with_causes(&error), retry_after: None },
        })?;
        let (name, old, new) = (table.to_owned(), location, prepared.location.clone());
        match self.query(move |database| database.swap(&name, &old, &new)).await {
            Ok(true) => {}
            Ok(false) => {
                self.discard(&prepared.location).await;
                return Err(CommitFailure::Conflict(format!("table `{table}` was changed at the same time")));
            }
            Err(error) if error.is_busy() => {
                self.discard(&prepared.location).await;
                return Err(CommitFailure::from(error.at(&self.settings)));
            }
            // The statement may have taken effect before it failed: the new metadata file must stay.
            Err(error) => return Err(CommitFailure::Unknown(with_causes(&error.at(&self.settings)))),
        }
        if deletes_old_metadata(&prepared.metadata) {
            for expired in &prepared.expired {
                self.discard(expired).await;
            }
        }
        Ok(self.remember(table, Arc::new(prepared.metadata), prepared.location))
    }

    async fn list_tables(&self) -> Result<Vec<String>, CatalogError> {
        self.query(Database::list).await.map_err(|error| error.at(&self.settings))
    }

    fn metadata_bytes_read(&self) -> u64 {
        self.storage.metadata_bytes_read()
    }

    fn describe(&self) -> String {
        format!("SQLite catalog `{}`", self.settings.path.display())
    }
}

fn deletes_old_metadata(metadata: &TableMetadata) -> bool {
    metadata
        .properties()
        .get("write.metadata.delete-after-commit.enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
