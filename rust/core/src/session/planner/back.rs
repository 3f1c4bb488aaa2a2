//! Second phase of an incremental run: from the touched times back to where their sessions begin.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;

use super::closing::Closing;
use super::watch::Touches;
use super::{Common, Phase, Turn};
use crate::session::actor::Actor;
use crate::session::source::{self, People};
use crate::session::{GAP_MS, HashMap, Read, SessionError, day_of, start_of};

/// From where a person's events of one day are followed back.
#[derive(Debug, Default)]
struct From {
    /// The first touched time of the day.
    touched_ms: Option<i64>,
    /// The first event of a later day, whose session may have begun on this one.
    chained_ms: Option<i64>,
}

/// Goes back day by day.
#[derive(Debug)]
pub(super) struct Back {
    from: BTreeMap<i32, HashMap<Actor, From>>,
    /// The day that is being read, and the event times up to where they are followed.
    reading: Option<(i32, HashMap<Actor, Vec<i64>>)>,
    replaced: BTreeSet<i32>,
    closing: Option<Closing>,
}

impl Back {
    pub(super) fn of(touches: Touches, closing: Closing) -> Self {
        let mut from: BTreeMap<i32, HashMap<Actor, From>> = BTreeMap::new();
        let mut replaced = BTreeSet::new();
        for ((actor, day), span) in touches {
            replaced.extend([day, day_of(span.last_ms.saturating_add(GAP_MS))]);
            from.entry(day).or_default().entry(actor).or_default().touched_ms = Some(span.first_ms);
        }
        Self { from, reading: None, replaced, closing: Some(closing) }
    }

    pub(super) fn turn(&mut self, common: &mut Common) -> Turn {
        if let Some((day, times)) = self.reading.take() {
            self.follow(day, times);
        }
        let Some(day) = self.from.last_key_value().map(|(day, _)| *day) else {
            let mut closing = self.closing.take().unwrap_or_default();
            closing.replace_too(std::mem::take(&mut self.replaced));
            return Turn::Phase(Phase::Closing(closing));
        };
        if let Some(turn) = common.read_people_around(day) {
            return turn;
        }
        self.reading = Some((day, HashMap::default()));
        common.read(day, Read::People)
    }

    pub(super) fn push(
        &mut self,
        day: i32,
        batch: &RecordBatch,
        common: &mut Common,
    ) -> Result<(), SessionError> {
        let (Some(from), Some((_, times))) = (self.from.get(&day), &mut self.reading) else { return Ok(()) };
        let mut last = None;
        People::of(batch)?.each(&mut common.runs, |_, who, time_ms| {
            source::check_day(day, time_ms)?;
            let actor = match last {
                Some((same, actor)) if same == who => actor,
                _ => common.window.actor(day, who),
            };
            last = Some((who, actor));
            let wanted = |from: &From| from.chained_ms.max(from.touched_ms) >= Some(time_ms);
            if from.get(&actor).is_some_and(wanted) {
                times.entry(actor).or_default().push(time_ms);
            }
            Ok(())
        })
    }

    /// Follows everybody's events of the day that was read.
    fn follow(&mut self, day: i32, mut times: HashMap<Actor, Vec<i64>>) {
        for (actor, from) in self.from.remove(&day).unwrap_or_default() {
            let mut times = times.remove(&actor).unwrap_or_default();
            times.sort_unstable_by(|left, right| right.cmp(left));
            let chained = from.chained_ms.map(|chained_ms| earliest_of_session(&times, chained_ms));
            // The day of a touched time is replaced already; a chain adds only the day it ends on.
            let touched = from.touched_ms.map(|touched_ms| earliest_of_session(&times, touched_ms));
            if let Some(first_ms) = chained.filter(|first_ms| !may_go_on_before(day, *first_ms)) {
                self.replaced.insert(day_of(first_ms));
            }
            let earlier =
                chained.into_iter().chain(touched).filter(|first_ms| may_go_on_before(day, *first_ms));
            if let Some(first_ms) = earlier.min() {
                self.from.entry(day - 1).or_default().entry(actor).or_default().chained_ms = Some(first_ms);
            }
        }
    }
}

/// Returns the time of the first event of the session that `from_ms` is in, as far as `times` (descending) tell.
fn earliest_of_session(times: &[i64], from_ms: i64) -> i64 {
    let mut first_ms = from_ms;
    for time_ms in times.iter().filter(|time_ms| **time_ms <= from_ms) {
        if first_ms - time_ms > GAP_MS {
            break;
        }
        first_ms = *time_ms;
    }
    first_ms
}

/// Whether an event before `day` can be in the session of an event at `first_ms`, which is on that day or later.
fn may_go_on_before(day: i32, first_ms: i64) -> bool {
    day_of(first_ms) == day && first_ms - start_of(day) < GAP_MS
}
