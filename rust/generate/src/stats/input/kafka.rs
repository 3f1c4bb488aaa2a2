//! Records from topics, up to the end they have when the reading begins.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::InputError;
use crate::stats::Survey;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the next record.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Bootstrap servers.
    pub servers: String,
    /// librdkafka options.
    pub options: BTreeMap<String, String>,
    /// Topics; those that do not exist are passed over.
    pub topics: Vec<String>,
}

struct Reader<'a> {
    source: &'a Source,
    consumer: BaseConsumer<Listener>,
    ends: Ends,
    runs: Vec<Vec<u8>>,
}

/// Offsets after the last records to read, by topic and partition; gone when they are reached. A handful, so a list.
#[derive(Default)]
struct Ends(Vec<(String, i32, i64)>);

impl Ends {
    fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.iter().find(|end| end.1 == partition && end.0 == topic).map(|end| end.2)
    }

    /// Learns that everything before `next` is read.
    fn advance(&mut self, topic: &str, partition: i32, next: i64) {
        self.0.retain(|end| end.1 != partition || end.0 != topic || next < end.2);
    }
}

/// Hears what the client has to say: the ends of partitions, which are what is waited for, and lost connections and the like,
/// from which the client recovers by itself.
struct Listener;

impl ClientContext for Listener {
    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error, KafkaError::PartitionEOF(_))
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF)
        {
            warn!(%error, reason, "Kafka client reports a problem");
        }
    }
}

impl ConsumerContext for Listener {}

/// Reads topics from their beginning to their present end. Runs are told apart by the header `run_id`.
///
/// # Errors
/// All but [`InputError::File`] and [`InputError::NoFile`].
pub fn read(source: &Source, survey: &mut Survey, stop: &CancellationToken) -> Result<(), InputError> {
    let mut config = ClientConfig::new();
    config.set("client.id", "streamify-generate-stats").set("fetch.wait.max.ms", "50");
    for (option, value) in &source.options {
        config.set(option, value);
    }
    config
        .set("bootstrap.servers", &source.servers)
        .set("group.id", "streamify-generate-stats")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Listener> = config
        .create_with_context(Listener)
        .map_err(|error| failed(source, "set up a Kafka client", error))?;
    let mut reader = Reader { source, consumer, ends: Ends::default(), runs: Vec::new() };
    reader.assign()?;
    reader.read(survey, stop)
}

fn failed(source: &Source, action: impl Into<String>, error: KafkaError) -> InputError {
    match error {
        KafkaError::ClientConfig(_, reason, option, _) => InputError::KafkaOption { option, reason },
        error => InputError::Kafka {
            action: action.into(),
            servers: source.servers.clone(),
            source: Box::new(error),
        },
    }
}

impl Reader<'_> {
    fn assign(&mut self) -> Result<(), InputError> {
        let metadata = self
            .consumer
            .fetch_metadata(None, REQUEST_TIMEOUT)
            .map_err(|error| failed(self.source, "list the topics", error))?;
        let wanted: BTreeSet<&str> = self.source.topics.iter().map(String::as_str).collect();
        let mut assignment = TopicPartitionList::new();
        let found: Vec<_> = metadata.topics().iter().filter(|topic| wanted.contains(topic.name())).collect();
        for topic in &found {
            for partition in topic.partitions() {
                let (name, partition) = (topic.name(), partition.id());
                let (low, high) =
                    self.consumer.fetch_watermarks(name, partition, REQUEST_TIMEOUT).map_err(|error| {
                        failed(self.source, format!("look up the end of `{name}/{partition}`"), error)
                    })?;
                if low < high {
                    self.ends.0.push((name.to_owned(), partition, high));
                    assignment
                        .add_partition_offset(name, partition, Offset::Offset(low))
                        .map_err(|error| failed(self.source, "choose the partitions", error))?;
                }
            }
        }
        if found.is_empty() {
            let topics: Vec<String> = self.source.topics.iter().map(|topic| format!("`{topic}`")).collect();
            return Err(InputError::NoTopic {
                topics: topics.join(", "),
                servers: self.source.servers.clone(),
            });
        }
        self.consumer.assign(&assignment).map_err(|error| failed(self.source, "choose the partitions", error))
    }

    fn read(&mut self, survey: &mut Survey, stop: &CancellationToken) -> Result<(), InputError> {
        let mut last = Instant::now();
        let mut num_records = 0u64;
        while !self.ends.0.is_empty() {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let run = run_of(&mut self.runs, &message);
                    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
                    if self.ends.get(topic, partition).is_some_and(|end| offset < end) {
                        survey.add(run, message.payload().unwrap_or_default());
                        last = Instant::now();
                    }
                    self.ends.advance(topic, partition, offset + 1);
                }
                // The end, whatever the last offsets before it are: transaction markers, compacted records.
                Some(Err(KafkaError::PartitionEOF(_))) => self.drop_finished()?,
                Some(Err(error)) => return Err(failed(self.source, "read a record", error)),
                None if last.elapsed() > PATIENCE => {
                    let (servers, seconds) = (self.source.servers.clone(), PATIENCE.as_secs());
                    return Err(InputError::Stalled { servers, seconds, partitions: self.ends.0.len() });
                }
                None => {}
            }
            num_records += 1;
            if num_records.is_multiple_of(1_024) && stop.is_cancelled() {
                return Err(InputError::Stopped);
            }
        }
        Ok(())
    }

    /// Forgets the partitions whose position has reached their end.
    fn drop_finished(&mut self) -> Result<(), InputError> {
        let positions =
            self.consumer.position().map_err(|error| failed(self.source, "look up the position", error))?;
        for element in positions.elements() {
            if let Offset::Offset(position) = element.offset() {
                self.ends.advance(element.topic(), element.partition(), position);
            }
        }
        Ok(())
    }
}

/// Returns the number of a record's run.
fn run_of(runs: &mut Vec<Vec<u8>>, message: &BorrowedMessage<'_>) -> u32 {
    let id = message.headers().and_then(|headers| {
        headers.iter().find(|header| header.key == "run_id").and_then(|header| header.value)
    });
    let id = id.unwrap_or_default();
    let known = runs.iter().position(|run| run == id);
    known.unwrap_or_else(|| {
        runs.push(id.to_vec());
        runs.len() - 1
    }) as u32
}
