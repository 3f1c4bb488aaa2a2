//! Properties, sort order, tags and branches: commits that assert what they were decided on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::spec::{SnapshotRetention, TableMetadata};
use serde_json::{Value, json};
use streamify_lake::care::CareError;
use streamify_lake::care::refs::{self, NewRef};
use streamify_lake::care::settings::{Edit, set_properties, set_sort_order};
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::CommitOptions;
use support::server::Reply;
use support::small::{TABLE, append, catalogs, creation, load, open, rest};

fn bounds() -> CommitOptions {
    CommitOptions { max_conflicts: 3, ..CommitOptions::default() }
}

fn edit(set: &[(&str, &str)], unset: &[&str]) -> Edit {
    Edit {
        set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        unset: unset.iter().map(|key| (*key).to_owned()).collect(),
    }
}

fn tag(name: &str, snapshot_id: Option<i64>, replace: bool) -> NewRef {
    let retention = SnapshotRetention::Tag { max_ref_age_ms: None };
    NewRef { name: name.to_owned(), snapshot_id, retention, replace }
}

fn targets(metadata: &TableMetadata) -> BTreeMap<String, i64> {
    refs::all(metadata).unwrap().into_iter().map(|(name, to)| (name, to.snapshot_id)).collect()
}

async fn sort_columns(catalog: &Arc<dyn Catalog>) -> Vec<i32> {
    load(catalog).await.metadata.default_sort_order().fields.iter().map(|field| field.source_id).collect()
}

#[tokio::test]
async fn properties_are_set_and_removed_in_one_commit_and_only_if_there_is_something_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        append(&mut open(&catalog).await, 1).await;
        let first = set_properties(&catalog, TABLE, &edit(&[("a", "1"), ("b", "2")], &[]), &bounds()).await;
        assert_eq!(first.unwrap().attempts, 1);

        let change = edit(&[("a", "3")], &["b", "never-there"]);
        let changed = set_properties(&catalog, TABLE, &change, &bounds()).await.unwrap();
        let again = set_properties(&catalog, TABLE, &change, &bounds()).await.unwrap();

        assert_eq!((changed.attempts, again.attempts), (1, 0));
        let properties = load(&catalog).await.metadata.properties().clone();
        assert_eq!((properties.get("a").map(String::as_str), properties.get("b")), (Some("3"), None));
    }
}

#[tokio::test]
async fn what_the_commit_path_or_iceberg_owns_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        for key in ["streamify.state", "streamify.consumer.x", "format-version", " "] {
            let set = set_properties(&catalog, TABLE, &edit(&[(key, "1")], &[]), &bounds()).await;
            let unset = set_properties(&catalog, TABLE, &edit(&[], &[key]), &bounds()).await;
            assert!(matches!(set, Err(CareError::Refused { .. })), "{key}: {set:?}");
            assert!(matches!(unset, Err(CareError::Refused { .. })), "{key}: {unset:?}");
        }
        let both = set_properties(&catalog, TABLE, &edit(&[("a", "1")], &["a"]), &bounds()).await;
        assert!(matches!(both, Err(CareError::Refused { .. })), "{both:?}");
    }
}

#[tokio::test]
async fn a_sort_order_is_set_reused_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let set = async |columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
            set_sort_order(&catalog, TABLE, &columns, &bounds()).await
        };
        set(&["other", "value"]).await.unwrap();
        assert_eq!(sort_columns(&catalog).await, [2, 1]);
        let id = load(&catalog).await.metadata.default_sort_order_id();
        assert_eq!(set(&["other", "value"]).await.unwrap().attempts, 0);

        set(&[]).await.unwrap();
        assert_eq!(sort_columns(&catalog).await, Vec::<i32>::new());
        set(&["other", "value"]).await.unwrap();
        assert_eq!(load(&catalog).await.metadata.default_sort_order_id(), id, "an order is not added twice");

        let unknown = set(&["nothing"]).await.unwrap_err();
        assert!(unknown.to_string().contains("`nothing`"), "{unknown}");
    }
}

