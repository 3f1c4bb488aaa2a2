//! Makes the rows of one day: reads bronze a second time, whole rows now, and writes those that were decided for.

use std::collections::HashMap;

use arrow::array::{Array as _, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use iceberg::spec::DataFile;
use streamify_core::silver::dedup::Deliveries;
use streamify_core::silver::{SilverError, SilverPlan};
use streamify_lake::FilePartition;

use super::marks::Marks;
use super::plan::{DayWork, Part};
use super::{SilverReport, Work, dedup};
use crate::compact::{column_names, sort_columns};
use crate::error::BatchError;
use crate::output::{FileNames, Output};
use crate::reading::Reading;

/// Writes the files of a day; none if it has no new rows. With `is_replaced`, what silver holds is written anew with them.
#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only repeat the names")]
pub(super) async fn make(
    work: &Work<'_>,
    day: i32,
    day_work: &DayWork,
    is_replaced: bool,
    marks: &Marks,
    plan: &mut SilverPlan,
    names: &FileNames,
    report: &mut SilverReport,
) -> Result<Vec<DataFile>, BatchError> {
    let deliveries = dedup::decide(work, day_work, is_replaced, plan).await?;
    report.rows_in += deliveries.offered;
    report.duplicates += deliveries.duplicates;
    report.already_known += deliveries.already_known;
    if deliveries.kept.is_empty() && !is_replaced && deliveries.contested.is_empty() {
        return Ok(Vec::new());
    }
    let sort_key = sort_columns(work.silver);
    let mut output = Output::new(work.context, work.silver, FilePartition::Day(day), names, &sort_key)?;
    if is_replaced && !work.plan.is_rebuild {
        report.remarked += keep_old(work, day_work, marks, plan, &mut output).await?;
    }
    let mut payloads = Payloads::new(deliveries);
    let processed_at_us = chrono::Utc::now().timestamp_micros();
    let columns = present(work, &plan.bronze_columns());
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut row = 0;
    for part in &day_work.parts {
        let mut reading = open(work, part, &names).await?;
        while let Some(batch) = reading.next().await? {
            let (batch, incomplete) = wanted(work, plan, batch)?;
            report.incomplete += incomplete;
            let first = row;
            row += batch.num_rows();
            let silver = plan.transform(&batch, processed_at_us).map_err(|source| unusable(work, source))?;
            payloads.compare(plan, &silver).map_err(|source| unusable(work, source))?;
            let kept = payloads.deliveries.kept.mask(first..row);
            if kept.true_count() == 0 {
                continue;
            }
            let silver = marks.apply(plan, &filter_record_batch(&silver, &kept)?)?;
            report.rows_out += silver.num_rows() as u64;
            count_repaired(plan, &silver, report);
            output.add(&silver).await?;
        }
    }
    report.conflicts += payloads.conflicts();
    output.finish().await
}

/// Writes the rows that silver holds once more, with their marks as they are now; returns how many marks changed.
async fn keep_old(
    work: &Work<'_>,
    day_work: &DayWork,
    marks: &Marks,
    plan: &SilverPlan,
    output: &mut Output<'_>,
) -> Result<u64, BatchError> {
    let mut changed = 0;
    for live in &day_work.silver {
        let columns = column_names(work.silver);
        let mut reading = Reading::open(work.context, work.silver, &live.file, &columns, None).await?;
        while let Some(batch) = reading.next().await? {
            let marked = marks.apply(plan, &batch)?;
            changed += marks.differences(&batch, &marked);
            output.add(&marked).await?;
        }
    }
    Ok(changed)
}

/// Opens a part of bronze.
pub(super) async fn open<'a>(
    work: &Work<'a>,
    part: &Part,
    columns: &[&str],
) -> Result<Reading<'a>, BatchError> {
    Reading::open(work.context, &work.plan.bronze, &part.file.file, columns, part.filter.as_ref()).await
}

