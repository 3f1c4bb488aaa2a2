//! How far the tables are behind Kafka, asked from outside: no worker need run, no consumer is opened.
//!
//! The tables say what they hold, the brokers where the topics begin and end; both are asked once, and the answer is printed as one
//! JSON object.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use serde::Serialize;
use streamify_core::lease::{Lease, Leases};
use streamify_core::{Contract, contract};
use streamify_lake::commit::{Committer, keys};
use streamify_lake::{Lake, LakeError, LakeSettings, LoadedTable};
use tokio::time::timeout;
use tracing::warn;

use crate::clock;
use crate::error::StreamError;
use crate::kafka::config::{TopicConfig, topic_configs};
use crate::kafka::{Bounds, KafkaSettings, TopicPartition};
use crate::lease::has_died;
use crate::settings::{Settings, Source};
use crate::start::{Logs, commit_options, kafka};
use crate::wait::until_ready;
use crate::worker;

/// Summary key of the instant up to which a table is complete.
const VALID_THROUGH: &str = "streamify.valid-through-ms";
const CONFIG_LIMIT: Duration = Duration::from_secs(1);

/// All topics.
#[derive(Debug, Serialize)]
pub struct Status {
    at_ms: i64,
    /// Records not in the tables, all topics together.
    pub lag_records: i64,
    /// Of the topic that is most behind; `None`: of none is it known.
    pub lag_seconds: Option<f64>,
    /// Of the topic that is most in danger of losing records.
    pub headroom_seconds: Option<f64>,
    /// By topic.
    pub topics: Vec<TopicStatus>,
}

/// One topic.
#[derive(Debug, Serialize)]
pub struct TopicStatus {
    /// Topic.
    pub topic: String,
    /// Its table.
    pub table: String,
    table_exists: bool,
    epoch: u32,
    /// Records not in the table.
    pub lag_records: i64,
    /// Age of the instant up to which the table is complete; 0 without lag, `None` if unknown.
    pub lag_seconds: Option<f64>,
    /// Retention minus lag: time to data loss.
    pub headroom_seconds: Option<f64>,
    retention_ms: Option<i64>,
    snapshot_id: Option<i64>,
    committed_at_ms: Option<i64>,
    partitions: Vec<PartitionStatus>,
    leases: Vec<LeaseStatus>,
}

#[derive(Debug, Serialize)]
struct PartitionStatus {
    partition: i32,
    next_offset: Option<i64>,
    begin_offset: i64,
    end_offset: i64,
    lag_records: i64,
}

#[derive(Debug, Serialize)]
struct LeaseStatus {
    #[serde(flatten)]
    lease: Lease,
    is_valid: bool,
}

/// What a table tells.
#[derive(Default)]
struct Held {
    exists: bool,
    epoch: u32,
    next: BTreeMap<i32, i64>,
    snapshot_id: Option<i64>,
    committed_at_ms: Option<i64>,
    valid_through_ms: Option<i64>,
    leases: Leases,
}

/// Asks tables and brokers.
///
/// # Errors
/// One of them did not answer within `--connect-timeout`, or a table's state cannot be used.
pub async fn status(settings: &Settings, lake: &LakeSettings) -> Result<Status, StreamError> {
    let contracts = worker::contracts(settings)?;
    let tables =
        until_ready("catalog and store", settings.connect_timeout, || tables(settings, lake, &contracts));
    let (held, (client, cluster_id, identities)) = tokio::try_join!(tables, kafka(settings, &contracts))?;
    let logs = Logs { settings, client: &client, cluster_id, identities: &identities };
    let bounds = try_join_all(contracts.iter().map(|contract| {
        let num_partitions = logs.identity(&contract.topic).num_partitions;
        let all = (0..num_partitions).map(|number| TopicPartition::new(contract.topic.clone(), number));
        logs.find(contract, all.collect())
    }));
    let configs = async { Ok(configs(settings, client.settings(), &contracts).await) };
    let (found, configs) = tokio::try_join!(bounds, configs)?;
    let now_ms = clock::now_us() / 1000;
    let topics: Vec<TopicStatus> = contracts
        .iter()
        .zip(held)
        .zip(found)
        .map(|((contract, held), log)| {
            let config = configs.get(&contract.topic).copied().unwrap_or_default();
            topic_status(contract, held, &log.bounds, config, now_ms)
        })
        .collect();
    let worst = |choose: fn(f64, f64) -> f64, value: fn(&TopicStatus) -> Option<f64>| {
        topics.iter().filter_map(value).reduce(choose)
    };
    Ok(Status {
        at_ms: now_ms,
        lag_records: topics.iter().map(|topic| topic.lag_records).sum(),
        lag_seconds: worst(f64::max, |topic| topic.lag_seconds),
        headroom_seconds: worst(f64::min, |topic| topic.headroom_seconds),
        topics,
    })
}

/// How long topics keep their records; what cannot be known in a second is left out, for the answer must come soon.
async fn configs(
    settings: &Settings,
    kafka: &KafkaSettings,
    contracts: &[Arc<Contract>],
) -> BTreeMap<String, TopicConfig> {
    // The embedded broker answers no such question.
    if settings.source == Source::Embedded {
        return BTreeMap::new();
    }
    let names: Vec<&str> = contracts.iter().map(|contract| contract.topic.as_str()).collect();
    match timeout(CONFIG_LIMIT, topic_configs(kafka, &names)).await {
        Ok(Ok(configs)) => return configs,
        Ok(Err(error)) => warn!(%error, "failed to ask how long the topics keep their records"),
        Err(_) => warn!("the brokers did not say in time how long the topics keep their records"),
    }
    BTreeMap::new()
}

