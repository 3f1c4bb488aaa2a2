//! Expiry: what goes, what stays and why, with answers lost, consumers behind and writers at work.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::SnapshotRetention;
use streamify_lake::care::consumers::{self, Consumer};
use streamify_lake::care::expire::{ExpireOptions, ExpireReport, expire};
use streamify_lake::care::refs::{self, NewRef};
use streamify_lake::care::settings::{Edit, set_properties};
use streamify_lake::care::{CareError, FileKind};
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::{CommitOptions, Kind, history};
use streamify_testing::{Fault, MemoryCatalog};
use support::small::{TABLE, append, catalogs, check_readable, load, open, rewrite};

/// Only the newest snapshots stay, whatever their age.
fn newest(min_snapshots: usize) -> ExpireOptions {
    ExpireOptions {
        min_snapshots: Some(min_snapshots),
        max_age: Some(Duration::ZERO),
        commit: bounds(),
        ..ExpireOptions::default()
    }
}

fn bounds() -> CommitOptions {
    CommitOptions { timeout: Duration::from_secs(30), max_conflicts: 5, resume_from: None }
}

/// Waits until no snapshot is as young as 5 ms.
async fn let_age(catalog: &Arc<dyn Catalog>) {
    let newest = load(catalog).await.metadata.current_snapshot().map_or(0, |head| head.timestamp_ms());
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while chrono::Utc::now().timestamp_millis() <= newest + 5 {
        assert!(std::time::Instant::now() < deadline, "the table's clock is far ahead");
        tokio::task::yield_now().await;
    }
}

async fn run(catalog: &Arc<dyn Catalog>, options: &ExpireOptions) -> ExpireReport {
    let_age(catalog).await;
    expire(catalog, TABLE, options).await.unwrap()
}

async fn memory() -> (MemoryCatalog, Arc<dyn Catalog>) {
    let catalog = MemoryCatalog::default();
    catalog.create_table(TABLE, streamify_testing::creation(TABLE)).await.unwrap();
    (catalog.clone(), Arc::new(catalog))
}

fn consumer_at(snapshot_id: i64, sequence_number: i64) -> Consumer {
    let updated_at_ms = chrono::Utc::now().timestamp_millis();
    Consumer { table_uuid: "consumer".to_owned(), snapshot_id, sequence_number, updated_at_ms }
}

async fn register(catalog: &Arc<dyn Catalog>, name: &str, consumer: &Consumer) {
    consumers::register(catalog, TABLE, name, consumer, &bounds()).await.unwrap();
}

fn tag(name: &str, snapshot_id: i64, max_ref_age_ms: Option<i64>) -> NewRef {
    NewRef {
        name: name.to_owned(),
        snapshot_id: Some(snapshot_id),
        retention: SnapshotRetention::Tag { max_ref_age_ms },
        replace: false,
    }
}

#[tokio::test]
async fn old_snapshots_go_with_the_files_that_only_they_needed_and_every_row_stays() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let mut committer = open(&catalog).await;
        let mut all = Vec::new();
        for _ in 0..6 {
            all.extend(append(&mut committer, 2).await);
        }
        let compacted = rewrite(&mut committer, Kind::Replace, 8).await;
        all.extend(append(&mut committer, 1).await);

        let dry = run(&catalog, &ExpireOptions { dry_run: true, ..newest(2) }).await;
        assert_eq!(load(&catalog).await.metadata.snapshots().count(), 8, "a dry run changes nothing");
        let report = run(&catalog, &newest(2)).await;

        assert_eq!((report.snapshots_before, report.snapshots_after, report.removed.len()), (8, 2, 6));
        assert_eq!((&dry.deleted, &dry.removed, dry.snapshots_after), (&report.deleted, &report.removed, 2));
        assert_eq!(report.deleted[&FileKind::Data].files, 8);
        assert_eq!(report.deleted[&FileKind::Data].bytes, 800, "as the manifests say");
        assert_eq!(report.deleted[&FileKind::ManifestList].files, 6);
        assert!(report.deleted[&FileKind::Manifest].bytes > 0);
        assert_eq!(report.kept["min count of main"], 2);
        let table = load(&catalog).await;
        let live = &check_readable(&table).await[&table.metadata.current_snapshot_id().unwrap()];
        assert_eq!(live.len(), 6);
        assert!(live.contains(&compacted));
        for file in &all {
            assert_eq!(table.file_io.exists(file).await.unwrap(), live.contains(file), "{file}");
        }

        let again = run(&catalog, &newest(2)).await;
        assert_eq!((again.attempts, again.removed.len(), again.deleted.len()), (0, 0, 0));
        append(&mut committer, 1).await;
        assert_eq!(check_readable(&load(&catalog).await).await.len(), 3);
    }
}

