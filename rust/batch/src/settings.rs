//! What every job is given, whoever starts it: a command line or Python.

use std::path::Path;
use std::time::Duration;

use streamify_core::contract;
use streamify_lake::commit::CommitOptions;
use streamify_lake::protocol::ResumeFrom;
use streamify_lake::settings::Lookup;
use streamify_lake::{Lake, LakeSettings};
use streamify_runtime::settings::{SettingError, parse_bytes, parse_duration, read};

use crate::context::{Context, DEFAULT_BUDGET, LEAST_BUDGET};
use crate::error::BatchError;
use crate::jobs::Contracts;

/// What every job is given beside its own options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that a job may hold, at least [`LEAST_BUDGET`].
    pub memory_limit: u64,
    /// How long a commit goes on while catalog or store are away.
    pub commit_timeout: Duration,
    /// How many conflicts with other committers one commit may meet.
    pub commit_retries: u32,
    /// How often a job begins anew when other commits overtook it.
    pub max_restarts: u32,
    /// The operator's decision for tables whose property and snapshots disagree.
    pub resume_from: Option<ResumeFrom>,
}

impl Default for Settings {
    fn default() -> Self {
        let commit = CommitOptions::default();
        Self {
            memory_limit: DEFAULT_BUDGET as u64,
            commit_timeout: commit.timeout,
            commit_retries: commit.max_conflicts,
            max_restarts: 5,
            resume_from: None,
        }
    }
}

impl Settings {
    /// Reads them from the variables that the command line knows, too.
    ///
    /// # Errors
    /// [`BatchError::Option`]: a value that cannot be meant.
    pub fn from_env(lookup: Lookup<'_>) -> Result<Self, BatchError> {
        let default = Self::default();
        let count = |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is not a count"));
        let get = |error: SettingError| match error {
            SettingError::Invalid { name, problem } => BatchError::Option { option: name, problem },
            SettingError::Missing { name } => {
                BatchError::Option { option: name, problem: "is not set".to_owned() }
            }
        };
        Ok(Self {
            memory_limit: read(lookup, "STREAMIFY_BATCH_MEMORY_LIMIT", parse_bytes)
                .map_err(get)?
                .unwrap_or(default.memory_limit),
            commit_timeout: read(lookup, "STREAMIFY_COMMIT_TIMEOUT", parse_duration)
                .map_err(get)?
                .unwrap_or(default.commit_timeout),
            commit_retries: read(lookup, "STREAMIFY_COMMIT_RETRIES", count)
                .map_err(get)?
                .unwrap_or(default.commit_retries),
            max_restarts: read(lookup, "STREAMIFY_MAX_RESTARTS", count)
                .map_err(get)?
                .unwrap_or(default.max_restarts),
            resume_from: read(lookup, "STREAMIFY_RESUME_FROM", parse_resume_from).map_err(get)?,
        })
    }

    /// Opens the lake for a job under these settings. Nobody listens to the job yet, and nothing stops it but its token.
    ///
    /// # Errors
    /// [`BatchError::Option`], [`BatchError::Lake`]
    pub async fn open(self, lake: LakeSettings) -> Result<Context, BatchError> {
        let memory_limit = usize::try_from(self.memory_limit).unwrap_or(usize::MAX);
        if memory_limit < LEAST_BUDGET {
            let problem = format!("at least {} MB are needed", LEAST_BUDGET / 1_000_000);
            return Err(BatchError::Option { option: "memory-limit".to_owned(), problem });
        }
        let lake = Lake::open(&lake).await?;
        let commit = CommitOptions {
            timeout: self.commit_timeout,
            max_conflicts: self.commit_retries,
            resume_from: self.resume_from,
        };
        Ok(Context { budget: memory_limit, commit, max_restarts: self.max_restarts, ..Context::new(lake) })
    }
}

/// Reads which state holds.
///
/// # Errors
/// It is neither `snapshot` nor `property`.
pub fn parse_resume_from(text: &str) -> Result<ResumeFrom, String> {
    match text {
        "snapshot" => Ok(ResumeFrom::Snapshot),
        "property" => Ok(ResumeFrom::Property),
        _ => Err(format!("`{text}` is neither `snapshot` nor `property`")),
    }
}

/// The contracts in a folder, or the built-in ones.
///
/// # Errors
/// [`BatchError::Contracts`]
pub fn contracts(folder: Option<&Path>) -> Result<Contracts, BatchError> {
    match folder.filter(|folder| !folder.as_os_str().is_empty()) {
        None => Ok(contract::builtin()),
        Some(folder) => Ok(contract::load_dir(folder)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_and_what_cannot_be_meant_names_the_variable() {
        let lookup = |name: &str| match name {
            "STREAMIFY_BATCH_MEMORY_LIMIT" => Some("256MB".to_owned()),
            "STREAMIFY_COMMIT_TIMEOUT" => Some("10s".to_owned()),
            _ => None,
        };
        let settings = Settings::from_env(&lookup).unwrap();
        assert_eq!((settings.memory_limit, settings.commit_timeout), (256_000_000, Duration::from_secs(10)));
        assert_eq!(settings.commit_retries, Settings::default().commit_retries);

        let wrong = |name: &str| (name == "STREAMIFY_MAX_RESTARTS").then(|| "few".to_owned());
        let error = Settings::from_env(&wrong).unwrap_err();
        assert_eq!(error.to_string(), "invalid `STREAMIFY_MAX_RESTARTS`: `few` is not a count");
    }
}
