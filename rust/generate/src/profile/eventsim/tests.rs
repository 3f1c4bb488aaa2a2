use super::*;
use crate::profile::{Overrides, Profile};

/// The built-in example as Eventsim would have it written.
fn example() -> serde_json::Value {
    let file: ProfileFile = toml::from_str(BUILTIN[0].1).unwrap();
    let usual = PageAnswer { method: "GET".to_owned(), status: 200 };
    let state = |name: &str| {
        let (page, group) = name.split_once(" as ").unwrap();
        let (auth, level) = group.split_once('/').unwrap();
        let answer = file.pages.get(page).unwrap_or(&usual);
        serde_json::json!({"page": page, "auth": auth, "level": level, "method": answer.method, "status": answer.status})
    };
    let (mut transitions, mut initial) = (Vec::new(), Vec::new());
    for (group, StateGroup { entry, next }) in &file.states {
        for (page, targets) in next {
            for (target, p) in targets {
                let target =
                    if target.contains(" as ") { target.clone() } else { format!("{target} as {group}") };
                let source = state(&format!("{page} as {group}"));
                transitions.push(serde_json::json!({"source": source, "dest": state(&target), "p": p}));
            }
        }
        for (page, weight) in entry {
            let mut first = state(&format!("{page} as {group}"));
            first["weight"] = serde_json::json!(weight);
            initial.push(first);
        }
    }
    serde_json::json!({
        "seed": 5, "alpha": 90.0, "beta": 604800, "damping": 0.09375, "weekend-damping": 0.5,
        "weekend-damping-offset": 180, "weekend-damping-scale": 360.0, "session-gap": 1800,
        "churned-state": "Cancelled", "n-users": 77, "first-user-id": 9, "growth-rate": 0.25, "tag": "control",
        "start-date": "2026-02-23T00:00:00.926", "end-date": "2026-03-23", "upgrades": [], "comment": "x",
        "levels": [{"level": "free", "weight": 10}, {"level": "paid", "weight": 2}],
        "auths": [{"auth": "Logged In", "weight": 10}, {"auth": "Logged Out", "weight": 1}],
        "show-user-details": [
            {"auth": "Guest", "show": false}, {"auth": "Logged In", "show": true}, {"auth": "Cancelled", "show": true}],
        "transitions": transitions, "new-session": initial,
    })
}

fn parse(config: &serde_json::Value) -> Result<Profile, String> {
    let text = serde_json::to_string_pretty(config).unwrap();
    Profile::parse(&text, "mine.json").map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })
}

#[test]
fn a_configuration_is_the_profile_it_was_written_from() {
    let (ours, theirs) = (Profile::builtin("example").unwrap(), parse(&example()).unwrap());

    let states = |profile: &Profile| -> Vec<String> {
        profile.machine.states().iter().map(|state| format!("{state:?}")).collect()
    };
    assert_eq!(states(&ours), states(&theirs));
    assert_eq!(format!("{:?}{:?}", ours.rates, ours.daily), format!("{:?}{:?}", theirs.rates, theirs.daily));
    assert_eq!(theirs.users.growth_rate, 0.25);
    let suggested = Suggestions {
        seed: Some(5),
        num_users: Some(77),
        first_user_id: Some(9),
        start: Some("2026-02-23T00:00:00.926".to_owned()),
        end: Some("2026-03-23".to_owned()),
        tag: Some("control".to_owned()),
        ignored: vec!["comment".to_owned(), "upgrades".to_owned()],
    };
    assert_eq!(theirs.suggestions, suggested);
}

#[test]
fn the_command_line_wins_over_the_configuration() {
    let text = example().to_string();
    let overrides = Overrides { growth_rate: Some(0.5), ..Overrides::default() };

    assert_eq!(Profile::parse_with(&text, "a.json", &overrides).unwrap().users.growth_rate, 0.5);
}

#[test]
fn initial_states_that_never_occur_are_all_named() {
    let mut config = example();
    let initial = config["new-session"].as_array_mut().unwrap();
    let mut stranger = initial[0].clone();
    stranger["page"] = "Radio".into();
    initial.push(stranger.clone());
    stranger["level"] = "gold".into();
    initial.push(stranger);

    assert_eq!(
        parse(&config).unwrap_err(),
        "profile `mine.json`: sessions begin at states that never occur in `transitions`: \
         `Radio as Guest/free`, `Radio as Guest/gold`"
    );
}

#[test]
fn probabilities_above_one_name_the_state() {
    let mut config = example();
    let again = config["transitions"][0].clone();
    let source =
        format!("{} as {}/{}", again["source"]["page"], again["source"]["auth"], again["source"]["level"]);
    for _ in 0..1_000 {
        config["transitions"].as_array_mut().unwrap().push(again.clone());
    }

    let message = parse(&config).unwrap_err();

    let state = source.replace('"', "");
    assert!(message.contains(&format!("probabilities of state `{state}` sum to ")), "{message}");
}

#[test]
fn mistakes_in_the_form_name_file_line_and_value() {
    let mut config = example();
    config["n-users"] = serde_json::json!(2.5);
    let message = parse(&config).unwrap_err();
    assert!(
        message.starts_with("Eventsim configuration `mine.json` is not well formed: 2.5 is not"),
        "{message}"
    );
    assert!(message.contains("at line "), "{message}");

    let mut config = example();
    config["transitions"][3]["dest"]["status"] = serde_json::json!(599);
    let message = parse(&config).unwrap_err();
    assert!(message.contains("` in one state and `") && message.contains(" 599`"), "{message}");

    let mut config = example();
    config["damping"] = serde_json::json!(0.7);
    assert_eq!(
        parse(&config).unwrap_err(),
        "profile `mine.json`: `damping` is 0.7 (expected 0 to below 0.5)"
    );
}

#[test]
fn the_level_of_new_listeners_is_one_that_configurations_know() {
    let profile = parse(&example()).unwrap();

    assert_eq!((profile.users.new_auth.as_str(), profile.users.new_level.as_str()), ("Guest", "free"));
    assert!(profile.machine.newcomers().is_some());
}
