//! From a table's columns to Iceberg's schema, partition spec, sort order and properties, and how a schema may grow.
//!
//! Field ids belong to the table: after it is created or loaded, columns are matched by name. A schema only ever grows in
//! ways that every reader of old files stands: new optional columns, wider numbers, required columns that become
//! optional. Anything else is a [`SchemaError`] that names table, column and both types.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::history::MAX_SNAPSHOTS;
use iceberg::spec::{
    ListType, NestedField, NestedFieldRef, NullOrder, PrimitiveType, Schema, SortDirection, SortField,
    SortOrder, Transform, Type, UnboundPartitionSpec,
};
use streamify_core::contract::{Column, ColumnType, PartitionTransform};

/// How a table is partitioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// Not at all.
    None,
    /// By the value of a date column.
    Identity(String),
    /// By the hour of a timestamp column.
    Hour(String),
}

impl From<PartitionTransform> for Partitioning {
    fn from(transform: PartitionTransform) -> Self {
        match transform {
            PartitionTransform::EventDate => Self::Identity("event_date".to_owned()),
            PartitionTransform::Hour => Self::Hour("event_ts".to_owned()),
        }
    }
}

/// Why columns and a table's schema do not go together.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A column has another type in the table, and neither can hold the other.
    #[error("column `{column}` of table `{table}` is of type {found}, but {expected} is wanted")]
    TypeConflict {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// The type in the table.
        found: String,
        /// The wanted type.
        expected: String,
    },
    /// Two columns differ in letter case only, which many engines take for the same.
    #[error(
        "column `{column}` differs only in letter case from `{other}`, which table `{table}` has already"
    )]
    CaseConflict {
        /// The table's name.
        table: String,
        /// The wanted column.
        column: String,
        /// The column in the table.
        other: String,
    },
    /// A column identifies rows in the table and therefore must not become optional.
    #[error("column `{column}` identifies the rows of table `{table}`, but is wanted as optional")]
    IdentifierMustStayRequired {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
    },
    /// A column that is named as identity, partition or sort column does not exist or does not suit.
    #[error("column `{column}` cannot be used as {role}: {problem}")]
    UnusableColumn {
        /// The column's name.
        column: String,
        /// What for.
        role: &'static str,
        /// Why not.
        problem: &'static str,
    },
    /// The iceberg crate refused the result.
    #[error("schema is not valid")]
    Invalid(#[source] iceberg::Error),
}

/// Returns Iceberg's type of a column; `next_id` gives an id to the element of a list.
pub fn iceberg_type(kind: ColumnType, mut next_id: impl FnMut() -> i32) -> Type {
    let mut list = |element| {
        let element = NestedField::list_element(next_id(), Type::Primitive(element), true);
        Type::List(ListType { element_field: Arc::new(element) })
    };
    Type::Primitive(match kind {
        ColumnType::String => PrimitiveType::String,
        ColumnType::Int => PrimitiveType::Int,
        ColumnType::Long => PrimitiveType::Long,
        ColumnType::Double => PrimitiveType::Double,
        ColumnType::Boolean => PrimitiveType::Boolean,
        ColumnType::Timestamp => PrimitiveType::Timestamptz,
        ColumnType::Date => PrimitiveType::Date,
        ColumnType::Binary => PrimitiveType::Binary,
        ColumnType::StringList => return list(PrimitiveType::String),
        ColumnType::LongList => return list(PrimitiveType::Long),
    })
}

/// Returns a source of ids from `first` on.
fn ids_from(first: i32) -> impl FnMut() -> i32 {
    let mut ids = first..;
    move || ids.next().unwrap_or(i32::MAX)
}

/// Builds the schema of a new table: ids of the columns first, then those of list elements; `identity` names the columns that identify a row, and may be empty.
///
/// # Errors
/// An identity column that does not exist or may be null, or two columns of one name.
pub fn iceberg_schema(columns: &[Column], identity: &[String]) -> Result<Schema, SchemaError> {
    let mut next_id = ids_from(1);
    let ids: Vec<i32> = columns.iter().map(|_| next_id()).collect();
    let fields =
        columns.iter().zip(ids).map(|(column, id)| field(column, id, !column.nullable, &mut next_id));
    let fields: Vec<NestedFieldRef> = fields.collect();
    let mut identifier_ids = Vec::with_capacity(identity.len());
    for name in identity {
        let unusable =
            |problem| SchemaError::UnusableColumn { column: name.clone(), role: "identity", problem };
        let found = columns.iter().zip(1..).find(|(column, _)| column.name == *name);
        match found {
            Some((column, _)) if column.nullable => return Err(unusable("it may be null")),
            Some((_, id)) => identifier_ids.push(id),
            None => return Err(unusable("there is no such column")),
        }
    }
    Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(identifier_ids)
        .build()
        .map_err(SchemaError::Invalid)
}

fn field(column: &Column, id: i32, required: bool, next_id: impl FnMut() -> i32) -> NestedFieldRef {
    let kind = iceberg_type(column.kind, next_id);
    let doc = match &column.unit {
        Some(unit) => format!("{} (unit: {unit})", column.doc),
        None => column.doc.clone(),
    };
    let field = NestedField::new(id, &column.name, kind, required);
    Arc::new(if doc.is_empty() { field } else { field.with_doc(doc) })
}

/// Builds the partition spec of a new table, `None` if it is not partitioned.
///
/// # Errors
/// A column that does not exist.
pub fn partition_spec(
    schema: &Schema,
    partitioning: &Partitioning,
) -> Result<Option<UnboundPartitionSpec>, SchemaError> {
    let (column, name, transform) = match partitioning {
        Partitioning::None => return Ok(None),
        Partitioning::Identity(column) => (column, column.clone(), Transform::Identity),
        Partitioning::Hour(column) => (column, format!("{column}_hour"), Transform::Hour),
    };
    let id = field_id(schema, column, "partition column")?;
    let builder = UnboundPartitionSpec::builder().with_spec_id(0);
    let spec = builder.add_partition_field(id, name, transform).map_err(SchemaError::Invalid)?;
    Ok(Some(spec.build()))
}

