//! Last phase of every run: the rows of all partitions that are replaced, day after day.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arrow::array::RecordBatch;

use super::{Affected, Common, Outcome, Phase, Step, Turn};
use crate::session::events::{DayEvents, Wanted};
use crate::session::pass::{Ended, Tail, Tails, ended_before, sessionize};
use crate::session::row::{Session, is_closed};
use crate::session::table::{Stored, batches};
use crate::session::{GAP_MS, Read, SessionError, Topic, start_of};

/// Goes forward over the replaced days, the day before each, and the days on which their sessions go on.
#[derive(Debug)]
pub(super) struct Replace {
    days: BTreeSet<i32>,
    unfinished: BTreeSet<i32>,
    open_days: BTreeSet<i32>,
    /// Sessions that may go on after the last day that was read.
    tails: Tails,
    current: Option<Current>,
    last_day: Option<i32>,
    queue: VecDeque<Step>,
}

/// The day at hand.
#[derive(Debug)]
struct Current {
    day: i32,
    stage: Stage,
    /// Passes over the day's events; each takes one bucket of people.
    buckets: u64,
    events: DayEvents,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The people around the day are read.
    People,
    /// That bucket comes next, if there is one.
    Next(u64),
    /// The events of that bucket are read.
    Events(u64),
    /// All events were read; rows of other people come next.
    Keep,
    /// Rows of other people are read.
    Stored,
    /// All rows were given.
    Finish,
}

