//! The dead-letter table's committer, shared by all topics.
//!
//! Dead letters of a range are committed before the range's rows. If the worker dies in between, the range is read again:
//! the table holds, per partition, the end of the last range that had any, so where that lies above bronze's offset the
//! letters between the two are looked up ([`known`]). What is among them stays a dead letter and is not written again,
//! whatever contract or limits say by now; everything else is decided anew. So each offset is in one table once, and
//! counted in the books of the bronze commit that lands. Letters that were replayed are rows, and no letters any more:
//! where their range is read again (a bronze table that was dropped), they too are decided anew.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Date32Type, Int64Type};
use arrow::error::ArrowError;
use iceberg::expr::Reference;
use iceberg::spec::{DataFile, Datum};
use streamify_core::dead_letter::{self, DeadLetter};
use streamify_core::state::{Change, SourceIdentity, Span, TableState};
use streamify_core::{PartitionKey, Reason};
use streamify_lake::DataFileWriter;
use streamify_lake::commit::{Commit, Committer};
use tokio::sync::Mutex;
use tracing::info;
use uuid::Uuid;

use crate::buffer::PartitionCut;
use crate::clock;
use crate::days::footer;
use crate::error::StreamError;
use crate::kafka::{Start, TopicPartition};

/// What became of a range's dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buried {
    /// Records in the table now: those written, and those an earlier attempt had written.
    pub num_records: u64,
    /// Of these, the ones an earlier attempt had written.
    pub num_known: u64,
    /// Files added.
    pub num_files: u64,
    /// Bytes added.
    pub num_bytes: u64,
    /// The snapshot, if there was something to add.
    pub snapshot_id: Option<i64>,
}

/// Where a range comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Topic.
    pub topic: String,
    /// Source epoch.
    pub epoch: u32,
    /// Identity of the source.
    pub source: SourceIdentity,
}

/// The reasons of dead letters that are in the table already, by offset.
pub type Letters = BTreeMap<i64, Reason>;

/// Looks up the dead letters that an earlier attempt has committed without its rows: those of `start`'s partition, in the
/// epoch of `origin`, from its offset on. Asks the store only if the table's state says that there may be some.
///
/// # Errors
/// The table cannot be read.
pub async fn known(table: &Committer, origin: &Origin, start: &Start) -> Result<Letters, StreamError> {
    let partition = start.partition.partition;
    if stored(table.state(), origin, partition).is_none_or(|end| end <= start.offset) {
        return Ok(Letters::new());
    }
    let epoch = i32::try_from(origin.epoch).unwrap_or(i32::MAX);
    let filter = Reference::new("topic")
        .equal_to(Datum::string(&origin.topic))
        .and(Reference::new("source_epoch").equal_to(Datum::int(epoch)))
        .and(Reference::new("partition").equal_to(Datum::int(partition)))
        .and(Reference::new("offset").greater_than_or_equal_to(Datum::long(start.offset)))
        .and(Reference::new("replayed").equal_to(Datum::bool(false)));
    let batches = table.table().read(&["offset", "reason"], filter).await?;
    let letters = letters(&batches)
        .map_err(|source| StreamError::Rows { topic: dead_letter::TABLE.to_owned(), source })?;
    info!(partition = %start.partition, from = start.offset, letters = letters.len(), "dead letters of an attempt whose rows did not land are kept");
    Ok(letters)
}

/// Reads offsets and reasons. A column that cannot be read is an error: letters that were overlooked would be written twice.
fn letters(batches: &[RecordBatch]) -> Result<Letters, ArrowError> {
    let unreadable =
        |name: &str| ArrowError::SchemaError(format!("column `{name}` has another type than expected"));
    let mut letters = Letters::new();
    for batch in batches {
        let offsets =
            batch.column_by_name("offset").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let reasons = batch.column_by_name("reason").and_then(|column| column.as_string_opt::<i32>());
        let offsets = offsets.ok_or_else(|| unreadable("offset"))?;
        let reasons = reasons.ok_or_else(|| unreadable("reason"))?;
        for (offset, reason) in offsets.values().iter().zip(reasons) {
            // A code that this version does not know is still a dead letter; the reason is for the report only.
            letters.insert(*offset, reason.and_then(Reason::from_code).unwrap_or(Reason::NotJson));
        }
    }
    Ok(letters)
}

/// The one committer of the table.
#[derive(Debug)]
pub struct DeadLetters {
    appender: Mutex<Committer>,
    known: BTreeMap<TopicPartition, Letters>,
}

impl DeadLetters {
    /// Wraps the table's appender; `known` are letters of this session's epochs that are in the table already.
    pub fn new(appender: Committer, known: BTreeMap<TopicPartition, Letters>) -> Self {
        Self { appender: Mutex::new(appender), known }
    }

