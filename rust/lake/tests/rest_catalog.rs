//! The REST client against a small catalog that answers, refuses and breaks down as each test wants it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use iceberg::{TableRequirement, TableUpdate};
use serde_json::json;
use streamify_lake::catalog::rest::RestCatalog;
use streamify_lake::catalog::{Catalog, CatalogError, CommitFailure, LoadedTable};
use streamify_lake::settings::{RestClientCredentials, RestSettings, S3Settings, Secret};
use streamify_lake::storage::StorageProvider;
use streamify_lake::{Lake, TableSpec};
use support::plays;
use support::server::{Reply, Server};
use tokio::net::TcpListener;

const TABLE: &str = "plays";

fn settings(server: &Server) -> RestSettings {
    RestSettings {
        client: Some(RestClientCredentials { id: "worker".to_owned(), secret: Secret::new("hush+hush &=") }),
        ..RestSettings::new(&server.uri, "lake house")
    }
}

async fn connect_with(settings: RestSettings) -> Result<RestCatalog, CatalogError> {
    RestCatalog::connect(settings, "streamify", StorageProvider::new(S3Settings::none())).await
}

async fn connect(server: &Server) -> RestCatalog {
    connect_with(settings(server)).await.unwrap()
}

async fn create(catalog: &RestCatalog) -> LoadedTable {
    catalog.create_table(TABLE, plays().creation().unwrap()).await.unwrap()
}

fn set_property(key: &str, value: &str) -> Vec<TableUpdate> {
    vec![TableUpdate::SetProperties { updates: HashMap::from([(key.to_owned(), value.to_owned())]) }]
}

async fn commit(catalog: &RestCatalog, base: &LoadedTable) -> Result<LoadedTable, CommitFailure> {
    let same = TableRequirement::UuidMatch { uuid: base.metadata.uuid() };
    catalog.commit(base, vec![same], set_property("mark", "set")).await
}

fn class(result: &Result<LoadedTable, CommitFailure>) -> &'static str {
    match result {
        Ok(_) => "applied",
        Err(CommitFailure::Conflict(_)) => "conflict",
        Err(CommitFailure::Unavailable { .. }) => "unavailable",
        Err(CommitFailure::Unknown(_)) => "unknown",
        Err(CommitFailure::Rejected(_)) => "rejected",
    }
}

#[tokio::test]
async fn a_table_is_created_loaded_and_committed_to() {
    let server = Server::start().await;
    let catalog = connect(&server).await;

    assert!(catalog.load_table(TABLE).await.unwrap().is_none());
    let created = create(&catalog).await;
    let committed = commit(&catalog, &created).await.unwrap();
    let loaded = catalog.load_table(TABLE).await.unwrap().unwrap();

    assert_eq!(committed.metadata.properties()["mark"], "set");
    assert_eq!(committed.metadata_location, "s3://lake/plays/metadata/1.json");
    assert_eq!(
        (&loaded.metadata, &loaded.metadata_location),
        (&committed.metadata, &committed.metadata_location)
    );
    assert_eq!(loaded.metadata.default_partition_spec().fields()[0].name, "event_date");
    assert_eq!(loaded.metadata.default_sort_order().fields.len(), 2);
    assert_eq!(loaded.metadata.properties()["write.metadata.previous-versions-max"], "100");
}

#[tokio::test]
async fn a_table_that_exists_already_is_loaded_instead_of_created() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    let first = create(&catalog).await;

    let second = create(&catalog).await;

    assert_eq!(first.metadata.uuid(), second.metadata.uuid());
}

#[tokio::test]
async fn a_requirement_that_does_not_hold_is_a_conflict() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    let table = create(&catalog).await;
    let wrong = TableRequirement::CurrentSchemaIdMatch { current_schema_id: 77 };

    let result = catalog.commit(&table, vec![wrong], set_property("mark", "set")).await;

    assert_eq!(class(&result), "conflict");
    assert_eq!(server.property(TABLE, "mark"), None);
}

#[tokio::test]
async fn each_way_a_commit_can_end_has_its_class() {
    let stale =
        Reply::error(400, "Cannot add snapshot with sequence number 4 older than last sequence number 5");
    let not_json = Reply::Send { status: 200, headers: Vec::new(), body: "<html>".to_owned() };
    let server = Server::start().await;
    let catalog =
        connect_with(RestSettings { request_timeout: Duration::from_millis(500), ..settings(&server) }).await;
    let catalog = catalog.unwrap();
    let table = create(&catalog).await;

    for (reply, expected) in [
        (Reply::status(409), "conflict"),
        (stale, "conflict"),
        (Reply::status(400), "rejected"),
        (Reply::status(403), "rejected"),
        (Reply::status(404), "rejected"),
        (Reply::status(429).with_header("retry-after", "1"), "unavailable"),
        (Reply::status(503).with_header("retry-after", "1"), "unavailable"),
        (Reply::status(503), "unknown"),
        (Reply::status(500), "unknown"),
        (Reply::HangUp, "unknown"),
        (Reply::Stall, "unknown"),
        (not_json, "unknown"),
        (Reply::BreakOff, "unknown"),
    ] {
        server.plan("POST /api/catalog/v1/namespaces/streamify/tables/plays", [reply.clone()]);
        let result = commit(&catalog, &table).await;
        assert_eq!(class(&result), expected, "{reply:?} gave {result:?}");
    }
    assert_eq!(
        server.property(TABLE, "mark").as_deref(),
        Some("set"),
        "the last one was applied though its answer was lost"
    );
}

