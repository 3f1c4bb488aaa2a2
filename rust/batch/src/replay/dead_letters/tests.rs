use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use iceberg::expr::Predicate;
use streamify_core::dead_letter::DeadLetter;
use streamify_core::state::{Change, SourceIdentity, Span};
use streamify_core::{Reason, builtin};
use streamify_lake::catalog::Catalog;
use streamify_lake::catalog::sqlite::SqliteCatalog;
use streamify_lake::commit::{Commit, CommitOptions};
use streamify_lake::settings::{S3Settings, SqliteSettings};
use streamify_lake::storage::StorageProvider;
use streamify_lake::{DataFileWriter, Lake, TableSpec};
use uuid::Uuid;

use super::*;

const TOPIC: &str = "status_change_events";
const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_790_000_000_000;

async fn lake(folder: &Path) -> Lake {
    let settings = SqliteSettings {
        path: folder.join("catalog.db"),
        warehouse: format!("file://{}/warehouse", folder.display()),
        name: "lakehouse".to_owned(),
    };
    let storage = StorageProvider::new(S3Settings::none());
    let catalog: Arc<dyn Catalog> =
        Arc::new(SqliteCatalog::open(settings, "streamify", storage).await.unwrap());
    Lake::new(catalog)
}

/// The contract as it is, and as it will be when session numbers may come as text.
fn contracts() -> (Arc<Contract>, Arc<Contract>) {
    let before = builtin().into_iter().find(|contract| contract.topic == TOPIC).unwrap();
    let mut after = before.as_ref().clone();
    for field in after.fields.iter_mut().filter(|field| field.name == "sessionId") {
        field.accept_text = true;
    }
    (before, Arc::new(after))
}

fn line(offset: i64) -> String {
    let ts = START_MS + offset * DAY_MS / 4;
    format!(r#"{{"ts":{ts},"sessionId":"{offset}","itemInSession":0,"level":"free","auth":"Logged In"}}"#)
}

fn letter(offset: i64, value: String) -> DeadLetter {
    DeadLetter {
        topic: TOPIC.into(),
        partition: 0,
        offset,
        timestamp_ms: Some(START_MS + offset * DAY_MS / 4),
        key: None,
        headers: vec![("run_id".into(), Some(b"old".to_vec())), ("run_id".into(), Some(b"r1".to_vec()))],
        value: Some(value.into_bytes()),
        reason: Reason::WrongType,
        message: "field `sessionId` is no number".into(),
        contract_version: 1,
        source_epoch: 0,
    }
}

fn advance(expected: Option<i64>, end: i64) -> Change {
    let source = SourceIdentity { cluster_id: "c".into(), topic_id: None };
    let spans = [(0, Span { expected, start: expected.unwrap_or(0), end })].into();
    Change::Advance { topic: TOPIC.into(), epoch: 0, source, spans }
}

/// Dead letters at `offsets` (one file each), bronze done up to `next`.
async fn made(folder: &Path, offsets: std::ops::Range<i64>, next: i64) -> Context {
    let lake = lake(folder).await;
    let letters = lake.ensure_table(&TableSpec::dead_letters()).await.unwrap();
    let bronze = lake.ensure_table(&TableSpec::bronze(&contracts().0)).await.unwrap();
    let open = |table| Committer::open(Arc::clone(lake.catalog()), table, CommitOptions::default());
    let mut files = Vec::new();
    for offset in offsets {
        let value = if offset == 2 { "{".to_owned() } else { line(offset) };
        let rows = dead_letter::to_batch(&[letter(offset, value)], 5).unwrap();
        let day = i32::try_from((START_MS + offset * DAY_MS / 4) / DAY_MS).unwrap();
        let name = format!("letter-{offset}");
        let mut writer = DataFileWriter::create(&letters, FilePartition::Day(day), &name).await.unwrap();
        writer.write_row_group(&rows).await.unwrap();
        files.push(writer.close(&[], false).await.unwrap());
    }
    let commit = |changes, files| Commit { commit_id: Uuid::now_v7(), changes, files, ..Commit::default() };
    open(letters).await.unwrap().commit(commit(vec![advance(None, 20)], files)).await.unwrap();
    open(bronze).await.unwrap().commit(commit(vec![advance(None, next)], vec![])).await.unwrap();
    Context::new(lake)
}

async fn column(context: &Context, table: &str, name: &str) -> Vec<arrow::array::ArrayRef> {
    let table = context.table(table).await.unwrap();
    let batches = table.read(&[name], Predicate::AlwaysTrue).await.unwrap();
    batches.iter().map(|batch| batch.column(0).clone()).collect()
}

async fn offsets(context: &Context) -> Vec<i64> {
    let columns = column(context, &format!("bronze_{TOPIC}"), "_kafka_offset").await;
    let mut offsets: Vec<i64> =
        columns.iter().flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec()).collect();
    offsets.sort_unstable();
    offsets
}

