//! Where the lake is: which catalog, which namespace, which object store.
//!
//! [`LakeSettings::from_env`] reads the variables that such pipelines already use (`POLARIS_*`, `AWS_*`) and our own
//! (`STREAMIFY_*`). The catalog decides alone: `POLARIS_URI` set means a REST catalog, otherwise everything is embedded under
//! `STREAMIFY_HOME`; `AWS_*` alone changes nothing. An empty variable counts as not set. Secrets never show in `Debug`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// Where catalog, namespace and object store are.
#[derive(Clone, Debug)]
pub struct LakeSettings {
    /// The catalog.
    pub catalog: CatalogSettings,
    /// The namespace of all our tables; levels are separated by dots.
    pub namespace: String,
    /// How to reach the object store, for tables whose files are there.
    pub s3: S3Settings,
}

/// Which kind of catalog, and where.
#[derive(Clone, Debug)]
pub enum CatalogSettings {
    /// An Iceberg REST catalog, such as Polaris.
    Rest(RestSettings),
    /// A SQLite file with the tables of PyIceberg's `SqlCatalog`.
    Sqlite(SqliteSettings),
}

/// An Iceberg REST catalog.
#[derive(Clone, Debug)]
pub struct RestSettings {
    /// The base address, without `/v1`.
    pub uri: String,
    /// The warehouse to ask for; in Polaris the name of the catalog.
    pub warehouse: String,
    /// The OAuth2 client; without it requests carry no token.
    pub client: Option<RestClientCredentials>,
    /// The OAuth2 scope.
    pub scope: String,
    /// The value of the header `Polaris-Realm`, if one is to be sent.
    pub realm: Option<String>,
    /// Whether to ask for vended object store credentials.
    pub vended_credentials: bool,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for a whole answer.
    pub request_timeout: Duration,
}

impl RestSettings {
    /// Returns settings with all defaults, without credentials.
    pub fn new(uri: impl Into<String>, warehouse: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            warehouse: warehouse.into(),
            client: None,
            scope: DEFAULT_SCOPE.to_owned(),
            realm: None,
            vended_credentials: false,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// An OAuth2 client and its secret.
#[derive(Clone, Debug)]
pub struct RestClientCredentials {
    /// The client id.
    pub id: String,
    /// The client secret.
    pub secret: Secret,
}

/// A SQLite catalog.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The database file, absolute.
    pub path: PathBuf,
    /// The address under which new tables are placed, such as `file:///srv/streamify/warehouse`.
    pub warehouse: String,
    /// The catalog's name inside the file; other tools must use the same.
    pub name: String,
}

/// How to reach an S3 store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S3Settings {
    /// The endpoint, if it is not Amazon's own.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The keys; without them the usual AWS chain (profile, web identity, instance role) is used.
    pub credentials: Option<S3Credentials>,
    /// Whether the bucket is part of the path instead of the host name.
    pub path_style: bool,
}

/// Keys of an S3 store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S3Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The session token of temporary keys.
    pub session_token: Option<Secret>,
}

/// A text that must not be printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable has a value that means nothing.
    #[error("invalid `{variable}`: `{value}` {problem}")]
    InvalidValue {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it and what is expected.
        problem: String,
    },
    /// Of two variables that belong together only one is set.
    #[error("`{present}` is set but `{missing}` is not; set both or neither")]
    HalfSet {
        /// The one that is set.
        present: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// The folder cannot be made absolute.
    #[error("failed to make `STREAMIFY_HOME` absolute: `{path}`")]
    HomeNotAbsolute {
        /// The folder as given.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The scope that Polaris expects: all roles of the principal.
pub const DEFAULT_SCOPE: &str = "PRINCIPAL_ROLE:ALL";
const DEFAULT_CATALOG: &str = "lakehouse";
const DEFAULT_NAMESPACE: &str = "streamify";
const DEFAULT_HOME: &str = ".streamify";
const DEFAULT_REGION: &str = "us-east-1";

/// Looks up one variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl LakeSettings {
    /// Reads the settings from a lookup of environment variables.
    ///
    /// # Errors
    /// Any value that cannot be meant: an address that is none, half a pair of credentials, a name with a slash.
    pub fn from_env(lookup: Lookup<'_>) -> Result<Self, SettingsError> {
        let get =
            |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let name = get("POLARIS_CATALOG").unwrap_or_else(|| DEFAULT_CATALOG.to_owned());
        let namespace = get("POLARIS_NAMESPACE").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        check_name("POLARIS_NAMESPACE", &namespace)?;
        let catalog = match get("POLARIS_URI") {
            Some(uri) => CatalogSettings::Rest(rest_settings(&get, &uri, name)?),
            None => CatalogSettings::Sqlite(sqlite_settings(&get, name)?),
        };
        Ok(Self { catalog, namespace, s3: S3Settings::from_env(lookup)? })
    }
}

impl S3Settings {
    /// Reads the object store's settings from a lookup of environment variables.
    ///
    /// # Errors
    /// An endpoint that is no address, or half a pair of keys.
    pub fn from_env(lookup: Lookup<'_>) -> Result<Self, SettingsError> {
        let get =
            |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let endpoint = get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL"));
        if let Some(endpoint) = &endpoint {
            check_address("AWS_ENDPOINT_URL", endpoint)?;
        }
        let credentials =
            pair(&get, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")?.map(|(id, secret)| S3Credentials {
                access_key_id: id,
                secret_access_key: Secret::new(secret),
                session_token: get("AWS_SESSION_TOKEN").map(Secret::new),
            });
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
        // A store that is not Amazon's seldom has a host name per bucket.
        let path_style = endpoint.is_some();
        Ok(Self {
            region: region.or_else(|| Some(DEFAULT_REGION.to_owned())),
            endpoint,
            credentials,
            path_style,
        })
    }

    /// Returns settings for a lake without an object store.
    pub fn none() -> Self {
        Self { endpoint: None, region: Some(DEFAULT_REGION.to_owned()), credentials: None, path_style: false }
    }
}