    /// Puts the dead letters of a range into the table, those that are not there yet.
    ///
    /// # Errors
    /// The file could not be written or the commit did not land. Nothing of the range may be committed to bronze then.
    pub async fn bury(
        &self,
        origin: &Origin,
        letters: Vec<DeadLetter>,
        partitions: &[PartitionCut],
    ) -> Result<Buried, StreamError> {
        if letters.is_empty() {
            return Ok(Buried::default());
        }
        let mut appender = self.appender.lock().await;
        let (letters, num_known) = unknown(&self.known, letters);
        let mut buried = Buried { num_records: num_known, num_known, ..Buried::default() };
        if letters.is_empty() {
            return Ok(buried);
        }
        let changes = changes(appender.state(), origin, &letters, partitions);
        let commit_id = Uuid::now_v7();
        let files = write(&appender, origin, commit_id, letters, partitions).await?;
        for file in &files {
            buried.num_records += file.record_count();
            buried.num_files += 1;
            buried.num_bytes += file.file_size_in_bytes();
        }
        let append = Commit { commit_id, files, changes, ..Commit::default() };
        buried.snapshot_id = appender.commit(append).await?.snapshot_id;
        Ok(buried)
    }
}

/// Drops what the table has already; returns the rest and the number dropped.
fn unknown(
    known: &BTreeMap<TopicPartition, Letters>,
    mut letters: Vec<DeadLetter>,
) -> (Vec<DeadLetter>, u64) {
    let num_all = letters.len();
    if !known.is_empty() {
        letters.retain(|letter| {
            let of_partition = known.get(&TopicPartition::new(letter.topic.clone(), letter.partition));
            of_partition.is_none_or(|letters| !letters.contains_key(&letter.offset))
        });
    }
    let num_known = num_all - letters.len();
    (letters, num_known as u64)
}

/// Returns the end of the last range with dead letters, in the epoch of `origin`.
fn stored(state: &TableState, origin: &Origin, partition: i32) -> Option<i64> {
    let current = &state.topics.get(&origin.topic)?.current;
    if current.epoch != origin.epoch {
        return None;
    }
    current.next.get(&partition).copied()
}

fn changes(
    state: &TableState,
    origin: &Origin,
    letters: &[DeadLetter],
    partitions: &[PartitionCut],
) -> Vec<Change> {
    let mut changes = Vec::new();
    // Bronze adopted the new source at a start; this table follows with the first dead letter of the new epoch.
    if let Some(known) = state.topics.get(&origin.topic) {
        for from_epoch in known.current.epoch..origin.epoch {
            let (topic, source) = (origin.topic.clone(), origin.source.clone());
            changes.push(Change::Adopt { topic, from_epoch, source });
        }
    }
    let has_letters = |partition: i32| letters.iter().any(|letter| letter.partition == partition);
    let spans = partitions.iter().filter(|cut| has_letters(cut.partition)).map(|cut| {
        let expected = stored(state, origin, cut.partition);
        // The state may be ahead: letters of this range were committed before, and there are new ones among them.
        let floor = expected.unwrap_or(cut.run.from);
        (cut.partition, Span { expected, start: cut.run.from.max(floor), end: cut.run.to.max(floor) })
    });
    changes.push(Change::Advance {
        topic: origin.topic.clone(),
        epoch: origin.epoch,
        source: origin.source.clone(),
        spans: spans.collect(),
    });
    changes
}

async fn write(
    appender: &Committer,
    origin: &Origin,
    commit_id: Uuid,
    letters: Vec<DeadLetter>,
    partitions: &[PartitionCut],
) -> Result<Vec<DataFile>, StreamError> {
    let rows = |source| StreamError::Rows { topic: dead_letter::TABLE.to_owned(), source };
    let built = tokio::task::spawn_blocking(move || {
        let batch = dead_letter::to_batch(&letters, clock::now_us())?;
        drop(letters);
        by_day(&batch)
    });
    let days = match built.await {
        Ok(days) => days.map_err(rows)?,
        Err(_) => return Err(StreamError::Stopped { part: "writing dead letters".to_owned() }),
    };
    let ranges = partitions.iter().map(|cut| (cut.partition, (cut.run.from, cut.run.to))).collect();
    let footer = footer(commit_id, &origin.topic, origin.epoch, &ranges);
    let failed = |source| StreamError::File { table: dead_letter::TABLE.to_owned(), source };
    let mut files = Vec::with_capacity(days.len());
    for (number, (day, batch)) in days.into_iter().enumerate() {
        let stem = format!("{commit_id}-{number}");
        let mut writer = DataFileWriter::create(appender.table(), PartitionKey::EventDate(day), &stem)
            .await
            .map_err(failed)?;
        writer.write_row_group(&batch).await.map_err(failed)?;
        files.push(writer.close(&footer, false).await.map_err(failed)?);
    }
    Ok(files)
}

