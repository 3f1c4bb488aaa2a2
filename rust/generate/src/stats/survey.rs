//! Takes records in, one after the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    line::{Level, Line, PageView, Unreadable},
    measures::{self, Measures},
    sessions::{Kind, Sessions, Step},
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// How many records of which kind were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Page views, each counted once.
    pub page_views: u64,
    /// Second deliveries of page views.
    pub repeated: u64,
    /// Songs begun, as records of their own.
    pub listens: u64,
    /// Results of logins.
    pub auths: u64,
    /// Of these, the successes.
    pub auth_successes: u64,
    /// Upgrades and downgrades asked for.
    pub status_changes: u64,
    /// Objects that are no events.
    pub others: u64,
    /// Records that are no objects with the expected types.
    pub malformed: u64,
    /// Records with an event time outside 2000 to 2100.
    pub out_of_time: u64,
}

/// What is known of a user.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    pub(super) run: u32,
    pub(super) id: u64,
    pub(super) num_events: u64,
    pub(super) first_ms: i64,
    pub(super) first_level: Level,
}

/// A stream, as far as it was seen.
#[derive(Debug, Default)]
pub struct Survey {
    pub(super) tally: Tally,
    pub(super) pages: BTreeMap<String, u64>,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) num_paid: u64,
    pub(super) num_anonymous: u64,
    pub(super) by_hour: [u64; 24],
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
    pub(super) users: Vec<User>,
    pub(super) user_days: HashSet<(u32, i32)>,
    pub(super) sessions: Sessions,
    user_indices: HashMap<(u32, u64), u32>,
}

impl Survey {
    /// Takes in a record of run number `run` (0 if runs are not told apart).
    pub fn add(&mut self, run: u32, record: &[u8]) {
        match Line::parse(record) {
            Ok(Line::PageView(view)) => self.page_view(run, &view),
            Ok(Line::Listen) => self.tally.listens += 1,
            Ok(Line::Auth { success }) => {
                self.tally.auths += 1;
                self.tally.auth_successes += u64::from(success);
            }
            Ok(Line::StatusChange) => self.tally.status_changes += 1,
            Ok(Line::Other) => self.tally.others += 1,
            Err(Unreadable::Malformed) => self.tally.malformed += 1,
            Err(Unreadable::Time) => self.tally.out_of_time += 1,
        }
    }

    /// Returns the counts so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Turns what was seen into numbers. `num_users`: how many users there are, the silent ones included; if not given it is
    /// taken from the span of their ids, where they look consecutive.
    pub fn measures(self, num_users: Option<u64>) -> Measures {
        measures::take(self, num_users)
    }

    fn page_view(&mut self, run: u32, view: &PageView<'_>) {
        let user = view.user.map(|id| self.user(run, id, view));
        let kind = match view.page.as_ref() {
            "NextSong" => Kind::Song,
            "Login" => Kind::Login,
            _ => Kind::Other,
        };
        let PageView { ts_ms, status, auth, level, .. } = *view;
        let step = Step { item: 0, ts_ms, kind, status, auth, level, user };
        if !self.sessions.add(run, view.session, view.item, step) {
            self.tally.repeated += 1;
            return;
        }
        self.count(view, user);
    }

    fn count(&mut self, view: &PageView<'_>, user: Option<u32>) {
        self.tally.page_views += 1;
        match self.pages.get_mut(view.page.as_ref()) {
            Some(count) => *count += 1,
            None => {
                self.pages.insert(view.page.as_ref().to_owned(), 1);
            }
        }
        *self.statuses.entry(view.status).or_default() += 1;
        self.num_paid += u64::from(view.level == Level::Paid);
        let hour = view.ts_ms.div_euclid(HOUR_MS).rem_euclid(24);
        self.by_hour[hour as usize] += 1;
        self.first_ms = Some(self.first_ms.map_or(view.ts_ms, |first| first.min(view.ts_ms)));
        self.last_ms = Some(self.last_ms.map_or(view.ts_ms, |last| last.max(view.ts_ms)));
        let Some(index) = user else {
            self.num_anonymous += 1;
            return;
        };
        self.users[index as usize].num_events += 1;
        self.user_days.insert((index, view.ts_ms.div_euclid(DAY_MS) as i32));
    }

    /// Returns the index of a user.
    fn user(&mut self, run: u32, id: u64, view: &PageView<'_>) -> u32 {
        let next = self.users.len() as u32;
        let index = *self.user_indices.entry((run, id)).or_insert(next);
        let (first_ms, first_level) = (view.ts_ms, view.level);
        match self.users.get_mut(index as usize) {
            Some(user) if view.ts_ms < user.first_ms => {
                (user.first_ms, user.first_level) = (first_ms, first_level);
            }
            Some(_) => {}
            None => self.users.push(User { run, id, num_events: 0, first_ms, first_level }),
        }
        index
    }
}
