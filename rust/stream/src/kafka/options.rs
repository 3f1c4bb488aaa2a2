//! librdkafka options: which are ours, which the user may pass through, and which would break a guarantee.
//!
//! The order of precedence: our defaults, then the user's options, and the fixed ones, which cannot be given at all.

use std::collections::BTreeMap;

use super::KafkaError;

/// Prefix of the environment form of an option: `STREAMIFY_KAFKA_SASL_USERNAME` is `sasl.username`.
const ENV_PREFIX: &str = "STREAMIFY_KAFKA_";

/// Options decided by settings of their own, so that there is one place for each.
const OWN_SETTINGS: [(&str, &str); 4] = [
    ("bootstrap.servers", "use `KAFKA_BOOTSTRAP_SERVERS`"),
    ("metadata.broker.list", "use `KAFKA_BOOTSTRAP_SERVERS`"),
    ("group.id", "it has a setting of its own"),
    ("isolation.level", "it has a setting of its own"),
];

/// Options that would break exactly-once, with the reason; they have the values of [`FIXED`] or librdkafka's default.
const REFUSED: [(&str, &str); 11] = [
    (
        "enable.auto.commit",
        "the table alone knows what was stored; group offsets are only a hint, written after a commit",
    ),
    (
        "auto.commit.enable",
        "the table alone knows what was stored; group offsets are only a hint, written after a commit",
    ),
    ("enable.auto.offset.store", "the table alone knows what was stored"),
    ("offset.store.method", "the table alone knows what was stored"),
    ("auto.offset.reset", "a missing offset must stop the worker, not move it"),
    (
        "enable.partition.eof",
        "without it the end of a log that closes with an aborted transaction is never seen",
    ),
    ("allow.auto.create.topics", "a mistyped topic must be an error, not a new empty topic"),
    (
        "partition.assignment.strategy",
        "a rebalance must take every partition back before it gives any out (`--assignment group`)",
    ),
    (
        "group.protocol",
        "a rebalance must take every partition back before it gives any out (`--assignment group`)",
    ),
    ("consume.callback.max.messages", "records are taken in batches, not by callback"),
    ("test.mock.num.brokers", "it replaces the brokers by an empty mock"),
];

/// Values nobody may change, with the reason beside each.
pub(super) const FIXED: [(&str, &str); 5] = [
    // The table alone knows what was stored.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // An offset that is gone (retention) or not there yet (re-created topic) is an error event, never a silent jump.
    ("auto.offset.reset", "error"),
    // Its event is the only thing that tells the position behind trailing control records.
    ("enable.partition.eof", "true"),
    // Reading must not create topics.
    ("allow.auto.create.topics", "false"),
];

/// Values that the user's options may replace, with the reason beside each.
pub(super) const DEFAULTS: [(&str, &str); 5] = [
    // librdkafka's 1000 ms wait at a full local queue reads a backlog at a third of the possible speed.
    ("fetch.queue.backoff.ms", "10"),
    // Costs nothing measurable, and a flipped bit must not become a row.
    ("check.crcs", "true"),
    // The default of 10 s would add up to 10 s to the recovery from a broker's restart.
    ("reconnect.backoff.max.ms", "2000"),
    // Idle connections are closed by brokers as a matter of course; a log line for each says nothing.
    ("log.connection.close", "false"),
    // NAT and load balancers drop silent connections; without keepalive that is seen at the next request's timeout.
    ("socket.keepalive.enable", "true"),
];

/// Returns whether the option's value must never be shown.
pub fn is_secret(option: &str) -> bool {
    ["password", "secret", "token", "credential", "assertion"].iter().any(|part| option.contains(part))
        || option.ends_with(".pem")
        || option == "sasl.oauthbearer.config"
}

