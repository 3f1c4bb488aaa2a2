use super::*;

fn settings(variables: &[(&str, &str)]) -> Result<LakeSettings, SettingsError> {
    let owned: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    LakeSettings::from_env(&move |name| {
        owned.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    })
}

fn message(variables: &[(&str, &str)]) -> String {
    settings(variables).expect_err("these settings must be refused").to_string()
}

#[test]
fn nothing_set_means_an_embedded_lake_under_an_absolute_home() {
    let settings = settings(&[]).unwrap();
    let CatalogSettings::Sqlite(sqlite) = settings.catalog else { panic!("expected SQLite") };
    assert!(sqlite.path.is_absolute());
    assert!(sqlite.path.ends_with(".streamify/catalog.db"));
    assert!(sqlite.warehouse.starts_with("file:///"), "{}", sqlite.warehouse);
    assert!(sqlite.warehouse.ends_with("/.streamify/warehouse"), "{}", sqlite.warehouse);
    assert_eq!((sqlite.name.as_str(), settings.namespace.as_str()), ("lakehouse", "streamify"));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let settings = settings(&[("POLARIS_URI", " "), ("AWS_ENDPOINT_URL", "")]).unwrap();
    assert!(matches!(settings.catalog, CatalogSettings::Sqlite(_)));
    assert!(!settings.s3.path_style);
}

#[test]
fn object_store_keys_alone_do_not_change_the_catalog() {
    let settings = settings(&[
        ("AWS_ENDPOINT_URL", "http://localhost:9000"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
    ])
    .unwrap();
    assert!(matches!(settings.catalog, CatalogSettings::Sqlite(_)));
    assert!(settings.s3.path_style);
}

#[test]
fn a_catalog_address_means_rest_with_polaris_defaults() {
    let settings = settings(&[
        ("POLARIS_URI", "http://localhost:8181/api/catalog/"),
        ("POLARIS_CLIENT_ID", "worker"),
        ("POLARIS_CLIENT_SECRET", "hush"),
    ])
    .unwrap();
    let CatalogSettings::Rest(rest) = settings.catalog else { panic!("expected REST") };
    assert_eq!(rest.uri, "http://localhost:8181/api/catalog");
    assert_eq!(rest.scope, "PRINCIPAL_ROLE:ALL");
    assert!(!rest.vended_credentials);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let settings = settings(&[
        ("POLARIS_URI", "http://localhost:8181"),
        ("POLARIS_CLIENT_ID", "worker"),
        ("POLARIS_CLIENT_SECRET", "hush-hush"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "top-secret"),
        ("AWS_SESSION_TOKEN", "very-private"),
    ])
    .unwrap();
    let text = format!("{settings:?}");
    for secret in ["hush-hush", "top-secret", "very-private"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("[redacted]"));
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    assert_eq!(
        message(&[("POLARIS_URI", "localhost:8181")]),
        "invalid `POLARIS_URI`: `localhost:8181` does not begin with `http://` or `https://`"
    );
    assert_eq!(
        message(&[("AWS_ACCESS_KEY_ID", "id")]),
        "`AWS_ACCESS_KEY_ID` is set but `AWS_SECRET_ACCESS_KEY` is not; set both or neither"
    );
    assert_eq!(
        message(&[("POLARIS_NAMESPACE", "a/b")]),
        "invalid `POLARIS_NAMESPACE`: `a/b` contains `/`, which catalogs refuse"
    );
    assert_eq!(
        message(&[("POLARIS_URI", "http://x"), ("STREAMIFY_VENDED_CREDENTIALS", "maybe")]),
        "invalid `STREAMIFY_VENDED_CREDENTIALS`: `maybe` is neither `true` nor `false`"
    );
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    let text = message(&[("POLARIS_URI", "http://user:hush@localhost")]);
    assert!(!text.contains("hush"), "{text}");
}
