//! Kafka: idempotent producers with bounded queues; we choose the partitions ourselves.
//!
//! Partitions: by the key's murmur2 hash, as Java clients do; without a key in turn, so that the same run puts the same records
//! into the same partitions. The first record that cannot be delivered ends the run with the count and the reason. With a
//! [`Follow`] the sink also waits for the reader, see [`super::follow`].

mod clients;
mod reader;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Statistics,
    consumer::BaseConsumer,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ProducerContext},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Record, Sink, SinkError,
    follow::Unread,
    partition::murmur2,
    reach::await_broker,
    topics::{TopicPlan, await_topic, base_config, create_missing_topics},
    transactions::{Transaction, Transactions, init},
};
use crate::event::{SCHEMA_VERSION, Topic};
use clients::Clients;

/// How long a record may take to arrive before the run fails.
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often acknowledgements are taken in, in records.
const POLL_EVERY: u32 = 512;
/// How long a full queue is given before the next try. Records that arrive are not reported one by one, so nothing ends the wait
/// early: with 100 ms the queue ran dry, and the sink could take no more than ten queues a second.
const ROOM_WAIT: Duration = Duration::from_millis(1);
/// Bytes of a record beside its value, before compression (header, lengths, key).
const RECORD_OVERHEAD_BYTES: u64 = 48;

/// How to reach Kafka.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// Bootstrap servers.
    pub servers: String,
    /// librdkafka options of the user; they win over ours.
    pub options: BTreeMap<String, String>,
    /// Partitions of topics that do not exist yet.
    pub num_partitions: i32,
    /// Replicas of topics that do not exist yet; -1: the broker's default.
    pub replication: i32,
    /// zstd, lz4, gzip, snappy or none.
    pub compression: String,
    /// Put on every record as header `run_id`.
    pub run_id: String,
    /// Whom to wait for.
    pub follow: Option<Follow>,
    /// What topics that do not exist yet are like.
    pub topics: TopicOptions,
    /// Transactions, if any.
    pub transactions: Option<Transactions>,
}

/// What topics that do not exist yet are like, beside their number of partitions and replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicOptions {
    /// Partitions of single topics.
    pub partitions: BTreeMap<String, i32>,
    /// Kafka's settings of all topics of events, for instance `retention.ms`.
    pub config: BTreeMap<String, String>,
}

/// A reader to wait for.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Its consumer group.
    pub group: String,
    /// Most stored bytes of a partition that may be unread.
    pub max_unread_bytes: u64,
    /// How long to wait without any progress of the reader; zero: for ever.
    pub timeout: Duration,
}

/// The four topics of a Kafka cluster.
pub struct KafkaSink {
    clients: Clients,
    reports: Arc<Counters>,
    settings: KafkaSettings,
    /// Partitions of each topic, in the order of [`Topic::ALL`].
    num_partitions: Vec<i32>,
    next_partition: Vec<i32>,
    header: OwnedHeaders,
    reader: Option<BaseConsumer>,
    /// Up to here nothing can have been dropped by our doing: committed, or gone before we came.
    settled: BTreeMap<(usize, i32), i64>,
    since_poll: u32,
    transaction: Option<Transaction>,
    stop: CancellationToken,
}

/// What the client reports back.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) num_failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
    unread: Mutex<BTreeMap<(usize, i32), Unread>>,
    sent_bytes: AtomicU64,
    payload_bytes: AtomicU64,
    follows: bool,
}

impl Counters {
    /// Returns why the first record did not arrive.
    pub(super) fn first_reason(&self) -> Option<String> {
        lock(&self.first_failure).clone()
    }
}

#[derive(Clone)]
pub(super) struct Reports(pub(super) Arc<Counters>);

