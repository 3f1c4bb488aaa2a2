//! Where to begin: the offsets in the table against the log in Kafka, decided without I/O.
//!
//! The table alone says what was stored. What the log says decides whether reading can go on from there: if the topic is
//! another one, if it no longer holds what comes next, or if it ends before, a person has to decide, and the settings
//! carry that decision.

use std::collections::{BTreeMap, BTreeSet};

use streamify_core::state::{SourceIdentity, TopicState};
use tracing::warn;

use crate::error::{Gap, StreamError};
use crate::kafka::{Bounds, Resume, TopicPartition};
use crate::settings::Policy;

/// What the user has decided.
#[derive(Clone, Copy, Debug)]
pub struct Decisions {
    /// Opens a new epoch for a changed source.
    pub adopt_new_topic: bool,
    /// Goes on over a gap.
    pub on_gap: Policy,
}

/// One topic's log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Topic.
    pub topic: String,
    /// Its table.
    pub table: String,
    /// Which log it is.
    pub source: SourceIdentity,
    /// Number of its partitions.
    pub num_partitions: i32,
    /// The ends of the partitions that this worker reads.
    pub bounds: BTreeMap<i32, Bounds>,
}

/// Where one partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Offset in the table; `None`: new to it.
    pub expected: Option<i64>,
    /// First offset to read.
    pub start: i64,
}

/// Where a topic begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The epoch its offsets belong to.
    pub epoch: u32,
    /// The epoch to leave first, by a commit of its own, because another log is adopted.
    pub adopt_from: Option<u32>,
    /// By partition.
    pub begins: BTreeMap<i32, Begin>,
    /// Gaps that are accepted.
    pub gaps: Vec<Gap>,
}

/// Decides where the topic begins.
///
/// # Errors
/// [`StreamError::SourceChanged`], [`StreamError::Gaps`], [`StreamError::Regression`]: each names the decision it needs.
pub fn plan(log: &Log, state: Option<&TopicState>, decisions: Decisions) -> Result<Plan, StreamError> {
    let Some(state) = state else {
        return Ok(from_earliest(log, 0, None));
    };
    let current = &state.current;
    if let Some(error) = another_log(log, state) {
        if !decisions.adopt_new_topic {
            return Err(error);
        }
        warn!(topic = log.topic, epoch = current.epoch + 1, reason = %error, "adopting another log as a new source epoch");
        return Ok(from_earliest(log, current.epoch + 1, Some(current.epoch)));
    }
    let mut plan = Plan { epoch: current.epoch, adopt_from: None, begins: BTreeMap::new(), gaps: Vec::new() };
    for (partition, bounds) in &log.bounds {
        let begin = match current.next.get(partition) {
            None => Begin { expected: None, start: bounds.earliest },
            Some(next) => {
                let start = match bounds.resume_from(*next) {
                    Resume::Gap { earliest, .. } => {
                        let partition = TopicPartition::new(log.topic.clone(), *partition);
                        plan.gaps.push(Gap { partition, next: *next, earliest });
                        earliest
                    }
                    Resume::Possible | Resume::Regression { .. } => *next,
                };
                Begin { expected: Some(*next), start }
            }
        };
        plan.begins.insert(*partition, begin);
    }
    if !plan.gaps.is_empty() && decisions.on_gap == Policy::Fail {
        return Err(StreamError::Gaps { gaps: plan.gaps });
    }
    for gap in &plan.gaps {
        warn!(partition = %gap.partition, from = gap.next, to = gap.earliest, missing = gap.num_missing(), "accepted a gap");
    }
    Ok(plan)
}

fn from_earliest(log: &Log, epoch: u32, adopt_from: Option<u32>) -> Plan {
    let begin = |bounds: &Bounds| Begin { expected: None, start: bounds.earliest };
    let begins = log.bounds.iter().map(|(partition, bounds)| (*partition, begin(bounds))).collect();
    Plan { epoch, adopt_from, begins, gaps: Vec::new() }
}

