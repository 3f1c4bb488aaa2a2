use super::*;
use crate::event::Topic;
use std::collections::{BTreeMap, BTreeSet};

/// Monday 2026-02-23, 926 ms past midnight.
const START: i64 = 1_771_804_800_926;
const DAY_MS: i64 = 86_400_000;

fn settings(num_users: u32, days: i64) -> Settings {
    Settings {
        profile: Profile::builtin("example").unwrap(),
        seed: 42,
        num_users,
        first_user_id: 1,
        start_ms: START,
        end_ms: START + days * DAY_MS,
        tag: None,
    }
}

fn events(settings: Settings) -> Vec<(Topic, Vec<u8>)> {
    let mut simulation = Simulation::new(settings);
    let mut events = Vec::new();
    while let Some(moment) = simulation.step() {
        events.extend(moment.events().map(|(topic, value)| (topic, value.to_vec())));
    }
    events
}

fn keys(value: &[u8]) -> Vec<String> {
    // serde_json's map is sorted, so the order on the wire is read off the text.
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(value).unwrap();
    let text = std::str::from_utf8(value).unwrap();
    let mut keys: Vec<String> = object.keys().cloned().collect();
    keys.sort_by_key(|key| text.find(&format!("\"{key}\":")).unwrap());
    keys
}

const DEVICE: [&str; 6] = ["city", "zip", "state", "userAgent", "lon", "lat"];
const PERSON: [&str; 5] = ["userId", "lastName", "firstName", "gender", "registration"];
const SONG: [&str; 3] = ["artist", "song", "duration"];

fn joined(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().into_iter().map(str::to_owned).collect()
}

#[test]
fn every_topic_has_exactly_its_fields_in_their_order() {
    for (topic, value) in events(settings(400, 20)) {
        assert_eq!(value.last(), Some(&b'\n'));
        let event: serde_json::Value = serde_json::from_slice(&value).unwrap();
        let person: &[&str] = match event["auth"].as_str() {
            Some("Logged In" | "Cancelled") => &PERSON,
            Some(_) => &[],
            None if event["success"] == true => &PERSON,
            None => &[],
        };
        let head = ["ts", "sessionId"];
        let expected = match topic {
            Topic::Listen => joined(&[&SONG, &head, &["auth", "level", "itemInSession"], &DEVICE, person]),
            Topic::PageView => {
                let song: &[&str] = if event["page"] == "NextSong" { &SONG } else { &[] };
                let page = ["page", "auth", "method", "status", "level", "itemInSession"];
                joined(&[&head, &page, &DEVICE, person, song])
            }
            Topic::Auth => joined(&[&head, &["level", "itemInSession"], &DEVICE, person, &["success"]]),
            Topic::StatusChange => joined(&[&head, &["auth", "level", "itemInSession"], &DEVICE, person]),
        };
        assert_eq!(keys(&value), expected, "{}", String::from_utf8_lossy(&value));
    }
}

#[test]
fn values_have_their_types_and_the_millisecond_of_the_start() {
    let (mut previous, mut listens) = (START, BTreeSet::new());
    for (topic, value) in events(settings(200, 10)) {
        let event: serde_json::Value = serde_json::from_slice(&value).unwrap();
        let ts = event["ts"].as_i64().unwrap();
        assert!(ts >= previous && ts > START && ts < START + 10 * DAY_MS);
        assert_eq!(ts % 1000, 926);
        previous = ts;
        let agent = event["userAgent"].as_str().unwrap();
        assert!(agent.starts_with('"') && agent.ends_with('"'), "{agent}");
        if let Some(registration) = event.get("registration") {
            assert!(registration.as_i64().unwrap() <= START);
            assert_eq!(registration.as_i64().unwrap() % 1000, 926);
            assert!(event["userId"].is_i64() && event["lastName"].is_string());
        }
        // A listen is told before its page view, with the same session, item and time.
        let place = (event["sessionId"].as_i64(), event["itemInSession"].as_i64(), ts);
        match topic {
            Topic::Listen => assert!(listens.insert(place)),
            Topic::PageView if event["page"] == "NextSong" => assert!(listens.contains(&place)),
            Topic::StatusChange => assert_eq!(event["auth"], "Logged In"),
            _ => {}
        }
    }
    assert!(listens.len() > 1_000);
}

#[test]
fn items_count_from_the_run_start_and_sessions_have_own_numbers() {
    let (mut next_item, mut users): (BTreeMap<i64, i64>, BTreeMap<i64, i64>) = Default::default();
    for (_, value) in events(settings(300, 10)).iter().filter(|(topic, _)| *topic == Topic::PageView) {
        let event: serde_json::Value = serde_json::from_slice(value).unwrap();
        let (session, item) =
            (event["sessionId"].as_i64().unwrap(), event["itemInSession"].as_i64().unwrap());
        if let Some(expected) = next_item.insert(session, item + 1) {
            assert_eq!(item, expected);
        }
        if let Some(user) = event["userId"].as_i64() {
            assert_eq!(*users.entry(session).or_insert(user), user, "session {session} has two listeners");
        }
    }
    let numbers: Vec<i64> = next_item.keys().copied().collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
}

