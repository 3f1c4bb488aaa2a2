//! The known ways in which pipelines lose or double rows at the commit, each as a test named after its number in
//! `docs/adr/0002-exactly-once.md`. The catalog is in memory, with the checks of a real one and faults on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic in a test is the report")]

mod table;

use std::time::Duration;

use streamify_core::ledger::Ledger;
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::{Commit, CommitError, CommitOptions, history, keys};
use streamify_lake::protocol::{Refusal, ResumeFrom};
use streamify_testing::{Fault, TOPIC, advance, creation, data_file};

use self::table::*;

#[tokio::test]
async fn hole_03_a_range_read_again_is_refused() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    appender.commit(range(Some(10), 20)).await.unwrap();

    assert!(matches!(refusal(appender.commit(range(Some(10), 20)).await), Refusal::Fenced { .. }));
    assert!(matches!(refusal(appender.commit(range(None, 10)).await), Refusal::Fenced { .. }));
    assert_eq!(total_records(&catalog.metadata(TABLE)), "20");
}

#[tokio::test]
async fn hole_04_offsets_outlive_the_snapshots_that_carried_them() {
    let catalog = table().await;
    filled_to(&catalog, 10).await;
    catalog.foreign_commit(TABLE);
    catalog.expire_all_but_head(TABLE);

    let mut restarted = open(&catalog).await;
    assert_eq!(restarted.state().next_offset(TOPIC, 0), Some(10));
    assert!(matches!(refusal(restarted.commit(range(None, 10)).await), Refusal::Fenced { .. }));
    restarted.commit(range(Some(10), 20)).await.unwrap();
}

#[tokio::test]
async fn hole_06_a_table_made_anew_or_dropped_is_refused_not_skipped() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    catalog.drop_table(TABLE);
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();

    let refused = refusal(appender.commit(range(Some(10), 20)).await);
    assert!(matches!(refused, Refusal::TableReplaced { .. }), "{refused}");
    assert!(catalog.metadata(TABLE).current_snapshot().is_none());

    catalog.drop_table(TABLE);
    catalog.inject([Fault::Unavailable]);
    assert_eq!(refusal(appender.commit(range(Some(10), 20)).await), Refusal::TableMissing);
}

#[tokio::test]
async fn hole_08_a_batch_lands_whole_through_catalog_errors() {
    let catalog = table().await;
    let mut appender = open(&catalog).await;
    catalog.inject([Fault::Unavailable, Fault::RequestLost, Fault::Conflict]);
    let files = (0..30).map(|n| data_file(&format!("memory:///data/whole-{n}.parquet"), 7)).collect();

    let landing = appender.commit(Commit { files, ..range(None, 210) }).await.unwrap();

    assert_eq!((landing.attempts, landing.found), (4, false));
    assert_eq!(total_records(&catalog.metadata(TABLE)), "210");
    assert_eq!(live_files(&catalog).await.len(), 30);
}

#[tokio::test]
async fn hole_10_an_outage_ends_in_an_error_not_in_silence() {
    let catalog = table().await;
    let options = CommitOptions { timeout: Duration::ZERO, ..options() };
    let mut appender = open_with(&catalog, options).await.unwrap();
    catalog.inject([Fault::Unavailable]);

    let error = appender.commit(range(None, 10)).await.unwrap_err();

    assert!(error.surely_not_landed());
    assert_eq!(
        error.to_string(),
        "failed to commit to table `bronze_listen_events`: gave up: the catalog was not available; last answer: injected"
    );
}

#[tokio::test]
async fn hole_10_a_storm_of_conflicts_is_bounded() {
    let catalog = table().await;
    let mut appender = open(&catalog).await;
    catalog.inject(vec![Fault::Conflict; 50]);

    let error = appender.commit(range(None, 10)).await.unwrap_err();

    assert!(
        matches!(error, CommitError::Refused { refusal: Refusal::GaveUp { .. }, uncertain: false, .. }),
        "{error}"
    );
    assert_eq!(catalog.commits(), 5);
}