/// Returns what shows that the log is not the one the table was filled from.
fn another_log(log: &Log, state: &TopicState) -> Option<StreamError> {
    let current = &state.current;
    let known: BTreeSet<i32> = current.next.keys().copied().collect();
    if !current.source.matches(&log.source) || known.iter().any(|partition| *partition >= log.num_partitions)
    {
        return Some(StreamError::SourceChanged {
            topic: log.topic.clone(),
            table: log.table.clone(),
            stored: current.source.clone(),
            found: log.source.clone(),
        });
    }
    // Without topic ids this is all that shows a topic that was made anew.
    log.bounds.iter().find_map(|(partition, bounds)| {
        let next = *current.next.get(partition)?;
        match bounds.resume_from(next) {
            Resume::Regression { high_watermark } => Some(StreamError::Regression {
                partition: TopicPartition::new(log.topic.clone(), *partition),
                next,
                high_watermark,
            }),
            Resume::Possible | Resume::Gap { .. } => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use streamify_core::state::EpochState;
    use streamify_runtime::ExitCode;

    use super::*;

    const ASK: Decisions = Decisions { adopt_new_topic: false, on_gap: Policy::Fail };

    fn source(topic_id: &str) -> SourceIdentity {
        SourceIdentity { cluster_id: "c".into(), topic_id: Some(topic_id.into()) }
    }

    fn log(topic_id: &str, bounds: &[(i64, i64)]) -> Log {
        let bounds = bounds.iter().zip(0..).map(|((earliest, end), partition)| {
            (partition, Bounds { earliest: *earliest, stable_end: *end, high_watermark: *end })
        });
        let bounds: BTreeMap<i32, Bounds> = bounds.collect();
        let num_partitions = i32::try_from(bounds.len()).unwrap();
        Log { topic: "t".into(), table: "bronze_t".into(), source: source(topic_id), num_partitions, bounds }
    }

    fn state(next: &[i64]) -> TopicState {
        let next = (0..).zip(next.iter().copied()).collect();
        TopicState { current: EpochState { epoch: 3, source: source("a"), next }, past: Vec::new() }
    }

    #[test]
    fn an_empty_table_begins_at_the_earliest_offset() {
        let plan = plan(&log("a", &[(5, 9), (0, 2)]), None, ASK).unwrap();

        assert_eq!((plan.epoch, plan.adopt_from), (0, None));
        assert_eq!(plan.begins[&0], Begin { expected: None, start: 5 });
        assert_eq!(plan.begins[&1], Begin { expected: None, start: 0 });
    }

    #[test]
    fn a_known_partition_goes_on_where_the_table_is_and_a_new_one_begins_at_its_earliest() {
        let plan = plan(&log("a", &[(5, 9), (2, 4)]), Some(&state(&[7])), ASK).unwrap();

        assert_eq!(plan.epoch, 3);
        assert_eq!(plan.begins[&0], Begin { expected: Some(7), start: 7 });
        assert_eq!(plan.begins[&1], Begin { expected: None, start: 2 });
    }

    #[test]
    fn hole_05_a_recreated_topic_needs_a_decision_and_adoption_opens_an_epoch() {
        let log = log("b", &[(0, 9)]);
        let error = plan(&log, Some(&state(&[7])), ASK).unwrap_err();
        assert!(matches!(error, StreamError::SourceChanged { .. }), "{error}");
        assert_eq!(error.exit_code(), ExitCode::NeedsDecision);

        let adopted = plan(&log, Some(&state(&[7])), Decisions { adopt_new_topic: true, ..ASK }).unwrap();

        assert_eq!((adopted.epoch, adopted.adopt_from), (4, Some(3)));
        assert_eq!(adopted.begins[&0], Begin { expected: None, start: 0 });
    }

    #[test]
    fn fewer_partitions_than_the_table_knows_mean_another_topic() {
        let error = plan(&log("a", &[(0, 9)]), Some(&state(&[7, 3])), ASK).unwrap_err();

        assert!(matches!(error, StreamError::SourceChanged { .. }), "{error}");
    }

    #[test]
    fn the_permission_to_adopt_changes_nothing_for_a_log_that_is_known() {
        let plan = plan(&log("a", &[(0, 9)]), Some(&state(&[7])), Decisions { adopt_new_topic: true, ..ASK })
            .unwrap();

        assert_eq!((plan.epoch, plan.adopt_from), (3, None));
    }

    #[test]
    fn hole_23_retention_that_overtook_the_table_is_a_gap() {
        let log = log("a", &[(10, 20), (10, 20)]);
        let error = plan(&log, Some(&state(&[7, 15])), ASK).unwrap_err();
        assert_eq!(
            error.to_string(),
            "records are missing that were not read before the topic dropped them: t/0: [7, 10), 3 offsets"
        );
        assert_eq!(error.exit_code(), ExitCode::NeedsDecision);

        let accepted =
            plan(&log, Some(&state(&[7, 15])), Decisions { on_gap: Policy::Accept, ..ASK }).unwrap();

        assert_eq!(accepted.begins[&0], Begin { expected: Some(7), start: 10 });
        assert_eq!(accepted.begins[&1], Begin { expected: Some(15), start: 15 });
        assert_eq!(accepted.gaps.len(), 1);
    }

    #[test]
    fn a_log_that_ends_before_the_table_needs_a_decision() {
        let log = log("a", &[(0, 5)]);
        let error = plan(&log, Some(&state(&[7])), Decisions { on_gap: Policy::Accept, ..ASK }).unwrap_err();
        assert!(matches!(error, StreamError::Regression { next: 7, high_watermark: 5, .. }), "{error}");
        assert_eq!(error.exit_code(), ExitCode::NeedsDecision);

        let adopted = plan(&log, Some(&state(&[7])), Decisions { adopt_new_topic: true, ..ASK }).unwrap();
        assert_eq!(adopted.adopt_from, Some(3));
    }
}
