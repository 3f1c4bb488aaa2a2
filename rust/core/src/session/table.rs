//! The table of sessions as batches: new rows, and rows that are there already.

use std::sync::Arc;

use arrow::array::builder::{Int64Builder, ListBuilder, StringBuilder};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType};

use super::actor::{Actor, Runs};
use super::row::{Session, is_closed};
use super::source::{Texts, booleans, lists, longs, required, texts, times};
use super::track::Tracks;
use super::{SessionError, columns::columns};
use crate::contract::{ELEMENT, UTC, schema_of};
use crate::identity::{EVENT_ID_DIGITS, hex};

/// Text and list entries of one batch: small enough for 32-bit Arrow offsets, large enough to write well.
const BATCH_BYTES: usize = 32 << 20;
/// Bytes of a song, an artist or a page for which room is made.
const TEXT_BYTES: usize = 16;
const ARROW_BYTES: usize = i32::MAX as usize;

/// Returns the sessions as batches of the table's columns; all of them begin on `day`.
pub(super) fn batches(
    day: i32,
    sessions: &[&Session],
    names: (&Runs, &Tracks),
    watermark_ms: i64,
    processed_at_us: i64,
) -> Result<Vec<RecordBatch>, SessionError> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0_usize);
    for (row, session) in sessions.iter().enumerate() {
        let size = session.text_bytes;
        if size > ARROW_BYTES {
            return Err(SessionError::TooLarge { day, started_ms: session.started_ms, bytes: size });
        }
        if row > from && bytes + size > BATCH_BYTES {
            batches.push(batch(&sessions[from..row], names, watermark_ms, processed_at_us)?);
            (from, bytes) = (row, 0);
        }
        bytes += size;
    }
    if from < sessions.len() {
        batches.push(batch(&sessions[from..], names, watermark_ms, processed_at_us)?);
    }
    Ok(batches)
}

fn batch(
    sessions: &[&Session],
    (runs, tracks): (&Runs, &Tracks),
    watermark_ms: i64,
    processed_at_us: i64,
) -> Result<RecordBatch, SessionError> {
    let rows = Rows(sessions);
    let (songs, artists) = rows.played(tracks);
    let processed_at = std::iter::repeat_n(processed_at_us, sessions.len());
    let user = |session: &Session| match session.actor {
        Actor::User { user, .. } => Some(user),
        Actor::Visitor { .. } => None,
    };
    let arrays = vec![
        rows.keys(),
        rows.dates(),
        rows.texts(|session| runs.name(session.actor.run())),
        Arc::new(sessions.iter().map(|session| user(session)).collect::<Int64Array>()) as ArrayRef,
        rows.session_ids(),
        rows.times(|session| session.started_ms),
        rows.times(|session| session.ended_ms),
        rows.longs(|session| session.ended_ms - session.started_ms),
        rows.ints(Session::events),
        rows.ints(|session| session.listens),
        rows.ints(|session| session.page_views),
        rows.ints(|session| session.auths),
        rows.ints(|session| session.status_changes),
        rows.doubles(|session| session.listen_seconds),
        songs,
        artists,
        rows.pages(),
        rows.texts(|session| session.first_level.as_deref()),
        rows.texts(|session| session.last_level.as_deref()),
        rows.booleans(|session| session.level_changed),
        rows.texts(|session| session.city.as_deref()),
        rows.texts(|session| session.state.as_deref()),
        rows.ints(|session| session.first_item),
        rows.booleans(Session::is_left_truncated),
        rows.booleans(|session| is_closed(session.ended_ms, watermark_ms)),
        Arc::new(zoned(processed_at)) as ArrayRef,
    ];
    Ok(RecordBatch::try_new(schema_of(&columns()), arrays)?)
}

fn zoned(times_us: impl Iterator<Item = i64>) -> PrimitiveArray<TimestampMicrosecondType> {
    PrimitiveArray::from_iter_values(times_us).with_timezone(UTC)
}

