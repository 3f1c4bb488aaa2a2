//! The client of an Iceberg REST catalog, such as Polaris.
//!
//! Every request has a deadline. Loads are repeated a few times when the catalog is not available; a commit is sent once
//! (and once more only after a 401, which was surely not applied) and its outcome reported as it is, see
//! [`CommitFailure`]. A table that has not changed is not sent again (ETag), and its files are read and written through
//! connections that stay open. Vended object store credentials are used when the catalog gives them and asked for only if
//! the settings say so; an endpoint that the settings name is stronger than the catalog's, which may be meant for others.

mod access;
mod auth;
mod outcome;
mod transport;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::access::FileAccess;
use self::transport::{Answer, Request, Transport};
use super::{Catalog, CatalogError, CommitFailure, LoadedTable};
use crate::settings::RestSettings;
use crate::storage::{StorageProvider, TableStore};

/// A client of an Iceberg REST catalog.
#[derive(Debug)]
pub struct RestCatalog {
    settings: RestSettings,
    levels: Vec<String>,
    paths: wire::Paths,
    transport: Transport,
    access: FileAccess,
    /// The last loaded state of each table, with the mark by which the catalog knows it.
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    etag: String,
    table: LoadedTable,
}

impl RestCatalog {
    /// Logs in (if the settings have a client) and asks for the catalog's configuration.
    ///
    /// # Errors
    /// [`CatalogError::Unauthorized`] for wrong credentials, [`CatalogError::NotFound`] for an unknown warehouse,
    /// [`CatalogError::Unavailable`] if the catalog cannot be reached.
    pub async fn connect(
        settings: RestSettings,
        namespace: &str,
        storage: StorageProvider,
    ) -> Result<Self, CatalogError> {
        let transport = Transport::new(&settings)?;
        let path = format!("v1/config?warehouse={}", wire::percent_encode(&settings.warehouse));
        let answer = transport.get(Request::new(Method::GET, path)).await?;
        let config: wire::Config = parse(answer, "configuration").await?;
        let levels: Vec<String> = namespace.split('.').map(str::to_owned).collect();
        let paths = wire::Paths::new(&config, &levels);
        let access = FileAccess::new(storage);
        Ok(Self { settings, levels, paths, transport, access, known: Mutex::default() })
    }

    /// Makes a request that returns a table, which may bring credentials.
    fn table_request(&self, method: Method, path: String) -> Request {
        let request = Request::new(method, path);
        if self.settings.vended_credentials {
            return request.header("x-iceberg-access-delegation", "vended-credentials");
        }
        request
    }

