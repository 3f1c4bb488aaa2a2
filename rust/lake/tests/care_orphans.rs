//! Orphans: what is one, what is not, and files that are being committed while the cleaner looks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use iceberg::TableUpdate;
use streamify_lake::care::consumers::{self, Consumer};
use streamify_lake::care::orphans::{self, OrphanOptions, OrphanReport};
use streamify_lake::care::settings::{Edit, set_properties};
use streamify_lake::care::{CareError, FileKind};
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::{Commit, CommitOptions, Kind};
use support::small::{
    TABLE, age, append, catalogs, check_readable, creation, files_in, load, open, rewrite, write,
};
use support::sqlite;
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn deleting() -> OrphanOptions {
    OrphanOptions { delete: true, ..OrphanOptions::default() }
}

/// Nothing is too young.
fn at_once() -> OrphanOptions {
    OrphanOptions { grace: Duration::ZERO, force: true, ..deleting() }
}

async fn run(catalog: &Arc<dyn Catalog>, options: &OrphanOptions) -> OrphanReport {
    orphans::remove(catalog, TABLE, options, &|_| false).await.unwrap()
}

async fn location(catalog: &Arc<dyn Catalog>) -> String {
    load(catalog).await.metadata.location().trim_start_matches("file://").to_owned()
}

fn plant(path: &str, old: Duration) {
    std::fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    std::fs::write(path, "12345").unwrap();
    age(path, old);
}

/// Makes all files of a table look old.
fn age_all(location: &str) {
    files_in(location).iter().for_each(|file| age(file, WEEK));
}

#[tokio::test]
async fn files_that_nobody_knows_are_named_first_and_deleted_on_request() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let mut committer = open(&catalog).await;
        append(&mut committer, 2).await;
        append(&mut committer, 1).await;
        let location = location(&catalog).await;
        age_all(&location);
        let known = files_in(&location);
        let id = Uuid::now_v7();
        let old = [
            format!("{location}/data/{id}-0.parquet"),
            format!("{location}/data/day=1/{id}-1.parquet"),
            format!("{location}/metadata/{id}-m0.avro"),
            format!("{location}/metadata/snap-1-0-{id}.avro"),
            format!("{location}/metadata/00099-{id}.metadata.json"),
        ];
        old.iter().for_each(|path| plant(path, WEEK));
        let spared = [
            format!("{location}/data/{id}-young.parquet"),
            format!("{location}/data/_hidden/x.parquet"),
            format!("{location}/data/.part"),
            format!("{location}/elsewhere/x.parquet"),
        ];
        spared.iter().for_each(|path| plant(path, WEEK));
        age(&spared[0], HOUR);

        let dry = run(&catalog, &OrphanOptions { sample: 2, ..OrphanOptions::default() }).await;
        assert!(
            dry.dry_run
                && dry.orphans[&FileKind::Data].files == 2
                && dry.orphans[&FileKind::Data].bytes == 10
        );
        assert_eq!(dry.orphans.values().map(|tally| tally.files).sum::<u64>(), 5);
        assert_eq!(dry.sample.len(), 2);
        assert!(old.contains(&dry.sample[0].path) && dry.sample[0].bytes == 5);
        assert!(old.iter().all(|path| Path::new(path).exists()), "a dry run deletes nothing");

        let report = run(&catalog, &deleting()).await;

        assert_eq!((report.orphans, report.young.files), (dry.orphans, 1));
        let left = files_in(&location);
        let expected: BTreeSet<String> = known.into_iter().chain(spared).collect();
        assert_eq!(left, expected);
        check_readable(&load(&catalog).await).await;
        assert_eq!(run(&catalog, &deleting()).await.orphans.len(), 0);
    }
}

#[tokio::test]
async fn hole_24_a_file_not_yet_committed_is_spared_by_its_age_and_by_its_lease() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let mut committer = open(&catalog).await;
        append(&mut committer, 1).await;
        age_all(&location(&catalog).await);

        let (young, leased) = (Uuid::now_v7(), Uuid::now_v7());
        let files = [write(committer.table(), young, 0).await, write(committer.table(), leased, 0).await];
        age(files[1].file_path(), WEEK);
        let lease = leased.to_string();
        let report = orphans::remove(&catalog, TABLE, &deleting(), &|id| id == lease).await.unwrap();
        assert_eq!((report.young.files, report.protected.files, report.orphans.len()), (1, 1, 0));

        for (commit_id, file) in [young, leased].into_iter().zip(files) {
            committer.commit(Commit { commit_id, files: vec![file], ..Commit::default() }).await.unwrap();
        }
        age_all(&location(&catalog).await);
        assert_eq!(run(&catalog, &deleting()).await.orphans.len(), 0);
        let table = load(&catalog).await;
        let live = &check_readable(&table).await[&table.metadata.current_snapshot_id().unwrap()];
        assert_eq!(live.len(), 3);

        let abandoned = write(&table, Uuid::now_v7(), 0).await;
        age(abandoned.file_path(), WEEK);
        assert_eq!(
            run(&catalog, &deleting()).await.orphans[&FileKind::Data].files,
            1,
            "without a lease it goes"
        );
    }
}

