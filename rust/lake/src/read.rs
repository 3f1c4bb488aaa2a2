//! Reading rows of a table as it stands, through the iceberg crate's scan.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt as _;
use iceberg::TableIdent;
use iceberg::expr::Predicate;
use iceberg::table::Table;

use crate::catalog::LoadedTable;

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

impl LoadedTable {
    /// Reads `columns` of the rows for which `filter` holds. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// A file cannot be read, or a column does not exist.
    pub async fn read(&self, columns: &[&str], filter: Predicate) -> Result<Vec<RecordBatch>, ReadError> {
        let failed = |source| self.unreadable(source);
        if self.metadata.current_snapshot().is_none() {
            return Ok(Vec::new());
        }
        let rows = async {
            let table = Table::builder()
                .file_io(self.file_io.clone())
                .metadata(Arc::clone(&self.metadata))
                .runtime(iceberg::Runtime::try_current()?)
                .identifier(TableIdent::from_strs(["", self.name.as_str()])?)
                .build()?;
            let scan = table.scan().select(columns.iter().copied()).with_filter(filter).build()?;
            scan.to_arrow().await?.try_collect().await
        };
        rows.await.map_err(failed)
    }
}
