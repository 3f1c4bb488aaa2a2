//! Silver and the table of sessions in memory, and a caller of the planner that checks its protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};

use super::super::{Changes, Options, Outcome, Planner, Read, Step, Topic, columns, day_of};
use crate::contract::{UTC, schema_of};

/// A silver row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) topic: Topic,
    pub(super) run: Option<&'static str>,
    pub(super) user: Option<i64>,
    pub(super) session: i64,
    pub(super) item: i32,
    pub(super) time_ms: i64,
    /// Page of a page view.
    pub(super) page: &'static str,
    /// Old level of a status change.
    pub(super) level: Option<&'static str>,
    pub(super) new_level: Option<&'static str>,
    pub(super) city: Option<&'static str>,
    pub(super) artist: Option<&'static str>,
    pub(super) song: Option<&'static str>,
    pub(super) seconds: Option<f64>,
}

impl Fact {
    pub(super) fn day(&self) -> i32 {
        day_of(self.time_ms)
    }

    /// What the event id is made of.
    pub(super) fn identity(&self) -> impl Ord + use<> {
        (self.topic, self.run, self.session, self.item, self.time_ms, self.page, self.user)
    }
}

/// A row of the table of sessions, without `_processed_at`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) date: i32,
    pub(super) run: Option<String>,
    pub(super) user: Option<i64>,
    pub(super) session_ids: Vec<i64>,
    pub(super) span_ms: (i64, i64, i64),
    /// Events, listens, page views, logins, status changes.
    pub(super) counts: [i32; 5],
    pub(super) seconds: f64,
    pub(super) songs: Vec<String>,
    pub(super) artists: Vec<String>,
    pub(super) pages: Vec<String>,
    pub(super) levels: (Option<String>, Option<String>, bool),
    pub(super) place: (Option<String>, Option<String>),
    pub(super) first_item: i32,
    pub(super) truncated: bool,
    pub(super) closed: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Lake {
    pub(super) silver: Vec<Fact>,
    pub(super) sessions: BTreeMap<i32, Vec<RecordBatch>>,
    pub(super) watermark_ms: Option<i64>,
    pub(super) open_from_day: Option<i32>,
    /// Each day that the last run read events of, as often as it did.
    pub(super) days_read: Vec<i32>,
}

impl Lake {
    /// Changes silver and brings the sessions up to date; returns the replaced days.
    pub(super) fn change(&mut self, add: &[Fact], remove: &[Fact], max_events: usize) -> BTreeSet<i32> {
        self.silver.retain(|fact| !remove.contains(fact));
        self.silver.extend_from_slice(add);
        let mut changes = Changes::new();
        for fact in add.iter().chain(remove) {
            changes.push(&silver_batch(fact.topic, &[fact], Read::People)).unwrap();
        }
        let (watermark_ms, open_from_day) = (self.watermark_ms, self.open_from_day);
        self.run(Planner::incremental(changes, watermark_ms, open_from_day, options(max_events)))
    }

    /// Computes all sessions anew.
    pub(super) fn recompute(&mut self, max_events: usize) -> BTreeSet<i32> {
        let days = self.silver.iter().map(Fact::day).chain(self.sessions.keys().copied()).collect();
        self.run(Planner::full(days, self.watermark_ms, options(max_events)))
    }

    fn run(&mut self, mut planner: Planner) -> BTreeSet<i32> {
        let mut written: BTreeMap<i32, Vec<RecordBatch>> = BTreeMap::new();
        let mut finished = BTreeSet::new();
        self.days_read.clear();
        loop {
            match planner.next_step().unwrap() {
                Step::Read { day, read } => {
                    if read == Read::Events {
                        self.days_read.push(day);
                    }
                    self.push_silver(&mut planner, day, read);
                }
                Step::Sessions { day } => {
                    for batch in self.sessions.get(&day).into_iter().flatten() {
                        planner.push_sessions(batch).unwrap();
                    }
                }
                Step::Rows { day, rows } => {
                    assert!(!finished.contains(&day), "rows of day {day} after its end");
                    assert!(rows.num_rows() > 0, "no rows in a batch of day {day}");
                    written.entry(day).or_default().push(rows);
                }
                Step::Finish { day } => assert!(finished.insert(day), "day {day} ended twice"),
                Step::Done(outcome) => {
                    let Outcome { watermark_ms, open_from_day, replaced } = outcome;
                    assert_eq!(finished, replaced);
                    assert!(written.keys().all(|day| replaced.contains(day)));
                    self.sessions.retain(|day, _| !replaced.contains(day));
                    self.sessions.extend(written);
                    (self.watermark_ms, self.open_from_day) = (watermark_ms, open_from_day);
                    return replaced;
                }
            }
        }
    }

