//! The producers of a run: each partition has one, so that its records stay in their order.
//!
//! librdkafka compresses all that goes to one broker on one thread. Two producers keep two cores busy even with a single broker.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    error::{KafkaError, KafkaResult},
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{
    super::{SinkError, topics::refused},
    Counters, KafkaSettings, Reports, producer_config,
};
use crate::event::Topic;

/// Producers of a run that may have several.
const MOST: usize = 2;

/// A record that was not taken, and why.
type Refused<'a> = (KafkaError, BaseRecord<'a, [u8], [u8]>);

pub(super) struct Clients(Vec<BaseProducer<Reports>>);

impl Clients {
    /// Makes the producers; all report to `reports`. A transaction has one, and so has a run that waits for its reader, which goes
    /// by the statistics of its client.
    pub(super) fn create(settings: &KafkaSettings, reports: &Arc<Counters>) -> Result<Self, SinkError> {
        let is_single = settings.transactions.is_some() || settings.follow.is_some();
        let config = producer_config(settings);
        let create = |_| {
            config
                .create_with_context(Reports(Arc::clone(reports)))
                .map_err(|source| refused(&settings.servers, source))
        };
        (0..if is_single { 1 } else { MOST }).map(create).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the producer for what is not about one partition.
    pub(super) fn first(&self) -> &BaseProducer<Reports> {
        &self.0[0]
    }

    /// Hands a record over to the producer of its partition.
    pub(super) fn send<'a>(
        &self,
        (topic, partition): (Topic, i32),
        record: BaseRecord<'a, [u8], [u8]>,
    ) -> Result<(), Refused<'a>> {
        let place = topic as usize + usize::try_from(partition).unwrap_or_default();
        self.0[place % self.0.len()].send(record)
    }

    /// Takes in what the clients report; with nothing to report it takes `wait`.
    pub(super) fn poll(&self, wait: Duration) {
        let (first, others) = (self.first(), &self.0[1..]);
        others.iter().for_each(|client| client.poll(Duration::ZERO));
        first.poll(wait);
    }

    /// Waits until everything has arrived; the first problem is the result.
    pub(super) fn flush(&self, timeout: Duration) -> KafkaResult<()> {
        let deadline = Instant::now() + timeout;
        let flush = |client: &BaseProducer<_>| client.flush(deadline.duration_since(Instant::now()));
        // All are flushed, also behind one that fails.
        self.0.iter().map(flush).fold(Ok(()), Result::and)
    }

    /// Returns the number of records that have not arrived.
    pub(super) fn num_on_their_way(&self) -> u64 {
        self.0.iter().map(|client| u64::try_from(client.in_flight_count()).unwrap_or(0)).sum()
    }
}
