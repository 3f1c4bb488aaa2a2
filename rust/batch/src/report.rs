//! What a run of a job did, for a terminal, for a file, and for Dagster.
//!
//! The figures are those of the job's own report, by their names there; how one is shown follows from its name: `bytes_…` are
//! sizes, `…_id` are texts for Dagster (its pages round large integers).

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use streamify_pipes::{Cell, Column, Metadata, MetadataValue, Table};
use streamify_runtime::figures::{grouped, size};

use crate::jobs::TableReport;

/// Why a run ended, if it did all that was asked for.
pub const DONE: &str = "done";

/// Everything a run has done.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The job.
    pub job: &'static str,
    /// Why it ended: [`DONE`], `stopped`, or `failed: …`.
    pub exit_reason: String,
    /// Whether it only said what it would do.
    pub dry_run: bool,
    /// Version of the program.
    pub binary_version: &'static str,
    /// Seconds since the start.
    pub seconds: f64,
    /// Tables that are done, in the order of the work.
    pub tables: Vec<TableReport>,
}

impl Report {
    /// What is to be told of which asset. A step with one asset hears of the whole run, once all of it is done; of several
    /// assets each that is named like a table that is done hears of that table.
    pub fn materializations<'a>(&self, asset_keys: &'a [String]) -> Vec<(&'a str, Metadata)> {
        match asset_keys {
            _ if self.dry_run => Vec::new(),
            [key] if self.exit_reason == DONE => vec![(key, self.metadata())],
            [_] => Vec::new(),
            keys => {
                let named = |key: &str| {
                    let name = key.rsplit('/').next().unwrap_or(key);
                    self.tables.iter().find(|table| table.table == name)
                };
                let told = keys.iter().filter_map(|key| Some((key.as_str(), named(key)?)));
                told.map(|(key, table)| (key, self.table_metadata(table))).collect()
            }
        }
    }

    /// The metadata of a materialization that stands for the whole run: the figures of its only table, or sums.
    pub fn metadata(&self) -> Metadata {
        match self.tables.as_slice() {
            [table] => self.table_metadata(table),
            tables => {
                let names = self.names().into_iter().filter_map(|name| {
                    let sum: Option<u64> =
                        tables.iter().map(|table| table.figures.get(name).and_then(Value::as_u64)).sum();
                    Some((name, MetadataValue::count(sum.filter(|_| !is_id(name))?)))
                });
                self.common(names.collect()).with("tables", MetadataValue::table(self.tables_table()))
            }
        }
    }

    /// The metadata of one table's materialization.
    pub fn table_metadata(&self, table: &TableReport) -> Metadata {
        let figures = table.figures.iter().map(|(name, value)| match value {
            Value::Number(id) if is_id(name) => (name, MetadataValue::text(id.to_string())),
            value => (name, MetadataValue::json(value.clone())),
        });
        self.common(figures.collect()).text("table", table.table.as_str())
    }

    fn common(&self, figures: Metadata) -> Metadata {
        let mut figures = figures;
        if !self.tables.iter().any(|table| table.figures.contains_key("seconds")) || self.tables.len() != 1 {
            figures.insert("seconds", MetadataValue::float(self.seconds));
        }
        figures
            .text("job", self.job)
            .text("exit_reason", self.exit_reason.as_str())
            .bool("dry_run", self.dry_run)
            .text("binary_version", self.binary_version)
    }

    /// Names of the plain figures, in the order of their first appearance.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for table in &self.tables {
            for (name, value) in &table.figures {
                if !value.is_object() && !value.is_array() && !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
        names
    }

    fn tables_table(&self) -> Table {
        let names = self.names();
        let kind = |name: &str| match self.tables.iter().find_map(|table| table.figures.get(name)) {
            Some(Value::Number(number)) if number.is_f64() => "float",
            Some(Value::Number(_)) if !is_id(name) => "int",
            Some(Value::Bool(_)) => "bool",
            _ => "string",
        };
        let columns = std::iter::once(Column::new("table", "string"))
            .chain(names.iter().map(|name| Column::new(*name, kind(name))));
        self.tables.iter().fold(Table::new(columns), |rows, table| {
            let cells = names.iter().map(|name| cell(name, table.figures.get(*name)));
            rows.row(std::iter::once(Cell::from(table.table.as_str())).chain(cells))
        })
    }

    /// The report for a terminal: a line per table. Figures that are zero everywhere are left out.
    pub fn text(&self) -> String {
        let said =
            |value: &Value| !value.is_null() && *value != Value::Bool(false) && value.as_f64() != Some(0.0);
        let names: Vec<&str> = self
            .names()
            .into_iter()
            .filter(|name| !is_id(name) && self.tables.iter().filter_map(|t| t.figures.get(*name)).any(said))
            .collect();
        let mut lines: Vec<Vec<String>> = vec![vec!["table".to_owned()]];
        lines[0].extend(names.iter().map(|name| name.replace('_', " ")));
        for table in &self.tables {
            let mut line = vec![table.table.clone()];
            line.extend(names.iter().map(|name| shown(name, table.figures.get(*name))));
            lines.push(line);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=names.len()).map(width).collect();
        let mut text = String::new();
        for line in lines.iter().filter(|_| !self.tables.is_empty()) {
            let _ = write!(text, "{:1$}", line[0], widths[0]);
            for (cell, width) in line.iter().zip(&widths).skip(1) {
                let _ = write!(text, "  {cell:>width$}");
            }
            text.push('\n');
        }
        let dry = if self.dry_run { " (dry run: nothing was changed)" } else { "" };
        let _ = writeln!(text, "{}: {}{dry}, {:.1} s", self.job, self.exit_reason, self.seconds);
        text
    }
}

fn is_id(name: &str) -> bool {
    name.ends_with("_id")
}

fn cell(name: &str, value: Option<&Value>) -> Cell {
    match value {
        None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => Cell::Null,
        Some(Value::Bool(flag)) => Cell::from(*flag),
        Some(Value::String(text)) => Cell::from(text.as_str()),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) if !is_id(name) => Cell::from(integer),
            (None, Some(float)) if number.is_f64() => Cell::from(float),
            _ => Cell::from(number.to_string()),
        },
    }
}

fn shown(name: &str, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => match value.as_u64() {
            Some(bytes) if name.starts_with("bytes") || name.ends_with("bytes") => size(bytes),
            Some(count) => grouped(count),
            None => value.as_f64().map_or_else(|| value.to_string(), |float| format!("{float:.1}")),
        },
    }
}

#[cfg(test)]
mod tests;
