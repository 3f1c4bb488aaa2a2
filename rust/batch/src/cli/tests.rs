use std::collections::BTreeSet;

use clap::Parser as _;

use super::*;
use crate::error::BatchError;
use crate::jobs::Job;

fn parse(arguments: &[&str]) -> Cli {
    Cli::try_parse_from(std::iter::once(&"streamify-batch").chain(arguments)).unwrap()
}

fn order(arguments: &[&str]) -> Result<Order, BatchError> {
    parse(arguments).job.order(None)
}

#[test]
fn options_of_all_jobs_may_stand_before_and_behind_the_job() {
    let before = parse(&["--memory-limit", "256MB", "compact"]);
    let behind = parse(&["compact", "--memory-limit", "256MB"]);

    assert_eq!(before.frame.settings(), behind.frame.settings());
    assert_eq!(before.frame.settings().memory_limit, 256_000_000);
}

#[test]
fn the_defaults_are_those_of_the_library() {
    assert_eq!(parse(&["compact"]).frame.settings(), Settings::default());
}

#[test]
fn tables_and_days_are_lists() {
    let order =
        order(&["compact", "--tables", "a,b", "--tables", "c", "--days", "1970-01-02..1970-01-03"]).unwrap();

    assert_eq!(order.tables, ["a", "b", "c"]);
    let Job::Compact(options) = order.job else { unreachable!("it is a compaction") };
    assert_eq!(options.days, Some(BTreeSet::from([1, 2])));
}

#[test]
fn values_that_cannot_work_are_refused_with_the_option() {
    for (flag, value) in
        [("--small-below", "0"), ("--small-below", "NaN"), ("--small-below", "1.5"), ("--min-files", "1")]
    {
        let error = order(&["compact", flag, value]).unwrap_err().to_string();
        assert!(error.contains(flag.trim_start_matches("--")), "{error}");
    }
    assert!(Cli::try_parse_from(["streamify-batch", "compact", "--days", "yesterday"]).is_err());
    assert!(Cli::try_parse_from(["streamify-batch"]).is_err());
}

#[test]
fn a_rebuild_names_its_days_and_a_decision_is_an_option() {
    assert!(Cli::try_parse_from(["streamify-batch", "rebuild"]).is_err());
    assert_eq!(order(&["rebuild", "--days", "1970-01-02"]).unwrap().job.name(), "rebuild");
    assert_eq!(order(&["silver", "--accept-change", "7,8"]).unwrap().job.name(), "silver");
    assert!(Cli::try_parse_from(["streamify-batch", "sessions", "--resume-from", "yesterday"]).is_err());
}
