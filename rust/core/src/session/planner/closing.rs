//! The watermark: finding it for a full recompute, and the days with sessions that it closes.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;

use super::replace::Replace;
use super::{Common, Phase, Turn};
use crate::session::actor::Runs;
use crate::session::source::{self, People};
use crate::session::table::Stored;
use crate::session::{Read, SessionError, day_of};

/// First phase of a full recompute: the latest event time, in the last day that has events.
#[derive(Debug)]
pub(super) struct Latest {
    days: BTreeSet<i32>,
    to_read: BTreeSet<i32>,
    found_ms: Option<i64>,
}

impl Latest {
    pub(super) fn of(days: BTreeSet<i32>) -> Self {
        Self { to_read: days.clone(), days, found_ms: None }
    }

    pub(super) fn turn(&mut self, common: &mut Common) -> Turn {
        match self.to_read.pop_last().filter(|_| self.found_ms.is_none()) {
            Some(day) => common.read(day, Read::People),
            None => {
                common.watermark_ms = common.watermark_ms.max(self.found_ms);
                let days = std::mem::take(&mut self.days);
                Turn::Phase(Phase::Replace(Box::new(Replace::of(days, BTreeSet::new()))))
            }
        }
    }

    pub(super) fn push(
        &mut self,
        day: i32,
        batch: &RecordBatch,
        runs: &mut Runs,
    ) -> Result<(), SessionError> {
        People::of(batch)?.each(runs, |_, _, time_ms| {
            source::check_day(day, time_ms)?;
            self.found_ms = self.found_ms.max(Some(time_ms));
            Ok(())
        })
    }
}

/// Third phase of an incremental run: days that are replaced only because the watermark closes a session.
///
/// A session that was open before ended at most one gap before the old watermark, so it began up to that day.
#[derive(Debug, Default)]
pub(super) struct Closing {
    to_read: BTreeSet<i32>,
    replaced: BTreeSet<i32>,
    /// Days that are not replaced and hold a session that stays open.
    open_days: BTreeSet<i32>,
}

impl Closing {
    pub(super) fn of(open_from_day: Option<i32>, watermark_ms: Option<i64>) -> Self {
        let days = open_from_day.zip(watermark_ms).map(|(from, until_ms)| from..=day_of(until_ms));
        Self { to_read: days.into_iter().flatten().collect(), ..Self::default() }
    }

    pub(super) fn replace_too(&mut self, days: BTreeSet<i32>) {
        self.to_read.retain(|day| !days.contains(day));
        self.replaced = days;
    }

    pub(super) fn turn(&mut self, common: &mut Common) -> Turn {
        match self.to_read.pop_first() {
            Some(day) => common.read_sessions(day),
            None => {
                let open_days = &self.open_days - &self.replaced;
                let replace = Replace::of(std::mem::take(&mut self.replaced), open_days);
                Turn::Phase(Phase::Replace(Box::new(replace)))
            }
        }
    }

    pub(super) fn push(
        &mut self,
        day: i32,
        batch: &RecordBatch,
        common: &Common,
    ) -> Result<(), SessionError> {
        let (closes, open) = Stored::of(batch)?.closing_and_open(common.watermark_ms());
        if closes {
            self.replaced.insert(day);
        }
        if open {
            self.open_days.insert(day);
        }
        Ok(())
    }
}
