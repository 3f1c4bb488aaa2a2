use serde_json::json;

use super::*;

fn table(name: &str, figures: Value) -> TableReport {
    serde_json::from_value::<serde_json::Map<String, Value>>(figures)
        .map(|figures| TableReport { table: name.to_owned(), figures })
        .unwrap()
}

fn report(tables: Vec<TableReport>) -> Report {
    Report {
        job: "compact",
        exit_reason: "done".into(),
        dry_run: false,
        binary_version: "0",
        seconds: 1.5,
        tables,
    }
}

fn two() -> Report {
    report(vec![
        table(
            "a",
            json!({"files_added": 1, "bytes_added": 1500, "rows": 1234, "lost": 0, "snapshot_id": 81, "seconds": 0.5}),
        ),
        table(
            "b",
            json!({"files_added": 2, "bytes_added": 0, "rows": 1, "lost": 0, "snapshot_id": null, "seconds": 0.25}),
        ),
    ])
}

#[test]
fn the_text_has_a_line_per_table_and_leaves_out_what_is_zero_everywhere() {
    assert_eq!(
        two().text(),
        "table  bytes added  files added   rows  seconds\n\
         a           1.5 kB            1  1,234      0.5\n\
         b              0 B            2      1      0.2\n\
         compact: done, 1.5 s\n"
    );
    assert_eq!(report(Vec::new()).text(), "compact: done, 1.5 s\n");
}

#[test]
fn metadata_of_one_table_has_the_figures_by_name_and_type() {
    let report = report(vec![two().tables[0].clone()]);

    let metadata = serde_json::to_value(report.metadata()).unwrap();

    assert_eq!(metadata["rows"], json!({"raw_value": 1234, "type": "int"}));
    assert_eq!(metadata["seconds"], json!({"raw_value": 0.5, "type": "float"}));
    assert_eq!(metadata["snapshot_id"], json!({"raw_value": "81", "type": "text"}));
    assert_eq!(metadata["table"], json!({"raw_value": "a", "type": "text"}));
    assert_eq!(metadata["exit_reason"], json!({"raw_value": "done", "type": "text"}));
}

#[test]
fn metadata_of_several_tables_has_sums_and_a_table() {
    let metadata = serde_json::to_value(two().metadata()).unwrap();

    assert_eq!(metadata["rows"], json!({"raw_value": 1235, "type": "int"}));
    assert_eq!(metadata["seconds"], json!({"raw_value": 1.5, "type": "float"}));
    assert!(metadata.get("snapshot_id").is_none());
    let records = &metadata["tables"]["raw_value"]["records"];
    assert_eq!(records[0]["table"], "a");
    assert_eq!((&records[0]["snapshot_id"], &records[1]["snapshot_id"]), (&json!("81"), &Value::Null));
}

#[test]
fn of_several_assets_each_hears_of_its_table_and_a_run_that_failed_hides_nothing_that_is_done() {
    let keys = ["lake/a", "lake/c"].map(str::to_owned);
    let told = |report: &Report, keys: &[String]| -> Vec<String> {
        report.materializations(keys).into_iter().map(|(key, _)| key.to_owned()).collect()
    };
    let stopped = Report { exit_reason: "stopped".into(), ..two() };

    assert_eq!(told(&two(), &keys), ["lake/a"]);
    assert_eq!(told(&stopped, &keys), ["lake/a"]);
    assert_eq!(told(&two(), &keys[..1]), ["lake/a"]);
    assert!(told(&stopped, &keys[..1]).is_empty());
    assert!(told(&Report { dry_run: true, ..two() }, &keys).is_empty());
}
