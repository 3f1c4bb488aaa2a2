//! Random histories of appends, rewrites, rollbacks, tags, consumers and expiries, against a model that knows every file:
//! whatever is needed stays, whatever is not goes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::SnapshotRetention;
use proptest::prelude::*;
use streamify_lake::care::consumers::{self, Consumer};
use streamify_lake::care::expire::{ExpireOptions, expire};
use streamify_lake::care::refs::{self, NewRef};
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::{CommitOptions, Kind};
use streamify_testing::MemoryCatalog;
use support::small::{TABLE, append, check_readable, load, open, rewrite};

/// One thing that happens to the table; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Rewrite(usize),
    Overwrite(usize),
    RollBack,
    Tag(u8, usize),
    Untag(u8),
    /// A consumer has read up to a snapshot, chosen among those not before the one it has read.
    Consume(u8, usize),
    Unregister(u8),
    Expire(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..3_usize).prop_map(Step::Append),
        2 => (1..5_usize).prop_map(Step::Rewrite),
        1 => (1..3_usize).prop_map(Step::Overwrite),
        1 => Just(Step::RollBack),
        1 => (0..2_u8, any::<usize>()).prop_map(|(name, at)| Step::Tag(name, at)),
        1 => (0..2_u8).prop_map(Step::Untag),
        2 => (0..2_u8, any::<usize>()).prop_map(|(name, at)| Step::Consume(name, at)),
        1 => (0..2_u8).prop_map(Step::Unregister),
        3 => (1..4_usize).prop_map(Step::Expire),
    ]
}

/// What the test itself remembers.
struct World {
    memory: MemoryCatalog,
    catalog: Arc<dyn Catalog>,
    /// Sequence number by file ever added.
    added: BTreeMap<String, i64>,
    /// Consumed sequence number by consumer.
    consumed: BTreeMap<String, i64>,
    tags: BTreeMap<String, i64>,
}

impl World {
    async fn new() -> Self {
        let memory = MemoryCatalog::default();
        memory.create_table(TABLE, streamify_testing::creation(TABLE)).await.unwrap();
        let catalog = Arc::new(memory.clone());
        let (added, consumed, tags) = Default::default();
        World { memory, catalog, added, consumed, tags }
    }

    async fn remember(&mut self, files: impl IntoIterator<Item = String>) {
        let sequence = load(&self.catalog).await.metadata.last_sequence_number();
        self.added.extend(files.into_iter().map(|file| (file, sequence)));
    }

    /// The n-th of the snapshots there are from a sequence number on, with its own.
    async fn pick(&self, at: usize, from: i64) -> Option<(i64, i64)> {
        let table = load(&self.catalog).await;
        let mut there: Vec<(i64, i64)> = table
            .metadata
            .snapshots()
            .map(|snapshot| (snapshot.sequence_number(), snapshot.snapshot_id()))
            .filter(|(sequence, _)| *sequence >= from)
            .collect();
        there.sort_unstable();
        let index = at.checked_rem(there.len())?;
        there.get(index).map(|(sequence, id)| (*id, *sequence))
    }

