//! The exactly-once arithmetic: what a table says it has consumed, and how one commit may change that.
//!
//! A table holds the *next offset* of every topic-partition it was filled from, per source epoch. A commit declares,
//! for each partition it touches, the offset it expects to find, and where it ends; [`TableState::apply`] gives the new
//! state or says which expectation failed. Applying is all or nothing: on an error the state is unchanged.
//!
//! For a bronze table the stored offset is the end of everything committed. For the dead-letter table it is the end of
//! the last range that had dead letters, so its offsets move in jumps; the check is the same.
//!
//! | stored | change expects | outcome |
//! | --- | --- | --- |
//! | equal to the expectation | `expected` | applied, stored becomes `end` |
//! | nothing | nothing (first commit of the partition) | applied |
//! | equal to the end of the change | another offset | [`StateConflict::Offset`]: another writer committed this very range |
//! | anything else | | [`StateConflict::Offset`]: part of the range, or more, is there already, or the table went back |
//! | another epoch | | [`StateConflict::Epoch`] |
//! | another cluster or topic id | | [`StateConflict::Source`] |
//!
//! A table made from other tables (silver, sessions) holds for each of them the snapshot up to which it was read; there the
//! rule is the same: a change names what it was made for, and anything else is [`StateConflict::Consumed`].

mod error;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::error::{StateConflict, StateTextError};

/// Format version of the JSON form; readers refuse a newer one.
pub const STATE_VERSION: u32 = 1;

/// Which Kafka topic offsets belong to: they mean nothing on another cluster or on a topic that was made anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Cluster id as the broker tells it (or the configured override).
    pub cluster_id: String,
    /// Topic id (KIP-516); `None` where the broker does not know topic ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

impl SourceIdentity {
    /// Whether offsets of `self` are offsets of `other`. An unknown topic id matches any.
    pub fn matches(&self, other: &SourceIdentity) -> bool {
        let same_topic = match (&self.topic_id, &other.topic_id) {
            (Some(left), Some(right)) => left == right,
            _ => true,
        };
        self.cluster_id == other.cluster_id && same_topic
    }
}

impl fmt::Display for SourceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cluster `{}`, topic id `{}`",
            self.cluster_id,
            self.topic_id.as_deref().unwrap_or("unknown")
        )
    }
}

/// Offsets consumed of one epoch of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EpochState {
    /// 0, and one more at each explicit adoption of a re-created topic or of another cluster.
    pub epoch: u32,
    /// Where the offsets come from.
    pub source: SourceIdentity,
    /// Next offset to read per partition: everything below is in the table.
    #[serde(default)]
    pub next: BTreeMap<i32, i64>,
}

/// What a table knows of one topic: the current epoch and how the former ones ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicState {
    /// The epoch that grows.
    pub current: EpochState,
    /// Former epochs, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<EpochState>,
}

/// How far another table has been read by the table that holds this.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Consumed {
    /// Identity of the table that was read.
    pub table_uuid: String,
    /// Its last snapshot that was read.
    pub snapshot_id: i64,
    /// Sequence number of that snapshot; tells an expired snapshot from a rolled back one.
    pub sequence_number: i64,
    /// The offsets that the table held then; where the snapshot has expired they tell what is new.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<String, TopicState>,
}

/// What the sessions table remembers of the events it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionProgress {
    /// Largest event time consumed, ms since 1970-01-01T00:00:00Z.
    pub watermark_ms: i64,
    /// First day (days since 1970-01-01) with a session that is still open; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_from_day: Option<i32>,
}

/// All that a table has consumed: offsets by topic, and other tables. Its JSON form stands in the snapshot summary and in a
/// table property.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableState {
    /// [`STATE_VERSION`]
    pub version: u32,
    /// State per topic name.
    #[serde(default)]
    pub topics: BTreeMap<String, TopicState>,
    /// How far other tables have been read, by table name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Consumed>,
    /// Only for the table of sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionProgress>,
}

impl Default for TableState {
    fn default() -> Self {
        TableState {
            version: STATE_VERSION,
            topics: BTreeMap::new(),
            sources: BTreeMap::new(),
            sessions: None,
        }
    }
}

/// The part of a change that concerns one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The stored next offset that this change was made for; `None`: the partition is new to the table.
    pub expected: Option<i64>,
    /// First offset covered. Above `expected` only where a gap was accepted, or at the first commit.
    pub start: i64,
    /// One past the last offset covered; becomes the stored offset.
    pub end: i64,
}

