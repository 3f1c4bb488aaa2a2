//! A range of a topic read again, into a staging table with a state of its own; the topic's table is only looked at.
//!
//! The range is fixed when the staging table is made, and ends where the topic's table is at the latest: what lies beyond
//! is the running worker's. Killed and started again, the replay goes on where the staging table is. Dead letters go to a
//! table beside it. For event dates, the start is the first record whose Kafka timestamp allows such an event; every
//! record from there on is read, because events may come late by any time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use streamify_core::Contract;
use streamify_core::dead_letter;
use streamify_core::replay::{PROPERTY, ReplayRange};
use streamify_lake::commit::Committer;
use streamify_lake::{Lake, LakeError, LakeSettings, LoadedTable, TableSpec};
use tracing::{info, warn};

use crate::dead_letters::{Origin, known};
use crate::error::{Gap, StreamError};
use crate::intake::Assigned;
use crate::kafka::{KafkaClient, TopicPartition};
use crate::plan::Log;
use crate::settings::{Range, Replay, Settings, Source};
use crate::start::{Logs, Ready, ReadyTopic, blocking, commit_options, kafka};
use crate::wait::until_ready;

const ASK_TIMEOUT: Duration = Duration::from_secs(10);
const MS_PER_DAY: i64 = 86_400_000;

/// Lets the contract of the one topic name the staging table, and notes the table it named.
///
/// # Errors
/// [`StreamError::CannotReplay`] if the staging table would be a table of the stream.
pub fn redirect(replay: &mut Replay, contracts: &mut Vec<Arc<Contract>>) -> Result<(), StreamError> {
    let cannot = |problem: String| StreamError::CannotReplay { table: replay.staging.clone(), problem };
    let [contract] = contracts.as_slice() else {
        return Err(cannot("one topic is read again at a time".to_owned()));
    };
    if replay.staging == contract.table
        || replay.staging.starts_with("bronze_")
        || replay.staging.starts_with("silver_")
    {
        return Err(cannot("the staging table must be a table of its own, its name not beginning with `bronze_` or `silver_`".to_owned()));
    }
    replay.target.clone_from(&contract.table);
    let redirected = Contract { table: replay.staging.clone(), ..contract.as_ref().clone() };
    *contracts = vec![Arc::new(redirected)];
    Ok(())
}

/// Makes everything ready to read the range.
///
/// # Errors
/// What is not there in time, and what keeps the range from being read.
pub async fn prepare(
    settings: &Settings,
    replay: &Replay,
    lake: &LakeSettings,
    contracts: &[Arc<Contract>],
) -> Result<Ready, StreamError> {
    let cannot = |problem: &str| StreamError::CannotReplay {
        table: replay.staging.clone(),
        problem: problem.to_owned(),
    };
    let contract = contracts.first().ok_or_else(|| cannot("there is no topic"))?;
    let (client, cluster_id, identities) = kafka(settings, contracts).await?;
    let logs = Logs { settings, client: &client, cluster_id, identities: &identities };
    let num_partitions = logs.identity(&contract.topic).num_partitions;
    let all = (0..num_partitions).map(|number| TopicPartition::new(&*contract.topic, number));
    let log = logs.find(contract, all.collect()).await?;

    let opened = until_ready("catalog and store", settings.connect_timeout, || async {
        let opened = Lake::open(lake).await;
        opened.map_err(|source| StreamError::Lake { what: "open the lake".to_owned(), source })
    })
    .await?;
    let making = Making { settings, replay, lake: &opened, client: &client, log: &log };
    let (range, appender, dead_letters) = making.tables(contract).await?;
    let origin = Origin { topic: log.topic.clone(), epoch: range.epoch, source: log.source.clone() };
    let mut assigned = assignments(&log, &range, &appender)?;
    for one in &mut assigned {
        one.letters = known(&dead_letters, &origin, &one.start()).await?;
    }
    let topics = vec![ReadyTopic { contract: Arc::clone(contract), appender, origin }];
    Ok(Ready { topics, dead_letters, client: Arc::clone(&client), assigned, identities, held: None })
}

/// What the tables of a replay are made with.
struct Making<'a> {
    settings: &'a Settings,
    replay: &'a Replay,
    lake: &'a Lake,
    client: &'a Arc<KafkaClient>,
    log: &'a Log,
}

