use std::fs;

use super::*;

/// A valid contract of its own shape: other names, hours, text users, no page.
pub(crate) const FIFTH: &str = r#"
name = "ad_events"
version = 3
topic = "ad-events"
table = "bronze_ad_events"
doc = "One advert that was played."
partition = "hour"
sort_key = ["listener", "at"]

[event_time]
field = "at"
earliest = "2000-01-01"
latest = "2100-01-01"

[identity]
session = "session"
item = "position"
kind = "ad"
user = "listener"

[[fields]]
name = "at"
type = "long"
required = true
unit = "ms since 1970-01-01T00:00:00Z"
doc = "When."

[[fields]]
name = "session"
type = "string"
required = true
doc = "Session."

[[fields]]
name = "position"
type = "int"
required = true
doc = "Position."

[[fields]]
name = "listener"
type = "string"
personal = true
doc = "Who."

[[fields]]
name = "price"
column = "price_usd"
type = "double"
unit = "USD"
doc = "What it brought."

[[fields]]
name = "skipped"
type = "boolean"
doc = "Whether it was skipped."
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(FIFTH.contains(from), "{from}");
    let error = Contract::parse(&FIFTH.replacen(from, to, 1), "ad_events.toml").unwrap_err();
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[test]
fn the_four_topics_are_built_in() {
    let contracts = builtin();
    let topics: Vec<&str> = contracts.iter().map(|contract| contract.topic.as_str()).collect();
    assert_eq!(topics, ["auth_events", "listen_events", "page_view_events", "status_change_events"]);
    for contract in &contracts {
        assert_eq!(contract.table, format!("bronze_{}", contract.topic));
        assert_eq!(contract.sort_key, ["userId", "ts"]);
        assert_eq!(contract.partition, PartitionTransform::EventDate);
        assert_eq!(contract.field("userId").unwrap().kind, FieldKind::Long);
        assert_eq!(contract.event_time.earliest_ms, 946_684_800_000);
    }
}

#[test]
fn every_documented_field_stands_on_its_topic() {
    let always =
        ["ts", "sessionId", "level", "itemInSession", "city", "zip", "state", "userAgent", "lon", "lat"];
    let user = ["userId", "lastName", "firstName", "gender", "registration", "tag"];
    let own: [(&str, &[&str]); 4] = [
        ("listen_events", &["auth", "artist", "song", "duration"]),
        ("page_view_events", &["auth", "page", "method", "status", "artist", "song", "duration"]),
        ("auth_events", &["success"]),
        ("status_change_events", &["auth"]),
    ];
    for (topic, own) in own {
        let contract = builtin().into_iter().find(|contract| contract.topic == topic).unwrap();
        let mut expected: Vec<&str> = [&always[..], &user[..], own].concat();
        let mut found: Vec<&str> = contract.fields.iter().map(|field| field.name.as_str()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{topic}");
    }
}

#[test]
fn columns_are_payload_then_derived() {
    let contract = Contract::parse(FIFTH, "ad_events.toml").unwrap();
    let names: Vec<String> = contract.columns_with(true).into_iter().map(|column| column.name).collect();
    assert_eq!(
        names,
        [
            "at",
            "session",
            "position",
            "listener",
            "price_usd",
            "skipped",
            "event_id",
            "event_ts",
            "event_date",
            "_kafka_partition",
            "_kafka_offset",
            "_kafka_timestamp",
            "_source_epoch",
            "_run_id",
            "_processing_time",
            "_extras",
            "_legacy_event_id"
        ]
    );
    assert_eq!(contract.columns().len() + 1, names.len());
    let price = contract.columns().into_iter().find(|column| column.name == "price_usd").unwrap();
    assert_eq!((price.unit.as_deref(), price.nullable), (Some("USD"), true));
    assert!(!contract.arrow_schema().field_with_name("session").unwrap().is_nullable());
}

#[test]
fn a_folder_of_contracts_is_loaded_by_file_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = load_dir(folder.path()).unwrap_err();
    assert!(matches!(empty, ContractError::NoContracts { .. }), "{empty}");
    fs::write(folder.path().join("ad_events.toml"), FIFTH).unwrap();
    fs::write(folder.path().join("README.md"), "no contract").unwrap();
    let contracts = load_dir(folder.path()).unwrap();
    assert_eq!(contracts.len(), 1);
    assert_eq!((contracts[0].version, contracts[0].partition), (3, PartitionTransform::Hour));

    fs::write(folder.path().join("copy.toml"), FIFTH).unwrap();
    let twice = load_dir(folder.path()).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "invalid contract `copy.toml`: its name, topic or a table is that of contract `ad_events`"
    );
    let missing = load_dir(&folder.path().join("none")).unwrap_err();
    assert!(matches!(missing, ContractError::Unreadable { .. }), "{missing}");
}

