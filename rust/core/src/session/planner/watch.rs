//! First phase of an incremental run: whom the changed events touch, and when.

use std::collections::{BTreeSet, HashSet};

use arrow::array::RecordBatch;
use foldhash::fast::RandomState;

use super::back::Back;
use super::closing::Closing;
use super::{Affected, Common, Phase, Turn};
use crate::session::actor::{Actor, Runs, Visit, Who};
use crate::session::changes::Span;
use crate::session::source::{self, People};
use crate::session::{HashMap, Read, SessionError};

/// Touched times per person and day.
pub(super) type Touches = HashMap<(Actor, i32), Span>;

/// What is seen of a visit on one day.
#[derive(Debug, Default)]
struct Seen {
    /// Nearly always one.
    users: Vec<i64>,
    anonymous: Option<Span>,
}

impl Seen {
    fn add(&mut self, user: i64) {
        if !self.users.contains(&user) {
            self.users.push(user);
        }
    }
}

/// Reads the people of the visits that changed events are of, two days around them.
#[derive(Debug)]
pub(super) struct Watch {
    spans: HashMap<(Who, i32), Span>,
    visits: HashSet<Visit, RandomState>,
    seen: HashMap<(Visit, i32), Seen>,
    to_read: BTreeSet<i32>,
    closing: Option<Closing>,
}

impl Watch {
    pub(super) fn of(spans: HashMap<(Who, i32), Span>, closing: Closing) -> Self {
        let visits = spans.keys().map(|(who, _)| who.visit()).collect();
        let mut seen: HashMap<(Visit, i32), Seen> = HashMap::default();
        for (who, day) in spans.keys() {
            // A user that is gone from the visit may have been its only one.
            if let Some(user) = who.user {
                seen.entry((who.visit(), *day)).or_default().add(user);
            }
        }
        // An event without a user lies at most a day from the change, and is stitched by users a day from it.
        let to_read = spans.keys().flat_map(|(_, day)| day - 2..=day + 2).collect();
        Self { spans, visits, seen, to_read, closing: Some(closing) }
    }

    pub(super) fn turn(&mut self, common: &mut Common) -> Turn {
        if let Some(day) = self.to_read.pop_first() {
            return common.read(day, Read::People);
        }
        let touches = self.touches();
        common.affected = Affected::Some(touches.keys().map(|(actor, _)| *actor).collect());
        Turn::Phase(Phase::Back(Back::of(touches, self.closing.take().unwrap_or_default())))
    }

    pub(super) fn push(
        &mut self,
        day: i32,
        batch: &RecordBatch,
        runs: &mut Runs,
    ) -> Result<(), SessionError> {
        let Self { visits, seen, .. } = self;
        People::of(batch)?.each(runs, |_, who, time_ms| {
            source::check_day(day, time_ms)?;
            if !visits.contains(&who.visit()) {
                return Ok(());
            }
            let seen = seen.entry((who.visit(), day)).or_default();
            match who.user {
                Some(user) => seen.add(user),
                None => seen.anonymous.get_or_insert(Span::at(time_ms)).join(Span::at(time_ms)),
            }
            Ok(())
        })
    }

    fn touches(&self) -> Touches {
        let mut touches = Touches::default();
        let mut touch = |actor: Actor, day: i32, span: Span| {
            touches.entry((actor, day)).and_modify(|known: &mut Span| known.join(span)).or_insert(span);
        };
        for ((who, day), span) in &self.spans {
            let visit = who.visit();
            let Some(user) = who.user else {
                self.possible_actors(visit, *day).for_each(|actor| touch(actor, *day, *span));
                continue;
            };
            touch(Actor::user(who.run, user), *day, *span);
            for (near, seen) in self.around(visit, *day) {
                if let Some(anonymous) = seen.anonymous {
                    self.possible_actors(visit, near).for_each(|actor| touch(actor, near, anonymous));
                }
            }
        }
        touches
    }

    /// Returns whose an event without a user may be now, or may have been before the change.
    fn possible_actors(&self, visit: Visit, day: i32) -> impl Iterator<Item = Actor> {
        let users = self.around(visit, day).flat_map(|(_, seen)| &seen.users);
        let users = users.map(move |user| Actor::user(visit.0, *user));
        users.chain([Actor::visitor(visit)])
    }

    fn around(&self, visit: Visit, day: i32) -> impl Iterator<Item = (i32, &Seen)> {
        (day - 1..=day + 1).filter_map(move |day| Some((day, self.seen.get(&(visit, day))?)))
    }
}
