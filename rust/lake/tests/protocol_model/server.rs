//! The catalog of the model: a table of few offsets, with the checks of a real one.

use std::collections::BTreeMap;

use streamify_core::state::TableState;
use streamify_lake::protocol::{Answer, PropertyCommit, View};
use uuid::Uuid;

/// Offsets of the one partition of the model.
pub const OFFSETS: usize = 3;

pub type Rows = [u8; OFFSETS];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub sequence: i64,
    pub parent: Option<i64>,
    pub state: Option<TableState>,
    pub commit: Option<Uuid>,
    /// How often each offset is in the table as of this snapshot.
    pub rows: Rows,
}

/// The table in the catalog; a snapshot's id is its sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    pub uuid: u8,
    pub snapshots: BTreeMap<i64, Snapshot>,
    pub head: Option<i64>,
    pub last_sequence: i64,
    pub property: Option<(TableState, Uuid, i64)>,
    /// Commits ever applied, in order.
    pub applied: Vec<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub uuid: u8,
    pub base: Option<i64>,
    /// One more than the last of the base; the catalog refuses one that is not above its own last.
    pub sequence: i64,
    pub commit: Uuid,
    pub state: TableState,
    pub start: i64,
    pub end: i64,
}

impl Server {
    pub fn view(&self, commit: Uuid) -> View {
        let mut lineage = Vec::new();
        let mut next = self.head;
        while let Some(snapshot) = next.and_then(|id| self.snapshots.get(&id)) {
            lineage.push(snapshot);
            next = snapshot.parent;
        }
        let property_commit = match &self.property {
            None => PropertyCommit::Expired,
            Some((_, _, wanted)) => match lineage.iter().map(|s| s.sequence).find(|s| s <= wanted) {
                Some(sequence) if sequence == *wanted => PropertyCommit::Present,
                Some(_) => PropertyCommit::RolledBack,
                None if self.head.is_none() => PropertyCommit::RolledBack,
                None => PropertyCommit::Expired,
            },
        };
        View {
            table_uuid: Uuid::from_u128(u128::from(self.uuid)),
            head: self.head,
            property: self.property.as_ref().map(|(state, _, _)| state.clone()),
            property_commit_id: self.property.as_ref().map(|(_, commit, _)| *commit),
            property_commit,
            ancestry: lineage.iter().find_map(|s| s.state.clone()),
            landed: lineage.iter().find(|s| s.commit == Some(commit)).map(|s| s.sequence),
        }
    }

    pub fn rows(&self) -> Rows {
        self.head.and_then(|id| self.snapshots.get(&id)).map_or([0; OFFSETS], |s| s.rows)
    }

    /// `assert-table-uuid`, `assert-ref-snapshot-id`, an ascending sequence number; then the updates.
    pub fn commit(&mut self, request: &Request) -> Answer {
        if request.uuid != self.uuid || request.base != self.head || request.sequence <= self.last_sequence {
            return Answer::Conflict;
        }
        let mut rows = self.rows();
        for offset in request.start..request.end {
            rows[offset as usize] += 1;
        }
        let sequence = self.push(Some(request.state.clone()), Some(request.commit), rows);
        self.property = Some((request.state.clone(), request.commit, sequence));
        self.applied.push(request.commit);
        Answer::Applied { snapshot_id: sequence }
    }

    pub fn push(&mut self, state: Option<TableState>, commit: Option<Uuid>, rows: Rows) -> i64 {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        self.snapshots.insert(sequence, Snapshot { sequence, parent: self.head, state, commit, rows });
        self.head = Some(sequence);
        sequence
    }
}