/// Sessions by column.
struct Rows<'a>(&'a [&'a Session]);

impl<'a> Rows<'a> {
    fn keys(&self) -> ArrayRef {
        let mut keys = StringBuilder::with_capacity(self.0.len(), self.0.len() * EVENT_ID_DIGITS);
        for session in self.0 {
            keys.append_value(String::from_utf8_lossy(&hex(&session.key)));
        }
        Arc::new(keys.finish())
    }

    fn dates(&self) -> ArrayRef {
        let dates = self.0.iter().map(|session| session.start_day());
        Arc::new(Date32Array::from_iter_values(dates))
    }

    fn texts(&self, text: impl Fn(&'a Session) -> Option<&'a str>) -> ArrayRef {
        Arc::new(self.0.iter().map(|session| text(session)).collect::<StringArray>())
    }

    fn times(&self, time_ms: impl Fn(&Session) -> i64) -> ArrayRef {
        Arc::new(zoned(self.0.iter().map(|session| time_ms(session).saturating_mul(1_000))))
    }

    fn longs(&self, number: impl Fn(&Session) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(self.0.iter().map(|session| number(session))))
    }

    fn ints(&self, number: impl Fn(&Session) -> i32) -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(self.0.iter().map(|session| number(session))))
    }

    fn doubles(&self, number: impl Fn(&Session) -> f64) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(self.0.iter().map(|session| number(session))))
    }

    fn booleans(&self, flag: impl Fn(&Session) -> bool) -> ArrayRef {
        Arc::new(self.0.iter().map(|session| Some(flag(session))).collect::<BooleanArray>())
    }

    /// Returns the lists of songs and of artists.
    fn played(&self, tracks: &Tracks) -> (ArrayRef, ArrayRef) {
        let entries = self.0.iter().map(|session| session.num_played()).sum();
        let (mut songs, mut artists) = (self.lists(entries), self.lists(entries));
        for session in self.0 {
            for (song, artist) in session.played(tracks) {
                songs.values().append_value(song);
                artists.values().append_value(artist);
            }
            songs.append(true);
            artists.append(true);
        }
        (Arc::new(songs.finish()), Arc::new(artists.finish()))
    }

    fn pages(&self) -> ArrayRef {
        let mut pages = self.lists(self.0.iter().map(|session| session.pages.len()).sum());
        for session in self.0 {
            session.pages.iter().for_each(|page| pages.values().append_value(page));
            pages.append(true);
        }
        Arc::new(pages.finish())
    }

    /// Begins lists of texts with so many entries in all.
    fn lists(&self, entries: usize) -> ListBuilder<StringBuilder> {
        let texts = StringBuilder::with_capacity(entries, entries * TEXT_BYTES);
        let field = Field::new(ELEMENT, DataType::Utf8, false);
        ListBuilder::with_capacity(texts, self.0.len()).with_field(field)
    }

    fn session_ids(&self) -> ArrayRef {
        let field = Field::new(ELEMENT, DataType::Int64, false);
        let mut builder = ListBuilder::new(Int64Builder::new()).with_field(field);
        for session in self.0 {
            for id in &session.session_ids {
                builder.values().append_value(*id);
            }
            builder.append(true);
        }
        Arc::new(builder.finish())
    }
}

/// Rows that are in the table already.
pub(super) struct Stored<'a> {
    batch: &'a RecordBatch,
    runs: Texts,
    users: &'a Int64Array,
    session_ids: &'a ListArray,
    ended_us: &'a [i64],
    closed: &'a BooleanArray,
}

impl<'a> Stored<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, SessionError> {
        Ok(Self {
            batch,
            runs: texts(batch, "run_id")?,
            users: longs(batch, "user_id")?,
            session_ids: required(lists(batch, "session_ids")?, "session_ids")?,
            ended_us: required(times(batch, "ended_at")?, "ended_at")?.values(),
            closed: required(booleans(batch, "is_closed")?, "is_closed")?,
        })
    }

    /// Returns whether a row is to be closed now, and whether one stays open.
    pub(super) fn closing_and_open(&self, watermark_ms: i64) -> (bool, bool) {
        let closes = |row: usize| is_closed(self.ended_us[row].div_euclid(1_000), watermark_ms);
        let rows = 0..self.ended_us.len();
        (
            rows.clone().any(|row| closes(row) != self.closed.value(row)),
            rows.into_iter().any(|row| !closes(row)),
        )
    }

    /// Returns the rows of people for whom `keep` holds, `is_closed` as of the watermark.
    pub(super) fn kept(
        &self,
        runs: &mut Runs,
        watermark_ms: i64,
        keep: impl Fn(Actor) -> bool,
    ) -> Result<RecordBatch, SessionError> {
        let mask = (0..self.batch.num_rows()).map(|row| Ok(Some(keep(self.actor(row, runs)?))));
        let mask: BooleanArray = mask.collect::<Result<_, SessionError>>()?;
        let closed = self.ended_us.iter().map(|us| Some(is_closed(us.div_euclid(1_000), watermark_ms)));
        let closed: ArrayRef = Arc::new(closed.collect::<BooleanArray>());
        let schema = self.batch.schema();
        let place = schema.index_of("is_closed")?;
        let mut columns = self.batch.columns().to_vec();
        columns[place] = closed;
        Ok(filter_record_batch(&RecordBatch::try_new(schema, columns)?, &mask)?)
    }

    fn actor(&self, row: usize, runs: &mut Runs) -> Result<Actor, SessionError> {
        let run = self.runs.code(row).map_or("", |code| self.runs.text(code));
        let run = runs.id(run);
        if self.users.is_valid(row) {
            return Ok(Actor::user(run, self.users.value(row)));
        }
        let ids = self.session_ids.value(row);
        let ids = ids.as_primitive_opt::<Int64Type>();
        let first = ids.and_then(|ids| ids.values().first().copied());
        let session = first.ok_or(SessionError::Null { column: "session_ids", nulls: 1 })?;
        Ok(Actor::visitor((run, session)))
    }
}
