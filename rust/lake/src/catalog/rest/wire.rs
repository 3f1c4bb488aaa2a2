//! The protocol's messages and addresses
//! ([specification](https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml)).

use std::collections::HashMap;
use std::fmt::Write;

use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};

/// The separator of namespace levels unless the catalog says otherwise, percent-encoded.
const DEFAULT_SEPARATOR: &str = "%1F";

#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    defaults: HashMap<String, String>,
    #[serde(default)]
    overrides: HashMap<String, String>,
}

impl Config {
    fn value(&self, key: &str) -> Option<&str> {
        self.overrides.get(key).or_else(|| self.defaults.get(key)).map(String::as_str)
    }
}

/// The addresses of one namespace's resources, relative to the catalog's base.
#[derive(Debug)]
pub(super) struct Paths {
    root: String,
    separator: String,
    namespace: String,
}

impl Paths {
    pub(super) fn new(config: &Config, levels: &[String]) -> Self {
        let prefix =
            config.value("prefix").map(|prefix| prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty());
        let root = prefix.map_or("v1".to_owned(), |prefix| format!("v1/{prefix}"));
        let separator = config.value("namespace-separator").unwrap_or(DEFAULT_SEPARATOR).to_owned();
        let mut paths = Self { root, separator, namespace: String::new() };
        paths.namespace = paths.namespace(levels);
        paths
    }

    pub(super) fn namespaces(&self) -> String {
        format!("{}/namespaces", self.root)
    }

    pub(super) fn namespace(&self, levels: &[String]) -> String {
        let encoded: Vec<String> = levels.iter().map(|level| percent_encode(level)).collect();
        format!("{}/namespaces/{}", self.root, encoded.join(&self.separator))
    }

    pub(super) fn tables(&self) -> String {
        format!("{}/tables", self.namespace)
    }

    pub(super) fn table(&self, table: &str) -> String {
        format!("{}/tables/{}", self.namespace, percent_encode(table))
    }
}

/// Encodes everything but letters, digits, `-`, `.`, `_` and `~`.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[derive(Debug, Serialize)]
pub(super) struct Identifier<'a> {
    pub(super) namespace: &'a [String],
    pub(super) name: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct CreateNamespace<'a> {
    pub(super) namespace: &'a [String],
    pub(super) properties: HashMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateTable {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    schema: Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_spec: Option<UnboundPartitionSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_order: Option<SortOrder>,
    stage_create: bool,
    properties: HashMap<String, String>,
}

impl CreateTable {
    pub(super) fn new(table: &str, creation: TableCreation) -> Self {
        let mut properties = creation.properties;
        properties.insert("format-version".to_owned(), (creation.format_version as u8).to_string());
        Self {
            name: table.to_owned(),
            location: creation.location,
            schema: creation.schema,
            partition_spec: creation.partition_spec,
            write_order: creation.sort_order,
            stage_create: false,
            properties,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct CommitTable<'a> {
    pub(super) identifier: Identifier<'a>,
    pub(super) requirements: Vec<TableRequirement>,
    pub(super) updates: Vec<TableUpdate>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadTableAnswer {
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
    #[serde(default)]
    pub(super) config: HashMap<String, String>,
    #[serde(default)]
    pub(super) storage_credentials: Vec<StorageCredential>,
}

/// Credentials for all files whose address begins with `prefix`.
#[derive(Debug, Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    pub(super) config: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CommitTableAnswer {
    pub(super) metadata_location: String,
    pub(super) metadata: TableMetadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ListTables {
    #[serde(default)]
    pub(super) identifiers: Vec<ListedTable>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListedTable {
    pub(super) name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(config: &str, namespace: &str) -> Paths {
        let levels: Vec<String> = namespace.split('.').map(str::to_owned).collect();
        Paths::new(&serde_json::from_str(config).unwrap(), &levels)
    }

    #[test]
    fn prefix_and_separator_are_those_the_catalog_tells() {
        let told = r#"{"defaults":{"prefix":"weak"},"overrides":{"prefix":"lakehouse","namespace-separator":"%2E"}}"#;

        assert_eq!(paths(told, "a.b").table("t 1"), "v1/lakehouse/namespaces/a%2Eb/tables/t%201");
        assert_eq!(paths("{}", "a.b").tables(), "v1/namespaces/a%1Fb/tables");
        assert_eq!(paths("{}", "é").namespace(&["é/".to_owned()]), "v1/namespaces/%C3%A9%2F");
    }
}
