//! Adds rows to a bronze table that it does not have yet, told by their place in Kafka.
//!
//! Overtaken by another commit in the same days (a live worker commits every few seconds), only the look for rows that came
//! meanwhile is repeated; the files are written once, unless some of their rows came.

use arrow::array::RecordBatch;
use iceberg::spec::DataFile;
use streamify_core::{Contract, split_by_partition};
use streamify_lake::commit::{Commit, Committer, Kind, Untouched};
use uuid::Uuid;

use super::ReplayLettersReport;
use crate::compact::sort_columns;
use crate::context::Context;
use crate::error::BatchError;
use crate::output::{FileNames, Output};
use crate::replay::places::{self, Places};
use crate::silver::discard;

/// Entry of the snapshot summary: rows that came from dead letters.
const REPLAYED: &str = "streamify.replayed-rows";

/// Inserts those of `rows` that the table does not have.
pub(super) async fn new_rows(
    context: &Context,
    bronze: &mut Committer,
    contract: &Contract,
    rows: RecordBatch,
    report: &mut ReplayLettersReport,
) -> Result<(), BatchError> {
    let mut wanted = Places::default();
    places::of_rows(&contract.table, &rows)?.into_iter().flatten().for_each(|place| wanted.insert(place));
    let mut known = 0;
    let mut written: Option<(Uuid, Vec<DataFile>)> = None;
    for restarts in 0.. {
        bronze.refresh().await?;
        let present = places::present(context, bronze.table(), &wanted).await?;
        if present.len() > known || written.is_none() {
            known = present.len();
            drop_files(bronze, written.take()).await;
            let left = places::rows_where(&contract.table, &rows, |place| {
                place.is_none_or(|place| !present.contains(place))
            })?;
            if left.num_rows() == 0 {
                break;
            }
            written = Some(write(context, bronze, contract, &left).await?);
        }
        let Some((commit_id, files)) = &written else { break };
        match bronze.commit(commit(bronze, *commit_id, files)).await {
            Ok(_) => {
                report.commits += 1;
                report.inserted += files.iter().map(DataFile::record_count).sum::<u64>();
                break;
            }
            Err(error) if error.overtaken() && restarts < context.max_restarts => report.restarts += 1,
            Err(error) => {
                if error.surely_not_landed() {
                    drop_files(bronze, written.take()).await;
                }
                return Err(error.into());
            }
        }
    }
    report.already_there += known as u64;
    Ok(())
}

fn commit(bronze: &Committer, commit_id: Uuid, files: &[DataFile]) -> Commit {
    let rows: u64 = files.iter().map(DataFile::record_count).sum();
    Commit {
        commit_id,
        kind: Kind::Append,
        files: files.to_vec(),
        untouched: Some(Untouched {
            since: bronze.table().metadata.current_snapshot_id(),
            partitions: files.iter().map(|file| file.partition().clone()).collect(),
        }),
        summary: [(REPLAYED.to_owned(), rows.to_string())].into(),
        ..Commit::default()
    }
}

async fn write(
    context: &Context,
    bronze: &Committer,
    contract: &Contract,
    rows: &RecordBatch,
) -> Result<(Uuid, Vec<DataFile>), BatchError> {
    let commit_id = Uuid::now_v7();
    let names = FileNames::new(commit_id);
    let sort_key = sort_columns(bronze.table());
    let mut files = Vec::new();
    for (key, part) in split_by_partition(rows, contract)? {
        let mut output = Output::new(context, bronze.table(), key.into(), &names, &sort_key)?;
        output.add(&part).await?;
        files.extend(output.finish().await?);
    }
    Ok((commit_id, files))
}

async fn drop_files(bronze: &Committer, written: Option<(Uuid, Vec<DataFile>)>) {
    if let Some((_, files)) = written {
        let paths: Vec<String> = files.iter().map(|file| file.file_path().to_owned()).collect();
        discard(bronze.table(), &paths).await;
    }
}
