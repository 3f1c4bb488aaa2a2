//! A catalog in memory with the checks of a real one and faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use streamify_lake::catalog::{Catalog, CatalogError, CommitFailure, LoadedTable};

/// What happens to the next commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Applied, and the answer is lost.
    AnswerLost,
    /// Not applied, and the answer is lost.
    RequestLost,
    /// The answer is lost; the commit arrives when [`MemoryCatalog::deliver_late`] is called.
    Late,
    /// The catalog answers a conflict without having looked.
    Conflict,
    /// The catalog is away.
    Unavailable,
    /// The catalog says no for good.
    Rejected(String),
}

type Commit = (String, Vec<TableRequirement>, Vec<TableUpdate>);

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) tables: BTreeMap<String, TableMetadata>,
    faults: VecDeque<Fault>,
    late: VecDeque<Commit>,
    load_failures: usize,
    commits: usize,
}

/// An Iceberg catalog in memory; clones share their tables.
#[derive(Clone, Debug)]
pub struct MemoryCatalog {
    inner: Arc<Mutex<Inner>>,
    io: FileIO,
}

impl Default for MemoryCatalog {
    fn default() -> Self {
        MemoryCatalog { inner: Arc::default(), io: FileIO::new_with_memory() }
    }
}

impl MemoryCatalog {
    /// The next commits meet these faults, one each, in order.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// The next `count` loads fail as if the catalog were away.
    pub fn fail_loads(&self, count: usize) {
        self.lock().load_failures = count;
    }

    /// The commits held back by [`Fault::Late`] arrive now; returns how many were applied.
    pub fn deliver_late(&self) -> usize {
        let mut inner = self.lock();
        let late = std::mem::take(&mut inner.late);
        late.into_iter()
            .filter(|(name, requirements, updates)| inner.apply(name, requirements, updates.clone()).is_ok())
            .count()
    }

    /// Commits that reached the catalog, refused ones included.
    pub fn commits(&self) -> usize {
        self.lock().commits
    }

    /// The present metadata of a table that exists.
    pub fn metadata(&self, name: &str) -> TableMetadata {
        self.lock().tables[name].clone()
    }

    /// Replaces a table's metadata as a foreign engine would.
    pub(crate) fn rewrite(&self, name: &str, with: impl FnOnce(TableMetadata) -> TableMetadata) {
        let mut inner = self.lock();
        let rewritten = with(inner.tables[name].clone());
        inner.tables.insert(name.to_string(), rewritten);
    }

    /// Drops a table.
    pub fn drop_table(&self, name: &str) {
        self.lock().tables.remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self, name: &str, metadata: TableMetadata) -> LoadedTable {
        LoadedTable {
            name: name.to_string(),
            metadata_location: format!("{}/metadata/current", metadata.location()),
            metadata: Arc::new(metadata),
            file_io: self.io.clone(),
            storage: Arc::default(),
        }
    }
}

impl Inner {
    fn apply(
        &mut self,
        name: &str,
        requirements: &[TableRequirement],
        updates: Vec<TableUpdate>,
    ) -> Result<TableMetadata, CommitFailure> {
        let Some(current) = self.tables.get(name) else {
            return Err(CommitFailure::Rejected(format!("table `{name}` does not exist")));
        };
        for requirement in requirements {
            requirement.check(Some(current)).map_err(|error| CommitFailure::Conflict(error.to_string()))?;
        }
        let mut builder = current.clone().into_builder(None);
        for update in updates {
            builder = update.apply(builder).map_err(|error| CommitFailure::Conflict(error.to_string()))?;
        }
        let built = builder.build().map_err(|error| CommitFailure::Rejected(error.to_string()))?;
        self.tables.insert(name.to_string(), built.metadata.clone());
        Ok(built.metadata)
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn ensure_namespace(&self) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn load_table(&self, name: &str) -> Result<Option<LoadedTable>, CatalogError> {
        let mut inner = self.lock();
        if inner.load_failures > 0 {
            inner.load_failures -= 1;
            return Err(CatalogError::Unavailable { message: "injected".into(), retry_after: None });
        }
        let metadata = inner.tables.get(name).cloned();
        drop(inner);
        Ok(metadata.map(|metadata| self.loaded(name, metadata)))
    }

    async fn create_table(&self, name: &str, creation: TableCreation) -> Result<LoadedTable, CatalogError> {
        let built = TableMetadataBuilder::from_table_creation(creation)
            .and_then(TableMetadataBuilder::build)
            .map_err(|error| CatalogError::Refused(error.to_string()))?;
        let metadata = self.lock().tables.entry(name.to_string()).or_insert(built.metadata).clone();
        Ok(self.loaded(name, metadata))
    }

    async fn commit(
        &self,
        base: &LoadedTable,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CommitFailure> {
        let mut inner = self.lock();
        inner.commits += 1;
        let lost = || CommitFailure::Unknown("connection lost (injected)".into());
        match inner.faults.pop_front() {
            Some(Fault::AnswerLost) => {
                inner.apply(&base.name, &requirements, updates)?;
                return Err(lost());
            }
            Some(Fault::RequestLost) => return Err(lost()),
            Some(Fault::Late) => {
                inner.late.push_back((base.name.clone(), requirements, updates));
                return Err(lost());
            }
            Some(Fault::Conflict) => return Err(CommitFailure::Conflict("injected".into())),
            Some(Fault::Unavailable) => {
                let retry_after = Some(Duration::from_millis(1));
                return Err(CommitFailure::Unavailable { message: "injected".into(), retry_after });
            }
            Some(Fault::Rejected(message)) => return Err(CommitFailure::Rejected(message)),
            None => {}
        }
        let metadata = inner.apply(&base.name, &requirements, updates)?;
        drop(inner);
        Ok(self.loaded(&base.name, metadata))
    }

    async fn list_tables(&self) -> Result<Vec<String>, CatalogError> {
        Ok(self.lock().tables.keys().cloned().collect())
    }

    fn metadata_bytes_read(&self) -> u64 {
        0
    }

    fn describe(&self) -> String {
        "catalog in memory".to_string()
    }
}
