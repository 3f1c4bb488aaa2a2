//! User sessions: the events of all topics cut at pauses of more than half an hour.
//!
//! What changes, and all its rows, is told by [`streamify_core::session::Planner`]; this job reads the days it asks for and
//! replaces the partitions it names, together with what was consumed of each silver table, in one commit.
//!
//! Who is touched by what is new stands in memory. Where that would not fit the budget (a backfill, a rebuild of many days), every
//! session is computed anew instead: day by day, whatever their number.
//!
//! The law: for any order of arrival and any split into runs, the table equals a full recompute (but for `_processed_at`).
//! Cost follows the days that new events touch.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::TryStreamExt as _;
use iceberg::spec::{DataFile, Literal, Struct};
use serde::Serialize;
use streamify_core::contract::Contract;
use streamify_core::session::{Changes, Options, Outcome, Planner, Read, SessionError, Step, Topic, columns};
use streamify_core::state::{Change, SessionProgress};
use streamify_lake::catalog::LoadedTable;
use streamify_lake::commit::{Commit, Committer, Kind, Untouched};
use streamify_lake::scan::increment::{self, Increment};
use streamify_lake::scan::{DayFiles, LiveFile};
use streamify_lake::{FilePartition, Partitioning, TableSpec};
use tracing::info;
use uuid::Uuid;

use crate::compact::{column_names, date, sort_columns};
use crate::context::Context;
use crate::error::BatchError;
use crate::output::{FileNames, Output};
use crate::reading::Reading;
use crate::registration;
use crate::restart::{Effort, until_first};
use crate::silver::{consume, discard};

/// Name of the table.
pub const TABLE: &str = "silver_user_sessions";
/// Bytes of the budget per event that is held.
const BYTES_PER_EVENT: usize = 128;

/// What a run of sessions does.
#[derive(Clone, Debug, Default)]
pub struct SessionsOptions {
    /// Compute every session anew, whatever was consumed.
    pub full: bool,
    /// Snapshots of silver in which another engine changed rows, to be taken as they are.
    pub accepted: Vec<i64>,
}

/// What a run of sessions did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionsReport {
    /// Table.
    pub table: String,
    /// Whether everything was computed anew: asked for, for the first time, or because more was new than memory holds.
    pub full: bool,
    /// Silver rows that were new (or replaced), by table.
    pub rows_in: BTreeMap<String, u64>,
    /// Sessions in the replaced partitions.
    pub rows_out: u64,
    /// Partitions replaced, `YYYY-MM-DD`.
    pub days: Vec<String>,
    /// Largest event time consumed, ms since 1970; `None`: there was never an event.
    pub watermark_ms: Option<i64>,
    /// First day with a session that is still open, `YYYY-MM-DD`.
    pub open_from: Option<String>,
    /// Files added.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of data files read.
    pub bytes_read: u64,
    /// Bytes of metadata files read: table metadata, manifest lists, manifests.
    pub metadata_bytes: u64,
    /// Snapshot made; `None`: there was nothing to do.
    pub snapshot_id: Option<i64>,
    /// Times the run began anew because another commit came first.
    pub restarts: u32,
    /// Seconds.
    pub seconds: f64,
}

/// What the table must look like.
pub fn table_spec() -> TableSpec {
    TableSpec {
        name: TABLE.to_owned(),
        doc: "One session of a person: events over all topics without a pause of more than half an hour."
            .to_owned(),
        columns: columns(),
        identity: vec!["session_key".to_owned()],
        partitioning: Partitioning::Identity("session_date".to_owned()),
        sort_key: vec!["user_id".to_owned(), "started_at".to_owned()],
        properties: Vec::new(),
    }
}

/// Brings the sessions up to date.
///
/// # Errors
/// [`BatchError`]; nothing is committed then.
pub async fn run(
    context: &Context,
    contracts: &[Arc<Contract>],
    options: &SessionsOptions,
) -> Result<SessionsReport, BatchError> {
    let once = || attempt(context, contracts, options);
    let (report, effort) = until_first(context, TABLE, once).await?;
    let Effort { restarts, seconds, bytes_read, metadata_bytes } = effort;
    Ok(SessionsReport { restarts, seconds, bytes_read, metadata_bytes, ..report })
}

/// A silver table as this run sees it.
struct Source {
    topic: Topic,
    table: LoadedTable,
    files: DayFiles,
    new: Increment,
}

