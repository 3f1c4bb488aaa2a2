//! The law: however events arrive, the table equals a full recompute, and both equal the oracle.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::generate::{History, distinct, histories};
use super::lake::{Fact, Lake};
use super::oracle;

/// Number of random histories; more by `PROPTEST_CASES`.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn check(lake: &Lake, watermark_ms: Option<i64>) -> Result<(), TestCaseError> {
    let expected = oracle::sessions(&lake.silver, watermark_ms);
    prop_assert_eq!(lake.rows(), expected.clone());
    prop_assert_eq!(lake.watermark_ms, watermark_ms);
    prop_assert_eq!(lake.open_from_day, oracle::open_from_day(&expected));
    Ok(())
}

fn all_facts(history: &History) -> Vec<Fact> {
    history.steps.iter().flat_map(|(add, _)| add.clone()).collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn after_each_batch_the_table_equals_the_oracle(history in histories()) {
        let mut lake = Lake::default();
        let mut watermark_ms = None;
        for (add, remove) in &history.steps {
            lake.change(add, remove, history.max_events);
            watermark_ms = watermark_ms.max(add.iter().map(|fact| fact.time_ms).max());
            check(&lake, watermark_ms)?;
        }
    }

    #[test]
    fn one_event_at_a_time_in_any_order_gives_the_same(
        facts in histories().prop_map(|history| all_facts(&history)).prop_shuffle()
    ) {
        let mut lake = Lake::default();
        let mut watermark_ms = None;
        for fact in &facts {
            lake.change(std::slice::from_ref(fact), &[], 4);
            watermark_ms = watermark_ms.max(Some(fact.time_ms));
        }
        check(&lake, watermark_ms)?;
    }

    #[test]
    fn a_full_recompute_equals_the_oracle_for_any_number_of_buckets(history in histories()) {
        let facts = distinct(all_facts(&history));
        let watermark_ms = facts.iter().map(|fact| fact.time_ms).max();
        let mut per_day: BTreeMap<i32, usize> = BTreeMap::new();
        for fact in &facts {
            *per_day.entry(fact.day()).or_default() += 1;
        }
        let most = per_day.values().copied().max().unwrap_or(1);
        for buckets in 1..=4 {
            let mut lake = Lake { silver: facts.clone(), ..Lake::default() };
            lake.recompute(most.div_ceil(buckets));
            check(&lake, watermark_ms)?;
        }
    }

    #[test]
    fn a_recompute_of_a_table_changes_nothing_and_mends_everything(history in histories()) {
        let mut lake = Lake::default();
        for (add, remove) in &history.steps {
            lake.change(add, remove, history.max_events);
        }
        let rows = lake.rows();
        let watermark_ms = lake.watermark_ms;
        // Rows of days that have no events (any more) must vanish.
        let other = lake.sessions.values().next().cloned();
        lake.recompute(history.max_events);
        prop_assert_eq!(lake.rows(), rows);
        if let Some(other) = other {
            lake.sessions.insert(1, other);
            lake.recompute(history.max_events);
            check(&lake, watermark_ms)?;
        }
    }
}
