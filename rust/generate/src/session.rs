//! One session: a walk through the state machine with a clock and a player. Pure; no output, no calendar.
//!
//! Time rules, all in whole seconds: a redirect is entered 1 s after the page before it; a song that follows a song starts
//! when that one ends, unless it ended already; everything else takes an exponential pause with the listener's mean. Songs are
//! never skipped, and pages visited during a song do not stop it.

use crate::{
    catalogue::Catalogue,
    machine::{Machine, PageKind, StateId},
    rng::Rng,
};

/// Where a listener stands in a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    time: i64,
    song_end: i64,
    item: u32,
    song: Option<u32>,
    state: StateId,
    /// The page before, as the auth rule sees it: entering a redirect does not count.
    previous: Option<StateId>,
}

/// All there is to a session, for keeping it.
#[derive(Clone, Copy, Debug)]
pub struct SessionParts {
    /// Time of the present event, in seconds since 1970.
    pub time: i64,
    /// When the last song ends, in seconds since 1970.
    pub song_end: i64,
    /// Number of the present event, from 0.
    pub item: u32,
    /// The song that plays or played last.
    pub song: Option<u32>,
    /// The present state.
    pub state: StateId,
    /// The page before, as the auth rule sees it.
    pub previous: Option<StateId>,
}

impl Session {
    /// Returns all there is to it.
    pub fn parts(&self) -> SessionParts {
        let Self { time, song_end, item, song, state, previous } = *self;
        SessionParts { time, song_end, item, song, state, previous }
    }

    /// Returns the session with these parts.
    pub fn from_parts(parts: SessionParts) -> Self {
        let SessionParts { time, song_end, item, song, state, previous } = parts;
        Self { time, song_end, item, song, state, previous }
    }

    /// Begins a session of a listener of a group at `time`.
    pub fn begin(machine: &Machine, catalogue: &Catalogue, group: usize, time: i64, rng: &mut Rng) -> Self {
        let state = machine.draw_entry(group, rng);
        let mut session = Self { time, song_end: time, item: 0, song: None, state, previous: None };
        if machine.state(state).kind == PageKind::Song {
            session.play(catalogue, rng);
        }
        session
    }

    /// Goes on to the next event; false if the session ended with the present one.
    pub fn advance(&mut self, machine: &Machine, catalogue: &Catalogue, alpha: f64, rng: &mut Rng) -> bool {
        let Some(next) = machine.draw_next(self.state, rng) else { return false };
        let next_state = machine.state(next);
        let is_song = next_state.kind == PageKind::Song;
        if next_state.is_redirect() {
            self.time += 1;
        } else {
            self.previous = Some(self.state);
            let is_playing = self.song.is_some() && self.time < self.song_end;
            self.time = if is_song && is_playing {
                self.song_end
            } else {
                self.time + rng.exponential_seconds(alpha)
            };
        }
        self.state = next;
        self.item += 1;
        if is_song {
            self.play(catalogue, rng);
        }
        true
    }

    fn play(&mut self, catalogue: &Catalogue, rng: &mut Rng) {
        let song = catalogue.draw_song(rng);
        self.song = Some(song);
        self.song_end = self.time + catalogue.songs[song as usize].seconds;
    }

    /// Returns the time of the present event.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Returns the number of the present event in the session, from 0.
    pub fn item(&self) -> u32 {
        self.item
    }

    /// Returns the present state.
    pub fn state(&self) -> StateId {
        self.state
    }

    /// Returns the song that plays or played last.
    pub fn song(&self) -> Option<u32> {
        self.song
    }

