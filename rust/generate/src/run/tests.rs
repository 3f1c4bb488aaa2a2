use super::*;
use crate::{profile::Profile, simulation::Settings, sink::Record};

#[derive(Default)]
struct Memory {
    records: Vec<(Topic, Option<Vec<u8>>, Vec<u8>)>,
    stop_after: Option<(usize, CancellationToken)>,
    idle: Duration,
}

impl Sink for Memory {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        self.records.push((record.topic, record.key.map(<[u8]>::to_vec), record.value.unwrap().to_vec()));
        if let Some((count, token)) = &self.stop_after
            && self.records.len() == *count
        {
            token.cancel();
        }
        Ok(())
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SinkError> {
        self.idle += wait;
        std::thread::park_timeout(wait);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn simulation(users: u32, hours: i64) -> Simulation {
    Simulation::new(Settings {
        profile: Profile::builtin("example").unwrap(),
        seed: 7,
        num_users: users,
        first_user_id: 1,
        start_ms: 1_771_804_800_000,
        end_ms: 1_771_804_800_000 + hours * 3_600_000,
        tag: None,
    })
}

fn run_into(memory: &mut Memory, delivery: &Delivery) -> Summary {
    let stop = memory.stop_after.as_ref().map_or_else(CancellationToken::new, |(_, token)| token.clone());
    run(&mut simulation(200, 72), delivery, memory, &stop, &mut |_| {}).unwrap()
}

#[test]
fn counts_are_those_of_the_records() {
    let mut memory = Memory::default();

    let summary = run_into(&mut memory, &Delivery::default());

    assert_eq!(summary.events as usize, memory.records.len());
    assert_eq!(summary.bytes as usize, memory.records.iter().map(|(.., value)| value.len()).sum::<usize>());
    for topic in Topic::ALL {
        let counted = memory.records.iter().filter(|(found, ..)| *found == topic).count();
        assert_eq!(summary.topics[topic.name()].events as usize, counted);
    }
    assert!(summary.events > 500 && summary.duplicates == 0);
    assert_eq!(summary.outcome, Outcome::Complete);
}

#[test]
fn the_record_limit_is_never_exceeded() {
    for limit in [1, 2, 99, 100] {
        let mut memory = Memory::default();
        let summary = run_into(&mut memory, &Delivery { max_events: Some(limit), ..Delivery::default() });
        assert!(summary.events <= limit && summary.events + 3 > limit, "{} of {limit}", summary.events);
        assert_eq!(summary.outcome, Outcome::MaxEvents);
    }
}

#[test]
fn duplicates_are_copies_and_leave_the_rest_as_it_is() {
    let (mut plain, mut doubled) = (Memory::default(), Memory::default());
    run_into(&mut plain, &Delivery::default());

    let summary = run_into(
        &mut doubled,
        &Delivery { faults: Plan::default().with_duplicates(0.1), ..Delivery::default() },
    );

    assert!(summary.duplicates > 20);
    assert_eq!(doubled.records.len(), plain.records.len() + summary.duplicates as usize);
    let mut seen = std::collections::BTreeSet::new();
    let firsts: Vec<_> = doubled.records.iter().filter(|record| seen.insert((*record).clone())).collect();
    assert_eq!(firsts, plain.records.iter().collect::<Vec<_>>());
}

#[test]
fn keys_are_what_was_asked_for() {
    let keys = |key| {
        let mut memory = Memory::default();
        run_into(&mut memory, &Delivery { key, ..Delivery::default() });
        memory.records
    };

    assert!(keys(Key::None).iter().all(|(_, key, _)| key.is_none()));
    for (kind, field) in [(Key::User, "userId"), (Key::Session, "sessionId")] {
        for (_, key, value) in keys(kind) {
            let event: serde_json::Value = serde_json::from_slice(&value).unwrap();
            let expected = event.get(field).map(|number| number.to_string().into_bytes());
            assert_eq!(key, expected);
        }
    }
}

#[test]
fn a_run_that_is_stopped_tells_what_it_did() {
    let stop_after = Some((1_500, CancellationToken::new()));
    let mut memory = Memory { stop_after, ..Memory::default() };

    let summary = run_into(&mut memory, &Delivery::default());

    assert_eq!(summary.outcome, Outcome::Stopped);
    assert_eq!(summary.events as usize, memory.records.len());
    assert!(memory.records.len() < 6_000);
}

#[test]
fn time_compression_waits_for_the_wall_clock() {
    let mut memory = Memory::default();
    let delivery = Delivery { pace: Pace::Compressed(3_600_000.0), ..Delivery::default() };

    let summary =
        run(&mut simulation(50, 24), &delivery, &mut memory, &CancellationToken::new(), &mut |_| {}).unwrap();

    let simulated_ms = summary.last_ts.unwrap() - summary.start_ms;
    // The pacer's clock starts a moment before the run's own.
    let a_moment = 0.001;
    assert!(summary.seconds + a_moment >= simulated_ms as f64 / 1000.0 / 3_600_000.0);
    assert!(memory.idle > Duration::ZERO);
}
