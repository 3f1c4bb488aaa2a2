//! What was read or refused before, taken again: staging tables swapped in, dead letters decoded anew.

use std::time::Duration;

use pyo3::prelude::*;
use streamify_batch::Job;
use streamify_batch::replay::dead_letters::ReplayLettersOptions;
use streamify_batch::replay::swap::SwapOptions;
use streamify_core::dead_letter;

use crate::call::{CancelToken, guarded};
use crate::environment::Size;
use crate::jobs::{DaysArgument, Shared};

/// Compares a staging table with the table it was read for, and puts its rows in the place of the others.
#[pyfunction]
#[pyo3(signature = (staging, *, accept_loss=false, dry_run=false, memory_limit=None, env=None, progress=None, cancel=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn swap(
    py: Python<'_>,
    staging: String,
    accept_loss: bool,
    dry_run: bool,
    memory_limit: Option<Size>,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), memory_limit, progress, cancel)?;
        let options = SwapOptions { staging: staging.clone(), accept_loss, dry_run };
        let job = Job::Swap(shared.contracts(py)?, options);
        shared.run(py, job, staging)
    })
}

/// Decodes dead letters again with the present contracts; what is good now lands under its original offset.
#[pyfunction]
#[pyo3(signature = (*, topics=None, reasons=None, days=None, again=false, max_event_time_ahead=None, dry_run=false, memory_limit=None, env=None, progress=None, cancel=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn replay_dead_letters(
    py: Python<'_>,
    topics: Option<Vec<String>>,
    reasons: Option<Vec<String>>,
    days: Option<DaysArgument<'_>>,
    again: bool,
    max_event_time_ahead: Option<Duration>,
    dry_run: bool,
    memory_limit: Option<Size>,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), memory_limit, progress, cancel)?;
        let default = ReplayLettersOptions::default();
        let options = ReplayLettersOptions {
            topics: topics.unwrap_or_default(),
            reasons: reasons.unwrap_or_default(),
            days: days.map(|days| days.days("days")).transpose()?,
            again,
            max_event_time_ahead: max_event_time_ahead.unwrap_or(default.max_event_time_ahead),
            dry_run,
        };
        let job = Job::ReplayLetters(shared.contracts(py)?, options);
        shared.run(py, job, dead_letter::TABLE.to_owned())
    })
}
