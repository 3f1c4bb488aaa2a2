//! Bronze tables that another pipeline filled: told apart, refused, or taken over where the user says.
//!
//! Such a table has snapshots but no state of ours. Taking it over is one empty commit that carries the state, made on the
//! very metadata that the offsets were read from: rows that the other pipeline adds meanwhile are noticed, and the
//! offsets read again. Old rows stay as they are. A partition without rows in the table is read from its start.

mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use iceberg::spec::FormatVersion;
use serde_json::json;
use streamify_core::Contract;
use streamify_core::state::{Change, Span};
use streamify_lake::commit::{Commit, CommitError, CommitOptions, Committer, keys};
use streamify_lake::files::check_partitioning;
use streamify_lake::protocol::Refusal;
use streamify_lake::{FilePartition, Lake, LakeError, LoadedTable};
use tracing::{info, warn};
use uuid::Uuid;

use crate::error::StreamError;
use crate::plan::Log;
use crate::settings::AdoptTable;

/// Entry of the snapshot summary that tells of an adoption.
const ADOPTION: &str = "streamify.adoption";

/// What is in a table that another pipeline filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    rows: Option<String>,
    snapshots: usize,
    engine: Option<String>,
    lacks: Vec<String>,
}

impl Foreign {
    /// Looks at a table; `None` if it is ours, or has never had a row.
    pub fn look(table: &LoadedTable, contract: &Contract) -> Option<Self> {
        let metadata = &table.metadata;
        // A state that cannot be read is somebody's state; whoever opens the table says what is wrong with it.
        let view = keys::view(metadata, Uuid::nil()).ok()?;
        if view.property.is_some() || view.ancestry.is_some() || metadata.snapshots().next().is_none() {
            return None;
        }
        let summary = metadata.current_snapshot().map(|head| &head.summary().additional_properties);
        let entry = |key: &str| summary.and_then(|summary| summary.get(key)).cloned();
        let columns = contract.columns().into_iter().map(|column| column.name);
        Some(Self {
            rows: entry("total-records"),
            snapshots: metadata.snapshots().count(),
            engine: entry("engine-name"),
            lacks: columns.filter(|name| !table.has_column(name)).collect(),
        })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows.as_deref().unwrap_or("an unknown number of");
        write!(f, "{rows} rows in {} snapshots", self.snapshots)?;
        if let Some(engine) = &self.engine {
            write!(f, " of `{engine}`")?;
        }
        f.write_str(", but no offsets of ours (`streamify.state`)")?;
        if !self.lacks.is_empty() {
            write!(f, "; it lacks the columns `{}`", self.lacks.join("`, `"))?;
        }
        Ok(())
    }
}

/// Refuses a table that another pipeline filled, before anything of it is changed, unless the user has decided.
///
/// # Errors
/// [`StreamError::ForeignTable`]; [`StreamError::Lake`] if the table cannot be loaded.
pub async fn check(lake: &Lake, contract: &Contract, choice: Option<AdoptTable>) -> Result<(), StreamError> {
    let Some(table) = load(lake, &contract.table).await? else {
        return Ok(());
    };
    match (Foreign::look(&table, contract), choice) {
        (Some(found), None) => Err(StreamError::ForeignTable { table: table.name, found: found.to_string() }),
        (Some(_), Some(_)) => fillable(&table, contract),
        (None, _) => Ok(()),
    }
}

/// Checks that rows of ours can be written to a table: its partitions, and the columns that only it has.
fn fillable(table: &LoadedTable, contract: &Contract) -> Result<(), StreamError> {
    let cannot = |problem: String| StreamError::CannotAdopt { table: table.name.clone(), problem };
    let version = table.metadata.format_version();
    if version != FormatVersion::V2 {
        return Err(cannot(format!(
            "it has Iceberg format {version}, and only v2 is written; set its property `format-version` to 2"
        )));
    }
    let ours: BTreeSet<String> = contract.columns().into_iter().map(|column| column.name).collect();
    let schema = table.metadata.current_schema();
    let unknown =
        schema.as_struct().fields().iter().find(|field| field.required && !ours.contains(&field.name));
    if let Some(field) = unknown {
        let name = &field.name;
        return Err(cannot(format!("its column `{name}` is required, and the contract has no such field")));
    }
    check_partitions(table, contract).map_err(|error| cannot(error.to_string()))
}

/// Checks that a contract's partitions can be written to a table.
///
/// # Errors
/// [`StreamError::File`]
pub fn check_partitions(table: &LoadedTable, contract: &Contract) -> Result<(), StreamError> {
    let sample = match contract.partition {
        streamify_core::PartitionTransform::EventDate => FilePartition::Day(0),
        streamify_core::PartitionTransform::Hour => FilePartition::Hour(0),
    };
    check_partitioning(table, sample)
        .map_err(|source| StreamError::File { table: table.name.clone(), source })
}

