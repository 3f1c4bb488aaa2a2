//! The folders that belong to a table.

use iceberg::spec::TableMetadata;

use crate::storage::canonical;

/// Table properties that place data elsewhere; the last two are older names that engines still honour.
const DATA_PATHS: [&str; 3] = ["write.data.path", "write.object-storage.path", "write.folder-storage.path"];
const METADATA_PATH: &str = "write.metadata.path";

/// Folders of a table, in the canonical spelling, each ending with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folders {
    /// The table's location.
    pub(super) location: String,
    /// Where its files are written: below the location, and where properties say.
    pub(super) written: Vec<String>,
}

impl Folders {
    pub(super) fn of(metadata: &TableMetadata) -> Self {
        let location = folder(metadata.location());
        let mut written = vec![format!("{location}data/"), format!("{location}metadata/")];
        let keys = DATA_PATHS.iter().chain([&METADATA_PATH]);
        for path in keys.filter_map(|key| metadata.properties().get(*key)) {
            written.push(folder(path));
        }
        // A folder inside another one is listed with it.
        let all = written.clone();
        written.retain(|inner| !all.iter().any(|outer| inner != outer && inner.starts_with(outer)));
        written.sort();
        written.dedup();
        Self { location, written }
    }

    /// Returns whether a file, in the canonical spelling, lies in the table's folders.
    pub(super) fn contain(&self, path: &str) -> bool {
        path.starts_with(&self.location) || self.written.iter().any(|folder| path.starts_with(folder))
    }

    /// Returns a folder that both tables claim, in which neither may take unknown files for its own.
    pub(super) fn shared_with(&self, other: &Folders) -> Option<String> {
        for mine in self.written.iter().chain([&self.location]) {
            for theirs in other.written.iter().chain([&other.location]) {
                // Their location may lie above ours: they write to `data` and `metadata` below it.
                if theirs.starts_with(mine) || (mine.starts_with(theirs) && *theirs != other.location) {
                    return Some(theirs.clone());
                }
            }
        }
        None
    }
}

fn folder(path: &str) -> String {
    format!("{}/", canonical(path).trim_end_matches('/'))
}
