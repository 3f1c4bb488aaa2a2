//! Dead letters, decoded again with the present contracts.
//!
//! What is good now goes into its bronze table under its original offset, epoch, Kafka timestamp and run id; then its dead
//! letter is marked as replayed, so that the books count each record once. These are two commits. Killed in between, the
//! next run finds the row by its place in Kafka and only marks the letter.
//!
//! A letter is left alone while the worker has not committed the rows of its range: until then the worker itself may still
//! decide about it. Memory is bounded by the budget, whatever the number of letters.

mod insert;
mod letters;
mod mark;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use serde::Serialize;
use streamify_core::state::TableState;
use streamify_core::{Contract, DecodeOptions, Decoder, dead_letter};
use streamify_lake::FilePartition;
use streamify_lake::commit::Committer;
use streamify_lake::scan::{LiveFile, live_files};
use tracing::{info, warn};

use self::letters::Letters;
use self::mark::Marks;
use crate::context::Context;
use crate::error::BatchError;

/// Files whose letters are marked in one commit.
const FILES_AT_ONCE: usize = 256;

/// Which dead letters are tried again.
#[derive(Clone, Debug)]
pub struct ReplayLettersOptions {
    /// Only these topics; empty: all that have a contract.
    pub topics: Vec<String>,
    /// Only letters with these reason codes; empty: all.
    pub reasons: Vec<String>,
    /// Only letters of these days of their Kafka timestamp (days since 1970; 1970-01-01 holds those without a sound
    /// timestamp).
    pub days: Option<BTreeSet<i32>>,
    /// Take letters that are marked as replayed too: after a table was rolled back. Rows that are there stay single.
    pub again: bool,
    /// How far event times may lie after the Kafka timestamp.
    pub max_event_time_ahead: Duration,
    /// Count only.
    pub dry_run: bool,
}

impl Default for ReplayLettersOptions {
    fn default() -> Self {
        let max_event_time_ahead = Duration::from_secs(86_400);
        Self {
            topics: vec![],
            reasons: vec![],
            days: None,
            again: false,
            max_event_time_ahead,
            dry_run: false,
        }
    }
}

/// What became of the letters of one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// Letters tried.
    pub letters: u64,
    /// Of these, the ones that can be decoded now.
    pub good: u64,
    /// The others, by the reason that they have now.
    pub still_dead: BTreeMap<String, u64>,
}

/// What a replay of dead letters did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReplayLettersReport {
    /// Whether it only counted.
    pub dry_run: bool,
    /// By topic and by the reason that the letter has.
    pub topics: BTreeMap<String, BTreeMap<String, ReasonCount>>,
    /// Letters whose range the worker has not committed yet; the next run takes them.
    pub pending: u64,
    /// Letters of topics without a contract.
    pub without_contract: u64,
    /// Rows put into bronze tables.
    pub inserted: u64,
    /// Rows that were there already: an earlier replay was killed before it marked their letters.
    pub already_there: u64,
    /// Letters marked as replayed.
    pub marked: u64,
    /// Commits to bronze tables.
    pub commits: u64,
    /// Files of dead letters put in the place of others.
    pub files_rewritten: u64,
    /// Times that a commit of others came first.
    pub restarts: u32,
    /// Seconds.
    pub seconds: f64,
}

/// A topic whose letters are replayed.
struct Target {
    contract: Arc<Contract>,
    bronze: Committer,
    /// By epoch.
    decoders: BTreeMap<u32, Tried>,
}

/// Letters of one topic and epoch that could be decoded, and where they are marked.
struct Tried {
    decoder: Decoder,
    places: Vec<(usize, usize)>,
}

/// Replays dead letters.
///
/// # Errors
/// [`BatchError`]; what was committed stays, and the next run goes on from there.
pub async fn run(
    context: &Context,
    contracts: &[Arc<Contract>],
    options: &ReplayLettersOptions,
) -> Result<ReplayLettersReport, BatchError> {
    let started = Instant::now();
    check(contracts, options)?;
    let mut report = ReplayLettersReport { dry_run: options.dry_run, ..ReplayLettersReport::default() };
    let mut targets = targets(context, contracts, options).await?;
    let table = context.table(dead_letter::TABLE).await?;
    let mut letters =
        Committer::open(Arc::clone(context.lake.catalog()), table, context.commit.clone()).await?;
    loop {
        let mut run = Run { context, options, targets: &mut targets, report: &mut report };
        let Some(error) = run.round(&mut letters).await? else { break };
        report.restarts += 1;
        if report.restarts > context.max_restarts {
            let (table, times) = (dead_letter::TABLE.to_owned(), report.restarts);
            return Err(BatchError::Overtaken { table, times, source: error });
        }
        warn!(%error, "dead letters were rewritten meanwhile, looking again");
        // What was counted is counted again; rows and marks that are done stay done.
        report.topics.clear();
        (report.pending, report.without_contract) = (0, 0);
        letters.refresh().await?;
    }
    report.seconds = started.elapsed().as_secs_f64();
    let (inserted, marked) = (report.inserted, report.marked);
    info!(
        inserted,
        already_there = report.already_there,
        marked,
        dry_run = options.dry_run,
        "replayed dead letters"
    );
    Ok(report)
}