#[tokio::test]
async fn what_an_expiry_cut_short_leaves_behind_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    let mut committer = open(&catalog).await;
    let gone = append(&mut committer, 3).await;
    rewrite(&mut committer, Kind::Replace, 3).await;
    let table = load(&catalog).await;
    let head = table.metadata.current_snapshot_id().unwrap();
    let snapshot_ids = table.metadata.snapshots().map(|snapshot| snapshot.snapshot_id());
    let snapshot_ids = snapshot_ids.filter(|id| *id != head).collect();
    // An expiry that is killed right after its commit.
    catalog.commit(&table, Vec::new(), vec![TableUpdate::RemoveSnapshots { snapshot_ids }]).await.unwrap();

    let report = run(&catalog, &at_once()).await;

    assert_eq!(report.orphans[&FileKind::Data].files, 3);
    assert_eq!(report.orphans[&FileKind::ManifestList].files, 1);
    assert!(gone.iter().all(|path| !Path::new(path.trim_start_matches("file://")).exists()));
    check_readable(&load(&catalog).await).await;
}

#[tokio::test]
async fn a_file_that_a_consumer_is_still_to_read_is_no_orphan_although_its_snapshot_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    let mut committer = open(&catalog).await;
    append(&mut committer, 1).await;
    let read = committer.table().metadata.current_snapshot().unwrap().clone();
    let unread = append(&mut committer, 1).await;
    let between = committer.table().metadata.current_snapshot_id().unwrap();
    rewrite(&mut committer, Kind::Replace, 2).await;
    let now = chrono::Utc::now().timestamp_millis();
    let consumer = Consumer {
        table_uuid: "silver".to_owned(),
        snapshot_id: read.snapshot_id(),
        sequence_number: read.sequence_number(),
        updated_at_ms: now,
    };
    let bounds = CommitOptions::default();
    consumers::register(&catalog, TABLE, "silver", &consumer, &bounds).await.unwrap();
    let removal = TableUpdate::RemoveSnapshots { snapshot_ids: vec![read.snapshot_id(), between] };
    catalog.commit(&load(&catalog).await, Vec::new(), vec![removal]).await.unwrap();

    run(&catalog, &at_once()).await;
    assert!(unread.iter().all(|path| Path::new(path.trim_start_matches("file://")).exists()));

    consumers::unregister(&catalog, TABLE, "silver", &bounds).await.unwrap();
    run(&catalog, &at_once()).await;
    assert!(unread.iter().all(|path| !Path::new(path.trim_start_matches("file://")).exists()));
}

#[tokio::test]
async fn a_short_grace_period_disabled_gc_and_shared_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    append(&mut open(&catalog).await, 1).await;
    let refused =
        async |options: &OrphanOptions| match orphans::remove(&catalog, TABLE, options, &|_| false).await {
            Err(error @ CareError::Refused { .. }) => error.to_string(),
            other => panic!("expected a refusal, got {other:?}"),
        };
    let short = OrphanOptions { grace: Duration::from_secs(3599), ..OrphanOptions::default() };
    assert!(refused(&short).await.contains("3599 s"));
    assert_eq!(run(&catalog, &OrphanOptions { force: true, ..short }).await.orphans.len(), 0);

    let set =
        |key: &str, value: &str| Edit { set: [(key.to_owned(), value.to_owned())].into(), ..Edit::default() };
    let bounds = CommitOptions::default();
    set_properties(&catalog, TABLE, &set("gc.enabled", "false"), &bounds).await.unwrap();
    assert!(refused(&deleting()).await.contains("gc.enabled"));
    set_properties(&catalog, TABLE, &set("gc.enabled", "true"), &bounds).await.unwrap();

    let mut inside = creation("inside");
    inside.location = Some(format!("{}/data/inside", load(&catalog).await.metadata.location()));
    catalog.create_table("inside", inside).await.unwrap();
    assert!(refused(&deleting()).await.contains("table `inside`"));
}

#[tokio::test]
async fn folders_named_by_properties_are_looked_at_too() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    append(&mut open(&catalog).await, 1).await;
    let apart = format!("{}/apart", folder.path().display());
    let set = [("write.data.path".to_owned(), format!("file:{apart}/"))].into();
    let edit = Edit { set, ..Edit::default() };
    set_properties(&catalog, TABLE, &edit, &CommitOptions::default()).await.unwrap();
    let (orphan, former) = (format!("{apart}/x/y.parquet"), location(&catalog).await + "/data/z.parquet");
    plant(&orphan, WEEK);
    plant(&former, WEEK);

    let report = run(&catalog, &deleting()).await;

    assert_eq!(report.orphans[&FileKind::Data].files, 2);
    assert!(!Path::new(&orphan).exists() && !Path::new(&former).exists());
    assert!(report.folders.contains(&format!("{apart}/")));
    check_readable(&load(&catalog).await).await;
}

#[tokio::test]
async fn files_to_which_two_addresses_lead_are_spared() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    append(&mut open(&catalog).await, 1).await;
    let table = load(&catalog).await;
    let linked = format!("{}/linked", folder.path().display());
    std::os::unix::fs::symlink(location(&catalog).await, &linked).unwrap();
    let update = TableUpdate::SetLocation { location: format!("file://{linked}") };
    catalog.commit(&table, Vec::new(), vec![update]).await.unwrap();
    age_all(&linked);

    let report = run(&catalog, &deleting()).await;

    assert_eq!(report.orphans.get(&FileKind::Data), None);
    assert!(report.alike.files >= 3, "data file, manifest and list: {:?}", report.alike);
    check_readable(&load(&catalog).await).await;
}
