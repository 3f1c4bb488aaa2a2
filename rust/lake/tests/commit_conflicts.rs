//! The truth table of [`streamify_lake::commit`]: every kind of commit, prepared on one base, against every kind that
//! lands first, in the same partition and in another. What lands is then read back from the manifests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is the report")]

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use iceberg::TableCreation;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, ManifestList, NestedField,
    PrimitiveType, Schema, Struct, Transform, Type, UnboundPartitionSpec,
};
use streamify_core::state::{Change, Consumed};
use streamify_lake::LoadedTable;
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::{Commit, CommitError, CommitOptions, Committer, Kind, Untouched};
use streamify_lake::protocol::Refusal;
use streamify_lake::scan::{DayFiles, LiveFile, live_files};
use streamify_testing::MemoryCatalog;
use uuid::Uuid;

const MONDAY: i32 = 20_000;
const TUESDAY: i32 = 20_001;
const TABLE: &str = "plays";

/// The kinds of commit that the table names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Append,
    InsertNew,
    ReplacePartition,
    RewriteFiles,
    RewriteManifests,
}

const ALL: [Work; 5] =
    [Work::Append, Work::InsertNew, Work::ReplacePartition, Work::RewriteFiles, Work::RewriteManifests];

fn creation() -> TableCreation {
    let field = |id, name: &str, kind| Arc::new(NestedField::required(id, name, Type::Primitive(kind)));
    let schema = Schema::builder()
        .with_fields([field(1, "value", PrimitiveType::Long), field(2, "event_date", PrimitiveType::Date)])
        .build()
        .unwrap();
    let spec = UnboundPartitionSpec::builder()
        .with_spec_id(0)
        .add_partition_field(2, "event_date", Transform::Identity)
        .unwrap()
        .build();
    TableCreation::builder()
        .name(TABLE.to_owned())
        .schema(schema)
        .partition_spec(spec)
        .location(format!("memory:///{TABLE}-{}", Uuid::new_v4()))
        .build()
}

fn partition(day: i32) -> Struct {
    Struct::from_iter([Some(Literal::date(day))])
}

fn file(day: i32, name: &str) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("memory:///data/{day}/{name}.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(partition(day))
        .partition_spec_id(0)
        .record_count(10)
        .file_size_in_bytes(100)
        .build()
        .unwrap()
}

async fn open(catalog: &MemoryCatalog) -> Committer {
    let table = catalog.load_table(TABLE).await.unwrap().unwrap();
    Committer::open(Arc::new(catalog.clone()), table, CommitOptions::default()).await.unwrap()
}

/// A table with two files on each of two days.
async fn filled() -> MemoryCatalog {
    let catalog = MemoryCatalog::default();
    catalog.create_table(TABLE, creation()).await.unwrap();
    let files = [MONDAY, TUESDAY].iter().flat_map(|day| [file(*day, "one"), file(*day, "two")]).collect();
    let commit = Commit { commit_id: Uuid::new_v4(), files, ..Commit::default() };
    open(&catalog).await.commit(commit).await.unwrap();
    catalog
}

/// Prepares a piece of work on a day, from the table as it is now.
async fn prepare(work: Work, day: i32, committer: &Committer) -> Commit {
    let since = committer.table().metadata.current_snapshot_id();
    let live = live_files(committer.table(), Some(&BTreeSet::from([day]))).await.unwrap();
    let untouched = Some(Untouched { since, partitions: HashSet::from([partition(day)]) });
    let base = Commit {
        commit_id: Uuid::new_v4(),
        files: vec![file(day, &format!("{work:?}-{}", Uuid::new_v4()))],
        ..Commit::default()
    };
    match work {
        Work::Append => base,
        Work::InsertNew => Commit { untouched, ..base },
        Work::ReplacePartition => Commit { kind: Kind::Overwrite, removed: live, untouched, ..base },
        Work::RewriteFiles => Commit { kind: Kind::Replace, removed: live, ..base },
        Work::RewriteManifests => Commit { kind: Kind::Manifests, files: Vec::new(), ..base },
    }
}

