//! Builds one attempt of a commit: manifest list, snapshot, and the updates and requirements for the catalog.
//!
//! The manifest of the new files is written once and used by every attempt. The manifest list names its parent and
//! sequence number, and what removed files leave behind depends on the base, so each attempt writes its own.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestFile, ManifestListWriter, Operation, Snapshot, SnapshotReference,
    SnapshotRetention, SnapshotSummaryCollector, Summary, TableMetadata, UNASSIGNED_SEQUENCE_NUMBER,
};
use iceberg::{TableRequirement, TableUpdate};
use streamify_core::lease::{LeaseError, Leases};
use streamify_core::state::TableState;
use uuid::Uuid;

use super::manifests::{self, ManifestNames};
use super::regroup::Regrouped;
use super::{Commit, Kind, history, keys, removal, rule};
use crate::catalog::LoadedTable;

/// A commit while it is tried: what all its attempts share.
#[derive(Debug)]
pub(super) struct Draft {
    commit: Commit,
    snapshot_id: i64,
    summary: BTreeMap<String, String>,
    /// How long `main` keeps its snapshots: a commit moves the branch and leaves its policy as it was set.
    retention: SnapshotRetention,
    attempts: u32,
    names: Option<ManifestNames>,
    added: Option<ManifestFile>,
    /// Of a rewrite of manifests: what the first attempt wrote.
    regrouped: Option<Regrouped>,
}

/// Why an attempt was not built.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// What the commit was computed from has changed; the text says what.
    Overtaken(String),
    /// Another writer has the lease.
    Held(LeaseError),
    /// The store did not give or take a manifest.
    Store(iceberg::Error),
}

impl From<iceberg::Error> for AttemptError {
    fn from(error: iceberg::Error) -> Self {
        AttemptError::Store(error)
    }
}

/// What goes to the catalog, and the manifests of the new head if it lands.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) requirements: Vec<TableRequirement>,
    pub(super) updates: Vec<TableUpdate>,
    pub(super) manifests: Vec<ManifestFile>,
    pub(super) snapshot_id: i64,
}

impl Draft {
    pub(super) fn new(commit: Commit, retention: SnapshotRetention) -> Self {
        // 63 random bits of a fresh uuid, as the Java and Python libraries make snapshot ids.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let snapshot_id = ((high ^ low) & (i64::MAX as u64)) as i64;
        let mut summary = commit.summary.clone();
        // Maps and numbers only: cannot fail.
        summary.insert(keys::CHANGES.to_string(), serde_json::to_string(&commit.changes).unwrap_or_default());
        if let Some(ledger) = &commit.ledger {
            summary.insert(keys::LEDGER.to_string(), serde_json::to_string(ledger).unwrap_or_default());
        }
        Draft {
            commit,
            snapshot_id,
            summary,
            retention,
            attempts: 0,
            names: None,
            added: None,
            regrouped: None,
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Adds an entry to the snapshot summary.
    pub(super) fn note(&mut self, key: &str, value: &str) {
        self.summary.insert(key.to_owned(), value.to_owned());
    }

    /// Writes what this attempt needs to the store and returns it; `head` are the manifests of the base's head, `leases`
    /// the table's after the commit if it changes them.
    pub(super) async fn attempt(
        &mut self,
        base: &LoadedTable,
        head: &[ManifestFile],
        state: &TableState,
        leases: Option<&Leases>,
    ) -> Result<Attempt, AttemptError> {
        let metadata = base.metadata.as_ref();
        let io = &base.file_io;
        let attempt = self.attempts;
        self.attempts += 1;

        if let Some(untouched) = &self.commit.untouched {
            rule::check(untouched, metadata, io).await?;
        }
        let names = self.names.get_or_insert_with(|| ManifestNames::new(metadata, self.commit.commit_id));
        let kept = match (self.commit.kind, self.commit.removed.as_slice()) {
            (Kind::Manifests, _) => match self.regrouped.as_ref().and_then(|former| former.within(head)) {
                Some(manifests) => manifests,
                None => {
                    let new = Regrouped::new(metadata, io, names, self.snapshot_id, head).await?;
                    self.regrouped.insert(new).within(head).unwrap_or_default()
                }
            },
            (_, []) => head.to_vec(),
            (_, removed) => removal::without(metadata, io, names, self.snapshot_id, head, removed).await?,
        };
        if self.added.is_none() && !self.commit.files.is_empty() {
            let files = self.commit.files.clone();
            self.added = Some(manifests::write_added(metadata, io, names, self.snapshot_id, files).await?);
        }
        let mut manifests = manifests::merge(metadata, io, names, self.snapshot_id, kept).await?;
        manifests.extend(self.added.clone());

        let sequence_number = metadata.next_sequence_number();
        let list_path = format!(
            "{}/metadata/snap-{}-{attempt}-{}.avro",
            metadata.location(),
            self.snapshot_id,
            self.commit.commit_id
        );
        let output = io.new_output(&list_path)?.writer().await?;
        let mut list =
            ManifestListWriter::v2(output, self.snapshot_id, metadata.current_snapshot_id(), sequence_number);
        list.add_manifests(manifests.iter().cloned())?;
        list.close().await?;
        for manifest in &mut manifests {
            assign_sequence_number(manifest, sequence_number);
        }

        let snapshot = Snapshot::builder()
            .with_manifest_list(list_path)
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(sequence_number)
            .with_summary(self.summary(metadata, state))
            .with_schema_id(metadata.current_schema_id())
            .with_timestamp_ms(timestamp_ms(metadata))
            .build();
        Ok(Attempt {
            requirements: requirements(metadata),
            updates: self.updates(
                metadata,
                snapshot,
                properties(&self.commit, sequence_number, state, leases),
            ),
            manifests,
            snapshot_id: self.snapshot_id,
        })
    }

    fn updates(
        &self,
        metadata: &TableMetadata,
        snapshot: Snapshot,
        properties: HashMap<String, String>,
    ) -> Vec<TableUpdate> {
        let reference = SnapshotReference::new(self.snapshot_id, self.retention.clone());
        let mut updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_string(), reference },
            TableUpdate::SetProperties { updates: properties },
        ];
        let snapshot_ids = history::surplus(metadata);
        if !snapshot_ids.is_empty() {
            updates.push(TableUpdate::RemoveSnapshots { snapshot_ids });
        }
        updates
    }

