//! The state of a run in a file, so that a run that was cut goes on with the same people.
//!
//! A checkpoint belongs to one run. It holds the living listeners with their random streams, who is to come, the steps that
//! were made but not delivered, what has been counted, and where the destination stood. It is written beside its place,
//! synced and renamed, so there is always a whole one; a damaged one is told by its checksum. What it holds does not depend on
//! the number of threads.
//!
//! Layout: a line that names the format, the length of the header (8 bytes, little-endian), the header (JSON), listeners, steps,
//! and 32 bytes of BLAKE3 over all before.

mod codec;
mod lock;

pub use lock::CheckpointLock;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    arrivals::Arrivals,
    kernel::{Kernel, Origin},
    shard::Shard,
    simulation::Settings,
    step::Step,
};
use codec::{LISTENER_BYTES, STEP_BYTES};

const FORMAT: &[u8] = b"streamify-generate checkpoint 1\n";
const CHECKSUM_BYTES: usize = 32;

/// What a simulation goes on from.
#[derive(Clone, Debug)]
pub struct State {
    /// Steps that were made and not delivered, in their order.
    pub pending: Vec<Step>,
    arrivals: Arrivals,
    num_sessions: u64,
    /// The living listeners, one after the other.
    listeners: Vec<u8>,
}

impl State {
    /// Returns the state of a kernel between two slices.
    pub fn capture(kernel: &mut Kernel) -> Self {
        let (shards, arrivals, num_sessions) = kernel.settle();
        let count: usize = shards.iter().map(|shard| shard.listeners().len()).sum();
        let mut listeners = Vec::with_capacity(count * LISTENER_BYTES);
        for listener in shards.iter().flat_map(Shard::listeners) {
            codec::write_listener(listener, &mut listeners);
        }
        Self { pending: Vec::new(), arrivals: arrivals.clone(), num_sessions, listeners }
    }

    /// Returns what a kernel with so many shards goes on from, and what comes before that.
    pub fn restore(self, num_shards: usize) -> (Origin, Vec<Step>) {
        let mut shards: Vec<Shard> = (0..num_shards).map(|_| Shard::default()).collect();
        let listeners = self.listeners.chunks_exact(LISTENER_BYTES).filter_map(codec::read_listener);
        for (index, listener) in listeners.enumerate() {
            shards[index % num_shards].add(listener);
        }
        let Self { arrivals, num_sessions, pending, .. } = self;
        (Origin { shards, arrivals, num_sessions }, pending)
    }
}

/// Which run a checkpoint belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunMark {
    /// Id of the run.
    pub run_id: String,
    /// Name of the profile.
    pub profile: String,
    /// Seed.
    pub seed: u64,
    /// Listeners at the start.
    pub users: u32,
    /// Number of the first listener.
    pub first_user_id: u64,
    /// Start of the window, milliseconds since 1970.
    pub start_ms: i64,
}

impl RunMark {
    /// Returns the mark of a run.
    pub fn of(settings: &Settings) -> Self {
        Self {
            run_id: settings.run_id(),
            profile: settings.profile.name.clone(),
            seed: settings.seed,
            users: settings.num_users,
            first_user_id: settings.first_user_id,
            start_ms: settings.start_ms,
        }
    }
}

/// A checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Which run it belongs to.
    pub run: RunMark,
    /// What the loop of the run has counted and keeps.
    pub progress: serde_json::Value,
    /// Where the destination stands; null for one that cannot go back.
    pub sink: serde_json::Value,
    /// The simulation.
    pub state: State,
}

#[derive(Serialize, Deserialize)]
struct Header {
    run: RunMark,
    progress: serde_json::Value,
    sink: serde_json::Value,
    arrivals: Arrivals,
    num_sessions: u64,
    num_listeners: usize,
    num_pending: usize,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("failed to {action} checkpoint `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Another run is on it.
    #[error("checkpoint `{}` is in use by another run", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Not a whole checkpoint.
    #[error("checkpoint `{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// It belongs to another run.
    #[error("checkpoint `{}` belongs to another run: {what} is `{there}` there and `{here}` here", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// What differs first.
        what: &'static str,
        /// In the checkpoint.
        there: String,
        /// On the command line.
        here: String,
    },
}

