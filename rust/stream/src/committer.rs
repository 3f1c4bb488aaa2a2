//! A topic's committer: takes closed files, commits the range's dead letters, then its rows, then tells lag tools.
//!
//! The books of each commit are put together here from counts made in different places: received and skipped from the
//! intake's positions, rows from the record counts of the closed files, dead letters from theirs. The table's appender
//! refuses books that do not close.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use streamify_core::dead_letter::DeadLetter;
use streamify_core::ledger::Ledger;
use streamify_core::state::{Change, Span};
use streamify_lake::commit::{Commit, Committer, Landing};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::buffer::PartitionCut;
use crate::clock;
use crate::dead_letters::{Buried, DeadLetters, Origin};
use crate::error::StreamError;
use crate::kafka::membership::Hints;
use crate::kafka::{KafkaClient, TopicPartition};
use crate::lease::FIRST;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::report::{Committed, Report};
use crate::writer::{Flush, Progress};

/// A topic's commits are logged at most this often; what is left out is logged at debug level.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Who tells lag tools the committed offsets.
pub enum Hint {
    /// Nobody.
    Nobody,
    /// The reading client: the group has no members.
    Client(Arc<KafkaClient>),
    /// The group's member.
    Member(Hints),
}

/// One topic's committer.
pub struct CommitTask {
    /// Where the records come from.
    pub origin: Origin,
    /// The table's appender.
    pub appender: Committer,
    /// The dead-letter table.
    pub dead_letters: Arc<DeadLetters>,
    /// Closed files from the writer.
    pub flushes: Receiver<Flush>,
    /// To the writer.
    pub progress: watch::Sender<Progress>,
    /// For the group's offsets.
    pub hint: Hint,
    /// What the run has done.
    pub report: Arc<Report>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// How far the run is.
    pub live: Arc<Live>,
    /// How often the table's lease is renewed where no records come; `None`: there is none.
    pub lease_interval: Option<Duration>,
    /// The Dagster run that launched this one; stands in each commit's summary.
    pub dagster_run_id: Option<String>,
}

impl CommitTask {
    /// Commits until the writer has ended.
    ///
    /// # Errors
    /// The first commit that did not land; nothing after it is tried.
    pub async fn run(mut self) -> Result<(), StreamError> {
        let mut logged: Option<Instant> = None;
        while let Some(flush) = self.next().await? {
            let committed = self.commit(flush).await;
            let committed = match committed {
                Ok(committed) => committed,
                Err(error) => {
                    self.metrics.commit_failed(&error);
                    return Err(error);
                }
            };
            let is_quiet = logged.is_some_and(|logged| logged.elapsed() < LOG_INTERVAL);
            log(&self.origin.topic, &committed, is_quiet);
            if !is_quiet {
                logged = Some(Instant::now());
            }
            self.metrics.committed(&self.appender.table().name, &committed);
            self.report.add(&committed);
            self.live.committed(&committed);
        }
        if let Err(error) = self.appender.give_up_lease().await {
            warn!(topic = self.origin.topic, %error, "the lease was not given up, it runs out by itself");
        }
        Ok(())
    }

