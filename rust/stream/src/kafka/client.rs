//! The connection to Kafka: one librdkafka consumer, made from settings, shared by all reading threads.
//!
//! It guarantees that the options exactly-once depends on are set and cannot be overridden (`options.rs`), that
//! memory for unread records is bounded by [`KafkaSettings::queue_bytes`], and that nobody waits for ever for a
//! broker that is not there. Somebody must serve the main queue (log lines, errors, commit answers) for as long as
//! the client lives: [`KafkaClient::spawn_server`] does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::options::{DEFAULTS, FIXED, is_secret};
use super::{KafkaError, TopicPartition, options};

/// librdkafka refuses a response limit below its record limit, which is this many bytes.
const SMALLEST_FETCH_BYTES: u64 = 1_000_000;
/// librdkafka's own default; a larger response gained nothing when measured.
const LARGEST_FETCH_BYTES: u64 = 52_428_800;
/// How long one wait for the main queue takes, and so the longest delay of a stop.
const SERVE_WAIT: Duration = Duration::from_millis(100);

/// Which records of transactions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Only committed ones, up to the last stable offset.
    #[default]
    ReadCommitted,
    /// All, also those of transactions aborted later.
    ReadUncommitted,
}

impl Isolation {
    /// Returns the value of librdkafka's `isolation.level`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// How to reach Kafka and how much to read ahead.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// The consumer group whose offsets are written as a hint for lag tools. Never joined.
    pub group_id: String,
    /// Name in the brokers' logs and quotas.
    pub client_id: String,
    /// Which records of transactions are read.
    pub isolation: Isolation,
    /// Further librdkafka options (TLS, SASL, tuning); see [`options_from_env`](super::options_from_env).
    pub options: BTreeMap<String, String>,
    /// Bytes that records fetched and not yet read may hold, for all queues together, at least 4 MB.
    /// One response per broker may come on top, at most an eighth (or 1 MB) as it is sent; decompressed it may be several times
    /// as large.
    pub queue_bytes: u64,
    /// Number of [`BatchQueue`](super::BatchQueue)s that share `queue_bytes`, at least 1.
    pub num_queues: usize,
    /// How long to wait for the first answer of a broker.
    pub connect_wait: Duration,
}

impl KafkaSettings {
    /// Returns settings for `bootstrap_servers` with the defaults: group and client id `streamify-stream`, committed
    /// records only, one queue of 32 MB, 30 s to connect.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            group_id: "streamify-stream".to_owned(),
            client_id: "streamify-stream".to_owned(),
            isolation: Isolation::default(),
            options: BTreeMap::new(),
            queue_bytes: 32_000_000,
            num_queues: 1,
            connect_wait: Duration::from_secs(30),
        }
    }

    /// Returns the librdkafka configuration, checked.
    ///
    /// # Errors
    /// [`KafkaError::OptionRefused`] for a user's option that is ours; [`KafkaError::OptionInvalid`] for one that
    /// librdkafka does not know or whose value does not fit.
    pub fn client_config(&self) -> Result<ClientConfig, KafkaError> {
        let fetch_bytes = (self.queue_bytes / 8).clamp(SMALLEST_FETCH_BYTES, LARGEST_FETCH_BYTES);
        let num_queues = u64::try_from(self.num_queues.max(1)).unwrap_or(1);
        // librdkafka checks this bound per queue, and before a fetch only, hence the share and the response's part.
        let queue_kbytes = (self.queue_bytes.saturating_sub(fetch_bytes) / num_queues / 1024).max(1);

        let mut config = ClientConfig::new();
        config
            .set("queued.max.messages.kbytes", queue_kbytes.to_string())
            .set("fetch.max.bytes", fetch_bytes.to_string());
        for (option, value) in DEFAULTS {
            config.set(option, value);
        }
        for (option, value) in &self.options {
            options::check(option)?;
            config.set(option, value);
        }
        for (option, value) in FIXED {
            config.set(option, value);
        }
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("group.id", &self.group_id)
            .set("client.id", &self.client_id)
            .set("isolation.level", self.isolation.as_str())
            .set_log_level(RDKafkaLogLevel::Info);
        match config.create_native_config() {
            Ok(_) => Ok(config),
            Err(RdKafkaError::ClientConfig(_, reason, option, value)) => {
                Err(KafkaError::OptionInvalid { reason: without_secret(&option, &value, reason), option })
            }
            Err(error) => Err(KafkaError::ClientNotCreated { reason: error.to_string() }),
        }
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: BTreeMap<_, _> = self
            .options
            .iter()
            .map(|(option, value)| (option, if is_secret(option) { "[redacted]" } else { value.as_str() }))
            .collect();
        f.debug_struct("KafkaSettings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group_id", &self.group_id)
            .field("client_id", &self.client_id)
            .field("isolation", &self.isolation)
            .field("options", &options)
            .field("queue_bytes", &self.queue_bytes)
            .field("num_queues", &self.num_queues)
            .field("connect_wait", &self.connect_wait)
            .finish()
    }
}