#[tokio::test]
async fn tags_and_branches_are_created_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let empty = refs::set(&catalog, TABLE, &tag("t", None, false), &bounds()).await;
        assert!(matches!(empty, Err(CareError::Refused { .. })), "{empty:?}");
        let mut committer = open(&catalog).await;
        append(&mut committer, 1).await;
        let first = committer.table().metadata.current_snapshot_id().unwrap();
        append(&mut committer, 1).await;
        let second = committer.table().metadata.current_snapshot_id().unwrap();

        refs::set(&catalog, TABLE, &tag("t", Some(first), false), &bounds()).await.unwrap();
        let same = refs::set(&catalog, TABLE, &tag("t", Some(first), false), &bounds()).await.unwrap();
        assert_eq!(same.attempts, 0, "it is so already");
        let other = refs::set(&catalog, TABLE, &tag("t", None, false), &bounds()).await.unwrap_err();
        assert!(other.to_string().contains("is there already"), "{other}");
        refs::set(&catalog, TABLE, &tag("t", None, true), &bounds()).await.unwrap();
        let branch = SnapshotRetention::branch(Some(3), None, None);
        let branch = NewRef { retention: branch, ..tag("b", Some(first), false) };
        refs::set(&catalog, TABLE, &branch, &bounds()).await.unwrap();
        let expected =
            BTreeMap::from([("b".to_owned(), first), ("main".to_owned(), second), ("t".to_owned(), second)]);
        assert_eq!(targets(&load(&catalog).await.metadata), expected);

        refs::remove(&catalog, TABLE, "t", &bounds()).await.unwrap();
        assert_eq!(refs::remove(&catalog, TABLE, "t", &bounds()).await.unwrap().attempts, 0);
        assert!(!targets(&load(&catalog).await.metadata).contains_key("t"));
        for refused in [
            refs::remove(&catalog, TABLE, "main", &bounds()).await,
            refs::set(&catalog, TABLE, &tag("main", None, true), &bounds()).await,
            refs::set(&catalog, TABLE, &tag("", None, true), &bounds()).await,
            refs::set(&catalog, TABLE, &tag("u", Some(12345), true), &bounds()).await,
        ] {
            assert!(matches!(refused, Err(CareError::Refused { .. })), "{refused:?}");
        }
        append(&mut committer, 1).await;
    }
}

#[tokio::test]
async fn commits_assert_what_they_were_decided_on_and_meet_faults_with_a_second_look() {
    let folder = tempfile::tempdir().unwrap();
    let (server, catalog) = rest(folder.path()).await;
    catalog.create_table(TABLE, creation(TABLE)).await.unwrap();
    append(&mut open(&catalog).await, 1).await;
    let path = format!("POST /api/catalog/v1/namespaces/streamify/tables/{TABLE}");

    server.plan(&path, [Reply::status(409), Reply::BreakOff]);
    let set = set_properties(&catalog, TABLE, &edit(&[("a", "1")], &[]), &bounds()).await.unwrap();
    assert_eq!(set.attempts, 2, "the second was applied though its answer was lost");
    let kinds: BTreeSet<String> = requirements(&server.seen(&path).last().unwrap().body);
    let expected = [
        "assert-current-schema-id",
        "assert-default-sort-order-id",
        "assert-default-spec-id",
        "assert-ref-snapshot-id",
        "assert-table-uuid",
    ];
    assert_eq!(kinds, expected.map(str::to_owned).into());

    refs::set(&catalog, TABLE, &tag("t", None, false), &bounds()).await.unwrap();
    let body: Value = serde_json::from_str(&server.seen(&path).last().unwrap().body).unwrap();
    let absent = json!({"type": "assert-ref-snapshot-id", "ref": "t", "snapshot-id": null});
    assert!(body["requirements"].as_array().unwrap().contains(&absent), "{body}");

    server.plan(&path, [Reply::status(403)]);
    let refused = refs::remove(&catalog, TABLE, "t", &bounds()).await.unwrap_err();
    assert!(matches!(refused, CareError::NotCommitted { rejected: true, attempts: 1, .. }), "{refused:?}");
    server.plan(&path, vec![Reply::status(409); 10]);
    let gave_up = refs::remove(&catalog, TABLE, "t", &bounds()).await.unwrap_err();
    assert!(matches!(gave_up, CareError::NotCommitted { rejected: false, attempts: 3, .. }), "{gave_up:?}");
}

fn requirements(body: &str) -> BTreeSet<String> {
    let body: Value = serde_json::from_str(body).unwrap();
    let list = body["requirements"].as_array().unwrap();
    list.iter().map(|requirement| requirement["type"].as_str().unwrap().to_owned()).collect()
}
