//! What the generator writes is what the event contracts describe.

use std::collections::BTreeSet;

use streamify_generate::{
    profile::Profile,
    simulation::{Settings, Simulation},
};

#[test]
fn every_field_written_is_in_its_contract_and_every_required_one_is_written() {
    let contracts = streamify_core::contract::builtin();
    let mut simulation = Simulation::new(Settings {
        profile: Profile::builtin("example").unwrap(),
        seed: 3,
        num_users: 1_500,
        first_user_id: 1,
        start_ms: 1_771_804_800_000,
        end_ms: 1_771_804_800_000 + 14 * 86_400_000,
        tag: Some("demo".to_owned()),
    });
    let mut topics = BTreeSet::new();

    while let Some(moment) = simulation.step() {
        for (topic, value) in moment.events() {
            topics.insert(topic.name());
            let contract = contracts.iter().find(|contract| contract.topic == topic.name()).unwrap();
            let event: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(value).unwrap();
            for name in event.keys() {
                assert!(
                    contract.field(name).is_some(),
                    "`{name}` is not in the contract of {}",
                    topic.name()
                );
            }
            for field in contract.fields.iter().filter(|field| field.required) {
                assert!(event.contains_key(&field.name), "`{}` is missing in {}", field.name, topic.name());
            }
        }
    }

    assert_eq!(topics.len(), 4);
}
