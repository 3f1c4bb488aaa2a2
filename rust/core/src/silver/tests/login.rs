use serde_json::json;

use super::*;
use crate::silver::login::{Step, login_results};

fn step(session: u128, item: i64, day: i32) -> Step {
    Step { session, item, day }
}

#[test]
fn a_result_follows_its_login_at_once() {
    let logins = [step(1, 4, 100), step(1, 9, 100), step(2, 0, 100), step(1, 4, 90)];
    let cases = [
        (step(1, 5, 100), true),
        (step(1, 5, 101), true),
        (step(1, 5, 102), false),
        (step(1, 5, 99), false),
        (step(1, 5, 91), true),
        (step(1, 6, 100), false),
        (step(1, 4, 100), false),
        (step(1, 10, 100), true),
        (step(2, 1, 100), true),
        (step(3, 1, 100), false),
        (step(1, i64::MIN, 100), false),
        (step(1, 5, i32::MIN), false),
    ];
    let events: Vec<Step> = cases.iter().map(|(event, _)| *event).collect();
    let expected: Vec<bool> = cases.iter().map(|(_, expected)| *expected).collect();
    assert_eq!(login_results(&events, &logins), expected);
    assert_eq!(login_results(&events, &[]), vec![false; events.len()]);
    assert!(login_results(&[], &logins).is_empty());
}

#[test]
fn steps_come_from_rows_of_silver() {
    let steps = |topic: &str, line: &str, run_id| {
        let contract = contract(topic);
        let bronze = bronze_of(&contract, &[line], run_id);
        let mut plan = SilverPlan::new(&contract);
        let rows = plan.transform(&bronze, 0).unwrap();
        plan.steps(&rows).unwrap()[0]
    };
    let (view, result) = (steps("page_view_events", PAGE, Some("a")), steps("auth_events", AUTH, Some("a")));
    assert_eq!((view.item, result.item, result.day), (1, 2, 20_752));
    assert_eq!(login_results(&[result], &[view]), [true]);
    let elsewhere = steps("page_view_events", PAGE, Some("b"));
    let nowhere = steps("page_view_events", PAGE, None);
    assert_eq!(login_results(&[result], &[elsewhere, nowhere]), [false]);
}

#[test]
fn the_rule_names_the_page_of_a_login() {
    let rule = contract("auth_events").silver.precedence.clone().unwrap();
    let page = silver("page_view_events", &[PAGE]);
    assert_eq!((rule.topic.as_str(), json!(rule.value)), ("page_view_events", value(&page, &rule.field, 0)));
}
