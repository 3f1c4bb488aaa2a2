//! How a summary is shown: to Dagster as typed metadata, to people as a table.

use std::fmt::Write as _;

use streamify_pipes::{Cell, Column, Metadata, MetadataValue, Table};
use streamify_runtime::figures::{grouped, size};

use crate::report::{Summary, TopicSummary};

impl Summary {
    /// Returns the summary as metadata of a Dagster materialization.
    pub fn metadata(&self) -> Metadata {
        let total = &self.total;
        Metadata::new()
            .count("rows", total.rows)
            .count("dead_letters", total.dead_letters)
            .count("received", total.received)
            .count("skipped_by_broker", total.skipped_by_broker)
            .int("unaccounted", total.unaccounted)
            .count("files", total.files)
            .count("size_bytes", total.size_bytes)
            .count("commits", total.commits)
            .float("seconds", self.seconds)
            .float("freshness_seconds", total.freshness_seconds.unwrap_or(f64::NAN))
            .text("exit_reason", self.exit_reason.clone())
            .with("topics", MetadataValue::table(self.topics_table()))
            .with("offsets", MetadataValue::table(self.offsets_table()))
            .with("ledger", MetadataValue::table(self.ledger_table()))
            .json("snapshot_ids", serde_json::to_value(&self.snapshot_ids).unwrap_or_default())
            .text("binary_version", self.binary_version)
    }

    fn topics_table(&self) -> Table {
        let columns = [
            ("topic", "string"),
            ("table", "string"),
            ("rows", "int"),
            ("dead_letters", "int"),
            ("files", "int"),
            ("size_bytes", "int"),
            ("commits", "int"),
            ("snapshot_id", "string"),
            ("seconds", "float"),
            ("freshness", "float"),
        ];
        self.topics.iter().fold(table(&columns), |table, topic| {
            table.row([
                Cell::from(topic.topic.as_str()),
                Cell::from(topic.table.as_str()),
                count(topic.rows),
                count(topic.dead_letters),
                count(topic.files),
                count(topic.size_bytes),
                count(topic.commits),
                topic.snapshot_id.map_or(Cell::Null, |id| Cell::from(id.to_string())),
                Cell::from(topic.seconds),
                topic.freshness_seconds.map_or(Cell::Null, Cell::from),
            ])
        })
    }

    fn offsets_table(&self) -> Table {
        let columns = [
            ("topic", "string"),
            ("epoch", "int"),
            ("partition", "int"),
            ("from", "int"),
            ("to", "int"),
            ("rows", "int"),
        ];
        self.offsets.iter().fold(table(&columns), |table, offset| {
            table.row([
                Cell::from(offset.topic.as_str()),
                Cell::from(i64::from(offset.epoch)),
                Cell::from(i64::from(offset.partition)),
                Cell::from(offset.from),
                Cell::from(offset.to),
                count(offset.rows),
            ])
        })
    }

    fn ledger_table(&self) -> Table {
        let columns = [
            ("topic", "string"),
            ("received", "int"),
            ("rows", "int"),
            ("dead_letters", "int"),
            ("skipped_by_broker", "int"),
            ("unaccounted", "int"),
        ];
        self.topics.iter().fold(table(&columns), |table, topic| {
            table.row([
                Cell::from(topic.topic.as_str()),
                count(topic.received),
                count(topic.rows),
                count(topic.dead_letters),
                count(topic.skipped_by_broker),
                Cell::from(topic.unaccounted),
            ])
        })
    }

    /// Returns the summary for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let width = self.topics.iter().map(|topic| topic.table.len()).max().unwrap_or(0).max("table".len());
        let _ = writeln!(
            text,
            "{:width$} {:>12} {:>12} {:>8} {:>6} {:>10} {:>8} {:>10}",
            "table", "rows", "dead letters", "skipped", "files", "size", "commits", "freshness"
        );
        let total = TopicSummary { table: "total".to_owned(), ..self.total.clone() };
        for topic in self.topics.iter().chain([&total]) {
            let freshness =
                topic.freshness_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
            let _ = writeln!(
                text,
                "{:width$} {:>12} {:>12} {:>8} {:>6} {:>10} {:>8} {:>10}",
                topic.table,
                grouped(topic.rows),
                grouped(topic.dead_letters),
                grouped(topic.skipped_by_broker),
                topic.files,
                size(topic.size_bytes),
                topic.commits,
                freshness
            );
        }
        let _ = writeln!(
            text,
            "{} received, {} unaccounted, {:.1} s, {}",
            grouped(self.total.received),
            self.total.unaccounted,
            self.seconds,
            self.exit_reason
        );
        text
    }
}

fn table(columns: &[(&str, &str)]) -> Table {
    Table::new(columns.iter().map(|(name, kind)| Column::new(*name, *kind)))
}

fn count(number: u64) -> Cell {
    Cell::from(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn summary() -> Summary {
        let topic = TopicSummary {
            topic: "t".into(),
            table: "bronze_t".into(),
            rows: 1_234,
            received: 1_234,
            snapshot_id: Some(7),
            ..TopicSummary::default()
        };
        Summary {
            exit_reason: "caught up".into(),
            binary_version: "0",
            seconds: 1.5,
            first_commit_seconds: None,
            peak_buffer_bytes: 0,
            total: topic.clone(),
            topics: vec![topic],
            offsets: Vec::new(),
            snapshot_ids: BTreeMap::from([("bronze_t".to_owned(), [7].into())]),
        }
    }

    #[test]
    fn the_text_has_a_line_for_each_table_and_the_total() {
        let text = summary().text();

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("bronze_t") && lines[1].contains("1,234"), "{text}");
        assert!(lines[2].starts_with("total"), "{text}");
    }

    #[test]
    fn metadata_has_the_agreed_names_and_types() {
        let metadata = serde_json::to_value(summary().metadata()).unwrap();

        for name in [
            "rows",
            "dead_letters",
            "received",
            "skipped_by_broker",
            "unaccounted",
            "files",
            "size_bytes",
            "commits",
        ] {
            assert_eq!(metadata[name]["type"], "int", "{name}");
        }
        for name in ["seconds", "freshness_seconds"] {
            assert_eq!(metadata[name]["type"], "float", "{name}");
        }
        for name in ["topics", "offsets", "ledger"] {
            assert_eq!(metadata[name]["type"], "table", "{name}");
        }
        assert_eq!(metadata["snapshot_ids"]["raw_value"]["bronze_t"][0], 7);
        assert_eq!(metadata["topics"]["raw_value"]["records"][0]["snapshot_id"], "7");
        assert_eq!(metadata["exit_reason"]["raw_value"], "caught up");
    }
}
