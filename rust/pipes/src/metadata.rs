//! Metadata of a result: names with typed values.
//!
//! Dagster's reader fails for good on a value whose type and form do not agree (an integer where a float was declared, a bare
//! JSON scalar as `json`, a nested table record), so each kind has its own constructor and no other form can be built.
//!
//! A float is written with a decimal point or exponent; NaN and the infinities, which JSON does not have, become an empty (null)
//! float. A scalar given as JSON becomes the typed value of the same kind.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::table::{Column, ColumnLineage, Table, TableSchema};

/// One typed value.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataValue(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Text(String),
    Url(String),
    Path(String),
    Notebook(String),
    Markdown(String),
    /// An object or an array, never a scalar.
    Json(Value),
    Int(i64),
    /// Finite, or none.
    Float(Option<f64>),
    Bool(bool),
    Null,
    /// Seconds since 1970, finite.
    Timestamp(f64),
    DagsterRun(String),
    Asset(String),
    Table(Table),
    TableSchema(TableSchema),
    TableColumnLineage(ColumnLineage),
}

impl MetadataValue {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Kind::Text(text.into()))
    }

    /// A link.
    pub fn url(url: impl Into<String>) -> Self {
        Self(Kind::Url(url.into()))
    }

    /// A path in a file system.
    pub fn path(path: impl Into<String>) -> Self {
        Self(Kind::Path(path.into()))
    }

    /// The path of a notebook.
    pub fn notebook(path: impl Into<String>) -> Self {
        Self(Kind::Notebook(path.into()))
    }

    /// Markdown.
    pub fn md(text: impl Into<String>) -> Self {
        Self(Kind::Markdown(text.into()))
    }

    /// A JSON object or array; a scalar becomes the typed value of its kind, an integer above `i64::MAX` its text.
    pub fn json(value: impl Into<Value>) -> Self {
        match value.into() {
            value @ (Value::Object(_) | Value::Array(_)) => Self(Kind::Json(value)),
            Value::String(text) => Self::text(text),
            Value::Bool(flag) => Self::bool(flag),
            Value::Null => Self::null(),
            Value::Number(number) => match (number.as_i64(), number.is_f64()) {
                (Some(integer), _) => Self::int(integer),
                (None, true) => Self(Kind::Float(number.as_f64())),
                (None, false) => Self::text(number.to_string()),
            },
        }
    }

    /// A 64-bit integer.
    pub fn int(number: i64) -> Self {
        Self(Kind::Int(number))
    }

    /// A count; above `i64::MAX` it stays there.
    pub fn count(number: impl TryInto<i64>) -> Self {
        Self(Kind::Int(number.try_into().unwrap_or(i64::MAX)))
    }

    /// A float; NaN and the infinities become an empty one.
    pub fn float(number: f64) -> Self {
        Self(Kind::Float(number.is_finite().then_some(number)))
    }

    /// A duration, in seconds, as a float.
    pub fn seconds(duration: Duration) -> Self {
        Self::float(duration.as_secs_f64())
    }

    /// True or false.
    pub fn bool(flag: bool) -> Self {
        Self(Kind::Bool(flag))
    }

    /// Nothing.
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// A point in time.
    pub fn timestamp(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        };
        Self(Kind::Timestamp(seconds))
    }

    /// A point in time, in milliseconds since 1970.
    pub fn timestamp_ms(milliseconds: i64) -> Self {
        Self(Kind::Timestamp(milliseconds as f64 / 1000.0))
    }

    /// The id of another run.
    pub fn dagster_run(run_id: impl Into<String>) -> Self {
        Self(Kind::DagsterRun(run_id.into()))
    }

    /// Another asset: its parts joined by `/`, not escaped (unlike the key of a report).
    pub fn asset(key: impl Into<String>) -> Self {
        Self(Kind::Asset(key.into()))
    }

    /// A table with its rows.
    pub fn table(table: Table) -> Self {
        Self(Kind::Table(table))
    }

    /// The columns of a table; under the name `dagster/column_schema` Dagster shows them with the asset.
    pub fn table_schema(columns: impl IntoIterator<Item = Column>) -> Self {
        Self(Kind::TableSchema(TableSchema::new(columns)))
    }

    /// Which columns a column was made from; under the name `dagster/column_lineage` Dagster shows it with the asset.
    pub fn table_column_lineage(lineage: ColumnLineage) -> Self {
        Self(Kind::TableColumnLineage(lineage))
    }

    fn type_name(&self) -> &'static str {
        match &self.0 {
            Kind::Text(_) => "text",
            Kind::Url(_) => "url",
            Kind::Path(_) => "path",
            Kind::Notebook(_) => "notebook",
            Kind::Markdown(_) => "md",
            Kind::Json(_) => "json",
            Kind::Int(_) => "int",
            Kind::Float(_) => "float",
            Kind::Bool(_) => "bool",
            Kind::Null => "null",
            Kind::Timestamp(_) => "timestamp",
            Kind::DagsterRun(_) => "dagster_run",
            Kind::Asset(_) => "asset",
            Kind::Table(_) => "table",
            Kind::TableSchema(_) => "table_schema",
            Kind::TableColumnLineage(_) => "table_column_lineage",
        }
    }
}

