//! The events of one pass over a day, in 32 bytes each: every text and every repeated combination is a number.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, Float64Array, RecordBatch};

use super::actor::{Actor, Runs, Who};
use super::source::{self, PerText, Texts, Topic, doubles, ints, required, texts, without_nulls};
use super::track::{Told, Tracks};
use super::{HashMap, SessionError};

/// The page that tells of a song.
pub(super) const SONG_PAGE: &str = "NextSong";

/// One event. Numbers refer to [`DayEvents`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) time_ms: i64,
    pub(super) item: i32,
    /// Who it names, see [`DayEvents::member`].
    member: u32,
    /// Page of a page view, level after a status change.
    detail: TextId,
    place: u32,
    /// What it tells of a song, see [`DayEvents::tracks`].
    pub(super) track: u32,
    pub(super) topic: Topic,
}

/// Number of a text; 0 is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct TextId(u32);

/// What a who of this pass is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Index of its actor in [`DayEvents::actors`].
    pub(super) actor: u32,
    pub(super) session: i64,
    pub(super) anonymous: bool,
}

/// Where an event was, and the level it tells (a status change: the level before).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Place {
    level: TextId,
    city: TextId,
    state: TextId,
}

/// Distinct values by number.
#[derive(Debug)]
struct Pool<T> {
    values: Vec<T>,
    ids: HashMap<T, u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { values: Vec::new(), ids: HashMap::default() }
    }
}

impl<T: Copy + Eq + Hash> Pool<T> {
    fn id(&mut self, value: T) -> Result<u32, SessionError> {
        if let Some(id) = self.ids.get(&value) {
            return Ok(*id);
        }
        let id = index(self.values.len())?;
        self.values.push(value);
        self.ids.insert(value, id);
        Ok(id)
    }
}

/// The events of one pass.
#[derive(Debug, Default)]
pub(super) struct DayEvents {
    pub(super) events: Vec<Event>,
    members: Vec<Member>,
    member_ids: HashMap<Who, u32>,
    actors: Vec<Actor>,
    actor_ids: HashMap<Actor, u32>,
    texts: Vec<Arc<str>>,
    text_ids: HashMap<Arc<str>, TextId>,
    places: Pool<Place>,
    pub(super) tracks: Tracks,
}

/// Which rows of a who are wanted: those from that event time on, as events of that actor.
pub(super) type Wanted = Option<(Actor, i64)>;

impl DayEvents {
    /// Adds the rows of a batch that `select` wants.
    pub(super) fn push(
        &mut self,
        (day, topic): (i32, Topic),
        batch: &RecordBatch,
        runs: &mut Runs,
        select: impl Fn(Who) -> Wanted,
    ) -> Result<(), SessionError> {
        let mut columns = Columns::of(topic, batch)?;
        self.events.reserve(batch.num_rows());
        let mut last: Option<(Who, Option<(u32, i64)>)> = None;
        source::People::of(batch)?.each(runs, |row, who, time_ms| {
            source::check_day(day, time_ms)?;
            let member = match last {
                Some((same, member)) if same == who => member,
                _ => match select(who) {
                    Some((actor, from_ms)) => Some((self.member_id(who, actor)?, from_ms)),
                    None => None,
                },
            };
            last = Some((who, member));
            let Some((member, from_ms)) = member else { return Ok(()) };
            if time_ms >= from_ms {
                let event = columns.event(self, row, member, time_ms)?;
                self.events.push(event);
            }
            Ok(())
        })?;
        index(self.events.len()).map(|_| ())
    }

    pub(super) fn actors(&self) -> &[Actor] {
        &self.actors
    }

    pub(super) fn member(&self, event: &Event) -> Member {
        self.members[event.member as usize]
    }

    /// Returns the page of a page view, or the level after a status change.
    pub(super) fn detail(&self, event: &Event) -> Option<&Arc<str>> {
        self.text(event.detail)
    }

    pub(super) fn level(&self, event: &Event) -> Option<&Arc<str>> {
        self.text(self.place(event).level)
    }

    pub(super) fn city(&self, event: &Event) -> Option<&Arc<str>> {
        self.text(self.place(event).city)
    }

    pub(super) fn state(&self, event: &Event) -> Option<&Arc<str>> {
        self.text(self.place(event).state)
    }

    /// Returns what the event tells of a song.
    pub(super) fn told(&self, event: &Event) -> Told<'_> {
        self.tracks.told(event.track)
    }

    /// Whether the event tells of a song.
    pub(super) fn is_song(&self, event: &Event) -> bool {
        match event.topic {
            Topic::Listen => true,
            Topic::PageView => self.detail(event).is_some_and(|page| &**page == SONG_PAGE),
            Topic::Auth | Topic::StatusChange => false,
        }
    }

    fn place(&self, event: &Event) -> Place {
        self.places.values[event.place as usize]
    }

    fn text(&self, id: TextId) -> Option<&Arc<str>> {
        self.texts.get((id.0 as usize).checked_sub(1)?)
    }

    fn member_id(&mut self, who: Who, actor: Actor) -> Result<u32, SessionError> {
        if let Some(id) = self.member_ids.get(&who) {
            return Ok(*id);
        }
        let actor = match self.actor_ids.get(&actor) {
            Some(known) => *known,
            None => {
                let known = index(self.actors.len())?;
                self.actors.push(actor);
                self.actor_ids.insert(actor, known);
                known
            }
        };
        let id = index(self.members.len())?;
        self.members.push(Member { actor, session: who.session, anonymous: who.user.is_none() });
        self.member_ids.insert(who, id);
        Ok(id)
    }

    fn text_id(&mut self, text: &str) -> Result<TextId, SessionError> {
        if let Some(id) = self.text_ids.get(text) {
            return Ok(*id);
        }
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        let id = TextId(index(self.texts.len())?);
        self.text_ids.insert(text, id);
        Ok(id)
    }
}

