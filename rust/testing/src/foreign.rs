//! What other engines do to a table behind the worker's back.

use std::collections::HashMap;

use iceberg::spec::{
    MAIN_BRANCH, Operation, Snapshot, SnapshotReference, SnapshotRetention, Summary, TableMetadata,
    TableMetadataBuilder,
};

use crate::catalog::MemoryCatalog;
use crate::fail;

impl MemoryCatalog {
    /// A foreign commit (a compaction, say): a new head that carries none of our summary entries.
    pub fn foreign_commit(&self, name: &str) -> i64 {
        let mut new_head = 0;
        self.rewrite(name, |metadata| {
            let parent = head(&metadata);
            new_head = metadata.last_sequence_number() + 1_000_000;
            let snapshot = Snapshot::builder()
                .with_snapshot_id(new_head)
                .with_parent_snapshot_id(Some(parent.snapshot_id()))
                .with_sequence_number(metadata.next_sequence_number())
                .with_schema_id(metadata.current_schema_id())
                .with_timestamp_ms(parent.timestamp_ms() + 1)
                .with_manifest_list(parent.manifest_list().to_string())
                .with_summary(Summary {
                    operation: Operation::Replace,
                    additional_properties: HashMap::new(),
                })
                .build();
            let builder = metadata.into_builder(None).add_snapshot(snapshot);
            point_main(builder.unwrap_or_else(|error| fail(&error)), new_head)
        });
        new_head
    }

    /// `main` goes back to the parent of its head.
    pub fn roll_back(&self, name: &str) {
        self.rewrite(name, |metadata| {
            let parent = head(&metadata).parent_snapshot_id();
            let parent = parent.unwrap_or_else(|| fail(&"there is no snapshot to roll back to"));
            point_main(metadata.into_builder(None), parent)
        });
    }

    /// Every snapshot but the head of `main` expires.
    pub fn expire_all_but_head(&self, name: &str) {
        self.rewrite(name, |metadata| {
            let head = head(&metadata).snapshot_id();
            let expired: Vec<i64> = metadata
                .snapshots()
                .map(|snapshot| snapshot.snapshot_id())
                .filter(|id| *id != head)
                .collect();
            build(metadata.into_builder(None).remove_snapshots(&expired))
        });
    }

    /// A tag is set.
    pub fn tag(&self, name: &str, tag: &str, snapshot_id: i64) {
        self.rewrite(name, |metadata| {
            let retention = SnapshotRetention::Tag { max_ref_age_ms: None };
            let builder =
                metadata.into_builder(None).set_ref(tag, SnapshotReference::new(snapshot_id, retention));
            build(builder.unwrap_or_else(|error| fail(&error)))
        });
    }

    /// A property is set or, with `None`, removed.
    pub fn set_property(&self, name: &str, key: &str, value: Option<&str>) {
        self.rewrite(name, |metadata| {
            let builder = metadata.into_builder(None);
            let builder = match value {
                Some(value) => builder.set_properties(HashMap::from([(key.to_string(), value.to_string())])),
                None => builder.remove_properties(&[key.to_string()]),
            };
            build(builder.unwrap_or_else(|error| fail(&error)))
        });
    }
}

fn head(metadata: &TableMetadata) -> Snapshot {
    metadata.current_snapshot().unwrap_or_else(|| fail(&"the table has no snapshot")).as_ref().clone()
}

fn point_main(builder: TableMetadataBuilder, snapshot_id: i64) -> TableMetadata {
    let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
    build(builder.set_ref(MAIN_BRANCH, reference).unwrap_or_else(|error| fail(&error)))
}

fn build(builder: TableMetadataBuilder) -> TableMetadata {
    builder.build().unwrap_or_else(|error| fail(&error)).metadata
}
