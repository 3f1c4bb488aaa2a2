//! Compaction: small files of a partition become few large ones in the table's order. The rows stay the same.
//!
//! Partition by partition, committed as soon as [`COMMIT_BYTES`] were read: killed half-way, what is committed stays. It
//! never stands in the way of a writer: appends do not disturb it, and it disturbs no append; where another job removed the
//! same files first, that partition is left for the next run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use iceberg::spec::DataFile;
use serde::Serialize;
use streamify_lake::FilePartition;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::commit::{Commit, Committer, Kind};
use streamify_lake::scan::{LiveFile, live_files};
use streamify_lake::stored::StoredRows;
use tracing::{info, warn};
use uuid::Uuid;

use crate::context::Context;
use crate::error::BatchError;
use crate::output::{FileNames, Output};

/// Bytes read from which on partitions are committed. One by one, small partitions would cost more commits than work.
const COMMIT_BYTES: u64 = 128 << 20;

/// What is compacted.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// Files below this part of the target size are small.
    pub small_below: f64,
    /// A partition with fewer small files is left alone; at least 2.
    pub min_files: usize,
    /// Only these days; `None`: all.
    pub days: Option<BTreeSet<i32>>,
    /// Only count what would be rewritten.
    pub dry_run: bool,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { small_below: 0.75, min_files: 5, days: None, dry_run: false }
    }
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CompactReport {
    /// Table.
    pub table: String,
    /// Partitions rewritten.
    pub partitions: u64,
    /// Partitions that another job changed meanwhile; the next run takes them.
    pub partitions_left: u64,
    /// Files of the whole table before.
    pub files_before: u64,
    /// Files of the whole table after.
    pub files_after: u64,
    /// Files read.
    pub files_rewritten: u64,
    /// Files written.
    pub files_added: u64,
    /// Bytes read.
    pub bytes_rewritten: u64,
    /// Bytes written.
    pub bytes_added: u64,
    /// Rows in them.
    pub rows: u64,
    /// Last snapshot made; `None`: there was nothing to do.
    pub snapshot_id: Option<i64>,
    /// Seconds.
    pub seconds: f64,
}

/// Compacts a table.
///
/// # Errors
/// [`BatchError`]; partitions that are done stay done.
pub async fn run(
    context: &Context,
    table: &str,
    options: &CompactOptions,
) -> Result<CompactReport, BatchError> {
    let started = Instant::now();
    let table = context.table(table).await?;
    let mut committer =
        Committer::open(Arc::clone(context.lake.catalog()), table, context.commit.clone()).await?;
    let files = live_files(committer.table(), None).await?;
    let mut report = CompactReport {
        table: committer.table().name.clone(),
        files_before: files.len() as u64,
        files_after: files.len() as u64,
        ..CompactReport::default()
    };
    let groups = plan(committer.table(), files, options);
    let total = groups.len();
    let mut done = Done::default();
    let mut room = None;
    for (number, (partition, group)) in groups.into_iter().enumerate() {
        context.check()?;
        let what = format!("compacting {} {partition}: {} files", report.table, group.len());
        context.tell(what, number, total, report.rows + done.rows());
        if options.dry_run {
            report.add(&Rewritten { partition, removed: group, files: Vec::new() });
            continue;
        }
        match rewrite(context, committer.table(), &done.names, partition, group, &mut room).await {
            Ok(rewritten) => done.partitions.push(rewritten),
            Err(error) => {
                // One partition that cannot be read must not keep those before it from landing.
                if !context.cancel.is_cancelled() {
                    land(&mut committer, done, &mut report).await?;
                }
                return Err(error);
            }
        }
        if done.bytes() >= COMMIT_BYTES {
            land(&mut committer, std::mem::take(&mut done), &mut report).await?;
        }
    }
    land(&mut committer, done, &mut report).await?;
    report.seconds = started.elapsed().as_secs_f64();
    let what = if options.dry_run { "looked at" } else { "compacted" };
    context.tell(format!("{what} {}", report.table), total, total, report.rows);
    Ok(report)
}

/// The small files by partition, for partitions that have enough of them.
fn plan(
    table: &LoadedTable,
    files: Vec<LiveFile>,
    options: &CompactOptions,
) -> BTreeMap<FilePartition, Vec<LiveFile>> {
    let metadata = &table.metadata;
    let target = metadata.properties().get("write.target-file-size-bytes");
    let target: u64 = target.and_then(|text| text.parse().ok()).unwrap_or(128 << 20);
    let small = (target as f64 * options.small_below) as u64;
    let mut groups: BTreeMap<FilePartition, Vec<LiveFile>> = BTreeMap::new();
    for live in files {
        let day = live.day(metadata);
        let wanted = options.days.as_ref().is_none_or(|days| day.is_some_and(|day| days.contains(&day)));
        // A file of another spec may hold rows of several partitions; it is left to a rebuild.
        if let Some(partition) = live.partition(metadata)
            && wanted
            && live.file.file_size_in_bytes() < small
        {
            groups.entry(partition).or_default().push(live);
        }
    }
    groups.retain(|_, group| group.len() >= options.min_files.max(2));
    groups
}

