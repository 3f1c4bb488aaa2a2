//! The batch jobs: silver, sessions, and the care of tables. The same code runs in the binary `streamify-batch` and, through
//! the extension module, inside a Python process.
//!
//! Guarantees of every job:
//! * what it read and what it wrote are one commit: repeated, killed half-way, or run twice at once, it neither loses nor
//!   doubles a row;
//! * memory stays within the budget, whatever the size of a day: the binary's as a whole from 128 MB on (measured on files
//!   of ours); in process, where the allocator is the host's, what the job adds, about;
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
mod reading;
mod registration;
pub mod replay;
pub mod report;
mod restart;
pub mod sessions;
pub mod settings;
pub mod silver;
pub mod stop;

pub use context::{Context, Progress};
pub use error::BatchError;
pub use jobs::Job;
pub use settings::Settings;
