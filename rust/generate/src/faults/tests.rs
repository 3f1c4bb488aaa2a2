use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use arrow::array::{Array, AsArray};
use streamify_core::{DecodeOptions, Decoder, Record, contract};

use super::{
    inject::MAX_COPY_DELAY_RECORDS,
    kinds::{Cause, Effect},
    *,
};
use crate::{
    profile::Profile,
    simulation::{Settings, Simulation},
};

const START: i64 = 1_771_804_800_926;
const DAY_MS: i64 = 86_400_000;
const RUN: &str = "00112233aabbccdd";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Clean {
    topic: Topic,
    value: Vec<u8>,
    ts_ms: i64,
    session_id: u64,
}

#[derive(Debug)]
struct Delivered {
    topic: Topic,
    value: Option<Vec<u8>>,
    run_id: String,
    role: Role,
    faults: Vec<Fault>,
}

fn clean() -> Vec<Clean> {
    let mut simulation = Simulation::new(Settings {
        profile: Profile::builtin("example").unwrap(),
        seed: 3,
        num_users: 400,
        first_user_id: 1,
        start_ms: START,
        end_ms: START + 14 * DAY_MS,
        tag: None,
    });
    let mut records = Vec::new();
    while let Some(moment) = simulation.step() {
        let (ts_ms, session_id) = (moment.ts_ms, moment.session_id);
        records.extend(moment.events().map(|(topic, value)| Clean {
            topic,
            value: value.to_vec(),
            ts_ms,
            session_id,
        }));
    }
    assert!(records.len() > 10_000);
    records
}

fn plan(words: &[&str]) -> Plan {
    Plan::parse(words.iter().copied(), START + 7 * DAY_MS).unwrap()
}

fn pass(records: &[Clean], plan: &Plan, seed: u64) -> Vec<Delivered> {
    let mut delivered = Vec::new();
    let mut deliver = |delivery: &Delivery<'_>| {
        delivered.push(Delivered {
            topic: delivery.topic,
            value: delivery.value.map(<[u8]>::to_vec),
            run_id: delivery.run_id.unwrap_or(RUN).to_owned(),
            role: delivery.role,
            faults: delivery.faults.to_vec(),
        });
        Ok::<(), Infallible>(())
    };
    let mut stage = Stage::new(plan, seed, RUN);
    for record in records {
        let Clean { topic, value, ts_ms, session_id } = record;
        let passing = Passing { topic: *topic, key: None, value, ts_ms: *ts_ms, session_id: *session_id };
        stage.pass(&passing, &mut deliver).unwrap();
    }
    stage.finish(&mut deliver).unwrap();
    delivered
}

#[test]
fn without_faults_the_stream_passes_as_it_is() {
    let records = clean();

    let delivered = pass(&records, &Plan::default(), 1);

    assert_eq!(delivered.len(), records.len());
    for (record, delivery) in records.iter().zip(&delivered) {
        assert!(delivery.value.as_ref() == Some(&record.value) && delivery.topic == record.topic);
        assert!(delivery.role == Role::Event && delivery.faults.is_empty() && delivery.run_id == RUN);
    }
}

#[test]
fn a_run_with_faults_is_the_run_without_plus_what_is_listed() {
    let records = clean();
    let reader = FactReader::new();
    let id = |record: &Clean| reader.read(record.topic, &record.value).unwrap().event_id(RUN);
    let originals: BTreeMap<String, &Clean> = records.iter().map(|record| (id(record), record)).collect();
    assert_eq!(originals.len(), records.len());

    let delivered = pass(&records, &plan(&["all=0.1"]), 1);

    // Every event once, in its own bytes unless the list says otherwise.
    let mut seen = BTreeSet::new();
    for delivery in delivered.iter().filter(|delivery| delivery.role == Role::Event) {
        let altered = delivery.faults.iter().find(|fault| fault.variant.effect == Effect::Altered);
        let value = delivery.value.as_ref().unwrap();
        let original = match delivery.faults.first() {
            Some(fault) => originals[&fault.event_id],
            None => originals[&reader.read(delivery.topic, value).unwrap().event_id(RUN)],
        };
        assert_eq!(altered.is_some(), *value != original.value, "{}", String::from_utf8_lossy(value));
        assert!(seen.insert(original), "delivered twice as an event");
    }
    assert_eq!(seen.len(), records.len());
    // Everything else is listed, with the event it belongs to.
    for delivery in delivered.iter().filter(|delivery| delivery.role != Role::Event) {
        assert_eq!(delivery.faults.len(), 1);
        assert_eq!(originals[&delivery.faults[0].event_id].topic, delivery.topic);
    }
    // What is neither late nor altered stands in its order.
    let in_place = delivered.iter().filter(|one| one.role == Role::Event && one.faults.is_empty());
    let mut rest = records.iter();
    for delivery in in_place {
        assert!(rest.any(|record| Some(&record.value) == delivery.value.as_ref()));
    }
}

