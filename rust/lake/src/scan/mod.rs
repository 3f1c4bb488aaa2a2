//! The files of a table, one by one: which are live ([`live_files`], day by day [`DayFiles`]), what is in them ([`reader`]), and
//! which came since a former read ([`increment`]).
//!
//! Days are days since 1970-01-01 (UTC). A file's day comes from its partition value, so it costs no reading; files of an
//! unpartitioned table have none.

mod days;
pub mod increment;
pub mod reader;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use iceberg::spec::{
    DataFile, Literal, ManifestContentType, ManifestEntryRef, ManifestFile, PartitionSpec, PrimitiveLiteral,
    PrimitiveType, TableMetadata, Transform, Type,
};

pub use self::days::DayFiles;
use crate::catalog::LoadedTable;
use crate::commit::manifests_of_head;
use crate::files::FilePartition;
use crate::read::ReadError;

/// How many manifests are read at once.
const MANIFESTS_AT_ONCE: usize = 8;
const HOURS_PER_DAY: i32 = 24;

/// A data file of the table's head, as its manifest tells of it.
#[derive(Clone, Debug)]
pub struct LiveFile {
    /// Path, partition value, counts and bounds.
    pub file: DataFile,
    /// Partition spec it was written with.
    pub spec_id: i32,
    /// Snapshot that added it.
    pub snapshot_id: i64,
    /// Sequence number of its rows.
    pub sequence_number: i64,
}

impl LiveFile {
    pub(crate) fn new(spec_id: i32, entry: &ManifestEntryRef) -> Self {
        LiveFile {
            file: entry.data_file().clone(),
            spec_id,
            snapshot_id: entry.snapshot_id().unwrap_or_default(),
            sequence_number: entry.sequence_number().unwrap_or_default(),
        }
    }

    /// The day whose rows the file holds; `None` if its partition does not tell.
    pub fn day(&self, metadata: &TableMetadata) -> Option<i32> {
        let spec = metadata.partition_spec_by_id(self.spec_id)?;
        let (position, unit) = day_field(spec, metadata)?;
        self.value(position).map(|value| value.div_euclid(unit))
    }

    /// The partition to which files with these rows belong; `None` if it was written with another spec than the table has
    /// now, or with one that we do not write.
    pub fn partition(&self, metadata: &TableMetadata) -> Option<FilePartition> {
        let spec = metadata.default_partition_spec();
        if self.spec_id != spec.spec_id() {
            return None;
        }
        match (spec.fields(), day_field(spec, metadata)) {
            ([], _) => Some(FilePartition::None),
            ([_], Some((position, 1))) => self.value(position).map(FilePartition::Day),
            ([_], Some((position, _))) => self.value(position).map(FilePartition::Hour),
            _ => None,
        }
    }

    fn value(&self, position: usize) -> Option<i32> {
        match self.file.partition().fields().get(position)? {
            Some(Literal::Primitive(PrimitiveLiteral::Int(value))) => Some(*value),
            _ => None,
        }
    }
}

/// Returns the live data files, those of `days` only if given (and those whose day is not known).
///
/// Manifests whose partition bounds lie outside `days` are not read.
///
/// # Errors
/// A manifest cannot be read, or another engine wrote delete files: a reader of whole files would show deleted rows.
pub async fn live_files(
    table: &LoadedTable,
    days: Option<&BTreeSet<i32>>,
) -> Result<Vec<LiveFile>, ReadError> {
    let metadata = &table.metadata;
    let mut manifests = live_manifests(table).await?;
    if let Some(days) = days {
        manifests.retain(|manifest| {
            days_of_manifest(manifest, metadata).is_none_or(|span| days.range(span).next().is_some())
        });
    }
    let mut files = entries_of(table, manifests).await?;
    if let Some(days) = days {
        files.retain(|live| live.day(metadata).is_none_or(|day| days.contains(&day)));
    }
    Ok(files)
}

/// The manifests of the head that name live data files.
async fn live_manifests(table: &LoadedTable) -> Result<Vec<ManifestFile>, ReadError> {
    let manifests = manifests_of_head(&table.metadata, &table.file_io).await;
    let mut manifests = manifests.map_err(|source| table.unreadable(source))?;
    if let Some(manifest) = manifests.iter().find(|manifest| has_deletes(manifest)) {
        let message = format!("another engine wrote delete files (manifest `{}`)", manifest.manifest_path);
        return Err(table.unreadable(iceberg::Error::new(iceberg::ErrorKind::FeatureUnsupported, message)));
    }
    manifests.retain(|manifest| {
        manifest.content == ManifestContentType::Data
            && (manifest.has_added_files() || manifest.has_existing_files())
    });
    Ok(manifests)
}

/// The live files that these manifests name.
async fn entries_of(table: &LoadedTable, manifests: Vec<ManifestFile>) -> Result<Vec<LiveFile>, ReadError> {
    let read = stream::iter(manifests).map(|manifest| async move {
        let loaded = manifest.load_manifest(&table.file_io).await?;
        let live = loaded.entries().iter().filter(|entry| entry.is_alive());
        Ok::<_, iceberg::Error>(
            live.map(|entry| LiveFile::new(manifest.partition_spec_id, entry)).collect::<Vec<_>>(),
        )
    });
    let lists: Result<Vec<Vec<LiveFile>>, _> = read.buffered(MANIFESTS_AT_ONCE).try_collect().await;
    Ok(lists.map_err(|source| table.unreadable(source))?.into_iter().flatten().collect())
}

/// Whether rows of live files are deleted by other files.
pub(crate) fn has_deletes(manifest: &ManifestFile) -> bool {
    manifest.content == ManifestContentType::Deletes
        && (manifest.has_added_files() || manifest.has_existing_files())
}

impl LoadedTable {
    /// Returns the bytes of each manifest of the head.
    ///
    /// # Errors
    /// The manifest list cannot be read.
    pub async fn manifest_sizes(&self) -> Result<Vec<u64>, ReadError> {
        let manifests = manifests_of_head(&self.metadata, &self.file_io).await;
        let manifests = manifests.map_err(|source| self.unreadable(source))?;
        Ok(manifests.iter().map(|manifest| u64::try_from(manifest.manifest_length).unwrap_or(0)).collect())
    }
}

/// The days a manifest's files may belong to; `None` if its bounds do not tell.
pub(crate) fn days_of_manifest(
    manifest: &ManifestFile,
    metadata: &TableMetadata,
) -> Option<RangeInclusive<i32>> {
    let spec = metadata.partition_spec_by_id(manifest.partition_spec_id)?;
    let (position, unit) = day_field(spec, metadata)?;
    let summary = manifest.partitions.as_ref()?.get(position)?;
    if summary.contains_null {
        return None;
    }
    // Bounds are the values' binary form: four bytes, little endian.
    let bound = |bytes: &[u8]| Some(i32::from_le_bytes(bytes.try_into().ok()?).div_euclid(unit));
    Some(bound(summary.lower_bound.as_deref()?)?..=bound(summary.upper_bound.as_deref()?)?)
}

/// Which partition field tells the day, and how many of its units make one.
fn day_field(spec: &PartitionSpec, metadata: &TableMetadata) -> Option<(usize, i32)> {
    spec.fields().iter().enumerate().find_map(|(position, field)| match field.transform {
        Transform::Day => Some((position, 1)),
        Transform::Hour => Some((position, HOURS_PER_DAY)),
        Transform::Identity => {
            let source = metadata.current_schema().field_by_id(field.source_id)?;
            (*source.field_type == Type::Primitive(PrimitiveType::Date)).then_some((position, 1))
        }
        _ => None,
    })
}
