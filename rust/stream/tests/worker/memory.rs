//! The byte budget: it holds, and everything still lands, however small it is and whatever the records are.

use crate::support::*;
use streamify_stream::settings::Memory;

const NUM_EVENTS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// What the intake threads may decode from one batch each before they look at the budget.
const BATCHES: usize = 2_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_memory_limit_lands_everything_and_is_kept() {
    let kafka = Kafka::with_topics(&[(LISTENS, 8), (PAGES, 8)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 8, 0..NUM_EVENTS);
    kafka.send_events(PAGES, 8, 0..NUM_EVENTS);

    let topics = format!("{LISTENS},{PAGES}");
    let summary = home.catch_up(&kafka, &topics, &["--memory-limit", "96MB"]).await.unwrap();

    let limit = Memory::share(96_000_000).pipeline;
    assert!(summary.peak_buffer_bytes > 0);
    // Rows exist twice while they are sorted, in the worst case all of them at once.
    assert!(summary.peak_buffer_bytes <= 2 * limit + BATCHES, "{} of {limit}", summary.peak_buffer_bytes);
    home.assert_exactly_once(LISTENS, 0, &[NUM_EVENTS / 8; 8]).await;
    home.assert_exactly_once(PAGES, 0, &[NUM_EVENTS / 8; 8]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_far_too_small_for_one_chunk_is_slow_and_not_stuck() {
    let kafka = Kafka::with_topics(&[(LISTENS, 4)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 4, 0..NUM_EVENTS / 4);
    let mut settings = home.settings(&kafka, LISTENS, &["--until", "caught-up"]);
    settings.memory.pipeline = 300_000;

    home.run(settings).await.unwrap();

    home.assert_exactly_once(LISTENS, 0, &[NUM_EVENTS / 16; 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_alone_do_not_fill_the_memory() {
    let kafka = Kafka::with_topics(&[(LISTENS, 4)]);
    let home = Home::new();
    let garbage = vec![b'x'; 500];
    for number in 0..8_000 {
        kafka.send(LISTENS, number % 4, &garbage);
    }
    kafka.flush();
    let mut settings = home.settings(&kafka, LISTENS, &["--until", "caught-up", "--freshness", "1h"]);
    settings.memory.pipeline = 1_000_000;

    let summary = home.run(settings).await.unwrap();

    assert_eq!((summary.total.rows, summary.total.dead_letters), (0, 8_000));
    home.assert_exactly_once(LISTENS, 0, &[2_000; 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_many_days_lands_in_few_files() {
    let kafka = Kafka::with_topics(&[(LISTENS, 2)]);
    let home = Home::new();
    for number in 0..20_000 {
        let ts = BASE_MS - (number % 30) * DAY_MS;
        kafka.send(LISTENS, i32::try_from(number % 2).unwrap(), event(LISTENS, number, ts).as_bytes());
    }
    kafka.flush();

    let summary = home.catch_up(&kafka, LISTENS, &[]).await.unwrap();

    home.assert_exactly_once(LISTENS, 0, &[10_000, 10_000]).await;
    assert!(summary.total.files <= 30 * summary.total.commits, "{} files", summary.total.files);
}
