//! Errors as Python sees them: a type for what the caller can do about it, the message with its causes, and the hint.

use std::any::Any;

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use streamify_batch::BatchError;
use streamify_batch::stop::panic_message;
use streamify_lake::care::CareError;
use streamify_runtime::{ExitCode, report};

create_exception!(dagster_project._native, StreamifyError, PyException, "What the Rust side fails with.");
create_exception!(
    dagster_project._native,
    SettingsError,
    StreamifyError,
    "An argument or a variable cannot be meant."
);
create_exception!(
    dagster_project._native,
    TableError,
    StreamifyError,
    "A table does not exist or cannot be read."
);
create_exception!(
    dagster_project._native,
    UnavailableError,
    StreamifyError,
    "Catalog or store do not answer; the same call may succeed later."
);
create_exception!(
    dagster_project._native,
    CommitError,
    StreamifyError,
    "A commit did not land; nothing of it is in the table."
);
create_exception!(
    dagster_project._native,
    NeedsDecisionError,
    StreamifyError,
    "A person has to decide; the same call again does not help."
);
create_exception!(
    dagster_project._native,
    CancelledError,
    StreamifyError,
    "The call was asked to stop; what was committed stays."
);

/// Every error has a hint, `None` if there is nothing to say.
pub fn give_hints(py: Python<'_>) -> PyResult<()> {
    py.get_type::<StreamifyError>().setattr("hint", py.None())
}

/// The exception for an error of a job.
pub fn raised(py: Python<'_>, error: &BatchError) -> PyErr {
    let hint = error.hint();
    let text = report::format_error(error, hint.as_deref());
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned();
    let exception = match error {
        BatchError::Cancelled => CancelledError::new_err(text),
        _ if error.exit_code() == ExitCode::NeedsDecision => NeedsDecisionError::new_err(text),
        _ if error.exit_code() == ExitCode::BadSettings => SettingsError::new_err(text),
        BatchError::Care(error) if error.is_retryable() => UnavailableError::new_err(text),
        BatchError::Care(CareError::NotCommitted { .. }) => CommitError::new_err(text),
        BatchError::Lake(error) if error.is_retryable() => UnavailableError::new_err(text),
        BatchError::Catalog { source, .. } | BatchError::Tables { source } if source.is_retryable() => {
            UnavailableError::new_err(text)
        }
        BatchError::Lake(_)
        | BatchError::Care(_)
        | BatchError::Catalog { .. }
        | BatchError::Tables { .. }
        | BatchError::TableMissing { .. }
        | BatchError::Read(_)
        | BatchError::Increment(_)
        | BatchError::Rows { .. } => TableError::new_err(text),
        BatchError::Commit(_) | BatchError::Overtaken { .. } | BatchError::File(_) => {
            CommitError::new_err(text)
        }
        _ => StreamifyError::new_err(text),
    };
    with_hint(py, exception, hint)
}

/// The exception for an argument that cannot be meant.
pub fn argument(option: &str, problem: impl Into<String>) -> PyErr {
    SettingsError::new_err(format!("invalid `{option}`: {}", problem.into()))
}

/// The exception for a panic.
pub fn panicked(py: Python<'_>, payload: &(dyn Any + Send)) -> PyErr {
    raised(py, &BatchError::Panicked { message: panic_message(payload) })
}

fn with_hint(py: Python<'_>, exception: PyErr, hint: Option<String>) -> PyErr {
    match exception.value(py).setattr("hint", hint) {
        Ok(()) => exception,
        Err(failed) => failed,
    }
}
