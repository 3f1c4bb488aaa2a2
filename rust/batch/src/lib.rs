//! The batch jobs: silver, sessions, and the care of tables. The same code runs in the binary `streamify-batch` and, through
//! the extension module, inside a Python process.
//!
//! Guarantees of every job:
//! * what it read and what it wrote are one commit: repeated, killed half-way, or run twice at once, it neither loses nor
//!   doubles a row;
//! * the rows and ids that it holds are bounded by its memory budget, whatever the size of a day; readers, encoder and
//!   allocator come on top (some 200 MiB);
//! * asked to stop, it ends within a batch of rows; what was committed stays, files of the rest are left to the orphan
//!   removal.

pub mod cli;
pub mod compact;
pub mod context;
pub mod days;
pub mod error;
pub mod jobs;
pub mod manifests;
pub mod output;
pub mod progress;
mod registration;
pub mod replay;
pub mod report;
pub mod sessions;
pub mod settings;
pub mod silver;
pub mod stop;

pub use context::{Context, Progress};
pub use error::BatchError;
pub use jobs::Job;
pub use settings::Settings;
