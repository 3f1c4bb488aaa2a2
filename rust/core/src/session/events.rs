//! The events of one pass over a day, in 32 bytes each: every text and every repeated combination is a number.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, Float64Array, RecordBatch, StringArray};

use super::actor::{Actor, Runs, Who};
use super::source::{self, Topic, doubles, ints, required, texts};
use super::track::{Played, Told, Tracks};
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
    track: u32,
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
    tracks: Tracks,
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

    /// Returns the one song that these events tell of.
    pub(super) fn played<'a>(&self, events: impl Iterator<Item = &'a Event> + Clone) -> Played {
        self.tracks.played(events.map(|event| event.track))
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

/// One text column; neighbours are often equal, which saves the lookup.
struct TextColumn<'a> {
    array: Option<&'a StringArray>,
    last: (Option<&'a str>, TextId),
}

impl<'a> TextColumn<'a> {
    fn of(array: Option<&'a StringArray>) -> Self {
        Self { array, last: (None, TextId(0)) }
    }

    fn id(&mut self, events: &mut DayEvents, row: usize) -> Result<TextId, SessionError> {
        let text = self.array.filter(|array| array.is_valid(row)).map(|array| array.value(row));
        let is_same = match (text, self.last.0) {
            (Some(text), Some(last)) => source::same(text, last),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.last = (text, text.map_or(Ok(TextId(0)), |text| events.text_id(text))?);
        }
        Ok(self.last.1)
    }
}

/// The columns of a batch beside who and when.
struct Columns<'a> {
    topic: Topic,
    items: &'a [i32],
    detail: TextColumn<'a>,
    level: TextColumn<'a>,
    city: TextColumn<'a>,
    state: TextColumn<'a>,
    artist: Option<&'a StringArray>,
    song: Option<&'a StringArray>,
    seconds: Option<&'a Float64Array>,
    last_place: Option<(Place, u32)>,
}

impl<'a> Columns<'a> {
    fn of(topic: Topic, batch: &'a RecordBatch) -> Result<Self, SessionError> {
        let plays = matches!(topic, Topic::Listen | Topic::PageView);
        let played = |name| plays.then(|| texts(batch, name)).transpose();
        let (detail, level) = match topic {
            Topic::PageView => (Some(required(texts(batch, "page")?, "page")?), "level"),
            Topic::StatusChange => (Some(texts(batch, "new_level")?), "old_level"),
            Topic::Listen | Topic::Auth => (None, "level"),
        };
        Ok(Self {
            topic,
            items: required(ints(batch, "item_in_session")?, "item_in_session")?.values(),
            detail: TextColumn::of(detail),
            level: TextColumn::of(Some(texts(batch, level)?)),
            city: TextColumn::of(Some(texts(batch, "city")?)),
            state: TextColumn::of(Some(texts(batch, "state")?)),
            artist: played("artist")?,
            song: played("song")?,
            seconds: plays.then(|| doubles(batch, "duration")).transpose()?,
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
        let text = |column: Option<&'a StringArray>| {
            column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
        };
        let seconds = self.seconds.filter(|seconds| seconds.is_valid(row)).map(|seconds| seconds.value(row));
        let told = Told { song: text(self.song), artist: text(self.artist), seconds };
        Ok(Event {
            time_ms,
            item: self.items[row],
            member,
            detail: self.detail.id(events, row)?,
            place,
            track: index(events.tracks.id(told))?,
            topic: self.topic,
        })
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
