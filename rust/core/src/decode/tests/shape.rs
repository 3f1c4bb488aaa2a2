//! What a batch looks like, and what a decoder keeps from batch to batch.

use arrow::datatypes::{Date32Type, TimestampMicrosecondType};

use super::*;
use crate::identity::{EventIdentity, Part};

#[test]
fn the_four_samples_are_rows_of_their_contracts() {
    for (topic, value) in [
        ("listen_events", LISTEN),
        ("page_view_events", PAGE),
        ("auth_events", AUTH),
        ("status_change_events", CHANGE),
    ] {
        let batch = row(topic, &format!("{value}\n"));
        assert_eq!(batch.schema(), contract(topic).arrow_schema());
        assert_eq!(text(&batch, "_extras"), None);
        let given = value.matches("\":").count();
        let derived = 8; // all but `_run_id` and `_extras`
        let present = batch.columns().iter().filter(|column| column.is_valid(0)).count();
        assert_eq!(present, given + derived, "{topic}");
    }
}

#[test]
fn derived_columns_say_when_and_where_from() {
    let batch = row("listen_events", LISTEN);
    let time =
        |name: &str| batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(time("event_ts"), 1_793_000_000_926_000);
    assert_eq!(time("_kafka_timestamp"), 1_793_000_460_926_000);
    assert_eq!(time("_processing_time"), 5);
    assert_eq!(batch.column_by_name("event_date").unwrap().as_primitive::<Date32Type>().value(0), 20_752);
    assert_eq!((int(&batch, "_kafka_partition"), long(&batch, "_kafka_offset")), (Some(3), Some(11)));
    let expected = EventIdentity {
        topic: "listen_events",
        run_id: b"",
        session: Part::Number(97),
        item: Part::Number(0),
        event_time_ms: 1_793_000_000_926,
        page: b"listen",
        user: Part::Number(42),
    };
    assert_eq!(text(&batch, "event_id").unwrap(), expected.event_id());
    let page = EventIdentity {
        topic: "page_view_events",
        session: Part::Number(98),
        item: Part::Number(1),
        event_time_ms: 1_793_000_123_926,
        page: b"Login",
        user: Part::Null,
        ..expected
    };
    assert_eq!(text(&row("page_view_events", PAGE), "event_id").unwrap(), page.event_id());
}

