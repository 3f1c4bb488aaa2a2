//! Values as people write them in flags and environment variables: durations and sizes with a unit, switches, lists,
//! secrets.
//!
//! Every parser takes text and returns a [`ValueError`] that says what is wrong with it and what would be right; the name
//! of the setting is added where it is known ([`SettingError`], or clap's own message). The parsers fit
//! `#[arg(value_parser = …)]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A number stands alone.
    #[error("`{value}` has no unit (expected e.g. `{example}`)")]
    NoUnit {
        /// The text that was given.
        value: String,
        /// What would be right.
        example: String,
    },
    /// The text is not of the kind that is expected.
    #[error("`{value}` is not {expected}")]
    Unreadable {
        /// The text that was given.
        value: String,
        /// What is expected, with its article and an example.
        expected: &'static str,
    },
    /// The value does not fit a 64-bit number.
    #[error("`{value}` is too large")]
    TooLarge {
        /// The text that was given.
        value: String,
    },
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A setting has a value that cannot be used.
    #[error("invalid `{name}`: {problem}")]
    Invalid {
        /// Name of the variable or flag.
        name: String,
        /// What is wrong, without the name.
        problem: String,
    },
    /// A setting that is needed is not set.
    #[error("`{name}` is not set")]
    Missing {
        /// Name of the variable or flag.
        name: String,
    },
}

impl SettingError {
    /// Returns an error for the setting `name`; `problem` is a fact about its value.
    pub fn invalid(name: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self::Invalid { name: name.into(), problem: problem.to_string() }
    }
}

/// Reads the setting `name` from `source` with `parse`; empty text counts as not set.
///
/// # Errors
/// [`SettingError::Invalid`] if the value cannot be parsed.
pub fn read<T, E: fmt::Display>(
    source: &dyn Fn(&str) -> Option<String>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, SettingError> {
    let Some(text) = source(name).filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    parse(text.trim()).map(Some).map_err(|problem| SettingError::invalid(name, problem))
}

/// Parses a duration with its unit: `250ms`, `10s`, `1m 30s`, `2h`, `1day`.
///
/// # Errors
/// [`ValueError::NoUnit`] for a bare number, [`ValueError::Unreadable`] for all else.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let value = text.trim();
    if is_bare_number(value) {
        return Err(ValueError::NoUnit { value: value.to_owned(), example: format!("{value}s") });
    }
    humantime::parse_duration(value).map_err(|_| ValueError::Unreadable {
        value: value.to_owned(),
        expected: "a duration (expected e.g. `500ms`, `10s`, `5m`)",
    })
}

/// Parses a size with its unit: `512kB`, `256MB`, `1GB` (powers of 1000), `64MiB` (powers of 1024), `4096B`.
/// Case does not matter.
///
/// # Errors
/// [`ValueError::NoUnit`] for a bare number, [`ValueError::TooLarge`] above 2^64, [`ValueError::Unreadable`] for all
/// else.
pub fn parse_bytes(text: &str) -> Result<u64, ValueError> {
    let value = text.trim();
    if is_bare_number(value) {
        return Err(ValueError::NoUnit { value: value.to_owned(), example: format!("{value}MB") });
    }
    let unreadable = || ValueError::Unreadable {
        value: value.to_owned(),
        expected: "a size in bytes (expected e.g. `64kB`, `256MB`, `64MiB`)",
    };
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(unreadable()),
    };
    if number.is_empty() {
        return Err(unreadable());
    }
    let too_large = || ValueError::TooLarge { value: value.to_owned() };
    let number: u64 = number.parse().map_err(|_| too_large())?;
    number.checked_mul(factor).ok_or_else(too_large)
}

/// Parses a switch: `true`, `yes`, `on`, `1` or `false`, `no`, `off`, `0`; case does not matter.
///
/// # Errors
/// [`ValueError::Unreadable`] for all else.
pub fn parse_bool(text: &str) -> Result<bool, ValueError> {
    let value = text.trim();
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(ValueError::Unreadable {
            value: value.to_owned(),
            expected: "a switch (expected `true` or `false`)",
        }),
    }
}

