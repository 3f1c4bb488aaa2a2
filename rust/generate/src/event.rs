//! Writes events as the JSON that goes over the wire: one flat object per record, closed by a newline byte.
//!
//! Fields that do not apply are absent, never `null`; fields that name the listener appear only where the auth state shows
//! them; their order is Eventsim's. Everything that does not change from event to event is prepared once as JSON text, so that
//! writing an event is copying a few slices and printing a few integers.

use std::ops::Range;

use crate::{
    catalogue::Catalogue,
    machine::{Machine, PageKind, State},
    population::Listener,
};

/// One of the four topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// What happens in one step of one listener: a page view and up to two more events, as JSON.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    bytes: Vec<u8>,
    parts: Vec<(Topic, Range<usize>)>,
    /// Event time, milliseconds since 1970.
    pub ts_ms: i64,
    /// Number of the session in the run.
    pub session_id: u64,
    /// Number of the listener, if the events name them.
    pub user_id: Option<u64>,
}

impl Moment {
    /// Returns the events in the order they are sent: the page view last.
    pub fn events(&self) -> impl ExactSizeIterator<Item = (Topic, &[u8])> {
        self.parts.iter().map(|(topic, range)| (*topic, &self.bytes[range.clone()]))
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

/// Turns listeners' present states into events.
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

    /// Writes the events of a listener's present state into `moment`, replacing what it held.
    pub fn write(
        &self,
        listener: &Listener,
        user_id: u64,
        millisecond: i64,
        machine: &Machine,
        catalogue: &Catalogue,
        moment: &mut Moment,
    ) {
        let session = &listener.session;
        let state = machine.state(session.state());
        let text = &self.states[usize::from(session.state())];
        moment.bytes.clear();
        moment.parts.clear();
        moment.ts_ms = session.time() * 1000 + millisecond;
        moment.session_id = listener.session_id;
        moment.user_id = state.shows_user.then_some(user_id);
        let song = session.song().filter(|_| state.kind == PageKind::Song);
        let song = song.map(|song| catalogue.songs[song as usize].json.as_str());
        let mut writer = Writer { encoder: self, listener, user_id, millisecond, catalogue, state, moment };
        if song.is_some() {
            writer.event(Topic::Listen, song, &text.with_auth, "");
        }
        if session.follows_login(machine) {
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
    listener: &'a Listener,
    user_id: u64,
    millisecond: i64,
    catalogue: &'a Catalogue,
    state: &'a State,
    moment: &'a mut Moment,
}

impl Writer<'_> {
    /// Writes one event; a song stands first in a listen and last in a page view.
    fn event(&mut self, topic: Topic, song: Option<&str>, state: &str, outcome: &str) {
        let identity = &self.listener.identity;
        let place = &self.catalogue.places[identity.place as usize];
        let (ts_ms, session_id) = (self.moment.ts_ms, self.moment.session_id);
        let out = &mut self.moment.bytes;
        let from = out.len();
        out.push(b'{');
        if let (Topic::Listen, Some(song)) = (topic, song) {
            out.extend_from_slice(song.as_bytes());
            out.push(b',');
        }
        push_number(out, "\"ts\":", ts_ms);
        push_number(out, ",\"sessionId\":", session_id as i64);
        push_number(out, state, i64::from(self.listener.session.item()));
        out.push(b',');
        out.extend_from_slice(place.name_json.as_bytes());
        out.extend_from_slice(b",\"userAgent\":");
        out.extend_from_slice(self.catalogue.agents[identity.agent as usize].as_bytes());
        out.push(b',');
        out.extend_from_slice(place.position_json.as_bytes());
        if self.state.shows_user {
            push_number(out, ",\"userId\":", self.user_id as i64);
            out.extend_from_slice(b",\"lastName\":");
            out.extend_from_slice(self.catalogue.last_names[identity.last_name as usize].as_bytes());
            out.push(b',');
            out.extend_from_slice(self.catalogue.first_names[identity.first_name as usize].json.as_bytes());
            let registration_ms = self.listener.registration * 1000 + self.millisecond;
            push_number(out, ",\"registration\":", registration_ms);
            out.extend_from_slice(self.encoder.tag.as_bytes());
        }
        if let (Topic::PageView, Some(song)) = (topic, song) {
            out.push(b',');
            out.extend_from_slice(song.as_bytes());
        }
        out.extend_from_slice(outcome.as_bytes());
        out.extend_from_slice(b"}\n");
        let to = out.len();
        self.moment.parts.push((topic, from..to));
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
