//! How a launched process finds its parameters: two values in the environment or on the command line, each base64 of zlib
//! of a JSON object.
//!
//! The context value alone decides whether this is a Pipes process. On the command line (`--dagster-pipes-context V`,
//! `--dagster-pipes-context=V`) a value wins over the environment; all other arguments are left alone.

use std::ffi::OsString;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use serde_json::{Map, Value};

use crate::error::{BoxError, PipesError};

/// Name of the environment variable that holds the context parameters.
pub const CONTEXT_VARIABLE: &str = "DAGSTER_PIPES_CONTEXT";
/// Name of the environment variable that holds the messages parameters.
pub const MESSAGES_VARIABLE: &str = "DAGSTER_PIPES_MESSAGES";

const CONTEXT_FLAG: &str = "--dagster-pipes-context";
const MESSAGES_FLAG: &str = "--dagster-pipes-messages";

/// The parameters of the context loader and of the message channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// Where the context is.
    pub context: Map<String, Value>,
    /// Where messages go.
    pub messages: Map<String, Value>,
}

impl Bootstrap {
    /// Reads the parameters of this process; `None` if Dagster did not launch it.
    ///
    /// # Errors
    /// [`PipesError::BadBootstrap`], [`PipesError::NoMessagesParameter`].
    pub fn from_process() -> Result<Option<Self>, PipesError> {
        // Lossy: a value that is not UTF-8 is not base64 either and fails below, instead of passing as absent.
        let environment =
            |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let arguments: Vec<String> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        Self::find(&environment, &arguments)
    }

    /// Reads the parameters from `environment` and `arguments`; `None` if there is no context among them.
    ///
    /// # Errors
    /// As [`Bootstrap::from_process`].
    pub fn find(
        environment: &dyn Fn(&str) -> Option<String>,
        arguments: &[String],
    ) -> Result<Option<Self>, PipesError> {
        let lookup =
            |flag: &str, variable: &str| flag_value(arguments, flag).or_else(|| environment(variable));
        let Some(context) = lookup(CONTEXT_FLAG, CONTEXT_VARIABLE) else {
            return Ok(None);
        };
        let messages = lookup(MESSAGES_FLAG, MESSAGES_VARIABLE).ok_or(PipesError::NoMessagesParameter)?;
        Ok(Some(Self {
            context: decode(CONTEXT_VARIABLE, &context)?,
            messages: decode(MESSAGES_VARIABLE, &messages)?,
        }))
    }
}

/// Returns the arguments without the two of Dagster and their values, for a command line parser that refuses what it does not know.
pub fn without_pipes_arguments(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut others = Vec::new();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let (flag, has_value) = text.split_once('=').map_or((text.as_ref(), false), |(flag, _)| (flag, true));
        if flag != CONTEXT_FLAG && flag != MESSAGES_FLAG {
            drop(text);
            others.push(argument);
        } else if !has_value {
            arguments.next();
        }
    }
    others
}

fn flag_value(arguments: &[String], flag: &str) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == flag {
            return arguments.next().cloned();
        }
        if let Some(value) = argument.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

fn decode(name: &'static str, value: &str) -> Result<Map<String, Value>, PipesError> {
    let bad = |source: BoxError| PipesError::BadBootstrap { name, source };
    let compressed = STANDARD.decode(value.trim()).map_err(|error| bad(error.into()))?;
    let mut text = String::new();
    ZlibDecoder::new(compressed.as_slice()).read_to_string(&mut text).map_err(|error| bad(error.into()))?;
    match parse_python_json(&text).map_err(|error| bad(error.into()))? {
        Value::Object(object) => Ok(object),
        other => Err(bad(format!("expected a JSON object, found `{other}`").into())),
    }
}

/// Parses JSON as Python writes it: bare `NaN`, `Infinity` and `-Infinity` become null.
pub(crate) fn parse_python_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match without_bare_floats(text) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => Err(error),
    })
}