fn without_secret(option: &str, value: &str, reason: String) -> String {
    if is_secret(option) && !value.is_empty() { reason.replace(value, "[redacted]") } else { reason }
}

/// What the client library told us outside of records.
#[derive(Default)]
pub struct Context {
    state: Mutex<ContextState>,
}

#[derive(Default)]
struct ContextState {
    last_error: Option<String>,
    fatal: Option<String>,
}

impl Context {
    fn note(&self, change: impl FnOnce(&mut ContextState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, read: impl FnOnce(&ContextState) -> T) -> T {
        read(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            // librdkafka reconnects by itself, so even its errors are "unexpected, nothing lost" to us; what ends the
            // work arrives as an error event.
            | RDKafkaLogLevel::Warning => warn!(facility, text, "kafka client message"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(facility, text, "kafka client message"),
            RDKafkaLogLevel::Debug => debug!(facility, text, "kafka client message"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        debug!(statistics = %String::from_utf8_lossy(statistics), "kafka client statistics");
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        warn!(%error, reason, "kafka client reported an error");
        let fatal = matches!(error, RdKafkaError::Global(RDKafkaErrorCode::Fatal));
        self.note(|state| {
            // "all brokers are down" follows every failed connection and hides the cause.
            let hides_cause = matches!(error, RdKafkaError::Global(RDKafkaErrorCode::AllBrokersDown));
            if !hides_cause || state.last_error.is_none() {
                state.last_error = Some(reason.to_owned());
            }
            if fatal {
                state.fatal = Some(reason.to_owned());
            }
        });
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        super::group::log_answer(&result, offsets);
    }
}

/// The librdkafka consumer with our context.
pub(super) type Consumer = BaseConsumer<Context>;

/// A connected client. Cheap to share by `Arc`; all methods may be called from any thread.
pub struct KafkaClient {
    pub(super) consumer: Consumer,
    pub(super) settings: KafkaSettings,
    pub(super) cluster_id: String,
}

impl KafkaClient {
    /// Makes a client and waits until a broker has answered. Blocks for up to [`KafkaSettings::connect_wait`].
    ///
    /// # Errors
    /// [`KafkaError::BrokersUnreachable`] with the last thing that went wrong, and those of
    /// [`KafkaSettings::client_config`].
    pub fn connect(settings: &KafkaSettings) -> Result<Arc<Self>, KafkaError> {
        let consumer: Consumer = settings
            .client_config()?
            .create_with_context(Context::default())
            .map_err(|error| KafkaError::ClientNotCreated { reason: error.to_string() })?;
        let deadline = Instant::now() + settings.connect_wait;
        // Left alone, librdkafka begins to connect at its first one-second tick if its threads start in an unlucky order
        // (most often). Any request that finds no broker begins it now; this one does not wait for its answer.
        let _ = consumer.client().fetch_metadata(None, Duration::ZERO);
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if let Some(cluster_id) = consumer.client().fetch_cluster_id(remaining.min(SERVE_WAIT)) {
                info!(cluster_id, servers = settings.bootstrap_servers, "connected to kafka");
                return Ok(Arc::new(Self { consumer, settings: settings.clone(), cluster_id }));
            }
            // Errors and log lines wait in the main queue; the reason of a refused login is among them.
            let _ = consumer.poll(Duration::from_millis(1));
            if remaining.is_zero() {
                return Err(KafkaError::BrokersUnreachable {
                    servers: settings.bootstrap_servers.clone(),
                    waited: settings.connect_wait,
                    last_error: consumer.context().read(|state| state.last_error.clone()),
                });
            }
        }
    }

    /// Returns the settings this client was made from.
    pub fn settings(&self) -> &KafkaSettings {
        &self.settings
    }

    /// Returns the last error the client library reported, if any; errors heal by themselves, so it may be long past.
    pub fn last_error(&self) -> Option<String> {
        self.consumer.context().read(|state| state.last_error.clone())
    }

    /// Serves the main queue for up to `wait`: log lines, errors, answers to commits.
    ///
    /// # Errors
    /// [`KafkaError::ClientDead`] if the client library gave up; [`KafkaError::UnexpectedRecord`] if a record came here,
    /// which would mean that a partition is assigned without a queue of its own.
    pub fn serve(&self, wait: Duration) -> Result<(), KafkaError> {
        match self.consumer.poll(wait) {
            Some(Ok(record)) => Err(KafkaError::UnexpectedRecord {
                partition: TopicPartition::new(record.topic(), record.partition()),
                offset: record.offset(),
            }),
            Some(Err(RdKafkaError::MessageConsumptionFatal(code))) => {
                Err(KafkaError::ClientDead { reason: code.to_string() })
            }
            // Reported through the context already.
            Some(Err(_)) | None => match self.consumer.context().read(|state| state.fatal.clone()) {
                Some(reason) => Err(KafkaError::ClientDead { reason }),
                None => Ok(()),
            },
        }
    }

    /// Starts the thread that serves the main queue until the returned [`Server`] is stopped or dropped.
    ///
    /// # Errors
    /// [`KafkaError::ClientNotCreated`] if the thread cannot be started.
    pub fn spawn_server(self: &Arc<Self>) -> Result<Server, KafkaError> {
        let stop = Arc::new(AtomicBool::new(false));
        let client = Arc::clone(self);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("kafka-main".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    client.serve(SERVE_WAIT)?;
                }
                Ok(())
            })
            .map_err(|error| KafkaError::ClientNotCreated {
                reason: format!("no thread to serve it: {error}"),
            })?;
        Ok(Server { stop, thread: Some(thread) })
    }

    /// Returns the error for a question `what` that was answered with `error`.
    pub(super) fn request_failed(&self, what: &'static str, reason: String, retryable: bool) -> KafkaError {
        KafkaError::RequestFailed {
            what,
            servers: self.settings.bootstrap_servers.clone(),
            reason,
            retryable,
        }
    }
}

impl fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaClient")
            .field("settings", &self.settings)
            .field("cluster_id", &self.cluster_id)
            .finish()
    }
}

/// The thread that serves a client's main queue. Dropping it stops and joins the thread, within about 0.1 s.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), KafkaError>>>,
}

impl Server {
    /// Returns whether the thread has ended; before a [`stop`](Self::stop) that means it failed.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the thread and returns what it ended with.
    ///
    /// # Errors
    /// Those of [`KafkaClient::serve`].
    pub fn stop(mut self) -> Result<(), KafkaError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), KafkaError> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                Err(KafkaError::ClientDead { reason: "the thread serving it panicked".to_owned() })
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            error!(%error, "the kafka client's main queue was not served to the end");
        }
    }
}