/// The rows that are new and are events, and how many are none.
pub(super) fn wanted(
    work: &Work<'_>,
    plan: &SilverPlan,
    batch: RecordBatch,
) -> Result<(RecordBatch, u64), BatchError> {
    let batch = match &work.plan.offsets {
        None => batch,
        Some(offsets) => {
            let column = |name: &str| batch.column_by_name(name);
            let epochs = column("_source_epoch").and_then(|array| array.as_primitive_opt::<Int32Type>());
            let partitions =
                column("_kafka_partition").and_then(|array| array.as_primitive_opt::<Int32Type>());
            let places = column("_kafka_offset").and_then(|array| array.as_primitive_opt::<Int64Type>());
            let is_new = |row: usize| match (partitions, places) {
                (Some(partitions), Some(places)) if partitions.is_valid(row) && places.is_valid(row) => {
                    let epoch =
                        epochs.filter(|epochs| epochs.is_valid(row)).map_or(0, |epochs| epochs.value(row));
                    offsets.is_new(epoch, partitions.value(row), places.value(row))
                }
                // A row that does not know where it came from is offered again; its id decides.
                _ => true,
            };
            let mask: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_new(row))).collect();
            filter_record_batch(&batch, &mask)?
        }
    };
    if is_native(work) {
        return Ok((batch, 0));
    }
    match plan.complete_rows(&batch).map_err(|source| unusable(work, source))? {
        None => Ok((batch, 0)),
        Some(complete) => {
            let incomplete = (complete.len() - complete.true_count()) as u64;
            Ok((filter_record_batch(&batch, &complete)?, incomplete))
        }
    }
}

/// Whether every row has an id of ours: the column is required in tables that Streamify made.
fn is_native(work: &Work<'_>) -> bool {
    let schema = work.plan.bronze.metadata.current_schema();
    schema.field_by_name("event_id").is_some_and(|field| field.required)
}

/// The columns that ids come from: the stored one, or, in tables of older pipelines, all that makes an event.
pub(super) fn required_columns(work: &Work<'_>, plan: &SilverPlan) -> Vec<String> {
    if is_native(work) {
        return vec!["event_id".to_owned()];
    }
    let fields =
        plan.contract().fields.iter().filter(|field| field.required).map(|field| field.column.clone());
    let mut columns = present(work, &plan.identity_columns());
    for column in fields {
        if !columns.contains(&column) && work.plan.bronze.has_column(&column) {
            columns.push(column);
        }
    }
    columns
}

fn present(work: &Work<'_>, columns: &[String]) -> Vec<String> {
    columns.iter().filter(|name| work.plan.bronze.has_column(name)).cloned().collect()
}

fn unusable(work: &Work<'_>, source: SilverError) -> BatchError {
    BatchError::Rows { table: work.plan.bronze.name.clone(), source: Box::new(source) }
}

/// Texts that have an original beside them were repaired.
fn count_repaired(plan: &SilverPlan, silver: &RecordBatch, report: &mut SilverReport) {
    for (field, array) in silver.schema_ref().fields().iter().zip(silver.columns()) {
        if let Some(column) = field.name().strip_suffix("_original")
            && plan.contract().silver.text_repair.iter().any(|name| name == column)
        {
            let repaired = (array.len() - array.logical_null_count()) as u64;
            *report.repaired.entry(column.to_owned()).or_default() += repaired;
        }
    }
}

/// Holds the payloads of repeated events against each other.
struct Payloads {
    deliveries: Deliveries,
    seen: HashMap<u128, (Option<i32>, bool)>,
}

impl Payloads {
    fn new(mut deliveries: Deliveries) -> Self {
        let contested = std::mem::take(&mut deliveries.contested);
        let seen = contested.into_iter().map(|(id, payload)| (id, (payload, false))).collect();
        Self { deliveries, seen }
    }

    fn compare(&mut self, plan: &SilverPlan, silver: &RecordBatch) -> Result<(), SilverError> {
        if self.seen.is_empty() {
            return Ok(());
        }
        let hashes = silver.column_by_name("_payload_hash");
        let hashes = hashes.and_then(|array| array.as_primitive_opt::<Int32Type>());
        let (Some(ids), Some(hashes)) = (plan.stored_ids(silver)?, hashes) else { return Ok(()) };
        for (id, hash) in ids.iter().zip(hashes.values()) {
            if let Some((payload, disputed)) = self.seen.get_mut(id) {
                *disputed |= payload.is_some_and(|payload| payload != *hash);
                payload.get_or_insert(*hash);
            }
        }
        Ok(())
    }

    fn conflicts(&self) -> u64 {
        self.seen.values().filter(|(_, disputed)| *disputed).count() as u64
    }
}
