//! Writes events as the JSON that goes over the wire: one flat object per record, closed by a newline byte.
//!
//! Fields that do not apply are absent, never `null`; fields that name the listener appear only where the auth state shows
//! them; their order is Eventsim's. Everything that does not change from event to event is prepared once as JSON text, so that
//! writing an event is copying a few slices and printing a few integers.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::Identity,
    machine::{Machine, PageKind, State},
    model::Model,
    step::Step,
};

/// Version of the fields that events have, in the header `schema_version` of each record: it changes when a field changes its
/// meaning or goes away, not when one is added.
pub const SCHEMA_VERSION: &str = "1";

/// One of the four topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    /// A song begins.
    Listen,
    /// A page is entered (songs included).
    PageView,
    /// The result of a login.
    Auth,
    /// An upgrade or downgrade is asked for.
    StatusChange,
}

impl Topic {
    /// All topics, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Listen, Self::PageView, Self::Auth, Self::StatusChange];

    /// Returns the Kafka topic and the stem of the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen_events",
            Self::PageView => "page_view_events",
            Self::Auth => "auth_events",
            Self::StatusChange => "status_change_events",
        }
    }
}

/// A run of steps with their events as JSON.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    steps: Vec<Step>,
    bytes: Vec<u8>,
    events: Vec<Event>,
    /// For each step, the end of its events in `events`.
    ends: Vec<u32>,
    millisecond: i64,
    first_user_id: u64,
}

/// Where an event lies in the bytes of a chunk: from the end of the one before to its own.
#[derive(Clone, Copy, Debug)]
struct Event {
    topic: Topic,
    shows_user: bool,
    end: u32,
}

impl Chunk {
    /// Empties the chunk and keeps its memory.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.bytes.clear();
        self.events.clear();
        self.ends.clear();
    }

    /// Takes over the memory that the events of `other` were in.
    pub fn adopt_memory(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.bytes, &mut other.bytes);
        std::mem::swap(&mut self.events, &mut other.events);
        std::mem::swap(&mut self.ends, &mut other.ends);
    }

    /// Appends a step; it has no events until the chunk is encoded.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Returns the steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns step `index` with its events; `None` past the last encoded one.
    pub fn moment(&self, index: usize) -> Option<Moment<'_>> {
        let end = *self.ends.get(index)? as usize;
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let step = &self.steps[index];
        let listener_id = self.first_user_id + u64::from(step.listener);
        Some(Moment {
            ts_ms: step.time * 1000 + self.millisecond,
            session_id: step.session.get(),
            user_id: self.events[begin].shows_user.then_some(listener_id),
            listener_id,
            step,
            events: &self.events[begin..end],
            first_byte: begin.checked_sub(1).map_or(0, |before| self.events[before].end as usize),
            bytes: &self.bytes,
        })
    }
}

/// What happens in one step of one listener: a page view and up to two more events, as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Event time, milliseconds since 1970.
    pub ts_ms: i64,
    /// Number of the session in the run.
    pub session_id: u64,
    /// Number of the listener, if the events name them.
    pub user_id: Option<u64>,
    /// Number of the listener, whether the events name them or not.
    pub listener_id: u64,
    /// What the events were made from.
    pub step: &'a Step,
    events: &'a [Event],
    first_byte: usize,
    bytes: &'a [u8],
}

