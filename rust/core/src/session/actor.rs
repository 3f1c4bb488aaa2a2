//! People: who an event names, and whose it is.

use std::sync::Arc;

use super::HashMap;

/// Number of a producer run; 0 is "no run", which null and empty text both mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RunId(u32);

/// The producer runs met so far. They are few: one per start of a producer.
#[derive(Debug, Default)]
pub(super) struct Runs {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, RunId>,
}

impl Runs {
    pub(super) fn id(&mut self, name: &str) -> RunId {
        if name.is_empty() {
            return RunId(0);
        }
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        let id = RunId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.ids.insert(name, id);
        id
    }

    /// Returns the run's name, `None` for "no run".
    pub(super) fn name(&self, run: RunId) -> Option<&str> {
        let index = usize::try_from(run.0).ok()?.checked_sub(1)?;
        self.names.get(index).map(|name| &**name)
    }
}

/// What an event tells of its person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) run: RunId,
    pub(super) user: Option<i64>,
    pub(super) session: i64,
}

/// A session of the producer, within which people are stitched.
pub(super) type Visit = (RunId, i64);

impl Who {
    pub(super) fn visit(self) -> Visit {
        (self.run, self.session)
    }
}

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Actor {
    User { run: RunId, user: i64 },
    Visitor { run: RunId, session: i64 },
}

impl Actor {
    pub(super) fn user(run: RunId, user: i64) -> Self {
        Self::User { run, user }
    }

    pub(super) fn visitor((run, session): Visit) -> Self {
        Self::Visitor { run, session }
    }

    pub(super) fn run(self) -> RunId {
        match self {
            Self::User { run, .. } | Self::Visitor { run, .. } => run,
        }
    }

    /// Returns the hash bucket, below `buckets`; the same in every process.
    pub(super) fn bucket(self, buckets: u64) -> u64 {
        let (kind, run, id) = match self {
            Self::User { run, user } => (0, run, user),
            Self::Visitor { run, session } => (1, run, session),
        };
        // The finalizer of SplitMix64.
        let mut hash = id.cast_unsigned() ^ (u64::from(run.0) << 33) ^ kind;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (hash ^ (hash >> 31)) % buckets.max(1)
    }
}