impl Making<'_> {
    /// Finds or makes the staging table and the one for its dead letters; returns the range that they are for.
    async fn tables(&self, contract: &Contract) -> Result<(ReplayRange, Committer, Committer), StreamError> {
        let staging = self.load(&self.replay.staging).await?;
        let range = match &staging {
            Some(table) => self.recorded(table)?,
            None => self.range().await?,
        };
        let mut spec = TableSpec::bronze(contract);
        spec.doc =
            format!("Topic `{}` read again, to be compared with table `{}`.", range.topic, range.target);
        spec.properties.push((PROPERTY.to_owned(), range.to_json()));
        let letters =
            TableSpec { name: format!("{}_{}", spec.name, dead_letter::TABLE), ..TableSpec::dead_letters() };
        if staging.is_none() {
            info!(table = spec.name, target = range.target, offsets = ?range.offsets, days = ?range.days, "replaying a range");
        }
        let appender = self.open(&spec).await?;
        Ok((range, appender, self.open(&letters).await?))
    }

    async fn open(&self, spec: &TableSpec) -> Result<Committer, StreamError> {
        let what = format!("make table `{}` ready", spec.name);
        let table =
            self.lake.ensure_table(spec).await.map_err(|source| StreamError::Lake { what, source })?;
        Ok(Committer::open(Arc::clone(self.lake.catalog()), table, commit_options(self.settings)).await?)
    }

    /// The range for which a staging table was made; it must be the one that is asked for.
    fn recorded(&self, table: &LoadedTable) -> Result<ReplayRange, StreamError> {
        let found = table.metadata.properties().get(PROPERTY).and_then(|text| ReplayRange::from_json(text));
        let found =
            found.ok_or_else(|| self.cannot("it exists already, and is no staging table of a replay"))?;
        let same_range = match &self.replay.range {
            Range::Offsets(offsets) => found.days.is_none() && found.offsets == *offsets,
            Range::Days(days) => found.days == Some(*days),
        };
        if !same_range || found.topic != self.log.topic || found.target != self.replay.target {
            return Err(self.cannot(&format!(
                "it was made for another replay ({}); drop it, or choose another name",
                found.to_json()
            )));
        }
        Ok(found)
    }

    /// Works out the range from what the topic's table has and what the topic still holds.
    async fn range(&self) -> Result<ReplayRange, StreamError> {
        let (log, target) = (self.log, &self.replay.target);
        let table = self.load(target).await?;
        let table = table.ok_or_else(|| self.cannot(&format!("table `{target}` does not exist")))?;
        let committer =
            Committer::open(Arc::clone(self.lake.catalog()), table, commit_options(self.settings)).await?;
        let state = committer.state().topics.get(&log.topic).map(|topic| topic.current.clone());
        let state =
            state.ok_or_else(|| self.cannot(&format!("table `{target}` holds no offsets of the topic")))?;
        if !state.source.matches(&log.source) {
            return Err(StreamError::SourceChanged {
                topic: log.topic.clone(),
                table: target.clone(),
                stored: state.source,
                found: log.source.clone(),
            });
        }
        let offsets = match &self.replay.range {
            Range::Offsets(offsets) => {
                within(offsets, log, &state.next).map_err(|problem| self.cannot(&problem))?
            }
            Range::Days(_) if self.settings.source == Source::Embedded => {
                return Err(self.cannot(
                    "the embedded broker does not find offsets by time; name them with --from-offsets",
                ));
            }
            Range::Days(days) => self.since(days[0], &state.next).await?,
        };
        let days = match self.replay.range {
            Range::Offsets(_) => None,
            Range::Days(days) => Some(days),
        };
        let (topic, target) = (log.topic.clone(), target.clone());
        Ok(ReplayRange { topic, target, epoch: state.epoch, days, offsets })
    }

    /// The offsets, up to where the table is, that may hold events of a day or later ones.
    async fn since(
        &self,
        day: i32,
        next: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, [i64; 2]>, StreamError> {
        let ahead = i64::try_from(self.settings.max_event_time_ahead.as_millis()).unwrap_or(i64::MAX);
        let since = (i64::from(day) * MS_PER_DAY).saturating_sub(ahead);
        let partitions: Vec<_> =
            next.keys().map(|number| TopicPartition::new(&*self.log.topic, *number)).collect();
        let found = until_ready("the partitions' leaders", self.settings.connect_timeout, || {
            let (client, partitions) = (Arc::clone(self.client), partitions.clone());
            blocking("asking for offsets", move || {
                client.first_offsets_since(&partitions, since, ASK_TIMEOUT)
            })
        })
        .await?;
        let mut offsets = BTreeMap::new();
        for ((partition, end), first) in next.iter().zip(found) {
            let earliest = self.log.bounds.get(partition).map_or(0, |bounds| bounds.earliest);
            let Some(first) = first.filter(|first| first < end) else { continue };
            if first <= earliest && earliest > 0 {
                warn!(
                    partition,
                    earliest,
                    "the topic may have dropped records of these days; their rows will stay as they are"
                );
            }
            offsets.insert(*partition, [first, *end]);
        }
        Ok(offsets)
    }

    async fn load(&self, table: &str) -> Result<Option<LoadedTable>, StreamError> {
        self.lake.catalog().load_table(table).await.map_err(|source| StreamError::Lake {
            what: format!("load table `{table}`"),
            source: LakeError::TableUnavailable {
                table: table.to_owned(),
                catalog: self.lake.catalog().describe(),
                source,
            },
        })
    }

    fn cannot(&self, problem: &str) -> StreamError {
        StreamError::CannotReplay { table: self.replay.staging.clone(), problem: problem.to_owned() }
    }
}