    fn push_silver(&self, planner: &mut Planner, day: i32, read: Read) {
        for topic in Topic::ALL {
            let facts = self.silver.iter().filter(|fact| fact.topic == topic && fact.day() == day);
            // Texts come in both forms.
            let (rows, form): (usize, fn(RecordBatch) -> RecordBatch) =
                if day % 2 == 0 { (3, |batch| batch) } else { (40, coded) };
            for chunk in facts.collect::<Vec<_>>().chunks(rows) {
                planner.push(topic, &form(silver_batch(topic, chunk, read))).unwrap();
            }
        }
    }

    /// Returns all rows of the table of sessions, in order of their keys.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (day, batches) in &self.sessions {
            for batch in batches {
                let of_batch = rows_of(batch);
                assert!(of_batch.iter().all(|row| row.date == *day), "a row lies in the wrong partition");
                rows.extend(of_batch);
            }
        }
        rows.sort_by(|left, right| left.key.cmp(&right.key));
        rows
    }
}

fn options(max_events: usize) -> Options {
    Options { processed_at_us: 7, max_events }
}

/// Returns facts as a batch with exactly the columns of that topic.
pub(super) fn silver_batch(topic: Topic, facts: &[&Fact], read: Read) -> RecordBatch {
    let text = |get: fn(&Fact) -> Option<&'static str>| -> ArrayRef {
        Arc::new(facts.iter().map(|fact| get(fact)).collect::<StringArray>())
    };
    let times = facts.iter().map(|fact| fact.time_ms * 1_000);
    let column = |name: &&'static str| -> (&'static str, ArrayRef, bool) {
        let array: ArrayRef = match *name {
            "run_id" => text(|fact| fact.run),
            "user_id" => Arc::new(facts.iter().map(|fact| fact.user).collect::<Int64Array>()),
            "session_id" => Arc::new(Int64Array::from_iter_values(facts.iter().map(|fact| fact.session))),
            "item_in_session" => Arc::new(Int32Array::from_iter_values(facts.iter().map(|fact| fact.item))),
            "event_ts" => {
                Arc::new(TimestampMicrosecondArray::from_iter_values(times.clone()).with_timezone(UTC))
            }
            "page" => text(|fact| Some(fact.page)),
            "level" | "old_level" => text(|fact| fact.level),
            "new_level" => text(|fact| fact.new_level),
            "city" | "state" => text(|fact| fact.city),
            "artist" => text(|fact| fact.artist),
            "song" => text(|fact| fact.song),
            "duration" => Arc::new(facts.iter().map(|fact| fact.seconds).collect::<Float64Array>()),
            other => panic!("unknown column {other}"),
        };
        (name, array, true)
    };
    RecordBatch::try_from_iter_with_nullable(topic.columns(read).iter().map(column)).unwrap()
}

/// The batch with its texts as dictionaries.
fn coded(batch: RecordBatch) -> RecordBatch {
    let dictionary = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, array)| {
        let is_text = *field.data_type() == DataType::Utf8;
        let array = if is_text { cast(array, &dictionary).unwrap() } else { array.clone() };
        (field.name().clone(), array, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    assert_eq!(batch.schema(), schema_of(&columns()));
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    (0..batch.num_rows())
        .map(|row| {
            let text = |name| {
                let array = column(name);
                array.is_valid(row).then(|| array.as_string::<i32>().value(row).to_owned())
            };
            let int = |name| column(name).as_primitive::<Int32Type>().value(row);
            let time = |name| column(name).as_primitive::<TimestampMicrosecondType>().value(row) / 1_000;
            let flag = |name| column(name).as_boolean().value(row);
            let list = |name| {
                let list = column(name).as_list::<i32>().value(row);
                list.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect::<Vec<_>>()
            };
            let users = column("user_id");
            let ids = column("session_ids").as_list::<i32>().value(row);
            let counts =
                ["event_count", "listen_count", "page_view_count", "auth_event_count", "status_change_count"];
            Row {
                key: text("session_key").unwrap(),
                date: column("session_date").as_primitive::<Date32Type>().value(row),
                run: text("run_id"),
                user: users.is_valid(row).then(|| users.as_primitive::<Int64Type>().value(row)),
                session_ids: ids.as_primitive::<Int64Type>().values().to_vec(),
                span_ms: (
                    time("started_at"),
                    time("ended_at"),
                    column("duration_ms").as_primitive::<Int64Type>().value(row),
                ),
                counts: counts.map(int),
                seconds: column("listen_seconds").as_primitive::<Float64Type>().value(row),
                songs: list("songs"),
                artists: list("artists"),
                pages: list("pages"),
                levels: (text("level_at_start"), text("level_at_end"), flag("level_changed")),
                place: (text("city"), text("state")),
                first_item: int("first_item"),
                truncated: flag("is_left_truncated"),
                closed: flag("is_closed"),
            }
        })
        .collect()
}