#[tokio::test]
async fn hole_11_a_lost_answer_is_found_and_not_repeated() {
    let catalog = table().await;
    let mut appender = open(&catalog).await;
    catalog.inject([Fault::AnswerLost]);
    catalog.fail_loads(2);

    let landing = appender.commit(range(None, 10)).await.unwrap();

    assert!(landing.found);
    assert_eq!(landing.snapshot_id, catalog.metadata(TABLE).current_snapshot_id());
    assert_eq!(total_records(&catalog.metadata(TABLE)), "10");
    appender.commit(range(Some(10), 20)).await.unwrap();
}

#[tokio::test]
async fn hole_12_a_commit_still_in_flight_cannot_double_the_restarted_job() {
    let catalog = table().await;
    let options = CommitOptions { timeout: Duration::ZERO, ..options() };
    let mut first = open_with(&catalog, options).await.unwrap();
    catalog.inject([Fault::Late]);
    let error = first.commit(range(None, 10)).await.unwrap_err();
    assert!(!error.surely_not_landed(), "it may still land");

    let mut restarted = open(&catalog).await;
    assert_eq!(restarted.state().next_offset(TOPIC, 0), None);
    restarted.commit(range(None, 12)).await.unwrap();

    assert_eq!(catalog.deliver_late(), 0, "the late commit was based on a head that is gone");
    assert_eq!(total_records(&catalog.metadata(TABLE)), "10");
}

#[tokio::test]
async fn hole_12_a_late_commit_that_lands_first_stops_the_restarted_job() {
    let catalog = table().await;
    let options = CommitOptions { timeout: Duration::ZERO, ..options() };
    let mut first = open_with(&catalog, options).await.unwrap();
    catalog.inject([Fault::Late]);
    first.commit(range(None, 10)).await.unwrap_err();
    let mut restarted = open(&catalog).await;

    assert_eq!(catalog.deliver_late(), 1);

    assert!(matches!(refusal(restarted.commit(range(None, 12)).await), Refusal::Fenced { .. }));
    assert_eq!(open(&catalog).await.state().next_offset(TOPIC, 0), Some(10));
}

#[tokio::test]
async fn hole_13_a_restarted_job_knows_its_offsets_under_any_name() {
    let catalog = table().await;
    filled_to(&catalog, 10).await;

    let mut renamed = open(&catalog).await;

    assert_eq!(renamed.state().next_offset(TOPIC, 0), Some(10));
    renamed.commit(range(Some(10), 20)).await.unwrap();
}

#[tokio::test]
async fn hole_14_each_commit_has_its_own_marker() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    appender.commit(range(Some(10), 20)).await.unwrap();

    let metadata = catalog.metadata(TABLE);
    let mut ids: Vec<&str> = keys::lineage(&metadata)
        .map(|s| s.summary().additional_properties[keys::COMMIT_ID].as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn hole_15_a_table_put_back_stops_until_somebody_decides() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    appender.commit(range(Some(10), 20)).await.unwrap();
    catalog.roll_back(TABLE);

    let refused = refusal(appender.commit(range(Some(20), 30)).await);
    assert!(matches!(refused, Refusal::StateMismatch { .. }), "{refused}");
    let error = open_with(&catalog, options()).await.unwrap_err();
    assert!(error.needs_decision());
    assert!(error.hint().unwrap().contains("--resume-from snapshot"), "{error}");

    let resume_from = Some(ResumeFrom::Snapshot);
    let mut resumed = open_with(&catalog, CommitOptions { resume_from, ..options() }).await.unwrap();
    assert_eq!(resumed.state().next_offset(TOPIC, 0), Some(10));
    resumed.commit(range(Some(10), 20)).await.unwrap();
    assert_eq!(total_records(&catalog.metadata(TABLE)), "20");
    open_with(&catalog, options()).await.expect("both states agree again");
}

