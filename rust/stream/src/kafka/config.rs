//! What brokers say of a topic's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::{KafkaError, KafkaSettings};

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The entries of one topic's configuration that mean something to a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    /// Compaction leaves offsets without a record.
    pub is_compacted: bool,
    /// Records older than this may be deleted, in ms; `None`: age deletes nothing.
    pub retention_ms: Option<i64>,
}

/// Asks for the configuration of each of `topics`, through a connection of its own, for up to 5 s.
///
/// # Errors
/// [`KafkaError::RequestFailed`]: no answer, or no right to `DescribeConfigs` on a topic.
pub async fn topic_configs(
    settings: &KafkaSettings,
    topics: &[&str],
) -> Result<BTreeMap<String, TopicConfig>, KafkaError> {
    let failed = |reason: String| KafkaError::RequestFailed {
        what: "describe the topics' configuration",
        servers: settings.bootstrap_servers.clone(),
        reason,
        retryable: true,
    };
    let client: AdminClient<DefaultClientContext> =
        settings.client_config()?.create().map_err(|error| failed(error.to_string()))?;
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
    let resources: Vec<ResourceSpecifier<'_>> =
        topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let answers =
        client.describe_configs(&resources, &options).await.map_err(|error| failed(error.to_string()))?;
    let mut configs = BTreeMap::new();
    for (topic, answer) in topics.iter().zip(answers) {
        let answer = answer.map_err(|code| failed(format!("topic `{topic}`: {code}")))?;
        let entry = |name: &str| answer.get(name).and_then(|entry| entry.value.as_deref());
        let policy = entry("cleanup.policy")
            .ok_or_else(|| failed(format!("topic `{topic}`: the broker told no `cleanup.policy`")))?;
        configs.insert((*topic).to_owned(), config(policy, entry("retention.ms")));
    }
    Ok(configs)
}

fn config(policy: &str, retention: Option<&str>) -> TopicConfig {
    let retention_ms = retention.and_then(|text| text.parse().ok()).filter(|ms: &i64| *ms >= 0);
    TopicConfig {
        is_compacted: policy.contains("compact"),
        retention_ms: retention_ms.filter(|_| policy.contains("delete")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_deletes_only_where_the_policy_and_a_limit_say_so() {
        let read = |policy, retention| {
            let config = config(policy, retention);
            (config.is_compacted, config.retention_ms)
        };

        assert_eq!(read("delete", Some("604800000")), (false, Some(604_800_000)));
        assert_eq!(read("delete", Some("-1")), (false, None));
        assert_eq!(read("compact", Some("604800000")), (true, None));
        assert_eq!(read("compact,delete", Some("1000")), (true, Some(1000)));
        assert_eq!(read("delete", None), (false, None));
    }
}
