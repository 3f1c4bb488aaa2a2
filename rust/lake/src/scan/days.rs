//! The live files of a table day by day, as of one head.
//!
//! A manifest is read when a day that it may hold is first asked for, and once: what is read follows the days asked for, not
//! the history.

use std::collections::BTreeMap;

use iceberg::spec::ManifestFile;
use iceberg::{Error, ErrorKind};

use super::{LiveFile, days_of_manifest, entries_of, live_manifests};
use crate::catalog::LoadedTable;
use crate::read::ReadError;

/// Finds the files of a day.
#[derive(Debug)]
pub struct DayFiles {
    table: LoadedTable,
    unread: Vec<ManifestFile>,
    days: BTreeMap<i32, Vec<LiveFile>>,
}

impl DayFiles {
    /// Looks at the table as it was loaded; no manifest is read yet.
    ///
    /// # Errors
    /// As [`live_files`](super::live_files).
    pub async fn open(table: &LoadedTable) -> Result<Self, ReadError> {
        let unread = live_manifests(table).await?;
        Ok(Self { table: table.clone(), unread, days: BTreeMap::new() })
    }

    /// Returns the files of a day; none where nothing is.
    ///
    /// # Errors
    /// A manifest cannot be read, or names a file whose partition does not tell its day.
    pub async fn of(&mut self, day: i32) -> Result<&[LiveFile], ReadError> {
        let metadata = self.table.metadata.clone();
        let may_hold = |manifest: &ManifestFile| {
            days_of_manifest(manifest, &metadata).is_none_or(|days| days.contains(&day))
        };
        self.read(may_hold).await?;
        Ok(self.days.get(&day).map_or(&[], Vec::as_slice))
    }

    /// Returns all files.
    ///
    /// # Errors
    /// As [`DayFiles::of`].
    pub async fn all(&mut self) -> Result<&BTreeMap<i32, Vec<LiveFile>>, ReadError> {
        self.read(|_| true).await?;
        Ok(&self.days)
    }

    /// Reads those of the unread manifests that are wanted; after an error, or dropped half-way, they are unread as before.
    async fn read(&mut self, is_wanted: impl Fn(&ManifestFile) -> bool) -> Result<(), ReadError> {
        let wanted = self.unread.iter().filter(|manifest| is_wanted(manifest)).cloned().collect();
        let files = entries_of(&self.table, wanted).await?;
        let metadata = &self.table.metadata;
        if let Some(live) = files.iter().find(|live| live.day(metadata).is_none()) {
            let message = format!("`{}` is not of one day", live.file.file_path());
            return Err(self.table.unreadable(Error::new(ErrorKind::DataInvalid, message)));
        }
        self.unread.retain(|manifest| !is_wanted(manifest));
        for live in files {
            if let Some(day) = live.day(metadata) {
                self.days.entry(day).or_default().push(live);
            }
        }
        Ok(())
    }
}
