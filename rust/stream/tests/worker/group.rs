//! Workers that share a topic through a consumer group: whoever has a partition begins where its last owner committed.

use crate::support::*;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use streamify_stream::session::End;

/// Members notice a rebalance at their next heartbeat.
const GROUP: [&str; 8] = [
    "--assignment",
    "group",
    "--freshness",
    "300ms",
    "--kafka-option",
    "heartbeat.interval.ms=200",
    "--kafka-option",
    "session.timeout.ms=3000",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_share_a_topic_and_nothing_is_lost_or_doubled_when_they_come_and_go() {
    let kafka = Kafka::with_topics(&[(LISTENS, 4)]);
    let home = Home::new();
    let start = || Running::start(&home, home.settings(&kafka, LISTENS, &GROUP));

    let first = start();
    kafka.send_events(LISTENS, 4, 0..400);
    first.wait_for_rows(400).await;

    let second = start();
    let mut sent = 400;
    // Two shares exist once both have committed rows sent after the second came.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while second.rows() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the second member got nothing");
        kafka.send_events(LISTENS, 4, sent..sent + 40);
        sent += 40;
        until("the rows of this round", || async { first.rows() + second.rows() >= sent as u64 }).await;
    }
    let before = (first.rows(), second.rows());
    kafka.send_events(LISTENS, 4, sent..sent + 400);
    sent += 400;
    until("rows of both", || async { first.rows() + second.rows() >= sent as u64 }).await;
    assert!(first.rows() > before.0 && second.rows() > before.1, "one of them reads nothing");

    assert_eq!(first.stop().await.unwrap(), End::Stopped);
    let before = second.rows();
    kafka.send_events(LISTENS, 4, sent..sent + 400);
    sent += 400;
    second.wait_for_rows(before + 400).await;
    assert_eq!(second.stop().await.unwrap(), End::Stopped);

    home.assert_exactly_once(LISTENS, 0, &[sent / 4; 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_begins_at_the_tables_offsets_whatever_the_group_says() {
    let kafka = Kafka::with_topics(&[(LISTENS, 2)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 2, 0..200);
    let group: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.mock.bootstrap_servers())
        .set("group.id", "streamify")
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(LISTENS, 0, Offset::Offset(70)).unwrap();
    offsets.add_partition_offset(LISTENS, 1, Offset::Offset(100)).unwrap();
    group.commit(&offsets, CommitMode::Sync).unwrap();
    drop(group);

    let summary = home.catch_up(&kafka, LISTENS, &GROUP).await.unwrap();

    assert_eq!(summary.total.rows, 200);
    home.assert_exactly_once(LISTENS, 0, &[100, 100]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_too_many_waits_and_takes_over_when_the_other_goes() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    let start = || Running::start(&home, home.settings(&kafka, LISTENS, &GROUP));
    let (first, second) = (start(), start());
    kafka.send_events(LISTENS, 1, 0..50);
    until("the first rows", || async { first.rows() + second.rows() >= 50 }).await;

    let (busy, idle) = if first.rows() > 0 { (first, second) } else { (second, first) };
    assert_eq!(busy.stop().await.unwrap(), End::Stopped);
    kafka.send_events(LISTENS, 1, 50..90);
    until("the rest", || async { idle.rows() >= 40 }).await;
    assert_eq!(idle.stop().await.unwrap(), End::Stopped);

    home.assert_exactly_once(LISTENS, 0, &[90]).await;
}
