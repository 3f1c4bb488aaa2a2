//! The columns of a bronze table: payload fields under their wire names, then what the worker derives.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};

use super::{Contract, FieldKind};

/// Name of the optional column with the older event id; see [`crate::identity::legacy_event_id`].
pub const LEGACY_EVENT_ID: &str = "_legacy_event_id";

/// One column of a table, as the lake, the data dictionary and Dagster need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: ColumnType,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it means.
    pub doc: String,
    /// Unit of a number.
    pub unit: Option<String>,
    /// Whether it is about a person.
    pub personal: bool,
}

/// Type of a column, with one Arrow and one Iceberg type each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Arrow `Utf8`, Iceberg `string`.
    String,
    /// Arrow `Int32`, Iceberg `int`.
    Int,
    /// Arrow `Int64`, Iceberg `long`.
    Long,
    /// Arrow `Float64`, Iceberg `double`.
    Double,
    /// Arrow `Boolean`, Iceberg `boolean`.
    Boolean,
    /// Arrow `Timestamp(Microsecond, "+00:00")`, Iceberg `timestamptz`.
    Timestamp,
    /// Arrow `Date32`, Iceberg `date`.
    Date,
    /// Arrow `Binary`, Iceberg `binary`.
    Binary,
    /// Arrow `List` of `Utf8`, Iceberg `list<string>`; no element is null.
    StringList,
    /// Arrow `List` of `Int64`, Iceberg `list<long>`; no element is null.
    LongList,
}

/// Name of the element field of a list, as Iceberg and Parquet have it.
pub(crate) const ELEMENT: &str = "element";

impl ColumnType {
    /// Returns the Arrow type.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Date => DataType::Date32,
            Self::Binary => DataType::Binary,
            Self::StringList => list(DataType::Utf8),
            Self::LongList => list(DataType::Int64),
        }
    }
}

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(ArrowField::new(ELEMENT, element, false)))
}

/// The zone of every timestamp column.
pub(crate) const UTC: &str = "+00:00";

impl From<FieldKind> for ColumnType {
    fn from(kind: FieldKind) -> Self {
        match kind {
            FieldKind::String => Self::String,
            FieldKind::Int => Self::Int,
            FieldKind::Long => Self::Long,
            FieldKind::Double => Self::Double,
            FieldKind::Boolean => Self::Boolean,
        }
    }
}

impl Column {
    /// Returns a column without unit that is not about a person.
    #[must_use]
    pub fn new(name: &str, kind: ColumnType, nullable: bool, doc: &str) -> Self {
        Self { name: name.to_owned(), kind, nullable, doc: doc.to_owned(), unit: None, personal: false }
    }
}

impl Contract {
    /// Returns the columns of the bronze table, in table order: payload, then derived; without the optional older id.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        self.columns_with(false)
    }

    /// Returns the columns of the bronze table; with `legacy_event_id`, the column [`LEGACY_EVENT_ID`] comes last.
    #[must_use]
    pub fn columns_with(&self, legacy_event_id: bool) -> Vec<Column> {
        let payload = self.fields.iter().map(|field| Column {
            name: field.column.clone(),
            kind: field.kind.into(),
            nullable: !field.required,
            doc: field.doc.clone(),
            unit: field.unit.clone(),
            personal: field.personal,
        });
        let legacy = legacy_event_id.then(|| {
            Column::new(LEGACY_EVENT_ID, ColumnType::String, false, "SHA-256 (64 hex digits) of `userId_sessionId_ts` without nulls, as older pipelines made it; merges different events.")
        });
        payload.chain(derived_columns()).chain(legacy).collect()
    }

    /// Returns the Arrow schema of [`Contract::columns`].
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        schema_of(&self.columns())
    }
}

/// Returns the Arrow schema of some columns.
#[must_use]
pub fn schema_of(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| ArrowField::new(&column.name, column.kind.arrow(), column.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// What the worker adds to every payload, in table order.
pub(crate) fn derived_columns() -> Vec<Column> {
    use ColumnType::{Date, Int, Long, String, Timestamp};
    vec![
        Column::new(
            "event_id",
            String,
            false,
            "Identity of the event, 32 hex digits; equal for each delivery of the same event.",
        ),
        Column::new("event_ts", Timestamp, false, "Event time, UTC."),
        Column::new("event_date", Date, false, "Date of the event time, UTC."),
        Column::new("_kafka_partition", Int, false, "Kafka partition the record came from."),
        Column::new(
            "_kafka_offset",
            Long,
            false,
            "Kafka offset of the record; unique with `_source_epoch` and `_kafka_partition`.",
        ),
        Column::new("_kafka_timestamp", Timestamp, true, "Kafka timestamp of the record, UTC."),
        Column::new(
            "_source_epoch",
            Int,
            false,
            "0, and 1 more at each adoption of a re-created topic or another cluster.",
        ),
        Column::new(
            "_run_id",
            String,
            true,
            "Producer run from the header `run_id`; part of the identity of events, sessions and people.",
        ),
        Column::new("_processing_time", Timestamp, false, "When the worker decoded the record, UTC."),
        Column::new("_extras", String, true, "JSON object of the fields the contract does not know."),
    ]
}
