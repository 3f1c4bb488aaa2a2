//! Transactions: records become visible to readers of committed records in groups, all topics together, or not at all.
//!
//! A group is committed when it has its number of records or its age, and at the end. The transactional id is that of the run:
//! the same run started again takes over from one that hangs, and what that one left open is undone.

use std::time::{Duration, Instant};

use rdkafka::{
    error::KafkaError,
    producer::{BaseProducer, Producer, ProducerContext},
};
use tracing::warn;

use super::{
    SinkError,
    kafka::{DELIVERY_TIMEOUT, REQUEST_TIMEOUT},
};

/// When transactions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transactions {
    /// Most records of one.
    pub max_records: u64,
    /// How long one may stay open.
    pub max_age: Duration,
}

/// The transaction of a producer.
#[derive(Debug)]
pub(super) struct Transaction {
    limits: Transactions,
    opened: Option<Instant>,
    num_records: u64,
}

/// Makes a producer ready for transactions; undoes what an earlier one with the same id left open.
pub(super) fn init<C: ProducerContext>(producer: &BaseProducer<C>, servers: &str) -> Result<(), SinkError> {
    producer
        .init_transactions(3 * REQUEST_TIMEOUT)
        .map_err(|source| failed("prepare transactions", servers, source))
}

fn failed(action: &'static str, servers: &str, source: KafkaError) -> SinkError {
    SinkError::KafkaRequest { action, servers: servers.to_owned(), source: Box::new(source) }
}

impl Transaction {
    pub(super) fn new(limits: Transactions) -> Self {
        Self { limits, opened: None, num_records: 0 }
    }

    /// Makes sure that a record has a transaction to go into, and counts it.
    pub(super) fn before_record<C: ProducerContext>(
        &mut self,
        producer: &BaseProducer<C>,
        servers: &str,
    ) -> Result<(), SinkError> {
        if self.num_records >= self.limits.max_records {
            self.commit(producer, servers)?;
        }
        if self.opened.is_none() {
            producer.begin_transaction().map_err(|source| failed("begin a transaction", servers, source))?;
            self.opened = Some(Instant::now());
        }
        self.num_records += 1;
        Ok(())
    }

    /// Commits if the transaction is old enough.
    pub(super) fn commit_if_due<C: ProducerContext>(
        &mut self,
        producer: &BaseProducer<C>,
        servers: &str,
    ) -> Result<(), SinkError> {
        let is_due = self.opened.is_some_and(|opened| opened.elapsed() >= self.limits.max_age);
        if is_due { self.commit(producer, servers) } else { Ok(()) }
    }

    /// Commits what is open, after everything in it has arrived.
    pub(super) fn commit<C: ProducerContext>(
        &mut self,
        producer: &BaseProducer<C>,
        servers: &str,
    ) -> Result<(), SinkError> {
        if self.opened.is_none() {
            return Ok(());
        }
        producer
            .flush(DELIVERY_TIMEOUT)
            .and_then(|()| producer.commit_transaction(DELIVERY_TIMEOUT))
            .map_err(|source| failed("commit a transaction", servers, source))?;
        (self.opened, self.num_records) = (None, 0);
        Ok(())
    }

    /// Undoes what is open, as far as the broker can be reached.
    pub(super) fn abort<C: ProducerContext>(&mut self, producer: &BaseProducer<C>) {
        if self.opened.take().is_some()
            && let Err(error) = producer.abort_transaction(REQUEST_TIMEOUT)
        {
            warn!(%error, "an open transaction could not be undone; the broker will, after its timeout");
        }
    }
}
