//! The embedded broker: librdkafka's mock cluster in a background process of its own.
//!
//! It speaks the Kafka protocol on a free port of 127.0.0.1 and needs nothing installed; it is made for demos and tests. It keeps
//! everything in memory and at most 5 MiB per partition (compressed, as sent), and what it holds dies with it. Topics that are
//! asked for appear with 4 partitions.
//!
//! Its folder `<STREAMIFY_HOME>/broker` holds `lock`, held by the living broker for as long as it lives, so that a stale PID can
//! never pass for it; `broker.json`, written once the broker answers and removed at its end; and `broker.log`. Since offsets begin
//! at 0 again in every new broker, `broker.json` carries a random `identity` that tells one from the next. A broker whose
//! `broker.json` is gone or another's ends by itself: nothing is left behind when the folder is deleted.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    mocking::MockCluster,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{event::Topic, process};

/// How long a broker may take to answer after its start, and to end after it is told to.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What `broker.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerFile {
    /// Process id.
    pub pid: u32,
    /// `host:port`.
    pub bootstrap_servers: String,
    /// A random UUID; a broker with another identity holds other records under the same offsets.
    pub identity: String,
    /// When it started, RFC 3339, UTC.
    pub started_at: String,
    /// Partitions of the four topics.
    pub num_partitions: i32,
}

/// Whether there is a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is up.
    Running(BrokerFile),
    /// It has the lock but has not said yet where it listens.
    Starting,
    /// There is none; `gone` is one that ended without clearing up (killed, machine restarted).
    Stopped {
        /// What it left behind.
        gone: Option<BrokerFile>,
    },
}

/// Why a broker cannot be started, stopped or looked up.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The file system refused.
    #[error("failed to {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Another broker has the folder.
    #[error("a broker is running already in `{}`", folder.display())]
    AlreadyRunning {
        /// Its folder.
        folder: PathBuf,
    },
    /// librdkafka refused.
    #[error("failed to {action} the embedded broker")]
    Mock {
        /// What was tried.
        action: &'static str,
        /// The reason.
        #[source]
        source: KafkaError,
    },
    /// The background process ended or hung.
    #[error("the broker did not come up{}: {log}", .exit.as_deref().map_or(String::new(), |exit| format!(" ({exit})")))]
    NotUp {
        /// How it ended, if it did.
        exit: Option<String>,
        /// The end of its log.
        log: String,
    },
    /// It does not react to signals.
    #[error("broker with pid {pid} did not end within {seconds} s")]
    NotDown {
        /// Its process id.
        pid: u32,
        /// How long it was waited.
        seconds: u64,
    },
    /// `broker.json` names a process that is not a broker.
    #[error("process {pid} named by `{}` is not a broker of ours; nothing was stopped", path.display())]
    ForeignProcess {
        /// The process id.
        pid: u32,
        /// Where it was read.
        path: PathBuf,
    },
}

/// The folder of a broker.
#[derive(Clone, Debug)]
pub struct BrokerHome {
    folder: PathBuf,
}

impl BrokerHome {
    /// Returns the broker's folder under an (absolute or relative) `STREAMIFY_HOME`.
    ///
    /// # Errors
    /// [`BrokerError::File`] if the current folder is gone.
    pub fn new(streamify_home: &Path) -> Result<Self, BrokerError> {
        let absolute = std::path::absolute(streamify_home)
            .map_err(|source| failed("resolve the path of", streamify_home, source))?;
        Ok(Self { folder: absolute.join("broker") })
    }

    /// Returns the path of `broker.json`.
    pub fn file(&self) -> PathBuf {
        self.folder.join("broker.json")
    }

