//! The statistics know our own streams, and know when something is wrong with one.

#![expect(clippy::unwrap_used, reason = "tests may unwrap: a panic is the report")]

use streamify_generate::{
    event::Topic,
    profile::Profile,
    simulation::{Settings, Simulation},
    stats::{
        Survey,
        reference::KnownProfile,
        report::{Row, Verdict, compare, falls_short, table},
    },
};

/// Four weeks of 5,000 listeners, a third of a million page views, each record as `change` leaves it.
fn rows(change: impl Fn(Topic, &[u8]) -> Option<Vec<u8>>) -> Vec<Row> {
    let mut simulation = Simulation::new(Settings {
        profile: Profile::builtin("example").unwrap(),
        seed: 3,
        num_users: 5_000,
        first_user_id: 1,
        start_ms: 1_771_804_800_000,
        end_ms: 1_771_804_800_000 + 28 * 86_400_000,
        tag: None,
    });
    let mut survey = Survey::default();
    while let Some(moment) = simulation.step() {
        for (topic, value) in moment.events() {
            if let Some(value) = change(topic, value) {
                survey.add(0, &value);
            }
        }
    }
    let measures = survey.measures(Some(5_000));
    let rows = compare(&measures, KnownProfile::Example);
    assert!(table(&measures, &rows, KnownProfile::Example, true).contains("30-min timeout: exact sessions"));
    rows
}

fn outside(rows: &[Row]) -> Vec<&'static str> {
    rows.iter().filter(|row| row.verdict == Verdict::Outside).map(|row| row.name).collect()
}

fn edited(value: &[u8], edit: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut event: serde_json::Value = serde_json::from_slice(value).unwrap();
    edit(&mut event);
    event.to_string().into_bytes()
}

#[test]
fn an_untouched_run_has_every_known_statistic() {
    let rows = rows(|_, value| Some(value.to_vec()));

    assert!(!falls_short(&rows), "{:?}", outside(&rows));
    let judged = rows.iter().filter(|row| row.verdict == Verdict::Within).count();
    assert!(judged >= 70, "only {judged} verdicts");
}

#[test]
fn lost_listens_are_seen() {
    let rows = rows(|topic, value| {
        let is_lost = topic == Topic::Listen && value.len() % 4 == 0;
        (!is_lost).then(|| value.to_vec())
    });

    assert_eq!(outside(&rows), ["listens per page view"]);
}

#[test]
fn a_clock_two_hours_off_is_seen() {
    let rows = rows(|_, value| {
        Some(edited(value, |event| event["ts"] = (event["ts"].as_i64().unwrap() + 7_200_000).into()))
    });

    let outside = outside(&rows);
    assert!(outside.contains(&"session starts by hour: busiest"), "{outside:?}");
    assert!(outside.contains(&"events by hour: busiest") && outside.len() <= 3, "{outside:?}");
}

#[test]
fn pages_under_a_wrong_status_are_seen() {
    let rows = rows(|_, value| {
        Some(edited(value, |event| {
            if event["page"] == "Login" {
                event["status"] = 200.into();
            }
        }))
    });

    let outside = outside(&rows);
    assert!(outside.contains(&"status: 307") && outside.contains(&"status: 200"), "{outside:?}");
    assert!(!outside.iter().any(|name| name.starts_with("page: ")), "{outside:?}");
}
