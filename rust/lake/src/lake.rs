//! The lake as a whole: opened from settings, and asked for tables that have the columns a writer needs.

use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::TableMetadata;
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use streamify_core::contract::{Column, Contract};
use streamify_core::dead_letter;
use tracing::info;

use crate::catalog::{self, Catalog, CatalogError, CommitFailure, LoadedTable};
use crate::schema::{self, SchemaError};
use crate::settings::LakeSettings;

pub use crate::schema::Partitioning;

/// What a table must look like for its writer.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// The table's name without its namespace.
    pub name: String,
    /// What one row is; becomes the table's comment at creation.
    pub doc: String,
    /// The columns that the writer fills; the table may have more.
    pub columns: Vec<Column>,
    /// Names of the columns that identify a row, all not null; may be empty. Used at creation only.
    pub identity: Vec<String>,
    /// How the table is partitioned. Used at creation only.
    pub partitioning: Partitioning,
    /// Names of the columns by which a file is sorted; may be empty. Used at creation only.
    pub sort_key: Vec<String>,
    /// Further table properties, stronger than the defaults. Used at creation only.
    pub properties: Vec<(String, String)>,
}

impl TableSpec {
    /// Returns the bronze table of a topic, whose rows are identified by where they came from.
    pub fn bronze(contract: &Contract) -> Self {
        Self {
            name: contract.table.clone(),
            doc: contract.doc.clone(),
            columns: contract.columns(),
            identity: ["_source_epoch", "_kafka_partition", "_kafka_offset"].map(str::to_owned).to_vec(),
            partitioning: contract.partition.into(),
            sort_key: contract.sort_key.clone(),
            properties: Vec::new(),
        }
    }

    /// Returns the table of records that could not be decoded.
    pub fn dead_letters() -> Self {
        Self {
            name: dead_letter::TABLE.to_owned(),
            doc: "One row per record that could not be decoded: every byte of it, and why.".to_owned(),
            columns: dead_letter::columns(),
            identity: ["topic", "source_epoch", "partition", "offset"].map(str::to_owned).to_vec(),
            partitioning: Partitioning::Identity("event_date".to_owned()),
            sort_key: Vec::new(),
            properties: Vec::new(),
        }
    }

    /// Builds the request that creates the table; where it is placed is the catalog's choice.
    ///
    /// # Errors
    /// Identity, partition or sort columns that do not exist or do not suit.
    pub fn creation(&self) -> Result<TableCreation, SchemaError> {
        let schema = schema::iceberg_schema(&self.columns, &self.identity)?;
        let mut properties = schema::creation_properties(&self.doc);
        properties.extend(self.properties.iter().cloned());
        Ok(TableCreation::builder()
            .name(self.name.clone())
            .partition_spec_opt(schema::partition_spec(&schema, &self.partitioning)?)
            .sort_order_opt(schema::sort_order(&schema, &self.sort_key)?)
            .schema(schema)
            .properties(properties)
            .build())
    }

    /// Returns the commit that gives a table its missing columns, `None` if it has them all.
    ///
    /// # Errors
    /// A column whose type does not go with the table's.
    pub fn evolution(&self, metadata: &TableMetadata) -> Result<Option<Evolution>, SchemaError> {
        let current = metadata.current_schema();
        let grown =
            schema::additive_evolution(&self.name, current, metadata.last_column_id(), &self.columns)?;
        let Some(schema) = grown else { return Ok(None) };
        let requirements = vec![
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
            TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() },
        ];
        // -1 is the schema added last, whatever id the catalog gives it.
        let updates =
            vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }];
        Ok(Some(Evolution { requirements, updates }))
    }
}

/// A commit that makes a table's schema grow.
#[derive(Clone, Debug)]
pub struct Evolution {
    /// The schema that it was made for.
    pub requirements: Vec<TableRequirement>,
    /// The schema that it makes.
    pub updates: Vec<TableUpdate>,
}

/// Why the lake cannot be opened or a table not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The catalog could not be opened.
    #[error("failed to open the catalog")]
    OpenFailed(#[source] CatalogError),
    /// A table could not be loaded or created.
    #[error("failed to get table `{table}` from the {catalog}")]
    TableUnavailable {
        /// The table's name.
        table: String,
        /// Which catalog.
        catalog: String,
        /// What the catalog said.
        #[source]
        source: CatalogError,
    },
    /// The wanted columns do not go with the table.
    #[error("table `{table}` does not fit")]
    SchemaMismatch {
        /// The table's name.
        table: String,
        /// What does not go together.
        #[source]
        source: SchemaError,
    },
    /// The store of a table does not answer.
    #[error("failed to reach the store of table `{table}`, {store}: no answer about `{location}`")]
    StoreUnavailable {
        /// The table's name.
        table: String,
        /// The store's address.
        store: String,
        /// Where the table's metadata is.
        location: String,
        /// What the store said.
        #[source]
        source: iceberg::Error,
    },
    /// New columns could not be added.
    #[error("failed to add columns to table `{table}` after {attempts} attempts")]
    EvolutionFailed {
        /// The table's name.
        table: String,
        /// How often it was tried.
        attempts: u32,
        /// What the catalog said at last.
        #[source]
        source: CommitFailure,
    },
}

