//! One session, grown event by event.

use std::sync::Arc;

use super::actor::{Actor, Runs};
use super::events::{DayEvents, Event};
use super::source::Topic;
use super::track::{Played, Tracks};
use super::{GAP_MS, day_of};
use crate::identity::{Part, first_half, write_part};

/// A session and what its next events need to know.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) actor: Actor,
    pub(super) key: [u8; 16],
    pub(super) started_ms: i64,
    pub(super) ended_ms: i64,
    /// Ascending; nearly always one.
    pub(super) session_ids: Vec<i64>,
    pub(super) listens: i32,
    pub(super) page_views: i32,
    pub(super) auths: i32,
    pub(super) status_changes: i32,
    pub(super) listen_seconds: f64,
    /// What was played in passes before, then in this one, by number.
    earlier: Vec<Played>,
    tracks: Vec<u32>,
    /// Bytes that its lists of text take in Arrow arrays, about.
    pub(super) text_bytes: usize,
    pub(super) pages: Vec<Arc<str>>,
    pub(super) first_level: Option<Arc<str>>,
    pub(super) last_level: Option<Arc<str>>,
    pub(super) level_changed: bool,
    pub(super) city: Option<Arc<str>>,
    pub(super) state: Option<Arc<str>>,
    pub(super) first_item: i32,
    first_session: i64,
    least_item: i32,
}

/// Whether a session that ended then is closed: nothing at or below the watermark can belong to it.
pub(super) fn is_closed(ended_ms: i64, watermark_ms: i64) -> bool {
    ended_ms.saturating_add(GAP_MS) < watermark_ms
}

impl Session {
    /// Begins a session with its first event, which is not added yet.
    pub(super) fn begin(actor: Actor, runs: &Runs, day: &DayEvents, first: &Event) -> Self {
        let session = day.member(first).session;
        Self {
            actor,
            key: key(actor, runs, first, session),
            started_ms: first.time_ms,
            ended_ms: first.time_ms,
            session_ids: Vec::new(),
            listens: 0,
            page_views: 0,
            auths: 0,
            status_changes: 0,
            listen_seconds: 0.0,
            earlier: Vec::new(),
            tracks: Vec::new(),
            text_bytes: 0,
            pages: Vec::new(),
            first_level: None,
            last_level: None,
            level_changed: false,
            city: day.city(first).cloned(),
            state: day.state(first).cloned(),
            first_item: first.item,
            first_session: session,
            least_item: first.item,
        }
    }

    pub(super) fn start_day(&self) -> i32 {
        day_of(self.started_ms)
    }

    /// Adds the events of one instant, session and item, in the order of topics; their songs are one song.
    pub(super) fn add(&mut self, day: &DayEvents, tracks: &mut Tracks, tied: &[Event]) {
        let Some(first) = tied.first() else { return };
        let session = day.member(first).session;
        self.ended_ms = first.time_ms;
        if let Err(place) = self.session_ids.binary_search(&session) {
            self.session_ids.insert(place, session);
        }
        if session == self.first_session {
            self.least_item = self.least_item.min(first.item);
        }
        self.add_song(day, tracks, tied);
        for event in tied {
            match event.topic {
                Topic::PageView if !day.is_song(event) => {
                    self.page_views += 1;
                    let page = day.detail(event).cloned().unwrap_or_default();
                    self.text_bytes += page.len() + size_of::<i32>();
                    self.pages.push(page);
                }
                Topic::Listen | Topic::PageView => {}
                Topic::Auth => self.auths += 1,
                Topic::StatusChange => self.status_changes += 1,
            }
            self.set_level(day.level(event));
            if event.topic == Topic::StatusChange {
                self.set_level(day.detail(event));
            }
        }
    }

    fn add_song(&mut self, day: &DayEvents, tracks: &mut Tracks, tied: &[Event]) {
        let songs = tied.iter().filter(|event| day.is_song(event));
        if songs.clone().next().is_none() {
            return;
        }
        let played = tracks.played(songs.map(|event| event.track));
        let told = tracks.told(played);
        self.listens += 1;
        self.listen_seconds += told.seconds.unwrap_or_default();
        self.text_bytes += told.bytes() + 2 * size_of::<i32>();
        self.tracks.push(played);
    }

    /// Keeps what was played beyond the end of the pass.
    pub(super) fn keep_songs(&mut self, tracks: &Tracks) {
        self.earlier.extend(self.tracks.drain(..).map(|id| Played::of(tracks.told(id))));
    }

    pub(super) fn num_played(&self) -> usize {
        self.earlier.len() + self.tracks.len()
    }

    /// Returns song and artist of everything that was played.
    pub(super) fn played<'a>(&'a self, tracks: &'a Tracks) -> impl Iterator<Item = (&'a str, &'a str)> {
        let earlier = self.earlier.iter().map(|played| (played.song(), played.artist()));
        earlier.chain(self.tracks.iter().map(|id| {
            let told = tracks.told(*id);
            (told.song.unwrap_or_default(), told.artist.unwrap_or_default())
        }))
    }

    fn set_level(&mut self, level: Option<&Arc<str>>) {
        let Some(level) = level else { return };
        if self.last_level.as_ref() == Some(level) {
            return;
        }
        if self.first_level.is_none() {
            self.first_level = Some(level.clone());
        }
        self.level_changed |= self.last_level.is_some();
        self.last_level = Some(level.clone());
    }

    /// Returns the number of events, a song as one.
    pub(super) fn events(&self) -> i32 {
        self.listens + self.page_views + self.auths + self.status_changes
    }

    /// Whether the beginning of the first event's producer session is not in this session.
    pub(super) fn is_left_truncated(&self) -> bool {
        self.least_item > 0
    }
}

/// Returns the key: the first half of the BLAKE3 hash of kind of actor, run (empty if none), user or session of the
/// actor, then time, session and item of the first event, each with its length in front (see [`crate::identity`]).
fn key(actor: Actor, runs: &Runs, first: &Event, session: i64) -> [u8; 16] {
    let (kind, id): (&[u8], _) = match actor {
        Actor::User { user, .. } => (b"user", user),
        Actor::Visitor { session, .. } => (b"visitor", session),
    };
    let run = runs.name(actor.run()).unwrap_or_default();
    let mut message = Vec::with_capacity(128);
    let numbers = [id, first.time_ms, session, first.item.into()].map(Part::Number);
    for part in [Part::Text(kind), Part::Text(run.as_bytes())].into_iter().chain(numbers) {
        write_part(part, &mut message);
    }
    first_half(&message)
}