    async fn take(&mut self, step: Step) {
        let bounds = CommitOptions::default();
        match step {
            Step::Append(files) => {
                let files = append(&mut open(&self.catalog).await, files).await;
                self.remember(files).await;
            }
            Step::Rewrite(most) => {
                let file = rewrite(&mut open(&self.catalog).await, Kind::Replace, most).await;
                self.remember([file]).await;
            }
            Step::Overwrite(most) => {
                let file = rewrite(&mut open(&self.catalog).await, Kind::Overwrite, most).await;
                self.remember([file]).await;
            }
            Step::RollBack => {
                let metadata = self.memory.metadata(TABLE);
                let parent = metadata.current_snapshot().and_then(|head| head.parent_snapshot_id());
                if parent.is_some_and(|parent| metadata.snapshot_by_id(parent).is_some()) {
                    self.memory.roll_back(TABLE);
                }
            }
            Step::Tag(name, at) => {
                let Some((snapshot_id, _)) = self.pick(at, 0).await else { return };
                let retention = SnapshotRetention::Tag { max_ref_age_ms: None };
                let name = format!("tag-{name}");
                let new =
                    NewRef { name: name.clone(), snapshot_id: Some(snapshot_id), retention, replace: true };
                refs::set(&self.catalog, TABLE, &new, &bounds).await.unwrap();
                self.tags.insert(name, snapshot_id);
            }
            Step::Untag(name) => {
                let name = format!("tag-{name}");
                refs::remove(&self.catalog, TABLE, &name, &bounds).await.unwrap();
                self.tags.remove(&name);
            }
            Step::Consume(name, at) => self.consume(format!("consumer-{name}"), at).await,
            Step::Unregister(name) => {
                let name = format!("consumer-{name}");
                consumers::unregister(&self.catalog, TABLE, &name, &bounds).await.unwrap();
                self.consumed.remove(&name);
            }
            Step::Expire(min) => self.expire(min).await,
        }
    }

    async fn consume(&mut self, name: String, at: usize) {
        let from = self.consumed.get(&name).copied().unwrap_or(0);
        let Some((snapshot_id, sequence_number)) = self.pick(at, from).await else { return };
        let updated_at_ms = chrono::Utc::now().timestamp_millis();
        let consumer = Consumer { table_uuid: "u".to_owned(), snapshot_id, sequence_number, updated_at_ms };
        let bounds = CommitOptions::default();
        consumers::register(&self.catalog, TABLE, &name, &consumer, &bounds).await.unwrap();
        self.consumed.insert(name, sequence_number);
    }

    async fn expire(&mut self, min_snapshots: usize) {
        let before = self.memory.metadata(TABLE);
        let options = ExpireOptions {
            min_snapshots: Some(min_snapshots),
            max_age: Some(Duration::ZERO),
            ..ExpireOptions::default()
        };
        expire(&self.catalog, TABLE, &options).await.unwrap();
        let table = load(&self.catalog).await;

        assert_eq!(table.metadata.current_snapshot_id(), before.current_snapshot_id(), "the head stays");
        for id in self.tags.values() {
            assert!(table.metadata.snapshot_by_id(*id).is_some(), "a tagged snapshot is gone");
        }
        let first_needed = self.consumed.values().copied().min().unwrap_or(i64::MAX);
        for snapshot in before.snapshots().filter(|snapshot| snapshot.sequence_number() >= first_needed) {
            let there = table.metadata.snapshot_by_id(snapshot.snapshot_id()).is_some();
            assert!(there, "a snapshot that a consumer needs is gone");
        }
        let live: BTreeSet<String> = check_readable(&table).await.into_values().flatten().collect();
        for (file, sequence) in &self.added {
            let there = table.file_io.exists(file).await.unwrap();
            let rolled_back_before = !before_has(&before, *sequence);
            if *sequence > first_needed && !rolled_back_before {
                assert!(there, "`{file}` was added after what a consumer has read, and is gone");
            }
            assert!(there || !live.contains(file), "`{file}` is live and gone");
            assert!(!there || live.contains(file) || *sequence > first_needed, "`{file}` is left behind");
        }
        // What expired is forgotten: a consumer that begins later cannot ask for it.
        self.added.retain(|file, _| live.contains(file));
    }
}

/// Whether the snapshot that added a file was still there before.
fn before_has(metadata: &iceberg::spec::TableMetadata, sequence: i64) -> bool {
    metadata.snapshots().any(|snapshot| snapshot.sequence_number() == sequence)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn expiry_takes_what_nobody_needs_and_nothing_else(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            world.take(Step::Append(1)).await;
            for step in steps {
                world.take(step).await;
            }
            world.expire(1).await;
        });
    }
}
