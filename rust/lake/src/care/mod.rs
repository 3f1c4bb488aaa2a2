//! Table care: what keeps a table small and readable and never changes a row.
//!
//! * [`expire`] removes old snapshots and the files that only they needed;
//! * [`orphans`] finds and deletes files that no snapshot knows;
//! * [`consumers`] registers who reads a table incrementally, so that neither takes away what is still to be read;
//! * [`refs`] sets and removes tags and branches, [`settings`] properties and the sort order;
//! * [`manifests`] plans which entries go together into which manifest.
//!
//! Every change is one commit that asserts what it was decided on, is decided anew on fresh metadata after a conflict, and
//! ends within the bounds of [`CommitOptions`](crate::commit::CommitOptions). A file is deleted only after the metadata
//! without it is in the catalog; whatever is interrupted in between leaves orphans, never a gap.

mod change;
pub mod consumers;
mod delete;
mod error;
pub mod expire;
mod folders;
pub mod manifests;
pub mod orphans;
mod reachable;
pub mod refs;
pub mod settings;

pub use self::change::Changed;
pub use self::delete::{FileKind, Tally};
pub use self::error::CareError;
