//! Care while a writer is at work: nothing is lost, no commit fails for good.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamify_lake::care::expire::{ExpireOptions, expire};
use streamify_lake::care::orphans::{self, OrphanOptions};
use streamify_lake::catalog::Catalog;
use streamify_lake::commit::{Commit, CommitOptions, Kind};
use streamify_lake::scan::live_files;
use support::small::{TABLE, age, append, check_readable, creation, load, open, rest, rewrite, write};
use support::sqlite;
use uuid::Uuid;

const COMMITS: usize = 40;
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Commits in use: their files are old on disk before they are committed.
type Leases = Arc<Mutex<BTreeSet<String>>>;

/// Appends files that look old from the start, under a lease; every tenth commit rewrites some of them.
async fn writer(
    catalog: Arc<dyn Catalog>,
    leases: Leases,
    done: Arc<AtomicBool>,
) -> (BTreeSet<String>, usize) {
    let mut committer = open(&catalog).await;
    let (mut kept, mut rewrites) = (BTreeSet::new(), 0);
    for number in 0..COMMITS {
        let commit_id = Uuid::now_v7();
        leases.lock().unwrap().insert(commit_id.to_string());
        let file = write(committer.table(), commit_id, 0).await;
        age(file.file_path(), WEEK);
        kept.insert(file.file_path().to_owned());
        let commit = Commit { commit_id, files: vec![file], ..Commit::default() };
        committer.commit(commit).await.unwrap();
        leases.lock().unwrap().remove(&commit_id.to_string());
        if number % 10 == 9 {
            let live = live_files(committer.table(), None).await.unwrap();
            live.iter().take(6).for_each(|live| {
                kept.remove(live.file.file_path());
            });
            kept.insert(rewrite(&mut committer, Kind::Replace, 6).await);
            rewrites += 1;
        }
    }
    done.store(true, Ordering::Release);
    (kept, rewrites)
}

async fn expirer(catalog: Arc<dyn Catalog>, done: Arc<AtomicBool>) -> usize {
    let options = ExpireOptions {
        min_snapshots: Some(2),
        max_age: Some(Duration::ZERO),
        commit: CommitOptions { max_conflicts: 100, ..CommitOptions::default() },
        ..ExpireOptions::default()
    };
    let mut removed = 0;
    while !done.load(Ordering::Acquire) {
        removed += expire(&catalog, TABLE, &options).await.unwrap().removed.len();
    }
    removed + expire(&catalog, TABLE, &options).await.unwrap().removed.len()
}

async fn cleaner(catalog: Arc<dyn Catalog>, leases: Leases, done: Arc<AtomicBool>) -> u64 {
    let options = OrphanOptions { delete: true, ..OrphanOptions::default() };
    let protected = move |id: &str| leases.lock().unwrap().contains(id);
    let mut runs = 0;
    while !done.load(Ordering::Acquire) {
        let table = load(&catalog).await;
        let abandoned = write(&table, Uuid::now_v7(), 7).await;
        age(abandoned.file_path(), WEEK);
        orphans::remove(&catalog, TABLE, &options, &protected).await.unwrap();
        assert!(!table.file_io.exists(abandoned.file_path()).await.unwrap(), "an abandoned file stayed");
        runs += 1;
    }
    runs
}

async fn live_together(catalogs: [Arc<dyn Catalog>; 3]) {
    let [first, second, third] = catalogs;
    first.create_table(TABLE, creation(TABLE)).await.unwrap();
    append(&mut open(&first).await, 1).await;
    let seed = check_readable(&load(&first).await).await;
    let seed: BTreeSet<String> = seed.into_values().flatten().collect();
    let (leases, done) = (Leases::default(), Arc::new(AtomicBool::new(false)));

    let writing = tokio::spawn(writer(first.clone(), leases.clone(), done.clone()));
    let expiring = tokio::spawn(expirer(second, done.clone()));
    let cleaning = tokio::spawn(cleaner(third, leases, done));
    let (kept, rewrites) = writing.await.unwrap();
    let removed = expiring.await.unwrap();
    assert!(cleaning.await.unwrap() > 0 && rewrites == COMMITS / 10);

    let table = load(&first).await;
    let live = &check_readable(&table).await[&table.metadata.current_snapshot_id().unwrap()];
    let expected: BTreeSet<String> = kept.union(&seed).cloned().collect();
    assert!(live.is_subset(&expected), "nothing else is live");
    assert_eq!(live.iter().filter(|file| !seed.contains(*file)).count(), kept.len());
    assert!(removed > 0 && table.metadata.snapshots().count() + removed == COMMITS + COMMITS / 10 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_sqlite_nothing_is_lost_and_no_commit_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    live_together([sqlite(path).await, sqlite(path).await, sqlite(path).await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_rest_nothing_is_lost_and_no_commit_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, catalog) = rest(folder.path()).await;
    live_together([catalog.clone(), catalog.clone(), catalog]).await;
}
