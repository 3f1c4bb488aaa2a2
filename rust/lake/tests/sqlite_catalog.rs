//! The SQLite catalog, above all with several committers at the same time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::{TableRequirement, TableUpdate};
use streamify_core::contract::{Column, ColumnType, builtin};
use streamify_lake::catalog::CommitFailure;
use streamify_lake::{Lake, LakeError, LoadedTable, TableSpec};
use support::{lake, plays, sqlite};

fn set_property(key: String, value: &str) -> Vec<TableUpdate> {
    vec![TableUpdate::SetProperties { updates: HashMap::from([(key, value.to_owned())]) }]
}

fn metadata_files(table: &LoadedTable) -> Vec<String> {
    let folder = format!("{}/metadata", table.metadata.location().trim_start_matches("file://"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".metadata.json"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_table_outlives_the_catalog_that_created_it() {
    let folder = tempfile::tempdir().unwrap();
    let created = lake(folder.path()).await.ensure_table(&plays()).await.unwrap();

    let other = sqlite(folder.path()).await;
    let loaded = other.load_table("plays").await.unwrap().unwrap();

    assert_eq!(loaded.metadata, created.metadata);
    assert_eq!(
        loaded.metadata.location(),
        format!("file://{}/warehouse/streamify/plays", folder.path().display())
    );
    assert_eq!(other.list_tables().await.unwrap(), ["plays"]);
    assert!(other.load_table("nothing").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_committers_lose_nothing_and_report_truthfully() {
    const COMMITTERS: usize = 4;
    const COMMITS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path()).await.ensure_table(&plays()).await.unwrap();

    let mut tasks = tokio::task::JoinSet::new();
    for committer in 0..COMMITTERS {
        let catalog = sqlite(folder.path()).await;
        tasks.spawn(async move {
            let (mut applied, mut conflicts) = (Vec::new(), 0);
            for number in 0..COMMITS {
                let key = format!("{committer}-{number}");
                let base = catalog.load_table("plays").await.unwrap().unwrap();
                match catalog.commit(&base, Vec::new(), set_property(key.clone(), "x")).await {
                    Ok(_) => applied.push(key),
                    Err(CommitFailure::Conflict(_)) => conflicts += 1,
                    Err(other) => panic!("unexpected: {other}"),
                }
            }
            (applied, conflicts)
        });
    }
    let results = tasks.join_all().await;

    let table = sqlite(folder.path()).await.load_table("plays").await.unwrap().unwrap();
    let applied: Vec<&String> = results.iter().flat_map(|(applied, _)| applied).collect();
    let stored = table
        .metadata
        .properties()
        .keys()
        .filter(|key| key.starts_with(|c: char| c.is_ascii_digit()))
        .count();
    assert_eq!(stored, applied.len(), "what was reported as applied is what is stored");
    assert!(applied.iter().all(|key| table.metadata.properties().contains_key(*key)));
    let conflicts: usize = results.iter().map(|(_, conflicts)| conflicts).sum();
    assert_eq!(applied.len() + conflicts, COMMITTERS * COMMITS);
    assert_eq!(metadata_files(&table).len(), applied.len() + 1, "lost commits leave no metadata file");
    assert!(
        table.metadata_location.contains(&format!("/{:05}-", applied.len())),
        "{}",
        table.metadata_location
    );
}

#[tokio::test]
async fn a_commit_on_an_old_base_goes_by_the_requirements_on_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (sqlite(folder.path()).await, sqlite(folder.path()).await);
    let base = Lake::new(first.clone()).ensure_table(&plays()).await.unwrap();
    let schema_id = base.metadata.current_schema_id();
    let unchanged_schema = TableRequirement::CurrentSchemaIdMatch { current_schema_id: schema_id };
    first.commit(&base, Vec::new(), set_property("a".to_owned(), "1")).await.unwrap();

    let held = second
        .commit(&base, vec![unchanged_schema.clone()], set_property("b".to_owned(), "2"))
        .await
        .unwrap();
    let wider = TableSpec {
        columns: [plays().columns, vec![Column::new("extra", ColumnType::Long, true, "")]].concat(),
        ..plays()
    };
    Lake::new(first).ensure_table(&wider).await.unwrap();
    let broken = second.commit(&held, vec![unchanged_schema], set_property("c".to_owned(), "3")).await;

    assert_eq!(
        (held.metadata.properties()["a"].as_str(), held.metadata.properties()["b"].as_str()),
        ("1", "2")
    );
    assert!(matches!(broken, Err(CommitFailure::Conflict(_))), "{broken:?}");
    let table = second.load_table("plays").await.unwrap().unwrap();
    assert!(!table.metadata.properties().contains_key("c"));
}

#[tokio::test]
async fn a_commit_to_a_table_that_is_gone_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let table = Lake::new(catalog.clone()).ensure_table(&plays()).await.unwrap();
    let file = rusqlite::Connection::open(folder.path().join("catalog.db")).unwrap();
    file.execute("DELETE FROM iceberg_tables", []).unwrap();

    let result = catalog.commit(&table, Vec::new(), set_property("a".to_owned(), "1")).await;

    assert!(matches!(result, Err(CommitFailure::Rejected(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_creators_one_wins_and_the_others_get_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let path = folder.path().to_owned();
        // Opening is part of the race: the file does not exist yet.
        tasks.spawn(async move { lake(&path).await.ensure_table(&plays()).await.unwrap() });
    }

    let tables = tasks.join_all().await;

    assert!(tables.iter().all(|table| table.metadata.uuid() == tables[0].metadata.uuid()));
    assert_eq!(metadata_files(&tables[0]).len(), 1, "losers leave no metadata file");
}

#[tokio::test]
async fn old_metadata_files_are_deleted_as_the_properties_say() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let few = [("write.metadata.previous-versions-max".to_owned(), "2".to_owned())];
    let spec = TableSpec { properties: few.to_vec(), ..plays() };
    let mut table = Lake::new(catalog.clone()).ensure_table(&spec).await.unwrap();

    for number in 0..5 {
        table = catalog.commit(&table, Vec::new(), set_property(format!("n{number}"), "x")).await.unwrap();
    }

    let numbers: Vec<String> = metadata_files(&table).iter().map(|name| name[..5].to_owned()).collect();
    assert_eq!(numbers, ["00003", "00004", "00005"]);
}

#[tokio::test]
async fn every_builtin_contract_has_a_table_with_all_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path()).await;
    let mut specs: Vec<TableSpec> = builtin().iter().map(|contract| TableSpec::bronze(contract)).collect();
    specs.push(TableSpec::dead_letters());

    for spec in &specs {
        let table = lake.ensure_table(spec).await.unwrap();
        let fields = table.metadata.current_schema().as_struct().fields();
        let names: Vec<&String> = fields.iter().map(|field| &field.name).collect();
        assert_eq!(names, spec.columns.iter().map(|column| &column.name).collect::<Vec<_>>());
        assert_eq!(table.metadata.default_partition_spec().fields()[0].name, "event_date");
        assert!(
            fields.iter().all(|field| field.doc.is_some()),
            "{} has a column without a description",
            spec.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_writers_may_add_the_same_columns_at_once() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path()).await.ensure_table(&plays()).await.unwrap();
    let wider = Arc::new(TableSpec {
        columns: [plays().columns, vec![Column::new("extra", ColumnType::Long, false, "New")]].concat(),
        ..plays()
    });

    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (lake, wider) = (lake(folder.path()).await, wider.clone());
        tasks.spawn(async move { lake.ensure_table(&wider).await.unwrap() });
    }
    let tables = tasks.join_all().await;

    for table in tables {
        let field = table.metadata.current_schema().field_by_name("extra").unwrap().clone();
        assert_eq!((field.id, field.required), (7, false));
        assert_eq!(table.metadata.schemas_iter().len(), 2);
    }
}

#[tokio::test]
async fn a_column_of_another_type_stops_with_table_column_and_both_types() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path()).await;
    lake.ensure_table(&plays()).await.unwrap();
    let mut other = plays();
    other.columns[1].kind = ColumnType::Long;

    let error = lake.ensure_table(&other).await.unwrap_err();

    assert!(matches!(error, LakeError::SchemaMismatch { .. }), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "column `song` of table `plays` is of type string, but long is wanted");
}
