//! What stands against a change of a table's state.

use super::{Consumed, STATE_VERSION, SourceIdentity};

/// The table is not in the state that a change was made for. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateConflict {
    /// A partition's stored offset is not the expected one.
    #[error(
        "topic `{topic}` partition {partition}: the table is at offset {}, the commit of [{start}, {end}) expects {}",
        shown(*stored), shown(*expected)
    )]
    Offset {
        /// topic name
        topic: String,
        /// partition number
        partition: i32,
        /// offset in the table
        stored: Option<i64>,
        /// offset expected
        expected: Option<i64>,
        /// first offset of the change
        start: i64,
        /// one past its last
        end: i64,
    },
    /// The epoch has moved on (or never began).
    #[error(
        "topic `{topic}`: the table is in source epoch {stored}, the commit was made for epoch {expected}"
    )]
    Epoch {
        /// topic name
        topic: String,
        /// epoch in the table
        stored: u32,
        /// epoch of the change
        expected: u32,
    },
    /// The offsets in the table belong to another topic or cluster.
    #[error("topic `{topic}`: the table was filled from {stored}, the records come from {found}")]
    Source {
        /// topic name
        topic: String,
        /// identity in the table
        stored: SourceIdentity,
        /// identity of the records
        found: SourceIdentity,
    },
    /// Another table was read on from a different place.
    #[error(
        "table `{table}` has been read up to {}, the commit was made for {}",
        shown_consumed(stored.as_deref()), shown_consumed(expected.as_deref())
    )]
    Consumed {
        /// name of the table that was read
        table: String,
        /// what the state says
        stored: Option<Box<Consumed>>,
        /// what the change was made for
        expected: Option<Box<Consumed>>,
    },
    /// A span runs backwards.
    #[error("topic `{topic}` partition {partition}: invalid range [{start}, {end}) after {}", shown(*expected))]
    InvalidSpan {
        /// topic name
        topic: String,
        /// partition number
        partition: i32,
        /// offset expected
        expected: Option<i64>,
        /// first offset
        start: i64,
        /// one past the last
        end: i64,
    },
}

/// The stored text is not a state this version can read.
#[derive(Debug, thiserror::Error)]
pub enum StateTextError {
    /// Not the JSON we write.
    #[error("the stored state is not readable: `{text}`")]
    Unreadable {
        /// the text found
        text: String,
        /// what the JSON parser said
        #[source]
        source: serde_json::Error,
    },
    /// Written by a newer version.
    #[error("the stored state has format version {found}, this version reads up to {STATE_VERSION}")]
    Newer {
        /// version found
        found: u32,
    },
}

fn shown(offset: Option<i64>) -> String {
    offset.map_or_else(|| "none".to_string(), |offset| offset.to_string())
}

fn shown_consumed(consumed: Option<&Consumed>) -> String {
    consumed.map_or_else(
        || "nothing".to_string(),
        |consumed| format!("snapshot {} of table uuid `{}`", consumed.snapshot_id, consumed.table_uuid),
    )
}