fn check(contracts: &[Arc<Contract>], options: &ReplayLettersOptions) -> Result<(), BatchError> {
    let invalid =
        |option: &str, problem: String| Err(BatchError::Option { option: option.to_owned(), problem });
    if let Some(topic) =
        options.topics.iter().find(|topic| !contracts.iter().any(|contract| contract.topic == **topic))
    {
        return invalid("--topics", format!("topic `{topic}` has no contract"));
    }
    if let Some(code) = options.reasons.iter().find(|code| streamify_core::Reason::from_code(code).is_none())
    {
        let known = streamify_core::Reason::ALL.map(|reason| format!("`{}`", reason.as_str())).join(", ");
        return invalid("--reasons", format!("`{code}` is no reason (they are {known})"));
    }
    Ok(())
}

async fn targets(
    context: &Context,
    contracts: &[Arc<Contract>],
    options: &ReplayLettersOptions,
) -> Result<BTreeMap<String, Target>, BatchError> {
    let mut targets = BTreeMap::new();
    for contract in contracts {
        if !options.topics.is_empty() && !options.topics.contains(&contract.topic) {
            continue;
        }
        let loaded = context.lake.catalog().load_table(&contract.table).await;
        let loaded =
            loaded.map_err(|source| BatchError::Catalog { table: contract.table.clone(), source })?;
        // Without a bronze table the worker has not landed anything of the topic.
        let Some(mut table) = loaded else { continue };
        if !options.dry_run {
            table = context.lake.ensure_table(&streamify_lake::TableSpec::bronze(contract)).await?;
        }
        let catalog = Arc::clone(context.lake.catalog());
        let bronze = Committer::open(catalog, table, context.commit.clone()).await?;
        let target = Target { contract: Arc::clone(contract), bronze, decoders: BTreeMap::new() };
        targets.insert(contract.topic.clone(), target);
    }
    Ok(targets)
}

/// Whether the worker is done with a record: its rows are in the table, or its epoch is over.
fn is_settled(state: &TableState, topic: &str, epoch: u32, partition: i32, offset: i64) -> bool {
    let Some(topic) = state.topics.get(topic) else { return false };
    let current = &topic.current;
    let is_below = current.next.get(&partition).is_some_and(|next| offset < *next);
    epoch < current.epoch || (epoch == current.epoch && is_below)
}

struct Run<'a> {
    context: &'a Context,
    options: &'a ReplayLettersOptions,
    targets: &'a mut BTreeMap<String, Target>,
    report: &'a mut ReplayLettersReport,
}

