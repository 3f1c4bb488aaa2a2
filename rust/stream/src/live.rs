//! How far a running worker is, now: what is in the tables and what the brokers have, by partition.
//!
//! Written by the session, its committers and its watch; read by the endpoint and by the progress that Dagster is told. Who
//! waits for offsets is woken by each commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::control::Control;
use crate::report::Committed;

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Its number.
    pub partition: i32,
    /// Source epoch.
    pub epoch: u32,
    /// Everything below is in the table.
    pub next_offset: i64,
    /// The end of the partition; `None`: the brokers have not told yet.
    pub end_offset: Option<i64>,
    /// Records between the two.
    pub lag_records: Option<i64>,
}

/// One topic.
#[derive(Clone, Debug, Default)]
pub struct TopicPosition {
    /// By number.
    pub partitions: BTreeMap<i32, Position>,
    /// The table's newest snapshot that is known here.
    pub snapshot_id: Option<i64>,
    /// When the last commit landed, ms since 1970.
    pub committed_at_ms: Option<i64>,
    /// Every record up to here is in the table, ms since 1970.
    pub valid_through_ms: Option<i64>,
    /// How long the topic keeps its records, in ms.
    pub retention_ms: Option<i64>,
}

impl TopicPosition {
    /// Returns the records that are not in the table yet; `None` while the brokers have not told all ends, or nothing is read.
    pub fn lag_records(&self) -> Option<i64> {
        let sum: Option<i64> = self.partitions.values().map(|position| position.lag_records).sum();
        sum.filter(|_| !self.partitions.is_empty())
    }

    /// Returns the age of the instant up to which the table is complete, in seconds; 0 without lag, `None` if unknown.
    pub fn lag_seconds(&self, now_ms: i64) -> Option<f64> {
        match (self.lag_records(), self.valid_through_ms) {
            (Some(0), _) => Some(0.0),
            (_, Some(valid)) => Some((now_ms - valid).max(0) as f64 / 1000.0),
            _ => None,
        }
    }

    /// Returns the time until the topic drops a record that is not in the table, in seconds: below 0 it has begun.
    pub fn headroom_seconds(&self, now_ms: i64) -> Option<f64> {
        Some(self.retention_ms? as f64 / 1000.0 - self.lag_seconds(now_ms)?)
    }
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, TopicPosition>,
    /// Of the running session, with its topics by index.
    control: Option<(Arc<Control>, Vec<String>)>,
}

/// Shared by all who write and read.
pub struct Live {
    state: Mutex<State>,
    commits: watch::Sender<u64>,
}

impl Default for Live {
    fn default() -> Self {
        Self { state: Mutex::default(), commits: watch::Sender::new(0) }
    }
}

/// Where a session begins with a topic.
pub struct Beginning {
    /// Topic.
    pub topic: String,
    /// Source epoch.
    pub epoch: u32,
    /// The table's newest snapshot.
    pub snapshot_id: Option<i64>,
    /// First offset to read, by partition.
    pub starts: Vec<(i32, i64)>,
}

impl Live {
    /// A session begins: its topics in the order of their index.
    pub fn begin(&self, beginnings: Vec<Beginning>, control: Arc<Control>) {
        let mut state = self.lock();
        let names = beginnings.iter().map(|beginning| beginning.topic.clone()).collect();
        state.control = Some((control, names));
        let mut former = std::mem::take(&mut state.topics);
        for Beginning { topic, epoch, snapshot_id, starts } in beginnings {
            let mut position = former.remove(&topic).unwrap_or_default();
            position.snapshot_id = snapshot_id.or(position.snapshot_id);
            let ends = std::mem::take(&mut position.partitions);
            for (partition, next_offset) in starts {
                let end_offset = ends.get(&partition).and_then(|known| known.end_offset);
                position.partitions.insert(partition, at(partition, epoch, next_offset, end_offset));
            }
            state.topics.insert(topic, position);
        }
        drop(state);
        self.commits.send_modify(|number| *number += 1);
    }

    /// The session has ended; what is known stays.
    pub fn end(&self) {
        self.lock().control = None;
    }

    /// A commit has landed.
    pub fn committed(&self, committed: &Committed) {
        let mut state = self.lock();
        let topic = state.topics.entry(committed.topic.clone()).or_default();
        topic.snapshot_id = committed.snapshot_id.or(topic.snapshot_id);
        topic.committed_at_ms = Some(committed.landed_at_ms);
        topic.valid_through_ms = committed.valid_through_ms.or(topic.valid_through_ms);
        for cut in committed.partitions.iter().filter(|cut| cut.changes_state()) {
            let end_offset = topic.partitions.get(&cut.partition).and_then(|known| known.end_offset);
            let position = at(cut.partition, committed.epoch, cut.run.to, end_offset);
            topic.partitions.insert(cut.partition, position);
        }
        drop(state);
        self.commits.send_modify(|number| *number += 1);
    }

