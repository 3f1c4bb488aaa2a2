//! What a run of silver has to do: which files hold new rows of which day, and what will have been consumed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, PrimitiveLiteral};
use streamify_core::contract::{Contract, Precedence};
use streamify_core::state::Change;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::commit::Committer;
use streamify_lake::scan::increment::{self, Increment, Offsets};
use streamify_lake::scan::{LiveFile, live_files};

use super::{SilverOptions, consume};
use crate::context::Context;
use crate::error::BatchError;

/// A file of bronze, or the part of it that belongs to one day.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) file: LiveFile,
    /// Set where the file holds rows of several days.
    pub(super) filter: Option<Predicate>,
}

/// What concerns one day.
#[derive(Clone, Debug, Default)]
pub(super) struct DayWork {
    /// Bronze files with rows to take.
    pub(super) parts: Vec<Part>,
    /// Silver files of the day.
    pub(super) silver: Vec<LiveFile>,
    /// Files of the preceding topic with new rows on this day or the day before.
    pub(super) preceding_new: Vec<LiveFile>,
}

/// The topic whose events may stand before those of this one, see the contract's `precedence`.
#[derive(Clone, Debug)]
pub(super) struct Preceding {
    pub(super) table: LoadedTable,
    pub(super) contract: Arc<Contract>,
}

/// Everything for one run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) bronze: LoadedTable,
    pub(super) preceding: Option<Preceding>,
    pub(super) days: BTreeMap<i32, DayWork>,
    pub(super) is_rebuild: bool,
    /// Where bronze had to be read by offsets.
    pub(super) offsets: Option<Offsets>,
    pub(super) changes: Vec<Change>,
    pub(super) snapshots: u64,
    precedence: Option<Precedence>,
}

impl Plan {
    /// The contract's rule on the event before, if it has one.
    pub(super) fn precedence(&self) -> Option<&Precedence> {
        self.precedence.as_ref()
    }

    pub(super) async fn make(
        context: &Context,
        contracts: &[Arc<Contract>],
        contract: &Arc<Contract>,
        bronze: LoadedTable,
        committer: &Committer,
        options: &SilverOptions,
    ) -> Result<Self, BatchError> {
        let preceding = preceding(context, contracts, contract).await?;
        let mut plan = Plan {
            bronze,
            preceding,
            days: BTreeMap::new(),
            is_rebuild: options.rebuild.is_some(),
            offsets: None,
            changes: Vec::new(),
            snapshots: 0,
            precedence: contract.silver.precedence.clone(),
        };
        match &options.rebuild {
            Some(days) => plan.take_days(days).await?,
            None => plan.take_new(committer, options).await?,
        }
        let days: BTreeSet<i32> = plan.days.keys().copied().collect();
        for live in live_files(committer.table(), Some(&days)).await? {
            if let Some(work) = live.day(&committer.table().metadata).and_then(|day| plan.days.get_mut(&day))
            {
                work.silver.push(live);
            }
        }
        // Without rows of this topic there is nothing to mark anew.
        plan.days.retain(|_, work| plan.is_rebuild || !work.parts.is_empty() || !work.silver.is_empty());
        Ok(plan)
    }

    /// Whether nothing is to be written, not even what was consumed.
    pub(super) fn is_idle(&self) -> bool {
        self.days.is_empty() && self.changes.is_empty()
    }

    async fn take_days(&mut self, days: &BTreeSet<i32>) -> Result<(), BatchError> {
        for day in days {
            self.days.entry(*day).or_default();
        }
        let files = live_files(&self.bronze, Some(days)).await?;
        self.offer(files, Some(days));
        Ok(())
    }

    async fn take_new(&mut self, committer: &Committer, options: &SilverOptions) -> Result<(), BatchError> {
        let stored = |table: &str| committer.state().sources.get(table);
        let consumed = stored(&self.bronze.name);
        let since = if options.reread { None } else { consumed };
        let new = increment::since(&self.bronze, since, &options.accepted).await?;
        let name = self.bronze.name.clone();
        self.note(&name, consumed, &new);
        self.snapshots = new.snapshots as u64;
        self.offsets = new.offsets;
        self.offer(new.added, None);
        if let Some(preceding) = self.preceding.clone() {
            let consumed = stored(&preceding.table.name);
            let new = increment::since(&preceding.table, consumed, &[]).await?;
            self.note(&preceding.table.name, consumed, &new);
            for live in new.added {
                let Some(day) = live.day(&preceding.table.metadata) else { continue };
                for day in [day, day + 1] {
                    self.days.entry(day).or_default().preceding_new.push(live.clone());
                }
            }
        }
        Ok(())
    }

    /// Notes what will have been consumed, if that is more than before.
    fn note(&mut self, table: &str, consumed: Option<&streamify_core::state::Consumed>, new: &Increment) {
        if let Some(to) = new.to.clone().filter(|to| Some(to) != consumed) {
            self.changes.push(consume(table, consumed, to));
        }
    }

    /// Gives bronze files to their days; a file of several days is read once for each.
    fn offer(&mut self, files: Vec<LiveFile>, only: Option<&BTreeSet<i32>>) {
        for file in files {
            match file.day(&self.bronze.metadata) {
                Some(day) => self.days.entry(day).or_default().parts.push(Part { file, filter: None }),
                None => {
                    let (first, last) = days_in(&self.bronze, &file);
                    for day in (first..=last).filter(|day| only.is_none_or(|only| only.contains(day))) {
                        let filter = Some(Reference::new("event_date").equal_to(Datum::date(day)));
                        self.days.entry(day).or_default().parts.push(Part { file: file.clone(), filter });
                    }
                }
            }
        }
        if let Some(only) = only {
            self.days.retain(|day, _| only.contains(day));
        }
    }
}

/// The days of a file without a partition of its own, by the bounds of its column `event_date`.
fn days_in(table: &LoadedTable, live: &LiveFile) -> (i32, i32) {
    // Without bounds any day the contract accepts: 2000-01-01 to 2100-01-01. Days without rows cost one look at the footer.
    const ACCEPTED: (i32, i32) = (10_957, 47_482);
    let Some(id) = table.metadata.current_schema().field_id_by_name("event_date") else { return ACCEPTED };
    let day = |datum: Option<&Datum>| match datum?.literal() {
        PrimitiveLiteral::Int(day) => Some(*day),
        _ => None,
    };
    match (day(live.file.lower_bounds().get(&id)), day(live.file.upper_bounds().get(&id))) {
        (Some(first), Some(last)) => (first.max(ACCEPTED.0), last.min(ACCEPTED.1)),
        _ => ACCEPTED,
    }
}

/// The silver table of the preceding topic, if the contract names one and it exists already.
async fn preceding(
    context: &Context,
    contracts: &[Arc<Contract>],
    contract: &Arc<Contract>,
) -> Result<Option<Preceding>, BatchError> {
    let Some(rule) = &contract.silver.precedence else { return Ok(None) };
    let Some(contract) = contracts.iter().find(|other| other.topic == rule.topic) else { return Ok(None) };
    match context.table(&contract.silver.table).await {
        Ok(table) => Ok(Some(Preceding { table, contract: Arc::clone(contract) })),
        Err(BatchError::TableMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