#[tokio::test]
async fn the_waiting_time_that_the_catalog_asks_for_is_passed_on() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    let table = create(&catalog).await;
    server.plan("POST", [Reply::status(503).with_header("retry-after", "7")]);

    let result = commit(&catalog, &table).await;

    let Err(CommitFailure::Unavailable { retry_after, .. }) = result else { panic!("{result:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_catalog_that_is_away_is_unavailable() {
    let server = Server::start().await;
    let table = create(&connect(&server).await).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", closed.local_addr().unwrap());
    let catalog = connect(&server).await;
    drop(closed);

    let error = connect_with(RestSettings::new(uri, "lakehouse")).await.unwrap_err();

    assert!(error.is_retryable(), "{error}");
    assert_eq!(class(&commit(&catalog, &table).await), "applied");
}

#[tokio::test]
async fn one_token_serves_many_requests_and_the_login_is_as_polaris_wants_it() {
    let server = Server::start().await;
    server.set_token_life(3600);
    let realm = RestSettings { realm: Some("music".to_owned()), ..settings(&server) };
    let catalog = connect_with(realm).await.unwrap();

    create(&catalog).await;
    catalog.load_table(TABLE).await.unwrap();

    let logins = server.seen("oauth/tokens");
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(
        logins[0].body,
        "grant_type=client_credentials&client_id=worker&client_secret=hush%2Bhush+%26%3D&scope=PRINCIPAL_ROLE%3AALL"
    );
    let loads = server.seen("GET /api/catalog/v1/namespaces/streamify/tables/plays");
    assert_eq!(loads[0].headers["authorization"], "Bearer token-1");
    assert!(server.seen("").iter().all(|seen| seen.headers["polaris-realm"] == "music"));
    assert_eq!(server.seen("v1/config")[0].path, "/api/catalog/v1/config?warehouse=lake%20house");
}

#[tokio::test]
async fn a_token_that_has_run_out_is_renewed_before_it_is_used() {
    let server = Server::start().await;
    server.set_token_life(0);
    let catalog = connect(&server).await;

    catalog.load_table(TABLE).await.unwrap();

    let loads = server.seen("tables/plays");
    assert_eq!(loads[0].headers["authorization"], "Bearer token-2");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_commit_sent_again() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    let table = create(&catalog).await;
    server.plan("POST /api/catalog/v1/namespaces/streamify/tables/plays", [Reply::status(401)]);

    commit(&catalog, &table).await.unwrap();

    let commits = server.seen("POST /api/catalog/v1/namespaces/streamify/tables/plays");
    let tokens: Vec<_> = commits.iter().map(|seen| seen.headers["authorization"].as_str()).collect();
    assert_eq!(tokens, ["Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn a_token_that_is_refused_twice_is_a_refusal() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    let table = create(&catalog).await;
    server.plan(
        "tables/plays",
        [Reply::status(401), Reply::status(401), Reply::status(401), Reply::status(401)],
    );

    let load = catalog.load_table(TABLE).await;
    let result = commit(&catalog, &table).await;

    assert!(matches!(load, Err(CatalogError::Unauthorized(_))), "{load:?}");
    assert_eq!(class(&result), "rejected");
}

#[tokio::test]
async fn wrong_credentials_are_reported_with_the_client_but_not_its_secret() {
    let server = Server::start().await;
    let answer = json!({"error": "unauthorized_client", "error_description": "The client is not authorized"});
    server.plan("oauth", [Reply::Send { status: 401, headers: Vec::new(), body: answer.to_string() }]);

    let error = connect_with(settings(&server)).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "catalog refused the credentials: client `worker` cannot log in: unauthorized_client: The client is not \
         authorized (status 401)"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_login_that_fails_for_the_moment_leaves_the_commit_unsent() {
    let server = Server::start().await;
    server.set_token_life(0);
    let catalog = connect(&server).await;
    let table = create(&catalog).await;
    server.plan("oauth", [Reply::HangUp, Reply::status(500)]);

    let results = [commit(&catalog, &table).await, commit(&catalog, &table).await];

    assert_eq!(results.each_ref().map(class), ["unavailable", "unavailable"]);
    assert_eq!(server.property(TABLE, "mark"), None);
}

#[tokio::test]
async fn without_a_client_no_token_is_asked_for_or_sent() {
    let server = Server::start().await;
    let catalog = connect_with(RestSettings::new(&server.uri, "lakehouse")).await.unwrap();

    catalog.load_table(TABLE).await.unwrap();

    assert!(server.seen("oauth").is_empty());
    assert!(server.seen("").iter().all(|seen| !seen.headers.contains_key("authorization")));
}

#[tokio::test]
async fn a_load_is_repeated_when_the_catalog_is_away_for_a_moment() {
    let server = Server::start().await;
    let catalog = connect(&server).await;
    create(&catalog).await;
    server.plan("GET /api/catalog/v1/namespaces", [Reply::status(503), Reply::HangUp]);

    assert!(catalog.load_table(TABLE).await.unwrap().is_some());
}

#[tokio::test]
async fn an_unchanged_table_is_not_sent_again() {
    let server = Server::start().await;
    server.send_etags();
    let catalog = connect(&server).await;
    let created = create(&catalog).await;

    let first = catalog.load_table(TABLE).await.unwrap().unwrap();
    commit(&catalog, &created).await.unwrap();
    let second = catalog.load_table(TABLE).await.unwrap().unwrap();

    assert!(Arc::ptr_eq(&created.metadata, &first.metadata), "answered by 304");
    assert_eq!(second.metadata.properties()["mark"], "set");
    let marks: Vec<_> =
        server.seen("GET").iter().filter_map(|seen| seen.headers.get("if-none-match").cloned()).collect();
    assert_eq!(marks, ["\"0\"", "\"0\""]);
}

#[tokio::test]
async fn vended_credentials_are_asked_for_only_if_the_settings_say_so() {
    let server = Server::start().await;
    create(&connect(&server).await).await;
    let asking = RestSettings { vended_credentials: true, ..settings(&server) };
    connect_with(asking).await.unwrap().load_table(TABLE).await.unwrap();

    let headers: Vec<_> = server
        .seen("/tables")
        .iter()
        .map(|seen| seen.headers.get("x-iceberg-access-delegation").cloned())
        .collect();

    assert_eq!(headers, [None, Some("vended-credentials".to_owned())]);
}

#[tokio::test]
async fn a_namespace_is_created_only_if_it_is_missing_and_may_appear_meanwhile() {
    let server = Server::start().await;
    let catalog = connect(&server).await;

    catalog.ensure_namespace().await.unwrap();
    catalog.ensure_namespace().await.unwrap();
    assert_eq!(server.seen("POST /api/catalog/v1/namespaces").len(), 1);
    server.plan("GET /api/catalog/v1/namespaces", [Reply::status(404)]);
    server.plan("POST /api/catalog/v1/namespaces", [Reply::status(409)]);

    catalog.ensure_namespace().await.unwrap();
}

#[tokio::test]
async fn tables_are_listed_over_all_pages() {
    let server = Server::start().await;
    let page = |names: &[&str], next: Option<&str>| {
        let identifiers: Vec<_> =
            names.iter().map(|name| json!({"namespace": ["streamify"], "name": name})).collect();
        let body = json!({"identifiers": identifiers, "next-page-token": next});
        Reply::Send { status: 200, headers: Vec::new(), body: body.to_string() }
    };
    server.plan("/tables", [page(&["c", "a"], Some("p/2")), page(&["b"], None)]);
    let catalog = connect(&server).await;

    assert_eq!(catalog.list_tables().await.unwrap(), ["a", "b", "c"]);
    assert_eq!(server.seen("/tables")[1].path, "/api/catalog/v1/namespaces/streamify/tables?pageToken=p%2F2");
}

#[tokio::test]
async fn the_prefix_that_the_catalog_tells_is_used() {
    let server = Server::start().await;
    server.set_config(json!({"defaults": {}, "overrides": {"prefix": "lakehouse"}}));

    connect(&server).await.load_table(TABLE).await.unwrap();

    assert_eq!(
        server.seen("/tables/")[0].path,
        "/api/catalog/v1/lakehouse/namespaces/streamify/tables/plays"
    );
}

#[tokio::test]
async fn missing_columns_are_added_even_if_an_answer_is_lost_and_someone_interferes() {
    let server = Server::start().await;
    let lake = Lake::new(Arc::new(connect(&server).await));
    let narrow = TableSpec { columns: plays().columns.split_off(4), sort_key: Vec::new(), ..plays() };
    lake.ensure_table(&narrow).await.unwrap();
    server.plan(
        "POST /api/catalog/v1/namespaces/streamify/tables/plays",
        [Reply::status(409), Reply::BreakOff],
    );

    let table = lake.ensure_table(&plays()).await.unwrap();

    let names: Vec<_> =
        table.metadata.current_schema().as_struct().fields().iter().map(|field| field.name.clone()).collect();
    assert_eq!(names, ["event_ts", "event_date", "userId", "song", "length", "level"]);
    assert_eq!(table.metadata.schemas_iter().len(), 2, "the lost answer did not lead to a second addition");
}
