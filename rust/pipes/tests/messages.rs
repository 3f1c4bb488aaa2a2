//! Whatever is reported, a strict reader accepts each line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic in a test is the report")]

mod common;

use std::error::Error;
use std::fmt;

use common::{FileChannel, assert_whole_session, check_message, methods};
use proptest::prelude::*;
use serde_json::{Value, json};
use streamify_pipes::{
    Cell, Column, ColumnLineage, ExceptionInfo, Level, Metadata, MetadataValue, Options, Pipes, Severity,
    Stream, Table,
};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,20}", any::<String>(), Just("\u{2028}\r\n\0🎵".to_owned())]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any_text(), inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        any_text().prop_map(Cell::from),
        any::<i64>().prop_map(Cell::from),
        any::<f64>().prop_map(Cell::from),
        any::<bool>().prop_map(Cell::from),
        Just(Cell::Null),
    ]
}

fn any_column() -> impl Strategy<Value = Column> {
    (any_text(), any_text(), any::<[bool; 4]>()).prop_map(|(name, kind, flags)| {
        let mut column = Column::new(name, kind);
        if flags[0] {
            column = column.description("what it is").tag("unit", "ms");
        }
        if flags[1] {
            column = column.required();
        }
        if flags[2] {
            column = column.unique();
        }
        if flags[3] { column.constraint("positive") } else { column }
    })
}

fn any_value() -> impl Strategy<Value = MetadataValue> {
    let columns = || prop::collection::vec(any_column(), 0..4);
    let rows = prop::collection::vec(prop::collection::vec(any_cell(), 0..6), 0..4);
    prop_oneof![
        any_text().prop_map(MetadataValue::text),
        any_text().prop_map(MetadataValue::url),
        any_text().prop_map(MetadataValue::path),
        any_text().prop_map(MetadataValue::notebook),
        any_text().prop_map(MetadataValue::md),
        any_text().prop_map(MetadataValue::dagster_run),
        any_text().prop_map(MetadataValue::asset),
        any_json().prop_map(MetadataValue::json),
        any::<i64>().prop_map(MetadataValue::int),
        any::<u64>().prop_map(MetadataValue::count),
        any::<f64>().prop_map(MetadataValue::float),
        any::<bool>().prop_map(MetadataValue::bool),
        Just(MetadataValue::null()),
        any::<i64>().prop_map(MetadataValue::timestamp_ms),
        columns().prop_map(MetadataValue::table_schema),
        (columns(), rows).prop_map(|(columns, rows)| {
            MetadataValue::table(rows.into_iter().fold(Table::new(columns), Table::row))
        }),
        (any_text(), any_text()).prop_map(|(column, asset)| {
            MetadataValue::table_column_lineage(ColumnLineage::new().depends(column, asset, "c"))
        }),
    ]
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    prop::collection::vec((any_text(), any_value()), 0..6).prop_map(Metadata::from_iter)
}

/// An error with that many causes behind it.
#[derive(Debug)]
struct Chained {
    text: String,
    source: Option<Box<Chained>>,
}

impl fmt::Display for Chained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Error for Chained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

fn any_exception() -> impl Strategy<Value = ExceptionInfo> {
    let texts = prop::collection::vec(any_text(), 1..20);
    (texts, prop::collection::vec(any_text(), 0..4)).prop_map(|(texts, stack)| {
        let link = |source: Option<Box<Chained>>, text: String| Some(Box::new(Chained { text, source }));
        let chain = texts.into_iter().fold(None, link).unwrap();
        ExceptionInfo::from_error(&*chain).with_stack(stack)
    })
}

#[derive(Debug, Clone)]
enum Report {
    Log(Level, String),
    Stream(Stream, String),
    Materialization(Metadata, Option<String>),
    Check(String, bool, Severity, Metadata),
    Custom(Value),
}

fn any_report() -> impl Strategy<Value = Report> {
    use Level::{Critical, Debug, Error, Info, Warning};
    let level = prop::sample::select(vec![Debug, Info, Warning, Error, Critical]);
    let stream = prop::sample::select(vec![Stream::Stdout, Stream::Stderr]);
    let severity = prop::sample::select(vec![Severity::Warn, Severity::Error]);
    prop_oneof![
        (level, any_text()).prop_map(|(level, text)| Report::Log(level, text)),
        (stream, any_text()).prop_map(|(stream, text)| Report::Stream(stream, text)),
        (any_metadata(), prop::option::of(any_text())).prop_map(|(m, v)| Report::Materialization(m, v)),
        (any_text(), any::<bool>(), severity, any_metadata())
            .prop_map(|(name, passed, severity, m)| Report::Check(name, passed, severity, m)),
        any_json().prop_map(Report::Custom),
    ]
}

