//! For tests only: an Iceberg catalog in memory that can fail in every way a real one does, and small builders.

mod catalog;
mod foreign;

use std::collections::BTreeMap;

use iceberg::TableCreation;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct,
    Type,
};
use streamify_core::state::{Change, SourceIdentity, Span};
use uuid::Uuid;

pub use catalog::{Fault, MemoryCatalog};

/// Topic of [`advance`].
pub const TOPIC: &str = "listen_events";

/// Identity of the source in [`advance`].
pub fn source() -> SourceIdentity {
    SourceIdentity { cluster_id: "cluster".into(), topic_id: Some("topic".into()) }
}

/// A change of one partition of [`TOPIC`] in epoch 0.
pub fn advance(partition: i32, expected: Option<i64>, end: i64) -> Change {
    let start = expected.unwrap_or(0);
    Change::Advance {
        topic: TOPIC.into(),
        epoch: 0,
        source: source(),
        spans: BTreeMap::from([(partition, Span { expected, start, end })]),
    }
}

/// An unpartitioned v2 table with one column.
pub fn creation(name: &str) -> TableCreation {
    let field = NestedField::required(1, "value", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields([field.into()]).build().unwrap_or_else(|error| fail(&error));
    TableCreation::builder()
        .name(name.to_string())
        .schema(schema)
        .location(format!("memory:///{name}-{}", Uuid::new_v4()))
        .build()
}

/// A data file entry of `rows` rows; no file stands behind it.
pub fn data_file(path: &str, rows: u64) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(rows)
        .file_size_in_bytes(100)
        .build()
        .unwrap_or_else(|error| fail(&error))
}

/// Stops the test that asked for something impossible.
#[expect(clippy::panic, reason = "this crate is for tests only: a panic is the report")]
pub(crate) fn fail(error: &dyn std::fmt::Display) -> ! {
    panic!("test support failed: {error}")
}
