//! Which log it is that we read: the cluster's id and the topic's id.
//!
//! Offsets mean nothing without them: after a topic is deleted and made again, or the bootstrap address points to
//! another cluster, old offsets point at other records. Ids are kept beside the offsets and compared at start.
//! Brokers before 2.8 (and mocks) have no topic ids: then the id is `None`, which equals nothing, see
//! [`TopicIdentity::is_same_log`].

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::{KafkaClient, KafkaError, admin};

/// A cluster's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The id the cluster was formatted with.
    pub cluster_id: String,
}

/// A topic's identity and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    /// The topic's UUID in base64, as Kafka's own tools print it; `None` if the broker has none to tell.
    pub topic_id: Option<String>,
    /// Number of partitions, from 0 on.
    pub num_partitions: i32,
}

impl TopicIdentity {
    /// Returns whether the topic is surely the one stored: `Some(true)` or `Some(false)` if both ids are known, `None`
    /// if one is not, so that a lack of knowledge is never taken for a match.
    pub fn is_same_log(&self, stored_topic_id: Option<&str>) -> Option<bool> {
        Some(self.topic_id.as_deref()? == stored_topic_id?)
    }
}

impl KafkaClient {
    /// Returns the cluster's identity, known since the connection was made.
    pub fn cluster(&self) -> ClusterIdentity {
        ClusterIdentity { cluster_id: self.cluster_id.clone() }
    }

    /// Asks for the identity of `topics`; those that do not exist are left out. Blocks for up to twice `timeout`.
    ///
    /// Ask again while reading, e.g. before a commit: the client library follows a topic that is deleted and made again,
    /// and goes on at the old offset if the new topic has reached it.
    ///
    /// # Errors
    /// [`KafkaError::RequestFailed`], retryable while brokers are away.
    pub fn topics(
        &self,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<BTreeMap<String, TopicIdentity>, KafkaError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let what = "fetch the list of brokers";
        let metadata = self.consumer.client().fetch_metadata(Some(topics[0]), timeout).map_err(|error| {
            let retryable = error.rdkafka_error_code().is_some_and(admin::is_retryable);
            self.request_failed(what, error.to_string(), retryable)
        })?;
        let described = admin::describe_topics(self, metadata.orig_broker_id(), topics, timeout)?;
        Ok(described
            .into_iter()
            .map(|topic| {
                // Kafka numbers partitions by i32, so there cannot be more.
                let num_partitions = i32::try_from(topic.num_partitions).unwrap_or(i32::MAX);
                (topic.name, TopicIdentity { topic_id: topic.id, num_partitions })
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_ids_are_never_equal_by_accident() {
        let unknown = TopicIdentity { topic_id: None, num_partitions: 1 };
        let known = TopicIdentity { topic_id: Some("a".to_owned()), num_partitions: 1 };

        assert_eq!(unknown.is_same_log(None), None);
        assert_eq!(unknown.is_same_log(Some("a")), None);
        assert_eq!(known.is_same_log(None), None);
        assert_eq!(known.is_same_log(Some("a")), Some(true));
        assert_eq!(known.is_same_log(Some("b")), Some(false));
    }
}
