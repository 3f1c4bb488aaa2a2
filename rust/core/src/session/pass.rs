//! One pass over the events of a day: sorted by person and time, cut at pauses; what may go on tomorrow is carried.

use std::cmp::Ordering;

use super::actor::{Actor, Runs};
use super::events::{DayEvents, Event};
use super::row::Session;
use super::track::{Told, Tracks};
use super::{GAP_MS, HashMap, start_of};

/// A session that may go on.
#[derive(Debug)]
pub(super) enum Tail {
    /// It is to be written.
    Wanted(Box<Session>),
    /// It began in a partition that is not replaced: only its last event matters.
    Foreign { ended_ms: i64 },
}

impl Tail {
    pub(super) fn ended_ms(&self) -> i64 {
        match self {
            Self::Wanted(session) => session.ended_ms,
            Self::Foreign { ended_ms } => *ended_ms,
        }
    }

    fn add(&mut self, day: &DayEvents, tracks: &mut Tracks, tied: &[Event]) {
        match self {
            Self::Wanted(session) => session.add(day, tracks, tied),
            Self::Foreign { ended_ms } => *ended_ms = tied.first().map_or(*ended_ms, |event| event.time_ms),
        }
    }

    /// Returns the session if it is to be written.
    pub(super) fn session(self) -> Option<Session> {
        match self {
            Self::Wanted(session) => Some(*session),
            Self::Foreign { .. } => None,
        }
    }
}

/// Sessions that ended, and the tracks that they have numbers of.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) sessions: Vec<Session>,
    pub(super) tracks: Tracks,
}

/// Sessions that may go on, per person; at most one each.
pub(super) type Tails = HashMap<Actor, Tail>;

/// Cuts a day's events into sessions; `tails` come from the day before and become those of this day.
///
/// Sessions that begin today are returned if `wanted`; those that ended, whenever they began, are returned.
/// A tail without events today stays in `tails`: see [`ended_before`].
pub(super) fn sessionize(
    day: i32,
    mut events: DayEvents,
    wanted: bool,
    runs: &Runs,
    tails: &mut Tails,
) -> Ended {
    let sorted = sorted_by_actor(&mut events);
    let mut tracks = std::mem::take(&mut events.tracks);
    let mut ended = Vec::with_capacity(events.actors().len());
    for (actor, sorted) in events.actors().iter().zip(Groups::of(&events, &sorted)) {
        let mut open = tails.remove(actor);
        for tied in sorted.chunk_by(|left, right| position(&events, left) == position(&events, right)) {
            let Some(first) = tied.first() else { continue };
            if open.as_ref().is_some_and(|tail| first.time_ms.saturating_sub(tail.ended_ms()) > GAP_MS) {
                ended.extend(open.take().and_then(Tail::session));
            }
            let tail = open.get_or_insert_with(|| match wanted {
                true => Tail::Wanted(Box::new(Session::begin(*actor, runs, &events, first))),
                false => Tail::Foreign { ended_ms: first.time_ms },
            });
            tail.add(&events, &mut tracks, tied);
        }
        match open {
            Some(mut tail) if start_of(day + 1).saturating_sub(tail.ended_ms()) <= GAP_MS => {
                if let Tail::Wanted(session) = &mut tail {
                    session.keep_songs(&tracks);
                }
                tails.insert(*actor, tail);
            }
            open => ended.extend(open.and_then(Tail::session)),
        }
    }
    Ended { sessions: ended, tracks }
}

/// Takes the sessions that had no event on `day` or later out of the tails, in an order that does not depend on hashing.
pub(super) fn ended_before(day: i32, tails: &mut Tails) -> Ended {
    let ended = tails.extract_if(|_, tail| tail.ended_ms() < start_of(day));
    let mut sessions: Vec<Session> = ended.filter_map(|(_, tail)| tail.session()).collect();
    sessions.sort_by_key(|session| session.actor);
    Ended { sessions, tracks: Tracks::default() }
}

/// Returns the events grouped by actor, in order within each; takes them out of `events`.
fn sorted_by_actor(events: &mut DayEvents) -> Vec<Event> {
    let mut sorted = std::mem::take(&mut events.events);
    sorted.sort_by(|left, right| order(events, left, right));
    sorted
}

/// The slices of each actor, by its index; empty where all its rows lay before the wanted time.
struct Groups<'a> {
    events: &'a DayEvents,
    rest: &'a [Event],
    actor: u32,
}

impl<'a> Groups<'a> {
    fn of(events: &'a DayEvents, sorted: &'a [Event]) -> Self {
        Self { events, rest: sorted, actor: 0 }
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = &'a [Event];

    fn next(&mut self) -> Option<Self::Item> {
        let length =
            self.rest.iter().take_while(|event| self.events.member(event).actor == self.actor).count();
        let (group, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.actor += 1;
        Some(group)
    }
}

/// What events of one actor are ordered by.
fn position(day: &DayEvents, event: &Event) -> (i64, i64, i32) {
    (event.time_ms, day.member(event).session, event.item)
}

/// By actor, time, session and item, then by content: what is equal in all of that makes no difference.
fn order(day: &DayEvents, left: &Event, right: &Event) -> Ordering {
    let (a, b) = (day.member(left), day.member(right));
    (a.actor, left.time_ms, a.session, left.item, left.topic)
        .cmp(&(b.actor, right.time_ms, b.session, right.item, right.topic))
        .then_with(|| content(day, left).cmp(&content(day, right)))
}

fn content<'a>(day: &'a DayEvents, event: &Event) -> impl Ord + use<'a> {
    let texts = [day.detail(event), day.level(event), day.city(event), day.state(event)];
    let Told { song, artist, seconds } = day.told(event);
    (!day.member(event).anonymous, texts, artist, song, seconds.map(f64::to_bits))
}