impl Replace {
    /// `open_days` are days that are not replaced and hold open sessions.
    pub(super) fn of(days: BTreeSet<i32>, open_days: BTreeSet<i32>) -> Self {
        Self {
            unfinished: days.clone(),
            days,
            open_days,
            tails: Tails::default(),
            current: None,
            last_day: None,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn turn(&mut self, common: &mut Common) -> Result<Turn, SessionError> {
        loop {
            if let Some(step) = self.queue.pop_front() {
                return Ok(Turn::Step(step));
            }
            let Some(mut current) = self.current.take().or_else(|| self.next_current(common)) else {
                let outcome = Outcome {
                    watermark_ms: common.watermark_ms,
                    open_from_day: self.open_days.first().copied(),
                    replaced: std::mem::take(&mut self.days),
                };
                return Ok(Turn::Phase(Phase::Done(outcome)));
            };
            let turn = self.advance(&mut current, common)?;
            match current.stage {
                Stage::Finish => self.finish(current.day),
                _ => self.current = Some(current),
            }
            if let Some(turn) = turn {
                return Ok(turn);
            }
        }
    }

    /// Does the next thing of a day; the turn, if there is one, asks for input. Rows are given before more is read.
    fn advance(&mut self, current: &mut Current, common: &mut Common) -> Result<Option<Turn>, SessionError> {
        let day = current.day;
        let mut turn = None;
        current.stage = match current.stage {
            Stage::People => {
                if let Some(turn) = common.read_people_around(day) {
                    return Ok(Some(turn));
                }
                let events = common.window.day(day).map_or(0, |people| people.rows());
                current.buckets = events.div_ceil(common.options.max_events.max(1)) as u64;
                Stage::Next(0)
            }
            Stage::Next(bucket) if bucket < current.buckets => {
                turn = Some(common.read(day, Read::Events));
                Stage::Events(bucket)
            }
            Stage::Events(bucket) => {
                let events = std::mem::take(&mut current.events);
                let wanted = self.days.contains(&day);
                let ended = sessionize(day, events, wanted, &common.runs, &mut self.tails);
                self.write(ended, common)?;
                Stage::Next(bucket + 1)
            }
            Stage::Next(_) => {
                let ended = ended_before(day, &mut self.tails);
                self.write(ended, common)?;
                Stage::Keep
            }
            Stage::Keep => {
                let keeps_rows = self.days.contains(&day) && !matches!(common.affected, Affected::All);
                turn = keeps_rows.then(|| common.read_sessions(day));
                Stage::Stored
            }
            Stage::Stored | Stage::Finish => Stage::Finish,
        };
        Ok(turn)
    }

    pub(super) fn push(
        &mut self,
        (day, topic): (i32, Topic),
        batch: &RecordBatch,
        common: &mut Common,
    ) -> Result<(), SessionError> {
        let Some(Current { stage: Stage::Events(bucket), buckets, events, .. }) = &mut self.current else {
            return Err(SessionError::NotAsked { what: "silver rows" });
        };
        let Common { runs, window, affected, .. } = common;
        let (replaced, replaced_next) = (self.days.contains(&day), self.days.contains(&(day + 1)));
        let tails = &self.tails;
        events.push((day, topic), batch, runs, |who| -> Wanted {
            let actor = window.actor(day, who);
            if !affected.has(actor) || actor.bucket(*buckets) != *bucket {
                return None;
            }
            // Of a day that is not replaced only what goes on, and what a session of the next day may belong to.
            match replaced || tails.contains_key(&actor) {
                true => Some((actor, i64::MIN)),
                false => replaced_next.then(|| (actor, start_of(day + 1) - GAP_MS)),
            }
        })
    }

    pub(super) fn push_sessions(
        &mut self,
        day: i32,
        batch: &RecordBatch,
        common: &mut Common,
    ) -> Result<(), SessionError> {
        let watermark_ms = common.watermark_ms();
        let Common { runs, affected, .. } = common;
        let rows = Stored::of(batch)?.kept(runs, watermark_ms, |actor| !affected.has(actor))?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if Stored::of(&rows)?.closing_and_open(watermark_ms).1 {
            self.open_days.insert(day);
        }
        self.queue.push_back(Step::Rows { day, rows });
        Ok(())
    }

    /// Puts rows into the queue, by the day they begin on.
    fn write(&mut self, ended: Ended, common: &Common) -> Result<(), SessionError> {
        let watermark_ms = common.watermark_ms();
        let Ended { sessions, tracks } = ended;
        let mut days: BTreeMap<i32, Vec<&Session>> = BTreeMap::new();
        for session in &sessions {
            days.entry(session.start_day()).or_default().push(session);
        }
        for (day, sessions) in days {
            if sessions.iter().any(|session| !is_closed(session.ended_ms, watermark_ms)) {
                self.open_days.insert(day);
            }
            let processed_at_us = common.options.processed_at_us;
            for rows in batches(day, &sessions, (&common.runs, &tracks), watermark_ms, processed_at_us)? {
                self.queue.push_back(Step::Rows { day, rows });
            }
        }
        Ok(())
    }

    /// Returns the next day to read; `None` if all is done.
    fn next_current(&mut self, common: &Common) -> Option<Current> {
        let day = self.next_day(matches!(common.affected, Affected::All))?;
        Some(Current { day, stage: Stage::People, buckets: 0, events: DayEvents::default() })
    }

    fn next_day(&self, all_days: bool) -> Option<i32> {
        let after = self.last_day.map_or(i32::MIN, |day| day + 1);
        if self.tails.values().any(|tail| matches!(tail, Tail::Wanted(_))) {
            return Some(after);
        }
        let replaced = *self.days.range(after..).next()?;
        // Its first events may belong to sessions that began before; where all days are replaced these are tails.
        Some(if all_days || replaced == after { replaced } else { replaced - 1 })
    }

    fn finish(&mut self, day: i32) {
        self.last_day = Some(day);
        let begun = |tail: &Tail| match tail {
            Tail::Wanted(session) => Some(session.start_day()),
            Tail::Foreign { .. } => None,
        };
        let waiting: BTreeSet<i32> = self.tails.values().filter_map(begun).collect();
        let (done, rest) = std::mem::take(&mut self.unfinished)
            .into_iter()
            .partition(|unfinished| *unfinished <= day && !waiting.contains(unfinished));
        self.unfinished = rest;
        let done: BTreeSet<i32> = done;
        self.queue.extend(done.into_iter().map(|day| Step::Finish { day }));
    }
}
