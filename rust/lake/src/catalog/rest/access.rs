//! Which object store settings a table's files are reached with.
//!
//! A catalog may send endpoint, region, path style and temporary keys along with a table. What the settings name
//! explicitly is stronger, except that vended keys replace configured ones. Access is kept per table, so that a load with
//! fresh keys does not open new connections while the old keys still have a while to live.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::Utc;

use super::wire::StorageCredential;
use crate::settings::{S3Credentials, S3Settings, Secret};
use crate::storage::{StorageProvider, TableStore};

/// Keys with less than this to live are replaced, in milliseconds.
const MIN_REMAINING_MS: i64 = 5 * 60 * 1000;

#[derive(Debug)]
pub(super) struct FileAccess {
    storage: StorageProvider,
    by_table: Mutex<HashMap<String, Access>>,
}

#[derive(Clone, Debug)]
struct Access {
    settings: S3Settings,
    /// When vended keys run out, in milliseconds since 1970 UTC.
    expires_at_ms: Option<i64>,
    store: TableStore,
}

impl Access {
    fn lasts(&self) -> bool {
        self.expires_at_ms.is_none_or(|end| end - Utc::now().timestamp_millis() > MIN_REMAINING_MS)
    }
}

impl FileAccess {
    pub(super) fn new(storage: StorageProvider) -> Self {
        Self { storage, by_table: Mutex::default() }
    }

    pub(super) fn metadata_bytes_read(&self) -> u64 {
        self.storage.metadata_bytes_read()
    }

    /// Returns whether a table must be loaded anew because its keys are about to run out.
    pub(super) fn needs_renewal(&self, table: &str) -> bool {
        let by_table = self.by_table.lock().unwrap_or_else(PoisonError::into_inner);
        by_table.get(table).is_some_and(|access| !access.lasts())
    }

    /// Returns the access to a table's files, given what came with the table.
    pub(super) fn after_load(
        &self,
        table: &str,
        location: &str,
        config: HashMap<String, String>,
        credentials: Vec<StorageCredential>,
    ) -> TableStore {
        let told = merge(location, config, credentials);
        let settings = combine(self.storage.settings(), &told);
        let mut by_table = self.by_table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) =
            by_table.get(table).filter(|known| known.lasts() && same_but_keys(&known.settings, &settings))
        {
            return known.store.clone();
        }
        let expires_at_ms = told.get("s3.session-token-expires-at-ms").and_then(|text| text.parse().ok());
        let store = self.storage.store(&settings);
        by_table.insert(table.to_owned(), Access { settings, expires_at_ms, store: store.clone() });
        store
    }
}

/// Adds the credentials with the longest prefix of the table's location to the configuration.
fn merge(
    location: &str,
    mut config: HashMap<String, String>,
    credentials: Vec<StorageCredential>,
) -> HashMap<String, String> {
    let matching = credentials.into_iter().filter(|credential| location.starts_with(&credential.prefix));
    if let Some(best) = matching.max_by_key(|credential| credential.prefix.len()) {
        config.extend(best.config);
    }
    config
}

fn combine(configured: &S3Settings, told: &HashMap<String, String>) -> S3Settings {
    let get = |key: &str| told.get(key).filter(|value| !value.is_empty()).cloned();
    let vended = get("s3.access-key-id").zip(get("s3.secret-access-key")).map(|(id, secret)| S3Credentials {
        access_key_id: id,
        secret_access_key: Secret::new(secret),
        session_token: get("s3.session-token").map(Secret::new),
    });
    let credentials = vended.or_else(|| configured.credentials.clone());
    if configured.endpoint.is_some() {
        return S3Settings { credentials, ..configured.clone() };
    }
    let endpoint = get("s3.endpoint");
    let path_style = match get("s3.path-style-access") {
        Some(value) => value.eq_ignore_ascii_case("true"),
        None => endpoint.is_some(),
    };
    let region = get("client.region").or_else(|| get("s3.region")).or_else(|| configured.region.clone());
    S3Settings { endpoint, region, credentials, path_style }
}

/// Returns whether two settings differ at most in temporary keys.
fn same_but_keys(left: &S3Settings, right: &S3Settings) -> bool {
    let temporary = |settings: &S3Settings| {
        settings.credentials.as_ref().is_some_and(|keys| keys.session_token.is_some())
    };
    let without = |settings: &S3Settings| S3Settings { credentials: None, ..settings.clone() };
    left == right || (temporary(left) && temporary(right) && without(left) == without(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn vended(token: &str, expires_in_ms: i64) -> HashMap<String, String> {
        let end = (Utc::now().timestamp_millis() + expires_in_ms).to_string();
        told(&[
            ("s3.access-key-id", "vended"),
            ("s3.secret-access-key", "secret"),
            ("s3.session-token", token),
            ("s3.session-token-expires-at-ms", &end),
        ])
    }

    fn configured() -> S3Settings {
        S3Settings {
            endpoint: Some("http://store:9000".to_owned()),
            credentials: Some(S3Credentials {
                access_key_id: "own".to_owned(),
                secret_access_key: Secret::new("key"),
                session_token: None,
            }),
            path_style: true,
            ..S3Settings::none()
        }
    }

    #[test]
    fn configured_keys_are_used_unless_some_are_vended() {
        let without = combine(&configured(), &HashMap::new());
        let with = combine(&configured(), &vended("t", 3_600_000));

        assert_eq!(without, configured());
        assert_eq!(with.credentials.unwrap().access_key_id, "vended");
    }

    #[test]
    fn a_configured_endpoint_is_stronger_than_the_catalogs() {
        let other = told(&[("s3.endpoint", "http://inside:9000"), ("s3.path-style-access", "false")]);

        assert_eq!(combine(&configured(), &other), configured());
        let followed = combine(&S3Settings::none(), &other);
        assert_eq!(followed.endpoint.as_deref(), Some("http://inside:9000"));
        assert!(!followed.path_style);
    }

    #[test]
    fn the_credentials_with_the_longest_matching_prefix_are_taken() {
        let credential = |prefix: &str, id: &str| StorageCredential {
            prefix: prefix.to_owned(),
            config: told(&[("s3.access-key-id", id), ("s3.secret-access-key", "x")]),
        };
        let credentials = vec![
            credential("s3://b/", "wide"),
            credential("s3://b/t", "near"),
            credential("s3://c", "other"),
        ];

        let merged = merge("s3://b/t/x", HashMap::new(), credentials);

        assert_eq!(merged["s3.access-key-id"], "near");
    }

    #[test]
    fn fresh_keys_replace_old_ones_only_when_those_run_out() {
        let access = FileAccess::new(StorageProvider::new(S3Settings::none()));
        let held = |table: &str| {
            let by_table = access.by_table.lock().unwrap();
            by_table[table].settings.credentials.clone().unwrap().session_token.unwrap().reveal().to_owned()
        };

        access.after_load("long", "s3://b/t", vended("first", 3_600_000), Vec::new());
        access.after_load("long", "s3://b/t", vended("second", 3_600_000), Vec::new());
        access.after_load("short", "s3://b/t", vended("first", 60_000), Vec::new());
        assert!(access.needs_renewal("short") && !access.needs_renewal("long"));
        access.after_load("short", "s3://b/t", vended("second", 3_600_000), Vec::new());

        assert_eq!((held("long"), held("short")), ("first".to_owned(), "second".to_owned()));
    }
}
