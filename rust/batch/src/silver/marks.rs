//! Marks that depend on the event before in the session, which is in another topic's silver table: `is_login_result`.
//!
//! The other table may get that event later, so new rows there can change marks of rows that are here already; the day is
//! replaced then. The rule and its bound of one day are in `streamify_core::silver::login`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use futures::TryStreamExt as _;
use iceberg::expr::Reference;
use iceberg::spec::Datum;
use streamify_core::silver::SilverPlan;
use streamify_core::silver::login::{Step, login_results};
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::live_files;

use super::Work;
use super::plan::{DayWork, Plan};
use crate::context::Context;
use crate::error::BatchError;
use crate::reading::Reading;

/// The preceding events that can stand before events of one day.
#[derive(Debug, Default)]
pub(super) struct Marks {
    steps: Vec<Step>,
}

/// Reads the preceding events of the day and the day before; nothing if the contract has no such rule.
pub(super) async fn of_day(context: &Context, plan: &Plan, day: i32) -> Result<Marks, BatchError> {
    let (Some(preceding), Some(rule)) = (&plan.preceding, plan.precedence()) else {
        return Ok(Marks::default());
    };
    let silver_plan = SilverPlan::new(&preceding.contract);
    let table = &preceding.table;
    let is_meant = Reference::new(silver_plan.renamed(&rule.field)).equal_to(Datum::string(&rule.value));
    let mut steps = Vec::new();
    for live in live_files(table, Some(&BTreeSet::from([day - 1, day]))).await? {
        let columns = step_columns(&silver_plan);
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        context.meter.file(live.file.record_count(), 0);
        let mut batches = table.read_file(&live.file, &names, Some(&is_meant))?;
        while let Some(batch) = batches.try_next().await? {
            context.check()?;
            steps.extend(silver_plan.steps(&batch).map_err(|source| unusable(table, source))?);
        }
    }
    Ok(Marks { steps })
}

/// Whether rows that silver holds on this day have another mark now.
pub(super) async fn changes_old_rows(
    work: &Work<'_>,
    day: &DayWork,
    marks: &Marks,
    plan: &SilverPlan,
) -> Result<bool, BatchError> {
    let Some(rule) = work.plan.precedence() else { return Ok(false) };
    if day.preceding_new.is_empty() {
        return Ok(false);
    }
    let mut columns = step_columns(plan);
    columns.push(rule.column.clone());
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    for live in &day.silver {
        let mut reading = Reading::open(work.context, work.silver, &live.file, &names, None).await?;
        while let Some(batch) = reading.next().await? {
            if marks.differences(&batch, &marks.apply(plan, &batch)?) > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl Marks {
    /// The rows with their marks as the preceding events say; unchanged where the contract has no such rule.
    pub(super) fn apply(&self, plan: &SilverPlan, silver: &RecordBatch) -> Result<RecordBatch, BatchError> {
        let Some(rule) = &plan.contract().silver.precedence else { return Ok(silver.clone()) };
        let Ok(position) = silver.schema_ref().index_of(&rule.column) else { return Ok(silver.clone()) };
        let steps = plan.steps(silver).map_err(|source| BatchError::Rows {
            table: plan.table().to_owned(),
            source: Box::new(source),
        })?;
        let marks: ArrayRef = Arc::new(BooleanArray::from(login_results(&steps, &self.steps)));
        let mut columns = silver.columns().to_vec();
        columns[position] = marks;
        Ok(RecordBatch::try_new(silver.schema(), columns)?)
    }

    /// How many marks differ between two forms of the same rows.
    pub(super) fn differences(&self, before: &RecordBatch, after: &RecordBatch) -> u64 {
        let columns = before.columns().iter().zip(after.columns());
        let booleans =
            columns.filter_map(|(one, other)| Some((one.as_boolean_opt()?, other.as_boolean_opt()?)));
        let differ = |(one, other): (&BooleanArray, &BooleanArray)| {
            (0..one.len()).filter(|row| one.value(*row) != other.value(*row)).count() as u64
        };
        booleans.map(differ).sum()
    }
}

/// The silver columns that a step comes from.
fn step_columns(plan: &SilverPlan) -> Vec<String> {
    let identity = &plan.contract().identity;
    let renamed = |name: &str| plan.renamed(name);
    vec!["run_id".to_owned(), "event_date".to_owned(), renamed(&identity.session), renamed(&identity.item)]
}

fn unusable(table: &LoadedTable, source: streamify_core::silver::SilverError) -> BatchError {
    BatchError::Rows { table: table.name.clone(), source: Box::new(source) }
}