impl Checkpoint {
    /// Writes the checkpoint to `path`; what was there is replaced at once or not at all.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::File { action: "write", path: path.to_owned(), source };
        let beside = beside(path, ".new");
        let mut file = File::create(&beside).map_err(failed)?;
        self.write_to(&mut file).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        // The name is as durable as the content only once the folder is synced.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    fn write_to(&self, file: &mut File) -> io::Result<()> {
        let State { pending, arrivals, num_sessions, listeners } = &self.state;
        let header = serde_json::to_vec(&Header {
            run: self.run.clone(),
            progress: self.progress.clone(),
            sink: self.sink.clone(),
            arrivals: arrivals.clone(),
            num_sessions: *num_sessions,
            num_listeners: listeners.len() / LISTENER_BYTES,
            num_pending: pending.len(),
        })?;
        let mut steps = Vec::with_capacity(pending.len() * STEP_BYTES);
        pending.iter().for_each(|step| codec::write_step(step, &mut steps));
        let mut hasher = blake3::Hasher::new();
        for part in [FORMAT, &(header.len() as u64).to_le_bytes(), &header, listeners, &steps] {
            hasher.update(part);
            file.write_all(part)?;
        }
        file.write_all(hasher.finalize().as_bytes())
    }

    /// Reads the checkpoint at `path`; `None` if there is none.
    ///
    /// # Errors
    /// [`CheckpointError::File`], [`CheckpointError::Damaged`].
    pub fn read(path: &Path) -> Result<Option<Self>, CheckpointError> {
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes)
                .map(Some)
                .map_err(|what| CheckpointError::Damaged { path: path.to_owned(), what }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CheckpointError::File { action: "read", path: path.to_owned(), source }),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let rest = bytes.strip_prefix(FORMAT).ok_or("it does not begin as checkpoints of this version do")?;
        let body = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or("it is too short")?;
        if blake3::hash(&bytes[..body]).as_bytes()[..] != bytes[body..] {
            return Err("its checksum does not match its content");
        }
        let (length, rest) = rest.split_first_chunk().ok_or("it is too short")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (header, rest) = rest.split_at_checked(length).ok_or("its header is too short")?;
        let header: Header = serde_json::from_slice(header).map_err(|_| "its header is not readable")?;
        let Header { run, progress, sink, arrivals, num_sessions, num_listeners, num_pending } = header;
        let num_bytes = num_listeners.saturating_mul(LISTENER_BYTES);
        let (listeners, rest) = rest.split_at_checked(num_bytes).ok_or("listeners are missing")?;
        let steps = rest.chunks_exact(STEP_BYTES).take(num_pending).map_while(codec::read_step);
        let pending: Vec<Step> = steps.collect();
        if pending.len() != num_pending {
            return Err("steps are missing");
        }
        let state = State { pending, arrivals, num_sessions, listeners: listeners.to_vec() };
        Ok(Self { run, progress, sink, state })
    }

    /// Checks that the checkpoint at `path` belongs to a run.
    ///
    /// # Errors
    /// [`CheckpointError::OtherRun`] names what differs.
    pub fn check(&self, path: &Path, settings: &Settings) -> Result<(), CheckpointError> {
        let (there, here) = (&self.run, RunMark::of(settings));
        let pairs = [
            ("the profile", there.profile.clone(), here.profile),
            ("the seed", there.seed.to_string(), here.seed.to_string()),
            ("the number of users", there.users.to_string(), here.users.to_string()),
            ("the first user id", there.first_user_id.to_string(), here.first_user_id.to_string()),
            ("the start", show_time(there.start_ms), show_time(here.start_ms)),
            // The rest of what the id is made from: what is in the profile.
            ("the run id", there.run_id.clone(), here.run_id),
        ];
        match pairs.into_iter().find(|(_, there, here)| there != here) {
            Some((what, there, here)) => {
                Err(CheckpointError::OtherRun { path: path.to_owned(), what, there, here })
            }
            None => Ok(()),
        }
    }
}

/// Returns the file in the same folder that has `suffix` behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn show_time(time_ms: i64) -> String {
    crate::cli::show_time(time_ms)
}
