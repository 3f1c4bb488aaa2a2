//! The last stretch of a run: deliveries into the sink, and what was taken into the counts and the truth.

use serde::{Deserialize, Serialize};

use crate::{
    event::Topic,
    faults::{Delivery, Role},
    sink::{Record, Sink, SinkError},
    truth::Truth,
};

/// Counts of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCounts {
    /// Events, each once.
    pub events: u64,
    /// Second deliveries of them.
    pub duplicates: u64,
    /// Further records that faults brought.
    pub extras: u64,
    /// Bytes of the values of all.
    pub bytes: u64,
}

/// A sink that counts what it takes.
pub struct Outlet<'a> {
    /// Where the records go.
    pub sink: &'a mut dyn Sink,
    /// Where the truth goes, if anyone asks.
    pub truth: Option<&'a mut Truth>,
    /// In the order of [`Topic::ALL`].
    pub counts: [TopicCounts; Topic::ALL.len()],
}

impl<'a> Outlet<'a> {
    /// Starts to count.
    pub fn new(sink: &'a mut dyn Sink, truth: Option<&'a mut Truth>) -> Self {
        Self { sink, truth, counts: Default::default() }
    }

    /// Hands a delivery to the sink.
    ///
    /// # Errors
    /// Any [`SinkError`]; the delivery then counts as not taken.
    pub fn take(&mut self, delivery: &Delivery<'_>) -> Result<(), SinkError> {
        let Delivery { topic, key, value, run_id, role, .. } = *delivery;
        self.sink.write(&Record { topic, key, value, run_id })?;
        let counts = &mut self.counts[topic as usize];
        let count = match role {
            Role::Event => &mut counts.events,
            Role::Copy => &mut counts.duplicates,
            Role::Extra => &mut counts.extras,
        };
        *count += 1;
        counts.bytes += value.map_or(0, <[u8]>::len) as u64;
        match &mut self.truth {
            Some(truth) => truth.delivered(delivery).map_err(SinkError::Truth),
            None => Ok(()),
        }
    }

    /// Returns a sum over all topics.
    pub fn total(&self, count: impl Fn(&TopicCounts) -> u64) -> u64 {
        self.counts.iter().map(count).sum()
    }
}