async fn paths(catalog: &MemoryCatalog) -> BTreeSet<String> {
    let table = catalog.load_table(TABLE).await.unwrap().unwrap();
    let live: Vec<LiveFile> = live_files(&table, None).await.unwrap();
    let paths: BTreeSet<String> = live.iter().map(|live| live.file.file_path().to_owned()).collect();
    assert_eq!(paths.len(), live.len(), "a file is in the table twice");
    paths
}

fn added(commit: &Commit) -> BTreeSet<String> {
    commit.files.iter().map(|file| file.file_path().to_owned()).collect()
}

fn removed(commit: &Commit) -> BTreeSet<String> {
    commit.removed.iter().map(|live| live.file.file_path().to_owned()).collect()
}

fn overtaken(result: Result<impl std::fmt::Debug, CommitError>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) if error.overtaken() => true,
        Err(error) => panic!("{error}"),
    }
}

/// Whether work on a day is overtaken by other work that landed first on the same day.
fn expected(late: Work, first: Work) -> bool {
    match (late, first) {
        (Work::Append | Work::RewriteManifests, _) | (_, Work::RewriteManifests) => false,
        // Compaction leaves the rows as they were, so what was read still holds.
        (Work::InsertNew, Work::RewriteFiles) => false,
        (Work::InsertNew, _) => true,
        (Work::ReplacePartition, _) => true,
        (Work::RewriteFiles, Work::Append | Work::InsertNew) => false,
        (Work::RewriteFiles, Work::ReplacePartition | Work::RewriteFiles) => true,
    }
}

