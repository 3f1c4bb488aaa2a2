//! The tables of the truth and their columns.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, StringArray},
    datatypes::DataType,
};

use super::table::Row;

fn longs<R>(rows: &[R], get: impl Fn(&R) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(get)))
}

fn texts<R>(rows: &[R], get: impl Fn(&R) -> &str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(get)))
}

const LONG: DataType = DataType::Int64;
const TEXT: DataType = DataType::Utf8;

/// What a topic got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicRow {
    /// The topic.
    pub topic: &'static str,
    /// Everything delivered.
    pub deliveries: i64,
    /// Deliveries that are sound events, second deliveries included.
    pub rows: i64,
    /// Deliveries that the contracts refuse.
    pub dead_letters: i64,
    /// Different events among the rows, of all runs told.
    pub distinct_events: i64,
    /// Bytes of all values.
    pub bytes: i64,
}

impl Row for TopicRow {
    const NAME: &'static str = "topics";

    fn columns() -> Vec<(&'static str, DataType, bool)> {
        let counts = ["deliveries", "rows", "dead_letters", "distinct_events", "bytes"];
        [("topic", TEXT, false)].into_iter().chain(counts.map(|name| (name, LONG, false))).collect()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows, |row| row.topic),
            longs(rows, |row| row.deliveries),
            longs(rows, |row| row.rows),
            longs(rows, |row| row.dead_letters),
            longs(rows, |row| row.distinct_events),
            longs(rows, |row| row.bytes),
        ]
    }
}

/// A session as it truly was, as far as the run tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The run that tells it.
    pub run_id: Arc<str>,
    /// Its number in the run.
    pub session_id: i64,
    /// The listener, whether the events name them or not.
    pub user_id: i64,
    /// Time of the first page, milliseconds since 1970.
    pub start_ms: i64,
    /// Time of the last page; a song that plays then may end later.
    pub end_ms: i64,
    /// Number of the first page told; above 0 where the start of the run cuts the session.
    pub first_item: i64,
    /// Pages.
    pub num_pages: i64,
    /// Songs among them.
    pub num_songs: i64,
    /// Pages that do not name the listener.
    pub num_anonymous: i64,
}

impl Row for SessionRow {
    const NAME: &'static str = "sessions";

    fn columns() -> Vec<(&'static str, DataType, bool)> {
        let longs = [
            "session_id",
            "user_id",
            "start_ms",
            "end_ms",
            "first_item",
            "num_pages",
            "num_songs",
            "num_anonymous",
        ];
        [("run_id", TEXT, false)].into_iter().chain(longs.map(|name| (name, LONG, false))).collect()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows, |row| &row.run_id),
            longs(rows, |row| row.session_id),
            longs(rows, |row| row.user_id),
            longs(rows, |row| row.start_ms),
            longs(rows, |row| row.end_ms),
            longs(rows, |row| row.first_item),
            longs(rows, |row| row.num_pages),
            longs(rows, |row| row.num_songs),
            longs(rows, |row| row.num_anonymous),
        ]
    }
}

/// The person behind the anonymous pages of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonRow {
    /// The run.
    pub run_id: Arc<str>,
    /// The session.
    pub session_id: i64,
    /// Who it was.
    pub user_id: i64,
    /// Pages that do not say so.
    pub num_anonymous: i64,
    /// Pages of the session that do: with 0 nobody downstream can know.
    pub num_known: i64,
}

impl Row for PersonRow {
    const NAME: &'static str = "people";

    fn columns() -> Vec<(&'static str, DataType, bool)> {
        let longs = ["session_id", "user_id", "num_anonymous", "num_known"];
        [("run_id", TEXT, false)].into_iter().chain(longs.map(|name| (name, LONG, false))).collect()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows, |row| &row.run_id),
            longs(rows, |row| row.session_id),
            longs(rows, |row| row.user_id),
            longs(rows, |row| row.num_anonymous),
            longs(rows, |row| row.num_known),
        ]
    }
}

