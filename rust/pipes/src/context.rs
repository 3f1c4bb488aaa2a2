//! What Dagster tells the process it launches: which assets, partition, run and extras.
//!
//! Read from a file, inline or from S3. Keys that are absent take their empty value and unknown keys are passed over, so that another
//! Dagster version does not break the start.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::bootstrap::parse_python_json;
use crate::error::{BoxError, PipesError, quoted_keys};
use crate::options::Options;
use crate::s3;

/// The context of the step that launched this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Keys of the assets the step materializes, escaped and joined by `/`; `None` for a plain op.
    pub asset_keys: Option<Vec<String>>,
    /// Code version per asset key.
    pub code_version_by_asset_key: Option<BTreeMap<String, Option<String>>>,
    /// What the last materialization of each asset was made from; `None` before the first.
    pub provenance_by_asset_key: Option<BTreeMap<String, Option<Provenance>>>,
    /// The partition, if the step has exactly one.
    pub partition_key: Option<String>,
    /// First and last partition; start equals end for a single one. `None` for a single-run range (a Dagster limitation).
    pub partition_key_range: Option<KeyRange>,
    /// The time the partition stands for, if it is a time partition or one of its dimensions (just one) is.
    pub partition_time_window: Option<TimeWindow>,
    /// Id of the Dagster run.
    pub run_id: String,
    /// Name of the job, if there is one.
    pub job_name: Option<String>,
    /// How often the step was retried.
    pub retry_number: i64,
    /// Whatever the asset's code passed on.
    #[serde(deserialize_with = "null_as_empty")]
    pub extras: Map<String, Value>,
}

/// What a materialization was made from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Version of the code.
    pub code_version: String,
    /// Data version per input asset key.
    pub input_data_versions: BTreeMap<String, String>,
    /// Whether the data version was given by the user.
    pub is_user_provided: bool,
}

/// First and last partition key, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// First key.
    pub start: String,
    /// Last key, included.
    pub end: String,
}

/// A time range, start included, end not; ISO 8601 with offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindow {
    /// Start, included.
    pub start: String,
    /// End, not included.
    pub end: String,
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Context {
    /// Loads the context from where `params` say it is: `path` (wins), `data`, or `bucket` and `key`.
    pub(crate) async fn load(params: &Map<String, Value>, options: &Options) -> Result<Self, PipesError> {
        let text_at = |key: &str| params.get(key).and_then(Value::as_str);
        let (place, loaded) = if let Some(path) = text_at("path") {
            let text = tokio::fs::read_to_string(path).await.map_err(BoxError::from);
            (format!("file `{path}`"), text.and_then(|text| Self::parse(&text)))
        } else if let Some(data) = params.get("data").filter(|data| data.is_object()) {
            ("the bootstrap value".to_owned(), serde_json::from_value(data.clone()).map_err(BoxError::from))
        } else if let (Some(bucket), Some(key)) = (text_at("bucket"), text_at("key")) {
            let text = s3::get_text(&s3::client(options).await, bucket, key).await;
            (format!("`s3://{bucket}/{key}`"), text.and_then(|text| Self::parse(&text)))
        } else {
            return Err(PipesError::Unsupported {
                what: "context loader",
                keys: quoted_keys(params.keys()),
                supported: "`path`, `data`, `bucket` with `key`",
            });
        };
        loaded.map_err(|source| PipesError::ContextUnreadable { place, source })
    }

    fn parse(text: &str) -> Result<Self, BoxError> {
        Ok(serde_json::from_value(parse_python_json(text)?)?)
    }

    /// Returns the key of the step's only asset.
    ///
    /// # Errors
    /// [`PipesError::AmbiguousAsset`] if the step has none or several.
    pub fn only_asset_key(&self) -> Result<&str, PipesError> {
        match self.asset_keys.as_deref().unwrap_or_default() {
            [key] => Ok(key),
            keys => Err(PipesError::AmbiguousAsset { num_assets: keys.len() }),
        }
    }

    /// Returns an error unless the step has the asset. A plain op has no assets to compare with, so it may name any.
    pub(crate) fn check_asset_key(&self, asset_key: &str) -> Result<(), PipesError> {
        match &self.asset_keys {
            Some(known) if !known.iter().any(|key| key == asset_key) => {
                Err(PipesError::AssetNotInStep { asset_key: asset_key.to_owned(), known: quoted_keys(known) })
            }
            _ => Ok(()),
        }
    }
}