impl<'a> Moment<'a> {
    /// Returns the events in the order they are sent: the page view last.
    pub fn events(&self) -> impl ExactSizeIterator<Item = (Topic, &'a [u8])> + use<'a> {
        let (mut from, bytes) = (self.first_byte, self.bytes);
        self.events.iter().map(move |event| {
            let begin = std::mem::replace(&mut from, event.end as usize);
            (event.topic, &bytes[begin..event.end as usize])
        })
    }
}

/// Prepared JSON of a state.
#[derive(Clone, Debug)]
struct StateText {
    /// `,"page":…,"auth":…,"method":…,"status":…,"level":…,"itemInSession":`
    page_view: String,
    /// `,"auth":…,"level":…,"itemInSession":`
    with_auth: String,
    /// `,"level":…,"itemInSession":`
    without_auth: String,
}

/// Turns steps into events.
#[derive(Clone, Debug)]
pub struct Encoder {
    states: Vec<StateText>,
    tag: String,
}

impl Encoder {
    /// Prepares the texts of a machine; `tag`, if any, is put on events that name the listener.
    pub fn new(machine: &Machine, tag: Option<&str>) -> Self {
        let tag = tag.map_or_else(String::new, |tag| format!(r#","tag":{}"#, serde_json::Value::from(tag)));
        Self { states: machine.states().iter().map(state_text).collect(), tag }
    }

    /// Writes the events of all steps of a chunk.
    pub fn encode(&self, model: &Model, chunk: &mut Chunk) {
        let Chunk { steps, bytes, events, ends, millisecond, first_user_id } = chunk;
        *millisecond = model.millisecond;
        *first_user_id = model.settings.first_user_id;
        bytes.clear();
        events.clear();
        ends.clear();
        for step in steps.iter() {
            self.encode_step(model, step, bytes, events);
            ends.push(events.len() as u32);
        }
    }

    fn encode_step(&self, model: &Model, step: &Step, bytes: &mut Vec<u8>, events: &mut Vec<Event>) {
        let state = model.machine().state(step.state);
        let text = &self.states[usize::from(step.state)];
        let song = step.song.filter(|_| state.kind == PageKind::Song);
        let song = song.map(|song| model.catalogue.songs[song as usize].json.as_str());
        let mut writer = Writer { encoder: self, model, step, state, bytes, events, person: None };
        if song.is_some() {
            writer.event(Topic::Listen, song, &text.with_auth, "");
        }
        if step.follows_login {
            let outcome = if state.is_logged_in { r#","success":true"# } else { r#","success":false"# };
            writer.event(Topic::Auth, None, &text.without_auth, outcome);
        }
        if state.kind == PageKind::StatusChange {
            writer.event(Topic::StatusChange, None, &text.with_auth, "");
        }
        writer.event(Topic::PageView, song, &text.page_view, "");
    }
}

struct Writer<'a> {
    encoder: &'a Encoder,
    model: &'a Model,
    step: &'a Step,
    state: &'a State,
    bytes: &'a mut Vec<u8>,
    events: &'a mut Vec<Event>,
    /// Where the text about the person, the same in all events of a step, has been written before.
    person: Option<Range<usize>>,
}

impl Writer<'_> {
    /// Writes one event; a song stands first in a listen and last in a page view.
    fn event(&mut self, topic: Topic, song: Option<&str>, state: &str, outcome: &str) {
        let (step, out) = (self.step, &mut *self.bytes);
        out.push(b'{');
        if let (Topic::Listen, Some(song)) = (topic, song) {
            out.extend_from_slice(song.as_bytes());
            out.push(b',');
        }
        push_number(out, "\"ts\":", self.model.ts_ms(step.time));
        push_number(out, ",\"sessionId\":", step.session.get() as i64);
        push_number(out, state, i64::from(step.item));
        self.person();
        let out = &mut *self.bytes;
        if let (Topic::PageView, Some(song)) = (topic, song) {
            out.push(b',');
            out.extend_from_slice(song.as_bytes());
        }
        out.extend_from_slice(outcome.as_bytes());
        out.extend_from_slice(b"}\n");
        let (shows_user, end) = (self.state.shows_user, out.len() as u32);
        self.events.push(Event { topic, shows_user, end });
    }

    /// Writes device and place, and the name where it shows.
    fn person(&mut self) {
        let out = &mut *self.bytes;
        if let Some(before) = self.person.clone() {
            out.extend_from_within(before);
            return;
        }
        let from = out.len();
        let (Identity { place, agent, first_name, last_name }, catalogue) =
            (self.step.identity, &self.model.catalogue);
        let place = &catalogue.places[place as usize];
        out.push(b',');
        out.extend_from_slice(place.name_json.as_bytes());
        out.extend_from_slice(b",\"userAgent\":");
        out.extend_from_slice(catalogue.agents[agent as usize].as_bytes());
        out.push(b',');
        out.extend_from_slice(place.position_json.as_bytes());
        if self.state.shows_user {
            let user_id = self.model.settings.first_user_id + u64::from(self.step.listener);
            push_number(out, ",\"userId\":", user_id as i64);
            out.extend_from_slice(b",\"lastName\":");
            out.extend_from_slice(catalogue.last_names[last_name as usize].json.as_bytes());
            out.push(b',');
            out.extend_from_slice(catalogue.first_names[first_name as usize].json.as_bytes());
            push_number(out, ",\"registration\":", self.model.ts_ms(self.step.registration));
            out.extend_from_slice(self.encoder.tag.as_bytes());
        }
        self.person = Some(from..out.len());
    }
}

fn state_text(state: &State) -> StateText {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let level = format!(r#","level":{},"itemInSession":"#, json(&state.level));
    let auth = format!(r#","auth":{}"#, json(&state.auth));
    let answer = format!(r#","method":{},"status":{}"#, json(&state.answer.method), state.answer.status);
    StateText {
        page_view: format!(r#","page":{}{auth}{answer}{level}"#, json(&state.page)),
        with_auth: format!("{auth}{level}"),
        without_auth: level,
    }
}

/// Appends `prefix` and a decimal number.
fn push_number(out: &mut Vec<u8>, prefix: &str, number: i64) {
    out.extend_from_slice(prefix.as_bytes());
    if number < 0 {
        out.push(b'-');
    }
    let mut rest = number.unsigned_abs();
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_rust_prints_them() {
        for number in [0, 7, 10, -1, 1_793_000_000_926, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            push_number(&mut out, "x", number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{number}"));
        }
    }
}