fn report(pipes: &Pipes, index: usize, report: Report) {
    let asset = format!("asset/{index}");
    match report {
        Report::Log(level, text) => pipes.log(level, &text),
        Report::Stream(stream, text) => pipes.external_stream(stream, &text),
        Report::Materialization(metadata, version) => {
            pipes.report_materialization(&asset, metadata, version.as_deref()).unwrap();
        }
        Report::Check(name, passed, severity, metadata) => {
            pipes.report_check(&asset, &name, passed, severity, metadata).unwrap();
        }
        Report::Custom(payload) => pipes.report_custom(payload).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn a_strict_reader_accepts_whatever_is_reported(
        reports in prop::collection::vec(any_report(), 0..20),
        failure in prop::option::of(any_exception()),
        extras in prop::collection::hash_map(any_text(), any_json(), 0..4),
    ) {
        let channel = FileChannel::new();
        let num_reports = reports.len();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let bootstrap = channel.bootstrap(json!({"run_id": "r", "asset_keys": null}));
            let options = Options { opened_extras: extras.into_iter().collect(), ..Options::default() };
            let pipes = Pipes::open(&bootstrap, options).await.unwrap();
            for (index, next) in reports.into_iter().enumerate() {
                report(&pipes, index, next);
            }
            pipes.close(failure.as_ref().map_or(Ok(()), Err)).await.unwrap();
        });

        let messages = channel.messages();

        assert_whole_session(&messages);
        prop_assert_eq!(messages.len(), num_reports + 2);
    }
}

#[tokio::test]
async fn the_values_that_the_conformance_suite_knows_are_written_as_it_expects() {
    let channel = FileChannel::new();
    let pipes = channel.open(json!({"run_id": "r", "asset_keys": ["my_asset"]})).await;
    let metadata = Metadata::new()
        .float("float", 0.1)
        .int("int", 1)
        .with("url", MetadataValue::url("https://dagster.io"))
        .with("asset", MetadataValue::asset("foo/bar"))
        .with("null", MetadataValue::null())
        .json("json", json!({"quux": {"a": 1}, "qux": [1, 2, 3]}));

    pipes.report_materialization("my_asset", metadata, Some("alpha")).unwrap();
    pipes.close(Ok(())).await.unwrap();

    let messages = channel.messages();
    assert_eq!(methods(&messages), ["opened", "report_asset_materialization", "closed"]);
    assert_eq!(
        messages[1]["params"],
        json!({"asset_key": "my_asset", "data_version": "alpha", "metadata": {
            "float": {"raw_value": 0.1, "type": "float"},
            "int": {"raw_value": 1, "type": "int"},
            "url": {"raw_value": "https://dagster.io", "type": "url"},
            "asset": {"raw_value": "foo/bar", "type": "asset"},
            "null": {"raw_value": null, "type": "null"},
            "json": {"raw_value": {"quux": {"a": 1}, "qux": [1, 2, 3]}, "type": "json"}
        }})
    );
}

#[test]
fn the_strict_reader_refuses_what_ends_the_stock_one() {
    let metadata = |raw: Value, kind: &str| json!({"asset_key": "a", "data_version": null, "metadata": {"x": {"raw_value": raw, "type": kind}}});
    let materialization = "report_asset_materialization";
    let broken = [
        ("report_asset_observation", json!({})),
        ("log", json!({"message": "x", "level": "INFO", "extra": 1})),
        ("log", json!({"message": "x", "level": "TRACE"})),
        ("closed", json!({"exception": null})),
        ("closed", json!({"exception": {"message": "x", "stack": [], "name": null, "cause": null}})),
        ("log_external_stream", json!({"stream": "stdin", "text": "x", "extras": {}})),
        ("report_asset_materialization", json!({"asset_key": "a", "metadata": null})),
        ("report_asset_check", json!({"asset_key": "a", "check_name": "c", "passed": true, "metadata": {}})),
        (
            "report_asset_check",
            json!({"asset_key": "a", "check_name": "c", "passed": true, "severity": "WARN"}),
        ),
        (materialization, json!({"asset_key": "a", "data_version": null, "metadata": {"x": 1}})),
        ("report_custom_message", json!({"payload": 1, "seq": 1})),
        ("log", json!(null)),
        (materialization, metadata(json!(1), "float")),
        (materialization, metadata(json!(1.0), "int")),
        (materialization, metadata(json!("x"), "json")),
        (materialization, metadata(json!("now"), "timestamp")),
        (materialization, metadata(json!("j"), "job")),
        (materialization, metadata(json!({"records": [{"a": {"b": 1}}], "schema": []}), "table")),
    ];
    for (method, params) in broken {
        let message = json!({"__dagster_pipes_version": "0.1", "method": method, "params": params,
            "seq": 1, "ts": 1, "writer": "w"});

        assert!(check_message(&message).is_err(), "{message}");
    }
    for line in ["1", "[]", r#"{"method": "opened", "params": {"extras": {}}}"#] {
        assert!(check_message(&serde_json::from_str(line).unwrap()).is_err(), "{line}");
    }
}
