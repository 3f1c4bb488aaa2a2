//! Which snapshots expire: a pure function of metadata, policy and time.
//!
//! As Iceberg's own rule: of every branch the newest `min_snapshots` and those younger than `max_age_ms` stay, of every
//! tag its snapshot; other snapshots while they are young. And from the snapshot that a consumer has read, all stay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use iceberg::spec::{MAIN_BRANCH, Snapshot, SnapshotReference, SnapshotRetention, TableMetadata};

use super::Policy;
use crate::care::consumers;
use crate::care::refs::Refs;

/// Why a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A branch or tag points to it.
    Ref(String),
    /// It is among the newest of its branch.
    MinCount(String),
    /// It is young.
    Age,
    /// A consumer has not read what comes after it.
    Consumer(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ref(name) => write!(f, "ref {name}"),
            Self::MinCount(branch) => write!(f, "min count of {branch}"),
            Self::Age => write!(f, "age"),
            Self::Consumer(name) => write!(f, "consumer {name}"),
        }
    }
}

/// What expires and what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Snapshots to remove, ascending.
    pub remove: Vec<i64>,
    /// Branches and tags that are older than they are to be kept; never `main`.
    pub expired_refs: Vec<String>,
    /// The snapshots that stay, with every reason why.
    pub kept: BTreeMap<i64, BTreeSet<Reason>>,
}

impl Plan {
    /// Returns how many snapshots stay for which reason; one may have several.
    pub fn reasons(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for reason in self.kept.values().flatten() {
            *counts.entry(reason.to_string()).or_default() += 1;
        }
        counts
    }
}

/// Decides which snapshots expire; `ignored` are consumers that are not asked.
pub fn plan(
    metadata: &TableMetadata,
    refs: &Refs,
    policy: &Policy,
    ignored: &BTreeSet<String>,
    now_ms: i64,
) -> Plan {
    let mut planner = Planner { metadata, policy, now_ms, plan: Plan::default() };
    planner.keep_refs(refs);
    planner.keep_for_consumers(&consumers::needs(metadata, ignored));
    planner.keep_young(refs);
    let mut plan = planner.plan;
    plan.remove = metadata
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id())
        .filter(|id| !plan.kept.contains_key(id))
        .collect();
    plan.remove.sort_unstable();
    plan
}

struct Planner<'a> {
    metadata: &'a TableMetadata,
    policy: &'a Policy,
    now_ms: i64,
    plan: Plan,
}

impl Planner<'_> {
    fn keep(&mut self, snapshot: &Snapshot, reason: Reason) {
        self.plan.kept.entry(snapshot.snapshot_id()).or_default().insert(reason);
    }

    fn is_younger(&self, snapshot: &Snapshot, max_age_ms: i64) -> bool {
        self.now_ms.saturating_sub(snapshot.timestamp_ms()) <= max_age_ms
    }

    fn keep_refs(&mut self, refs: &Refs) {
        for (name, reference) in refs {
            let Some(head) = self.metadata.snapshot_by_id(reference.snapshot_id) else { continue };
            let max_age = ref_age(reference).or(self.policy.max_ref_age_ms);
            if name != MAIN_BRANCH && max_age.is_some_and(|max_age| !self.is_younger(head, max_age)) {
                self.plan.expired_refs.push(name.clone());
                continue;
            }
            self.keep(head, Reason::Ref(name.clone()));
            if let SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, .. } =
                reference.retention
            {
                let own = min_snapshots_to_keep.and_then(|count| usize::try_from(count).ok());
                let min = own.unwrap_or(self.policy.min_snapshots);
                self.keep_branch(name, head, min, max_snapshot_age_ms.unwrap_or(self.policy.max_age_ms));
            }
        }
    }

    fn keep_branch(&mut self, name: &str, head: &Snapshot, min_snapshots: usize, max_age_ms: i64) {
        for (index, snapshot) in ancestry(self.metadata, head).enumerate() {
            let young = self.is_younger(snapshot, max_age_ms);
            if index < min_snapshots {
                self.keep(snapshot, Reason::MinCount(name.to_owned()));
            } else if !young {
                return;
            }
            if young {
                self.keep(snapshot, Reason::Age);
            }
        }
    }

    fn keep_for_consumers(&mut self, needs: &BTreeMap<String, i64>) {
        for snapshot in self.metadata.snapshots() {
            for (name, needed_from) in needs {
                if snapshot.sequence_number() >= *needed_from {
                    self.keep(snapshot, Reason::Consumer(name.clone()));
                }
            }
        }
    }

    /// Snapshots of no lasting branch: rolled back, or staged and never published.
    fn keep_young(&mut self, refs: &Refs) {
        let lasting = refs.iter().filter(|(name, _)| !self.plan.expired_refs.contains(name));
        let heads = lasting.filter_map(|(_, reference)| self.metadata.snapshot_by_id(reference.snapshot_id));
        let referenced: BTreeSet<i64> =
            heads.flat_map(|head| ancestry(self.metadata, head).map(Snapshot::snapshot_id)).collect();
        for snapshot in self.metadata.snapshots() {
            let loose = !referenced.contains(&snapshot.snapshot_id());
            if loose && self.is_younger(snapshot, self.policy.max_age_ms) {
                self.keep(snapshot, Reason::Age);
            }
        }
    }
}

/// A snapshot and its ancestors, as far back as they are there.
fn ancestry<'a>(metadata: &'a TableMetadata, head: &'a Snapshot) -> impl Iterator<Item = &'a Snapshot> {
    let mut next = Some(head);
    std::iter::from_fn(move || {
        let snapshot = next?;
        let parent = snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id));
        next = parent.map(|parent| parent.as_ref());
        Some(snapshot)
    })
}

fn ref_age(reference: &SnapshotReference) -> Option<i64> {
    match reference.retention {
        SnapshotRetention::Branch { max_ref_age_ms, .. } | SnapshotRetention::Tag { max_ref_age_ms } => {
            max_ref_age_ms
        }
    }
}

/// Returns, by snapshot, the statistics files of snapshots that are to be removed.
pub(super) fn statistics_of(metadata: &TableMetadata, removed: &BTreeSet<i64>) -> HashMap<String, u64> {
    let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
    let table = metadata
        .statistics_iter()
        .filter(|file| removed.contains(&file.snapshot_id))
        .map(|file| (file.statistics_path.clone(), size(file.file_size_in_bytes)));
    let partitions = metadata
        .partition_statistics_iter()
        .filter(|file| removed.contains(&file.snapshot_id))
        .map(|file| (file.statistics_path.clone(), size(file.file_size_in_bytes)));
    table.chain(partitions).collect()
}
