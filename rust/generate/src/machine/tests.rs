use super::*;
use crate::profile::Profile;

/// What a session that starts in a group does on average, solved without drawing.
struct Expectation {
    events: f64,
    songs: f64,
    ends: BTreeMap<String, f64>,
}

fn expectation(machine: &Machine, group: &str) -> Expectation {
    let group = machine.groups.iter().find(|candidate| candidate.name == group).unwrap();
    let mut visits = vec![0.0; machine.states.len()];
    let mut previous = 0.0;
    for (entry, edge) in group.entries.iter().zip(group.weights.edges()) {
        visits[usize::from(*entry)] += (edge - previous) / group.weights.edges().last().unwrap();
        previous = *edge;
    }
    let mut result = Expectation { events: 0.0, songs: 0.0, ends: BTreeMap::new() };
    while visits.iter().sum::<f64>() > 1e-13 {
        let mut following = vec![0.0; visits.len()];
        for (state, mass) in machine.states.iter().zip(&visits) {
            result.events += mass;
            result.songs += if state.kind == PageKind::Song { *mass } else { 0.0 };
            let mut edge = 0.0;
            for (next_edge, next) in &state.next {
                following[usize::from(*next)] += mass * (next_edge - edge);
                edge = *next_edge;
            }
            *result.ends.entry(machine.groups[state.group].name.clone()).or_default() += mass * (1.0 - edge);
        }
        visits = following;
    }
    result
}

#[test]
fn example_profile_has_forty_states() {
    let profile = Profile::builtin("example").unwrap();

    assert_eq!(profile.machine.states().len(), 40);
    assert_eq!(profile.machine.states().iter().map(|state| state.next.len()).sum::<usize>(), 198);
}

#[test]
fn example_profile_has_the_exact_expectations_of_the_absorbing_chain() {
    let machine = Profile::builtin("example").unwrap().machine;
    let known = [
        ("Guest/free", 3.060, None),
        ("Logged In/free", 2.723, Some(2.001)),
        ("Logged Out/free", 4.026, Some(1.159)),
        ("Logged In/paid", 29.642, Some(26.957)),
        ("Logged Out/paid", 16.667, Some(13.360)),
    ];

    for (group, events, songs) in known {
        let found = expectation(&machine, group);
        assert!((found.events - events).abs() < 0.0006, "{group}: {} events, not {events}", found.events);
        if let Some(songs) = songs {
            assert!((found.songs - songs).abs() < 0.0006, "{group}: {} songs, not {songs}", found.songs);
        }
    }
}

#[test]
fn example_profile_has_the_exact_end_states() {
    let machine = Profile::builtin("example").unwrap().machine;

    let paid = expectation(&machine, "Logged In/paid").ends;
    let free = expectation(&machine, "Logged In/free").ends;

    let near = |found: f64, known: f64| (found - known).abs() < 0.0001;
    assert!(near(paid["Logged In/paid"], 0.8066), "{paid:?}");
    assert!(near(paid["Logged Out/paid"], 0.1895), "{paid:?}");
    assert!(near(paid["Cancelled/paid"], 0.00086), "{paid:?}");
    assert!(near(free["Logged In/free"], 0.9777), "{free:?}");
    assert!(near(free["Cancelled/free"], 0.00011), "{free:?}");
}

#[test]
fn engagement_profile_has_the_exact_expectations_of_the_absorbing_chain() {
    let machine = Profile::builtin("engagement").unwrap().machine;

    let (free, paid) = (expectation(&machine, "Logged In/free"), expectation(&machine, "Logged In/paid"));

    assert_eq!(machine.states().len(), 50);
    assert_eq!(machine.states().iter().map(|state| state.next.len()).sum::<usize>(), 265);
    assert!((free.events - 50.5).abs() < 0.05, "{} events, not 50.5", free.events);
    assert!((paid.events - 133.9).abs() < 0.05, "{} events, not 133.9", paid.events);
}