    fn known(&self, table: &str) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
    }

    fn remember(&self, etag: Option<String>, table: &LoadedTable) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match etag {
            Some(etag) => known.insert(table.name.clone(), Known { etag, table: table.clone() }),
            None => known.remove(&table.name),
        };
    }

    async fn accept_table(&self, table: &str, answer: Answer) -> Result<LoadedTable, CatalogError> {
        let etag = answer.header("etag");
        let loaded: wire::LoadTableAnswer = parse(answer, "table").await?;
        let Some(metadata_location) = loaded.metadata_location else {
            let source = "the table has no metadata location".into();
            return Err(CatalogError::BrokenAnswer { context: format!("table `{table}`"), source });
        };
        let metadata = Arc::new(loaded.metadata);
        let store =
            self.access.after_load(table, metadata.location(), loaded.config, loaded.storage_credentials);
        let TableStore { io, storage } = store;
        let state = LoadedTable { name: table.to_owned(), metadata, metadata_location, file_io: io, storage };
        self.remember(etag, &state);
        Ok(state)
    }

    /// Returns the access to a table's files, with fresh keys if the vended ones are about to run out.
    ///
    /// A writer that only ever commits would otherwise keep its first keys: answers to commits bring none.
    async fn renewed_access(&self, base: &LoadedTable) -> TableStore {
        let known =
            |table: &LoadedTable| TableStore { io: table.file_io.clone(), storage: table.storage.clone() };
        if !self.access.needs_renewal(&base.name) {
            return known(base);
        }
        match self.load_table(&base.name).await {
            Ok(Some(table)) => known(&table),
            Ok(None) => known(base),
            Err(error) => {
                let error = super::with_causes(&error);
                tracing::warn!(table = base.name, error, "failed to renew the keys of a table's files");
                known(base)
            }
        }
    }

    async fn ensure_level(&self, num_levels: usize) -> Result<(), CatalogError> {
        let levels = &self.levels[..num_levels];
        // Looking first: a principal may be allowed to use the namespace without being allowed to create one.
        let look = Request::new(Method::GET, self.paths.namespace(levels));
        match self.transport.get(look).await {
            Ok(_) => return Ok(()),
            Err(CatalogError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let body = encode(&wire::CreateNamespace { namespace: levels, properties: HashMap::new() })?;
        let create = Request::new(Method::POST, self.paths.namespaces()).body(body);
        let answer = self.transport.send(&create).await.map_err(CatalogError::from)?;
        if answer.status == StatusCode::CONFLICT {
            return Ok(());
        }
        outcome::check(answer).map(|_| ())
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn ensure_namespace(&self) -> Result<(), CatalogError> {
        for num_levels in 1..=self.levels.len() {
            self.ensure_level(num_levels).await?;
        }
        Ok(())
    }

    async fn load_table(&self, table: &str) -> Result<Option<LoadedTable>, CatalogError> {
        let mut request = self.table_request(Method::GET, self.paths.table(table));
        let known = self.known(table).filter(|_| !self.access.needs_renewal(table));
        if let Some(known) = &known {
            request = request.header("if-none-match", known.etag.clone());
        }
        match self.transport.get(request).await {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => Ok(known.map(|known| known.table)),
            Ok(answer) => self.accept_table(table, answer).await.map(Some),
            Err(CatalogError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create_table(&self, table: &str, creation: TableCreation) -> Result<LoadedTable, CatalogError> {
        let body = encode(&wire::CreateTable::new(table, creation))?;
        let request = self.table_request(Method::POST, self.paths.tables()).body(body);
        let answer = self.transport.send(&request).await.map_err(CatalogError::from)?;
        if answer.status != StatusCode::CONFLICT {
            return self.accept_table(table, outcome::check(answer)?).await;
        }
        let reason = outcome::explain(&answer);
        self.load_table(table).await?.ok_or(CatalogError::Refused(reason))
    }

    async fn commit(
        &self,
        base: &LoadedTable,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<LoadedTable, CommitFailure> {
        let identifier = wire::Identifier { namespace: &self.levels, name: &base.name };
        let body = encode(&wire::CommitTable { identifier, requirements, updates })?;
        let request = Request::new(Method::POST, self.paths.table(&base.name)).body(body);
        let sent = self.transport.send(&request).await;
        let answer = outcome::check_commit(sent?)?;
        // From here on the commit is applied: a broken answer must not look like a failure.
        let parsed = parse::<wire::CommitTableAnswer>(answer, "commit").await;
        let applied = parsed.map_err(|error| CommitFailure::Unknown(super::with_causes(&error)))?;
        let TableStore { io, storage } = self.renewed_access(base).await;
        Ok(LoadedTable {
            name: base.name.clone(),
            metadata: Arc::new(applied.metadata),
            metadata_location: applied.metadata_location,
            file_io: io,
            storage,
        })
    }

    async fn list_tables(&self) -> Result<Vec<String>, CatalogError> {
        let mut names = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let mut path = self.paths.tables();
            if let Some(token) = &page {
                path.push_str(&format!("?pageToken={}", wire::percent_encode(token)));
            }
            let answer = self.transport.get(Request::new(Method::GET, path)).await?;
            let listed: wire::ListTables = parse(answer, "list of tables").await?;
            names.extend(listed.identifiers.into_iter().map(|identifier| identifier.name));
            page = listed.next_page_token.filter(|token| !token.is_empty());
            if page.is_none() {
                break;
            }
        }
        names.sort();
        Ok(names)
    }

    fn metadata_bytes_read(&self) -> u64 {
        self.access.metadata_bytes_read()
    }

    fn describe(&self) -> String {
        format!("Iceberg REST catalog at {} (warehouse `{}`)", self.settings.uri, self.settings.warehouse)
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(body)
        .map_err(|error| CatalogError::Refused(format!("request cannot be written as JSON: {error}")))
}

/// Parses an answer off the runtime's threads: a table's metadata can be megabytes.
async fn parse<T: DeserializeOwned + Send + 'static>(answer: Answer, what: &str) -> Result<T, CatalogError> {
    let broken = |source| CatalogError::BrokenAnswer { context: what.to_owned(), source };
    let job = tokio::task::spawn_blocking(move || serde_json::from_slice(&answer.body));
    job.await.map_err(|error| broken(error.into()))?.map_err(|error| broken(error.into()))
}