fn by_day(batch: &RecordBatch) -> Result<Vec<(i32, RecordBatch)>, ArrowError> {
    let missing = || ArrowError::SchemaError("dead letters have no `event_date`".to_owned());
    let days = batch.column_by_name("event_date").and_then(|column| column.as_primitive_opt::<Date32Type>());
    let mut rows: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for (row, day) in (0u32..).zip(days.ok_or_else(missing)?.values()) {
        rows.entry(*day).or_default().push(row);
    }
    rows.into_iter()
        .map(|(day, rows)| Ok((day, take_record_batch(batch, &UInt32Array::from(rows))?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Run;

    fn letter(partition: i32, offset: i64) -> DeadLetter {
        DeadLetter {
            topic: "t".into(),
            partition,
            offset,
            timestamp_ms: Some(1_790_000_000_000),
            key: None,
            headers: Vec::new(),
            value: Some(b"{".to_vec()),
            reason: Reason::NotJson,
            message: "not JSON".into(),
            contract_version: 1,
            source_epoch: 0,
        }
    }

    fn origin(epoch: u32) -> Origin {
        let source = SourceIdentity { cluster_id: format!("c{epoch}"), topic_id: None };
        Origin { topic: "t".into(), epoch, source }
    }

    fn cut(partition: i32, from: i64, to: i64) -> PartitionCut {
        let run = Run { from, to, received: 0, skipped_by_broker: 0 };
        PartitionCut { partition, expected: Some(from), run, valid_through_ms: None }
    }

    fn after(
        letters: &[DeadLetter],
        partitions: &[PartitionCut],
        state: &TableState,
        epoch: u32,
    ) -> TableState {
        state.apply(&changes(state, &origin(epoch), letters, partitions)).unwrap()
    }

    #[test]
    fn what_an_earlier_attempt_wrote_is_dropped_and_counted() {
        let state = after(&[letter(0, 5)], &[cut(0, 0, 10)], &TableState::default(), 0);
        let known = BTreeMap::from([(TopicPartition::new("t", 0), Letters::from([(5, Reason::NotJson)]))]);

        // Bronze did not land, so the range is read again, and a little further; offset 7 was a row then.
        let again = vec![letter(0, 5), letter(0, 7), letter(0, 12), letter(1, 3)];
        let (left, num_known) = unknown(&known, again);

        assert_eq!(num_known, 1);
        assert_eq!(left.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [7, 12, 3]);
        let state = after(&left, &[cut(0, 0, 20), cut(1, 0, 4)], &state, 0);
        assert_eq!((state.next_offset("t", 0), state.next_offset("t", 1)), (Some(20), Some(4)));
    }

    #[test]
    fn letters_are_read_back_as_they_were_written_or_not_at_all() {
        let batch = dead_letter::to_batch(&[letter(0, 5), letter(0, 9)], 0).unwrap();

        assert_eq!(
            letters(std::slice::from_ref(&batch)).unwrap(),
            Letters::from([(5, Reason::NotJson), (9, Reason::NotJson)])
        );
        let without_reason = batch.project(&[batch.schema().index_of("offset").unwrap()]).unwrap();
        assert!(letters(&[without_reason]).unwrap_err().to_string().contains("`reason`"));
    }

    #[test]
    fn partitions_without_dead_letters_do_not_move() {
        let state = after(&[letter(0, 5)], &[cut(0, 0, 10), cut(1, 0, 10)], &TableState::default(), 0);

        assert_eq!((state.next_offset("t", 0), state.next_offset("t", 1)), (Some(10), None));
    }

    #[test]
    fn new_letters_below_the_state_leave_it_where_it_is() {
        let state = after(&[letter(0, 5)], &[cut(0, 0, 10)], &TableState::default(), 0);

        let state = after(&[letter(0, 3)], &[cut(0, 0, 4)], &state, 0);

        assert_eq!(state.next_offset("t", 0), Some(10));
    }

    #[test]
    fn a_new_epoch_is_followed() {
        let state = after(&[letter(0, 5)], &[cut(0, 0, 10)], &TableState::default(), 0);

        let state = after(&[letter(0, 1)], &[cut(0, 0, 2)], &state, 2);
        assert_eq!(state.topics["t"].current.epoch, 2);
        assert_eq!(state.next_offset("t", 0), Some(2));
    }

    #[test]
    fn letters_are_divided_by_the_day_of_their_timestamp() {
        let mut late = letter(0, 1);
        late.timestamp_ms = Some(1_790_000_000_000 + 86_400_000);
        let batch = dead_letter::to_batch(&[letter(0, 0), late, letter(0, 2)], 0).unwrap();

        let days = by_day(&batch).unwrap();

        assert_eq!(days.iter().map(|(_, rows)| rows.num_rows()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(days[1].0 - days[0].0, 1);
    }
}