    /// Returns what to commit next; keeps the lease meanwhile.
    async fn next(&mut self) -> Result<Option<Flush>, StreamError> {
        let mut interval =
            self.lease_interval.map(|every| if self.appender.has_lease() { every } else { FIRST });
        loop {
            let due = interval.map(|every| Instant::now() + every);
            tokio::select! {
                biased;
                flush = self.flushes.recv() => return Ok(flush),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.appender.renew_lease().await?;
                    interval = self.lease_interval;
                }
            }
        }
    }

    async fn commit(&mut self, flush: Flush) -> Result<Committed, StreamError> {
        let num_rows: u64 = flush.files.iter().map(|file| file.record_count()).sum();
        let num_bytes: u64 = flush.files.iter().map(|file| file.file_size_in_bytes()).sum();
        let num_files = flush.files.len() as u64;
        let dead_by_partition = count(&flush, |letter| letter.partition);
        let dead_by_reason = count(&flush, |letter| letter.reason.as_str());
        let buried = self.dead_letters.bury(&self.origin, flush.dead_letters, &flush.partitions).await?;
        drop(flush.dead_letter_bytes);
        let ledger = books(&flush.partitions, num_rows, &buried);
        let valid_through_ms = valid_through(&flush.partitions);
        let landing = self
            .appender
            .commit(Commit {
                commit_id: flush.commit_id,
                files: flush.files,
                changes: vec![change(&self.origin, &flush.partitions)],
                ledger: Some(ledger),
                summary: self.summary(&flush.partitions, valid_through_ms),
                ..Commit::default()
            })
            .await?;
        let cost = flush.cut_at.elapsed();
        self.progress.send_modify(|progress| {
            progress.num_landed += 1;
            progress.cost = cost;
        });
        self.hint(&flush.partitions);
        let partitions = flush.partitions;
        Ok(committed(
            &self.origin,
            Parts {
                ledger,
                buried,
                landing,
                partitions,
                dead_by_partition,
                dead_by_reason,
                num_files,
                num_bytes,
                timestamps_ms: flush.timestamps_ms,
                valid_through_ms,
                cost,
            },
        ))
    }

    fn summary(
        &self,
        partitions: &[PartitionCut],
        valid_through_ms: Option<i64>,
    ) -> BTreeMap<String, String> {
        let mut summary = summary(partitions, valid_through_ms);
        if let Some(run_id) = &self.dagster_run_id {
            summary.insert("streamify.dagster-run-id".to_owned(), run_id.clone());
        }
        summary
    }

    fn hint(&self, partitions: &[PartitionCut]) {
        let names: Vec<(TopicPartition, i64)> = partitions
            .iter()
            .map(|cut| (TopicPartition::new(self.origin.topic.clone(), cut.partition), cut.run.to))
            .collect();
        let offsets = names.iter().map(|(partition, next)| (partition, *next));
        match &self.hint {
            Hint::Nobody => {}
            Hint::Client(client) => client.commit_hint(offsets),
            Hint::Member(hints) => hints.commit_hint(offsets),
        }
    }
}

/// What a commit is told of by.
struct Parts {
    ledger: Ledger,
    buried: Buried,
    landing: Landing,
    partitions: Vec<PartitionCut>,
    dead_by_partition: BTreeMap<i32, u64>,
    dead_by_reason: BTreeMap<&'static str, u64>,
    num_files: u64,
    num_bytes: u64,
    timestamps_ms: Option<(i64, i64)>,
    valid_through_ms: Option<i64>,
    cost: Duration,
}

fn committed(origin: &Origin, parts: Parts) -> Committed {
    Committed {
        topic: origin.topic.clone(),
        epoch: origin.epoch,
        ledger: parts.ledger,
        buried: parts.buried,
        num_files: parts.num_files,
        num_bytes: parts.num_bytes,
        partitions: parts.partitions,
        dead_by_partition: parts.dead_by_partition,
        dead_by_reason: parts.dead_by_reason,
        snapshot_id: parts.landing.snapshot_id,
        attempts: parts.landing.attempts,
        found: parts.landing.found,
        commit_time: Duration::try_from_secs_f64(parts.landing.seconds).unwrap_or_default(),
        cost: parts.cost,
        timestamps_ms: parts.timestamps_ms,
        valid_through_ms: parts.valid_through_ms,
        landed_at_ms: clock::now_us() / 1000,
    }
}

fn log(topic: &str, committed: &Committed, is_quiet: bool) {
    let (rows, dead_letters, files) =
        (committed.ledger.rows, committed.ledger.dead_letters, committed.num_files);
    let (snapshot_id, attempts) = (committed.snapshot_id, committed.attempts);
    let seconds = committed.cost.as_secs_f64();
    if is_quiet {
        debug!(topic, rows, dead_letters, files, snapshot_id, attempts, seconds, "committed topic");
    } else {
        info!(topic, rows, dead_letters, files, snapshot_id, attempts, seconds, "committed topic");
    }
}

fn count<K: Ord>(flush: &Flush, key: impl Fn(&DeadLetter) -> K) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    for letter in &flush.dead_letters {
        *counts.entry(key(letter)).or_default() += 1;
    }
    counts
}

fn books(partitions: &[PartitionCut], rows: u64, buried: &Buried) -> Ledger {
    Ledger {
        offsets: partitions.iter().map(|cut| u64::try_from(cut.run.to - cut.run.from).unwrap_or(0)).sum(),
        received: partitions.iter().map(|cut| cut.run.received).sum(),
        rows,
        dead_letters: buried.num_records,
        skipped_by_broker: partitions.iter().map(|cut| cut.run.skipped_by_broker).sum(),
    }
}

