//! The statements of the SQLite catalog, synchronous.
//!
//! The tables are those of PyIceberg 0.12 (`schema_version` v1, with `iceberg_type`); files from before that column are
//! used as they are. Write-ahead logging lets readers read while someone commits; every commit is synced.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::super::CatalogError;
use crate::settings::SqliteSettings;

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const CREATE_TABLES: &str = "
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key)
);";

/// A connection, bound to one catalog name and namespace.
#[derive(Debug)]
pub(super) struct Database {
    connection: Mutex<Connection>,
    catalog: String,
    namespace: String,
    /// Whether `iceberg_tables` tells tables from views.
    has_type: bool,
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("failed to create the folder of the catalog file")]
    NoFolder(#[source] std::io::Error),
    #[error("SQLite failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the statement was cut short: {0}")]
    Died(String),
}

impl DatabaseError {
    pub(super) fn died(error: &tokio::task::JoinError) -> Self {
        Self::Died(error.to_string())
    }

    /// Returns whether another process held the file for too long; then nothing was changed.
    pub(super) fn is_busy(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// Says which file it was.
    pub(super) fn at(self, settings: &SqliteSettings) -> CatalogError {
        let text = format!("`{}`: {}", settings.path.display(), super::with_causes(&self));
        if self.is_busy() { CatalogError::unavailable(text) } else { CatalogError::Refused(text) }
    }
}

impl Database {
    /// Opens the file; it and its tables are created if they do not exist.
    pub(super) fn open(path: &Path, catalog: &str, namespace: &str) -> Result<Self, DatabaseError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(DatabaseError::NoFolder)?;
        }
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        prepare_file(&connection)?;
        let has_type = has_type_column(&connection)?;
        let (catalog, namespace) = (catalog.to_owned(), namespace.to_owned());
        Ok(Self { connection: Mutex::new(connection), catalog, namespace, has_type })
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, DatabaseError> {
        // Each use is one statement: a panic inside leaves nothing half done.
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(work(&connection)?)
    }

    fn only_tables(&self) -> &'static str {
        if self.has_type { " AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)" } else { "" }
    }

    /// Returns where the metadata of a table is, `None` if there is no such table.
    pub(super) fn location(&self, table: &str) -> Result<Option<String>, DatabaseError> {
        let sql = format!(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3{}",
            self.only_tables()
        );
        let key = params![self.catalog, self.namespace, table];
        let found = self.with(|connection| {
            connection.prepare_cached(&sql)?.query_row(key, |row| row.get::<_, Option<String>>(0)).optional()
        })?;
        Ok(found.flatten())
    }

    /// Adds a table; `false` if the name is taken.
    pub(super) fn insert(&self, table: &str, location: &str) -> Result<bool, DatabaseError> {
        let (column, value) = if self.has_type { (", iceberg_type", ", 'TABLE'") } else { ("", "") };
        let sql = format!(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location{column})
             VALUES (?1, ?2, ?3, ?4{value}) ON CONFLICT DO NOTHING"
        );
        let row = params![self.catalog, self.namespace, table, location];
        Ok(self.with(|connection| connection.execute(&sql, row))? == 1)
    }

    /// Moves a table from one metadata file to the next; `false` if it is not at `old`.
    pub(super) fn swap(&self, table: &str, old: &str, new: &str) -> Result<bool, DatabaseError> {
        let sql = format!(
            "UPDATE iceberg_tables SET metadata_location = ?5, previous_metadata_location = ?4
             WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3 AND metadata_location = ?4{}",
            self.only_tables()
        );
        let row = params![self.catalog, self.namespace, table, old, new];
        Ok(self.with(|connection| connection.prepare_cached(&sql)?.execute(row))? == 1)
    }

    /// Returns the names of all tables, ascending.
    pub(super) fn list(&self) -> Result<Vec<String>, DatabaseError> {
        let sql = format!(
            "SELECT table_name FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2{}
             ORDER BY table_name",
            self.only_tables()
        );
        self.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let names = statement.query_map(params![self.catalog, self.namespace], |row| row.get(0))?;
            names.collect()
        })
    }

    /// Adds the namespace as PyIceberg does, by a property that says it exists.
    pub(super) fn ensure_namespace(&self) -> Result<(), DatabaseError> {
        let sql =
            "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
                   VALUES (?1, ?2, 'exists', 'true') ON CONFLICT DO NOTHING";
        self.with(|connection| connection.execute(sql, params![self.catalog, self.namespace]))?;
        Ok(())
    }
}

/// Sets the journal mode and creates the tables.
///
/// Two processes that open a new file at the same time can find it locked in spite of the busy timeout, because changing
/// the journal mode does not wait: try again until the same time is up.
fn prepare_file(connection: &Connection) -> Result<(), DatabaseError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let result = connection
            .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
            .and_then(|()| connection.execute_batch("PRAGMA synchronous = FULL"))
            .and_then(|()| connection.execute_batch(CREATE_TABLES))
            .map_err(DatabaseError::from);
        match result {
            Err(error) if error.is_busy() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn has_type_column(connection: &Connection) -> Result<bool, DatabaseError> {
    let sql = "SELECT count(*) FROM pragma_table_info('iceberg_tables') WHERE name = 'iceberg_type'";
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_before_the_type_column_is_used_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let old = CREATE_TABLES.replace("    iceberg_type VARCHAR(5),\n", "");
        assert_ne!(old, CREATE_TABLES);
        Connection::open(&path).unwrap().execute_batch(&old).unwrap();

        let database = Database::open(&path, "lakehouse", "streamify").unwrap();

        assert!(!database.has_type);
        assert!(database.insert("t", "a").unwrap());
        assert!(database.swap("t", "a", "b").unwrap());
        assert_eq!(database.location("t").unwrap().as_deref(), Some("b"));
        assert_eq!(database.list().unwrap(), ["t"]);
    }

    #[test]
    fn only_the_holder_of_the_current_location_moves_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("c.db"), "lakehouse", "streamify").unwrap();

        assert!(database.insert("t", "a").unwrap());
        assert!(!database.insert("t", "x").unwrap(), "the name is taken");
        assert!(database.swap("t", "a", "b").unwrap());
        assert!(!database.swap("t", "a", "c").unwrap());

        assert_eq!(database.location("t").unwrap().as_deref(), Some("b"));
    }

    #[test]
    fn a_file_that_someone_else_holds_is_busy_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.db");
        let database = Database::open(&path, "lakehouse", "streamify").unwrap();
        database.insert("t", "a").unwrap();
        database.with(|connection| connection.busy_timeout(Duration::ZERO)).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();

        let error = database.swap("t", "a", "b").unwrap_err();
        other.execute_batch("ROLLBACK").unwrap();

        assert!(error.is_busy(), "{error}");
        assert_eq!(database.location("t").unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn views_are_not_tables() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("c.db"), "lakehouse", "streamify").unwrap();
        database.insert("v", "a").unwrap();
        database.with(|c| c.execute("UPDATE iceberg_tables SET iceberg_type = 'VIEW'", [])).unwrap();

        assert_eq!(database.location("v").unwrap(), None);
        assert!(database.list().unwrap().is_empty());
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.db");
        fs::write(
            &path,
            "this is not a database, but text that is long enough to be read as a header of one",
        )
        .unwrap();
        let settings = SqliteSettings {
            path: path.clone(),
            warehouse: "file:///w".to_owned(),
            name: "lakehouse".to_owned(),
        };

        let error = Database::open(&path, "lakehouse", "streamify").unwrap_err().at(&settings);

        assert!(matches!(&error, CatalogError::Refused(text) if text.contains("c.db")), "{error}");
    }
}
