//! Sessions put together from page views that may come in any order.
//!
//! Each session waits for its next item; items that come early are kept until then, items that came before are second
//! deliveries. A session whose first items never come (the run began in its middle) is put together at the end.

use std::collections::HashMap;

use super::{
    distribution::Distribution,
    line::{Auth, Level},
};

/// A gap above this ends a session for pipelines that know no session ids, in seconds.
pub(super) const TIMEOUT_SECONDS: i64 = 1800;

/// The pages that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Song,
    Login,
    Other,
}

/// One page view, as small as it can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) item: u32,
    pub(super) ts_ms: i64,
    pub(super) kind: Kind,
    pub(super) status: u16,
    pub(super) auth: Auth,
    pub(super) level: Level,
    /// Index of the user, if known.
    pub(super) user: Option<u32>,
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    pub(super) num_events: u32,
    pub(super) num_songs: u32,
    next_item: u32,
    /// The first user it names.
    pub(super) user: Option<u32>,
    pub(super) is_cut: bool,
    pub(super) has_long_gap: bool,
    pub(super) has_free: bool,
    pub(super) has_paid: bool,
    pub(super) begins_as: (Auth, Level),
    last_kind: Kind,
    early: Vec<Step>,
}

/// All sessions, and what happens between their pages.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// By run and session id.
    sessions: HashMap<(u32, u64), Session>,
    pub(super) gaps: Gaps,
}

/// Seconds between neighbouring pages of a session, and what logins lead to.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    pub(super) all: Distribution,
    pub(super) song_to_song: Distribution,
    pub(super) other_200: Distribution,
    pub(super) num_logins: u64,
    pub(super) num_logged_in: u64,
}

impl Sessions {
    /// Takes a page view in; false if it was there already. Without an item number it counts as the next of its session.
    pub(super) fn add(&mut self, run: u32, session: u64, item: Option<u32>, mut step: Step) -> bool {
        let session = self.sessions.entry((run, session)).or_insert_with(|| Session::new(&step));
        step.item = item.unwrap_or(session.next_item);
        if step.item < session.next_item {
            return false;
        }
        if step.item > session.next_item {
            let place = session.early.binary_search_by_key(&step.item, |early| early.item);
            let Err(place) = place else { return false };
            session.early.insert(place, step);
            return true;
        }
        session.take(&step, &mut self.gaps);
        let ready =
            session.early.iter().zip(session.next_item..).take_while(|(early, item)| early.item == *item);
        let num_ready = ready.count();
        let mut early = std::mem::take(&mut session.early);
        for step in early.drain(..num_ready) {
            session.take(&step, &mut self.gaps);
        }
        session.early = early;
        true
    }

    /// Puts together what still waits for earlier items, and returns all sessions.
    pub(super) fn finish(mut self) -> (Vec<Session>, Gaps) {
        let mut sessions: Vec<Session> = self.sessions.into_values().collect();
        for session in &mut sessions {
            for step in std::mem::take(&mut session.early) {
                session.is_cut = true;
                session.take(&step, &mut self.gaps);
            }
        }
        (sessions, self.gaps)
    }
}

impl Session {
    fn new(step: &Step) -> Self {
        Self {
            first_ms: step.ts_ms,
            last_ms: step.ts_ms,
            num_events: 0,
            num_songs: 0,
            next_item: 0,
            user: None,
            is_cut: false,
            has_long_gap: false,
            has_free: false,
            has_paid: false,
            begins_as: (step.auth, step.level),
            last_kind: step.kind,
            early: Vec::new(),
        }
    }

    /// Goes on to a page view that is the next in the order of items.
    fn take(&mut self, step: &Step, gaps: &mut Gaps) {
        if self.num_events == 0 {
            (self.first_ms, self.last_ms) = (step.ts_ms, step.ts_ms);
            self.begins_as = (step.auth, step.level);
        } else if step.item == self.next_item {
            self.count_gap(step, gaps);
        }
        self.num_events += 1;
        self.num_songs += u32::from(step.kind == Kind::Song);
        self.next_item = step.item.saturating_add(1);
        self.user = self.user.or(step.user);
        self.has_free |= step.level == Level::Free;
        self.has_paid |= step.level == Level::Paid;
        self.last_kind = step.kind;
        self.last_ms = self.last_ms.max(step.ts_ms);
    }

    fn count_gap(&mut self, step: &Step, gaps: &mut Gaps) {
        let seconds = (step.ts_ms - self.last_ms).div_euclid(1000);
        gaps.all.add(seconds);
        self.has_long_gap |= seconds > TIMEOUT_SECONDS;
        match (self.last_kind, step.kind) {
            (Kind::Song, Kind::Song) => gaps.song_to_song.add(seconds),
            (_, Kind::Song) => {}
            _ if step.status == 200 => gaps.other_200.add(seconds),
            _ => {}
        }
        if self.last_kind == Kind::Login {
            gaps.num_logins += 1;
            gaps.num_logged_in += u64::from(step.auth == Auth::LoggedIn);
        }
    }

    /// Returns the seconds from the first page to the last.
    pub(super) fn seconds(&self) -> i64 {
        (self.last_ms - self.first_ms).div_euclid(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(second: i64, kind: Kind) -> Step {
        let (auth, level) = (Auth::LoggedIn, Level::Free);
        Step { item: 0, ts_ms: second * 1000 + 926, kind, status: 200, auth, level, user: Some(3) }
    }

    #[test]
    fn any_order_and_second_deliveries_give_the_same_session() {
        let steps = [(0, 10, Kind::Other), (1, 30, Kind::Song), (2, 250, Kind::Song), (3, 2500, Kind::Other)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut sessions = Sessions::default();
            for index in order {
                let (item, second, kind) = steps[index];
                assert!(sessions.add(0, 9, Some(item), step(second, kind)));
                assert!(!sessions.add(0, 9, Some(item), step(second, kind)));
            }

            let (sessions, gaps) = sessions.finish();

            let [session] = &sessions[..] else { panic!("{sessions:?}") };
            assert_eq!((session.num_events, session.num_songs, session.seconds()), (4, 2, 2490));
            assert!(session.has_long_gap && !session.is_cut && session.user == Some(3));
            assert_eq!((gaps.all.len(), gaps.all.mean()), (3, Some(830.0)));
            assert_eq!(gaps.song_to_song.mean(), Some(220.0));
            assert_eq!(gaps.other_200.mean(), Some(2250.0));
        }
    }

    #[test]
    fn a_session_without_its_beginning_is_cut_and_gaps_are_not_guessed() {
        let mut sessions = Sessions::default();
        sessions.add(0, 1, Some(4), step(100, Kind::Other));
        sessions.add(0, 1, Some(5), step(107, Kind::Other));
        sessions.add(0, 1, Some(9), step(900, Kind::Other));

        let (sessions, gaps) = sessions.finish();

        assert!(sessions[0].is_cut);
        assert_eq!((sessions[0].num_events, gaps.all.len(), gaps.all.mean()), (3, 1, Some(7.0)));
    }

    #[test]
    fn the_same_id_in_two_runs_is_two_sessions() {
        let mut sessions = Sessions::default();

        assert!(sessions.add(0, 1, Some(0), step(100, Kind::Other)));
        assert!(sessions.add(1, 1, Some(0), step(100, Kind::Other)));

        assert_eq!(sessions.finish().0.len(), 2);
    }
}