/// How often a song was played.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayRow {
    /// The run that tells it.
    pub run_id: Arc<str>,
    /// Number of the song in the catalogue; artist and title may not be unique.
    pub track: i64,
    /// Artist, as in the catalogue.
    pub artist: String,
    /// Title.
    pub song: String,
    /// Length in seconds.
    pub duration: f64,
    /// Plays, at least one.
    pub plays: i64,
}

impl Row for PlayRow {
    const NAME: &'static str = "plays";

    fn columns() -> Vec<(&'static str, DataType, bool)> {
        vec![
            ("run_id", TEXT, false),
            ("track", LONG, false),
            ("artist", TEXT, false),
            ("song", TEXT, false),
            ("duration", DataType::Float64, false),
            ("plays", LONG, false),
        ]
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows, |row| &row.run_id),
            longs(rows, |row| row.track),
            texts(rows, |row| &row.artist),
            texts(rows, |row| &row.song),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.duration))),
            longs(rows, |row| row.plays),
        ]
    }
}

/// A listener who cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChurnRow {
    /// The run.
    pub run_id: Arc<str>,
    /// Who.
    pub user_id: i64,
    /// Time of the first page as a former listener, milliseconds since 1970.
    pub ts_ms: i64,
}

impl Row for ChurnRow {
    const NAME: &'static str = "churners";

    fn columns() -> Vec<(&'static str, DataType, bool)> {
        vec![("run_id", TEXT, false), ("user_id", LONG, false), ("ts_ms", LONG, false)]
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![texts(rows, |row| &row.run_id), longs(rows, |row| row.user_id), longs(rows, |row| row.ts_ms)]
    }
}

/// A fault, at the delivery that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRow {
    /// Topic.
    pub topic: &'static str,
    /// Number of the delivery in its topic, from 0.
    pub ordinal: i64,
    /// `D1` to `D23`.
    pub fault: &'static str,
    /// The way.
    pub variant: &'static str,
    /// `altered`, `late` or `added`.
    pub effect: &'static str,
    /// What was done, in words.
    pub what: String,
    /// Reason of the dead letter that the delivery must become; null for a row.
    pub reason: Option<&'static str>,
    /// Run id on the delivery.
    pub run_id: Arc<str>,
    /// Id of the event that it happened to.
    pub event_id: String,
    /// Id of the row that the delivery must become; null for a dead letter.
    pub row_id: Option<String>,
    /// Session of the event.
    pub session_id: i64,
    /// Its number in the session.
    pub item: i64,
    /// Its time, milliseconds since 1970.
    pub ts_ms: i64,
    /// The listener it names.
    pub user_id: Option<i64>,
}

impl Row for FaultRow {
    const NAME: &'static str = "faults";

    fn columns() -> Vec<(&'static str, DataType, bool)> {
        vec![
            ("topic", TEXT, false),
            ("ordinal", LONG, false),
            ("fault", TEXT, false),
            ("variant", TEXT, false),
            ("effect", TEXT, false),
            ("what", TEXT, false),
            ("reason", TEXT, true),
            ("run_id", TEXT, false),
            ("event_id", TEXT, false),
            ("row_id", TEXT, true),
            ("session_id", LONG, false),
            ("item", LONG, false),
            ("ts_ms", LONG, false),
            ("user_id", LONG, true),
        ]
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows, |row| row.topic),
            longs(rows, |row| row.ordinal),
            texts(rows, |row| row.fault),
            texts(rows, |row| row.variant),
            texts(rows, |row| row.effect),
            texts(rows, |row| &row.what),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.reason))),
            texts(rows, |row| &row.run_id),
            texts(rows, |row| &row.event_id),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.row_id.as_deref()))),
            longs(rows, |row| row.session_id),
            longs(rows, |row| row.item),
            longs(rows, |row| row.ts_ms),
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.user_id))),
        ]
    }
}