    fn summary(&self, metadata: &TableMetadata, state: &TableState) -> Summary {
        let mut collector = SnapshotSummaryCollector::default();
        for file in &self.commit.files {
            collector.add_file(
                file,
                metadata.current_schema().clone(),
                metadata.default_partition_spec().clone(),
            );
        }
        for live in &self.commit.removed {
            let spec = metadata.partition_spec_by_id(live.spec_id);
            let spec = spec.unwrap_or_else(|| metadata.default_partition_spec());
            collector.remove_file(&live.file, metadata.current_schema().clone(), spec.clone());
        }
        let mut properties: HashMap<String, String> =
            self.summary.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        properties.insert(keys::STATE.to_string(), state.to_json());
        properties.insert(keys::COMMIT_ID.to_string(), self.commit.commit_id.to_string());
        properties.extend(collector.build());
        properties.extend(totals(metadata, &self.commit));
        let operation = match self.commit.kind {
            Kind::Append => Operation::Append,
            Kind::Overwrite => Operation::Overwrite,
            Kind::Replace | Kind::Manifests => Operation::Replace,
        };
        Summary { operation, additional_properties: properties }
    }
}

/// The table properties that every commit sets.
fn properties(
    commit: &Commit,
    sequence_number: i64,
    state: &TableState,
    leases: Option<&Leases>,
) -> HashMap<String, String> {
    let mut properties = HashMap::from([
        (keys::STATE.to_string(), state.to_json()),
        (keys::STATE_SEQUENCE.to_string(), sequence_number.to_string()),
        (keys::COMMIT_ID.to_string(), commit.commit_id.to_string()),
    ]);
    if let Some(leases) = leases {
        properties.insert(keys::LEASES.to_string(), leases.to_json());
    }
    properties
}

/// The running totals of the table; left out once a foreign commit has left them out.
fn totals(metadata: &TableMetadata, commit: &Commit) -> Vec<(String, String)> {
    let sums = |files: &[&DataFile]| {
        let records: u64 = files.iter().map(|file| file.record_count()).sum();
        let bytes: u64 = files.iter().map(|file| file.file_size_in_bytes()).sum();
        [records, bytes, files.len() as u64, 0, 0, 0]
    };
    let added = sums(&commit.files.iter().collect::<Vec<_>>());
    let removed = sums(&commit.removed.iter().map(|live| &live.file).collect::<Vec<_>>());
    let keys = [
        "total-records",
        "total-files-size",
        "total-data-files",
        "total-delete-files",
        "total-position-deletes",
        "total-equality-deletes",
    ];
    let former = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    keys.into_iter()
        .zip(added.into_iter().zip(removed))
        .filter_map(|(key, (added, removed))| {
            let base = match former {
                None => 0,
                Some(summary) => summary.get(key)?.parse::<u64>().ok()?,
            };
            Some((key.to_string(), (base + added).saturating_sub(removed).to_string()))
        })
        .collect()
}

/// The fence: same table, and nobody has moved `main` since the base was read.
fn requirements(metadata: &TableMetadata) -> Vec<TableRequirement> {
    vec![
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN_BRANCH.to_string(),
            snapshot_id: metadata.current_snapshot_id(),
        },
    ]
}

/// Now, but after the parent: readers take snapshot times as ascending, clocks of two machines may differ.
fn timestamp_ms(metadata: &TableMetadata) -> i64 {
    let now = chrono::Utc::now().timestamp_millis();
    metadata.current_snapshot().map_or(now, |parent| now.max(parent.timestamp_ms() + 1))
}

fn assign_sequence_number(manifest: &mut ManifestFile, sequence_number: i64) {
    for number in [&mut manifest.sequence_number, &mut manifest.min_sequence_number] {
        if *number == UNASSIGNED_SEQUENCE_NUMBER {
            *number = sequence_number;
        }
    }
}