    /// Returns whether the present event is an auth event too: the page before was `Login`.
    ///
    /// Entering a redirect does not move "the page before", so a login that is followed by a page and then by another redirect
    /// is reported twice. Real streams have this (4.6 % of auth events), and pipelines must cope, so it is kept.
    pub fn follows_login(&self, machine: &Machine) -> bool {
        self.previous.is_some_and(|previous| machine.state(previous).kind == PageKind::Login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{profile::Profile, rng::Purpose};

    struct Fixture {
        profile: Profile,
        catalogue: Catalogue,
    }

    fn fixture(profile: &str) -> Fixture {
        let profile = Profile::builtin(profile).unwrap();
        let catalogue = Catalogue::invent(&profile.catalogue, 1);
        Fixture { profile, catalogue }
    }

    /// Walks `count` sessions that begin like the sessions of a state's group; calls `see` at each event.
    fn walk(fixture: &Fixture, page: &str, count: u32, mut see: impl FnMut(&Session)) {
        let machine = &fixture.profile.machine;
        let is_start = |state: &crate::machine::State| format!("{}/{}", state.auth, state.level) == page;
        let member = machine.states().iter().position(is_start).unwrap();
        let group = machine.group_after(member as StateId);
        let mut rng = Rng::new(11, Purpose::Listener, group as u64);
        for _ in 0..count {
            let mut session = Session::begin(machine, &fixture.catalogue, group, 0, &mut rng);
            see(&session);
            while session.advance(machine, &fixture.catalogue, 90.0, &mut rng) {
                see(&session);
            }
        }
    }

    #[test]
    fn walked_sessions_are_as_long_as_the_chain_says() {
        let fixture = fixture("example");
        let known = [
            ("Guest/free", 200_000, 3.060),
            ("Logged In/free", 200_000, 2.723),
            ("Logged Out/free", 200_000, 4.026),
            ("Logged In/paid", 60_000, 29.642),
            ("Logged Out/paid", 60_000, 16.667),
        ];

        for (group, count, expected) in known {
            let mut events = 0u32;
            walk(&fixture, group, count, |_| events += 1);
            let mean = f64::from(events) / f64::from(count);
            assert!((mean / expected - 1.0).abs() < 0.01, "{group}: {mean} events, not {expected}");
        }
    }

    #[test]
    fn walked_sessions_of_the_engagement_profile_are_as_long_as_the_chain_says() {
        let fixture = fixture("engagement");

        for (group, count, expected) in
            [("Logged In/free", 100_000, 50.548), ("Logged In/paid", 60_000, 133.915)]
        {
            let mut events = 0u32;
            walk(&fixture, group, count, |_| events += 1);
            let mean = f64::from(events) / f64::from(count);
            assert!((mean / expected - 1.0).abs() < 0.01, "{group}: {mean} events, not {expected}");
        }
    }

    #[test]
    fn redirects_take_a_second_and_songs_play_to_their_end() {
        let fixture = fixture("example");
        let machine = &fixture.profile.machine;
        let mut previous: Option<Session> = None;

        let mut num_follow_ups = 0;
        walk(&fixture, "Logged In/paid", 2_000, |session| {
            if let Some(previous) = previous.as_ref().filter(|_| session.item() > 0) {
                let gap = session.time() - previous.time();
                let kind = |session: &Session| machine.state(session.state()).kind;
                if machine.state(session.state()).is_redirect() {
                    assert_eq!(gap, 1);
                } else if kind(previous) == PageKind::Song && kind(session) == PageKind::Song {
                    let song = &fixture.catalogue.songs[previous.song().unwrap() as usize];
                    assert_eq!(gap, song.seconds);
                    num_follow_ups += 1;
                }
                assert!(gap >= 0 && session.item() == previous.item() + 1);
            }
            previous = Some(session.clone());
        });

        assert!(num_follow_ups > 10_000, "only {num_follow_ups} songs followed songs");
    }

    #[test]
    fn nine_tenths_of_logins_succeed_and_some_are_told_twice() {
        let fixture = fixture("example");
        let machine = &fixture.profile.machine;
        let (mut logins, mut auths, mut successes) = (0.0, 0.0, 0.0);

        walk(&fixture, "Logged Out/paid", 100_000, |session| {
            let state = machine.state(session.state());
            logins += f64::from(state.kind == PageKind::Login);
            if session.follows_login(machine) {
                auths += 1.0;
                successes += f64::from(state.is_logged_in);
            }
        });

        assert!((auths / logins - 1.047).abs() < 0.01, "{auths} auth events of {logins} logins");
        assert!((successes / auths - 0.867).abs() < 0.01, "{successes} of {auths} succeeded");
    }
}