#[tokio::test]
async fn hole_15_resuming_from_the_property_leaves_the_rolled_back_range_out() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    appender.commit(range(Some(10), 20)).await.unwrap();
    catalog.roll_back(TABLE);

    let resume_from = Some(ResumeFrom::Property);
    let mut resumed = open_with(&catalog, CommitOptions { resume_from, ..options() }).await.unwrap();
    resumed.commit(range(Some(20), 30)).await.unwrap();

    assert_eq!(open(&catalog).await.state().next_offset(TOPIC, 0), Some(30));
}

#[tokio::test]
async fn a_rollback_behind_a_foreign_commit_is_seen_although_no_snapshot_has_a_state() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    catalog.foreign_commit(TABLE);
    catalog.expire_all_but_head(TABLE);
    appender.commit(range(Some(10), 20)).await.unwrap();
    catalog.roll_back(TABLE);

    let error = open_with(&catalog, options()).await.unwrap_err();

    assert!(matches!(error, CommitError::Refused { refusal: Refusal::StateMismatch { .. }, .. }), "{error}");
}

#[tokio::test]
async fn a_property_edited_by_hand_stops_the_next_start() {
    let catalog = table().await;
    filled_to(&catalog, 10).await;
    catalog.set_property(TABLE, keys::STATE, None);
    assert!(open_with(&catalog, options()).await.unwrap_err().needs_decision());

    catalog.set_property(TABLE, keys::STATE, Some("{"));
    let error = open_with(&catalog, options()).await.unwrap_err();
    assert!(matches!(error, CommitError::StateUnreadable { .. }), "{error}");
}

#[tokio::test]
async fn hole_17_a_compaction_in_between_does_not_hide_the_marker() {
    let catalog = table().await;
    let mut appender = open(&catalog).await;
    catalog.inject([Fault::Late]);
    catalog.fail_loads(1);
    let pending = appender.commit(range(None, 10));
    // The append meets the lost answer, then waits for the catalog; meanwhile it lands and a compaction follows.
    let land = async {
        while catalog.commits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(catalog.deliver_late(), 1);
        catalog.foreign_commit(TABLE);
    };
    let (landing, ()) = tokio::join!(pending, land);

    assert!(landing.unwrap().found);
    assert_eq!(appender.commit(range(Some(10), 20)).await.unwrap().attempts, 1);
}

#[tokio::test]
async fn compaction_between_commits_costs_one_more_attempt_and_nothing_else() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    catalog.foreign_commit(TABLE);

    let landing = appender.commit(range(Some(10), 20)).await.unwrap();

    assert_eq!((landing.attempts, landing.found), (2, false));
    assert_eq!(live_files(&catalog).await.len(), 2);
}

#[tokio::test]
async fn hole_18_a_range_of_which_a_part_has_landed_is_refused() {
    let catalog = table().await;
    let mut slow = filled_to(&catalog, 10).await;
    open(&catalog).await.commit(range(Some(10), 15)).await.unwrap();

    assert!(matches!(refusal(slow.commit(range(Some(10), 20)).await), Refusal::Fenced { .. }));
    assert_eq!(total_records(&catalog.metadata(TABLE)), "20");
}

#[tokio::test]
async fn hole_19_of_two_writers_one_is_fenced() {
    let catalog = table().await;
    let (mut one, mut other) = (open(&catalog).await, open(&catalog).await);

    let results = tokio::join!(one.commit(range(None, 10)), other.commit(range(None, 10)));

    let landed = usize::from(results.0.is_ok()) + usize::from(results.1.is_ok());
    assert_eq!(landed, 1);
    assert_eq!(total_records(&catalog.metadata(TABLE)), "10");
}

