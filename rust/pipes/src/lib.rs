//! Dagster Pipes for Rust programs: reads the context that Dagster hands to the process it launches, and reports logs,
//! materializations, checks and custom messages back. Protocol version 0.1, as spoken by Dagster 1.13.
//!
//! ```no_run
//! use streamify_pipes::{Level, Metadata, Pipes};
//!
//! # async fn example() -> Result<(), streamify_pipes::PipesError> {
//! if let Some(pipes) = Pipes::from_process().await? {
//!     pipes.log(Level::Info, "42 rows written");
//!     pipes.report_materialization("bronze/listen_events", Metadata::new().int("rows", 42), None)?;
//!     pipes.close(Ok(())).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it guarantees, beside the protocol itself:
//!
//! * **A message that the reader would choke on cannot be built.** One malformed message ends Dagster's own reader for
//!   good, so metadata values, levels, severities and exceptions are types, and asset keys are checked.
//! * **Results are not lost.** They are never dropped from the buffer; a chunk is retried under its own number until it is stored; only the
//!   deadline of the close ends that, and then the close says so. Logs may be dropped, lowest level first, and are counted.
//! * **The stock S3 reader keeps up.** Chunks are paced to what it can read, the end included.
//! * **`opened` comes first, `closed` last, once.** Also on an error, on a panic that unwinds through [`Pipes`], and if it is
//!   dropped without a close. (With `panic = "abort"` nothing unwinds, and nothing is sent.)
//! * **The writer has a thread and a runtime of its own**; a blocked caller cannot starve it.
//!
//! Beside `params` each message carries `seq` (1, 2, 3 … per process, no gaps), `ts` (milliseconds since 1970) and `writer` (a random id of
//! the process). Stock readers pass over them; a careful one finds losses, repetitions and restarts by them.
//!
//! Channels: file (`path`), `stdio`, `buffered_stdio`, S3 (`bucket`, `key_prefix`). A reader that polls faster than the stock one may say so by the
//! extra key `streamify_min_interval_ms` in the messages parameters: the least number of milliseconds between two chunks.
//! Where the reader asks for it (`include_stdio_in_messages`), the process's own stdout and stderr are mirrored as messages as well.
//!
//! It does not listen for signals: the program ends its work and closes (see the example `pipes_messages`).

mod bootstrap;
mod capture;
mod channel;
mod context;
mod error;
mod exception;
mod layer;
mod message;
mod metadata;
mod options;
mod pacing;
mod panic;
mod queue;
mod s3;
mod session;
mod table;
mod writer;

pub use bootstrap::{Bootstrap, CONTEXT_VARIABLE, MESSAGES_VARIABLE, without_pipes_arguments};
pub use context::{Context, KeyRange, Provenance, TimeWindow, escape_asset_key};
pub use error::PipesError;
pub use exception::ExceptionInfo;
pub use layer::PipesLayer;
pub use message::{Level, Severity, Stream};
pub use metadata::{Metadata, MetadataValue};
pub use options::Options;
pub use session::{Pipes, PipesHandle};
pub use table::{Cell, Column, ColumnDependency, ColumnLineage, Table};

/// The code of the README is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