impl Serialize for MetadataValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("MetadataValue", 2)?;
        match &self.0 {
            Kind::Text(text)
            | Kind::Url(text)
            | Kind::Path(text)
            | Kind::Notebook(text)
            | Kind::Markdown(text)
            | Kind::DagsterRun(text)
            | Kind::Asset(text) => object.serialize_field("raw_value", text)?,
            Kind::Json(value) => object.serialize_field("raw_value", value)?,
            Kind::Int(number) => object.serialize_field("raw_value", number)?,
            Kind::Float(number) => object.serialize_field("raw_value", number)?,
            Kind::Bool(flag) => object.serialize_field("raw_value", flag)?,
            Kind::Null => object.serialize_field("raw_value", &())?,
            Kind::Timestamp(seconds) => object.serialize_field("raw_value", seconds)?,
            Kind::Table(table) => object.serialize_field("raw_value", table)?,
            Kind::TableSchema(schema) => object.serialize_field("raw_value", schema)?,
            Kind::TableColumnLineage(lineage) => object.serialize_field("raw_value", lineage)?,
        }
        object.serialize_field("type", self.type_name())?;
        object.end()
    }
}

/// Names with values, in the order in which they were added; a name added again takes the new value at its old place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, MetadataValue)>,
}

impl Metadata {
    /// Returns empty metadata.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a value.
    pub fn insert(&mut self, name: impl Into<String>, value: MetadataValue) {
        let name = name.into();
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
    }

    /// Adds or replaces a value and returns the metadata.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: MetadataValue) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds text.
    #[must_use]
    pub fn text(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.with(name, MetadataValue::text(text))
    }

    /// Adds an integer.
    #[must_use]
    pub fn int(self, name: impl Into<String>, number: i64) -> Self {
        self.with(name, MetadataValue::int(number))
    }

    /// Adds a count of any integer type.
    #[must_use]
    pub fn count(self, name: impl Into<String>, number: impl TryInto<i64>) -> Self {
        self.with(name, MetadataValue::count(number))
    }

    /// Adds a float; NaN and the infinities become an empty one.
    #[must_use]
    pub fn float(self, name: impl Into<String>, number: f64) -> Self {
        self.with(name, MetadataValue::float(number))
    }

    /// Adds true or false.
    #[must_use]
    pub fn bool(self, name: impl Into<String>, flag: bool) -> Self {
        self.with(name, MetadataValue::bool(flag))
    }

    /// Adds a JSON object or array (see [`MetadataValue::json`]).
    #[must_use]
    pub fn json(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(name, MetadataValue::json(value))
    }

    /// Adds the columns of a table under the name that Dagster shows with the asset.
    #[must_use]
    pub fn column_schema(self, columns: impl IntoIterator<Item = Column>) -> Self {
        self.with("dagster/column_schema", MetadataValue::table_schema(columns))
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (name, value) in &self.entries {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<N: Into<String>> FromIterator<(N, MetadataValue)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (N, MetadataValue)>>(entries: I) -> Self {
        entries.into_iter().fold(Self::new(), |metadata, (name, value)| metadata.with(name, value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(value: MetadataValue) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn a_float_always_shows_that_it_is_one() {
        assert_eq!(written(MetadataValue::float(1.0)), r#"{"raw_value":1.0,"type":"float"}"#);
        assert_eq!(written(MetadataValue::float(-0.0)), r#"{"raw_value":-0.0,"type":"float"}"#);
        for number in [0.1, 1e15, 1e16, 1e300, 5e-324, 123_456_789.0] {
            let text = written(MetadataValue::float(number));
            assert!(text.contains(['.', 'e']), "{text}");
        }
    }

    #[test]
    fn nan_and_the_infinities_become_an_empty_float() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(written(MetadataValue::float(number)), r#"{"raw_value":null,"type":"float"}"#);
        }
    }

    #[test]
    fn a_json_scalar_becomes_the_typed_value_of_its_kind() {
        assert_eq!(MetadataValue::json(json!("x")), MetadataValue::text("x"));
        assert_eq!(MetadataValue::json(json!(7)), MetadataValue::int(7));
        assert_eq!(MetadataValue::json(json!(7.0)), MetadataValue::float(7.0));
        assert_eq!(MetadataValue::json(json!(true)), MetadataValue::bool(true));
        assert_eq!(MetadataValue::json(Value::Null), MetadataValue::null());
        assert_eq!(MetadataValue::json(json!(u64::MAX)), MetadataValue::text("18446744073709551615"));
        assert_eq!(written(MetadataValue::json(json!([1]))), r#"{"raw_value":[1],"type":"json"}"#);
    }

    #[test]
    fn times_are_seconds_with_a_decimal_point() {
        assert_eq!(written(MetadataValue::timestamp_ms(1_500)), r#"{"raw_value":1.5,"type":"timestamp"}"#);
        let before_1970 = UNIX_EPOCH - Duration::from_secs(2);
        assert_eq!(
            written(MetadataValue::timestamp(before_1970)),
            r#"{"raw_value":-2.0,"type":"timestamp"}"#
        );
    }

    #[test]
    fn a_count_above_the_range_stays_at_its_end() {
        assert_eq!(MetadataValue::count(u64::MAX), MetadataValue::int(i64::MAX));
        assert_eq!(MetadataValue::count(3_usize), MetadataValue::int(3));
    }

    #[test]
    fn entries_keep_their_order_and_a_name_added_again_is_replaced() {
        let metadata = Metadata::new().int("b", 1).text("a", "x").int("b", 2);

        assert_eq!(
            serde_json::to_string(&metadata).unwrap(),
            r#"{"b":{"raw_value":2,"type":"int"},"a":{"raw_value":"x","type":"text"}}"#
        );
    }
}
