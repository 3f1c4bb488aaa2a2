//! Deleting files that nobody needs, in batches, and counting them.

use futures::stream;
use serde::Serialize;

use super::CareError;
use crate::catalog::LoadedTable;

/// What S3 takes in one request.
const BATCH: usize = 1000;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Rows, or deletes of rows.
    Data,
    /// Names data files.
    Manifest,
    /// Names the manifests of one snapshot.
    ManifestList,
    /// Statistics of one snapshot.
    Statistics,
    /// The table's metadata at one time.
    Metadata,
    /// Anything else in the table's folders.
    Other,
}

/// How many files, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Files.
    pub files: u64,
    /// Bytes, as far as known.
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Deletes files; those that are gone already are no error.
pub(super) async fn delete(table: &LoadedTable, paths: Vec<String>) -> Result<(), CareError> {
    for (index, batch) in paths.chunks(BATCH).enumerate() {
        let batch = stream::iter(batch.to_vec());
        table.file_io.delete_stream(batch).await.map_err(|source| CareError::DeletionFailed {
            table: table.name.clone(),
            deleted: index * BATCH,
            wanted: paths.len(),
            source,
        })?;
    }
    Ok(())
}
