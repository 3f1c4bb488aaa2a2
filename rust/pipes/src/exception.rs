//! An error as Dagster shows it: message, name, stack, cause.
//!
//! All five keys are written at every level, because the reader fails on a level that lacks one. Length and depth are bounded.

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Write as _};

use serde::Serialize;

/// Longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// Most stack lines, and the longest of them, in bytes.
const MAX_STACK_LINES: usize = 200;
const MAX_STACK_LINE_BYTES: usize = 4 << 10;
/// Longest chain of causes.
const MAX_DEPTH: usize = 16;

/// An error to be reported with `closed`. The name is the kind of error, the message stands alone without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExceptionInfo {
    message: String,
    stack: Vec<String>,
    name: Option<String>,
    cause: Option<Box<ExceptionInfo>>,
    context: Option<Box<ExceptionInfo>>,
}

impl ExceptionInfo {
    /// Returns an exception with this name and message.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        let message = truncated(message.into(), MAX_MESSAGE_BYTES);
        let name = Some(truncated(name.into(), MAX_STACK_LINE_BYTES));
        Self { message, stack: Vec::new(), name, cause: None, context: None }
    }

    /// Returns the exception that tells of `error` and its sources. Its name is the leading word of its `Debug` form, which for an
    /// enum is the variant: the situation.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::from_chain(error, 0)
    }

    fn from_chain(error: &(dyn Error + 'static), depth: usize) -> Self {
        let mut exception = Self::new(debug_name(error), error.to_string());
        if let Some(source) = error.source().filter(|_| depth + 1 < MAX_DEPTH) {
            exception.cause = Some(Box::new(Self::from_chain(source, depth + 1)));
        }
        exception
    }

    /// Returns the exception that tells of a caught panic, from its payload.
    pub fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "(no message)".to_owned());
        Self::new("panic", message)
    }

    /// Adds stack lines; those beyond the first 200 are left out, long ones are cut.
    #[must_use]
    pub fn with_stack(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        let lines = lines.into_iter().take(MAX_STACK_LINES);
        self.stack = lines.map(|line| truncated(line, MAX_STACK_LINE_BYTES)).collect();
        self
    }

    /// Returns the message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Cuts a text to at most `limit` bytes, at a character, and says how much is missing.
pub(crate) fn truncated(mut text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
    let missing = text.len() - end;
    text.truncate(end);
    text.push_str(&format!(" … ({missing} bytes left out)"));
    text
}

/// Takes the leading word of a `Debug` form and stops the formatting there.
struct LeadingWord(String);

impl fmt::Write for LeadingWord {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if !character.is_alphanumeric() && character != '_' {
                return Err(fmt::Error);
            }
            self.0.push(character);
        }
        Ok(())
    }
}

fn debug_name(error: &(dyn Error + 'static)) -> String {
    let mut word = LeadingWord(String::new());
    let _ = write!(word, "{error:?}");
    if word.0.starts_with(char::is_alphabetic) { word.0 } else { "Error".to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum LakeError {
        #[error("failed to commit to `raw.events`")]
        CommitConflict {
            #[source]
            source: std::io::Error,
        },
    }

    #[test]
    fn an_error_is_told_with_its_chain_and_all_keys_at_each_level() {
        let error = LakeError::CommitConflict { source: std::io::Error::other("base is stale") };

        let exception = ExceptionInfo::from_error(&error).with_stack(["at commit".to_owned()]);

        assert_eq!(
            serde_json::to_value(&exception).unwrap(),
            json!({
                "message": "failed to commit to `raw.events`", "stack": ["at commit"], "name": "CommitConflict",
                "cause": {"message": "base is stale", "stack": [], "name": "Custom", "cause": null, "context": null},
                "context": null
            })
        );
    }

    #[test]
    fn a_panic_payload_gives_its_message() {
        let payload: Box<dyn Any + Send> = Box::new("offset went backwards".to_owned());

        let exception = ExceptionInfo::from_panic(payload.as_ref());

        assert_eq!(exception, ExceptionInfo::new("panic", "offset went backwards"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character_and_says_so() {
        let exception = ExceptionInfo::new("Error", "é".repeat(MAX_MESSAGE_BYTES));

        assert!(exception.message().ends_with(" … (65536 bytes left out)"), "{}", exception.message().len());
    }
}
