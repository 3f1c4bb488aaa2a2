//! Tables as metadata: rows of flat cells, columns, and where columns come from.
//!
//! A row cannot be nested and always has a cell for each column: cells are scalars, missing ones null, surplus ones left out.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::context::asset_key_parts;

/// A cell of a table row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Text.
    Text(String),
    /// An integer.
    Int(i64),
    /// A float; written as null if it is not finite.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Nothing.
    Null,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

/// A column: name, type as text, and what else is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    name: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<Constraints>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Constraints {
    nullable: bool,
    unique: bool,
    other: Vec<String>,
}

impl Column {
    /// Returns a column of this name and type.
    pub fn new(name: impl Into<String>, column_type: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            r#type: column_type.into(),
            description: None,
            tags: BTreeMap::new(),
            constraints: None,
        }
    }

    /// Adds a description.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Says that the column holds no nulls.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.constraints_mut().nullable = false;
        self
    }

    /// Says that no value stands twice.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.constraints_mut().unique = true;
        self
    }

    /// Adds a constraint in words.
    #[must_use]
    pub fn constraint(mut self, text: impl Into<String>) -> Self {
        self.constraints_mut().other.push(text.into());
        self
    }

    fn constraints_mut(&mut self) -> &mut Constraints {
        self.constraints.get_or_insert(Constraints { nullable: true, unique: false, other: Vec::new() })
    }
}

/// The columns of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TableSchema {
    columns: Vec<Column>,
}

impl TableSchema {
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect() }
    }
}

/// A small table: columns and rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Returns a table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row, cells in the order of the columns; missing cells are null, surplus ones are left out.
    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        cells.resize(self.columns.len(), Cell::Null);
        self.rows.push(cells);
        self
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Table", 2)?;
        object.serialize_field("records", &Records(self))?;
        // Dagster takes the columns bare here; in a `table_schema` they stand under `columns`.
        object.serialize_field("schema", &self.columns)?;
        object.end()
    }
}

struct Records<'a>(&'a Table);

impl Serialize for Records<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut records = serializer.serialize_seq(Some(self.0.rows.len()))?;
        for cells in &self.0.rows {
            records.serialize_element(&Record { columns: &self.0.columns, cells })?;
        }
        records.end()
    }
}

struct Record<'a> {
    columns: &'a [Column],
    cells: &'a [Cell],
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serializer.serialize_map(Some(self.cells.len()))?;
        for (column, cell) in self.columns.iter().zip(self.cells) {
            record.serialize_entry(&column.name, cell)?;
        }
        record.end()
    }
}

/// A column of another asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDependency {
    /// Key of the asset, escaped as in a report. Dagster takes text here as a key of a single part, so the parts are written.
    #[serde(serialize_with = "parts_of_key")]
    pub asset_key: String,
    /// Name of its column.
    pub column_name: String,
}

fn parts_of_key<S: Serializer>(asset_key: &str, serializer: S) -> Result<S::Ok, S::Error> {
    asset_key_parts(asset_key).serialize(serializer)
}

/// Which columns each column was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ColumnLineage {
    deps_by_column: BTreeMap<String, Vec<ColumnDependency>>,
}

impl ColumnLineage {
    /// Returns a lineage without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `column` was made from `column_name` of the asset `asset_key` (escaped as in a report), among others.
    #[must_use]
    pub fn depends(
        mut self,
        column: impl Into<String>,
        asset_key: impl Into<String>,
        column_name: impl Into<String>,
    ) -> Self {
        let dependency = ColumnDependency { asset_key: asset_key.into(), column_name: column_name.into() };
        self.deps_by_column.entry(column.into()).or_default().push(dependency);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_flat_and_have_a_cell_for_each_column() {
        let table = Table::new([Column::new("page", "string"), Column::new("share", "double")])
            .row(["NextSong".into(), 0.5.into()])
            .row(["Home".into()])
            .row(["Help".into(), f64::NAN.into(), true.into()]);

        assert_eq!(
            serde_json::to_value(&table).unwrap(),
            json!({
                "records": [
                    {"page": "NextSong", "share": 0.5},
                    {"page": "Home", "share": null},
                    {"page": "Help", "share": null}
                ],
                "schema": [{"name": "page", "type": "string"}, {"name": "share", "type": "double"}]
            })
        );
    }

    #[test]
    fn a_column_says_what_is_known_of_it() {
        let column =
            Column::new("ts", "long").description("event time").tag("unit", "ms").required().unique();

        assert_eq!(
            serde_json::to_value(TableSchema::new([column.constraint("ts > 0")])).unwrap(),
            json!({"columns": [{
                "name": "ts", "type": "long", "description": "event time", "tags": {"unit": "ms"},
                "constraints": {"nullable": false, "unique": true, "other": ["ts > 0"]}
            }]})
        );
    }

    #[test]
    fn lineage_lists_the_columns_behind_each_column() {
        let lineage = ColumnLineage::new().depends("a", "bronze/x", "b").depends("a", "bronze/y", "c");

        assert_eq!(
            serde_json::to_value(&lineage).unwrap(),
            json!({"deps_by_column": {"a": [
                {"asset_key": ["bronze", "x"], "column_name": "b"}, {"asset_key": ["bronze", "y"], "column_name": "c"}
            ]}})
        );
    }
}