/// A partition's small files, and those that have their rows now.
struct Rewritten {
    partition: FilePartition,
    removed: Vec<LiveFile>,
    files: Vec<DataFile>,
}

impl Rewritten {
    fn rows(&self) -> u64 {
        self.removed.iter().map(|live| live.file.record_count()).sum()
    }

    fn bytes(&self) -> u64 {
        self.removed.iter().map(|live| live.file.file_size_in_bytes()).sum()
    }
}

/// Partitions that are rewritten and not committed.
struct Done {
    names: FileNames,
    partitions: Vec<Rewritten>,
}

impl Default for Done {
    fn default() -> Self {
        Self { names: FileNames::new(Uuid::now_v7()), partitions: Vec::new() }
    }
}

impl Done {
    fn rows(&self) -> u64 {
        self.partitions.iter().map(Rewritten::rows).sum()
    }

    fn bytes(&self) -> u64 {
        self.partitions.iter().map(Rewritten::bytes).sum()
    }
}

impl CompactReport {
    fn add(&mut self, done: &Rewritten) {
        let (num_old, num_new) = (done.removed.len() as u64, done.files.len() as u64);
        self.partitions += 1;
        self.files_rewritten += num_old;
        self.bytes_rewritten += done.bytes();
        self.rows += done.rows();
        // Nothing is added by a dry run, and nothing removed.
        if num_new > 0 {
            self.files_after = (self.files_after + num_new).saturating_sub(num_old);
            self.files_added += num_new;
            self.bytes_added += done.files.iter().map(|file| file.file_size_in_bytes()).sum::<u64>();
        }
    }
}

/// Writes a partition's rows anew; `room` is used again and again.
async fn rewrite(
    context: &Context,
    table: &LoadedTable,
    names: &FileNames,
    partition: FilePartition,
    removed: Vec<LiveFile>,
    room: &mut Option<StoredRows>,
) -> Result<Rewritten, BatchError> {
    let sort_key = sort_columns(table);
    let mut output = Output::new(context, table, partition, names, &sort_key)?;
    let num_rows = removed.iter().map(|live| live.file.record_count()).sum();
    output.make_room(num_rows, room.take());
    for live in &removed {
        output.add_file(live).await?;
    }
    let (files, rows) = output.finish_and_keep_room().await?;
    *room = rows;
    let written: u64 = files.iter().map(|file| file.record_count()).sum();
    let done = Rewritten { partition, removed, files };
    let rows = done.rows();
    if rows != written {
        let source = format!("{rows} rows were read and {written} written; nothing was committed").into();
        return Err(BatchError::Rows { table: table.name.clone(), source });
    }
    Ok(done)
}

/// Commits partitions together. Where another job changed one of them meanwhile, each of the others alone.
async fn land(committer: &mut Committer, done: Done, report: &mut CompactReport) -> Result<(), BatchError> {
    let mut together = vec![(done.names.commit_id(), done.partitions)];
    while let Some((commit_id, partitions)) = together.pop().filter(|(_, partitions)| !partitions.is_empty())
    {
        let commit = Commit {
            commit_id,
            kind: Kind::Replace,
            files: partitions.iter().flat_map(|done| done.files.clone()).collect(),
            removed: partitions.iter().flat_map(|done| done.removed.clone()).collect(),
            ..Commit::default()
        };
        match committer.commit(commit).await {
            Ok(landing) => {
                for done in &partitions {
                    let (table, partition, rows) = (&committer.table().name, done.partition, done.rows());
                    info!(%table, %partition, rows, from = done.removed.len(), to = done.files.len(), "compacted");
                    report.add(done);
                }
                report.snapshot_id = landing.snapshot_id.or(report.snapshot_id);
            }
            Err(error) if error.overtaken() => {
                committer.refresh().await?;
                if let [done] = partitions.as_slice() {
                    let (table, partition) = (&committer.table().name, done.partition);
                    warn!(%table, %partition, %error, "left for the next compaction");
                    report.partitions_left += 1;
                } else {
                    together.extend(partitions.into_iter().map(|done| (Uuid::now_v7(), vec![done])));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// All columns of a table, in its order.
pub(crate) fn column_names(table: &LoadedTable) -> Vec<&str> {
    table.metadata.current_schema().as_struct().fields().iter().map(|field| field.name.as_str()).collect()
}

/// The columns of the table's sort order.
pub(crate) fn sort_columns(table: &LoadedTable) -> Vec<String> {
    let schema = table.metadata.current_schema();
    let order = table.metadata.default_sort_order();
    let names = order.fields.iter().filter_map(|field| schema.field_by_id(field.source_id));
    names.map(|field| field.name.clone()).collect()
}

/// A day as people write it: `2026-02-23`.
pub(crate) fn date(day: i32) -> String {
    let instant = chrono::DateTime::from_timestamp(i64::from(day) * 86_400, 0).unwrap_or_default();
    instant.format("%Y-%m-%d").to_string()
}
