//! Decides which bronze rows of a day become rows of silver, reading ids only.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use streamify_core::silver::SilverPlan;
use streamify_core::silver::dedup::{BYTES_PER_ID, Deliveries, FirstDelivery, Sealed};

use super::Work;
use super::plan::{DayWork, Part};
use super::rows::wanted;
use crate::error::BatchError;
use crate::reading::Reading;

/// The part of the budget that the ids of one bucket may take.
const IDS_PART: usize = 3;

/// Decides for all rows of the day, numbered in the order of the parts and of the rows that [`wanted`] leaves.
pub(super) async fn decide(
    work: &Work<'_>,
    day: &DayWork,
    is_replaced: bool,
    plan: &SilverPlan,
) -> Result<Deliveries, BatchError> {
    let rows: u64 = day.parts.iter().map(|part| part.file.file.record_count()).sum();
    let bytes = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_ID);
    let buckets =
        u32::try_from(bytes.div_ceil(work.context.counted_bytes() / IDS_PART)).unwrap_or(u32::MAX).max(1);
    let mut all = Deliveries::default();
    for bucket in 0..buckets {
        let mut deliveries = FirstDelivery::new(bucket, buckets);
        let mut row = 0;
        for part in &day.parts {
            row = offer(work, part, plan, row, &mut deliveries).await?;
        }
        let mut sealed = deliveries.seal();
        // What a rebuild replaces is not held against the rows that replace it.
        if !(is_replaced && work.plan.is_rebuild) {
            for live in &day.silver {
                name_known(work, plan, &live.file, &mut sealed).await?;
            }
        }
        all.add(&sealed.finish());
    }
    Ok(all)
}

async fn offer(
    work: &Work<'_>,
    part: &Part,
    plan: &SilverPlan,
    mut row: usize,
    deliveries: &mut FirstDelivery,
) -> Result<usize, BatchError> {
    let table = &work.plan.bronze;
    let columns = id_columns(work, plan);
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut reading = super::rows::open(work, part, &names).await?;
    while let Some(batch) = reading.next().await? {
        let (batch, _) = wanted(work, plan, batch)?;
        let unusable = |source| BatchError::Rows { table: table.name.clone(), source: Box::new(source) };
        let ids = match plan.stored_ids(&batch).map_err(unusable)? {
            Some(ids) => ids,
            None => plan.event_ids(&batch).map_err(unusable)?,
        };
        let coordinates = plan.coordinates(&batch).map_err(unusable)?;
        for (id, place) in ids.into_iter().zip(coordinates) {
            deliveries.offer(id, place, row, None);
            row += 1;
        }
    }
    Ok(row)
}

/// The columns that ids and coordinates come from. Tables that Streamify wrote need the stored id only; in others any row
/// may need its payload.
fn id_columns(work: &Work<'_>, plan: &SilverPlan) -> Vec<String> {
    let mut columns = super::rows::required_columns(work, plan);
    let coordinates = ["_source_epoch", "_kafka_partition", "_kafka_offset"];
    columns.extend(
        coordinates.iter().filter(|name| work.plan.bronze.has_column(name)).map(|name| (*name).to_owned()),
    );
    columns
}

async fn name_known(
    work: &Work<'_>,
    plan: &SilverPlan,
    file: &iceberg::spec::DataFile,
    sealed: &mut Sealed,
) -> Result<(), BatchError> {
    let columns = ["event_id", "_payload_hash"];
    let mut reading = Reading::open(work.context, work.silver, file, &columns, None).await?;
    while let Some(batch) = reading.next().await? {
        let (ids, hashes) = known_ids(plan, &batch).ok_or_else(|| BatchError::Rows {
            table: work.silver.name.clone(),
            source: format!("`{}` has an event id that is not 32 hex digits", file.file_path()).into(),
        })?;
        for (id, hash) in ids.into_iter().zip(hashes) {
            sealed.known(id, hash);
        }
    }
    Ok(())
}

fn known_ids(plan: &SilverPlan, batch: &RecordBatch) -> Option<(Vec<u128>, Vec<Option<i32>>)> {
    let ids = plan.stored_ids(batch).ok().flatten()?;
    let hashes = batch.column_by_name("_payload_hash")?.as_primitive_opt::<Int32Type>()?;
    Some((ids, hashes.iter().collect()))
}
