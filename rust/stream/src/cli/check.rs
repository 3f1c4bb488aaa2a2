//! What can be seen to be wrong without asking a server.

use std::time::Duration;

use super::{AssignmentChoice, Cli};
use crate::settings::SettingsError;

/// The smallest memory limit with which every topic can still make progress.
const LEAST_MEMORY: u64 = 96_000_000;

impl Cli {
    /// The first setting that cannot be meant.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.memory_limit < LEAST_MEMORY {
            return Err(invalid("--memory-limit", "at least 96MB is needed for four topics"));
        }
        if self.freshness < Duration::from_millis(100) {
            return Err(invalid("--freshness", "a commit takes longer than 100ms; expected e.g. `1s`"));
        }
        if !self.lease_time.is_zero() && self.lease_time < Duration::from_secs(3) {
            return Err(invalid(
                "--lease-time",
                "commits may take a second or two; expected at least `3s`, or `0s` for none",
            ));
        }
        if self.file_size < 1_000_000 {
            return Err(invalid("--file-size", "expected at least 1MB"));
        }
        if !(1..=64).contains(&self.decode_threads.unwrap_or(1)) {
            return Err(invalid("--decode-threads", "expected 1 to 64"));
        }
        if !(1..=64).contains(&self.open_files) {
            return Err(invalid("--open-files", "expected 1 to 64"));
        }
        if let Some(staging) = &self.replay_into {
            self.check_replay(staging)?;
        }
        if self.assignment == AssignmentChoice::Group && self.group_id.trim().is_empty() {
            return Err(invalid("--assignment", "`group` needs a --group-id"));
        }
        Ok(())
    }

    fn check_replay(&self, staging: &str) -> Result<(), SettingsError> {
        let is_name = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
        };
        if staging.is_empty() || !staging.chars().all(is_name) {
            return Err(invalid(
                "--replay-into",
                "expected a table name of lower case letters, digits and `_`",
            ));
        }
        if self.topics.len() != 1 {
            return Err(invalid("--replay-into", "one topic is read again at a time; name it with --topics"));
        }
        if self.assignment == AssignmentChoice::Group {
            return Err(invalid(
                "--replay-into",
                "a replay reads all of its range; leave out --assignment group",
            ));
        }
        Ok(())
    }
}

fn invalid(flag: &'static str, problem: impl Into<String>) -> SettingsError {
    SettingsError::Invalid { flag, problem: problem.into() }
}