async fn num_replayed(context: &Context) -> (usize, usize) {
    let columns = column(context, dead_letter::TABLE, "replayed").await;
    let marks: Vec<bool> =
        columns.iter().flat_map(|column| column.as_boolean().iter().flatten().collect::<Vec<_>>()).collect();
    (marks.iter().filter(|mark| **mark).count(), marks.len())
}

#[tokio::test]
async fn what_is_good_now_becomes_rows_under_the_old_offsets_and_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let context = made(folder.path(), 0..6, 20).await;
    let (before, after) = contracts();

    let none = run(&context, &[before], &ReplayLettersOptions::default()).await.unwrap();
    assert_eq!((none.inserted, none.marked), (0, 0));
    assert_eq!(none.topics[TOPIC]["wrong_type"].still_dead["wrong_type"], 5);
    let counted = run(
        &context,
        &[Arc::clone(&after)],
        &ReplayLettersOptions { dry_run: true, ..ReplayLettersOptions::default() },
    )
    .await
    .unwrap();
    assert_eq!((counted.topics[TOPIC]["wrong_type"].good, counted.inserted), (5, 0));
    assert!(offsets(&context).await.is_empty(), "a dry run wrote rows");

    let report = run(&context, &[Arc::clone(&after)], &ReplayLettersOptions::default()).await.unwrap();

    assert_eq!((report.inserted, report.marked, report.already_there), (5, 5, 0));
    let count = &report.topics[TOPIC]["wrong_type"];
    assert_eq!((count.letters, count.good, count.still_dead["not_json"]), (6, 5, 1));
    assert_eq!(offsets(&context).await, [0, 1, 3, 4, 5]);
    assert_eq!(num_replayed(&context).await, (5, 6));
    let runs = column(&context, &format!("bronze_{TOPIC}"), "_run_id").await;
    assert!(runs.iter().all(|runs| runs.as_string::<i32>().iter().all(|run| run == Some("r1"))));
    let again = run(&context, &[after], &ReplayLettersOptions::default()).await.unwrap();
    assert_eq!((again.inserted, again.marked, again.commits), (0, 0, 0));
    let state = Committer::open(
        Arc::clone(context.lake.catalog()),
        context.table(&format!("bronze_{TOPIC}")).await.unwrap(),
        CommitOptions::default(),
    );
    assert_eq!(state.await.unwrap().state().next_offset(TOPIC, 0), Some(20), "offsets do not move");
}

#[tokio::test]
async fn killed_between_its_two_commits_the_next_run_only_marks() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = made(folder.path(), 0..6, 20).await;
    let cancel = context.cancel.clone();
    context.listener = Arc::new(move |progress| {
        if progress.what.starts_with("marking") {
            cancel.cancel();
        }
    });
    let (_, after) = contracts();
    let stopped = run(&context, &[Arc::clone(&after)], &ReplayLettersOptions::default()).await;
    assert!(matches!(stopped, Err(BatchError::Cancelled)), "{stopped:?}");
    let landed = offsets(&context).await.len() as u64;
    assert!(landed > 0);
    assert_eq!(num_replayed(&context).await, (0, 6));

    let context = Context::new(context.lake.clone());
    let report = run(&context, &[after], &ReplayLettersOptions::default()).await.unwrap();

    assert_eq!((report.already_there, report.inserted), (landed, 5 - landed));
    assert_eq!(offsets(&context).await, [0, 1, 3, 4, 5]);
    assert_eq!(num_replayed(&context).await, (5, 6));
}