/// Joins the parts of an asset key as Pipes writes it: by `/`, with `\` and `/` inside a part escaped.
pub fn escape_asset_key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let escaped: Vec<String> =
        parts.into_iter().map(|part| part.replace('\\', r"\\").replace('/', r"\/")).collect();
    escaped.join("/")
}

/// Splits an asset key as Pipes writes it into its parts.
pub(crate) fn asset_key_parts(asset_key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = asset_key.chars();
    while let Some(character) = characters.next() {
        let kept = match character {
            '/' => {
                parts.push(String::new());
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(part) = parts.last_mut() {
            part.push(kept);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    async fn load(params: Value) -> Result<Context, PipesError> {
        Context::load(&object(params), &Options::default()).await
    }

    #[tokio::test]
    async fn the_context_is_read_as_dagster_writes_it() {
        let data = json!({
            "asset_keys": ["bronze/listen_events"],
            "code_version_by_asset_key": {"bronze/listen_events": null},
            "provenance_by_asset_key": {"bronze/listen_events": {
                "code_version": "v1", "input_data_versions": {"raw": "7"}, "is_user_provided": true}},
            "partition_key": "2026-11-19",
            "partition_key_range": {"start": "2026-11-19", "end": "2026-11-19"},
            "partition_time_window": {"start": "2026-11-19T00:00:00+00:00", "end": "2026-11-20T00:00:00+00:00"},
            "run_id": "db892d7f", "job_name": null, "retry_number": 2, "extras": {"a": [1, null]},
            "not_known_yet": true
        });

        let context = load(json!({"data": data})).await.unwrap();

        assert_eq!(context.only_asset_key().unwrap(), "bronze/listen_events");
        assert_eq!(context.partition_key_range.unwrap().end, "2026-11-19");
        assert_eq!(
            context.provenance_by_asset_key.unwrap()["bronze/listen_events"].as_ref().unwrap().code_version,
            "v1"
        );
        assert_eq!(context.retry_number, 2);
        assert_eq!(Value::Object(context.extras), json!({"a": [1, null]}));
    }

    #[tokio::test]
    async fn absent_keys_take_their_empty_value() {
        let context = load(json!({"data": {"run_id": "r", "extras": null}})).await.unwrap();

        assert_eq!(context, Context { run_id: "r".to_owned(), ..Context::default() });
        assert_eq!(
            context.only_asset_key().unwrap_err().to_string(),
            "no asset key is given and the step has 0 assets"
        );
    }

    #[tokio::test]
    async fn a_path_wins_over_inline_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("context.json");
        std::fs::write(&path, r#"{"run_id": "from file", "extras": {"x": NaN}}"#).unwrap();

        let context = load(json!({"path": path, "data": {"run_id": "inline"}})).await.unwrap();

        assert_eq!(context.run_id, "from file");
        assert_eq!(context.extras["x"], Value::Null);
    }

    #[tokio::test]
    async fn what_cannot_be_loaded_is_a_named_error() {
        let missing = load(json!({"path": "/nowhere/context.json"})).await.unwrap_err();
        let unknown = load(json!({"volume": "x", "data": null})).await.unwrap_err();

        assert_eq!(missing.to_string(), "failed to read the Pipes context from file `/nowhere/context.json`");
        assert_eq!(
            unknown.to_string(),
            "unsupported Pipes context loader with the keys `data`, `volume` (supported: `path`, `data`, `bucket` with `key`)"
        );
    }

    #[test]
    fn an_asset_key_must_be_one_of_the_step() {
        let context = Context { asset_keys: Some(vec!["a".into(), "b/c".into()]), ..Context::default() };

        assert!(context.check_asset_key("b/c").is_ok());
        assert_eq!(
            context.check_asset_key("c").unwrap_err().to_string(),
            "asset `c` is not one of this step's: `a`, `b/c`"
        );
        assert!(Context::default().check_asset_key("anything").is_ok());
    }

    #[test]
    fn key_parts_are_escaped() {
        let parts = ["a", r"b\c", "d/e", ""];

        let key = escape_asset_key(parts);

        assert_eq!(key, r"a/b\\c/d\/e/");
        assert_eq!(asset_key_parts(&key), parts);
    }
}