#[test]
fn same_settings_give_the_same_bytes_and_a_later_end_only_adds() {
    let short = events(settings(150, 5));
    let again = events(settings(150, 5));
    let long = events(settings(150, 8));
    let other = events(Settings { seed: 43, ..settings(150, 5) });

    assert!(short.len() > 1_000 && short == again);
    assert!(long.len() > short.len() && long[..short.len()] == short[..]);
    assert_ne!(short, other);
}

#[test]
fn run_id_changes_with_what_decides_the_people_and_not_with_the_end() {
    let id = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings(10, 5);
        change(&mut settings);
        settings.run_id()
    };
    let plain = id(&|_| {});

    assert_eq!(plain.len(), 16);
    assert_eq!(plain, id(&|settings| settings.end_ms += 1));
    assert_ne!(plain, id(&|settings| settings.start_ms += 1));
    assert_ne!(plain, id(&|settings| settings.seed += 1));
    assert_ne!(plain, id(&|settings| settings.num_users += 1));
}

#[test]
fn a_month_has_the_known_shape() {
    let (users, days) = (6_000, 28);
    let (mut pages, mut counts) = (BTreeMap::<String, f64>::new(), BTreeMap::<Topic, f64>::new());
    let (mut paid, mut anonymous) = (0.0, 0.0);
    let mut simulation = Simulation::new(settings(users, days));
    while let Some(moment) = simulation.step() {
        for (topic, value) in moment.events() {
            *counts.entry(topic).or_default() += 1.0;
            if topic == Topic::PageView {
                let text = std::str::from_utf8(value).unwrap();
                let page = text.split("\"page\":\"").nth(1).unwrap().split('"').next().unwrap();
                *pages.entry(page.to_owned()).or_default() += 1.0;
                paid += f64::from(text.contains("\"level\":\"paid\""));
                anonymous += f64::from(!text.contains("\"userId\""));
            }
        }
    }

    let views = counts[&Topic::PageView];
    let close = |what: &str, found: f64, known: f64, tolerance: f64| {
        assert!((found - known).abs() <= tolerance, "{what}: {found}, not {known} within {tolerance}");
    };
    let user_days = f64::from(users) * days as f64;
    close("page views per user and day", views / user_days, 2.42, 0.2);
    close("sessions per user and day", simulation.num_sessions() as f64 / user_days, 0.313, 0.0125);
    close("events per session", views / simulation.num_sessions() as f64, 7.72, 0.5);
    close("listens per page view", counts[&Topic::Listen] / views, 0.8405, 0.01);
    close("auth events per page view", counts[&Topic::Auth] / views, 0.01337, 0.0012);
    close("status changes per page view", counts[&Topic::StatusChange] / views, 0.000845, 0.00025);
    close("NextSong", pages["NextSong"] / views, 0.840, 0.01);
    close("Home", pages["Home"] / views, 0.103, 0.005);
    close("Login", pages["Login"] / views, 0.0128, 0.0012);
    close("paid", paid / views, 0.742, 0.04);
    close("anonymous", anonymous / views, 0.040, 0.005);
}

#[test]
fn the_engagement_profile_has_the_known_shape() {
    let (users, days) = (3_000, 28);
    let profile = Profile::builtin("engagement").unwrap();
    let mut simulation = Simulation::new(Settings { profile, ..settings(users, days) });
    let machine = simulation.settings().profile.machine.clone();
    let mut pages = BTreeMap::<String, f64>::new();
    let (mut views, mut anonymous, mut redirects) = (0.0, 0.0, 0.0);

    while let Some(moment) = simulation.step() {
        let state = machine.state(moment.step.state);
        *pages.entry(state.page.clone()).or_default() += 1.0;
        views += 1.0;
        anonymous += f64::from(!state.shows_user);
        redirects += f64::from(state.answer.status == 307);
    }

    let close = |what: &str, found: f64, known: f64, tolerance: f64| {
        assert!((found - known).abs() <= tolerance, "{what}: {found}, not {known} within {tolerance}");
    };
    close("page views per user and day", views / (f64::from(users) * days as f64), 20.8, 2.0);
    close("page views per session", views / simulation.num_sessions() as f64, 82.8, 4.0);
    let shares = [
        ("NextSong", 0.7964, 0.004),
        ("Home", 0.0520, 0.0016),
        ("Thumbs Up", 0.0400, 0.0012),
        ("Add to Playlist", 0.0226, 0.0007),
        ("Add Friend", 0.0148, 0.0006),
        ("Roll Advert", 0.0158, 0.0016),
        ("Login", 0.0115, 0.0006),
        ("Logout", 0.0115, 0.0006),
        ("Thumbs Down", 0.0079, 0.0004),
    ];
    for (page, known, tolerance) in shares {
        close(page, pages[page] / views, known, tolerance);
    }
    close("without user", anonymous / views, 0.0301, 0.0015);
    close("redirects", redirects / views, 0.088, 0.002);
}