/// Returns the text with the three words outside of strings replaced by null; `None` if there are none.
fn without_bare_floats(text: &str) -> Option<String> {
    let mut repaired = String::with_capacity(text.len());
    let (mut in_string, mut changed) = (false, false);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, word) {
            repaired.push_str("null");
            rest = &rest[word.len()..];
            changed = true;
            continue;
        }
        let mut taken = first.len_utf8();
        if in_string && first == '\\' {
            taken += rest[taken..].chars().next().map_or(0, char::len_utf8);
        } else if first == '"' {
            in_string = !in_string;
        }
        repaired.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    changed.then_some(repaired)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use serde_json::json;

    use super::*;

    fn encode(text: &str) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        STANDARD.encode(encoder.finish().unwrap())
    }

    fn arguments(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn without_a_context_it_is_no_pipes_process() {
        let only_messages = |name: &str| (name == MESSAGES_VARIABLE).then(|| encode("{}"));

        let found = Bootstrap::find(&only_messages, &arguments(&["worker", "--until", "caught-up"])).unwrap();

        assert_eq!(found, None);
    }

    #[test]
    fn both_values_are_read_from_the_environment() {
        let environment = |name: &str| match name {
            CONTEXT_VARIABLE => Some(encode(r#"{"data": {"run_id": "r"}}"#)),
            MESSAGES_VARIABLE => Some(encode(r#"{"path": "/tmp/m"}"#)),
            _ => None,
        };

        let found = Bootstrap::find(&environment, &[]).unwrap().unwrap();

        assert_eq!(Value::Object(found.context), json!({"data": {"run_id": "r"}}));
        assert_eq!(Value::Object(found.messages), json!({"path": "/tmp/m"}));
    }

    #[test]
    fn the_command_line_wins_and_other_arguments_are_left_alone() {
        let environment = |_: &str| Some(encode(r#"{"from": "environment"}"#));
        let context = format!("--dagster-pipes-context={}", encode(r#"{"from": "flag"}"#));
        let messages = encode(r#"{"from": "second flag"}"#);
        let arguments = arguments(&["worker", "--x", &context, "--dagster-pipes-messages", &messages, "y"]);

        let found = Bootstrap::find(&environment, &arguments).unwrap().unwrap();

        assert_eq!(found.context["from"], "flag");
        assert_eq!(found.messages["from"], "second flag");
    }

    #[test]
    fn a_parser_may_be_given_the_arguments_that_are_not_dagsters() {
        let given = arguments(&[
            "worker",
            "--dagster-pipes-context",
            "abc",
            "--rows=3",
            "--dagster-pipes-messages=x=",
            "last",
        ]);

        let others = without_pipes_arguments(given.into_iter().map(OsString::from));

        assert_eq!(others, ["worker", "--rows=3", "last"]);
    }

    #[test]
    fn a_context_without_messages_is_an_error() {
        let environment = |name: &str| (name == CONTEXT_VARIABLE).then(|| encode("{}"));

        let error = Bootstrap::find(&environment, &[]).unwrap_err();

        assert_eq!(error.to_string(), "`DAGSTER_PIPES_CONTEXT` is given but `DAGSTER_PIPES_MESSAGES` is not");
    }

    #[test]
    fn what_is_not_base64_zlib_json_object_is_an_error_that_names_the_variable() {
        for value in ["%%%", "AAAA", &encode("{"), &encode("[1]"), ""] {
            let environment = |_: &str| Some(value.to_owned());

            let error = Bootstrap::find(&environment, &[]).unwrap_err();

            assert_eq!(error.to_string(), "failed to decode `DAGSTER_PIPES_CONTEXT`", "{value}");
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[test]
    fn bare_nan_and_infinity_become_null_outside_of_strings_only() {
        let text = r#"{"a": NaN, "b": [-Infinity, Infinity], "NaN": "say \"NaN\" \\", "c": 1}"#;

        let value = parse_python_json(text).unwrap();

        assert_eq!(value, json!({"a": null, "b": [null, null], "NaN": "say \"NaN\" \\", "c": 1}));
        assert!(parse_python_json("{\"a\": nan}").is_err());
    }
}
