//! Sessions by definition, without care for cost: it shares no code with what it judges.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Topic;
use super::lake::{Fact, Row};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const HALF_HOUR_MS: i64 = 30 * 60 * 1_000;

/// Run, user, visitor's session: the last only where the user is none.
type Person = (&'static str, Option<i64>, Option<i64>);

/// Returns all sessions of the facts, in order of their keys.
pub(super) fn sessions(facts: &[Fact], watermark_ms: Option<i64>) -> Vec<Row> {
    let mut people: BTreeMap<Person, Vec<&Fact>> = BTreeMap::new();
    for fact in facts {
        people.entry(person(fact, facts)).or_default().push(fact);
    }
    let mut rows = Vec::new();
    for (person, mut facts) in people {
        facts.sort_by_key(|fact| order(fact));
        let mut rest = facts.as_slice();
        while !rest.is_empty() {
            let pause = (1..rest.len()).find(|at| rest[*at].time_ms - rest[at - 1].time_ms > HALF_HOUR_MS);
            let (session, after) = rest.split_at(pause.unwrap_or(rest.len()));
            rows.push(row(person, session, watermark_ms));
            rest = after;
        }
    }
    rows.sort_by(|left, right| left.key.cmp(&right.key));
    rows
}

/// Returns the first day with a session that is not closed.
pub(super) fn open_from_day(rows: &[Row]) -> Option<i32> {
    rows.iter().filter(|row| !row.closed).map(|row| row.date).min()
}

fn day(time_ms: i64) -> i64 {
    time_ms.div_euclid(DAY_MS)
}

fn person(fact: &Fact, facts: &[Fact]) -> Person {
    let run = fact.run.unwrap_or("");
    if fact.user.is_some() {
        return (run, fact.user, None);
    }
    let near = facts.iter().filter(|other| {
        other.run.unwrap_or("") == run
            && other.session == fact.session
            && (day(other.time_ms) - day(fact.time_ms)).abs() <= 1
    });
    let users: BTreeSet<i64> = near.filter_map(|other| other.user).collect();
    match users.len() {
        1 => (run, users.first().copied(), None),
        _ => (run, None, Some(fact.session)),
    }
}

fn order(fact: &Fact) -> impl Ord + use<> {
    let detail = match fact.topic {
        Topic::PageView => Some(fact.page),
        Topic::StatusChange => fact.new_level,
        _ => None,
    };
    let plays = matches!(fact.topic, Topic::Listen | Topic::PageView);
    let played =
        if plays { (fact.artist, fact.song, fact.seconds.map(f64::to_bits)) } else { (None, None, None) };
    let place = (fact.level, fact.city);
    (fact.time_ms, fact.session, fact.item, fact.topic, fact.user.is_some(), detail, place, played)
}

fn row(person: Person, facts: &[&Fact], watermark_ms: Option<i64>) -> Row {
    let (first, last) = (facts[0], facts[facts.len() - 1]);
    let is_song = |fact: &Fact| {
        fact.topic == Topic::Listen || (fact.topic == Topic::PageView && fact.page == "NextSong")
    };
    let mut songs: BTreeMap<(i64, i64, i32), Vec<&Fact>> = BTreeMap::new();
    for fact in facts.iter().filter(|fact| is_song(fact)) {
        songs.entry((fact.time_ms, fact.session, fact.item)).or_default().push(fact);
    }
    let told = |get: fn(&Fact) -> Option<&'static str>| -> Vec<String> {
        songs.values().map(|told| told.iter().find_map(|fact| get(fact)).unwrap_or("").to_owned()).collect()
    };
    let count =
        |topic| i32::try_from(facts.iter().filter(|fact| fact.topic == topic && !is_song(fact)).count());
    let counts = [Topic::PageView, Topic::Auth, Topic::StatusChange].map(|topic| count(topic).unwrap());
    let listens = i32::try_from(songs.len()).unwrap();
    let mut levels: Vec<&str> = facts
        .iter()
        .flat_map(|fact| [fact.level, fact.new_level.filter(|_| fact.topic == Topic::StatusChange)])
        .flatten()
        .collect();
    levels.dedup();
    let same_visit = facts.iter().filter(|fact| fact.session == first.session);
    Row {
        key: key(person, first),
        date: i32::try_from(day(first.time_ms)).unwrap(),
        run: Some(person.0.to_owned()).filter(|run| !run.is_empty()),
        user: person.1,
        session_ids: facts.iter().map(|fact| fact.session).collect::<BTreeSet<_>>().into_iter().collect(),
        span_ms: (first.time_ms, last.time_ms, last.time_ms - first.time_ms),
        counts: [listens + counts.iter().sum::<i32>(), listens, counts[0], counts[1], counts[2]],
        seconds: songs
            .values()
            .map(|told| told.iter().find_map(|fact| fact.seconds).unwrap_or(0.0))
            .fold(0.0, |sum, seconds| sum + seconds),
        songs: told(|fact| fact.song),
        artists: told(|fact| fact.artist),
        pages: facts
            .iter()
            .filter(|fact| fact.topic == Topic::PageView && !is_song(fact))
            .map(|fact| fact.page.to_owned())
            .collect(),
        levels: (
            levels.first().map(|level| (*level).to_owned()),
            levels.last().map(|level| (*level).to_owned()),
            levels.len() > 1,
        ),
        place: (first.city.map(str::to_owned), first.city.map(str::to_owned)),
        first_item: first.item,
        truncated: same_visit.map(|fact| fact.item).min() > Some(0),
        closed: watermark_ms.is_some_and(|watermark_ms| last.time_ms + HALF_HOUR_MS < watermark_ms),
    }
}

/// Returns the key from its description.
fn key((run, user, visitor): Person, first: &Fact) -> String {
    let (kind, id) = match user {
        Some(user) => ("user", user),
        None => ("visitor", visitor.unwrap()),
    };
    let mut message = Vec::new();
    for text in [kind, run] {
        message.push(u8::try_from(text.len()).unwrap());
        message.extend_from_slice(text.as_bytes());
    }
    for number in [id, first.time_ms, first.session, i64::from(first.item)] {
        message.push(8);
        message.extend_from_slice(&number.to_le_bytes());
    }
    blake3::hash(&message).to_hex()[..32].to_owned()
}