impl LakeError {
    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::OpenFailed(source) | Self::TableUnavailable { source, .. } => source.is_retryable(),
            Self::SchemaMismatch { .. } => false,
            Self::StoreUnavailable { .. } => true,
            Self::EvolutionFailed { source, .. } => source.is_retryable(),
        }
    }
}

const MAX_EVOLUTION_ATTEMPTS: u32 = 5;

/// An opened catalog and what is done with it as a whole.
#[derive(Clone, Debug)]
pub struct Lake {
    catalog: Arc<dyn Catalog>,
    /// Address of the configured store, for messages.
    store: String,
}

impl Lake {
    /// Opens the catalog that the settings name. Nothing is created yet, except the file of an embedded catalog.
    ///
    /// # Errors
    /// [`LakeError::OpenFailed`]
    pub async fn open(settings: &LakeSettings) -> Result<Self, LakeError> {
        let catalog = catalog::open(settings).await.map_err(LakeError::OpenFailed)?;
        let store = settings.s3.endpoint.clone().unwrap_or_else(|| "the default one".to_owned());
        Ok(Self { catalog, store })
    }

    /// Wraps a catalog that is open already.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog, store: "the catalog's choice".to_owned() }
    }

    /// Returns the catalog.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Makes sure that a table exists and has all columns of `spec`, and returns it.
    ///
    /// Several processes may do this at the same time: who loses a race takes what the winner made. An existing table keeps
    /// its partitioning, sort order, properties, further columns and field ids.
    ///
    /// # Errors
    /// See [`LakeError`].
    pub async fn ensure_table(&self, spec: &TableSpec) -> Result<LoadedTable, LakeError> {
        let mut table = self.load_or_create(spec).await?;
        let mut attempt = 1;
        loop {
            let mismatch = |source| LakeError::SchemaMismatch { table: spec.name.clone(), source };
            let Some(Evolution { requirements, updates }) =
                spec.evolution(&table.metadata).map_err(mismatch)?
            else {
                return Ok(table);
            };
            match self.catalog.commit(&table, requirements, updates).await {
                Ok(evolved) => {
                    info!(
                        table = spec.name,
                        schema_id = evolved.metadata.current_schema_id(),
                        "added columns"
                    );
                    return Ok(evolved);
                }
                Err(source) if !source.is_retryable() || attempt >= MAX_EVOLUTION_ATTEMPTS => {
                    return Err(LakeError::EvolutionFailed {
                        table: spec.name.clone(),
                        attempts: attempt,
                        source,
                    });
                }
                // Whether it was applied or not: what the table has now tells what is still missing.
                Err(failure) => tokio::time::sleep(pause(&failure, attempt)).await,
            }
            attempt += 1;
            table = self.load_or_create(spec).await?;
        }
    }

    /// Asks the store for a table's metadata file. A REST catalog answers although its store is away; that is better
    /// known at the start than at the first file.
    ///
    /// # Errors
    /// [`LakeError::StoreUnavailable`]
    pub async fn check_store(&self, table: &LoadedTable) -> Result<(), LakeError> {
        let location = &table.metadata_location;
        let answer = async { table.file_io.new_input(location)?.exists().await }.await;
        answer.map(|_| ()).map_err(|source| LakeError::StoreUnavailable {
            table: table.name.clone(),
            store: self.store.clone(),
            location: location.clone(),
            source,
        })
    }

    async fn load_or_create(&self, spec: &TableSpec) -> Result<LoadedTable, LakeError> {
        let unavailable = |source| LakeError::TableUnavailable {
            table: spec.name.clone(),
            catalog: self.catalog.describe(),
            source,
        };
        if let Some(table) = self.catalog.load_table(&spec.name).await.map_err(unavailable)? {
            return Ok(table);
        }
        let mismatch = |source| LakeError::SchemaMismatch { table: spec.name.clone(), source };
        let creation = spec.creation().map_err(mismatch)?;
        self.catalog.ensure_namespace().await.map_err(unavailable)?;
        let table = self.catalog.create_table(&spec.name, creation).await.map_err(unavailable)?;
        info!(table = spec.name, location = table.metadata.location(), "created table");
        Ok(table)
    }
}

fn pause(failure: &CommitFailure, attempt: u32) -> Duration {
    match failure {
        CommitFailure::Unavailable { retry_after: Some(wait), .. } => (*wait).min(Duration::from_secs(10)),
        _ => Duration::from_millis(100 * u64::from(attempt)),
    }
}
