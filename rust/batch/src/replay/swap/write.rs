//! Writes the target's new files: rows of the staging table, and those of the old files that are not in the range.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt as _;
use iceberg::spec::DataFile;
use streamify_lake::FilePartition;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::scan::LiveFile;
use uuid::Uuid;

use super::compare::{Compared, in_range};
use super::{Swap, SwapReport, Unit};
use crate::compact::{column_names, sort_columns};
use crate::error::BatchError;
use crate::output::{FileNames, Output};

/// Files of one commit.
pub(super) struct Written {
    pub(super) commit_id: Uuid,
    pub(super) files: Vec<DataFile>,
    pub(super) removed: Vec<LiveFile>,
}

/// Writes all partitions that differ.
pub(super) async fn units(
    swap: &Swap<'_>,
    target: &LoadedTable,
    units: &BTreeMap<FilePartition, Unit>,
    compared: &BTreeMap<FilePartition, Compared>,
    report: &mut SwapReport,
) -> Result<Written, BatchError> {
    let commit_id = Uuid::now_v7();
    let names = FileNames::new(commit_id);
    let sort_key = sort_columns(target);
    let schema = iceberg::arrow::schema_to_arrow_schema(target.metadata.current_schema());
    let schema = Arc::new(schema.map_err(|source| unwritable(target, source.into()))?);
    let mut written = Written { commit_id, files: Vec::new(), removed: Vec::new() };
    for (done, (partition, unit)) in units.iter().enumerate() {
        swap.context.tell(format!("writing {partition} of {}", target.name), done, units.len(), 0);
        let mut output = Output::new(swap.context, target, *partition, &names, &sort_key)?;
        let mut rows = 0;
        for live in &unit.staging {
            rows += copy(swap, swap.staging, live, true, &schema, &mut output).await?;
        }
        let concerned = |live: &&LiveFile| {
            compared.get(partition).is_some_and(|found| found.concerned.contains(live.file.file_path()))
        };
        for live in unit.target.iter().filter(concerned) {
            let kept = copy(swap, target, live, false, &schema, &mut output).await?;
            rows += kept;
            report.rows_kept += kept;
            written.removed.push(live.clone());
        }
        let files = output.finish().await?;
        let stored: u64 = files.iter().map(DataFile::record_count).sum();
        if stored != rows {
            let source = format!("{rows} rows were read and {stored} written; nothing was committed");
            return Err(unwritable(target, source.into()));
        }
        written.files.extend(files);
    }
    Ok(written)
}

/// Copies the rows of a file that are in the range, or those that are not; returns how many.
async fn copy(
    swap: &Swap<'_>,
    table: &LoadedTable,
    live: &LiveFile,
    inside: bool,
    schema: &SchemaRef,
    output: &mut Output<'_>,
) -> Result<u64, BatchError> {
    let columns = column_names(table);
    let mut batches = table.read_file(&live.file, &columns, None)?;
    let mut copied = 0;
    while let Some(batch) = batches.try_next().await? {
        let places = in_range(swap.range, &table.name, &batch)?;
        let mask: BooleanArray = places.iter().map(|place| Some(place.is_some() == inside)).collect();
        let rows = arranged(&filter_record_batch(&batch, &mask)?, schema)?;
        copied += rows.num_rows() as u64;
        output.add(&rows).await?;
    }
    Ok(copied)
}

/// The rows in the target's columns; what the rows have not is null.
fn arranged(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, BatchError> {
    let column = |field: &Arc<arrow::datatypes::Field>| match rows.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), rows.num_rows())),
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn unwritable(target: &LoadedTable, source: Box<dyn std::error::Error + Send + Sync>) -> BatchError {
    BatchError::Rows { table: target.name.clone(), source }
}
