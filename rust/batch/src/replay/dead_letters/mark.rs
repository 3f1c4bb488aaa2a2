//! Marks letters as replayed: the files that hold them are put anew, with `replayed` true where their rows are in bronze.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use futures::TryStreamExt as _;
use streamify_core::dead_letter;
use streamify_lake::FilePartition;
use streamify_lake::commit::{Commit, Committer, Kind};
use streamify_lake::scan::LiveFile;
use uuid::Uuid;

use super::ReplayLettersReport;
use crate::compact::{column_names, sort_columns};
use crate::context::Context;
use crate::error::BatchError;
use crate::output::{FileNames, Output};
use crate::silver::discard;

/// Entry of the snapshot summary: letters marked as replayed.
const REPLAYED: &str = "streamify.replayed-letters";

/// Which letters of some files are in bronze: a bit for each, in the order of their rows.
pub(super) struct Marks(Vec<Vec<u64>>);

impl Marks {
    pub(super) fn new(files: usize) -> Self {
        Self(vec![Vec::new(); files])
    }

    pub(super) fn set(&mut self, places: &[(usize, usize)]) {
        for (file, row) in places {
            let bits = &mut self.0[*file];
            if bits.len() <= row / 64 {
                bits.resize(row / 64 + 1, 0);
            }
            bits[row / 64] |= 1 << (row % 64);
        }
    }

    fn has(&self, file: usize, row: usize) -> bool {
        self.0[file].get(row / 64).is_some_and(|bits| bits >> (row % 64) & 1 == 1)
    }

    fn of_file(&self, file: usize) -> u64 {
        self.0[file].iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }
}

/// Puts the files with marked letters anew, in one commit. The rule is that they are still live: letters that a worker adds
/// meanwhile do not matter.
pub(super) async fn rewrite(
    context: &Context,
    letters: &mut Committer,
    partition: FilePartition,
    group: Vec<LiveFile>,
    marks: &Marks,
    report: &mut ReplayLettersReport,
) -> Result<(), BatchError> {
    let commit_id = Uuid::now_v7();
    let names = FileNames::new(commit_id);
    let table = letters.table().clone();
    let (sort_key, columns) = (sort_columns(&table), column_names(&table));
    let mut output = Output::new(context, &table, partition, &names, &sort_key)?;
    let mut removed = Vec::new();
    let mut marked = 0;
    for (number, live) in group.into_iter().enumerate().filter(|(number, _)| marks.of_file(*number) > 0) {
        let mut batches = table.read_file(&live.file, &columns, None)?;
        let mut first = 0;
        while let Some(batch) = batches.try_next().await? {
            let rows = batch.num_rows();
            output.add(&with_marks(&batch, |row| marks.has(number, first + row))?).await?;
            first += rows;
        }
        marked += marks.of_file(number);
        removed.push(live);
    }
    let files = output.finish().await?;
    let before: u64 = removed.iter().map(|live| live.file.record_count()).sum();
    let after: u64 = files.iter().map(|file| file.record_count()).sum();
    if before != after {
        let source = format!("{before} rows were read and {after} written; nothing was committed").into();
        return Err(BatchError::Rows { table: table.name.clone(), source });
    }
    let num_removed = removed.len() as u64;
    let written: Vec<String> = files.iter().map(|file| file.file_path().to_owned()).collect();
    let commit = Commit {
        commit_id,
        kind: Kind::Overwrite,
        files,
        removed,
        summary: [(REPLAYED.to_owned(), marked.to_string())].into(),
        ..Commit::default()
    };
    if let Err(error) = letters.commit(commit).await {
        if error.surely_not_landed() {
            discard(&table, &written).await;
        }
        return Err(error.into());
    }
    report.marked += marked;
    report.files_rewritten += num_removed;
    Ok(())
}

fn with_marks(batch: &RecordBatch, is_marked: impl Fn(usize) -> bool) -> Result<RecordBatch, BatchError> {
    let unusable = || BatchError::Rows {
        table: dead_letter::TABLE.to_owned(),
        source: "column `replayed` is missing or of another type".into(),
    };
    let position = batch.schema_ref().index_of("replayed")?;
    let before = batch.column(position).as_boolean_opt().ok_or_else(unusable)?;
    let marks =
        (0..batch.num_rows()).map(|row| (before.is_valid(row) && before.value(row)) || is_marked(row));
    let mut columns = batch.columns().to_vec();
    columns[position] = Arc::new(BooleanArray::from(marks.collect::<Vec<bool>>()));
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}
