//! Deleting files that nobody needs, in batches, and counting them.

use std::collections::BTreeMap;

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

/// Counts by kind.
pub(super) type Tallies = BTreeMap<FileKind, Tally>;

/// A file to be deleted.
#[derive(Clone, Debug)]
pub(super) struct Doomed {
    pub(super) path: String,
    pub(super) kind: FileKind,
    pub(super) bytes: u64,
}

pub(super) fn tally<'a>(files: impl IntoIterator<Item = &'a Doomed>) -> Tallies {
    let mut tallies = Tallies::new();
    for file in files {
        tallies.entry(file.kind).or_default().add(file.bytes);
    }
    tallies
}

/// Deletes files; those that are gone already are no error.
pub(super) async fn delete(table: &LoadedTable, files: &[Doomed]) -> Result<(), CareError> {
    for (index, batch) in files.chunks(BATCH).enumerate() {
        let paths: Vec<String> = batch.iter().map(|file| file.path.clone()).collect();
        table.file_io.delete_stream(stream::iter(paths)).await.map_err(|source| {
            CareError::DeletionFailed {
                table: table.name.clone(),
                deleted: index * BATCH,
                wanted: files.len(),
                source,
            }
        })?;
    }
    Ok(())
}
