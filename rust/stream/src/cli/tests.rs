use std::collections::BTreeMap;

use super::*;

fn parse(arguments: &[&str]) -> Cli {
    Cli::try_parse_from(std::iter::once(&"streamify-stream").chain(arguments)).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    parse(arguments).settings([]).unwrap_err().to_string()
}

#[test]
fn defaults_are_valid() {
    let settings = parse(&[]).settings([]).unwrap();

    assert_eq!(settings.freshness, Duration::from_secs(10));
    assert_eq!(settings.group_id.as_deref(), Some("streamify"));
    assert_eq!(settings.isolation, Isolation::ReadCommitted);
    assert!(!settings.drop_record_for_test);
}

#[test]
fn values_that_cannot_work_are_refused_with_the_flag() {
    assert!(refused(&["--memory-limit", "64MB"]).contains("--memory-limit"));
    assert!(refused(&["--freshness", "1ms"]).contains("--freshness"));
    assert!(refused(&["--open-files", "0"]).contains("--open-files"));
    assert!(refused(&["--assignment", "group", "--group-id", ""]).contains("--group-id"));
    assert!(refused(&["--kafka-option", "auto.offset.reset=latest"]).contains("Kafka option"));
}

#[test]
fn secrets_among_the_options_are_not_shown() {
    let settings = parse(&["--kafka-option", "sasl.password=hunter2"]).settings([]).unwrap();

    let shown = format!("{settings:?}");
    assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn units_are_required() {
    assert!(Cli::try_parse_from(["streamify-stream", "--freshness", "10"]).is_err());
    assert!(Cli::try_parse_from(["streamify-stream", "--memory-limit", "192"]).is_err());
}

#[test]
fn partition_lists_are_numbers_and_ranges() {
    assert_eq!(parse_partitions("0-2, 7").unwrap().0, BTreeSet::from([0, 1, 2, 7]));
    for text in ["", "a", "3-1", "-1", "1-"] {
        assert!(parse_partitions(text).is_err(), "`{text}` was taken");
    }
}

#[test]
fn a_replay_reads_one_topic_to_its_end_and_tells_no_group() {
    let range = ["--replay-into", "again", "--from-offsets", "0:100-200, 1:0-0"];
    assert!(refused(&range).contains("--replay-into"));

    let settings = parse(&[&range[..], &["--topics", "t"]].concat()).settings([]).unwrap();

    let replay = settings.replay.unwrap();
    assert_eq!(replay.range, Range::Offsets(BTreeMap::from([(0, [100, 201]), (1, [0, 1])])));
    assert_eq!((settings.until, settings.group_id), (Some(Until::CaughtUp), None));
    assert!(Cli::try_parse_from(["streamify-stream", "--replay-into", "again"]).is_err(), "no range");
    assert!(Cli::try_parse_from(["streamify-stream", "--event-times", "2026-02-23"]).is_err(), "no table");
    assert!(
        refused(&["--replay-into", "A b", "--event-times", "2026-02-23", "--topics", "t"]).contains("name")
    );
}

#[test]
fn ranges_of_a_replay_have_two_ends() {
    assert_eq!(parse_days("1970-01-02..1970-01-03"), Ok(Range::Days([1, 2])));
    assert_eq!(parse_days("1970-01-02"), Ok(Range::Days([1, 1])));
    for text in ["", "1970-01-03..1970-01-02", "1970-1-2", "today", "1970-01-02..", "19700102"] {
        assert!(parse_days(text).is_err(), "`{text}` was taken");
    }
    for text in ["", "0", "0:5", "0:5-4", "-1:0-1", "0:0-1,0:2-3", "0:-1-2", "a:0-1"] {
        assert!(parse_offsets(text).is_err(), "`{text}` was taken");
    }
}

#[test]
fn empty_texts_count_as_not_set() {
    let settings = parse(&["--bootstrap-servers", "", "--group-id", " "]).settings([]).unwrap();

    assert_eq!((settings.source, settings.group_id), (Source::Embedded, None));
}