#[test]
fn every_delivery_becomes_what_the_list_says() {
    let records = clean();
    let delivered = pass(&records, &plan(&["all=0.3", "D23.giant=0.0005"]), 2);
    let mut ways = BTreeSet::new();

    for topic in Topic::ALL {
        let contract = contract::builtin().into_iter().find(|found| found.topic == topic.name()).unwrap();
        let mut decoder = Decoder::new(contract, DecodeOptions::default());
        let mut expected = Vec::new();
        for delivery in delivered.iter().filter(|delivery| delivery.topic == topic) {
            let value = delivery.value.as_deref();
            let timestamp_ms = Some(START + 30 * DAY_MS);
            let run_id = Some(&delivery.run_id[..]);
            let decoded = decoder.push(&Record { value, partition: 0, offset: 0, timestamp_ms, run_id });
            ways.extend(delivery.faults.iter().map(|fault| (fault.kind.id, fault.variant.name)));
            let fate = delivery.faults.last().map_or(Fate::Row, |fault| fault.variant.fate);
            match (fate, decoded) {
                (Fate::DeadLetter(reason), Err(rejection)) => assert_eq!(rejection.reason, reason),
                (Fate::Row | Fate::OtherRow, Ok(())) => {
                    expected.push(delivery.faults.first().map(|fault| fault.row_id.clone().unwrap()));
                }
                (fate, decoded) => panic!("{fate:?} {:?}: {decoded:?}", delivery.faults),
            }
        }
        let batch = decoder.finish(0).unwrap();
        let ids = batch.column_by_name("event_id").unwrap().as_string::<i32>();
        assert_eq!(ids.len(), expected.len());
        for (id, expected) in ids.iter().zip(&expected) {
            assert!(expected.is_none() || id == expected.as_deref(), "{id:?} {expected:?}");
        }
    }

    for kind in &kinds::ALL {
        let Cause::Injected { variants, .. } = kind.cause else { continue };
        for variant in variants {
            // Too rare here: one status in a thousand events.
            assert!(ways.contains(&(kind.id, variant.name)), "{} {} never happened", kind.id, variant.name);
        }
    }
}

/// Every fault as text, with where it was delivered among those of its role.
fn listed(delivered: &[Delivered], id: &str) -> Vec<String> {
    let faults = delivered.iter().flat_map(|delivery| &delivery.faults);
    let of_kind = faults.filter(|fault| fault.kind.id == id);
    of_kind.map(|fault| format!("{} {} {:?}", fault.variant.name, fault.event_id, fault.detail)).collect()
}

#[test]
fn the_same_seed_repeats_and_cases_do_not_disturb_each_other() {
    let records = clean();
    let bytes = |words: &[&str], seed| -> Vec<Option<Vec<u8>>> {
        pass(&records, &plan(words), seed).into_iter().map(|delivery| delivery.value).collect()
    };

    assert!(bytes(&["all"], 1) == bytes(&["all"], 1));
    assert!(bytes(&["all"], 1) != bytes(&["all"], 2));
    let all = pass(&records, &plan(&["all=0.05"]), 1);
    for id in ["D3", "D15", "D16"] {
        let alone = pass(&records, &plan(&[&format!("{id}=0.05")]), 1);
        let alone = listed(&alone, id);
        assert!(!alone.is_empty() && alone == listed(&all, id), "{id}");
    }
}

