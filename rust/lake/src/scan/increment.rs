//! What came into a table since it was last read.
//!
//! The reader keeps a [`Consumed`] with its own state. From there the snapshots up to the head are walked:
//!
//! | snapshot | effect |
//! | --- | --- |
//! | `append` | its files are new, even if a compaction has rewritten them since |
//! | `replace` | none: the rows are the same |
//! | `overwrite` or `delete` of ours | added files are new, removed ones gone ([`Increment::removed`]) |
//! | `overwrite` or `delete` of another engine | refused, unless the reader accepts that snapshot |
//!
//! Where the snapshot last read has expired, the offsets that stand in the rows tell what is new: files whose offsets all
//! lie below the consumed ones are left out, and the rest is cut row by row ([`Increment::offsets`]). A table without
//! offsets must be read anew then.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use iceberg::spec::{ManifestStatus, Operation, PrimitiveLiteral, Snapshot};
use streamify_core::state::{Consumed, TableState, TopicState};

use super::{LiveFile, live_files};
use crate::catalog::LoadedTable;
use crate::commit::{keys, snapshot_entries};
use crate::read::ReadError;

const SNAPSHOTS_AT_ONCE: usize = 8;

/// What is new.
#[derive(Clone, Debug)]
pub struct Increment {
    /// Files whose rows are new.
    pub added: Vec<LiveFile>,
    /// Files whose rows are gone or were put anew; only where a table of ours was overwritten.
    pub removed: Vec<LiveFile>,
    /// If set, only the rows of `added` that lie beyond these offsets are new.
    pub offsets: Option<Offsets>,
    /// What will have been consumed; `None`: the table is empty.
    pub to: Option<Consumed>,
    /// Snapshots walked.
    pub snapshots: usize,
}

impl Increment {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Next offset by source epoch and partition, as a former read left them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets(BTreeMap<(i32, i32), i64>);

impl Offsets {
    /// The offsets that a consumed state holds.
    pub fn of(topics: &BTreeMap<String, TopicState>) -> Self {
        let epochs = topics.values().flat_map(|topic| topic.past.iter().chain([&topic.current]));
        let next = epochs.flat_map(|epoch| {
            let number = i32::try_from(epoch.epoch).unwrap_or(i32::MAX);
            epoch.next.iter().map(move |(partition, next)| ((number, *partition), *next))
        });
        Offsets(next.collect())
    }

    /// Whether the row from this place was not there yet.
    pub fn is_new(&self, epoch: i32, partition: i32, offset: i64) -> bool {
        self.0.get(&(epoch, partition)).is_none_or(|next| offset >= *next)
    }

    /// Whether a file whose largest offset this is may hold new rows.
    fn may_be_in(&self, largest: i64) -> bool {
        self.0.values().any(|next| largest >= *next) || self.0.is_empty()
    }
}

/// Why an increment cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum IncrementError {
    /// A manifest cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The table was dropped and made anew.
    #[error("table `{table}` was replaced: uuid `{expected}` was read before, now it is `{found}`")]
    Replaced {
        /// table name
        table: String,
        /// uuid in the consumed state
        expected: String,
        /// uuid found
        found: String,
    },
    /// The snapshot that was read last is not in `main` any more.
    #[error("table `{table}` was rolled back: snapshot {snapshot_id}, which was read last, is not in `main`")]
    RolledBack {
        /// table name
        table: String,
        /// snapshot read last
        snapshot_id: i64,
    },
    /// The snapshot that was read last has expired and the table holds no offsets.
    #[error("snapshot {snapshot_id} of table `{table}`, which was read last, has expired")]
    Expired {
        /// table name
        table: String,
        /// snapshot read last
        snapshot_id: i64,
    },
    /// Another engine changed rows.
    #[error("another engine changed rows of table `{table}`: snapshot {snapshot_id} ({operation})")]
    ForeignChange {
        /// table name
        table: String,
        /// the snapshot
        snapshot_id: i64,
        /// its operation
        operation: String,
    },
    /// The state in the table cannot be read.
    #[error("failed to read the offsets stored in table `{table}`")]
    StateUnreadable {
        /// table name
        table: String,
        /// what is wrong with it
        #[source]
        source: Box<streamify_core::state::StateTextError>,
    },
}

impl IncrementError {
    /// Whether a person must decide before a restart makes sense (exit code 3).
    pub fn needs_decision(&self) -> bool {
        match self {
            IncrementError::Unreadable(error) => error.is_unsupported(),
            _ => true,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            IncrementError::Unreadable(_) => None,
            IncrementError::Replaced { .. } | IncrementError::RolledBack { .. } => Some(
                "what was made from it may hold rows that are gone: rebuild the days in question, then read it anew (silver: `--reread`, sessions: `--full`)",
            ),
            IncrementError::Expired { .. } => Some(
                "read it anew (silver: `--reread`, sessions: `--full`); registered consumers keep their snapshots from expiring",
            ),
            IncrementError::ForeignChange { .. } => Some(
                "if its new rows are to be taken and removed ones may stay, start with `--accept-change SNAPSHOT`; then rebuild the days it touched",
            ),
            IncrementError::StateUnreadable { .. } => {
                Some("a newer version wrote this table, or the property `streamify.state` was edited by hand")
            }
        }
    }
}