/// What a commit does to the state of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Offset ranges of one topic were consumed.
    Advance {
        /// topic name
        topic: String,
        /// epoch the offsets belong to
        epoch: u32,
        /// where the offsets come from
        source: SourceIdentity,
        /// ranges by partition
        spans: BTreeMap<i32, Span>,
    },
    /// A re-created topic, or another cluster, is adopted: a new epoch begins without offsets.
    Adopt {
        /// topic name
        topic: String,
        /// epoch that is left
        from_epoch: u32,
        /// the new identity
        source: SourceIdentity,
    },
    /// Another table was read up to a snapshot.
    Consume {
        /// name of the table that was read
        table: String,
        /// what this change was made for; `None`: the table was not read before
        expected: Option<Consumed>,
        /// what has been read now
        to: Consumed,
    },
    /// The sessions were brought up to a largest event time.
    Sessions(SessionProgress),
}

impl TableState {
    /// Reads the JSON form.
    pub fn from_json(text: &str) -> Result<Self, StateTextError> {
        let state: TableState = serde_json::from_str(text)
            .map_err(|source| StateTextError::Unreadable { text: text.to_string(), source })?;
        if state.version > STATE_VERSION {
            return Err(StateTextError::Newer { found: state.version });
        }
        Ok(state)
    }

    /// The JSON form; the same state always gives the same text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Stored next offset of a partition in the current epoch of a topic.
    pub fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.topics.get(topic)?.current.next.get(&partition).copied()
    }

    /// The state after all of `changes`, in order; on an error nothing is applied.
    pub fn apply<'a>(
        &self,
        changes: impl IntoIterator<Item = &'a Change>,
    ) -> Result<TableState, StateConflict> {
        let mut new = self.clone();
        for change in changes {
            match change {
                Change::Advance { topic, epoch, source, spans } => {
                    new.advance(topic, *epoch, source, spans)?
                }
                Change::Adopt { topic, from_epoch, source } => new.adopt(topic, *from_epoch, source)?,
                Change::Consume { table, expected, to } => new.consume(table, expected.as_ref(), to)?,
                Change::Sessions(progress) => new.sessions = Some(*progress),
            }
        }
        Ok(new)
    }

    fn advance(
        &mut self,
        topic: &str,
        epoch: u32,
        source: &SourceIdentity,
        spans: &BTreeMap<i32, Span>,
    ) -> Result<(), StateConflict> {
        let state = self.topics.entry(topic.to_string()).or_insert_with(|| TopicState {
            current: EpochState { epoch, source: source.clone(), next: BTreeMap::new() },
            past: Vec::new(),
        });
        let current = &mut state.current;
        if current.epoch != epoch {
            return Err(StateConflict::Epoch {
                topic: topic.to_string(),
                stored: current.epoch,
                expected: epoch,
            });
        }
        if !current.source.matches(source) {
            return Err(StateConflict::Source {
                topic: topic.to_string(),
                stored: current.source.clone(),
                found: source.clone(),
            });
        }
        if current.source.topic_id.is_none() {
            current.source.topic_id = source.topic_id.clone();
        }
        for (&partition, span) in spans {
            check_span(topic, partition, current.next.get(&partition).copied(), span)?;
            current.next.insert(partition, span.end);
        }
        Ok(())
    }

    fn adopt(&mut self, topic: &str, from_epoch: u32, source: &SourceIdentity) -> Result<(), StateConflict> {
        let Some(state) = self.topics.get_mut(topic) else {
            return Err(StateConflict::Epoch { topic: topic.to_string(), stored: 0, expected: from_epoch });
        };
        if state.current.epoch != from_epoch {
            return Err(StateConflict::Epoch {
                topic: topic.to_string(),
                stored: state.current.epoch,
                expected: from_epoch,
            });
        }
        let begun = EpochState { epoch: from_epoch + 1, source: source.clone(), next: BTreeMap::new() };
        let ended = std::mem::replace(&mut state.current, begun);
        state.past.push(ended);
        Ok(())
    }

    fn consume(
        &mut self,
        table: &str,
        expected: Option<&Consumed>,
        to: &Consumed,
    ) -> Result<(), StateConflict> {
        let stored = self.sources.get(table);
        if stored != expected {
            return Err(StateConflict::Consumed {
                table: table.to_string(),
                stored: stored.cloned().map(Box::new),
                expected: expected.cloned().map(Box::new),
            });
        }
        self.sources.insert(table.to_string(), to.clone());
        Ok(())
    }
}

fn check_span(topic: &str, partition: i32, stored: Option<i64>, span: &Span) -> Result<(), StateConflict> {
    let floor = span.expected.unwrap_or(span.start);
    if span.start < floor || span.end < span.start {
        return Err(StateConflict::InvalidSpan {
            topic: topic.to_string(),
            partition,
            expected: span.expected,
            start: span.start,
            end: span.end,
        });
    }
    if stored != span.expected {
        return Err(StateConflict::Offset {
            topic: topic.to_string(),
            partition,
            stored,
            expected: span.expected,
            start: span.start,
            end: span.end,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
