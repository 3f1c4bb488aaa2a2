//! Random histories that crowd around what is hard: pauses of exactly half an hour, midnight, the end of a year, ties.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::{DAY_MS, GAP_MS, Topic};
use super::lake::Fact;

/// 2025-12-30, so that the third midnight begins a year.
const FIRST_DAY: i64 = 20_452;

/// A history in steps: what each adds to silver and takes from it.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) steps: Vec<(Vec<Fact>, Vec<Fact>)>,
    pub(super) max_events: usize,
}

/// Returns histories of up to five steps, the last of which may take events away.
pub(super) fn histories() -> impl Strategy<Value = History> {
    let facts = vec(walk(), 1..7).prop_map(|walks| distinct(walks.into_iter().flatten().collect()));
    (facts, vec(any::<u16>(), 128), 1_usize..6, 0_u16..30, select(vec![1, 2, 3, 5, 8, 1_000])).prop_map(
        |(facts, dice, steps, removed, max_events)| {
            let mut history = vec![(Vec::new(), Vec::new()); steps];
            for (fact, dice) in facts.into_iter().zip(dice.into_iter().cycle()) {
                let added = usize::from(dice) % steps;
                history[added].0.push(fact.clone());
                if (dice >> 8) % 100 < removed {
                    let gone = added + 1 + usize::from(dice >> 4) % 2;
                    if gone < steps {
                        history[gone].1.push(fact);
                    }
                }
            }
            History { steps: history, max_events }
        },
    )
}

/// Returns facts without later deliveries of the same event.
pub(super) fn distinct(mut facts: Vec<Fact>) -> Vec<Fact> {
    facts.sort_by_key(Fact::identity);
    facts.dedup_by_key(|fact| fact.identity());
    facts
}

/// Events of one producer session, mostly of one user, each some pause after the other.
fn walk() -> impl Strategy<Value = Vec<Fact>> {
    // Few people and sessions, so that they meet; null and empty text are the same run.
    let run = select(vec![Some("a"), Some("a"), Some("a"), Some("a"), Some("b"), None, Some("")]);
    let who = (run, 1_i64..4, 1_i64..3);
    let first_item = select(vec![0, 0, 0, 1, 7]);
    (who, start(), first_item, vec((pause(), event()), 1..11)).prop_map(
        |((run, user, session), start, item, events)| {
            let (mut time_ms, mut item, mut facts) = (start, item, Vec::new());
            for (pause_ms, (shape, anonymous, level, city, played)) in events {
                time_ms += pause_ms;
                let user = (!anonymous).then_some(user);
                let fact = |topic, page| {
                    fact_of((run, user, session), (item, time_ms), topic, page, level, city, played)
                };
                match shape {
                    Shape::Listen => facts.push(fact(Topic::Listen, "")),
                    Shape::Song => facts.push(fact(Topic::PageView, "NextSong")),
                    Shape::Both => {
                        facts.extend([fact(Topic::PageView, "NextSong"), fact(Topic::Listen, "")]);
                    }
                    Shape::Page(page) => facts.push(fact(Topic::PageView, page)),
                    Shape::Login => facts.extend([fact(Topic::PageView, "Home"), fact(Topic::Auth, "")]),
                    Shape::Change => {
                        facts.extend([fact(Topic::PageView, "Submit Upgrade"), fact(Topic::StatusChange, "")])
                    }
                    Shape::SameItem => {
                        facts.push(fact(Topic::PageView, "Help"));
                        continue;
                    }
                }
                item += 1;
            }
            facts
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Listen,
    Song,
    Both,
    Page(&'static str),
    Login,
    Change,
    /// The next event has the same item.
    SameItem,
}

type Played = (Option<&'static str>, Option<&'static str>, Option<f64>);
type Rest = (Shape, bool, Option<&'static str>, Option<&'static str>, Played);

fn event() -> impl Strategy<Value = Rest> {
    let shape = prop_oneof![
        2 => Just(Shape::Both),
        1 => Just(Shape::Listen),
        1 => Just(Shape::Song),
        2 => select(vec!["Home", "Login", "Logout"]).prop_map(Shape::Page),
        1 => Just(Shape::Login),
        1 => Just(Shape::Change),
        1 => Just(Shape::SameItem),
    ];
    let played = (
        option::weighted(0.9, select(vec!["Nora Vale", "Fjord"])),
        option::weighted(0.9, select(vec!["Slow Harbour", "Über"])),
        option::weighted(0.9, select(vec![0.1, 0.2, 223.4012])),
    );
    let level = option::weighted(0.8, select(vec!["free", "paid"]));
    let city = option::weighted(0.8, select(vec!["Bear", "Lowell"]));
    (shape, proptest::bool::weighted(0.35), level, city, played)
}

fn start() -> impl Strategy<Value = i64> {
    let near = select(vec![0, -1, 1, -1_000, GAP_MS, -GAP_MS, -GAP_MS - 1, GAP_MS - 1, 12 * 3_600_000]);
    (0_i64..6, near).prop_map(|(day, near)| (FIRST_DAY + day) * DAY_MS + near)
}

fn pause() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => Just(0),
        2 => Just(1_000),
        4 => Just(GAP_MS),
        2 => Just(GAP_MS + 1),
        2 => Just(GAP_MS - 1),
        1 => Just(2 * GAP_MS),
        1 => Just(DAY_MS),
        1 => 0..3 * GAP_MS,
    ]
}

fn fact_of(
    (run, user, session): (Option<&'static str>, Option<i64>, i64),
    (item, time_ms): (i32, i64),
    topic: Topic,
    page: &'static str,
    level: Option<&'static str>,
    city: Option<&'static str>,
    (artist, song, seconds): Played,
) -> Fact {
    let new_level = match (topic, level) {
        (Topic::StatusChange, Some("free")) => Some("paid"),
        (Topic::StatusChange, Some(_)) => Some("free"),
        _ => None,
    };
    Fact { topic, run, user, session, item, time_ms, page, level, new_level, city, artist, song, seconds }
}