/// Builds the sort order of a new table: ascending, nulls first; `None` if `sort_key` is empty.
///
/// # Errors
/// A column that does not exist.
pub fn sort_order(schema: &Schema, sort_key: &[String]) -> Result<Option<SortOrder>, SchemaError> {
    if sort_key.is_empty() {
        return Ok(None);
    }
    let mut builder = SortOrder::builder();
    builder.with_order_id(1);
    for column in sort_key {
        let source_id = field_id(schema, column, "sort column")?;
        builder.with_sort_field(SortField {
            source_id,
            transform: Transform::Identity,
            direction: SortDirection::Ascending,
            null_order: NullOrder::First,
        });
    }
    builder.build_unbound().map(Some).map_err(SchemaError::Invalid)
}

fn field_id(schema: &Schema, column: &str, role: &'static str) -> Result<i32, SchemaError> {
    schema.field_id_by_name(column).ok_or_else(|| SchemaError::UnusableColumn {
        column: column.to_owned(),
        role,
        problem: "there is no such column",
    })
}

/// Returns the properties that every new table gets.
///
/// Metadata files are kept in limited number, so that a table with a commit every few seconds does not fill its folder.
pub fn creation_properties(doc: &str) -> HashMap<String, String> {
    let mut properties: HashMap<String, String> = [
        ("write.format.default", "parquet"),
        ("write.parquet.compression-codec", "zstd"),
        ("write.parquet.compression-level", "1"),
        ("write.metadata.delete-after-commit.enabled", "true"),
        ("write.metadata.previous-versions-max", "100"),
        ("write.target-file-size-bytes", "134217728"),
        (MAX_SNAPSHOTS, "1000"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    if !doc.is_empty() {
        properties.insert("comment".to_owned(), doc.to_owned());
    }
    properties
}

/// Returns the schema that `current` must grow into so that it holds all `columns`, or `None` if it does already.
///
/// Missing columns are added as optional, because old files do not have them; new field ids begin after
/// `last_column_id`. A number column that is too narrow is widened, a required column that may now be null becomes
/// optional. Columns that only the table has stay as they are.
///
/// # Errors
/// See [`SchemaError`]; nothing is half done.
pub fn additive_evolution(
    table: &str,
    current: &Schema,
    last_column_id: i32,
    columns: &[Column],
) -> Result<Option<Schema>, SchemaError> {
    let mut fields: Vec<NestedFieldRef> = current.as_struct().fields().to_vec();
    let mut next_id = ids_from(last_column_id + 1);
    let mut changed = false;
    for column in columns {
        match fields.iter_mut().find(|field| field.name == column.name) {
            Some(existing) => {
                if let Some(adapted) = adapt(table, current, existing, column)? {
                    *existing = Arc::new(adapted);
                    changed = true;
                }
            }
            None => {
                check_letter_case(table, &fields, column)?;
                let id = next_id();
                fields.push(field(column, id, false, &mut next_id));
                changed = true;
            }
        }
    }
    if !changed {
        return Ok(None);
    }
    Schema::builder()
        .with_schema_id(current.schema_id() + 1)
        .with_fields(fields)
        .with_identifier_field_ids(current.identifier_field_ids())
        .build()
        .map(Some)
        .map_err(SchemaError::Invalid)
}

/// Returns what an existing field must become to hold the column, `None` if it can stay.
fn adapt(
    table: &str,
    schema: &Schema,
    existing: &NestedField,
    column: &Column,
) -> Result<Option<NestedField>, SchemaError> {
    use PrimitiveType::{Double, Float, Int, Long};
    let wanted = iceberg_type(column.kind, || 0);
    let widened = match (existing.field_type.as_ref(), &wanted) {
        (Type::Primitive(found), Type::Primitive(wanted)) if found == wanted => false,
        // The table's number is wider: values are converted when they are written.
        (Type::Primitive(Long), Type::Primitive(Int)) => false,
        (Type::Primitive(Int), Type::Primitive(Long)) | (Type::Primitive(Float), Type::Primitive(Double)) => {
            true
        }
        (Type::List(found), Type::List(wanted))
            if found.element_field.field_type == wanted.element_field.field_type =>
        {
            false
        }
        (found, _) => {
            return Err(SchemaError::TypeConflict {
                table: table.to_owned(),
                column: column.name.clone(),
                found: found.to_string(),
                expected: wanted.to_string(),
            });
        }
    };
    let relaxed = existing.required && column.nullable;
    if relaxed && schema.identifier_field_ids().any(|id| id == existing.id) {
        let (table, column) = (table.to_owned(), column.name.clone());
        return Err(SchemaError::IdentifierMustStayRequired { table, column });
    }
    if !widened && !relaxed {
        return Ok(None);
    }
    let mut adapted = existing.clone();
    adapted.required = existing.required && !relaxed;
    if widened {
        adapted.field_type = Box::new(wanted);
    }
    Ok(Some(adapted))
}

fn check_letter_case(table: &str, fields: &[NestedFieldRef], column: &Column) -> Result<(), SchemaError> {
    match fields.iter().find(|field| field.name.to_lowercase() == column.name.to_lowercase()) {
        None => Ok(()),
        Some(other) => Err(SchemaError::CaseConflict {
            table: table.to_owned(),
            column: column.name.clone(),
            other: other.name.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
