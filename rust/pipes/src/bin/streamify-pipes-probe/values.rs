//! What the probe reports as metadata.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use streamify_pipes::{Cell, Column, ColumnLineage, Metadata, MetadataValue, Table};

/// A named set of metadata.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// The thirteen of the conformance suite.
    Known,
    /// The kinds that it leaves out, and the ends of the ranges.
    Rich,
    /// None.
    #[default]
    Empty,
}

impl Values {
    /// Returns the metadata of this set.
    pub fn metadata(self) -> Metadata {
        match self {
            Self::Known => known(),
            Self::Rich => rich(),
            Self::Empty => Metadata::new(),
        }
    }
}

/// Returns the thirteen values that the conformance suite knows.
pub fn known() -> Metadata {
    let nested = json!({"quux": {"a": 1, "b": 2}, "corge": null, "qux": [1, 2, 3], "foo": "bar", "baz": 1});
    Metadata::new()
        .bool("bool_true", true)
        .bool("bool_false", false)
        .float("float", 0.1)
        .int("int", 1)
        .with("url", MetadataValue::url("https://dagster.io"))
        .with("path", MetadataValue::path("/dev/null"))
        .with("null", MetadataValue::null())
        .with("md", MetadataValue::md("**markdown**"))
        .json("json", nested)
        .text("text", "hello")
        .with("asset", MetadataValue::asset("foo/bar"))
        .with("dagster_run", MetadataValue::dagster_run("db892d7f-0031-4747-973d-22e8b9095d9d"))
        .with("notebook", MetadataValue::notebook("notebook.ipynb"))
}

fn columns() -> [Column; 2] {
    let page = Column::new("page", "string").description("what was shown").tag("unit", "none").required();
    [page.unique().constraint("page != ''"), Column::new("share", "double")]
}

fn rich() -> Metadata {
    let table = Table::new(columns())
        .row(["Next \u{1f3b5}".into(), 0.5.into()])
        .row([Cell::Null, f64::NAN.into()])
        .row([7_i64.into(), true.into()]);
    let lineage =
        ColumnLineage::new().depends("page", r"bronze/listen\/events", "page").depends("page", "other", "x");
    Metadata::new()
        .with("table", MetadataValue::table(table))
        .column_schema(columns())
        .with("dagster/column_lineage", MetadataValue::table_column_lineage(lineage))
        .with("timestamp", MetadataValue::timestamp_ms(1_700_000_000_500))
        .with("before_1970", MetadataValue::timestamp_ms(-2_000))
        .with("whole_float", MetadataValue::float(2.0))
        .with("large_float", MetadataValue::float(1e300))
        .with("nan", MetadataValue::float(f64::NAN))
        .with("infinity", MetadataValue::float(f64::INFINITY))
        .with("seconds", MetadataValue::seconds(Duration::from_millis(1500)))
        .int("least_int", i64::MIN)
        .count("most_count", u64::MAX)
        .json("json_text", "plain")
        .json("json_number", 7)
        .json("json_list", json!([1.0, null, "x"]))
        .text("text", "\u{fc} \u{1f3b5} \\ \"quoted\"\n\u{2028}")
        .text("empty", "")
}