/// Checks offsets against the log and the table's own.
fn within(
    offsets: &BTreeMap<i32, [i64; 2]>,
    log: &Log,
    next: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, [i64; 2]>, String> {
    for (partition, [first, end]) in offsets {
        let Some(bounds) = log.bounds.get(partition) else {
            return Err(format!("topic `{}` has no partition {partition}", log.topic));
        };
        if *first < bounds.earliest {
            let earliest = bounds.earliest;
            return Err(format!("partition {partition} begins at offset {earliest} by now, {first} is gone"));
        }
        let stored = next.get(partition).copied().unwrap_or(0);
        if *end > stored {
            let last = stored - 1;
            return Err(format!(
                "the topic's table is at offset {last} of partition {partition}; what comes after is read by the running worker"
            ));
        }
    }
    Ok(offsets.clone())
}

/// Where each partition goes on; those that are at their end are left out.
fn assignments(log: &Log, range: &ReplayRange, staging: &Committer) -> Result<Vec<Assigned>, StreamError> {
    let mut assigned = Vec::new();
    for (number, [first, end]) in &range.offsets {
        let expected = staging.state().next_offset(&range.topic, *number);
        let start = expected.unwrap_or(*first);
        if start >= *end {
            continue;
        }
        let partition = TopicPartition::new(&*range.topic, *number);
        if let Some(bounds) = log.bounds.get(number).filter(|bounds| start < bounds.earliest) {
            return Err(StreamError::Gaps {
                gaps: vec![Gap { partition, next: start, earliest: bounds.earliest }],
            });
        }
        assigned.push(Assigned {
            partition,
            topic: 0,
            expected,
            start,
            end: Some(*end),
            letters: BTreeMap::new(),
            stops_at_end: true,
        });
    }
    Ok(assigned)
}

#[cfg(test)]
mod tests {
    use streamify_core::state::SourceIdentity;

    use super::*;
    use crate::kafka::Bounds;

    fn log() -> Log {
        let bounds = Bounds { earliest: 5, stable_end: 30, high_watermark: 30 };
        let source = SourceIdentity { cluster_id: "c".into(), topic_id: None };
        let bounds = BTreeMap::from([(0, bounds)]);
        Log { topic: "t".into(), table: "again".into(), source, num_partitions: 1, bounds }
    }

    #[test]
    fn offsets_must_be_in_the_topic_and_in_its_table() {
        let next = BTreeMap::from([(0, 20)]);
        let check = |partition, range| within(&BTreeMap::from([(partition, range)]), &log(), &next);

        assert_eq!(check(0, [5, 20]), Ok(BTreeMap::from([(0, [5, 20])])));
        assert!(check(1, [5, 20]).unwrap_err().contains("no partition 1"));
        assert!(check(0, [4, 20]).unwrap_err().contains("4 is gone"));
        assert!(check(0, [5, 21]).unwrap_err().contains("at offset 19"));
    }

    #[test]
    fn the_staging_table_is_a_table_of_its_own() {
        let contracts: Vec<_> = streamify_core::builtin().into_iter().take(1).collect();
        let table = contracts[0].table.clone();
        let replay = |staging: &str| Replay {
            staging: staging.to_owned(),
            target: String::new(),
            range: Range::Days([0, 0]),
        };
        let mut redirected = contracts.clone();
        let mut good = replay("again");

        redirect(&mut good, &mut redirected).unwrap();

        assert_eq!((good.target.as_str(), redirected[0].table.as_str()), (table.as_str(), "again"));
        assert!(redirect(&mut replay(&table), &mut contracts.clone()).is_err());
        assert!(redirect(&mut replay("bronze_dead_letters"), &mut contracts.clone()).is_err());
    }
}