#[test]
fn each_broken_rule_is_named_with_file_and_field() {
    let cases = [
        ("version = 3", "version = 0", "versions count from 1"),
        ("version = 3", "version = 3\ncolour = 1", "unknown field `colour`"),
        ("topic = \"ad-events\"", "topic = \"ad events\"", "`ad events` is not a topic name"),
        ("table = \"bronze_ad_events\"", "table = \"Bronze\"", "table `Bronze` is not snake_case"),
        ("name = \"ad_events\"", "name = \"\"", "name `` is not snake_case"),
        (
            "earliest = \"2000-01-01\"",
            "earliest = \"2000\"",
            "`event_time.earliest` is `2000` (expected e.g. `2000-01-01`)",
        ),
        ("earliest = \"2000-01-01\"", "earliest = \"2100-01-01\"", "`event_time.earliest` is not before"),
        ("field = \"at\"", "field = \"when\"", "`event_time` names `when`, which is no field"),
        (
            "field = \"at\"",
            "field = \"session\"",
            "field `session` is the event time, so it must be a required long",
        ),
        (
            "item = \"position\"",
            "item = \"price\"",
            "field `price` is part of the identity, so it must be required",
        ),
        ("user = \"listener\"", "user = \"skipped\"", "field `skipped` is part of the identity"),
        (
            "kind = \"ad\"",
            "kind = \"ad\"\npage = \"listener\"",
            "field `listener` is part of the identity, so it must be required",
        ),
        (
            "sort_key = [\"listener\"",
            "sort_key = [\"nobody\"",
            "`sort_key` names `nobody`, which is no column",
        ),
        ("sort_key = [\"listener\"", "sort_key = [\"at\"", "`sort_key` names `at` twice"),
        (
            "[identity]",
            "[silver]\ntext_repair = [\"price\"]\n[identity]",
            "field `price` stands in `silver.text_repair`, so it must be a string",
        ),
        ("doc = \"Who.\"", "doc = \"Who.\"\naliases = [\"session\"]", "field `session` is on the wire twice"),
        ("doc = \"Who.\"", "doc = \"Who.\"\naliases = [\"a\\\"b\"]", "field `listener` has the name `a\"b`"),
        ("doc = \"Who.\"", "doc = \"Who.\"\naccept_text = true", "field `listener` has `accept_text`"),
        (
            "doc = \"Who.\"",
            "doc = \"Who.\"\nunit = \"people\"",
            "field `listener` has a unit but is not a number",
        ),
        ("doc = \"Who.\"", "doc = \"\"", "field `listener` has no `doc`"),
        (
            "column = \"price_usd\"",
            "column = \"event_id\"",
            "field `price` has the column `event_id`, which is taken",
        ),
        ("column = \"price_usd\"", "column = \"AT\"", "field `price` has the column `AT`, which is taken"),
        ("type = \"double\"", "type = \"float\"", "unknown variant `float`"),
        (
            "[identity]",
            "[[splits]]\nname = \"both\"\ninto = [\"session\", \"price\"]\n[identity]",
            "field `price` stands in `splits`",
        ),
        (
            "[identity]",
            "[[splits]]\nname = \"at\"\ninto = [\"session\", \"listener\"]\n[identity]",
            "field `at` is on the wire twice",
        ),
    ];
    for (from, to, expected) in cases {
        let message = refused(from, to);
        assert!(message.contains(expected), "{to}: {message}");
        assert!(message.contains("ad_events.toml"), "{message}");
    }
}

#[test]
fn the_limit_on_fields_is_checked() {
    let field = |index: usize| format!("\n[[fields]]\nname = \"f{index}\"\ntype = \"int\"\ndoc = \"F.\"\n");
    let fits: String = (0..MAX_FIELDS - 6).map(field).collect();
    Contract::parse(&format!("{FIFTH}{fits}"), "big.toml").unwrap();
    let error = Contract::parse(&format!("{FIFTH}{fits}{}", field(99)), "big.toml").unwrap_err();
    assert_eq!(error.to_string(), "invalid contract `big.toml`: it has 65 fields (1 to 64)");
}
