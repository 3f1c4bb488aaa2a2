//! What each topic's rows become.

use arrow::array::{AsArray, StringArray};
use arrow::compute::concat_batches;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn names(topic: &str) -> Vec<String> {
    columns(&contract(topic)).into_iter().map(|column| column.name).collect()
}

#[test]
fn the_columns_stand_in_the_documented_order() {
    let listen = [
        "event_id",
        "event_ts",
        "event_date",
        "run_id",
        "artist",
        "song",
        "duration",
        "session_id",
        "auth",
        "level",
        "item_in_session",
        "city",
        "zip",
        "state",
        "user_agent",
        "lon",
        "lat",
        "user_id",
        "last_name",
        "first_name",
        "gender",
        "registration",
        "tag",
        "artist_original",
        "song_original",
        "browser",
        "browser_version",
        "os",
        "device_type",
        "_kafka_partition",
        "_kafka_offset",
        "_kafka_timestamp",
        "_source_epoch",
        "_payload_hash",
        "_processed_at",
        "_extras",
    ];
    assert_eq!(names("listen_events"), listen);
    let change = names("status_change_events");
    assert!(!change.contains(&"level".to_owned()), "{change:?}");
    let at = change.iter().position(|name| name == "old_level").unwrap();
    assert_eq!(change[at - 1..at + 3], ["device_type", "old_level", "new_level", "_kafka_partition"]);
    let auth = names("auth_events");
    assert_eq!(auth[auth.len() - 8], "is_login_result");
    assert!(names("page_view_events").contains(&"song_original".to_owned()));
}

#[test]
fn every_column_is_documented_and_what_is_about_people_is_marked() {
    for contract in builtin() {
        let plan = SilverPlan::new(&contract);
        assert_eq!(plan.table(), format!("silver_{}", contract.topic));
        assert_eq!(plan.sort_key(), ["user_id", "event_ts", "session_id", "item_in_session"]);
        assert_eq!(plan.identity(), ["event_id"]);
        for column in plan.columns() {
            assert!(column.doc.ends_with('.'), "{}: {}", column.name, column.doc);
            let is_number = matches!(column.kind, crate::ColumnType::Timestamp | crate::ColumnType::String);
            assert!(!(is_number && column.unit.is_some()), "{}", column.name);
        }
        let personal: Vec<String> =
            plan.columns().into_iter().filter(|column| column.personal).map(|column| column.name).collect();
        let expected = ["zip", "user_agent", "lon", "lat", "user_id", "last_name", "first_name", "gender"];
        assert_eq!(personal, expected);
    }
}

#[test]
fn names_become_snake_case() {
    let cases = [
        ("userId", "user_id"),
        ("itemInSession", "item_in_session"),
        ("userID", "user_id"),
        ("HTTPStatus", "http_status"),
        ("already_so", "already_so"),
        ("_kafka", "_kafka"),
        ("top10Songs", "top10_songs"),
        ("a-b", "a_b"),
        ("ÉtatCivil", "état_civil"),
    ];
    for (name, expected) in cases {
        assert_eq!(super::super::columns::snake_case(name), expected);
    }
}

