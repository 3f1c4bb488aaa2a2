//! Narrow silver columns as they come: which ones each topic gives, and typed access to them.

use arrow::array::{
    Array, AsArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, make_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type,
};

use super::actor::{RunId, Runs, Who};
use super::{SessionError, day_of};

/// The topics that sessions are made of, in the order of events that are equal in time, session and item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `listen_events`
    Listen,
    /// `page_view_events`
    PageView,
    /// `auth_events`
    Auth,
    /// `status_change_events`
    StatusChange,
}

/// How much of a row is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Read {
    /// Who and when: `run_id`, `user_id`, `session_id`, `event_ts`.
    People,
    /// All that sessions are made of.
    Events,
}

const PEOPLE: &[&str] = &["run_id", "user_id", "session_id", "event_ts"];

impl Topic {
    /// All topics.
    pub const ALL: [Self; 4] = [Self::Listen, Self::PageView, Self::Auth, Self::StatusChange];

    /// Returns the topic of that name, `None` if sessions do not use it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "listen_events" => Some(Self::Listen),
            "page_view_events" => Some(Self::PageView),
            "auth_events" => Some(Self::Auth),
            "status_change_events" => Some(Self::StatusChange),
            _ => None,
        }
    }

    /// Returns the silver columns that a pushed batch must have; others are ignored.
    #[must_use]
    pub fn columns(self, read: Read) -> Vec<&'static str> {
        let more: &[&str] = match (read, self) {
            (Read::People, _) => &[],
            (Read::Events, Self::Listen) => &["level", "artist", "song", "duration"],
            (Read::Events, Self::PageView) => &["page", "level", "artist", "song", "duration"],
            (Read::Events, Self::Auth) => &["level"],
            (Read::Events, Self::StatusChange) => &["old_level", "new_level"],
        };
        let common: &[&str] = if read == Read::People { &[] } else { &["item_in_session", "city", "state"] };
        [PEOPLE, common, more].concat()
    }
}

/// Who and when of a batch's rows.
pub(super) struct People<'a> {
    runs: Texts,
    users: &'a Int64Array,
    sessions: &'a Int64Array,
    times_us: &'a [i64],
}

impl<'a> People<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, SessionError> {
        Ok(Self {
            runs: texts(batch, "run_id")?,
            users: numbers::<Int64Type>(batch, "user_id", "long")?,
            sessions: required(longs(batch, "session_id")?, "session_id")?,
            times_us: required(times(batch, "event_ts")?, "event_ts")?.values(),
        })
    }

    /// Calls `visit` with row, who and event time in ms of each row.
    pub(super) fn each(
        &self,
        runs: &mut Runs,
        mut visit: impl FnMut(usize, Who, i64) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let mut ids = PerText::of(&self.runs);
        for (row, time_us) in self.times_us.iter().enumerate() {
            let run = match self.runs.code(row) {
                Some(code) => *ids.of_code(code).get_or_insert_with(|| runs.id(self.runs.text(code))),
                None => RunId::default(),
            };
            let user = self.users.is_valid(row).then(|| self.users.value(row));
            let who = Who { run, user, session: self.sessions.value(row) };
            visit(row, who, time_us.div_euclid(1_000))?;
        }
        Ok(())
    }
}

/// A text column as numbers into its distinct texts, so that what depends on the text is found once for each of them.
#[derive(Debug)]
pub(super) struct Texts {
    codes: DictionaryArray<UInt32Type>,
    texts: StringArray,
}

impl Texts {
    /// Takes text either way: as a dictionary, or row by row.
    fn of(array: &dyn Array, name: &'static str) -> Result<Self, SessionError> {
        let coded = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
        let array = match array.data_type() {
            DataType::Utf8 => cast(array, &coded)?,
            _ => make_array(array.to_data()),
        };
        let codes = array.as_dictionary_opt::<UInt32Type>();
        let texts = codes.and_then(|codes| codes.values().as_string_opt::<i32>());
        match (codes, texts) {
            (Some(codes), Some(texts)) => Ok(Self { codes: codes.clone(), texts: texts.clone() }),
            _ => Err(wrong_type(&array, name, "string")),
        }
    }

