//! Offsets without a record: on which topics they are normal.
//!
//! Compaction and transactions leave offsets that no reader ever gets. On any other topic they mean that the brokers
//! lost records, so the run stops there unless it was told to accept them. Whether a topic is compacted is asked only
//! when its first skip is seen; whether its producers use transactions no broker tells.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::error::StreamError;
use crate::kafka::config::topic_configs;
use crate::kafka::{KafkaSettings, Run, TopicPartition};
use crate::settings::Policy;

/// Decides about skips.
pub struct Skips {
    policy: Policy,
    settings: KafkaSettings,
    runtime: Handle,
    compacted: Mutex<BTreeMap<String, bool>>,
}

impl Skips {
    /// Returns a judge that follows `policy`, and asks the brokers of `settings` on the given runtime.
    pub fn new(policy: Policy, settings: KafkaSettings, runtime: Handle) -> Self {
        Self { policy, settings, runtime, compacted: Mutex::default() }
    }

    /// Checks a run with skips. Blocks for up to 5 s at the first skip of a topic; call it from intake threads only.
    ///
    /// # Errors
    /// [`StreamError::Skipped`] if they are not accepted.
    pub fn check(&self, partition: &TopicPartition, run: &Run) -> Result<(), StreamError> {
        if self.policy == Policy::Accept || self.is_compacted(&partition.topic) {
            return Ok(());
        }
        Err(StreamError::Skipped {
            partition: partition.clone(),
            from: run.from,
            to: run.to,
            skipped: run.skipped_by_broker,
        })
    }

    fn is_compacted(&self, topic: &str) -> bool {
        let mut compacted = self.compacted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compacted.get(topic) {
            return *known;
        }
        let asked = self.runtime.block_on(topic_configs(&self.settings, &[topic]));
        let is_compacted = match asked {
            Ok(configs) => configs.get(topic).is_some_and(|config| config.is_compacted),
            Err(error) => {
                warn!(topic, %error, "failed to ask whether the topic is compacted, taking it as not compacted");
                false
            }
        };
        info!(topic, is_compacted, "offsets without a record were seen");
        compacted.insert(topic.to_owned(), is_compacted);
        is_compacted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { from: 5, to: 9, received: 1, skipped_by_broker: 3 };

    fn skips(policy: Policy, is_compacted: bool) -> Skips {
        let skips = Skips::new(policy, KafkaSettings::new("nowhere:1"), Handle::current());
        skips.compacted.lock().unwrap().insert("t".to_owned(), is_compacted);
        skips
    }

    #[tokio::test]
    async fn skips_are_an_error_unless_the_topic_is_compacted_or_they_are_accepted() {
        let partition = TopicPartition::new("t", 2);

        let error = skips(Policy::Fail, false).check(&partition, &RUN).unwrap_err();

        assert_eq!(
            error.to_string(),
            "t/2: the brokers delivered no record for 3 offsets in [5, 9), and the topic is not compacted"
        );
        assert_eq!(error.exit_code(), streamify_runtime::ExitCode::NeedsDecision);
        assert!(error.hint().unwrap().contains("--on-skip accept"));
        assert!(skips(Policy::Fail, true).check(&partition, &RUN).is_ok());
        assert!(skips(Policy::Accept, false).check(&partition, &RUN).is_ok());
    }
}
