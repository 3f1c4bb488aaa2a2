//! Leases on both catalogs: who is let in, who is told, and what stands in the table.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is the report")]

mod support;

use std::time::Duration;

use iceberg::TableUpdate;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use streamify_core::lease::{Lease, Process};
use streamify_lake::care::refs;
use streamify_lake::commit::claim::Claim;
use streamify_lake::commit::{CommitError, Committer, keys};
use streamify_lake::protocol::Refusal;

use support::small::{append, catalogs, load, open};

const HOUR: Duration = Duration::from_secs(3600);

fn claim(writer: &str, partitions: Option<&[i32]>, time: Duration, take_over: bool) -> Claim {
    let process = Process { host: writer.to_owned(), pid: 1, boot_id: None, started_ticks: None };
    let partitions = partitions.map(|list| list.iter().copied().collect());
    let lease = Lease { writer_id: writer.to_owned(), process, partitions, since_ms: 0, valid_until_ms: 0 };
    Claim::new(lease, time, take_over, |process| process.host == "dead")
}

fn holders(table: &Committer) -> Vec<String> {
    keys::leases(&table.table().metadata).0.into_iter().map(|lease| lease.writer_id).collect()
}

fn assert_held(error: &CommitError, by: &str) {
    let CommitError::Refused { refusal: Refusal::Held { lease }, .. } = error else {
        panic!("not held: {error}")
    };
    assert!(lease.contains(&format!("writer {by} ")), "{lease}");
    assert!(error.needs_decision() && error.hint().unwrap().contains("--take-over"));
}

#[tokio::test]
async fn the_second_writer_is_refused_until_the_first_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let (mut first, mut second) = (open(&catalog).await, open(&catalog).await);
        first.set_claim(claim("first", None, HOUR, false));
        second.set_claim(claim("second", None, HOUR, false));
        append(&mut first, 1).await;
        assert!(first.has_lease(), "the first commit takes the lease");

        // Its base is from before the first commit: the conflict shows it the lease.
        let error = second.renew_lease().await.unwrap_err();
        assert_held(&error, "first");
        second.refresh().await.unwrap();
        assert_eq!(second.lease_holder().unwrap().writer_id, "first");

        let snapshots = load(&catalog).await.metadata.snapshots().count();
        first.give_up_lease().await.unwrap();
        assert_eq!(load(&catalog).await.metadata.snapshots().count(), snapshots + 1, "an empty append");
        second.renew_lease().await.unwrap();
        assert_eq!(holders(&second), ["second"]);
    }
}

#[tokio::test]
async fn disjoint_writers_share_a_table_and_care_commits_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let (mut left, mut right, mut care) =
            (open(&catalog).await, open(&catalog).await, open(&catalog).await);
        left.set_claim(claim("left", Some(&[0, 1]), HOUR, false));
        right.set_claim(claim("right", Some(&[2]), HOUR, false));
        append(&mut left, 1).await;
        append(&mut right, 1).await;
        append(&mut care, 1).await;
        append(&mut left, 1).await;

        assert_eq!(holders(&left), ["right", "left"]);
    }
}

#[tokio::test]
async fn who_is_taken_over_learns_of_it_and_does_not_take_back() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let (mut first, mut second) = (open(&catalog).await, open(&catalog).await);
        first.set_claim(claim("first", None, HOUR, false));
        append(&mut first, 1).await;
        second.set_claim(claim("second", None, HOUR, true));
        assert!(second.lease_holder().is_none(), "who takes over asks nobody");
        append(&mut second, 1).await;

        let error = first.renew_lease().await.unwrap_err();

        assert_held(&error, "second");
        append(&mut second, 1).await;
        assert_eq!(holders(&second), ["second"]);
    }
}

#[tokio::test]
async fn leases_that_ran_out_or_of_the_dead_are_not_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let mut first = open(&catalog).await;
        first.set_claim(claim("brief", None, Duration::ZERO, false));
        append(&mut first, 1).await;
        let mut second = open(&catalog).await;
        second.set_claim(claim("dead", None, HOUR, false));
        // A lease of no time is over once a millisecond has passed.
        while second.lease_holder().is_some() {
            tokio::task::yield_now().await;
        }
        append(&mut second, 1).await;
        let mut third = open(&catalog).await;
        third.set_claim(claim("third", None, HOUR, false));
        append(&mut third, 1).await;

        assert_eq!(holders(&third), ["third"]);
    }
}

#[tokio::test]
async fn a_commit_leaves_the_retention_of_main_as_it_was_set() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in catalogs(folder.path()).await {
        let mut committer = open(&catalog).await;
        append(&mut committer, 1).await;
        let retention = SnapshotRetention::branch(Some(7), Some(86_400_000), None);
        let table = load(&catalog).await;
        let reference =
            SnapshotReference::new(table.metadata.current_snapshot_id().unwrap(), retention.clone());
        let update = TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference };
        catalog.commit(&table, vec![], vec![update]).await.unwrap();

        let mut later = open(&catalog).await;
        append(&mut later, 1).await;
        append(&mut later, 1).await;

        let refs = refs::all(&load(&catalog).await.metadata).unwrap();
        assert_eq!(refs[MAIN_BRANCH].retention, retention);
    }
}
