//! Who may write a table: leases, one per writer and set of partitions, that run out unless they are renewed.
//!
//! A lease keeps a second writer from being started by accident; it is not what makes commits exactly once. That is the
//! state's part ([`crate::state`]), which also holds where clocks differ and a lease ran out too early.
//!
//! | held by | the new writer |
//! | --- | --- |
//! | itself | renews it |
//! | another, for other partitions | lives beside it |
//! | another, run out, given up, or known to have died | takes its place |
//! | another, valid | is refused, unless it is told to take over |
//!
//! Whose lease was taken over notices at its next commit, and ends.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A process, as far as another one on the same machine can tell whether it is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Host name.
    pub host: String,
    /// Process id there.
    pub pid: u32,
    /// Identity of the machine's boot; `None` where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// When the process began, in the kernel's ticks since the boot; tells it from a later one with its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ticks: Option<u64>,
}

/// The right to write some partitions until a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The writer: one process, for its lifetime.
    pub writer_id: String,
    /// Where it runs.
    #[serde(flatten)]
    pub process: Process,
    /// Kafka partitions; `None`: all.
    pub partitions: Option<BTreeSet<i32>>,
    /// When it was taken, ms since 1970 by the writer's clock.
    pub since_ms: i64,
    /// When it runs out unless it is renewed, ms since 1970 by the writer's clock.
    pub valid_until_ms: i64,
}

/// Why a lease cannot be had or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another writer has it.
    #[error("another writer holds the lease: {0}")]
    Held(Box<Lease>),
    /// Another writer took it over.
    #[error("another writer took the lease over: {0}")]
    Lost(Box<Lease>),
}

/// The leases of a table. Their JSON form, a list, stands in a table property.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Leases(pub Vec<Lease>);

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer_id, process: Process { host, pid, .. }, partitions, .. } = self;
        write!(f, "writer {writer_id} (process {pid} on host `{host}`), for ")?;
        match partitions {
            None => f.write_str("all partitions")?,
            Some(set) => write!(
                f,
                "partitions {}",
                set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            )?,
        }
        let until = chrono::DateTime::from_timestamp_millis(self.valid_until_ms);
        write!(f, ", valid until {}", until.map_or_else(|| "?".to_owned(), |until| until.to_rfc3339()))
    }
}

impl Lease {
    /// Returns whether the two are for some partition in common.
    pub fn overlaps(&self, other: &Lease) -> bool {
        match (&self.partitions, &other.partitions) {
            (Some(left), Some(right)) => !left.is_disjoint(right),
            _ => true,
        }
    }
}

impl Leases {
    /// Reads the JSON form; `None` for a text that is not one.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the lease that keeps `wanted` from being taken at `now_ms`.
    pub fn holder(&self, wanted: &Lease, now_ms: i64, has_died: impl Fn(&Process) -> bool) -> Option<&Lease> {
        self.0.iter().find(|lease| {
            lease.writer_id != wanted.writer_id
                && lease.overlaps(wanted)
                && now_ms <= lease.valid_until_ms
                && !has_died(&lease.process)
        })
    }

    /// Returns the leases with `wanted` among them, in the place of those that it overlaps.
    ///
    /// # Errors
    /// [`LeaseError::Held`] by another writer, unless `take_over`.
    pub fn take(
        &self,
        wanted: &Lease,
        now_ms: i64,
        take_over: bool,
        has_died: impl Fn(&Process) -> bool,
    ) -> Result<Self, LeaseError> {
        if !take_over && let Some(holder) = self.holder(wanted, now_ms, has_died) {
            return Err(LeaseError::Held(Box::new(holder.clone())));
        }
        let others = self.without(&wanted.writer_id).0.into_iter().filter(|lease| !lease.overlaps(wanted));
        Ok(Self(others.chain([wanted.clone()]).collect()))
    }

    /// Returns the leases with that of `renewed`'s writer replaced by it. It may have run out, or be gone with a property
    /// that was restored: what counts is that nobody took its place.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] if another writer did.
    pub fn renew(&self, renewed: &Lease) -> Result<Self, LeaseError> {
        let others = self.without(&renewed.writer_id);
        if let Some(by) = others.0.iter().find(|lease| lease.overlaps(renewed)) {
            return Err(LeaseError::Lost(Box::new(by.clone())));
        }
        Ok(Self(others.0.into_iter().chain([renewed.clone()]).collect()))
    }

    /// Returns the leases without those of a writer.
    pub fn without(&self, writer_id: &str) -> Self {
        Self(self.0.iter().filter(|lease| lease.writer_id != writer_id).cloned().collect())
    }
}

#[cfg(test)]
mod tests;
