//! One test per case of the table in the module's documentation.

use arrow::array::BooleanArray;

use super::*;
use crate::contract::LEGACY_EVENT_ID;
use crate::{PartitionKey, split_by_partition};

/// Decodes listens, all of which must become rows.
fn listens(values: &[String]) -> RecordBatch {
    let records: Vec<Record<'_>> = values.iter().map(|value| record(value.as_bytes())).collect();
    let (batch, reasons) = decode_all(&contract("listen_events"), &DecodeOptions::default(), &records);
    assert!(reasons.iter().all(Option::is_none), "{reasons:?}");
    batch
}

fn ids(batch: &RecordBatch) -> Vec<String> {
    texts(batch, "event_id").into_iter().flatten().collect()
}

#[test]
fn d01_text_in_the_wrong_character_set_lands_as_it_came_and_is_named_for_repair() {
    let batch = row("listen_events", &with(LISTEN, "Slow Harbour", "OÃ¹ \u{80}\u{9f} ù"));
    assert_eq!(text(&batch, "song").unwrap(), "OÃ¹ \u{80}\u{9f} ù");
    for topic in ["listen_events", "page_view_events"] {
        assert_eq!(contract(topic).silver.text_repair, ["artist", "song"]);
    }
}

#[test]
fn d02_quotes_and_backslashes_are_unescaped_once() {
    let batch =
        row("listen_events", &with(LISTEN, "Slow Harbour", r#"(\"live\" \\\"take\\) C:\\new\/\b\f\n\r\t\\"#));
    assert_eq!(text(&batch, "song").unwrap(), "(\"live\" \\\"take\\) C:\\new/\u{8}\u{c}\n\r\t\\");
}

#[test]
fn d03_the_same_ids_in_another_run_are_another_event() {
    let runs = [None, Some(""), Some("run-a"), Some("run-b"), Some("run-a")];
    let records: Vec<Record<'_>> = runs.map(|run_id| Record { run_id, ..record(LISTEN.as_bytes()) }).to_vec();
    let (batch, _) = decode_all(&contract("listen_events"), &DecodeOptions::default(), &records);
    let ids = ids(&batch);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[2], ids[4]);
    assert!(ids[0] != ids[2] && ids[2] != ids[3] && ids[0] != ids[3]);
    let run = |run: &str| Some(run.to_owned());
    assert_eq!(texts(&batch, "_run_id"), [None, None, run("run-a"), run("run-b"), run("run-a")]);
}

#[test]
fn d04_the_same_event_again_has_the_same_id_and_a_shifted_one_has_not() {
    let shifted = with(LISTEN, "1793000000926", "1793000007131");
    let ids = ids(&listens(&[LISTEN.to_owned(), LISTEN.to_owned(), shifted]));
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[test]
fn d05_equal_event_times_in_a_session_stay_two_events_where_the_older_id_has_one() {
    let next = with(LISTEN, r#""itemInSession":0"#, r#""itemInSession":1"#);
    let options = DecodeOptions { legacy_event_id: true, ..DecodeOptions::default() };
    let records = [record(LISTEN.as_bytes()), record(next.as_bytes())];
    let (batch, _) = decode_all(&contract("listen_events"), &options, &records);
    let ids = ids(&batch);
    assert_ne!(ids[0], ids[1]);
    let older = texts(&batch, LEGACY_EVENT_ID);
    assert_eq!(older[0], older[1]);
    // `printf 42_97_1793000000926 | sha256sum`
    assert_eq!(
        older[0].as_deref().unwrap(),
        "bf4ae49b3f1c891bf649c395930ec34139279790e1ae71ba5e5d46d5a8d6968e"
    );
    assert!(listens(&[LISTEN.to_owned()]).column_by_name(LEGACY_EVENT_ID).is_none());
}

#[test]
fn d06_a_second_outcome_of_one_login_is_a_row_of_its_own() {
    let second = with(AUTH, r#""itemInSession":2"#, r#""itemInSession":4"#);
    let records = [record(AUTH.as_bytes()), record(second.as_bytes())];
    let (batch, _) = decode_all(&contract("auth_events"), &DecodeOptions::default(), &records);
    assert_ne!(ids(&batch)[0], ids(&batch)[1]);
    let success = batch.column_by_name("success").unwrap().as_boolean();
    assert_eq!(success, &BooleanArray::from(vec![false, false]));
}

#[test]
fn d07_no_user_is_null_in_every_spelling() {
    for spelling in [r#""userId":null"#, r#""userId":"""#, r#""user_id":"""#] {
        let batch = row("listen_events", &with(LISTEN, r#""userId":42"#, spelling));
        assert_eq!(long(&batch, "userId"), None, "{spelling}");
        assert_eq!(text(&batch, "lastName").unwrap(), "Reed");
    }
    assert_eq!(long(&row("page_view_events", PAGE), "userId"), None);
    for spelling in [r#""userId":42"#, r#""userId":"42""#, r#""user_id":"42""#] {
        assert_eq!(
            long(&row("listen_events", &with(LISTEN, r#""userId":42"#, spelling)), "userId"),
            Some(42)
        );
    }
    for spelling in
        [r#""abc""#, r#"" ""#, r#""042""#, r#""+42""#, r#""4.2""#, r#""-0""#, "42.0", "true", "[42]"]
    {
        assert_eq!(
            reason(with(LISTEN, r#""userId":42"#, &format!(r#""userId":{spelling}"#)).as_bytes()),
            Reason::WrongType
        );
    }
}

#[test]
fn d08_null_is_no_user_at_all_in_the_identity() {
    let values = ["42", "null", r#""""#, "0", "-1", r#""42""#];
    let values = values.map(|user| with(LISTEN, r#""userId":42"#, &format!(r#""userId":{user}"#)));
    let ids = ids(&listens(&values));
    assert_eq!(ids[0], ids[5], "text and number are one user");
    assert_eq!(ids[1], ids[2], "null and empty text are one null");
    let different = std::collections::HashSet::from([&ids[0], &ids[1], &ids[3], &ids[4]]);
    assert_eq!(different.len(), 4);
}

#[test]
fn d09_a_session_may_begin_at_any_item() {
    assert_eq!(int(&row("status_change_events", CHANGE), "itemInSession"), Some(7));
}

#[test]
fn d10_an_event_before_its_registration_is_a_row() {
    let batch = row("listen_events", &with(LISTEN, "1786811444926", "1793999999926"));
    assert!(long(&batch, "ts") < long(&batch, "registration"));
}

#[test]
fn d11_equal_registrations_do_not_merge_events() {
    let other = with(LISTEN, r#""userId":42"#, r#""userId":43"#);
    let batch = listens(&[LISTEN.to_owned(), other]);
    let registrations = batch.column_by_name("registration").unwrap().as_primitive::<Int64Type>();
    assert_eq!(registrations.values(), &[1_786_811_444_926, 1_786_811_444_926]);
    assert_ne!(ids(&batch)[0], ids(&batch)[1]);
}

#[test]
fn d12_white_space_around_and_inside_changes_nothing() {
    let spaced = LISTEN.replace(",\"", " ,\r\n\t\"").replace("\":", "\" :\t").replacen('{', " { ", 1);
    let spaced = format!("{}\n}}\r\n", &spaced[..spaced.len() - 1]);
    let values = [
        LISTEN.to_owned(),
        format!("{LISTEN}\n"),
        format!("{LISTEN}\r\n"),
        format!(" \t{LISTEN}\n\n"),
        spaced,
    ];
    let batch = listens(&values);
    for (row, value) in values.iter().enumerate().skip(1) {
        assert_eq!(batch.slice(row, 1), batch.slice(0, 1), "{value}");
    }
}

#[test]
fn d13_the_quotes_of_a_user_agent_are_kept() {
    assert_eq!(
        text(&row("listen_events", LISTEN), "userAgent").unwrap(),
        "\"Mozilla/5.0 (X11; Linux x86_64)\""
    );
}

#[test]
fn d14_a_value_of_another_type_is_a_dead_letter_and_never_null() {
    let changes = [
        (r#""zip":"44870""#, r#""zip":44870"#, Reason::WrongType),
        (r#""artist":"Nora Vale""#, r#""artist":["Nora Vale"]"#, Reason::WrongType),
        (r#""artist":"Nora Vale""#, r#""artist":{"name":"Nora Vale"}"#, Reason::WrongType),
        (r#""artist":"Nora Vale""#, r#""artist":true"#, Reason::WrongType),
        (r#""sessionId":97"#, r#""sessionId":"97""#, Reason::WrongType),
        (r#""sessionId":97"#, r#""sessionId":97.0"#, Reason::WrongType),
        (r#""sessionId":97"#, r#""sessionId":97e0"#, Reason::WrongType),
        (r#""sessionId":97"#, r#""sessionId":-0"#, Reason::WrongType),
        (r#""sessionId":97"#, r#""sessionId":9223372036854775808"#, Reason::NumberOutOfRange),
        (r#""sessionId":97"#, r#""sessionId":18446744073709551616"#, Reason::WrongType),
        (r#""itemInSession":0"#, r#""itemInSession":2147483648"#, Reason::NumberOutOfRange),
        (r#""duration":223.4012"#, r#""duration":"223.4012""#, Reason::WrongType),
        (r#""duration":223.4012"#, r#""duration":1e999"#, Reason::NumberOutOfRange),
        (r#""lon":-82.744814"#, r#""lng":"-82.744814""#, Reason::WrongType),
        (r#""ts":1793000000926"#, r#""ts":"1793000000926""#, Reason::WrongType),
        (r#""sessionId":97"#, r#""sessionId":null"#, Reason::MissingField),
        (r#""sessionId":97,"#, "", Reason::MissingField),
        (r#""sessionId":97"#, r#""sessionid":97"#, Reason::MissingField),
    ];
    for (from, to, expected) in changes {
        assert_eq!(reason(with(LISTEN, from, to).as_bytes()), expected, "{to}");
    }
    for wrong in [r#""true""#, "1", "0", "\"\""] {
        let value = with(AUTH, "false", wrong);
        let (_, reasons) =
            decode_all(&contract("auth_events"), &DecodeOptions::default(), &[record(value.as_bytes())]);
        assert_eq!(reasons, [Some(Reason::WrongType)], "{wrong}");
    }
    let largest = with(LISTEN, r#""sessionId":97"#, r#""sessionId":9223372036854775807"#);
    assert_eq!(long(&row("listen_events", &largest), "sessionId"), Some(i64::MAX));
}

#[test]
fn d14_a_rejection_names_field_and_types_and_no_value() {
    let value = with(LISTEN, r#""lastName":"Reed""#, r#""lastName":7715"#);
    let mut decoder = Decoder::new(contract("listen_events"), DecodeOptions::default());
    let rejection = decoder.push(&record(value.as_bytes())).unwrap_err();
    assert_eq!(rejection.to_string(), "field `lastName` is a number, expected string");
    let value = with(LISTEN, r#""userId":42"#, r#""userId":"Ida""#);
    let rejection = decoder.push(&record(value.as_bytes())).unwrap_err();
    assert_eq!(rejection.to_string(), "field `userId` is a text that is no whole number");
}

#[test]
fn d15_what_is_no_json_is_a_dead_letter() {
    for length in 1..LISTEN.len() {
        assert_eq!(reason(&LISTEN.as_bytes()[..length]), Reason::NotJson, "{length} bytes");
    }
    let broken = [
        with(LISTEN, ":97", ":097"),
        with(LISTEN, ":97", ":+97"),
        with(LISTEN, ":97", ":97x"),
        with(LISTEN, ":97", ":"),
        with(LISTEN, ":97", " 97"),
        with(LISTEN, "223.4012", "223."),
        with(LISTEN, "223.4012", ".5"),
        with(LISTEN, "223.4012", "NaN"),
        with(LISTEN, "223.4012", "Infinity"),
        with(LISTEN, r#","ts""#, r#",,"ts""#),
        with(LISTEN, r#","ts""#, r#""ts""#),
        with(LISTEN, "Slow Harbour", r"Slow \x Harbour"),
        with(LISTEN, "Slow Harbour", r"Slow \u12g4"),
        LISTEN.replace('"', "'"),
        format!("\u{feff}{LISTEN}"),
        with(LISTEN, "926}", "926,}"),
    ];
    for value in broken {
        assert_eq!(reason(value.as_bytes()), Reason::NotJson, "{value}");
    }
    for byte in [0x80, 0xC3, 0xFF, 0xED] {
        let mut value = LISTEN.as_bytes().to_vec();
        value[20] = byte;
        assert_eq!(reason(&value), Reason::NotUtf8);
    }
}

#[test]
fn d16_event_times_out_of_range_are_dead_letters_and_extreme_durations_are_not() {
    let kafka = 1_793_000_460_926_i64;
    let day = 86_400_000;
    let at = |ts: i64| with(LISTEN, "1793000000926", &ts.to_string());
    for ts in [0, -1, 1_793_000_000, 946_684_799_999, kafka + day + 1, 4_102_444_800_000, i64::MAX, i64::MIN]
    {
        assert_eq!(reason(at(ts).as_bytes()), Reason::EventTimeOutOfRange, "{ts}");
    }
    for ts in [946_684_800_000, kafka, kafka + day] {
        assert_eq!(long(&row("listen_events", &at(ts)), "ts"), Some(ts));
    }
    let options = DecodeOptions { max_event_time_ahead_ms: 1000, ..DecodeOptions::default() };
    let decide = |ts: i64, timestamp_ms: Option<i64>| {
        let value = at(ts);
        let records = [Record { timestamp_ms, ..record(value.as_bytes()) }];
        decode_all(&contract("listen_events"), &options, &records).1[0]
    };
    assert_eq!(decide(kafka + 1000, Some(kafka)), None);
    assert_eq!(decide(kafka + 1001, Some(kafka)), Some(Reason::EventTimeOutOfRange));
    assert_eq!(decide(kafka + 1001, None), None, "no Kafka timestamp, no limit but the last");
    assert_eq!(decide(kafka + 1001, Some(-1)), None);
    assert_eq!(decide(4_102_444_799_999, Some(i64::MAX)), None);
    assert_eq!(decide(4_102_444_800_000, Some(i64::MAX)), Some(Reason::EventTimeOutOfRange));
    for duration in [1.04, 1819.8] {
        let batch = row("listen_events", &with(LISTEN, "223.4012", &duration.to_string()));
        assert_eq!(double(&batch, "duration"), Some(duration));
    }
}

#[test]
fn d17_years_of_old_events_land_in_their_own_days() {
    let day = 86_400_000;
    let values: Vec<String> = [0, 730, 1, 365, 730]
        .map(|age: i64| with(LISTEN, "1793000000926", &(1_793_000_000_926 - age * day).to_string()))
        .to_vec();
    let parts = split_by_partition(&listens(&values), &contract("listen_events")).unwrap();
    let days: Vec<(PartitionKey, usize)> =
        parts.iter().map(|(key, batch)| (*key, batch.num_rows())).collect();
    assert_eq!(
        days,
        [(20_022, 2), (20_387, 1), (20_751, 1), (20_752, 1)]
            .map(|(day, rows)| (PartitionKey::EventDate(day), rows))
    );
}

#[test]
fn d18_rows_carry_the_source_epoch() {
    let options = DecodeOptions { source_epoch: 4, ..DecodeOptions::default() };
    let (batch, _) = decode_all(&contract("listen_events"), &options, &[record(LISTEN.as_bytes())]);
    assert_eq!(int(&batch, "_source_epoch"), Some(4));
}

#[test]
fn d19_one_event_at_two_offsets_is_two_rows_with_one_id() {
    let records =
        [record(LISTEN.as_bytes()), Record { partition: 1, offset: 12, ..record(LISTEN.as_bytes()) }];
    let (batch, _) = decode_all(&contract("listen_events"), &DecodeOptions::default(), &records);
    assert_eq!(ids(&batch)[0], ids(&batch)[1]);
    let offsets = batch.column_by_name("_kafka_offset").unwrap().as_primitive::<Int64Type>();
    let partitions = batch.column_by_name("_kafka_partition").unwrap().as_primitive::<Int32Type>();
    assert_eq!(
        (offsets.values().as_ref(), partitions.values().as_ref()),
        ([11, 12].as_ref(), [3, 1].as_ref())
    );
}

#[test]
fn d20_new_pages_are_rows_new_fields_are_extras_and_new_types_are_dead_letters() {
    let batch = row("page_view_events", &with(PAGE, "Login", "Roll Advert"));
    assert_eq!(text(&batch, "page").unwrap(), "Roll Advert");
    assert_eq!(text(&batch, "_extras"), None);
    let unknown = r#""mood":"calm \"so\"","bpm":12.50,"live":null,"tags":[1, {"a":"\u00e9"}],"größe":1E2,"#;
    let value = with(LISTEN, r#""song""#, &format!(r#"{unknown}"song""#));
    let batch = row("listen_events", &value);
    assert_eq!(text(&batch, "_extras").unwrap(), format!("{{{}}}", unknown.trim_end_matches(',')));
    assert_eq!(text(&batch, "song").unwrap(), "Slow Harbour");
    let tagged = with(LISTEN, r#""userId":42"#, r#""userId":42,"tag":"spring""#);
    assert_eq!(text(&row("listen_events", &tagged), "tag").unwrap(), "spring");
    assert_eq!(reason(with(LISTEN, r#""level":"free""#, r#""level":1"#).as_bytes()), Reason::WrongType);
}

#[test]
fn d21_every_character_is_text_and_half_a_pair_is_not() {
    let long = "Ensemble & ".repeat(40);
    let texts = [
        ("\u{80}\u{85}\u{9f}", "\u{80}\u{85}\u{9f}"),
        ("\u{1F3B5} \u{10FFFF}", "\u{1F3B5} \u{10FFFF}"),
        (r"\ud83c\udfb5 \u00e9\u20AC", "\u{1F3B5} é€"),
        (r"a\u0000b\u001f", "a\0b\u{1f}"),
        ("\u{7f}\u{2028}", "\u{7f}\u{2028}"),
        (&long, &long),
        ("", ""),
    ];
    for (written, meant) in texts {
        let batch = row("listen_events", &with(LISTEN, "Nora Vale", written));
        assert_eq!(text(&batch, "artist").unwrap(), meant);
    }
    for lone in [r"\ud83d", r"x\ud83d y", r"\ude00", r"\ud83d\u0041", r"\ud83d\ud83d", r"\uDFB5\uD83C"] {
        assert_eq!(reason(with(LISTEN, "Nora Vale", lone).as_bytes()), Reason::LoneSurrogate, "{lone}");
        let unknown = with(LISTEN, r#""song""#, &format!(r#""mood":"{lone}","song""#));
        assert_eq!(reason(unknown.as_bytes()), Reason::LoneSurrogate, "{lone}");
    }
    for control in ["\0", "\n", "\t", "\u{1f}"] {
        assert_eq!(reason(with(LISTEN, "Nora Vale", control).as_bytes()), Reason::NotJson, "{control:?}");
    }
}

#[test]
fn d22_songs_with_one_name_stay_an_event_each() {
    let other = with(&with(LISTEN, "223.4012", "198.5"), r#""itemInSession":0"#, r#""itemInSession":1"#);
    let batch = listens(&[LISTEN.to_owned(), other]);
    assert_eq!(batch.num_rows(), 2);
    assert_ne!(ids(&batch)[0], ids(&batch)[1]);
}

#[test]
fn d23_tombstones_blanks_other_json_two_objects_and_giants_each_have_a_reason() {
    let records = [Record { value: None, ..record(b"") }];
    let (_, reasons) = decode_all(&contract("listen_events"), &DecodeOptions::default(), &records);
    assert_eq!(reasons, [Some(Reason::Tombstone)]);
    for blank in ["", "\n", "\r\n", " \t "] {
        assert_eq!(reason(blank.as_bytes()), Reason::Empty);
    }
    for other in ["[]", "\"text\"", "null", "true", "12", "-1.5", "[{}]", "\"\"\n"] {
        assert_eq!(reason(other.as_bytes()), Reason::NotAnObject, "{other}");
    }
    for after in [LISTEN, "{}", "x", ",", "\0", "}"] {
        assert_eq!(reason(format!("{LISTEN}{after}").as_bytes()), Reason::TrailingData, "{after}");
        assert_eq!(reason(format!("{LISTEN}\n{after}\n").as_bytes()), Reason::TrailingData, "{after}");
    }
    assert_eq!(reason(b"{}"), Reason::MissingField);
    let giant = with(LISTEN, "Nora Vale", &"x".repeat(2 * 1024 * 1024));
    assert_eq!(reason(giant.as_bytes()), Reason::TooLarge);
    let options = DecodeOptions { max_value_bytes: giant.len(), ..DecodeOptions::default() };
    let (batch, reasons) = decode_all(&contract("listen_events"), &options, &[record(giant.as_bytes())]);
    assert_eq!(reasons, [None]);
    assert_eq!(text(&batch, "artist").unwrap().len(), 2 * 1024 * 1024);
    let deep = format!(r#"{{"a":{}1{},{}"#, "[".repeat(100_000), "]".repeat(100_000), &LISTEN[1..]);
    assert_eq!(reason(deep.as_bytes()), Reason::NotJson);
}