#[tokio::test]
async fn each_kind_of_commit_against_each_that_lands_first() {
    for late in ALL {
        for first in ALL {
            for day in [MONDAY, TUESDAY] {
                let catalog = filled().await;
                let (mut slow, mut quick) = (open(&catalog).await, open(&catalog).await);
                let (late_commit, first_commit) =
                    (prepare(late, MONDAY, &slow).await, prepare(first, day, &quick).await);
                let before = paths(&catalog).await;

                quick.commit(first_commit.clone()).await.unwrap();
                let result = slow.commit(late_commit.clone()).await;

                let case = format!("{late:?} on Monday after {first:?} on day {day}");
                let lost = overtaken(result);
                assert_eq!(lost, day == MONDAY && expected(late, first), "{case}");
                let mut wanted: BTreeSet<String> = &before - &removed(&first_commit);
                wanted.extend(added(&first_commit));
                if !lost {
                    wanted = &wanted - &removed(&late_commit);
                    wanted.extend(added(&late_commit));
                }
                assert_eq!(paths(&catalog).await, wanted, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn overtaken_work_succeeds_on_the_refreshed_table() {
    let catalog = filled().await;
    let (mut slow, mut quick) = (open(&catalog).await, open(&catalog).await);
    let late = prepare(Work::ReplacePartition, MONDAY, &slow).await;
    quick.commit(prepare(Work::Append, MONDAY, &quick).await).await.unwrap();
    assert!(overtaken(slow.commit(late).await));

    slow.refresh().await.unwrap();
    let again = prepare(Work::ReplacePartition, MONDAY, &slow).await;
    slow.commit(again.clone()).await.unwrap();

    assert_eq!(removed(&again).len(), 3);
    let monday: Vec<String> =
        paths(&catalog).await.into_iter().filter(|path| path.contains(&MONDAY.to_string())).collect();
    assert_eq!(monday, added(&again).into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn totals_and_operation_of_a_replacement_are_right() {
    let catalog = filled().await;
    let mut committer = open(&catalog).await;

    committer.commit(prepare(Work::ReplacePartition, MONDAY, &committer).await).await.unwrap();

    let metadata = catalog.metadata(TABLE);
    let summary = metadata.current_snapshot().unwrap().summary();
    assert_eq!(summary.operation.as_str(), "overwrite");
    let value = |key: &str| summary.additional_properties[key].clone();
    assert_eq!(value("total-data-files"), "3");
    assert_eq!(value("total-records"), "30");
    assert_eq!(value("added-data-files"), "1");
    assert_eq!(value("deleted-data-files"), "2");
}

#[tokio::test]
async fn a_base_that_is_gone_overtakes() {
    let catalog = filled().await;
    let mut committer = open(&catalog).await;
    let mut other = open(&catalog).await;
    let late = prepare(Work::InsertNew, MONDAY, &committer).await;
    other.commit(prepare(Work::Append, TUESDAY, &other).await).await.unwrap();
    catalog.expire_all_but_head(TABLE);

    let error = committer.commit(late).await.unwrap_err();

    assert!(error.overtaken(), "{error}");
    assert!(error.to_string().contains("is not in `main` any more"), "{error}");
}

#[tokio::test]
async fn what_was_consumed_travels_with_the_rows_and_fences_a_second_reader() {
    let catalog = filled().await;
    let (mut one, mut two) = (open(&catalog).await, open(&catalog).await);
    let consumed = |snapshot_id| Consumed {
        table_uuid: "source".to_owned(),
        snapshot_id,
        sequence_number: snapshot_id,
        topics: Default::default(),
    };
    let consume = |expected: Option<i64>, to| Change::Consume {
        table: "bronze".to_owned(),
        expected: expected.map(consumed),
        to: consumed(to),
    };
    let first = prepare(Work::InsertNew, MONDAY, &one).await;
    let second = prepare(Work::InsertNew, TUESDAY, &two).await;

    one.commit(Commit { changes: vec![consume(None, 7)], ..first }).await.unwrap();
    let refused = two.commit(Commit { changes: vec![consume(None, 7)], ..second }).await.unwrap_err();

    assert!(matches!(&refused, CommitError::Refused { refusal: Refusal::Fenced { .. }, .. }), "{refused}");
    assert_eq!(one.state().sources["bronze"], consumed(7));
    assert_eq!(open(&catalog).await.state(), one.state());
    let rewrite = prepare(Work::RewriteFiles, MONDAY, &one).await;
    one.commit(rewrite).await.unwrap();
    assert_eq!(open(&catalog).await.state().sources["bronze"], consumed(7), "a compaction keeps the state");
}

#[tokio::test]
async fn rewritten_manifests_name_the_same_files_in_fewer_manifests() {
    let catalog = filled().await;
    let mut committer = open(&catalog).await;
    for day in [TUESDAY, MONDAY, TUESDAY, MONDAY] {
        committer.commit(prepare(Work::Append, day, &committer).await).await.unwrap();
    }
    let before = paths(&catalog).await;

    committer.commit(prepare(Work::RewriteManifests, MONDAY, &committer).await).await.unwrap();

    assert_eq!(paths(&catalog).await, before);
    let metadata = catalog.metadata(TABLE);
    let summary = metadata.current_snapshot().unwrap().summary();
    assert_eq!(summary.operation.as_str(), "replace");
    assert_eq!(summary.additional_properties["total-data-files"], "8");
    assert_eq!(manifests(committer.table()).await.len(), 1);
}

#[tokio::test]
async fn for_the_files_of_a_day_no_manifest_of_other_days_is_read() {
    let catalog = filled().await;
    let mut committer = open(&catalog).await;
    let later = TUESDAY + 1;
    committer.commit(prepare(Work::Append, later, &committer).await).await.unwrap();
    let table = committer.table();
    let [earlier, gone] = manifests(table).await.try_into().unwrap();
    table.file_io.delete(&gone).await.unwrap();

    let mut files = DayFiles::open(table).await.unwrap();
    assert_eq!(files.of(MONDAY - 1).await.unwrap().len(), 0);
    assert_eq!(files.of(MONDAY).await.unwrap().len(), 2);
    table.file_io.delete(&earlier).await.unwrap();
    assert_eq!(files.of(TUESDAY).await.unwrap().len(), 2, "it is read once");
    assert_eq!(files.of(MONDAY).await.unwrap().len(), 2);
    assert!(files.of(later).await.is_err());
    assert!(files.of(later).await.is_err(), "an error is no empty day afterwards");
    assert_eq!(files.of(MONDAY).await.unwrap().len(), 2);
    assert!(DayFiles::open(table).await.unwrap().all().await.is_err());
}

/// Addresses of the head's manifests, in the order of the list.
async fn manifests(table: &LoadedTable) -> Vec<String> {
    let list = table.metadata.current_snapshot().unwrap().manifest_list();
    let bytes = table.file_io.new_input(list).unwrap().read().await.unwrap();
    let list = ManifestList::parse_with_version(&bytes, table.metadata.format_version()).unwrap();
    list.entries().iter().map(|manifest| manifest.manifest_path.clone()).collect()
}