async fn tables(
    settings: &Settings,
    lake: &LakeSettings,
    contracts: &[Arc<Contract>],
) -> Result<Vec<Held>, StreamError> {
    let failed = |what: String| move |source: LakeError| StreamError::Lake { what, source };
    let lake = Lake::open(lake).await.map_err(failed("open the lake".to_owned()))?;
    try_join_all(contracts.iter().map(|contract| {
        let lake = lake.clone();
        async move {
            let loaded = lake.catalog().load_table(&contract.table).await;
            let loaded = loaded.map_err(|source| LakeError::TableUnavailable {
                table: contract.table.clone(),
                catalog: lake.catalog().describe(),
                source,
            });
            let table = loaded.map_err(failed(format!("load table `{}`", contract.table)))?;
            match table {
                None => Ok(Held::default()),
                Some(table) => held(settings, &lake, contract, table).await,
            }
        }
    }))
    .await
}

async fn held(
    settings: &Settings,
    lake: &Lake,
    contract: &contract::Contract,
    table: LoadedTable,
) -> Result<Held, StreamError> {
    let committer = Committer::open(Arc::clone(lake.catalog()), table, commit_options(settings)).await?;
    let metadata = &committer.table().metadata;
    let state = committer.state().topics.get(&contract.topic).map(|topic| topic.current.clone());
    // Compactions and leases say nothing of the records.
    let data = keys::lineage(metadata)
        .find(|snapshot| snapshot.summary().additional_properties.contains_key(keys::LEDGER));
    let valid = data.and_then(|snapshot| snapshot.summary().additional_properties.get(VALID_THROUGH));
    Ok(Held {
        exists: true,
        epoch: state.as_ref().map_or(0, |state| state.epoch),
        next: state.map(|state| state.next).unwrap_or_default(),
        snapshot_id: metadata.current_snapshot_id(),
        committed_at_ms: data.map(|snapshot| snapshot.timestamp_ms()),
        valid_through_ms: valid.and_then(|text| text.parse().ok()),
        leases: keys::leases(metadata),
    })
}

fn topic_status(
    contract: &Contract,
    held: Held,
    bounds: &BTreeMap<i32, Bounds>,
    config: TopicConfig,
    now_ms: i64,
) -> TopicStatus {
    let partitions: Vec<PartitionStatus> = bounds
        .iter()
        .map(|(partition, bounds)| {
            let next_offset = held.next.get(partition).copied();
            let from = next_offset.unwrap_or(bounds.earliest);
            PartitionStatus {
                partition: *partition,
                next_offset,
                begin_offset: bounds.earliest,
                end_offset: bounds.stable_end,
                lag_records: (bounds.stable_end - from).max(0),
            }
        })
        .collect();
    let lag_records: i64 = partitions.iter().map(|partition| partition.lag_records).sum();
    let lag_seconds = match (lag_records, held.valid_through_ms) {
        (0, _) => Some(0.0),
        (_, valid) => valid.map(|valid| (now_ms - valid).max(0) as f64 / 1000.0),
    };
    let headroom_seconds = config.retention_ms.zip(lag_seconds).map(|(kept, lag)| kept as f64 / 1000.0 - lag);
    let is_valid = |lease: &Lease| now_ms <= lease.valid_until_ms && !has_died(&lease.process);
    let leases = held.leases.0.into_iter().map(|lease| LeaseStatus { is_valid: is_valid(&lease), lease });
    TopicStatus {
        topic: contract.topic.clone(),
        table: contract.table.clone(),
        table_exists: held.exists,
        epoch: held.epoch,
        lag_records,
        lag_seconds,
        headroom_seconds,
        retention_ms: config.retention_ms,
        snapshot_id: held.snapshot_id,
        committed_at_ms: held.committed_at_ms,
        partitions,
        leases: leases.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(next: &[(i32, i64)], valid_through_ms: Option<i64>, retention_ms: Option<i64>) -> TopicStatus {
        let contract = streamify_core::builtin().swap_remove(0);
        let held =
            Held { exists: true, next: next.iter().copied().collect(), valid_through_ms, ..Held::default() };
        let bounds = Bounds { earliest: 5, stable_end: 30, high_watermark: 31 };
        let config = TopicConfig { is_compacted: false, retention_ms };
        topic_status(&contract, held, &BTreeMap::from([(0, bounds), (1, bounds)]), config, 1_000_000)
    }

    #[test]
    fn lag_counts_from_the_table_or_from_what_the_topic_still_has() {
        let status = of(&[(0, 28)], Some(990_000), Some(60_000));

        assert_eq!(status.lag_records, 2 + 25);
        assert_eq!((status.lag_seconds, status.headroom_seconds), (Some(10.0), Some(50.0)));
        assert_eq!(status.partitions[1].next_offset, None);
    }

    #[test]
    fn without_lag_the_whole_retention_is_left_and_without_retention_nothing_is_lost() {
        let status = of(&[(0, 30), (1, 30)], None, Some(60_000));
        assert_eq!((status.lag_seconds, status.headroom_seconds), (Some(0.0), Some(60.0)));

        assert_eq!(of(&[(0, 30)], Some(1), None).headroom_seconds, None);
        assert_eq!(of(&[(0, 30)], None, Some(60_000)).lag_seconds, None, "nobody knows how old the lag is");
    }
}
