//! One Parquet file (zstd), written row by row.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

/// Rows held before they become a batch.
const BATCH_ROWS: usize = 8_192;

/// Why the truth cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// A file is there already.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("failed to write `{}`", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The Parquet writer refused, mostly because the file system did.
    #[error("failed to write rows to `{}`", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A kind of row: which columns it has, and how many rows become them.
pub trait Row: Sized {
    /// Stem of the file.
    const NAME: &'static str;

    /// Returns name, type and whether there may be nulls, of each column.
    fn columns() -> Vec<(&'static str, DataType, bool)>;

    /// Returns the columns of rows.
    fn arrays(rows: &[Self]) -> Vec<ArrayRef>;
}

/// A Parquet file of one kind of rows.
pub struct Table<R: Row> {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    rows: Vec<R>,
}

impl<R: Row> Table<R> {
    /// Creates `<folder>/<name>.parquet`.
    ///
    /// # Errors
    /// [`TruthError::Exists`] if it is there and `overwrite` is false; [`TruthError::File`], [`TruthError::Rows`].
    pub fn create(folder: &Path, overwrite: bool) -> Result<Self, TruthError> {
        let path = folder.join(format!("{}.parquet", R::NAME));
        let mut options = OpenOptions::new();
        options.write(true).create_new(!overwrite).create(overwrite).truncate(overwrite);
        let file = options.open(&path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => TruthError::Exists { path: path.clone() },
            _ => TruthError::File { path: path.clone(), source },
        })?;
        let fields = R::columns().into_iter().map(|(name, kind, nullable)| Field::new(name, kind, nullable));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|source| TruthError::Rows { path: path.clone(), source: source.into() })?;
        Ok(Self { path, schema, writer, rows: Vec::new() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`TruthError::Rows`].
    pub fn push(&mut self, row: R) -> Result<(), TruthError> {
        self.rows.push(row);
        if self.rows.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TruthError> {
        let failed = |source| TruthError::Rows { path: self.path.clone(), source };
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), R::arrays(&self.rows))
            .map_err(|source| failed(source.into()))?;
        self.rows.clear();
        self.writer.write(&batch).map_err(|source| failed(source.into()))
    }

    /// Writes what is left, and the footer.
    ///
    /// # Errors
    /// [`TruthError::Rows`].
    pub fn close(mut self) -> Result<(), TruthError> {
        self.flush()?;
        let Self { path, writer, .. } = self;
        writer.close().map(drop).map_err(|source| TruthError::Rows { path, source: source.into() })
    }
}