#[test]
fn a_listen_is_typed_renamed_and_taken_apart() {
    let mojibake = with(LISTEN, "Nora Vale", "Beyonc\u{c3}\u{a9} \\\"B\\\"");
    let mojibake = with(&mojibake, "{", r#"{"mood":"calm","#);
    let rows = silver("listen_events", &[LISTEN, &mojibake]);
    let bronze = bronze("listen_events", &[LISTEN, &mojibake]);
    let expected = json!({
        "event_id": value(&bronze, "event_id", 0), "event_ts": 1_793_000_000_926_000_i64, "event_date": 20_752,
        "run_id": "r-1", "artist": "Nora Vale", "song": "Slow Harbour", "duration": 223.4012, "session_id": 97,
        "auth": "Logged In", "level": "free", "item_in_session": 0, "city": "Sandusky", "zip": "44870", "state": "OH",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:31.0) Gecko/20100101 Firefox/31.0", "lon": -82.744814,
        "lat": 41.42828, "user_id": 42, "last_name": "Reed", "first_name": "Ida", "gender": "F",
        "registration": 1_786_811_444_926_000_i64, "tag": null, "artist_original": null, "song_original": null,
        "browser": "Firefox", "browser_version": "31.0", "os": "Linux", "device_type": "desktop",
        "_kafka_partition": 3, "_kafka_offset": 11, "_kafka_timestamp": 1_793_000_460_926_000_i64,
        "_source_epoch": 0, "_processed_at": PROCESSED_AT_US, "_extras": null,
    });
    for (column, expected) in expected.as_object().unwrap() {
        assert_eq!(&value(&rows, column, 0), expected, "{column}");
    }
    assert_eq!(expected.as_object().unwrap().len() + 1, rows.num_columns());
    assert_eq!(value(&rows, "artist", 1), "Beyoncé \"B\"");
    assert_eq!(value(&rows, "artist_original", 1), "Beyonc\u{c3}\u{a9} \"B\"");
    assert_eq!(value(&rows, "artist_original", 0), Value::Null);
    assert_eq!(value(&rows, "_extras", 1), r#"{"mood":"calm"}"#);
    assert_eq!(value(&rows, "_kafka_offset", 1), 12);
    for (column, array) in SilverPlan::new(&contract("listen_events")).columns().iter().zip(rows.columns()) {
        assert_eq!(&column.kind.arrow(), array.data_type(), "{}", column.name);
    }
}

#[test]
fn an_anonymous_page_view_keeps_its_nulls() {
    let rows = silver("page_view_events", &[PAGE]);
    for column in ["user_id", "registration", "artist", "artist_original", "song", "last_name"] {
        assert_eq!(value(&rows, column, 0), Value::Null, "{column}");
    }
    assert_eq!(value(&rows, "page", 0), "Login");
    assert_eq!(value(&rows, "os", 0), "Windows");
}

#[test]
fn a_status_change_names_both_levels() {
    let paid = with(CHANGE, r#""level":"free""#, r#""level":"paid""#);
    let odd = with(CHANGE, r#""level":"free""#, r#""level":"trial""#);
    let none = with(CHANGE, r#""level":"free","#, "");
    let rows = silver("status_change_events", &[CHANGE, &paid, &odd, &none]);
    let levels: Vec<[Value; 2]> =
        (0..4).map(|row| ["old_level", "new_level"].map(|column| value(&rows, column, row))).collect();
    let expected = [
        [json!("free"), json!("paid")],
        [json!("paid"), json!("free")],
        [json!("trial"), Value::Null],
        [Value::Null, Value::Null],
    ];
    assert_eq!(levels, expected);
    assert_eq!(value(&rows, "device_type", 0), "mobile");
}

#[test]
fn the_mark_of_a_login_is_left_to_the_job() {
    let rows = silver("auth_events", &[AUTH]);
    assert_eq!(value(&rows, "is_login_result", 0), false);
    assert_eq!(value(&rows, "success", 0), false);
}

#[test]
fn what_needs_no_change_shares_the_memory_of_bronze() {
    let bronze = bronze("listen_events", &[LISTEN; 10]);
    let rows = SilverPlan::new(&contract("listen_events")).transform(&bronze, 0).unwrap();
    for (from, to) in [("artist", "artist"), ("song", "song"), ("city", "city"), ("event_id", "event_id")] {
        let data = |batch: &RecordBatch, column| {
            batch.column_by_name(column).unwrap().as_string::<i32>().value_data().as_ptr()
        };
        assert_eq!(data(&bronze, from), data(&rows, to), "{from}");
    }
}

#[test]
fn non_ascii_text_that_is_right_shares_it_too() {
    let right = with(LISTEN, "Nora Vale", "Sigur Rós");
    let bronze = bronze("listen_events", &[LISTEN, &right]);
    let rows = SilverPlan::new(&contract("listen_events")).transform(&bronze, 0).unwrap();
    let data = |batch: &RecordBatch| {
        batch.column_by_name("artist").unwrap().as_string::<i32>().value_data().as_ptr()
    };
    assert_eq!(data(&bronze), data(&rows));
}

#[test]
fn a_fifth_contract_needs_no_code() {
    let text = format!(
        "{}\n[silver]\ntable = \"clean_ads\"\ntext_repair = [\"listener\"]\n",
        crate::contract::tests::FIFTH
    );
    let contract = Arc::new(Contract::parse(&text, "ad_events.toml").unwrap());
    let line = r#"{"at":1793000000926,"session":"s-1","position":4,"listener":"Zo\u00c3\u00ab","price":0.5,"skipped":true}"#;
    let bronze = bronze_of(&contract, &[line], None);
    let mut plan = SilverPlan::new(&contract);
    let rows = plan.transform(&bronze, 7).unwrap();

    assert_eq!(
        (plan.table(), plan.sort_key()),
        ("clean_ads", ["listener", "event_ts", "session", "position"].map(str::to_owned).to_vec())
    );
    let expected = json!({
        "event_ts": 1_793_000_000_926_000_i64, "run_id": null, "session": "s-1", "position": 4, "listener": "Zoë",
        "price_usd": 0.5, "skipped": true, "listener_original": "Zo\u{c3}\u{ab}", "_kafka_offset": 11,
    });
    for (column, expected) in expected.as_object().unwrap() {
        assert_eq!(&value(&rows, column, 0), expected, "{column}");
    }
    assert!(rows.column_by_name("at").is_none() && rows.column_by_name("browser").is_none());
    assert!(plan.columns().iter().any(|column| column.name == "listener_original" && column.personal));
    assert_eq!(plan.event_ids(&bronze).unwrap().len(), 1);
    assert_eq!(plan.steps(&rows).unwrap()[0].item, 4);
}

#[test]
fn only_the_named_columns_are_read() {
    for (topic, line) in [
        ("listen_events", LISTEN),
        ("page_view_events", PAGE),
        ("auth_events", AUTH),
        ("status_change_events", CHANGE),
    ] {
        let bronze = bronze(topic, &[line, line]);
        let mut plan = SilverPlan::new(&contract(topic));
        let project = |names: &[String]| {
            let places: Vec<usize> =
                names.iter().map(|name| bronze.schema().index_of(name).unwrap()).collect();
            bronze.project(&places).unwrap()
        };
        let narrow = project(&plan.bronze_columns());
        assert_eq!(plan.transform(&narrow, 1).unwrap(), plan.transform(&bronze, 1).unwrap());
        assert!(narrow.num_columns() < bronze.num_columns());
        let ids = plan.event_ids(&bronze).unwrap();
        assert_eq!(plan.event_ids(&project(&plan.identity_columns())).unwrap(), ids);
        assert_eq!(plan.stored_ids(&project(&plan.identity_columns()[..1])).unwrap(), Some(ids));
    }
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let artist =
        prop_oneof![Just("Nora"), Just("BeyoncÃ©"), Just("Sigur Rós"), Just("Ã"), Just("ÃÂ¹"), Just("")];
    let agent = prop_oneof![Just("x"), Just(r#"\"Mozilla/5.0 (iPhone)\""#), Just("")];
    let line = (artist, agent, 0..50_u32, any::<bool>()).prop_map(|(artist, agent, item, has_user)| {
        let line = with(LISTEN, "Nora Vale", artist);
        let line =
            with(&line, r#"\"Mozilla/5.0 (X11; Linux x86_64; rv:31.0) Gecko/20100101 Firefox/31.0\""#, agent);
        let line = with(&line, r#""itemInSession":0"#, &format!(r#""itemInSession":{item}"#));
        if has_user { line } else { with(&line, r#""userId":42,"#, "") }
    });
    proptest::collection::vec(line, 1..40)
}

proptest! {
    #[test]
    fn a_row_depends_on_itself_alone(lines in lines(), at in 0..40_usize) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let bronze = bronze("listen_events", &lines);
        let at = at.min(lines.len());
        let mut plan = SilverPlan::new(&contract("listen_events"));
        let whole = plan.transform(&bronze, 9).unwrap();
        let parts = [bronze.slice(0, at), bronze.slice(at, lines.len() - at)]
            .map(|part| SilverPlan::new(&contract("listen_events")).transform(&part, 9).unwrap());
        prop_assert_eq!(concat_batches(plan.schema(), &parts).unwrap(), whole);
    }

    #[test]
    fn texts_of_a_dictionary_become_the_rows_that_plain_texts_become(lines in lines()) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let bronze = bronze("listen_events", &lines);
        same_with_dictionaries("listen_events", &bronze)?;
    }
}

/// Checks a topic's rows, and their hashes and ids, against those of the same batch with dictionaries in the place of texts.
fn same_with_dictionaries(topic: &str, bronze: &RecordBatch) -> Result<(), TestCaseError> {
    let mut plan = SilverPlan::new(&contract(topic));
    let coded = with_dictionaries(bronze);
    let silver = plan.transform(&coded, 9).unwrap();
    let is_dictionary = |array: &&ArrayRef| array.as_any_dictionary_opt().is_some();
    prop_assert!(silver.columns().iter().filter(is_dictionary).count() > 4, "texts stay dictionaries");
    let plain = silver.columns().iter().zip(plan.schema().fields());
    let plain: Vec<ArrayRef> =
        plain.map(|(array, field)| arrow::compute::cast(array, field.data_type()).unwrap()).collect();
    let plain = RecordBatch::try_new(plan.schema().clone(), plain).unwrap();
    prop_assert_eq!(plain, plan.transform(bronze, 9).unwrap());
    prop_assert_eq!(plan.event_ids(&coded).unwrap(), plan.event_ids(bronze).unwrap());
    prop_assert_eq!(plan.complete_rows(&coded).unwrap(), plan.complete_rows(bronze).unwrap());
    Ok(())
}

fn with_dictionaries(batch: &RecordBatch) -> RecordBatch {
    let kind = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    let column = |(field, array): (&Arc<Field>, &ArrayRef)| match array.data_type() {
        DataType::Utf8 => (field.name().clone(), arrow::compute::cast(array, &kind).unwrap(), true),
        _ => (field.name().clone(), array.clone(), field.is_nullable()),
    };
    RecordBatch::try_from_iter_with_nullable(
        batch.schema_ref().fields().iter().zip(batch.columns()).map(column),
    )
    .unwrap()
}

#[test]
fn every_topic_takes_texts_of_a_dictionary() {
    for (topic, lines) in [
        ("page_view_events", [PAGE, PAGE]),
        ("auth_events", [AUTH, AUTH]),
        ("status_change_events", [CHANGE, CHANGE]),
    ] {
        let bronze = bronze(topic, &lines);
        same_with_dictionaries(topic, &bronze).unwrap();
        // Ids of another form are computed from texts.
        let other: ArrayRef = Arc::new(StringArray::from(vec!["0x"; bronze.num_rows()]));
        let place = bronze.schema().index_of("event_id").unwrap();
        let mut columns = bronze.columns().to_vec();
        columns[place] = other;
        let older = RecordBatch::try_new(bronze.schema(), columns).unwrap();
        same_with_dictionaries(topic, &older).unwrap();
    }
}