/// Returns what came into `table` after `consumed`; everything if `None`. `accepted` are snapshots of other engines whose
/// changes the reader takes as they are.
///
/// # Errors
/// See [`IncrementError`].
pub async fn since(
    table: &LoadedTable,
    consumed: Option<&Consumed>,
    accepted: &[i64],
) -> Result<Increment, IncrementError> {
    let Some(head) = table.metadata.current_snapshot() else {
        return match consumed {
            Some(consumed) => Err(rolled_back(table, consumed)),
            None => Ok(Increment { added: vec![], removed: vec![], offsets: None, to: None, snapshots: 0 }),
        };
    };
    let to = Some(Consumed {
        table_uuid: table.metadata.uuid().to_string(),
        snapshot_id: head.snapshot_id(),
        sequence_number: head.sequence_number(),
        topics: state_of_head(table)?.topics,
    });
    let Some(consumed) = consumed else {
        let added = live_files(table, None).await?;
        return Ok(Increment { added, removed: vec![], offsets: None, to, snapshots: 0 });
    };
    if consumed.table_uuid != table.metadata.uuid().to_string() {
        return Err(IncrementError::Replaced {
            table: table.name.clone(),
            expected: consumed.table_uuid.clone(),
            found: table.metadata.uuid().to_string(),
        });
    }
    match newer_snapshots(table, consumed)? {
        Some(newer) => walk(table, newer, accepted, to).await,
        None => by_offsets(table, consumed, to).await,
    }
}

/// The snapshots after the consumed one, oldest first; `None` if it has expired.
fn newer_snapshots<'a>(
    table: &'a LoadedTable,
    consumed: &Consumed,
) -> Result<Option<Vec<&'a Snapshot>>, IncrementError> {
    let mut newer = Vec::new();
    for snapshot in keys::lineage(&table.metadata) {
        if snapshot.snapshot_id() == consumed.snapshot_id {
            newer.reverse();
            return Ok(Some(newer));
        }
        if snapshot.sequence_number() <= consumed.sequence_number {
            return Err(rolled_back(table, consumed));
        }
        newer.push(snapshot);
    }
    Ok(None)
}

async fn walk(
    table: &LoadedTable,
    newer: Vec<&Snapshot>,
    accepted: &[i64],
    to: Option<Consumed>,
) -> Result<Increment, IncrementError> {
    let snapshots = newer.len();
    let changing: Vec<&Snapshot> =
        newer.into_iter().filter(|snapshot| snapshot.summary().operation != Operation::Replace).collect();
    for snapshot in &changing {
        let summary = snapshot.summary();
        let ours = summary.additional_properties.contains_key(keys::COMMIT_ID);
        if summary.operation != Operation::Append && !ours && !accepted.contains(&snapshot.snapshot_id()) {
            return Err(IncrementError::ForeignChange {
                table: table.name.clone(),
                snapshot_id: snapshot.snapshot_id(),
                operation: summary.operation.as_str().to_owned(),
            });
        }
    }
    let metadata = &table.metadata;
    let entries = stream::iter(changing)
        .map(|snapshot| snapshot_entries(snapshot, metadata, &table.file_io))
        .buffered(SNAPSHOTS_AT_ONCE);
    let entries: Vec<_> = entries.try_collect().await.map_err(|source| table.unreadable(source))?;
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for (spec_id, entry) in entries.into_iter().flatten() {
        let side = if entry.status() == ManifestStatus::Deleted { &mut removed } else { &mut added };
        side.push(LiveFile::new(spec_id, &entry));
    }
    Ok(Increment { added, removed, offsets: None, to, snapshots })
}

async fn by_offsets(
    table: &LoadedTable,
    consumed: &Consumed,
    to: Option<Consumed>,
) -> Result<Increment, IncrementError> {
    let offsets = Offsets::of(&consumed.topics);
    let column = table.metadata.current_schema().field_id_by_name("_kafka_offset");
    let (Some(column), false) = (column, consumed.topics.is_empty()) else {
        return Err(IncrementError::Expired { table: table.name.clone(), snapshot_id: consumed.snapshot_id });
    };
    let mut added = live_files(table, None).await?;
    added.retain(|live| match live.file.upper_bounds().get(&column).map(|bound| bound.literal()) {
        Some(PrimitiveLiteral::Long(largest)) => offsets.may_be_in(*largest),
        _ => true,
    });
    Ok(Increment { added, removed: vec![], offsets: Some(offsets), to, snapshots: 0 })
}

fn state_of_head(table: &LoadedTable) -> Result<TableState, IncrementError> {
    let text = keys::lineage(&table.metadata)
        .find_map(|snapshot| snapshot.summary().additional_properties.get(keys::STATE))
        .or_else(|| table.metadata.properties().get(keys::STATE));
    let state = text.map(|text| TableState::from_json(text)).transpose();
    state.map(Option::unwrap_or_default).map_err(|source| IncrementError::StateUnreadable {
        table: table.name.clone(),
        source: Box::new(source),
    })
}

fn rolled_back(table: &LoadedTable, consumed: &Consumed) -> IncrementError {
    IncrementError::RolledBack { table: table.name.clone(), snapshot_id: consumed.snapshot_id }
}