impl ClientContext for Reports {
    fn stats(&self, statistics: Statistics) {
        let bytes = |value: i64| u64::try_from(value).unwrap_or(0);
        self.0.sent_bytes.store(bytes(statistics.tx_bytes), Ordering::Relaxed);
        self.0.payload_bytes.store(bytes(statistics.txmsg_bytes), Ordering::Relaxed);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Lost connections and the like: the client goes on by itself, records that fail are reported one by one.
        warn!(%error, reason, "Kafka client reports a problem");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) if self.0.follows => {
                let topic = Topic::ALL.iter().position(|topic| topic.name() == message.topic());
                let num_bytes = message.payload_len() as u64 + RECORD_OVERHEAD_BYTES;
                if let Some(topic) = topic
                    && let Some(unread) = lock(&self.0.unread).get_mut(&(topic, message.partition()))
                {
                    unread.arrived(message.offset(), num_bytes);
                }
            }
            Ok(_) => {}
            Err((error, _)) => {
                self.0.num_failed.fetch_add(1, Ordering::Relaxed);
                lock(&self.0.first_failure).get_or_insert_with(|| error.to_string());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The data are counters: a panic elsewhere leaves them usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KafkaSink {
    /// Connects, creates the topics that do not exist, and looks how far the reader is.
    ///
    /// # Errors
    /// Those of the first contact ([`SinkError::LoginRefused`] and its like), [`SinkError::TopicUnavailable`],
    /// [`SinkError::KafkaRequest`].
    pub fn connect(settings: KafkaSettings, stop: CancellationToken) -> Result<Self, SinkError> {
        await_broker(&settings, &stop)?;
        let reports = Arc::new(Counters { follows: settings.follow.is_some(), ..Counters::default() });
        let clients = Clients::create(&settings, &reports)?;
        create_topics(&settings)?;
        let mut num_partitions = Vec::new();
        for topic in Topic::ALL {
            num_partitions.push(await_topic(
                clients.first().client(),
                topic.name(),
                &settings.servers,
                &stop,
            )?);
        }
        let transaction = settings.transactions.map(Transaction::new);
        if transaction.is_some() {
            init(clients.first(), &settings.servers)?;
        }
        let mut sink = Self {
            header: headers(&settings.run_id),
            next_partition: vec![0; num_partitions.len()],
            clients,
            reports,
            settings,
            num_partitions,
            reader: None,
            settled: BTreeMap::new(),
            since_poll: 0,
            transaction,
            stop,
        };
        if let Some(follow) = sink.settings.follow.clone() {
            sink.start_following(&follow)?;
        }
        Ok(sink)
    }

    fn choose_partition(&mut self, topic: Topic, key: Option<&[u8]>) -> i32 {
        let count = self.num_partitions[topic as usize];
        if let Some(key) = key {
            return (murmur2(key) & 0x7fff_ffff) as i32 % count;
        }
        let next = &mut self.next_partition[topic as usize];
        let partition = *next;
        *next = (partition + 1) % count;
        partition
    }

    fn check_deliveries(&self) -> Result<(), SinkError> {
        match self.reports.num_failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            count => {
                let first_reason = lock(&self.reports.first_failure).clone().unwrap_or_default();
                Err(SinkError::Undelivered { count, first_reason })
            }
        }
    }

    fn request_failed(&self, action: &'static str, source: KafkaError) -> SinkError {
        SinkError::KafkaRequest { action, servers: self.settings.servers.clone(), source: Box::new(source) }
    }
}

impl Sink for KafkaSink {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        self.since_poll += 1;
        if self.since_poll >= POLL_EVERY {
            self.idle(Duration::ZERO)?;
        }
        let partition = self.choose_partition(record.topic, record.key);
        let num_bytes = record.value.map_or(0, <[u8]>::len);
        self.make_room(record.topic, partition, num_bytes as u64 + RECORD_OVERHEAD_BYTES)?;
        if let Some(transaction) = &mut self.transaction {
            transaction.before_record(self.clients.first(), &self.settings.servers)?;
        }
        let headers = record.run_id.map_or_else(|| self.header.clone(), headers);
        let mut message =
            BaseRecord::<[u8], [u8]>::to(record.topic.name()).partition(partition).headers(headers);
        message.key = record.key;
        message.payload = record.value;
        loop {
            message = match self.clients.send((record.topic, partition), message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => refused,
                Err((source, _)) => {
                    let (topic, source) = (record.topic.name(), Box::new(source));
                    return Err(SinkError::RecordRefused { topic, num_bytes, source });
                }
            };
            self.idle(ROOM_WAIT)?;
            if self.stop.is_cancelled() {
                return Err(SinkError::Stopped);
            }
        }
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SinkError> {
        self.since_poll = 0;
        self.clients.poll(wait);
        self.check_deliveries()?;
        match &mut self.transaction {
            Some(transaction) => transaction.commit_if_due(self.clients.first(), &self.settings.servers),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let flushed = self.clients.flush(DELIVERY_TIMEOUT + Duration::from_secs(5));
        self.check_deliveries()?;
        // Only a failed flush leaves records behind; after a good one the client's queue may still hold events of its own.
        if let Err(error) = flushed {
            let (count, first_reason) = (self.clients.num_on_their_way(), error.to_string());
            return Err(SinkError::Undelivered { count, first_reason });
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.commit(self.clients.first(), &self.settings.servers)?;
        }
        self.check_nothing_was_dropped()
    }
}

fn headers(run_id: &str) -> OwnedHeaders {
    let run_id = Header { key: "run_id", value: Some(run_id.as_bytes()) };
    let version = Header { key: "schema_version", value: Some(SCHEMA_VERSION.as_bytes()) };
    OwnedHeaders::new_with_capacity(2).insert(run_id).insert(version)
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        // Only after an error is anything open: what it holds must not be seen.
        if let Some(transaction) = &mut self.transaction {
            transaction.abort(self.clients.first());
        }
    }
}

fn create_topics(settings: &KafkaSettings) -> Result<(), SinkError> {
    let TopicOptions { partitions, config } = &settings.topics;
    let plans = Topic::ALL.map(|topic| TopicPlan {
        name: topic.name(),
        num_partitions: partitions.get(topic.name()).copied().unwrap_or(settings.num_partitions),
        config,
    });
    create_missing_topics(settings, &plans, settings.topics != TopicOptions::default())
}

pub(super) fn producer_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = base_config(settings);
    let mut default = |option: &str, value: &str| {
        if !settings.options.contains_key(option) {
            config.set(option, value);
        }
    };
    default("enable.idempotence", "true");
    default("compression.type", &settings.compression);
    if settings.compression == "zstd" {
        // Half the time of the usual level 3, for a tenth more bytes.
        default("compression.level", "1");
    }
    if settings.follow.is_none() {
        // Records that arrive need no report of their own; those that do not still end the run.
        default("delivery.report.only.error", "true");
    }
    default("message.timeout.ms", &DELIVERY_TIMEOUT.as_millis().to_string());
    // A record should still be in the processor's cache when it is compressed. With 2 MB of records waiting in each producer
    // instead of 16 MB, and batches that fit into that, a million events take 2.2 instead of 3.0 CPU-seconds (docs/generator.md).
    // Counted in records, so that the giants of D23 find room.
    default("queue.buffering.max.messages", "4000");
    default("batch.size", "500000");
    default("linger.ms", "5");
    // Room for the giants of D23; the broker's own limit counts what is left after compression.
    default("message.max.bytes", "4000000");
    // The bound of what is in memory, for each producer, however large the records are.
    default("queue.buffering.max.kbytes", "16384");
    if settings.transactions.is_some() {
        default("transactional.id", &format!("streamify-generate-{}", settings.run_id));
    }
    if settings.follow.is_some() {
        default("statistics.interval.ms", "250");
    }
    config
}