    /// The brokers tell the end of a partition.
    pub fn note_end(&self, topic: &str, partition: i32, end_offset: i64) {
        let mut state = self.lock();
        let known = state.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(&partition));
        if let Some(position) = known {
            *position = at(partition, position.epoch, position.next_offset, Some(end_offset));
        }
    }

    /// The brokers tell how long a topic keeps its records.
    pub fn note_retention(&self, topic: &str, retention_ms: Option<i64>) {
        if let Some(topic) = self.lock().topics.get_mut(topic) {
            topic.retention_ms = retention_ms;
        }
    }

    /// Returns one topic; `None` if it is not read.
    pub fn topic(&self, topic: &str) -> Option<TopicPosition> {
        self.lock().topics.get(topic).cloned()
    }

    /// Returns all topics by name.
    pub fn topics(&self) -> BTreeMap<String, TopicPosition> {
        self.lock().topics.clone()
    }

    /// Returns a receiver that changes with each commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Asks for commits of a topic as soon as there is something to commit, until the answer is dropped; `None` while no
    /// session runs.
    pub fn hurry(&self, topic: &str) -> Option<Hurry> {
        let state = self.lock();
        let (control, names) = state.control.as_ref()?;
        let index = names.iter().position(|name| name == topic)?;
        control.hurry(index, true);
        Some(Hurry { control: Arc::clone(control), index })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a topic's commits coming fast while it lives.
pub struct Hurry {
    control: Arc<Control>,
    index: usize,
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.control.hurry(self.index, false);
    }
}

fn at(partition: i32, epoch: u32, next_offset: i64, end_offset: Option<i64>) -> Position {
    // The brokers' word may be older than our last commit.
    let lag_records = end_offset.map(|end| (end - next_offset).max(0));
    Position { partition, epoch, next_offset, end_offset, lag_records }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(starts: &[(i32, i64)]) -> Live {
        let live = Live::default();
        let starts = starts.to_vec();
        let beginning = Beginning { topic: "t".into(), epoch: 2, snapshot_id: Some(5), starts };
        live.begin(vec![beginning], Control::new(1, 0));
        live
    }

    #[test]
    fn a_partition_without_a_commit_in_this_run_has_its_lag_too() {
        let live = live(&[(0, 100), (1, 7)]);
        live.note_end("t", 0, 100);
        assert_eq!(live.topic("t").unwrap().lag_records(), None, "one end is not known yet");

        live.note_end("t", 1, 10);

        let topic = live.topic("t").unwrap();
        assert_eq!((topic.lag_records(), topic.snapshot_id), (Some(3), Some(5)));
        assert_eq!(topic.partitions[&1].epoch, 2);
    }

    #[test]
    fn time_to_data_loss_is_what_lag_leaves_of_the_retention() {
        let live = live(&[(0, 100)]);
        live.note_end("t", 0, 150);
        live.note_retention("t", Some(60_000));
        let mut topic = live.topic("t").unwrap();
        assert_eq!(topic.headroom_seconds(1_000_000), None, "how old the lag is, nobody knows yet");

        topic.valid_through_ms = Some(990_000);
        assert_eq!(topic.headroom_seconds(1_000_000), Some(50.0));
        topic.partitions.insert(0, at(0, 2, 150, Some(150)));
        assert_eq!(topic.headroom_seconds(1_000_000), Some(60.0), "nothing lags");
        assert_eq!(TopicPosition::default().lag_records(), None, "nothing is read yet");
    }

    #[test]
    fn a_new_session_keeps_what_it_goes_on_with_and_forgets_what_it_lost() {
        let live = live(&[(0, 100), (1, 7)]);
        live.note_end("t", 0, 150);

        live.begin(
            vec![Beginning { topic: "t".into(), epoch: 2, snapshot_id: None, starts: vec![(0, 120)] }],
            Control::new(1, 0),
        );

        let topic = live.topic("t").unwrap();
        assert_eq!(topic.partitions.len(), 1);
        assert_eq!((topic.lag_records(), topic.snapshot_id), (Some(30), Some(5)));
    }

    #[test]
    fn who_is_in_a_hurry_says_so_only_as_long_as_it_waits() {
        let live = Live::default();
        let control = Control::new(1, 0);
        let beginning = Beginning { topic: "t".into(), epoch: 0, snapshot_id: None, starts: vec![] };
        live.begin(vec![beginning], Arc::clone(&control));

        let hurry = live.hurry("t");
        assert!(control.is_in_hurry(0));
        drop(hurry);
        assert!(!control.is_in_hurry(0));
        assert!(live.hurry("unknown").is_none());
        live.end();
        assert!(live.hurry("t").is_none());
    }
}
