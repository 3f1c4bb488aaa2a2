//! The lake: Iceberg catalogs, object stores, data files, and the one path by which a table changes.
//!
//! * [`settings`] says where everything is, [`lake`] opens it and makes sure that a table exists with the wanted columns.
//! * [`catalog`] has the two backends, REST and SQLite; each tries a commit once and reports truthfully what became of it.
//! * [`commit`] is the only code that changes a table's contents, steered by the state machine of [`protocol`].
//! * [`care`] keeps tables small and readable: expiry, orphans, tags, settings.
//! * [`read`] reads the rows of a table as it stands; [`scan`] its files one by one, and what is new since a former read.
//! * [`storage`] reads and writes files, on S3 or on disk; [`files`] writes Parquet data files, [`schema`] maps columns;
//!   [`stored`] moves rows from files to files without reading their values.

pub mod care;
pub mod catalog;
pub mod commit;
pub mod files;
pub mod lake;
pub mod protocol;
pub mod read;
pub mod scan;
pub mod schema;
pub mod settings;
pub mod storage;
pub mod stored;

pub use catalog::{Catalog, CatalogError, CommitFailure, LoadedTable};
pub use files::{DataFileWriter, FileError, FilePartition};
pub use lake::{Lake, LakeError, Partitioning, TableSpec};
pub use settings::{LakeSettings, SettingsError};
