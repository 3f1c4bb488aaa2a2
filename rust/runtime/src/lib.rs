//! The frame every streamify process runs in: how it starts logging, how it is told to stop, how its tasks are
//! watched, how it can be looked at from outside, and how it ends.
//!
//! * [`ExitCode`]: the four ways a process ends.
//! * [`shutdown_token`]: SIGINT and SIGTERM become a [`CancellationToken`](tokio_util::sync::CancellationToken);
//!   the second signal ends the process at once.
//! * [`Tasks`]: tasks with names; one that ends before its time ends the process, and a drain that takes too long
//!   says who is still running.
//! * [`init_telemetry`]: logs to stderr, for people or as JSON lines.
//! * [`endpoint`]: `/metrics`, `/healthz` and `/readyz`.
//! * [`status`]: one line on a terminal that says how far the work is.
//! * [`report`]: one error, its causes and a hint, printed alike everywhere.
//! * [`figures`]: counts and sizes as people read them.
//! * [`settings`]: values with a required unit, secrets, lists.
//!
//! It knows nothing of Kafka, Iceberg or Dagster.

pub mod endpoint;
mod error;
mod exit;
pub mod figures;
pub mod report;
pub mod settings;
mod signals;
pub mod status;
mod tasks;
mod telemetry;

pub use error::RuntimeError;
pub use exit::ExitCode;
pub use signals::shutdown_token;
pub use tasks::{TaskError, Tasks};
pub use telemetry::{BoxedLayer, LOG_VARIABLE, LogFormat, init_telemetry};
