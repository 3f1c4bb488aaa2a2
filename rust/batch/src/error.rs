//! Why a job failed, what a person can do about it, and with which code the process ends.

use arrow::error::ArrowError;
use streamify_core::contract::ContractError;
use streamify_lake::care::CareError;
use streamify_lake::catalog::CatalogError;
use streamify_lake::commit::CommitError;
use streamify_lake::read::ReadError;
use streamify_lake::scan::increment::IncrementError;
use streamify_lake::{FileError, LakeError};
use streamify_pipes::PipesError;
use streamify_process::ProcessError;
use streamify_runtime::{ExitCode, RuntimeError};

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// An option cannot be meant.
    #[error("invalid `{option}`: {problem}")]
    Option {
        /// The option.
        option: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The lake's settings cannot be meant.
    #[error(transparent)]
    LakeSettings(#[from] streamify_lake::settings::SettingsError),
    /// The contracts cannot be used.
    #[error(transparent)]
    Contracts(#[from] ContractError),
    /// The process frame could not be set up.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The Dagster channel does not work.
    #[error(transparent)]
    Pipes(#[from] PipesError),
    /// Somebody asked the job to stop; nothing more was committed.
    #[error("stopped before the end; what was committed stays, the rest is done by the next run")]
    Cancelled,
    /// A table that must be there is not.
    #[error("table `{table}` does not exist")]
    TableMissing {
        /// Its name.
        table: String,
    },
    /// A table cannot be loaded.
    #[error("failed to load table `{table}`")]
    Catalog {
        /// Its name.
        table: String,
        /// Why.
        #[source]
        source: CatalogError,
    },
    /// The tables cannot be listed.
    #[error("failed to list the tables")]
    Tables {
        /// Why.
        #[source]
        source: CatalogError,
    },
    /// A defect of ours.
    #[error("a defect in streamify ended the job: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The lake cannot be used.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Rows cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is new cannot be told.
    #[error(transparent)]
    Increment(#[from] IncrementError),
    /// Rows cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A commit did not land.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A table could not be cared for.
    #[error(transparent)]
    Care(#[from] CareError),
    /// Rows are not as they must be.
    #[error("rows of table `{table}` cannot be used")]
    Rows {
        /// The table they came from.
        table: String,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something in Arrow.
    #[error("failed to arrange rows")]
    Arrow(#[from] ArrowError),
    /// Other commits came first each time.
    #[error("table `{table}` changed under the job {times} times")]
    Overtaken {
        /// The table.
        table: String,
        /// How often.
        times: u32,
        /// The last time.
        #[source]
        source: CommitError,
    },
    /// A swap would take rows away.
    #[error("table `{staging}` lacks {rows} rows that table `{target}` has in the same range")]
    SwapLoses {
        /// The staging table.
        staging: String,
        /// The target.
        target: String,
        /// Rows that only the target has.
        rows: u64,
    },
    /// The report cannot be written.
    #[error("failed to write `{path}`")]
    Report {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl BatchError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::TableMissing { table } if table.starts_with("bronze_") => {
                "run the stream worker first: `streamify-stream --until caught-up`"
            }
            Self::TableMissing { .. } => {
                "run the job that makes it first; `streamify-batch --help` lists them"
            }
            Self::Read(error) | Self::Increment(IncrementError::Unreadable(error))
                if error.is_unsupported() =>
            {
                "rewrite the table with the engine that wrote them, e.g. Spark: `CALL system.rewrite_data_files(table => '…', options => map('delete-file-threshold', '1', 'use-starting-sequence-number', 'false', 'remove-dangling-deletes', 'true'))`"
            }
            Self::Commit(error) => return error.hint().map(str::to_owned),
            Self::Increment(error) => return error.hint().map(str::to_owned),
            Self::Care(error) => return error.hint().map(str::to_owned),
            Self::Panicked { .. } => {
                "nothing half-done is in the tables; please report it, with the log lines before it"
            }
            Self::Overtaken { .. } => {
                "other jobs write the same partitions; let them end, or raise `--max-restarts`"
            }
            Self::SwapLoses { .. } => {
                "Kafka dropped their records, or the present contract refuses them (see the staging table's dead letters); nothing was changed; swap with `--accept-loss` to let them go"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// With which code a process ends for this.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Option { .. } | Self::LakeSettings(_) | Self::Contracts(_) => ExitCode::BadSettings,
            Self::Runtime(RuntimeError::LogFilter { .. }) | Self::Care(CareError::Refused { .. }) => {
                ExitCode::BadSettings
            }
            Self::SwapLoses { .. } => ExitCode::NeedsDecision,
            Self::Commit(error) if error.needs_decision() => ExitCode::NeedsDecision,
            Self::Increment(error) if error.needs_decision() => ExitCode::NeedsDecision,
            Self::Read(error) if error.is_unsupported() => ExitCode::NeedsDecision,
            _ => ExitCode::Failure,
        }
    }
}

impl ProcessError for BatchError {
    fn hint(&self) -> Option<String> {
        self.hint()
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}
