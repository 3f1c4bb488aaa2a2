//! The batch jobs as functions. Their arguments are those of the command line; the reports are dicts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use streamify_batch::compact::CompactOptions;
use streamify_batch::context::Context;
use streamify_batch::days::{Days, day_number};
use streamify_batch::jobs::Contracts;
use streamify_batch::sessions::{SessionsOptions, TABLE};
use streamify_batch::settings::contracts;
use streamify_batch::silver::SilverOptions;
use streamify_batch::{Job, Settings};
use streamify_lake::LakeSettings;
use streamify_lake::care::expire::ExpireOptions;
use streamify_lake::care::orphans::OrphanOptions;

use crate::call::{CancelToken, Watch, guarded, run};
use crate::environment::{Environment, Size};
use crate::errors::{StreamifyError, argument, raised};
use crate::value::python;

/// Days: a text as on the command line, or a sequence of dates and such texts.
#[derive(FromPyObject)]
pub enum DaysArgument<'py> {
    Text(String),
    List(Vec<Bound<'py, PyAny>>),
}

impl DaysArgument<'_> {
    pub(crate) fn days(&self, name: &str) -> PyResult<BTreeSet<i32>> {
        let parse = |text: &str| text.parse::<Days>().map_err(|problem| argument(name, problem));
        match self {
            Self::Text(text) => Ok(parse(text)?.0),
            Self::List(items) => {
                let mut days = BTreeSet::new();
                for item in items {
                    match item.extract::<String>() {
                        Ok(text) => days.extend(parse(&text)?.0),
                        // A date; of a datetime the text has a time behind it, and is refused.
                        Err(_) => {
                            let text = item.str()?.to_cow()?.into_owned();
                            days.insert(day_number(&text).map_err(|problem| argument(name, problem))?);
                        }
                    }
                }
                Ok(days)
            }
        }
    }
}

/// What all jobs share.
pub(crate) struct Shared {
    settings: Settings,
    lake: LakeSettings,
    contracts: Option<PathBuf>,
    watch: Watch,
}

impl Shared {
    pub(crate) fn new(
        py: Python<'_>,
        env: Option<&Bound<'_, PyAny>>,
        memory_limit: Option<Size>,
        progress: Option<Py<PyAny>>,
        cancel: Option<Py<CancelToken>>,
    ) -> PyResult<Self> {
        let environment = Environment::now(py, env)?;
        let settings = environment.settings(py, memory_limit)?;
        let contracts = environment.contracts();
        Ok(Self { settings, lake: environment.lake(py)?, contracts, watch: Watch { progress, cancel } })
    }

    pub(crate) fn contracts(&self, py: Python<'_>) -> PyResult<Contracts> {
        contracts(self.contracts.as_deref()).map_err(|error| raised(py, &error))
    }

    /// Does the job to one table and returns its report.
    pub(crate) fn run(self, py: Python<'_>, job: Job, table: String) -> PyResult<Py<PyAny>> {
        job.check().map_err(|error| raised(py, &error))?;
        let Self { settings, lake, watch, .. } = self;
        let report = run(py, watch, move |cancel, listener| async move {
            let context = Context { cancel, listener, ..settings.open(lake).await? };
            job.run(&context, &table).await
        })?;
        let report =
            serde_json::to_value(report).map_err(|error| StreamifyError::new_err(error.to_string()))?;
        python(py, &report)
    }
}

/// Takes what is new in bronze into a silver table, or makes days of it anew.
#[pyfunction]
#[pyo3(signature = (table, *, rebuild=None, reread=false, accept_changes=None, memory_limit=None, env=None, progress=None, cancel=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn silver(
    py: Python<'_>,
    table: String,
    rebuild: Option<DaysArgument<'_>>,
    reread: bool,
    accept_changes: Option<Vec<i64>>,
    memory_limit: Option<Size>,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), memory_limit, progress, cancel)?;
        let rebuild = rebuild.map(|days| days.days("rebuild")).transpose()?;
        if rebuild.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(argument("rebuild", "no day is named"));
        }
        let options = SilverOptions { rebuild, reread, accepted: accept_changes.unwrap_or_default() };
        let job = Job::Silver(shared.contracts(py)?, options);
        shared.run(py, job, table)
    })
}