fn index(length: usize) -> Result<u32, SessionError> {
    u32::try_from(length).map_err(|_| SessionError::TooManyEvents)
}

/// One text column, and the numbers of its texts.
struct TextColumn {
    texts: Texts,
    ids: PerText<TextId>,
}

impl TextColumn {
    fn of(texts: Texts) -> Self {
        Self { ids: PerText::of(&texts), texts }
    }

    fn id(&mut self, events: &mut DayEvents, row: usize) -> Result<TextId, SessionError> {
        let Some(code) = self.texts.code(row) else { return Ok(TextId(0)) };
        let id = self.ids.of_code(code);
        match id {
            Some(id) => Ok(*id),
            None => Ok(*id.insert(events.text_id(self.texts.text(code))?)),
        }
    }
}

/// The columns that tell of a song. A title mostly has one artist and one length, so each one's last track is looked at first.
struct Plays<'a> {
    songs: Texts,
    artists: Texts,
    seconds: &'a Float64Array,
    last: PerText<LastTrack>,
}

#[derive(Clone, Copy)]
struct LastTrack {
    artist: Option<u32>,
    seconds_bits: Option<u64>,
    id: u32,
}

impl<'a> Plays<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, SessionError> {
        let songs = texts(batch, "song")?;
        let last = PerText::of(&songs);
        Ok(Self { songs, artists: texts(batch, "artist")?, seconds: doubles(batch, "duration")?, last })
    }

    fn id(&mut self, tracks: &mut Tracks, row: usize) -> u32 {
        let (song, artist) = (self.songs.code(row), self.artists.code(row));
        let seconds = self.seconds.is_valid(row).then(|| self.seconds.value(row));
        let seconds_bits = seconds.map(f64::to_bits);
        let mut look_up = || {
            tracks.id(Told {
                song: song.map(|code| self.songs.text(code)),
                artist: artist.map(|code| self.artists.text(code)),
                seconds,
            })
        };
        let Some(song) = song else { return look_up() };
        match self.last.of_code(song) {
            Some(last) if (last.artist, last.seconds_bits) == (artist, seconds_bits) => last.id,
            last => last.insert(LastTrack { artist, seconds_bits, id: look_up() }).id,
        }
    }
}

/// The columns of a batch beside who and when.
struct Columns<'a> {
    topic: Topic,
    items: &'a [i32],
    detail: Option<TextColumn>,
    level: TextColumn,
    city: TextColumn,
    state: TextColumn,
    plays: Option<Plays<'a>>,
    last_place: Option<(Place, u32)>,
}

impl<'a> Columns<'a> {
    fn of(topic: Topic, batch: &'a RecordBatch) -> Result<Self, SessionError> {
        let tells_of_songs = matches!(topic, Topic::Listen | Topic::PageView);
        let text = |name| texts(batch, name).map(TextColumn::of);
        let (detail, level) = match topic {
            Topic::PageView => (Some(text("page")?), "level"),
            Topic::StatusChange => (Some(text("new_level")?), "old_level"),
            Topic::Listen | Topic::Auth => (None, "level"),
        };
        if let (Topic::PageView, Some(pages)) = (topic, &detail) {
            without_nulls(pages.texts.null_count(), "page")?;
        }
        Ok(Self {
            topic,
            items: required(ints(batch, "item_in_session")?, "item_in_session")?.values(),
            detail,
            level: text(level)?,
            city: text("city")?,
            state: text("state")?,
            plays: tells_of_songs.then(|| Plays::of(batch)).transpose()?,
            last_place: None,
        })
    }

    fn event(
        &mut self,
        events: &mut DayEvents,
        row: usize,
        member: u32,
        time_ms: i64,
    ) -> Result<Event, SessionError> {
        let place = Place {
            level: self.level.id(events, row)?,
            city: self.city.id(events, row)?,
            state: self.state.id(events, row)?,
        };
        let place = match self.last_place {
            Some((same, id)) if same == place => id,
            _ => {
                let id = events.places.id(place)?;
                self.last_place = Some((place, id));
                id
            }
        };
        let detail = match &mut self.detail {
            Some(detail) => detail.id(events, row)?,
            None => TextId::default(),
        };
        let track = match &mut self.plays {
            Some(plays) => plays.id(&mut events.tracks, row),
            None => events.tracks.id(Told::default()),
        };
        Ok(Event { time_ms, item: self.items[row], member, detail, place, track, topic: self.topic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_takes_32_bytes() {
        assert_eq!(size_of::<Event>(), 32);
    }
}
