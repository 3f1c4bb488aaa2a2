//! Reading rows of a table as it stands, through the iceberg crate's scan.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::{self, TryStreamExt as _};
use iceberg::TableIdent;
use iceberg::expr::Predicate;
use iceberg::scan::ArrowRecordBatchStream;
use iceberg::table::Table;

use crate::catalog::LoadedTable;
use crate::scan::reader::{BATCH_ROWS, Batches};

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read table `{table}`")]
pub struct ReadError {
    /// table name
    pub table: String,
    /// why
    #[source]
    pub source: Box<iceberg::Error>,
}

/// Which rows and columns of a table.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Columns, in this order; `None`: all.
    pub columns: Option<Vec<String>>,
    /// Rows for which it holds.
    pub filter: Predicate,
    /// As of this snapshot; `None`: as the table stands.
    pub snapshot_id: Option<i64>,
}

impl ReadError {
    /// Whether the table has something that this version cannot read: another engine must rewrite it first.
    pub fn is_unsupported(&self) -> bool {
        self.source.kind() == iceberg::ErrorKind::FeatureUnsupported
    }
}

impl LoadedTable {
    /// Reads `columns` of the rows for which `filter` holds. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// A file cannot be read, or a column does not exist.
    pub async fn read(&self, columns: &[&str], filter: Predicate) -> Result<Vec<RecordBatch>, ReadError> {
        let columns = Some(columns.iter().map(|&column| column.to_owned()).collect());
        self.rows(Selection { columns, filter, snapshot_id: None }).await?.try_collect().await
    }

    /// Reads the selected rows batch by batch, files in any order. Call it inside a tokio runtime.
    ///
    /// Memory is bounded by a row group of one file per core.
    ///
    /// # Errors
    /// A column or the snapshot does not exist; then, per batch, that a file cannot be read.
    pub async fn rows(&self, selection: Selection) -> Result<Batches, ReadError> {
        if selection.snapshot_id.is_none() && self.metadata.current_snapshot().is_none() {
            return Ok(Box::pin(stream::empty()));
        }
        let batches = self.scan(selection).await.map_err(|source| self.unreadable(source))?;
        let name = self.name.clone();
        let failed = move |source| ReadError { table: name.clone(), source: Box::new(source) };
        Ok(Box::pin(batches.map_err(failed)))
    }

    async fn scan(&self, selection: Selection) -> iceberg::Result<ArrowRecordBatchStream> {
        let table = Table::builder()
            .file_io(self.file_io.clone())
            .metadata(Arc::clone(&self.metadata))
            .runtime(iceberg::Runtime::try_current()?)
            .identifier(TableIdent::from_strs(["", self.name.as_str()])?)
            .build()?;
        let mut scan = table.scan().with_filter(selection.filter).with_batch_size(Some(BATCH_ROWS));
        if let Some(columns) = selection.columns {
            scan = scan.select(columns);
        }
        if let Some(snapshot_id) = selection.snapshot_id {
            scan = scan.snapshot_id(snapshot_id);
        }
        scan.build()?.to_arrow().await
    }
}