/// Brings the user sessions up to date with what is new in silver.
#[pyfunction]
#[pyo3(signature = (*, full=false, accept_changes=None, memory_limit=None, env=None, progress=None, cancel=None))]
pub fn sessions(
    py: Python<'_>,
    full: bool,
    accept_changes: Option<Vec<i64>>,
    memory_limit: Option<Size>,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), memory_limit, progress, cancel)?;
        let options = SessionsOptions { full, accepted: accept_changes.unwrap_or_default() };
        let job = Job::Sessions(shared.contracts(py)?, options);
        shared.run(py, job, TABLE.to_owned())
    })
}

/// Rewrites small data files of `table` into few large ones, sorted; the rows stay the same.
#[pyfunction]
#[pyo3(signature = (table, *, days=None, small_below=0.75, min_files=5, dry_run=false, memory_limit=None, env=None, progress=None, cancel=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn compact(
    py: Python<'_>,
    table: String,
    days: Option<DaysArgument<'_>>,
    small_below: f64,
    min_files: usize,
    dry_run: bool,
    memory_limit: Option<Size>,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), memory_limit, progress, cancel)?;
        let days = days.map(|days| days.days("days")).transpose()?;
        let options = CompactOptions { small_below, min_files, days, dry_run };
        shared.run(py, Job::Compact(options), table)
    })
}

/// Rewrites the manifests of `table`, sorted by partition; the data files stay as they are.
#[pyfunction]
#[pyo3(signature = (table, *, min_manifests=16, env=None, progress=None, cancel=None))]
pub fn rewrite_manifests(
    py: Python<'_>,
    table: String,
    min_manifests: u64,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), None, progress, cancel)?;
        shared.run(py, Job::RewriteManifests(min_manifests), table)
    })
}

/// Removes old snapshots of `table`, and the files that only they needed.
#[pyfunction]
#[pyo3(signature = (table, *, older_than=None, keep=None, refs_older_than=None, stale_after=None, ignore_stale=false, dry_run=false, env=None, progress=None, cancel=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn expire(
    py: Python<'_>,
    table: String,
    older_than: Option<Duration>,
    keep: Option<usize>,
    refs_older_than: Option<Duration>,
    stale_after: Option<Duration>,
    ignore_stale: bool,
    dry_run: bool,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), None, progress, cancel)?;
        let options = ExpireOptions {
            min_snapshots: keep,
            max_age: older_than,
            max_ref_age: refs_older_than,
            stale_after: stale_after.unwrap_or(ExpireOptions::default().stale_after),
            ignore_stale,
            dry_run,
            ..ExpireOptions::default()
        };
        shared.run(py, Job::Expire(options), table)
    })
}

/// Finds files in the folders of `table` that no snapshot knows, and deletes them if told to.
#[pyfunction]
#[pyo3(signature = (table, *, older_than=None, force=false, stale_after=None, ignore_stale=false, delete=false, env=None, progress=None, cancel=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn remove_orphans(
    py: Python<'_>,
    table: String,
    older_than: Option<Duration>,
    force: bool,
    stale_after: Option<Duration>,
    ignore_stale: bool,
    delete: bool,
    env: Option<Bound<'_, PyAny>>,
    progress: Option<Py<PyAny>>,
    cancel: Option<Py<CancelToken>>,
) -> PyResult<Py<PyAny>> {
    guarded(py, || {
        let shared = Shared::new(py, env.as_ref(), None, progress, cancel)?;
        let default = OrphanOptions::default();
        let options = OrphanOptions {
            grace: older_than.unwrap_or(default.grace),
            force,
            delete,
            stale_after: stale_after.unwrap_or(default.stale_after),
            ignore_stale,
            ..default
        };
        shared.run(py, Job::RemoveOrphans(options), table)
    })
}
