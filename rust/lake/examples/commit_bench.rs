//! Measures the catalog part of a commit: appends of one file entry each, one after another, into a fresh table of the
//! catalog that the environment names (POLARIS_URI and so on, or a local one under STREAMIFY_HOME).
//!
//! `commit_bench TABLE COMMITS` prints one JSON line: milliseconds at p50 and p99 of the first and of the last tenth.
#![allow(clippy::print_stdout, reason = "a command line program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, Struct};
use streamify_core::contract::{Column, ColumnType};
use streamify_core::state::{Change, SourceIdentity, Span};
use streamify_lake::commit::{Commit, CommitOptions, Committer};
use streamify_lake::{Lake, LakeSettings, Partitioning, TableSpec};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(commits)) = (arguments.next(), arguments.next()) else {
        return Err("usage: commit_bench TABLE COMMITS".into());
    };
    let commits: usize = commits.parse()?;
    let lake = Lake::open(&LakeSettings::from_env(&|name| std::env::var(name).ok())?).await?;
    let spec = TableSpec {
        name,
        doc: "filled by commit_bench".into(),
        columns: vec![Column {
            name: "value".into(),
            kind: ColumnType::Long,
            nullable: false,
            doc: "a number".into(),
            unit: None,
            personal: false,
        }],
        identity: Vec::new(),
        partitioning: Partitioning::None,
        sort_key: Vec::new(),
        properties: Vec::new(),
    };
    lake.catalog().ensure_namespace().await?;
    let table = lake.ensure_table(&spec).await?;
    let location = table.metadata.location().to_owned();
    let mut appender = Committer::open(lake.catalog().clone(), table, CommitOptions::default()).await?;

    let mut milliseconds = Vec::with_capacity(commits);
    for number in 0..commits {
        let append = append(&location, number as i64)?;
        let started = Instant::now();
        appender.commit(append).await?;
        milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let tenth = (commits / 10).max(1);
    let (first, last) = (quantiles(&milliseconds[..tenth]), quantiles(&milliseconds[commits - tenth..]));
    println!(
        r#"{{"commits": {commits}, "first_p50_ms": {:.1}, "first_p99_ms": {:.1}, "last_p50_ms": {:.1}, "last_p99_ms": {:.1}}}"#,
        first.0, first.1, last.0, last.1
    );
    Ok(())
}

fn append(location: &str, number: i64) -> Result<Commit, Box<dyn Error>> {
    let commit_id = Uuid::now_v7();
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("{location}/data/{commit_id}-0.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(1_000)
        .file_size_in_bytes(100_000)
        .build()?;
    let span = Span { expected: (number > 0).then_some(number), start: number, end: number + 1 };
    let change = Change::Advance {
        topic: "bench".into(),
        epoch: 0,
        source: SourceIdentity { cluster_id: "bench".into(), topic_id: None },
        spans: BTreeMap::from([(0, span)]),
    };
    Ok(Commit { commit_id, files: vec![file], changes: vec![change], ..Commit::default() })
}

fn quantiles(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)])
}