#[test]
fn every_row_of_a_long_batch_has_the_id_of_its_own_values() {
    let runs = [None, Some("a"), Some("a-run-with-a-name-that-needs-a-second-block-of-64-bytes")];
    let pages = ["Home", "NextSong", "Submit Downgrade", ""];
    let users = ["", r#","userId":7"#, r#","userId":"-12""#];
    let values: Vec<String> = (0..500_usize)
        .map(|index| with(&with(PAGE, "Login", pages[index % 4]), "}", &format!("{}}}", users[index % 3])))
        .map(|value| with(&value, "\"sessionId\":98", &format!("\"sessionId\":{}", value.len() * 7919)))
        .collect();
    let records: Vec<Record<'_>> = values
        .iter()
        .enumerate()
        .map(|(index, value)| Record { run_id: runs[index / 5 % 3], ..record(value.as_bytes()) })
        .collect();
    let (batch, reasons) = decode_all(&contract("page_view_events"), &DecodeOptions::default(), &records);
    assert!(reasons.iter().all(Option::is_none));
    for (index, (record, found)) in records.iter().zip(texts(&batch, "event_id")).enumerate() {
        let user = [Part::Null, Part::Number(7), Part::Number(-12)][index % 3];
        let sessions = batch.column_by_name("sessionId").unwrap().as_primitive::<Int64Type>();
        let expected = EventIdentity {
            topic: "page_view_events",
            run_id: record.run_id.unwrap_or_default().as_bytes(),
            session: Part::Number(sessions.value(index)),
            item: Part::Number(1),
            event_time_ms: 1_793_000_123_926,
            page: pages[index % 4].as_bytes(),
            user,
        };
        assert_eq!(found.unwrap(), expected.event_id(), "row {index}");
    }
}

#[test]
fn a_rejected_record_leaves_no_trace() {
    let mut records = Vec::new();
    let broken = [
        with(LISTEN, "Ida", "Ida\\x"),
        with(LISTEN, "1786811444926", "1786811444926x"),
        with(LISTEN, "1793000000926", "17"),
        with(LISTEN, r#""gender":"F""#, r#""gender":"F","gender":"F""#),
        LISTEN[..300].to_owned(),
    ];
    for value in &broken {
        records.push(record(LISTEN.as_bytes()));
        records.push(record(value.as_bytes()));
    }
    records.push(record(LISTEN.as_bytes()));
    let (batch, reasons) = decode_all(&contract("listen_events"), &DecodeOptions::default(), &records);
    assert_eq!(reasons.iter().flatten().count(), broken.len());
    assert_eq!(batch.num_rows(), broken.len() + 1);
    for row in 1..batch.num_rows() {
        assert_eq!(batch.slice(row, 1), batch.slice(0, 1));
    }
}

#[test]
fn a_decoder_forgets_rows_and_keeps_what_it_learned() {
    let mut decoder = Decoder::new(contract("listen_events"), DecodeOptions::default());
    assert_eq!(decoder.finish(0).unwrap().num_rows(), 0);
    let mut batches = Vec::new();
    for _ in 0..3 {
        for _ in 0..100 {
            decoder.push(&record(LISTEN.as_bytes())).unwrap();
        }
        assert_eq!(decoder.rows(), 100);
        let bytes = decoder.bytes();
        batches.push(decoder.finish(7).unwrap());
        let held = batches[0].columns().iter().map(|column| column.get_buffer_memory_size()).sum::<usize>();
        assert!((LISTEN.len() * 40..held).contains(&bytes), "{bytes} bytes, {held} in Arrow");
        assert_eq!((decoder.rows(), decoder.bytes()), (0, 0));
    }
    assert_eq!(batches[0], batches[1]);
    assert_eq!(batches[0], batches[2]);
    assert_eq!(decoder.num_slow(), 0);
    assert_eq!(decoder.num_misses(), 19, "one per field, in the first record");
}

#[test]
fn a_fifth_topic_needs_one_new_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ad_events.toml"), crate::contract::tests::FIFTH).unwrap();
    let contract = crate::load_dir(folder.path()).unwrap().remove(0);
    let values = [
        r#"{"at":1793000000926,"session":"s-1","position":0,"listener":"ann","price":0.25,"skipped":true}"#,
        r#"{"skipped":false,"position":1,"session":"s-1","at":1793000000926,"brand":"Acme"}"#,
        r#"{"skipped":"no","position":1,"session":"s-1","at":1793000000926}"#,
    ];
    let records: Vec<Record<'_>> = values.iter().map(|value| record(value.as_bytes())).collect();
    let (batch, reasons) = decode_all(&contract, &DecodeOptions::default(), &records);
    assert_eq!(reasons, [None, None, Some(Reason::WrongType)]);
    assert_eq!(batch.schema(), contract.arrow_schema());
    assert_eq!(double(&batch, "price_usd"), Some(0.25));
    assert_eq!(texts(&batch, "_extras"), [None, Some(r#"{"brand":"Acme"}"#.to_owned())]);
    let expected = EventIdentity {
        topic: "ad-events",
        run_id: b"",
        session: Part::Text(b"s-1"),
        item: Part::Number(1),
        event_time_ms: 1_793_000_000_926,
        page: b"ad",
        user: Part::Null,
    };
    assert_eq!(texts(&batch, "event_id")[1].as_ref().unwrap(), &expected.event_id());
    let parts = crate::split_by_partition(&crate::sort_batch(&batch, &contract).unwrap(), &contract).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].0, crate::PartitionKey::Hour(1_793_000_000_926_i64.div_euclid(3_600_000) as i32));
    assert_eq!(texts(&parts[0].1, "listener"), [None, Some("ann".to_owned())]);
}

#[test]
fn a_field_that_comes_twice_is_a_dead_letter_under_whatever_name() {
    let doubled = [
        r#""song":"Slow Harbour","song":"Slow Harbour""#,
        r#""song":null,"song":"Slow Harbour""#,
        r#""song":"x","length":1.5"#,
        r#""song":"x","lng":1.5"#,
        r#""song":"x","mood":1,"mood":2"#,
        r#""song":"x","s\u006fng":"y""#,
        r#""song":"x","location":"Lowell, MA""#,
    ];
    for members in doubled {
        assert_eq!(
            reason(with(LISTEN, r#""song":"Slow Harbour""#, members).as_bytes()),
            Reason::DuplicateField,
            "{members}"
        );
    }
}

#[test]
fn older_shapes_are_read_by_their_aliases() {
    let older = r#"{"ts":1793000000926,"userId":"42","sessionId":97,"auth":"Logged In","level":"free","itemInSession":0,"location":"Winston, Salem , NC","userAgent":"x","lng":-1.5,"lat":2,"length":12.25,"artist":null}"#;
    let batch = row("listen_events", older);
    assert_eq!(
        (text(&batch, "city").unwrap().as_str(), text(&batch, "state").unwrap().as_str()),
        ("Winston, Salem", "NC")
    );
    assert_eq!(
        (double(&batch, "lon"), double(&batch, "lat"), double(&batch, "duration")),
        (Some(-1.5), Some(2.0), Some(12.25))
    );
    assert_eq!(
        (long(&batch, "userId"), text(&batch, "artist"), text(&batch, "_extras")),
        (Some(42), None, None)
    );
    let batch = row("listen_events", &with(older, "Winston, Salem , NC", "Lowell"));
    assert_eq!((text(&batch, "city").unwrap().as_str(), text(&batch, "state")), ("Lowell", None));
    let batch = row("listen_events", &with(older, r#""Winston, Salem , NC""#, "null"));
    assert_eq!((text(&batch, "city"), text(&batch, "state")), (None, None));
    assert_eq!(reason(with(older, r#""Winston, Salem , NC""#, "5").as_bytes()), Reason::WrongType);
}
