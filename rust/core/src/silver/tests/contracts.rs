//! Rules of the section `[silver]`.

use crate::contract::tests::FIFTH;
use crate::{Contract, load_dir};

fn refused(silver: &str) -> String {
    Contract::parse(&format!("{FIFTH}\n[silver]\n{silver}"), "ad_events.toml").unwrap_err().to_string()
}

#[test]
fn the_section_may_be_left_out() {
    let contract = Contract::parse(FIFTH, "ad_events.toml").unwrap();
    assert_eq!(contract.silver.table, "silver_ad_events");
    assert!(contract.silver.text_repair.is_empty() && contract.silver.user_agent.is_none());
}

#[test]
fn each_broken_rule_is_named() {
    let precedence = |item: &str| {
        format!(
            "[silver.precedence]\ncolumn = \"{item}\"\ntopic = \"t\"\nfield = \"f\"\nvalue = \"v\"\ndoc = \"D.\""
        )
    };
    let alternation = |field: &str, between: &str| {
        format!("[silver.alternation]\nfield = \"{field}\"\nbetween = {between}")
    };
    let cases = [
        ("table = \"Silver\"".to_owned(), "table `Silver` is not snake_case"),
        (
            "table = \"bronze_ad_events\"".to_owned(),
            "`bronze_ad_events` is both the bronze and the silver table",
        ),
        ("text_repair = [\"artist\"]".to_owned(), "`silver.text_repair` names `artist`, which is no field"),
        (
            "text_repair = [\"price\"]".to_owned(),
            "field `price` stands in `silver.text_repair`, so it must be a string",
        ),
        (
            "timestamps = [\"price\"]".to_owned(),
            "field `price` stands in `silver.timestamps`, so it must be a long",
        ),
        (
            "timestamps = [\"at\"]".to_owned(),
            "field `at` stands in `silver.timestamps`, but is the event time or part of the identity",
        ),
        (
            "user_agent = \"skipped\"".to_owned(),
            "field `skipped` stands in `silver.user_agent`, so it must be a string",
        ),
        (
            "user_agent = \"listener\"\ntext_repair = [\"listener\"]".to_owned(),
            "field `listener` stands in `silver` twice",
        ),
        (
            "text_repair = [\"listener\", \"listener\"]".to_owned(),
            "field `listener` stands in `silver` twice",
        ),
        (
            alternation("price", "[\"a\", \"b\"]"),
            "field `price` stands in `silver.alternation`, so it must be a string",
        ),
        (
            alternation("listener", "[\"a\", \"b\"]"),
            "field `listener` is part of the identity, so `silver.alternation` cannot replace it",
        ),
        (
            alternation("listener", "[\"a\", \"a\"]"),
            "`silver.alternation.between` needs two different values",
        ),
        (alternation("listener", "[\"a\", \"\"]"), "`silver.alternation.between` needs two different values"),
        (precedence("isFirst"), "`silver.precedence.column` is `isFirst`, not snake_case"),
        (
            precedence("price_usd"),
            "silver would have the column `price_usd` twice; give one of the fields another `column`",
        ),
        (
            precedence("event_id"),
            "silver would have the column `event_id` twice; give one of the fields another `column`",
        ),
    ];
    for (silver, expected) in cases {
        assert_eq!(refused(&silver), format!("invalid contract `ad_events.toml`: {expected}"), "{silver}");
    }
    assert!(refused("colour = 1").starts_with("failed to read contract"));
}

#[test]
fn columns_that_meet_in_snake_case_are_refused() {
    let field = |name: &str| format!("\n[[fields]]\nname = \"{name}\"\ntype = \"string\"\ndoc = \"F.\"\n");
    let refused = |text: String| Contract::parse(&text, "f.toml").unwrap_err().to_string();
    let twice = refused(format!("{FIFTH}{}{}", field("userAge"), field("user_age")));
    assert!(twice.contains("silver would have the column `user_age` twice"), "{twice}");
    let taken = refused(format!("{FIFTH}{}", field("runId")));
    assert!(taken.contains("silver would have the column `run_id` twice"), "{taken}");
}

#[test]
fn an_item_that_is_text_has_no_item_before_it() {
    let text =
        FIFTH.replacen("name = \"position\"\ntype = \"int\"", "name = \"position\"\ntype = \"string\"", 1);
    let rule =
        "\n[silver.precedence]\ncolumn = \"c\"\ntopic = \"t\"\nfield = \"f\"\nvalue = \"v\"\ndoc = \"D.\"\n";
    let error = Contract::parse(&format!("{text}{rule}"), "f.toml").unwrap_err().to_string();
    assert!(error.contains("field `position` is a text, but `silver.precedence`"), "{error}");
}

#[test]
fn rules_across_topics_are_checked_on_the_set() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |topic: &str, field: &str| {
        format!(
            "{FIFTH}\n[silver.precedence]\ncolumn = \"after_x\"\ntopic = \"{topic}\"\nfield = \"{field}\"\nvalue = \"v\"\ndoc = \"D.\"\n"
        )
    };
    let load = |text: String| {
        std::fs::write(folder.path().join("ad_events.toml"), text).unwrap();
        load_dir(folder.path()).map_err(|error| error.to_string())
    };
    assert_eq!(
        load(rule("elsewhere", "page")).unwrap_err(),
        "invalid contract `ad_events.toml`: `silver.precedence` names the topic `elsewhere`, which has no contract"
    );
    assert_eq!(
        load(rule("ad-events", "price")).unwrap_err(),
        "invalid contract `ad_events.toml`: `silver.precedence` names `price`, which is no text field of the topic `ad-events`"
    );
    assert_eq!(load(rule("ad-events", "listener")).unwrap().len(), 1);
}
