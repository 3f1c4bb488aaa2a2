//! From what was seen to numbers with names.
//!
//! The names are those of [`super::reference`]. A number that the data do not give (auth successes without auth events, days of
//! the week from one day) is absent. Shares are in percent, times in seconds.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Distribution,
    line::{Auth, Level},
    sessions::{Gaps, Session, TIMEOUT_SECONDS},
    survey::{Survey, Tally, User},
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// Users' ids look consecutive if at least this part of their span was seen.
const CONSECUTIVE_PART: f64 = 0.8;

/// The numbers of a stream.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Measures {
    /// How much was seen.
    pub tally: Tally,
    /// First and last event time, milliseconds since 1970.
    pub span_ms: Option<(i64, i64)>,
    /// Days from the first event to the last; whole where they are nearly.
    pub days: f64,
    /// Users, the silent ones included; `None` where it is not known.
    pub users: Option<u64>,
    /// Users that were seen.
    pub users_seen: u64,
    /// Sessions.
    pub sessions: u64,
    /// The numbers, by name.
    pub values: BTreeMap<String, f64>,
}

impl Measures {
    /// Returns a number, if the data give it.
    pub fn value(&self, name: &str) -> Option<f64> {
        // A page or a status that never occurs has a share all the same.
        let is_share =
            (name.starts_with("page: ") || name.starts_with("status: ")) && self.tally.page_views > 0;
        self.values.get(name).copied().or(is_share.then_some(0.0))
    }

    /// Returns whether the data cover a whole number of weeks.
    pub fn covers_whole_weeks(&self) -> bool {
        self.days >= 7.0 && self.days.rem_euclid(7.0) == 0.0
    }

    fn set(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.values.insert(name.to_owned(), value);
        }
    }

    fn set_ratio(&mut self, name: &str, part: f64, whole: f64) {
        self.set(name, (whole > 0.0).then(|| part / whole));
    }

    fn set_percent(&mut self, name: &str, part: f64, whole: f64) {
        self.set_ratio(name, 100.0 * part, whole);
    }
}

pub(super) fn take(survey: Survey, num_users: Option<u64>) -> Measures {
    let Survey { tally, first_ms, last_ms, .. } = survey;
    let span_ms = first_ms.zip(last_ms);
    let mut measures = Measures {
        tally,
        span_ms,
        days: span_ms.map_or(0.0, |(first, last)| days_between(first, last)),
        users: num_users.or_else(|| users_by_span(&survey.users)),
        users_seen: survey.users.len() as u64,
        ..Measures::default()
    };
    records(&mut measures, &survey);
    users(&mut measures, &survey);
    let (sessions, gaps) = survey.sessions.finish();
    measures.sessions = sessions.len() as u64;
    between_pages(&mut measures, &gaps);
    whole_sessions(&mut measures, &sessions);
    starts(&mut measures, &sessions);
    timeouts(&mut measures, &sessions);
    measures
}

/// Returns the length of a span, rounded to days if that changes it by less than a tenth of a day.
fn days_between(first_ms: i64, last_ms: i64) -> f64 {
    let days = (last_ms - first_ms) as f64 / DAY_MS as f64;
    if (days.round() - days).abs() < 0.1 { days.round() } else { days }
}

/// Returns the number of users of all runs from the span of their ids, if those look consecutive.
fn users_by_span(users: &[User]) -> Option<u64> {
    let mut spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for user in users {
        let span = spans.entry(user.run).or_insert((user.id, user.id));
        *span = (span.0.min(user.id), span.1.max(user.id));
    }
    let total =
        spans.values().try_fold(0u64, |sum, (low, high)| sum.checked_add(high - low)?.checked_add(1))?;
    (users.len() as f64 >= CONSECUTIVE_PART * total as f64 && total > 0).then_some(total)
}