async fn attempt(
    context: &Context,
    contracts: &[Arc<Contract>],
    options: &SessionsOptions,
) -> Result<SessionsReport, BatchError> {
    let table = context.lake.ensure_table(&table_spec()).await?;
    let mut committer =
        Committer::open(Arc::clone(context.lake.catalog()), table, context.commit.clone()).await?;
    let full = options.full || committer.state().sessions.is_none();
    let sources = sources(context, contracts, &committer, full, options).await?;
    let changes = consumed(&sources, &committer);
    let mut report = SessionsReport { table: TABLE.to_owned(), full, ..SessionsReport::default() };
    if changes.is_empty() && !options.full {
        context.tell(format!("{TABLE} is up to date"), 1, 1, 0);
        return Ok(report);
    }
    let partitions = DayFiles::open(committer.table()).await?;
    let mut run = Run { context, sources, sessions: committer.table(), partitions };
    let commit = run.compute(&committer, full, changes, &mut report).await?;
    let changes = commit.changes.clone();
    let written: Vec<String> = commit.files.iter().map(|file| file.file_path().to_owned()).collect();
    match committer.commit(commit).await {
        Ok(landing) => {
            report.snapshot_id = landing.snapshot_id;
            registration::renew(context, committer.table(), &changes).await;
            info!(
                table = TABLE,
                sessions = report.rows_out,
                days = report.days.len(),
                "sessions are up to date"
            );
            Ok(report)
        }
        Err(error) => {
            if error.surely_not_landed() {
                discard(committer.table(), &written).await;
            }
            Err(error.into())
        }
    }
}

/// The silver tables there are, and what is new in each.
async fn sources(
    context: &Context,
    contracts: &[Arc<Contract>],
    committer: &Committer,
    full: bool,
    options: &SessionsOptions,
) -> Result<Vec<Source>, BatchError> {
    let mut sources = Vec::new();
    for contract in contracts {
        let Some(topic) = Topic::named(&contract.topic) else { continue };
        let table = match context.table(&contract.silver.table).await {
            Ok(table) => table,
            Err(BatchError::TableMissing { .. }) => continue,
            Err(error) => return Err(error),
        };
        let stored = committer.state().sources.get(&table.name).filter(|_| !full);
        let new = increment::since(&table, stored, &options.accepted).await?;
        let files = DayFiles::open(&table).await?;
        sources.push(Source { topic, table, files, new });
    }
    if sources.is_empty() {
        return Err(BatchError::TableMissing { table: "silver_listen_events".to_owned() });
    }
    Ok(sources)
}

/// What will have been consumed of each table, where that is more than before.
fn consumed(sources: &[Source], committer: &Committer) -> Vec<Change> {
    let change = |source: &Source| {
        let stored = committer.state().sources.get(&source.table.name);
        let to = source.new.to.clone().filter(|to| Some(to) != stored)?;
        Some(consume(&source.table.name, stored, to))
    };
    sources.iter().filter_map(change).collect()
}

struct Run<'a> {
    context: &'a Context,
    sources: Vec<Source>,
    sessions: &'a LoadedTable,
    partitions: DayFiles,
}