/// Splits a list at its commas; blanks around an item do not count and empty items are left out.
pub fn parse_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn is_bare_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'_')
}

/// A text that must not be shown: `Debug` and `Display` print `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the hidden text, to hand it to whom it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration_error(text: &str) -> String {
        parse_duration(text).unwrap_err().to_string()
    }

    fn bytes_error(text: &str) -> String {
        parse_bytes(text).unwrap_err().to_string()
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration(" 10s "), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1day"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_what_would_be_right() {
        assert_eq!(duration_error("10"), "`10` has no unit (expected e.g. `10s`)");
        assert_eq!(duration_error("0"), "`0` has no unit (expected e.g. `0s`)");
        assert_eq!(duration_error("1.5"), "`1.5` has no unit (expected e.g. `1.5s`)");
        assert_eq!(duration_error("soon"), "`soon` is not a duration (expected e.g. `500ms`, `10s`, `5m`)");
        assert_eq!(duration_error("-1s"), "`-1s` is not a duration (expected e.g. `500ms`, `10s`, `5m`)");
        assert_eq!(duration_error(""), "`` is not a duration (expected e.g. `500ms`, `10s`, `5m`)");
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(parse_bytes("4096B"), Ok(4096));
        assert_eq!(parse_bytes("512kB"), Ok(512_000));
        assert_eq!(parse_bytes("256MB"), Ok(256_000_000));
        assert_eq!(parse_bytes("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1gib"), Ok(1 << 30));
        assert_eq!(parse_bytes("2TB"), Ok(2_000_000_000_000));
    }

    #[test]
    fn a_size_that_cannot_be_read_is_refused_with_what_would_be_right() {
        let unreadable = "is not a size in bytes (expected e.g. `64kB`, `256MB`, `64MiB`)";
        assert_eq!(bytes_error("256"), "`256` has no unit (expected e.g. `256MB`)");
        assert_eq!(bytes_error("256M"), format!("`256M` {unreadable}"));
        assert_eq!(bytes_error("MB"), format!("`MB` {unreadable}"));
        assert_eq!(bytes_error("1.5GB"), format!("`1.5GB` {unreadable}"));
        assert_eq!(bytes_error("99999999999TB"), "`99999999999TB` is too large");
        assert_eq!(bytes_error("99999999999999999999B"), "`99999999999999999999B` is too large");
    }

    #[test]
    fn switches_and_lists_are_read_as_people_write_them() {
        assert_eq!(parse_bool("Yes"), Ok(true));
        assert_eq!(parse_bool("0"), Ok(false));
        assert_eq!(
            parse_bool("maybe").unwrap_err().to_string(),
            "`maybe` is not a switch (expected `true` or `false`)"
        );
        assert_eq!(parse_list(" listen_events, page_view_events,,"), ["listen_events", "page_view_events"]);
        assert!(parse_list(" ").is_empty());
    }

    #[test]
    fn a_setting_is_named_in_its_error_and_empty_counts_as_not_set() {
        let source = |name: &str| match name {
            "STREAMIFY_FLUSH_INTERVAL" => Some("10".to_owned()),
            "STREAMIFY_EMPTY" => Some("  ".to_owned()),
            _ => None,
        };

        let error = read(&source, "STREAMIFY_FLUSH_INTERVAL", parse_duration).unwrap_err();

        assert_eq!(
            error.to_string(),
            "invalid `STREAMIFY_FLUSH_INTERVAL`: `10` has no unit (expected e.g. `10s`)"
        );
        assert_eq!(read(&source, "STREAMIFY_EMPTY", parse_bytes), Ok(None));
        assert_eq!(read(&source, "STREAMIFY_ABSENT", parse_bytes), Ok(None));
        assert_eq!(
            SettingError::Missing { name: "KAFKA_BOOTSTRAP_SERVERS".to_owned() }.to_string(),
            "`KAFKA_BOOTSTRAP_SERVERS` is not set"
        );
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");

        assert_eq!(format!("{secret:?} {secret}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "hunter2");
    }
}