#[tokio::test]
async fn letters_of_a_range_whose_rows_the_worker_has_not_committed_wait() {
    let folder = tempfile::tempdir().unwrap();
    let context = made(folder.path(), 0..6, 4).await;

    let report = run(&context, &[contracts().1], &ReplayLettersOptions::default()).await.unwrap();

    assert_eq!((report.pending, report.inserted, report.marked), (2, 3, 3));
    assert_eq!(offsets(&context).await, [0, 1, 3]);
}

#[tokio::test]
async fn only_the_wanted_letters_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    let context = made(folder.path(), 0..8, 20).await;
    let first = i32::try_from(START_MS / DAY_MS).unwrap();
    let days = ReplayLettersOptions { days: Some([first].into()), ..ReplayLettersOptions::default() };
    let reasons =
        ReplayLettersOptions { reasons: vec!["not_json".into()], ..ReplayLettersOptions::default() };
    let unknown = ReplayLettersOptions { reasons: vec!["bad".into()], ..ReplayLettersOptions::default() };
    let (_, after) = contracts();

    let report = run(&context, &[Arc::clone(&after)], &reasons).await.unwrap();
    assert_eq!(report.inserted, 0);
    assert!(
        run(&context, &[Arc::clone(&after)], &unknown)
            .await
            .unwrap_err()
            .to_string()
            .contains("`wrong_type`")
    );
    let report = run(&context, &[Arc::clone(&after)], &days).await.unwrap();
    assert!(report.inserted > 0 && report.inserted < 7, "{report:?}");
    let rest = run(&context, &[after], &ReplayLettersOptions::default()).await.unwrap();
    assert_eq!(report.inserted + rest.inserted, 7);
}

#[tokio::test]
async fn two_replays_at_once_put_each_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let context = made(folder.path(), 0..8, 20).await;
    let other = Context::new(lake(folder.path()).await);
    let after = [contracts().1];
    let options = ReplayLettersOptions::default();

    let (one, two) = tokio::join!(run(&context, &after, &options), run(&other, &after, &options));

    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.inserted + two.inserted, 7, "{one:?} {two:?}");
    assert_eq!(offsets(&context).await, [0, 1, 3, 4, 5, 6, 7]);
    assert_eq!(num_replayed(&context).await, (7, 8));
}

#[tokio::test]
async fn a_rolled_back_row_comes_again_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let context = made(folder.path(), 0..2, 20).await;
    let (_, after) = contracts();
    run(&context, &[Arc::clone(&after)], &ReplayLettersOptions::default()).await.unwrap();
    let again = ReplayLettersOptions { again: true, ..ReplayLettersOptions::default() };

    let report = run(&context, &[after], &again).await.unwrap();

    assert_eq!((report.already_there, report.inserted, report.marked), (2, 0, 0));
    assert_eq!(offsets(&context).await, [0, 1]);
}

#[test]
fn a_record_is_settled_below_the_workers_offset_or_in_a_past_epoch() {
    let state = TableState::default().apply(&[advance(None, 4)]).unwrap();
    let source = SourceIdentity { cluster_id: "d".into(), topic_id: None };
    let moved = state.apply(&[Change::Adopt { topic: TOPIC.into(), from_epoch: 0, source }]).unwrap();

    assert!(is_settled(&state, TOPIC, 0, 0, 3));
    assert!(!is_settled(&state, TOPIC, 0, 0, 4));
    assert!(!is_settled(&state, TOPIC, 0, 1, 0), "nothing of this partition has landed");
    assert!(!is_settled(&state, TOPIC, 1, 0, 0));
    assert!(!is_settled(&state, "other", 0, 0, 0));
    assert!(is_settled(&moved, TOPIC, 0, 0, 9), "nobody reads a past epoch");
}