fn rest_settings(
    get: &dyn Fn(&str) -> Option<String>,
    uri: &str,
    warehouse: String,
) -> Result<RestSettings, SettingsError> {
    check_address("POLARIS_URI", uri)?;
    let client = pair(get, "POLARIS_CLIENT_ID", "POLARIS_CLIENT_SECRET")?
        .map(|(id, secret)| RestClientCredentials { id, secret: Secret::new(secret) });
    let vended_credentials = match get("STREAMIFY_VENDED_CREDENTIALS") {
        Some(value) => parse_switch("STREAMIFY_VENDED_CREDENTIALS", &value)?,
        None => false,
    };
    Ok(RestSettings {
        client,
        scope: get("STREAMIFY_POLARIS_SCOPE").unwrap_or_else(|| DEFAULT_SCOPE.to_owned()),
        realm: get("STREAMIFY_POLARIS_REALM"),
        vended_credentials,
        ..RestSettings::new(uri.trim_end_matches('/'), warehouse)
    })
}

fn sqlite_settings(
    get: &dyn Fn(&str) -> Option<String>,
    name: String,
) -> Result<SqliteSettings, SettingsError> {
    let given = get("STREAMIFY_HOME").unwrap_or_else(|| DEFAULT_HOME.to_owned());
    let home = std::path::absolute(&given)
        .map_err(|source| SettingsError::HomeNotAbsolute { path: given.clone(), source })?;
    let Some(home_text) = home.to_str() else {
        let problem = "is not valid UTF-8, which table addresses must be".to_owned();
        return Err(SettingsError::InvalidValue { variable: "STREAMIFY_HOME", value: given, problem });
    };
    let warehouse = format!("file://{}/warehouse", home_text.trim_end_matches('/'));
    Ok(SqliteSettings { path: home.join("catalog.db"), warehouse, name })
}

fn pair(
    get: &dyn Fn(&str) -> Option<String>,
    first: &'static str,
    second: &'static str,
) -> Result<Option<(String, String)>, SettingsError> {
    match (get(first), get(second)) {
        (Some(left), Some(right)) => Ok(Some((left, right))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::HalfSet { present: first, missing: second }),
        (None, Some(_)) => Err(SettingsError::HalfSet { present: second, missing: first }),
    }
}

fn check_address(variable: &'static str, value: &str) -> Result<(), SettingsError> {
    let invalid =
        |problem: String| SettingsError::InvalidValue { variable, value: value.to_owned(), problem };
    let address = Url::parse(value).map_err(|error| invalid(format!("is not an address: {error}")))?;
    if !matches!(address.scheme(), "http" | "https") {
        return Err(invalid("does not begin with `http://` or `https://`".to_owned()));
    }
    if address.password().is_some() {
        // The value would show the password: leave it out of the message.
        let problem = "contains a password; set the credentials' own variables".to_owned();
        return Err(SettingsError::InvalidValue { variable, value: "[redacted]".to_owned(), problem });
    }
    Ok(())
}

fn check_name(variable: &'static str, value: &str) -> Result<(), SettingsError> {
    const FORBIDDEN: &str = "/\\:*?\"<>|#+`\u{1f}";
    if let Some(character) = value.chars().find(|character| FORBIDDEN.contains(*character)) {
        let problem = format!("contains `{}`, which catalogs refuse", character.escape_default());
        return Err(SettingsError::InvalidValue { variable, value: value.to_owned(), problem });
    }
    if value.split('.').any(str::is_empty) {
        let problem = "has an empty level (expected e.g. `streamify` or `music.streamify`)".to_owned();
        return Err(SettingsError::InvalidValue { variable, value: value.to_owned(), problem });
    }
    Ok(())
}

fn parse_switch(variable: &'static str, value: &str) -> Result<bool, SettingsError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => {
            let problem = "is neither `true` nor `false`".to_owned();
            Err(SettingsError::InvalidValue { variable, value: value.to_owned(), problem })
        }
    }
}

#[cfg(test)]
mod tests;
