//! Where the objects of [`crate::dimensions`] go: compacted topics, files, or standard output. Written whole before the events.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio_util::sync::CancellationToken;

use super::{
    SinkError,
    kafka::{Counters, KafkaSettings, Reports, producer_config},
    part::{Compression, PartFile},
    partition::murmur2,
    reach::await_broker,
    stdout::LineSink,
    topics::{TopicPlan, await_topic, create_missing_topics, refused},
};
use crate::{
    dimensions::{self, Dimension},
    simulation::Settings,
};

/// Writes all objects into files, `<prefix><name>.jsonl` with the suffix of the compression.
///
/// # Errors
/// [`SinkError::FileExists`], [`SinkError::File`].
pub fn write_files(
    settings: &Settings,
    folder: &Path,
    prefix: &str,
    compression: Option<Compression>,
    overwrite: bool,
) -> Result<(), SinkError> {
    let suffix = Compression::suffix(compression);
    let mut files = BTreeMap::new();
    for dimension in Dimension::ALL {
        let path = folder.join(format!("{prefix}{}.jsonl{suffix}", dimension.name()));
        files.insert(dimension, PartFile::create(path, compression, overwrite)?);
    }
    dimensions::for_each(settings, &mut |dimension, _, value| {
        let Some(file) = files.get_mut(&dimension) else { return Ok(()) };
        file.write(value)?;
        file.write(b"\n")
    })?;
    files.into_values().try_for_each(PartFile::complete)
}

/// Writes all objects to standard output, in the envelope of [`LineSink`].
///
/// # Errors
/// [`SinkError::Stopped`] if nobody reads any more, [`SinkError::Stdout`].
pub fn write_lines(
    settings: &Settings,
    prefix: &str,
    lines: &mut LineSink<io::Stdout>,
) -> Result<(), SinkError> {
    dimensions::for_each(settings, &mut |dimension, key, value| {
        lines.wrapped(&format!("{prefix}{}", dimension.name()), Some(key.as_bytes()), Some(value))
    })
}

/// Writes all objects into topics `<prefix><name>`, keyed by id; those that do not exist are created, compacted.
///
/// # Errors
/// Those of [`super::kafka::KafkaSink`].
pub fn write_kafka(
    settings: &Settings,
    kafka: &KafkaSettings,
    prefix: &str,
    num_partitions: i32,
    stop: &CancellationToken,
) -> Result<(), SinkError> {
    let mut topics = KafkaDimensions::connect(kafka, prefix, num_partitions, stop)?;
    dimensions::for_each(settings, &mut |dimension, key, value| topics.send(dimension, key, value))?;
    topics.finish()
}

struct KafkaDimensions<'a> {
    producer: BaseProducer<Reports>,
    reports: Arc<Counters>,
    servers: &'a str,
    /// Name and partitions, in the order of [`Dimension::ALL`].
    topics: Vec<(String, i32)>,
    stop: &'a CancellationToken,
}

impl<'a> KafkaDimensions<'a> {
    fn connect(
        kafka: &'a KafkaSettings,
        prefix: &str,
        num_partitions: i32,
        stop: &'a CancellationToken,
    ) -> Result<Self, SinkError> {
        await_broker(kafka, stop)?;
        let reports = Arc::new(Counters::default());
        // Objects are repeatable by their keys: transactions are for events.
        let plain = KafkaSettings { transactions: None, follow: None, ..kafka.clone() };
        let producer: BaseProducer<Reports> = producer_config(&plain)
            .create_with_context(Reports(Arc::clone(&reports)))
            .map_err(|source| refused(&kafka.servers, source))?;
        let names = Dimension::ALL.map(|dimension| format!("{prefix}{}", dimension.name()));
        let compacted = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let plans: Vec<TopicPlan<'_>> =
            names.iter().map(|name| TopicPlan { name, num_partitions, config: &compacted }).collect();
        // A broker that creates topics only when they are asked for, as the embedded one, will do for a demo.
        create_missing_topics(kafka, &plans, false)?;
        let mut topics = Vec::new();
        for name in names {
            let count = await_topic(producer.client(), &name, &kafka.servers, stop)?;
            topics.push((name, count));
        }
        Ok(Self { producer, reports, servers: &kafka.servers, topics, stop })
    }

    fn send(&mut self, dimension: Dimension, key: &str, value: &[u8]) -> Result<(), SinkError> {
        let (name, count) = &self.topics[dimension as usize];
        let partition = (murmur2(key.as_bytes()) & 0x7fff_ffff) as i32 % count;
        let mut record = BaseRecord::<[u8], [u8]>::to(name).partition(partition).payload(value);
        record.key = Some(key.as_bytes());
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => refused,
                Err((source, _)) => {
                    return Err(SinkError::KafkaRequest {
                        action: "write a dimension",
                        servers: self.servers.to_owned(),
                        source: Box::new(source),
                    });
                }
            };
            self.producer.poll(Duration::from_millis(100));
            if self.stop.is_cancelled() {
                return Err(SinkError::Stopped);
            }
        }
    }

    fn finish(&self) -> Result<(), SinkError> {
        let started = Instant::now();
        while self.producer.in_flight_count() > 0 && started.elapsed() < super::kafka::DELIVERY_TIMEOUT {
            self.producer.poll(Duration::from_millis(100));
        }
        let lost = self.reports.num_failed.load(Ordering::Relaxed);
        let late = u64::try_from(self.producer.in_flight_count()).unwrap_or(0);
        if lost + late > 0 {
            let first_reason = self.reports.first_reason().unwrap_or_else(|| "still queued".to_owned());
            return Err(SinkError::Undelivered { count: lost + late, first_reason });
        }
        Ok(())
    }
}