#[tokio::test]
async fn the_policy_comes_from_the_tables_properties_unless_overridden() {
    let (_, catalog) = memory().await;
    let mut committer = open(&catalog).await;
    for _ in 0..15 {
        append(&mut committer, 1).await;
    }
    let_age(&catalog).await;

    let young = expire(&catalog, TABLE, &ExpireOptions::default()).await.unwrap();
    assert_eq!((young.removed.len(), young.kept["age"]), (0, 15), "five days by default");

    let set = [("history.expire.max-snapshot-age-ms", "0"), ("history.expire.min-snapshots-to-keep", "12")];
    let set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    set_properties(&catalog, TABLE, &Edit { set, ..Edit::default() }, &bounds()).await.unwrap();
    let by_property = expire(&catalog, TABLE, &ExpireOptions::default()).await.unwrap();
    assert_eq!(by_property.snapshots_after, 12);
    let overridden = ExpireOptions { min_snapshots: Some(3), ..ExpireOptions::default() };
    assert_eq!(expire(&catalog, TABLE, &overridden).await.unwrap().snapshots_after, 3);
    assert_eq!(expire(&catalog, TABLE, &newest(0)).await.unwrap().snapshots_after, 1, "the head stays");
}

#[tokio::test]
async fn a_property_that_is_no_number_and_disabled_gc_are_refused() {
    let (memory, catalog) = memory().await;
    append(&mut open(&catalog).await, 1).await;

    memory.set_property(TABLE, "history.expire.max-snapshot-age-ms", Some("5 days"));
    let no_number = expire(&catalog, TABLE, &ExpireOptions::default()).await.unwrap_err();
    memory.set_property(TABLE, "history.expire.max-snapshot-age-ms", None);
    memory.set_property(TABLE, "gc.enabled", Some("false"));
    let no_gc = expire(&catalog, TABLE, &ExpireOptions::default()).await.unwrap_err();

    assert!(no_number.to_string().contains("`5 days`"), "{no_number}");
    assert!(no_gc.to_string().contains("gc.enabled"), "{no_gc}");
    assert!(matches!(expire(&catalog, "nothing", &newest(1)).await, Err(CareError::TableMissing { .. })));
}

#[tokio::test]
async fn tags_and_branches_keep_their_snapshots_as_long_as_they_say() {
    let (_, catalog) = memory().await;
    let mut committer = open(&catalog).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        append(&mut committer, 1).await;
        ids.push(committer.table().metadata.current_snapshot_id().unwrap());
    }
    refs::set(&catalog, TABLE, &tag("for-ever", ids[0], None), &bounds()).await.unwrap();
    refs::set(&catalog, TABLE, &tag("short", ids[1], Some(1)), &bounds()).await.unwrap();
    let retention = SnapshotRetention::branch(Some(2), Some(0), None);
    let branch = NewRef { retention, ..tag("audit", ids[3], None) };
    refs::set(&catalog, TABLE, &branch, &bounds()).await.unwrap();

    let report = run(&catalog, &newest(1)).await;

    assert_eq!(report.refs_removed, ["short"]);
    assert_eq!(report.removed, [ids[1]]);
    assert_eq!(report.kept["ref for-ever"], 1);
    assert_eq!(report.kept["min count of audit"], 2, "the branch's own number");
    let table = load(&catalog).await;
    check_readable(&table).await;
    let names: Vec<String> = refs::all(&table.metadata).unwrap().into_keys().collect();
    assert_eq!(names, ["audit", "for-ever", "main"]);
}

#[tokio::test]
async fn nothing_that_a_consumer_has_not_read_goes_even_if_it_was_compacted_away() {
    let (_, catalog) = memory().await;
    let mut committer = open(&catalog).await;
    append(&mut committer, 1).await;
    append(&mut committer, 1).await;
    let read = committer.table().metadata.current_snapshot().unwrap().clone();
    let unread = append(&mut committer, 3).await;
    rewrite(&mut committer, Kind::Replace, 10).await;
    append(&mut committer, 1).await;
    register(&catalog, "silver", &consumer_at(read.snapshot_id(), read.sequence_number())).await;

    let behind = run(&catalog, &newest(1)).await;
    assert_eq!((behind.removed.len(), behind.kept["consumer silver"]), (1, 4));
    for file in &unread {
        assert!(load(&catalog).await.file_io.exists(file).await.unwrap());
    }

    let head = load(&catalog).await.metadata.current_snapshot().unwrap().clone();
    register(&catalog, "silver", &consumer_at(head.snapshot_id(), head.sequence_number())).await;
    register(&catalog, "silver", &consumer_at(read.snapshot_id(), read.sequence_number())).await;
    let caught_up = run(&catalog, &newest(1)).await;
    assert_eq!(caught_up.snapshots_after, 1, "a late word of the past moves nobody back");
    for file in &unread {
        assert!(!load(&catalog).await.file_io.exists(file).await.unwrap());
    }
    check_readable(&load(&catalog).await).await;
}