impl Run<'_> {
    async fn compute(
        &mut self,
        committer: &Committer,
        full: bool,
        mut changes: Vec<Change>,
        report: &mut SessionsReport,
    ) -> Result<Commit, BatchError> {
        let progress = committer.state().sessions;
        let options = Options {
            processed_at_us: chrono::Utc::now().timestamp_micros(),
            max_events: self.context.counted_bytes() / BYTES_PER_EVENT,
        };
        let changed = if full { None } else { self.changed(report).await? };
        let planner = if let Some(changed) = changed {
            let watermark_ms = progress.map(|progress| progress.watermark_ms);
            let open_from_day = progress.and_then(|progress| progress.open_from_day);
            Planner::incremental(changed, watermark_ms, open_from_day, options)
        } else {
            report.full = true;
            let mut days: BTreeSet<i32> = self.partitions.all().await?.keys().copied().collect();
            for source in &mut self.sources {
                let files = source.files.all().await?;
                days.extend(files.keys());
                let rows = files.values().flatten().map(|live| live.file.record_count()).sum();
                report.rows_in.insert(source.table.name.clone(), rows);
            }
            Planner::full(days, progress.map(|progress| progress.watermark_ms), options)
        };
        let commit_id = Uuid::now_v7();
        let (outcome, files) = self.follow(planner, commit_id, report).await?;
        report.days = outcome.replaced.iter().map(|day| date(*day)).collect();
        report.watermark_ms = outcome.watermark_ms;
        report.open_from = outcome.open_from_day.map(date);
        report.files = files.len() as u64;
        report.bytes = files.iter().map(DataFile::file_size_in_bytes).sum();
        if let Some(watermark_ms) = outcome.watermark_ms {
            let open_from_day = outcome.open_from_day;
            changes.push(Change::Sessions(SessionProgress { watermark_ms, open_from_day }));
        }
        let mut removed: Vec<LiveFile> = Vec::new();
        for day in &outcome.replaced {
            removed.extend_from_slice(self.partitions.of(*day).await?);
        }
        let untouched = Untouched {
            since: self.sessions.metadata.current_snapshot_id(),
            partitions: outcome
                .replaced
                .iter()
                .map(|day| Struct::from_iter([Some(Literal::date(*day))]))
                .collect(),
        };
        let kind = if removed.is_empty() { Kind::Append } else { Kind::Overwrite };
        let job = if report.full { "sessions-full" } else { "sessions" };
        let summary = BTreeMap::from([("streamify.job".to_owned(), job.to_owned())]);
        Ok(Commit {
            commit_id,
            kind,
            files,
            removed,
            untouched: Some(untouched),
            changes,
            ledger: None,
            summary,
        })
    }

    /// The events that came or went since the last run; `None`: they are too many for the memory that there is.
    async fn changed(&self, report: &mut SessionsReport) -> Result<Option<Changes>, BatchError> {
        let (mut changes, most) = (Changes::new(), self.context.counted_bytes());
        for source in &self.sources {
            let mut rows = 0;
            for live in source.new.added.iter().chain(&source.new.removed) {
                rows += live.file.record_count();
                let columns = source.topic.columns(Read::People);
                let mut reading =
                    Reading::open(self.context, &source.table, &live.file, &columns, None).await?;
                // Looked at batch by batch: one file alone may be too much.
                while let Some(batch) = reading.next().await? {
                    changes.push(&batch).map_err(|error| unusable(&source.table.name, error))?;
                    if changes.bytes() > most {
                        info!(
                            table = source.table.name,
                            "so much is new that every session is computed anew"
                        );
                        return Ok(None);
                    }
                }
            }
            report.rows_in.insert(source.table.name.clone(), rows);
        }
        Ok(Some(changes))
    }

    /// Does what the planner says, until it is done.
    async fn follow(
        &mut self,
        mut planner: Planner,
        commit_id: Uuid,
        report: &mut SessionsReport,
    ) -> Result<(Outcome, Vec<DataFile>), BatchError> {
        let (context, sessions) = (self.context, self.sessions);
        let names = FileNames::new(commit_id);
        let sort_key = sort_columns(sessions);
        let mut outputs: HashMap<i32, Output<'_>> = HashMap::new();
        let mut files = Vec::new();
        let mut finished = 0;
        loop {
            context.check()?;
            match planner.next_step().map_err(|source| unusable(TABLE, source))? {
                Step::Read { day, read } => {
                    for Source { topic, table, files, .. } in &mut self.sources {
                        let columns = topic.columns(read);
                        for live in files.of(day).await? {
                            let mut reading =
                                Reading::open(context, table, &live.file, &columns, None).await?;
                            while let Some(batch) = reading.next().await? {
                                let pushed = planner.push(*topic, &batch);
                                pushed.map_err(|source| unusable(&table.name, source))?;
                            }
                        }
                    }
                }
                Step::Sessions { day } => {
                    for live in self.partitions.of(day).await? {
                        context.meter.file(live.file.record_count(), live.file.file_size_in_bytes());
                        let columns = column_names(sessions);
                        let mut batches = sessions.read_file(&live.file, &columns, None)?;
                        while let Some(batch) = batches.try_next().await? {
                            planner.push_sessions(&batch).map_err(|source| unusable(TABLE, source))?;
                        }
                    }
                }
                Step::Rows { day, rows } => {
                    report.rows_out += rows.num_rows() as u64;
                    let output = match outputs.entry(day) {
                        Entry::Occupied(output) => output.into_mut(),
                        Entry::Vacant(place) => {
                            let partition = FilePartition::Day(day);
                            place.insert(Output::new(context, sessions, partition, &names, &sort_key)?)
                        }
                    };
                    output.add(&rows).await?;
                }
                Step::Finish { day } => {
                    if let Some(output) = outputs.remove(&day) {
                        files.extend(output.finish().await?);
                    }
                    finished += 1;
                    context.tell(format!("{TABLE}: {}", date(day)), finished, finished, report.rows_out);
                }
                Step::Done(outcome) => return Ok((outcome, files)),
            }
        }
    }
}

fn unusable(table: &str, source: SessionError) -> BatchError {
    BatchError::Rows { table: table.to_owned(), source: Box::new(source) }
}
