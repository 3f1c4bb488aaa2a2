//! Into a real Kafka protocol: the embedded broker in this process, on a free port, read back by a plain consumer.

#![expect(clippy::unwrap_used, reason = "tests may unwrap: a panic is the report")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::Headers,
};
use streamify_generate::{
    broker::start_cluster,
    event::Topic,
    profile::Profile,
    run::{Delivery, Key, Summary, run},
    simulation::{Settings, Simulation},
    sink::{
        Record, Sink, SinkError,
        files::FileSink,
        kafka::{Follow, KafkaSettings, KafkaSink, TopicOptions},
    },
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

fn settings(num_users: u32, days: i64) -> Settings {
    let start_ms = 1_771_804_800_926;
    Settings {
        profile: Profile::builtin("example").unwrap(),
        seed: 5,
        num_users,
        first_user_id: 1,
        start_ms,
        end_ms: start_ms + days * 86_400_000,
        tag: None,
    }
}

fn kafka(servers: &str, follow: Option<Follow>) -> KafkaSettings {
    KafkaSettings {
        servers: servers.to_owned(),
        options: BTreeMap::new(),
        num_partitions: 2,
        replication: 1,
        compression: "zstd".to_owned(),
        run_id: "0123456789abcdef".to_owned(),
        follow,
        topics: TopicOptions::default(),
        transactions: None,
    }
}

fn generate(settings: Settings, kafka: KafkaSettings, delivery: &Delivery) -> Result<Summary, SinkError> {
    let stop = CancellationToken::new();
    let mut sink = KafkaSink::connect(kafka, stop.clone())?;
    run(&mut Simulation::new(settings), delivery, &mut sink, &stop, &mut |_| {})
}

/// Returns how many records a run makes.
fn count(settings: Settings, delivery: &Delivery) -> u64 {
    struct Nowhere;

    impl Sink for Nowhere {
        fn write(&mut self, _: &Record<'_>) -> Result<(), SinkError> {
            Ok(())
        }

        fn idle(&mut self, _: Duration) -> Result<(), SinkError> {
            Ok(())
        }

        fn finish(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
    }

    let stop = CancellationToken::new();
    run(&mut Simulation::new(settings), delivery, &mut Nowhere, &stop, &mut |_| {}).unwrap().events
}

/// A consumer of all partitions of all topics, from their beginning.
fn consumer(servers: &str, group: &str, num_partitions: i32) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "20")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for topic in Topic::ALL {
        for partition in 0..num_partitions {
            assignment.add_partition_offset(topic.name(), partition, Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&assignment).unwrap();
    consumer
}

#[derive(Debug)]
struct Read {
    topic: String,
    partition: i32,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    run_id: Vec<u8>,
}

/// Reads `count` records; `each` is called after every one.
fn read(consumer: &BaseConsumer, count: usize, mut each: impl FnMut(usize)) -> Vec<Read> {
    let (mut records, started) = (Vec::new(), Instant::now());
    while records.len() < count {
        assert!(started.elapsed() < PATIENCE, "{} of {count} records after {PATIENCE:?}", records.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        assert!(message.timestamp().to_millis().unwrap() > 1_700_000_000_000, "no usable timestamp");
        let header = message.headers().unwrap().get(0);
        assert_eq!(header.key, "run_id");
        let version = message.headers().unwrap().get(1);
        assert_eq!((version.key, version.value), ("schema_version", Some(&b"1"[..])));
        records.push(Read {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap().to_vec(),
            run_id: header.value.unwrap().to_vec(),
        });
        each(records.len());
    }
    assert!(consumer.poll(Duration::from_millis(200)).is_none(), "more records than counted");
    records
}

#[test]
fn kafka_holds_the_bytes_that_files_hold() {
    let (_cluster, servers) = start_cluster(2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut files = FileSink::create(folder.path(), false).unwrap();
    let stop = CancellationToken::new();
    let simulation = &mut Simulation::new(settings(300, 7));
    run(simulation, &Delivery::default(), &mut files, &stop, &mut |_| {}).unwrap();

    let summary = generate(settings(300, 7), kafka(&servers, None), &Delivery::default()).unwrap();
    let records = read(&consumer(&servers, "any", 2), summary.events as usize, |_| {});

    for topic in Topic::ALL {
        let file = std::fs::read(folder.path().join(format!("{}.jsonl", topic.name()))).unwrap();
        let mut expected: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        let mut found: Vec<&[u8]> = records
            .iter()
            .filter(|record| record.topic == topic.name())
            .map(|record| &record.value[..])
            .collect();
        assert_eq!(summary.topics[topic.name()].events as usize, found.len());
        expected.sort_unstable();
        found.sort_unstable();
        assert!(expected == found, "{} differs", topic.name());
    }
    assert!(
        records.iter().all(|record| record.run_id == summary.run_id.as_bytes() || !record.run_id.is_empty())
    );
    assert!(records.iter().all(|record| record.key.is_none()));
    let in_first = records.iter().filter(|record| record.partition == 0).count();
    assert!(
        in_first.abs_diff(records.len() - in_first) <= 4,
        "{in_first} of {} in partition 0",
        records.len()
    );
}

#[test]
fn records_of_a_session_share_a_partition_when_keyed_by_session() {
    let (_cluster, servers) = start_cluster(3).unwrap();
    let delivery = Delivery { key: Key::Session, ..Delivery::default() };

    let summary = generate(settings(200, 5), kafka(&servers, None), &delivery).unwrap();
    let records = read(&consumer(&servers, "any", 3), summary.events as usize, |_| {});

    let mut partitions = BTreeMap::new();
    for record in &records {
        let partition =
            partitions.entry((record.topic.clone(), record.key.clone().unwrap())).or_insert(record.partition);
        assert_eq!(*partition, record.partition);
    }
    assert!((0..3).all(|partition| records.iter().any(|record| record.partition == partition)));
}

#[test]
fn generator_waits_for_its_reader_and_nothing_is_dropped() {
    // One partition and no compression: 12 MB into topics of 5 MiB.
    let (_cluster, servers) = start_cluster(1).unwrap();
    let max_unread_bytes = 2 << 20;
    let follow = Follow { group: "reader".to_owned(), max_unread_bytes, timeout: PATIENCE };
    let delivery = Delivery { max_events: Some(28_000), ..Delivery::default() };
    let expected = count(settings(1_500, 30), &delivery);
    let reader = consumer(&servers, "reader", 1);
    let settings_of_sink = KafkaSettings { compression: "none".to_owned(), ..kafka(&servers, Some(follow)) };
    let writer = std::thread::spawn(move || generate(settings(1_500, 30), settings_of_sink, &delivery));

    let records = read(&reader, expected as usize, |count| {
        if count.is_multiple_of(500) {
            reader.commit_consumer_state(CommitMode::Async).unwrap();
        }
    });

    let summary = writer.join().unwrap().unwrap();
    assert!(summary.bytes > 11_000_000, "only {} bytes", summary.bytes);
    assert_eq!(records.len() as u64, summary.events);
}

#[test]
fn generator_gives_up_when_the_reader_never_comes() {
    let (_cluster, servers) = start_cluster(1).unwrap();
    let timeout = Duration::from_millis(300);
    let follow = Follow { group: "nobody".to_owned(), max_unread_bytes: 100_000, timeout };

    let error = generate(settings(500, 7), kafka(&servers, Some(follow)), &Delivery::default()).unwrap_err();

    assert!(matches!(error, SinkError::ReaderStalled { .. }), "{error}");
    assert!(error.to_string().starts_with("group `nobody` has committed nothing new for 0 s"), "{error}");
}