fn change(origin: &Origin, partitions: &[PartitionCut]) -> Change {
    let span = |cut: &PartitionCut| Span { expected: cut.expected, start: cut.run.from, end: cut.run.to };
    Change::Advance {
        topic: origin.topic.clone(),
        epoch: origin.epoch,
        source: origin.source.clone(),
        spans: partitions
            .iter()
            .filter(|cut| cut.changes_state())
            .map(|cut| (cut.partition, span(cut)))
            .collect(),
    }
}

/// Returns the instant up to which every record is covered, over all partitions of the commit.
fn valid_through(partitions: &[PartitionCut]) -> Option<i64> {
    let known: Option<Vec<i64>> = partitions.iter().map(|cut| cut.valid_through_ms).collect();
    known?.into_iter().min()
}

/// Returns further entries for the snapshot summary: accepted gaps and the instant up to which the table is complete.
fn summary(partitions: &[PartitionCut], valid_through_ms: Option<i64>) -> BTreeMap<String, String> {
    let mut summary = BTreeMap::new();
    let gaps: BTreeMap<i32, [i64; 2]> = partitions
        .iter()
        .filter_map(|cut| Some((cut.partition, [cut.expected?, cut.run.from])))
        .filter(|(_, [expected, from])| expected < from)
        .collect();
    if !gaps.is_empty() {
        // `{"7":[1205,1390]}`: offsets that were gone before they could be read; end exclusive.
        summary.insert("streamify.gap".to_owned(), serde_json::to_string(&gaps).unwrap_or_default());
    }
    if let Some(valid_through_ms) = valid_through_ms {
        summary.insert("streamify.valid-through-ms".to_owned(), valid_through_ms.to_string());
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Run;

    fn cut(partition: i32, expected: Option<i64>, run: Run, valid_through_ms: Option<i64>) -> PartitionCut {
        PartitionCut { partition, expected, run, valid_through_ms }
    }

    fn run(from: i64, to: i64, skipped_by_broker: u64) -> Run {
        Run { from, to, received: u64::try_from(to - from).unwrap() - skipped_by_broker, skipped_by_broker }
    }

    #[test]
    fn the_books_close_for_rows_dead_letters_and_skips() {
        let partitions = [cut(0, Some(5), run(5, 15, 2), None), cut(1, None, run(0, 3, 0), None)];
        let buried = Buried { num_records: 4, num_known: 1, ..Buried::default() };

        let ledger = books(&partitions, 7, &buried);

        assert_eq!(
            ledger,
            Ledger { offsets: 13, received: 11, rows: 7, dead_letters: 4, skipped_by_broker: 2 }
        );
        assert_eq!(ledger.check(), Ok(()));
        assert!(books(&partitions, 6, &buried).check().is_err(), "a lost row must show");
    }

    #[test]
    fn an_accepted_gap_stands_in_the_summary_and_not_in_the_books() {
        let partitions = [cut(7, Some(1205), run(1390, 1400, 0), None), cut(8, Some(1), run(1, 2, 0), None)];

        assert_eq!(summary(&partitions, None)["streamify.gap"], r#"{"7":[1205,1390]}"#);
        assert_eq!(books(&partitions, 11, &Buried::default()).check(), Ok(()));
    }

    #[test]
    fn a_table_is_valid_through_the_slowest_partition() {
        let partitions = [cut(0, None, run(0, 1, 0), Some(90)), cut(1, None, run(0, 1, 0), Some(70))];
        assert_eq!(valid_through(&partitions), Some(70));

        let unknown = [cut(0, None, run(0, 1, 0), Some(90)), cut(1, None, run(0, 0, 0), None)];
        assert_eq!(valid_through(&unknown), None);
    }

    #[test]
    fn partitions_that_did_not_move_are_left_out_of_the_change() {
        let source = streamify_core::state::SourceIdentity { cluster_id: "c".into(), topic_id: None };
        let origin = Origin { topic: "t".into(), epoch: 0, source };
        let partitions = [cut(0, Some(5), run(5, 5, 0), None), cut(1, Some(5), run(5, 6, 0), None)];

        let Change::Advance { spans, .. } = change(&origin, &partitions) else { panic!("not an advance") };

        assert_eq!(spans, BTreeMap::from([(1, Span { expected: Some(5), start: 5, end: 6 })]));
    }
}