fn records(measures: &mut Measures, survey: &Survey) {
    let tally = survey.tally;
    let views = tally.page_views as f64;
    for (name, count) in [
        ("listens per page view", tally.listens),
        ("auth events per page view", tally.auths),
        ("status changes per page view", tally.status_changes),
    ] {
        if count > 0 {
            measures.set_ratio(name, count as f64, views);
        }
    }
    measures.set_percent("auth events: success", tally.auth_successes as f64, tally.auths as f64);
    for (page, count) in &survey.pages {
        measures.set_percent(&format!("page: {page}"), *count as f64, views);
    }
    for (status, count) in &survey.statuses {
        measures.set_percent(&format!("status: {status}"), *count as f64, views);
    }
    measures.set_percent("page views: paid", survey.num_paid as f64, views);
    measures.set_percent("page views: no user", survey.num_anonymous as f64, views);
    by_hour(measures, "events", &survey.by_hour);
}

/// Sets the least and the busiest hour of a day, if a day is covered.
fn by_hour(measures: &mut Measures, what: &str, counts: &[u64; 24]) {
    let total: u64 = counts.iter().sum();
    if measures.days < 1.0 {
        return;
    }
    let least = counts.iter().min().map_or(0, |count| *count);
    let (most, hour) = counts.iter().zip(0u8..).map(|(count, hour)| (*count, hour)).max().unwrap_or_default();
    measures.set_percent(&format!("{what} by hour: least"), least as f64, total as f64);
    measures.set_percent(&format!("{what} by hour: most"), most as f64, total as f64);
    measures.set_ratio(&format!("{what} by hour: most / least"), most as f64, least as f64);
    measures.set(&format!("{what} by hour: busiest"), Some(f64::from(hour)));
}

fn users(measures: &mut Measures, survey: &Survey) {
    let paid = survey.users.iter().filter(|user| user.first_level == Level::Paid).count();
    measures.set_percent("users: paid at first", paid as f64, survey.users.len() as f64);
    let days: BTreeSet<i32> = survey.user_days.iter().map(|(_, day)| *day).collect();
    let (user_days, num_days) = (survey.user_days.len() as f64, days.len() as f64);
    let seen = survey.users.len() as f64;
    if num_days > 0.0 {
        measures.set_ratio("users: daily / monthly", user_days / num_days, seen);
    }
    let Some(num_users) = measures.users.map(|users| users as f64) else { return };
    measures.set_percent("users: active in the span", seen, num_users);
    measures.set_percent("users: active in a day", user_days / num_days.max(1.0), num_users);
    if measures.days > 0.0 {
        measures.set_ratio(
            "page views per user and day",
            measures.tally.page_views as f64,
            num_users * measures.days,
        );
    }
    let mut counts: Vec<u64> = survey.users.iter().map(|user| user.num_events).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let total = counts.iter().sum::<u64>() as f64;
    for (name, part) in [("events of the top 1 % of users", 0.01), ("events of the top 10 % of users", 0.1)] {
        let top: u64 = counts.iter().take((num_users * part).round() as usize).sum();
        measures.set_percent(name, top as f64, total);
    }
}

fn between_pages(measures: &mut Measures, gaps: &Gaps) {
    let percent = |share: Option<f64>| share.map(|share| 100.0 * share);
    measures.set("gaps: 0 s", percent(gaps.all.share(0..=0)));
    measures.set("gaps: 1 s", percent(gaps.all.share(1..=1)));
    measures.set("gaps: over 30 min", percent(gaps.all.share(TIMEOUT_SECONDS + 1..)));
    measures.set("gaps: mean", gaps.all.mean());
    measures.set("gaps: median", gaps.all.quantile(0.5));
    measures.set("song to song: mean", gaps.song_to_song.mean());
    measures.set("song to song: median", gaps.song_to_song.quantile(0.5));
    let other = &gaps.other_200;
    measures.set("to other pages: mean", other.mean());
    measures.set("to other pages: median", other.quantile(0.5));
    measures.set("to other pages: p90", other.quantile(0.9));
    measures.set("to other pages: p99", other.quantile(0.99));
    measures.set("to other pages: 0 s", percent(other.share(0..=0)));
    measures.set_percent("logins that succeed", gaps.num_logged_in as f64, gaps.num_logins as f64);
}