    /// Returns the path of the log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// Tells whether a broker is up.
    ///
    /// # Errors
    /// [`BrokerError::File`].
    pub fn status(&self) -> Result<Status, BrokerError> {
        let path = self.folder.join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Status::Stopped { gone: None });
            }
            Err(source) => return Err(failed("open", &path, source)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(Status::Stopped { gone: self.read() }),
            Err(TryLockError::WouldBlock) => Ok(self.read().map_or(Status::Starting, Status::Running)),
            Err(TryLockError::Error(source)) => Err(failed("look at the lock", &path, source)),
        }
    }

    /// Starts a broker in the background and waits until it answers; finds the living one if there is one. Returns it, and
    /// whether it is new.
    ///
    /// # Errors
    /// Any [`BrokerError`].
    pub fn start(&self, num_partitions: i32) -> Result<(BrokerFile, bool), BrokerError> {
        if let Status::Running(file) = self.status()? {
            return Ok((file, false));
        }
        self.create_folder()?;
        let log = File::create(self.log()).map_err(|source| failed("create", &self.log(), source))?;
        let log_too = log.try_clone().map_err(|source| failed("open", &self.log(), source))?;
        let program =
            std::env::current_exe().map_err(|source| failed("find", Path::new("ourselves"), source))?;
        let home = self.folder.parent().unwrap_or(&self.folder);
        let mut child = Command::new(&program)
            .args(["broker", "run", "--detached", "--partitions", &num_partitions.to_string(), "--home"])
            .arg(home)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(|source| failed("start", &program, source))?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Status::Running(file) = self.status()? {
                let is_new = file.pid == child.id();
                return Ok((file, is_new));
            }
            if let Ok(Some(exit)) = child.try_wait() {
                return Err(BrokerError::NotUp { exit: Some(exit.to_string()), log: self.end_of_log() });
            }
            thread::sleep(POLL);
        }
        Err(BrokerError::NotUp { exit: None, log: self.end_of_log() })
    }

    /// Stops the broker, if there is one, and returns what it was. Waits until it has gone; a broker that does not react to
    /// SIGTERM is killed.
    ///
    /// # Errors
    /// Any [`BrokerError`].
    pub fn stop(&self) -> Result<Option<BrokerFile>, BrokerError> {
        let started = Instant::now();
        let file = loop {
            match self.status()? {
                Status::Running(file) => break file,
                Status::Stopped { .. } => return Ok(None),
                Status::Starting if started.elapsed() < PATIENCE => thread::sleep(POLL),
                Status::Starting => return Err(BrokerError::NotUp { exit: None, log: self.end_of_log() }),
            }
        };
        if !process::is_ours(file.pid) {
            return Err(BrokerError::ForeignProcess { pid: file.pid, path: self.file() });
        }
        for (signal, patience) in [(process::Signal::Terminate, PATIENCE), (process::Signal::Kill, PATIENCE)]
        {
            process::send(file.pid, signal);
            let sent = Instant::now();
            while sent.elapsed() < patience {
                if matches!(self.status()?, Status::Stopped { .. }) {
                    // A killed one could not clear up.
                    let _ = fs::remove_file(self.file());
                    return Ok(Some(file));
                }
                thread::sleep(POLL);
            }
            warn!(pid = file.pid, "broker did not end, killing it");
        }
        Err(BrokerError::NotDown { pid: file.pid, seconds: PATIENCE.as_secs() })
    }

    /// Runs a broker in this process until `stop`, or until its `broker.json` is gone. `up` is called once it answers.
    ///
    /// # Errors
    /// [`BrokerError::AlreadyRunning`] if there is one, [`BrokerError::Mock`], [`BrokerError::File`].
    pub fn run(
        &self,
        num_partitions: i32,
        stop: &CancellationToken,
        up: &mut dyn FnMut(&BrokerFile),
    ) -> Result<(), BrokerError> {
        self.create_folder()?;
        let _lock = self.lock()?;
        // From here on we are the broker; what lies here is of one that has gone.
        let _ = fs::remove_file(self.file());
        let (_cluster, bootstrap_servers) = start_cluster(num_partitions)?;
        answers(&bootstrap_servers).map_err(|source| BrokerError::Mock { action: "reach", source })?;
        let file = BrokerFile {
            pid: std::process::id(),
            bootstrap_servers,
            identity: Uuid::new_v4().to_string(),
            started_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            num_partitions,
        };
        self.write(&file)?;
        info!(
            pid = file.pid,
            bootstrap_servers = file.bootstrap_servers,
            identity = file.identity,
            "broker is up"
        );
        up(&file);
        while !stop.is_cancelled() {
            thread::sleep(Duration::from_millis(200));
            if self.read().is_none_or(|found| found.identity != file.identity) {
                warn!(path = %self.file().display(), "own file is gone, ending");
                return Ok(());
            }
        }
        let _ = fs::remove_file(self.file());
        info!("broker is down");
        Ok(())
    }

    fn create_folder(&self) -> Result<(), BrokerError> {
        fs::create_dir_all(&self.folder).map_err(|source| failed("create", &self.folder, source))
    }

    fn lock(&self) -> Result<File, BrokerError> {
        let path = self.folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| failed("open", &path, source))?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                // A status query holds the lock for an instant.
                Err(TryLockError::WouldBlock) if started.elapsed() < Duration::from_secs(1) => {
                    thread::sleep(POLL)
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(BrokerError::AlreadyRunning { folder: self.folder.clone() });
                }
                Err(TryLockError::Error(source)) => return Err(failed("lock", &path, source)),
            }
        }
    }

    fn read(&self) -> Option<BrokerFile> {
        serde_json::from_slice(&fs::read(self.file()).ok()?).ok()
    }

    fn write(&self, file: &BrokerFile) -> Result<(), BrokerError> {
        let (path, new) = (self.file(), self.folder.join("broker.json.new"));
        let text = serde_json::to_vec_pretty(file).unwrap_or_default();
        fs::write(&new, text).map_err(|source| failed("write", &new, source))?;
        fs::rename(&new, &path).map_err(|source| failed("write", &path, source))
    }

    fn end_of_log(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        if lines.is_empty() { format!("nothing in `{}`", self.log().display()) } else { lines.join("\n") }
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> BrokerError {
    BrokerError::File { action, path: path.to_owned(), source }
}

/// A mock cluster owned by this process; it ends when this is dropped.
pub type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

/// Starts a mock cluster of one broker with the four topics, on a free port; returns it and its address.
///
/// # Errors
/// [`BrokerError::Mock`].
pub fn start_cluster(num_partitions: i32) -> Result<(Cluster, String), BrokerError> {
    let cluster = MockCluster::new(1).map_err(|source| BrokerError::Mock { action: "start", source })?;
    for topic in Topic::ALL {
        let created = cluster.create_topic(topic.name(), num_partitions, 1);
        created.map_err(|source| BrokerError::Mock { action: "create a topic in", source })?;
    }
    let servers = cluster.bootstrap_servers();
    Ok((cluster, servers))
}

/// Asks a broker for its metadata.
///
/// # Errors
/// Why there is no answer, after five seconds at most.
pub fn answers(bootstrap_servers: &str) -> Result<(), KafkaError> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap_servers).create()?;
    client.fetch_metadata(None, ANSWER_TIMEOUT).map(|_| ())
}

#[cfg(test)]
mod tests;