/// Parses `key=value` as given to `--kafka-option`; the value may hold further `=`.
///
/// # Errors
/// [`KafkaError::OptionInvalid`] if there is no `=` or no key; [`KafkaError::OptionRefused`] for an option that is ours.
pub fn option_from_text(text: &str) -> Result<(String, String), KafkaError> {
    let parts = text.split_once('=').map(|(key, value)| (key.trim(), value));
    let Some((key, value)) = parts.filter(|(key, _)| !key.is_empty()) else {
        let reason = "expected `key=value`, e.g. `security.protocol=SASL_SSL`".to_owned();
        return Err(KafkaError::OptionInvalid {
            option: parts.map_or(text, |(key, _)| key).to_owned(),
            reason,
        });
    };
    check(key)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Collects the options given as `STREAMIFY_KAFKA_<OPTION>` in `variables`, upper case with `_` for `.`.
///
/// Variables whose option has a setting of its own (`STREAMIFY_KAFKA_GROUP_ID`, `STREAMIFY_KAFKA_ISOLATION_LEVEL`,
/// `STREAMIFY_KAFKA_OPTIONS` and all in `settings`) are left to that setting.
///
/// # Errors
/// [`KafkaError::OptionRefused`] for an option that would break a guarantee.
pub fn options_from_env(
    variables: impl IntoIterator<Item = (String, String)>,
    settings: &[&str],
) -> Result<BTreeMap<String, String>, KafkaError> {
    let mut options = BTreeMap::new();
    for (name, value) in variables {
        let Some(suffix) = name.strip_prefix(ENV_PREFIX) else { continue };
        let option = suffix.to_ascii_lowercase().replace('_', ".");
        let is_setting =
            OWN_SETTINGS.iter().any(|(own, _)| *own == option) || settings.contains(&name.as_str());
        if is_setting || option.is_empty() {
            continue;
        }
        check(&option)?;
        options.insert(option, value);
    }
    Ok(options)
}

/// Refuses options that are ours.
///
/// # Errors
/// [`KafkaError::OptionRefused`], with the reason.
pub(super) fn check(option: &str) -> Result<(), KafkaError> {
    // librdkafka takes topic options with this prefix too, so it would be a way around the check.
    let plain = option.strip_prefix("topic.").unwrap_or(option);
    let found = REFUSED.iter().chain(&OWN_SETTINGS).find(|(name, _)| *name == plain);
    match found {
        Some((_, reason)) => Err(KafkaError::OptionRefused { option: option.to_owned(), reason }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::KafkaSettings;

    #[test]
    fn options_that_break_exactly_once_are_refused_with_the_reason() {
        let error = option_from_text("auto.offset.reset=latest").unwrap_err();

        assert_eq!(
            error.to_string(),
            "Kafka option `auto.offset.reset` cannot be set: a missing offset must stop the worker, not move it"
        );
        for (fixed, _) in FIXED {
            assert!(check(fixed).is_err(), "`{fixed}` is fixed but could be set");
        }
    }

    #[test]
    fn option_text_keeps_further_equal_signs_of_the_value() {
        let option = option_from_text("sasl.password=a=b=").unwrap();

        assert_eq!(option, ("sasl.password".to_owned(), "a=b=".to_owned()));
    }

    #[test]
    fn option_text_without_a_key_or_sign_is_invalid() {
        for text in ["security.protocol", "=x", ""] {
            assert!(
                matches!(option_from_text(text), Err(KafkaError::OptionInvalid { .. })),
                "`{text}` was taken"
            );
        }
    }

    #[test]
    fn environment_names_become_option_names_and_settings_are_left_out() {
        let variables = [
            ("STREAMIFY_KAFKA_SASL_USERNAME", "me"),
            ("STREAMIFY_KAFKA_GROUP_ID", "g"),
            ("STREAMIFY_KAFKA_WAIT", "10s"),
            ("STREAMIFY_OTHER", "x"),
        ];

        let options = options_from_env(
            variables.map(|(name, value)| (name.to_owned(), value.to_owned())),
            &["STREAMIFY_KAFKA_WAIT"],
        );

        assert_eq!(options.unwrap(), BTreeMap::from([("sasl.username".to_owned(), "me".to_owned())]));
    }

    #[test]
    fn secrets_are_known_by_name() {
        for option in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
            assert!(is_secret(option), "`{option}` would be shown");
        }
        assert!(!is_secret("security.protocol"));
    }

    #[test]
    fn options_pass_through_and_fixed_ones_win() {
        let mut settings = KafkaSettings::new("127.0.0.1:1");
        settings.options.insert("fetch.queue.backoff.ms".to_owned(), "3".to_owned());
        settings.options.insert("security.protocol".to_owned(), "SASL_SSL".to_owned());

        let config = settings.client_config().unwrap();

        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("3"));
        assert_eq!(config.get("security.protocol"), Some("SASL_SSL"));
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        for refused in ["auto.offset.reset", "topic.auto.offset.reset", "group.id", "enable.auto.commit"] {
            let mut settings = KafkaSettings::new("127.0.0.1:1");
            settings.options.insert(refused.to_owned(), "x".to_owned());
            assert!(
                matches!(settings.client_config(), Err(KafkaError::OptionRefused { .. })),
                "`{refused}` was taken"
            );
        }
    }

    #[test]
    fn unknown_and_unfitting_options_are_named_without_their_secrets() {
        let error_of = |option: &str, value: &str| {
            let mut settings = KafkaSettings::new("127.0.0.1:1");
            settings.options.insert(option.to_owned(), value.to_owned());
            settings.client_config().unwrap_err().to_string()
        };

        assert!(error_of("no.such.option", "1").starts_with("invalid Kafka option `no.such.option`: "));
        assert!(!error_of("no.such.password", "hunter2").contains("hunter2"));
        let mut settings = KafkaSettings::new("127.0.0.1:1");
        settings.options.insert("sasl.password".to_owned(), "hunter2".to_owned());
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn read_ahead_is_shared_by_the_queues() {
        let mut settings = KafkaSettings::new("127.0.0.1:1");
        settings.queue_bytes = 32_000_000;
        settings.num_queues = 2;

        let config = settings.client_config().unwrap();

        assert_eq!(config.get("fetch.max.bytes"), Some("4000000"));
        assert_eq!(config.get("queued.max.messages.kbytes"), Some("13671"));
    }
}