#[tokio::test]
async fn writers_of_disjoint_partitions_live_together() {
    let catalog = table().await;
    let (mut one, mut other) = (open(&catalog).await, open(&catalog).await);
    for step in 0..5_i64 {
        let expected = (step > 0).then_some(step * 10);
        one.commit(range(expected, (step + 1) * 10)).await.unwrap();
        let changes = vec![advance(1, expected, (step + 1) * 10)];
        other.commit(Commit { changes, ..range(None, 0) }).await.unwrap();
    }
    let state = open(&catalog).await.state().clone();
    assert_eq!((state.next_offset(TOPIC, 0), state.next_offset(TOPIC, 1)), (Some(50), Some(50)));
    assert_eq!(total_records(&catalog.metadata(TABLE)), "100");
}

#[tokio::test]
async fn hole_20_one_file_twice_in_an_append_is_refused() {
    let catalog = table().await;
    let mut appender = open(&catalog).await;
    let file = data_file("memory:///data/twice.parquet", 10);

    let error =
        appender.commit(Commit { files: vec![file.clone(), file], ..range(None, 20) }).await.unwrap_err();

    assert!(matches!(error, CommitError::FileTwice { .. }), "{error}");
    assert_eq!(catalog.commits(), 0);
}

#[tokio::test]
async fn an_append_whose_books_do_not_close_is_refused_before_anything_is_written() {
    let catalog = table().await;
    let mut appender = open(&catalog).await;
    let ledger = Some(Ledger { offsets: 10, received: 10, rows: 9, ..Ledger::default() });

    let error = appender.commit(Commit { ledger, ..range(None, 10) }).await.unwrap_err();

    assert!(matches!(error, CommitError::LedgerOpen { .. }), "{error}");
    assert_eq!(catalog.commits(), 0);
}

#[tokio::test]
async fn a_change_of_state_alone_is_a_fenced_snapshot() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;

    let empty = Commit { files: vec![], ..range(Some(10), 12) };
    let landing = appender.commit(empty).await.unwrap();

    assert_eq!(landing.state.next_offset(TOPIC, 0), Some(12));
    assert_eq!(catalog.metadata(TABLE).snapshots().count(), 2);
    assert_eq!(live_files(&catalog).await.len(), 1);
}

#[tokio::test]
async fn manifests_stay_few_and_keep_every_file() {
    let catalog = table().await;
    let mut appender = filled_to(&catalog, 10).await;
    for step in 1..400_i64 {
        appender.commit(range(Some(step * 10), (step + 1) * 10)).await.unwrap();
    }

    let files = live_files(&catalog).await;
    assert_eq!(files.len(), 400);
    assert_eq!(files.values().sum::<u64>(), 4000);
    assert!(manifests(&catalog).await.entries().len() <= 64, "{}", manifests(&catalog).await.entries().len());
}

#[tokio::test]
async fn a_manifest_that_is_large_enough_is_not_merged() {
    let catalog = table().await;
    catalog.set_property(TABLE, "commit.manifest.target-size-bytes", Some("2"));
    let mut appender = filled_to(&catalog, 10).await;
    for step in 1..40_i64 {
        appender.commit(range(Some(step * 10), (step + 1) * 10)).await.unwrap();
    }

    assert_eq!(manifests(&catalog).await.entries().len(), 40);
}

#[tokio::test]
async fn history_is_bounded_and_takes_neither_rows_nor_offsets_nor_tags_with_it() {
    let catalog = table().await;
    catalog.set_property(TABLE, history::MAX_SNAPSHOTS, Some("20"));
    let mut appender = filled_to(&catalog, 10).await;
    let tagged = catalog.metadata(TABLE).current_snapshot_id().unwrap();
    catalog.tag(TABLE, "keep", tagged);
    for step in 1..100_i64 {
        appender.commit(range(Some(step * 10), (step + 1) * 10)).await.unwrap();
        assert!(catalog.metadata(TABLE).snapshots().count() <= 23);
    }

    let metadata = catalog.metadata(TABLE);
    assert!(metadata.snapshot_by_id(tagged).is_some());
    assert_eq!(live_files(&catalog).await.len(), 100);
    assert_eq!(open(&catalog).await.state().next_offset(TOPIC, 0), Some(1000));
}