fn whole_sessions(measures: &mut Measures, sessions: &[Session]) {
    let (mut events, mut songs, mut seconds) =
        (Distribution::default(), Distribution::default(), Distribution::default());
    for session in sessions {
        events.add(i64::from(session.num_events));
        songs.add(i64::from(session.num_songs));
        seconds.add(session.seconds());
    }
    let number = sessions.len() as f64;
    if let Some(users) = measures.users
        && measures.days > 0.0
    {
        measures.set_ratio("sessions per user and day", number, users as f64 * measures.days);
    }
    for (what, distribution) in [("events per session", &events), ("session seconds", &seconds)] {
        measures.set(&format!("{what}: mean"), distribution.mean());
        for (name, part) in [("median", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            measures.set(&format!("{what}: {name}"), distribution.quantile(part));
        }
    }
    measures.set("session hours: longest", seconds.max().map(|seconds| seconds as f64 / 3600.0));
    measures.set("songs per session: mean", songs.mean());
    measures.set_percent("sessions: no song", songs.share(0..=0).unwrap_or(0.0), 1.0);
    measures.set_percent("sessions: one event", events.share(1..=1).unwrap_or(0.0), 1.0);
    let count =
        |test: &dyn Fn(&Session) -> bool| sessions.iter().filter(|session| test(session)).count() as f64;
    let day = |time_ms: i64| time_ms.div_euclid(DAY_MS);
    let midnight = count(&|session| day(session.first_ms) != day(session.last_ms));
    measures.set_percent("sessions: over UTC midnight", midnight, number);
    let changes = count(&|session| session.has_free && session.has_paid);
    measures.set_percent("sessions: level changes", changes, number);
    for (name, auth, level) in [
        ("Guest/free", Auth::Guest, Level::Free),
        ("Logged In/free", Auth::LoggedIn, Level::Free),
        ("Logged In/paid", Auth::LoggedIn, Level::Paid),
        ("Logged Out/free", Auth::LoggedOut, Level::Free),
        ("Logged Out/paid", Auth::LoggedOut, Level::Paid),
    ] {
        let begun = sessions.iter().filter(|session| !session.is_cut && session.begins_as == (auth, level));
        let (count, sum) = begun
            .fold((0.0, 0.0), |(count, sum), session| (count + 1.0, sum + f64::from(session.num_events)));
        measures.set_ratio(&format!("events per session begun {name}"), sum, count);
    }
}

fn starts(measures: &mut Measures, sessions: &[Session]) {
    let (mut by_hour, mut weekend, mut weekdays) = ([0u64; 24], 0.0, 0.0);
    for session in sessions.iter().filter(|session| !session.is_cut) {
        by_hour[session.first_ms.div_euclid(HOUR_MS).rem_euclid(24) as usize] += 1;
        // 1970-01-01 was a Thursday: day 2 after it a Saturday.
        if (session.first_ms.div_euclid(DAY_MS) + 5).rem_euclid(7) < 2 {
            weekend += 1.0;
        } else {
            weekdays += 1.0;
        }
    }
    self::by_hour(measures, "session starts", &by_hour);
    if measures.covers_whole_weeks() {
        measures.set_ratio("session starts: weekend day / weekday", weekend / 2.0, weekdays / 5.0);
    }
}

/// How well a 30-minute timeout finds the sessions of known users.
fn timeouts(measures: &mut Measures, sessions: &[Session]) {
    let mut known: Vec<(u32, i64, i64, bool)> = Vec::with_capacity(sessions.len());
    for session in sessions {
        if let Some(user) = session.user {
            known.push((user, session.first_ms, session.last_ms, session.has_long_gap));
        }
    }
    known.sort_unstable();
    let (mut exact, mut between, mut short, mut long_inside) = (0.0, 0.0, 0.0, 0.0);
    let mut is_apart = true;
    for (index, (user, _, last, has_long_gap)) in known.iter().enumerate() {
        let next = known.get(index + 1).filter(|next| next.0 == *user);
        let is_next_apart = next.is_none_or(|next| (next.1 - last).div_euclid(1000) > TIMEOUT_SECONDS);
        between += f64::from(next.is_some());
        short += f64::from(!is_next_apart);
        long_inside += f64::from(*has_long_gap);
        exact += f64::from(is_apart && is_next_apart && !has_long_gap);
        is_apart = is_next_apart;
    }
    let number = known.len() as f64;
    measures.set_percent("30-min timeout: exact sessions", exact, number);
    measures.set_percent("30-min timeout: short gaps between", short, between);
    measures.set_percent("30-min timeout: long gaps inside", long_inside, number);
}

#[cfg(test)]
mod tests;
