//! Names of what we write into snapshot summaries and table properties, and reading them back.

use iceberg::spec::{Snapshot, TableMetadata};
use streamify_core::lease::Leases;
use streamify_core::state::{StateTextError, TableState};
use uuid::Uuid;

use crate::protocol::{PropertyCommit, View};

/// State of the table after the snapshot, JSON of [`TableState`]; in the summary and, the same text, as table property.
pub const STATE: &str = "streamify.state";
/// Id of the commit that wrote the snapshot; in the summary and, for the last commit, as table property.
pub const COMMIT_ID: &str = "streamify.commit-id";
/// Sequence number of the snapshot that wrote [`STATE`] last; table property. Tells a rollback from an expiry.
pub const STATE_SEQUENCE: &str = "streamify.state-sequence";
/// Books of the commit, JSON of `Ledger`; in the summary.
pub const LEDGER: &str = "streamify.ledger";
/// What the commit changed in the state, JSON list of `Change`; in the summary.
pub const CHANGES: &str = "streamify.changes";

/// Who may write the table, JSON of `Leases`; table property.
pub const LEASES: &str = "streamify.leases";
/// The writer that made the commit, if it has a lease; in the summary.
pub const WRITER_ID: &str = "streamify.writer-id";
/// What an empty commit did to its writer's lease: `taken`, `renewed` or `given up`; in the summary.
pub const LEASE: &str = "streamify.lease";

/// Returns the leases of a table; a text that cannot be read counts as none, for they only guard against accidents.
pub fn leases(metadata: &TableMetadata) -> Leases {
    metadata.properties().get(LEASES).and_then(|text| Leases::from_json(text)).unwrap_or_default()
}

/// Reads what the protocol needs from a table's metadata.
pub fn view(metadata: &TableMetadata, commit_id: Uuid) -> Result<View, StateTextError> {
    let property = metadata.properties().get(STATE).map(|text| TableState::from_json(text)).transpose()?;
    let commit_text = commit_id.to_string();
    let mut ancestry = None;
    let mut landed = None;
    for snapshot in lineage(metadata) {
        let summary = &snapshot.summary().additional_properties;
        if summary.get(COMMIT_ID) == Some(&commit_text) {
            landed = Some(snapshot.snapshot_id());
        }
        if ancestry.is_none()
            && let Some(text) = summary.get(STATE)
        {
            ancestry = Some(TableState::from_json(text)?);
        }
        if landed.is_some() {
            break;
        }
    }
    Ok(View {
        table_uuid: metadata.uuid(),
        head: metadata.current_snapshot_id(),
        property,
        property_commit_id: metadata.properties().get(COMMIT_ID).and_then(|text| text.parse().ok()),
        property_commit: property_commit(metadata),
        ancestry,
        landed,
    })
}

/// Sequence numbers grow along a lineage. Walking back from the head, the commit of the property is met; or the lineage
/// ends above it, so it may have expired; or a snapshot below it is met first, so it is not in the lineage.
fn property_commit(metadata: &TableMetadata) -> PropertyCommit {
    let Some(wanted) = metadata.properties().get(STATE_SEQUENCE).and_then(|text| text.parse::<i64>().ok())
    else {
        return PropertyCommit::Expired;
    };
    match lineage(metadata).map(Snapshot::sequence_number).find(|sequence| *sequence <= wanted) {
        Some(sequence) if sequence == wanted => PropertyCommit::Present,
        Some(_) => PropertyCommit::RolledBack,
        None if metadata.current_snapshot().is_none() => PropertyCommit::RolledBack,
        None => PropertyCommit::Expired,
    }
}

/// Snapshots of `main` from its head back to the oldest one that has not expired.
pub fn lineage(metadata: &TableMetadata) -> impl Iterator<Item = &Snapshot> {
    let mut next = metadata.current_snapshot().map(|snapshot| snapshot.as_ref());
    std::iter::from_fn(move || {
        let snapshot = next?;
        next = snapshot
            .parent_snapshot_id()
            .and_then(|id| metadata.snapshot_by_id(id))
            .map(|parent| parent.as_ref());
        Some(snapshot)
    })
}