#[tokio::test]
async fn a_stale_consumer_is_named_and_passed_over_only_on_request_and_an_unreadable_one_never() {
    let (memory, catalog) = memory().await;
    let mut committer = open(&catalog).await;
    for _ in 0..4 {
        append(&mut committer, 1).await;
    }
    let stale = Consumer { updated_at_ms: 0, ..consumer_at(7, 1) };
    memory.set_property(TABLE, "streamify.consumer.gone", Some(&consumers::render(&stale)));

    let kept = run(&catalog, &newest(1)).await;
    assert!(kept.consumers["gone"].stale && !kept.consumers["gone"].ignored);
    assert_eq!(kept.removed.len(), 0);

    memory.set_property(TABLE, "streamify.consumer.broken", Some("?"));
    let ignoring = ExpireOptions { ignore_stale: true, ..newest(1) };
    let broken = run(&catalog, &ignoring).await;
    assert!(broken.consumers["gone"].ignored && broken.consumers["broken"].sequence_number.is_none());
    assert_eq!(broken.removed.len(), 0);

    consumers::unregister(&catalog, TABLE, "broken", &bounds()).await.unwrap();
    assert_eq!(run(&catalog, &ignoring).await.removed.len(), 3);
}

#[tokio::test]
async fn a_new_consumer_of_an_expired_snapshot_is_told() {
    let (_, catalog) = memory().await;
    append(&mut open(&catalog).await, 1).await;

    let refused = consumers::register(&catalog, TABLE, "late", &consumer_at(77, 1), &bounds()).await;

    assert!(matches!(refused, Err(CareError::Refused { .. })), "{refused:?}");
    let bad_name = consumers::register(&catalog, TABLE, "a b", &consumer_at(77, 1), &bounds()).await;
    assert!(bad_name.unwrap_err().to_string().contains("`a b`"));
}

#[tokio::test]
async fn the_bound_on_snapshots_spares_what_a_consumer_has_not_read() {
    let (memory, catalog) = memory().await;
    memory.set_property(TABLE, history::MAX_SNAPSHOTS, Some("5"));
    let mut committer = open(&catalog).await;
    append(&mut committer, 1).await;
    append(&mut committer, 1).await;
    let read = committer.table().metadata.current_snapshot().unwrap().clone();
    register(&catalog, "silver", &consumer_at(read.snapshot_id(), read.sequence_number())).await;
    let mut committer = open(&catalog).await;
    for _ in 0..20 {
        append(&mut committer, 1).await;
    }

    let behind = memory.metadata(TABLE);
    assert_eq!(behind.snapshots().count(), 21, "all but the one before the consumed one");
    assert!(behind.snapshot_by_id(read.snapshot_id()).is_some());

    consumers::unregister(&catalog, TABLE, "silver", &bounds()).await.unwrap();
    let mut committer = open(&catalog).await;
    append(&mut committer, 1).await;
    assert!(memory.metadata(TABLE).snapshots().count() <= 6);
}

#[tokio::test]
async fn a_lost_answer_is_found_and_the_files_go_all_the_same() {
    for faults in [
        vec![Fault::AnswerLost],
        vec![Fault::RequestLost, Fault::Conflict, Fault::Unavailable],
        vec![Fault::Conflict, Fault::AnswerLost],
    ] {
        let (memory, catalog) = memory().await;
        let mut committer = open(&catalog).await;
        for _ in 0..4 {
            append(&mut committer, 1).await;
        }
        rewrite(&mut committer, Kind::Replace, 4).await;
        let_age(&catalog).await;
        memory.inject(faults.clone());

        let report = expire(&catalog, TABLE, &newest(1)).await.unwrap();

        assert_eq!(report.removed.len(), 4, "{faults:?}");
        assert_eq!(report.deleted[&FileKind::Data].files, 4, "{faults:?}");
        assert_eq!(report.snapshots_before, 5);
        check_readable(&load(&catalog).await).await;
    }
}

#[tokio::test]
async fn a_storm_of_conflicts_ends_in_an_error_and_no_file_goes() {
    let (memory, catalog) = memory().await;
    let mut committer = open(&catalog).await;
    for _ in 0..3 {
        append(&mut committer, 1).await;
    }
    let_age(&catalog).await;
    memory.inject(vec![Fault::Conflict; 50]);

    let error = expire(&catalog, TABLE, &newest(1)).await.unwrap_err();

    assert!(matches!(error, CareError::NotCommitted { attempts: 5, .. }), "{error:?}");
    assert!(error.is_retryable() && error.hint().is_some());
    assert_eq!(check_readable(&load(&catalog).await).await.len(), 3);
}

#[tokio::test]
async fn a_dropped_table_made_anew_in_between_is_not_touched() {
    let (memory, catalog) = memory().await;
    let mut committer = open(&catalog).await;
    for _ in 0..3 {
        append(&mut committer, 1).await;
    }
    let_age(&catalog).await;
    memory.inject([Fault::Late]);
    let options = newest(1);
    let expiring = expire(&catalog, TABLE, &options);
    let replaced = async {
        while memory.commits() < 4 {
            tokio::task::yield_now().await;
        }
        memory.drop_table(TABLE);
        catalog.create_table(TABLE, streamify_testing::creation(TABLE)).await.unwrap();
    };
    let (result, ()) = tokio::join!(expiring, replaced);

    assert!(matches!(result, Err(CareError::Refused { .. })), "{result:?}");
}