impl Run<'_> {
    /// Goes through all letters once; returns what kept some of them from being marked.
    async fn round(
        &mut self,
        letters: &mut Committer,
    ) -> Result<Option<streamify_lake::commit::CommitError>, BatchError> {
        let files = live_files(letters.table(), self.options.days.as_ref()).await?;
        let groups = groups(files, letters);
        let total = groups.len();
        let mut hindrance = None;
        for (done, (partition, group)) in groups.into_iter().enumerate() {
            self.context.check()?;
            let what = format!("replaying dead letters of {partition}: {} files", group.len());
            self.context.tell(what, done, total, self.report.inserted);
            let marks = self.decode(letters, &group).await?;
            if self.options.dry_run || marks.is_empty() {
                continue;
            }
            self.context.tell(
                format!("marking dead letters of {partition}"),
                done,
                total,
                self.report.inserted,
            );
            self.context.check()?;
            match mark::rewrite(self.context, letters, partition, group, &marks, self.report).await {
                Err(BatchError::Commit(error)) if error.overtaken() => {
                    hindrance = Some(error);
                    letters.refresh().await?;
                }
                marked => marked?,
            }
        }
        Ok(hindrance)
    }

    /// Decodes the letters of some files and puts the good ones into bronze; returns which ones.
    async fn decode(&mut self, letters: &Committer, group: &[LiveFile]) -> Result<Marks, BatchError> {
        let mut marks = Marks::new(group.len());
        for (number, live) in group.iter().enumerate() {
            self.context.meter.file(live.file.record_count(), live.file.file_size_in_bytes());
            let mut batches = letters.table().read_file(&live.file, &letters::COLUMNS, None)?;
            let mut first = 0;
            while let Some(batch) = batches.try_next().await? {
                self.context.check()?;
                let rows = Letters::new(&batch)?;
                for row in 0..batch.num_rows() {
                    self.try_letter(&rows, row, (number, first + row))?;
                }
                first += batch.num_rows();
                self.flush(&mut marks, self.context.run_bytes() / 2).await?;
            }
        }
        self.flush(&mut marks, 0).await?;
        Ok(marks)
    }

    fn try_letter(
        &mut self,
        rows: &Letters<'_>,
        row: usize,
        place: (usize, usize),
    ) -> Result<(), BatchError> {
        let options = self.options;
        let (topic, reason) = (rows.topic(row), rows.reason(row));
        let is_wanted = (options.again || !rows.is_replayed(row))
            && (options.topics.is_empty() || options.topics.iter().any(|wanted| wanted == topic))
            && (options.reasons.is_empty() || options.reasons.iter().any(|wanted| wanted == reason));
        if !is_wanted {
            return Ok(());
        }
        let Some(target) = self.targets.get_mut(topic) else {
            self.report.without_contract += 1;
            return Ok(());
        };
        let epoch = rows.epoch(row);
        let run_id = rows.run_id(row)?;
        let record = rows.record(row, run_id.as_deref());
        if !is_settled(target.bronze.state(), topic, epoch, record.partition, record.offset) {
            self.report.pending += 1;
            return Ok(());
        }
        let tried = target.decoders.entry(epoch).or_insert_with(|| {
            let ahead = i64::try_from(options.max_event_time_ahead.as_millis()).unwrap_or(i64::MAX);
            let decode = DecodeOptions {
                max_event_time_ahead_ms: ahead,
                source_epoch: epoch,
                ..DecodeOptions::default()
            };
            Tried { decoder: Decoder::new(Arc::clone(&target.contract), decode), places: Vec::new() }
        });
        let reasons = self.report.topics.entry(topic.to_owned()).or_default();
        let count = reasons.entry(reason.to_owned()).or_default();
        count.letters += 1;
        match tried.decoder.push(&record) {
            Ok(()) => {
                count.good += 1;
                if !rows.is_replayed(row) {
                    tried.places.push(place);
                }
            }
            Err(rejection) => {
                *count.still_dead.entry(rejection.reason.as_str().to_owned()).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Puts decoded rows into bronze where they take more than `limit` bytes together.
    async fn flush(&mut self, marks: &mut Marks, limit: usize) -> Result<(), BatchError> {
        let held =
            |target: &Target| target.decoders.values().map(|tried| tried.decoder.bytes()).sum::<usize>();
        if self.targets.values().map(held).sum::<usize>() < limit {
            return Ok(());
        }
        let now_us = chrono::Utc::now().timestamp_micros();
        for target in self.targets.values_mut() {
            for (_, mut tried) in std::mem::take(&mut target.decoders) {
                let rows = tried.decoder.finish(now_us)?;
                if rows.num_rows() > 0 && !self.options.dry_run {
                    let bronze = &mut target.bronze;
                    insert::new_rows(self.context, bronze, &target.contract, rows, self.report).await?;
                    marks.set(&tried.places);
                }
            }
        }
        Ok(())
    }
}

/// Files of one partition that are rewritten together.
fn groups(files: Vec<LiveFile>, letters: &Committer) -> Vec<(FilePartition, Vec<LiveFile>)> {
    let metadata = &letters.table().metadata;
    let mut by_partition: BTreeMap<FilePartition, Vec<LiveFile>> = BTreeMap::new();
    for live in files {
        // A file of another spec cannot be told its day; none of ours is.
        if let Some(partition) = live.partition(metadata) {
            by_partition.entry(partition).or_default().push(live);
        }
    }
    let split = by_partition.into_iter().flat_map(|(partition, files)| {
        let chunks: Vec<_> = files.chunks(FILES_AT_ONCE).map(|chunk| (partition, chunk.to_vec())).collect();
        chunks
    });
    split.collect()
}