/// Takes over a table: commits the state that `choice` means, and returns the table's committer. A table that another
/// worker has taken over meanwhile stays as that one left it. `log` has all partitions of the topic.
///
/// # Errors
/// [`StreamError::CannotAdopt`], what the table's files cannot tell, and a commit that does not land.
pub async fn adopt(
    lake: &Lake,
    contract: &Contract,
    choice: AdoptTable,
    log: &Log,
    options: &CommitOptions,
) -> Result<Committer, StreamError> {
    // Another attempt must read the offsets again, so none is made behind our back.
    let once = CommitOptions { max_conflicts: 0, ..options.clone() };
    let mut left = options.max_conflicts;
    loop {
        let table = load(lake, &contract.table).await?.ok_or_else(|| StreamError::CannotAdopt {
            table: contract.table.clone(),
            problem: "it is gone".to_owned(),
        })?;
        if Foreign::look(&table, contract).is_none() {
            return Ok(Committer::open(Arc::clone(lake.catalog()), table, options.clone()).await?);
        }
        let mut committer = Committer::open(Arc::clone(lake.catalog()), table, once.clone()).await?;
        let next = match choice {
            AdoptTable::FromOffsetColumns => after(&stored::largest_offsets(committer.table()).await?, log)?,
            AdoptTable::Earliest => BTreeMap::new(),
            AdoptTable::Latest => {
                log.bounds.iter().map(|(number, ends)| (*number, ends.stable_end)).collect()
            }
        };
        match committer.commit(commit(log, choice, &next)).await {
            Ok(landing) => {
                info!(
                    table = log.table,
                    snapshot_id = landing.snapshot_id,
                    ?choice,
                    ?next,
                    "adopted a table of another pipeline"
                );
            }
            Err(error) if left > 0 && came_too_late(&error) => {
                warn!(table = log.table, %error, "the table changed while it was adopted, looking again");
                left -= 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn came_too_late(error: &CommitError) -> bool {
    let by_others = |refusal: &Refusal| matches!(refusal, Refusal::GaveUp { .. } | Refusal::Fenced { .. });
    matches!(error, CommitError::Refused { refusal, uncertain: false, .. } if by_others(refusal))
}

/// The offsets after the stored ones, if the topic can go on from there.
fn after(stored: &BTreeMap<i32, i64>, log: &Log) -> Result<BTreeMap<i32, i64>, StreamError> {
    let cannot = |problem: String| Err(StreamError::CannotAdopt { table: log.table.clone(), problem });
    if stored.is_empty() {
        return cannot("no row of it has a `_kafka_partition` and a `_kafka_offset`".to_owned());
    }
    let mut next = BTreeMap::new();
    for (partition, largest) in stored {
        let (topic, count) = (&log.topic, log.num_partitions);
        let Some(ends) = log.bounds.get(partition) else {
            return cannot(format!(
                "it has rows of partition {partition}, but topic `{topic}` has {count} partitions: another topic?"
            ));
        };
        let (begin, end) = (largest + 1, ends.high_watermark);
        if begin > end {
            return cannot(format!(
                "its largest offset of partition {partition} is {largest}, but topic `{topic}` ends at {end} there: another topic, or made anew"
            ));
        }
        next.insert(*partition, begin);
    }
    Ok(next)
}

fn commit(log: &Log, choice: AdoptTable, next: &BTreeMap<i32, i64>) -> Commit {
    let span = |begin: i64| Span { expected: None, start: begin, end: begin };
    let how = match choice {
        AdoptTable::FromOffsetColumns => "from-offset-columns",
        AdoptTable::Earliest => "earliest",
        AdoptTable::Latest => "latest",
    };
    let told = json!({ "from": how, "at_ms": crate::clock::now_us() / 1000, "next": next });
    Commit {
        commit_id: Uuid::now_v7(),
        changes: vec![Change::Advance {
            topic: log.topic.clone(),
            epoch: 0,
            source: log.source.clone(),
            spans: next.iter().map(|(partition, begin)| (*partition, span(*begin))).collect(),
        }],
        summary: BTreeMap::from([(ADOPTION.to_owned(), told.to_string())]),
        ..Commit::default()
    }
}

async fn load(lake: &Lake, table: &str) -> Result<Option<LoadedTable>, StreamError> {
    lake.catalog().load_table(table).await.map_err(|source| StreamError::Lake {
        what: format!("load table `{table}`"),
        source: LakeError::TableUnavailable {
            table: table.to_owned(),
            catalog: lake.catalog().describe(),
            source,
        },
    })
}

#[cfg(test)]
mod tests;
