//! Where a file of a partition lies, and the partition value that its manifest entry carries.

use chrono::{DateTime, Utc};
use iceberg::spec::{Literal, PartitionField, PrimitiveType, Struct, Transform, Type};
use streamify_core::sort::PartitionKey;

use super::FileError;
use crate::catalog::LoadedTable;

/// The partition of a file, for tables with at most one partition field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilePartition {
    /// The table has no partitions.
    None,
    /// A day, as days since 1970-01-01: identity of a date column, or `day` of a timestamp.
    Day(i32),
    /// An hour, as hours since 1970-01-01T00:00Z: `hour` of a timestamp.
    Hour(i32),
}

impl From<PartitionKey> for FilePartition {
    fn from(key: PartitionKey) -> Self {
        match key {
            PartitionKey::EventDate(days) => Self::Day(days),
            PartitionKey::Hour(hours) => Self::Hour(hours),
        }
    }
}

impl std::fmt::Display for FilePartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label())
    }
}

impl FilePartition {
    /// Returns the value as Iceberg writes it into folder names.
    fn label(self) -> String {
        let instant = |seconds: i64| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
        match self {
            Self::None => "none".to_owned(),
            Self::Day(days) => instant(i64::from(days) * 86_400).format("%Y-%m-%d").to_string(),
            Self::Hour(hours) => instant(i64::from(hours) * 3_600).format("%Y-%m-%d-%H").to_string(),
        }
    }
}

/// Checks that files of this kind of partition can be written to the table; the value does not matter.
///
/// # Errors
/// [`FileError::PartitionMismatch`]
pub fn check_partitioning(table: &LoadedTable, partition: impl Into<FilePartition>) -> Result<(), FileError> {
    place(table, partition.into()).map(|_| ())
}

pub(super) struct Placed {
    pub(super) folder: String,
    pub(super) value: Struct,
}

/// Returns the folder and the value of a partition.
pub(super) fn place(table: &LoadedTable, partition: FilePartition) -> Result<Placed, FileError> {
    let metadata = &table.metadata;
    let data = match metadata.properties().get("write.data.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/data", metadata.location().trim_end_matches('/')),
    };
    let fields = metadata.default_partition_spec().fields();
    match (fields, partition) {
        // A table without partitions takes the rows of any.
        ([], _) => Ok(Placed { folder: data, value: Struct::empty() }),
        ([field], FilePartition::Day(days)) if is_day(table, field) => Ok(Placed {
            folder: format!("{data}/{}={}", field.name, partition.label()),
            value: Struct::from_iter([Some(Literal::date(days))]),
        }),
        ([field], FilePartition::Hour(hours)) if field.transform == Transform::Hour => Ok(Placed {
            folder: format!("{data}/{}={}", field.name, partition.label()),
            value: Struct::from_iter([Some(Literal::int(hours))]),
        }),
        _ => Err(FileError::PartitionMismatch {
            table: table.name.clone(),
            partition: partition.label(),
            expected: describe(fields),
        }),
    }
}

fn is_day(table: &LoadedTable, field: &PartitionField) -> bool {
    match field.transform {
        Transform::Day => true,
        Transform::Identity => table
            .metadata
            .current_schema()
            .field_by_id(field.source_id)
            .is_some_and(|source| *source.field_type == Type::Primitive(PrimitiveType::Date)),
        _ => false,
    }
}

fn describe(fields: &[PartitionField]) -> String {
    if fields.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<String> =
        fields.iter().map(|field| format!("{} as `{}`", field.transform, field.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_iceberg() {
        assert_eq!(FilePartition::Day(19_723).label(), "2024-01-01");
        assert_eq!(FilePartition::Day(-1).label(), "1969-12-31");
        assert_eq!(FilePartition::Hour(19_723 * 24 + 5).label(), "2024-01-01-05");
    }
}