#[test]
fn a_stage_that_is_cut_goes_on_as_if_it_had_not_been() {
    let records = clean();
    let plan = plan(&["all=0.02", "D17=0.1", "D19=0.1"]);
    let uncut = pass(&records, &plan, 3);

    let mut delivered: Vec<(Option<Vec<u8>>, usize)> = Vec::new();
    let mut stage = Stage::new(&plan, 3, RUN);
    for (number, record) in records.iter().enumerate() {
        if number % 3_000 == 1_500 {
            let held = serde_json::to_value(stage.held()).unwrap();
            stage = Stage::resume(&plan, 3, RUN, serde_json::from_value(held).unwrap());
        }
        let Clean { topic, value, ts_ms, session_id } = record;
        let passing = Passing { topic: *topic, key: None, value, ts_ms: *ts_ms, session_id: *session_id };
        let mut deliver = |delivery: &Delivery<'_>| {
            delivered.push((delivery.value.map(<[u8]>::to_vec), delivery.faults.len()));
            Ok::<(), Infallible>(())
        };
        stage.pass(&passing, &mut deliver).unwrap();
    }
    stage
        .finish(&mut |delivery| {
            delivered.push((delivery.value.map(<[u8]>::to_vec), delivery.faults.len()));
            Ok::<(), Infallible>(())
        })
        .unwrap();

    let uncut: Vec<_> = uncut.into_iter().map(|one| (one.value, one.faults.len())).collect();
    assert!(delivered == uncut);
}

#[test]
fn rates_are_parts_of_the_records() {
    let records = clean();
    let share = |words: &[&str], id: &str| {
        listed(&pass(&records, &plan(words), 5), id).len() as f64 / records.len() as f64
    };

    for (word, id, expected) in [("D12=0.2", "D12", 0.2), ("D19=0.05", "D19", 0.05), ("D17=0.1", "D17", 0.1)]
    {
        let share = share(&[word], id);
        assert!((share / expected - 1.0).abs() < 0.1, "{word}: {share}");
    }
    let twice = share(&["D4.repeated=0.2"], "D4");
    assert!((0.1..0.35).contains(&twice), "whole sessions: {twice}");
}

#[test]
fn drift_begins_at_its_time_and_copies_and_late_events_come_in_time() {
    let records = clean();
    let drift = pass(&records, &plan(&["D20=0.5"]), 1);
    let drifted = drift.iter().flat_map(|delivery| &delivery.faults);
    assert!(drifted.map(|fault| fault.event.ts_ms).min().unwrap() >= START + 7 * DAY_MS);

    let (mut now, mut waits) = (0, Vec::new());
    for delivery in pass(&records, &plan(&["D17=0.05"]), 1) {
        match delivery.faults.first() {
            None => now = FactReader::new().read(delivery.topic, &delivery.value.unwrap()).unwrap().ts_ms,
            Some(fault) => waits.push(now - fault.event.ts_ms),
        }
    }
    assert!(waits.len() > 100);
    assert!(waits.iter().all(|wait| *wait < (LATE_MS.1 as i64)));
    assert!(waits.iter().filter(|wait| **wait > 3_600_000).count() * 3 > waits.len());

    let mut places = BTreeMap::new();
    for (place, delivery) in pass(&records, &plan(&["D19=0.05"]), 1).into_iter().enumerate() {
        let facts = FactReader::new().read(delivery.topic, &delivery.value.unwrap()).unwrap();
        if let Some(first) = places.insert(facts.event_id(RUN), place) {
            assert!(delivery.role == Role::Copy && place - first <= MAX_COPY_DELAY_RECORDS * 21 / 20 + 10);
        }
    }
    assert_eq!(places.len(), records.len());
}

#[test]
fn a_session_that_a_second_run_tells_is_told_whole() {
    let records = clean();
    let stage = Stage::new(&plan(&["D3=0.2", "D4.shifted=0.2"]), 1, RUN);
    let twins = |session: u64| stage.twins(session).map(|twin| twin.run_id.clone());
    let mut expected: Vec<(String, u64)> = Vec::new();
    for record in &records {
        expected.extend(twins(record.session_id).map(|run_id| (run_id, record.session_id)));
    }

    let delivered = pass(&records, &plan(&["D3=0.2", "D4.shifted=0.2"]), 1);
    let extras = delivered.iter().filter(|delivery| delivery.role == Role::Extra);
    let mut found: Vec<(String, u64)> = extras
        .map(|delivery| (delivery.run_id.clone(), delivery.faults[0].event.session_id.cast_unsigned()))
        .collect();

    expected.sort();
    found.sort();
    assert!(found.len() > 1_000 && expected == found);
}