    /// Returns the number of a row's text, `None` for null.
    pub(super) fn code(&self, row: usize) -> Option<u32> {
        self.codes.is_valid(row).then(|| self.codes.keys().value(row))
    }

    /// Returns the text of a number.
    pub(super) fn text(&self, code: u32) -> &str {
        self.texts.value(code as usize)
    }

    pub(super) fn null_count(&self) -> usize {
        self.codes.null_count()
    }
}

/// Something for each text of a column, from when it was first needed.
#[derive(Debug)]
pub(super) struct PerText<T>(Vec<Option<T>>);

impl<T> PerText<T> {
    pub(super) fn of(texts: &Texts) -> Self {
        Self((0..texts.texts.len()).map(|_| None).collect())
    }

    pub(super) fn of_code(&mut self, code: u32) -> &mut Option<T> {
        &mut self.0[code as usize]
    }
}

/// Whether two texts are equal, for texts that are often empty.
///
/// An empty text may point nowhere, and comparing such texts by `==` costs a hundred times more than one would think: glibc
/// loads zero bytes from there, and the processor takes its slow path for faults (measured, a quarter of the sessions' time).
pub(super) fn same(left: &str, right: &str) -> bool {
    left.len() == right.len() && (left.is_empty() || left == right)
}

/// Returns an error unless the event time lies on the day.
pub(super) fn check_day(day: i32, time_ms: i64) -> Result<(), SessionError> {
    match day_of(time_ms) {
        found if found == day => Ok(()),
        found => Err(SessionError::WrongDay { day, found }),
    }
}

pub(super) fn texts(batch: &RecordBatch, name: &'static str) -> Result<Texts, SessionError> {
    Texts::of(column(batch, name)?, name)
}

pub(super) fn ints<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a Int32Array, SessionError> {
    numbers::<Int32Type>(batch, name, "int")
}

pub(super) fn longs<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a Int64Array, SessionError> {
    numbers::<Int64Type>(batch, name, "long")
}

pub(super) fn doubles<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a Float64Array, SessionError> {
    numbers::<Float64Type>(batch, name, "double")
}

pub(super) fn times<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>, SessionError> {
    numbers::<TimestampMicrosecondType>(batch, name, "timestamp in microseconds")
}

pub(super) fn booleans<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a BooleanArray, SessionError> {
    let array = column(batch, name)?;
    array.as_boolean_opt().ok_or_else(|| wrong_type(array, name, "boolean"))
}

pub(super) fn lists<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a ListArray, SessionError> {
    let array = column(batch, name)?;
    array.as_list_opt().ok_or_else(|| wrong_type(array, name, "list"))
}

pub(super) fn required<'a, A: Array>(array: &'a A, column: &'static str) -> Result<&'a A, SessionError> {
    without_nulls(array.null_count(), column).map(|()| array)
}

/// Returns an error if a column has nulls.
pub(super) fn without_nulls(nulls: usize, column: &'static str) -> Result<(), SessionError> {
    match nulls {
        0 => Ok(()),
        nulls => Err(SessionError::Null { column, nulls }),
    }
}

fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &'static str,
    expected: &'static str,
) -> Result<&'a PrimitiveArray<T>, SessionError> {
    let array = column(batch, name)?;
    array.as_primitive_opt::<T>().ok_or_else(|| wrong_type(array, name, expected))
}

fn column<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a dyn Array, SessionError> {
    let column = batch.column_by_name(name).ok_or(SessionError::MissingColumn { column: name })?;
    Ok(column.as_ref())
}

fn wrong_type(array: &dyn Array, column: &'static str, expected: &'static str) -> SessionError {
    SessionError::WrongType { column, found: array.data_type().clone(), expected }
}
