//! Stitching: whose an event without a user is.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::actor::{Actor, Runs, Visit, Who};
use super::{HashMap, SessionError, source};

/// The users that one day's events of a visit name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    One(i64),
    Several,
}

/// The users of one day's visits.
#[derive(Debug, Default)]
pub(super) struct DayPeople {
    known: HashMap<Visit, Known>,
    rows: usize,
}

impl DayPeople {
    fn add(&mut self, who: Who) {
        let Some(user) = who.user else { return };
        let known = self.known.entry(who.visit()).or_insert(Known::One(user));
        if *known != Known::One(user) {
            *known = Known::Several;
        }
    }

    /// Returns how many events of the day were counted.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

/// The users of the days around the current one.
#[derive(Debug, Default)]
pub(super) struct Window {
    days: BTreeMap<i32, DayPeople>,
}

impl Window {
    /// Forgets what is not needed to stitch events of `day`, and returns a day whose people are needed still.
    pub(super) fn missing_for(&mut self, day: i32) -> Option<i32> {
        let around = day - 1..=day + 1;
        self.days.retain(|known, _| around.contains(known));
        around.into_iter().find(|wanted| !self.days.contains_key(wanted))
    }

    /// Begins a day; without rows it counts as read.
    pub(super) fn begin(&mut self, day: i32) {
        self.days.insert(day, DayPeople::default());
    }

    /// Adds people of a day that was begun; events for which `counts` holds are counted.
    pub(super) fn push(
        &mut self,
        day: i32,
        batch: &RecordBatch,
        runs: &mut Runs,
        counts: impl Fn(Who) -> bool,
    ) -> Result<(), SessionError> {
        let people = self.days.entry(day).or_default();
        let mut last = None;
        source::People::of(batch)?.each(runs, |_, who, time_ms| {
            source::check_day(day, time_ms)?;
            let counted = match last {
                Some((same, counted)) if same == who => counted,
                _ => {
                    people.add(who);
                    counts(who)
                }
            };
            last = Some((who, counted));
            people.rows += usize::from(counted);
            Ok(())
        })
    }

    pub(super) fn day(&self, day: i32) -> Option<&DayPeople> {
        self.days.get(&day)
    }

    /// Returns whose an event of `day` is.
    pub(super) fn actor(&self, day: i32, who: Who) -> Actor {
        if let Some(user) = who.user {
            return Actor::user(who.run, user);
        }
        let visit = who.visit();
        let mut found = None;
        for known in self.days.range(day - 1..=day + 1).filter_map(|(_, people)| people.known.get(&visit)) {
            match (known, found) {
                (Known::One(user), None) => found = Some(*user),
                (Known::One(user), Some(other)) if *user == other => {}
                _ => return Actor::visitor(visit),
            }
        }
        found.map_or(Actor::visitor(visit), |user| Actor::user(who.run, user))
    }
}
