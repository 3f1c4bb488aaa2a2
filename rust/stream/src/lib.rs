//! Kafka topics into Iceberg tables, each record exactly once.
pub mod kafka;
