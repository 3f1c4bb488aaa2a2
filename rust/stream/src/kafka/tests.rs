//! Reading from librdkafka's in-process mock cluster: what a single process can prove without a broker.
//!
//! The mock keeps 5 MiB per partition and knows no transactions; these are proved against a real broker by
//! `examples/kafka_probe.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Cluster {
    fn with_topics(topics: &[(&str, i32)]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        for (topic, num_partitions) in topics {
            mock.create_topic(topic, *num_partitions, 1).unwrap();
        }
        let producer = ClientConfig::new()
            .set("bootstrap.servers", mock.bootstrap_servers())
            .set("linger.ms", "0")
            .create()
            .unwrap();
        Self { mock, producer }
    }

    fn settings(&self) -> KafkaSettings {
        KafkaSettings { connect_wait: DEADLINE, ..KafkaSettings::new(self.mock.bootstrap_servers()) }
    }

    fn connect(&self) -> Arc<KafkaClient> {
        KafkaClient::connect(&self.settings()).unwrap()
    }

    /// Writes values `from..to` in decimal, in order, and waits until the broker has them.
    fn write(&self, topic: &str, partition: i32, values: std::ops::Range<i64>) {
        for value in values {
            let text = value.to_string();
            self.send(BaseRecord::to(topic).partition(partition).payload(text.as_str()));
        }
        self.producer.flush(DEADLINE).unwrap();
    }

    fn send(&self, record: BaseRecord<'_, str, str>) {
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

fn start(topic: &str, partition: i32, offset: i64) -> Start {
    Start { partition: TopicPartition::new(topic, partition), offset }
}

/// What one queue delivered, with the positions it led to.
struct Reading {
    values: Vec<Vec<i64>>,
    positions: Vec<Position>,
    ends: Vec<Option<i64>>,
}

impl Reading {
    fn of(starts: &[Start]) -> Self {
        Self {
            values: vec![Vec::new(); starts.len()],
            positions: starts.iter().map(|start| Position::new(start.offset)).collect(),
            ends: vec![None; starts.len()],
        }
    }

    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Record(record) => {
                let text = std::str::from_utf8(record.value.unwrap()).unwrap();
                self.values[record.slot].push(text.parse().unwrap());
                self.positions[record.slot].record(record.offset).unwrap();
            }
            Event::EndOfPartition { slot, offset } => {
                self.positions[*slot].end_of_partition(*offset).unwrap();
                self.ends[*slot] = Some(*offset);
            }
            Event::Error(error) => panic!("reading failed: {error}"),
        }
    }

    /// Reads until every partition's end event has come.
    fn read_to_end(&mut self, queue: &mut BatchQueue, max: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.ends.iter().any(Option::is_none) {
            assert!(Instant::now() < deadline, "no end of partition; ends so far {:?}", self.ends);
            queue.consume(max, Duration::from_millis(100), |event| self.take(&event));
        }
    }
}

#[test]
fn every_record_of_several_topics_arrives_in_the_order_of_its_partition() {
    let cluster = Cluster::with_topics(&[("plays", 3), ("pages", 1)]);
    for partition in 0..3 {
        cluster.write("plays", partition, 0..1_500);
    }
    cluster.write("pages", 0, 0..700);
    let client = cluster.connect();
    let shares = vec![
        vec![start("plays", 0, 0), start("pages", 0, 0)],
        vec![start("plays", 1, 0), start("plays", 2, 0)],
    ];

    let mut queues = client.assign(shares.clone()).unwrap();

    for (queue, share) in queues.iter_mut().zip(&shares) {
        let mut reading = Reading::of(share);
        reading.read_to_end(queue, 1_000);
        for (slot, start) in share.iter().enumerate() {
            let num_records = if start.partition.topic == "plays" { 1_500 } else { 700 };
            assert_eq!(reading.values[slot], (0..num_records).collect::<Vec<_>>(), "{}", start.partition);
            assert_eq!(
                reading.positions[slot].run(),
                Run { from: 0, to: num_records, received: num_records.unsigned_abs(), skipped_by_broker: 0 }
            );
            assert_eq!(queue.partitions()[slot], start.partition);
        }
    }
}

#[test]
fn reading_begins_at_the_offset_named_and_nowhere_else() {
    let cluster = Cluster::with_topics(&[("plays", 2)]);
    cluster.write("plays", 0, 0..100);
    cluster.write("plays", 1, 0..100);
    let client = cluster.connect();
    let share = vec![start("plays", 0, 90), start("plays", 1, 100)];
    let mut queue = client.assign(vec![share.clone()]).unwrap().remove(0);

    let mut reading = Reading::of(&share);
    reading.read_to_end(&mut queue, 10_000);

    assert_eq!(reading.values, [(90..100).collect::<Vec<_>>(), vec![]]);
    assert_eq!(reading.ends, [Some(100), Some(100)]);
}

#[test]
fn end_of_partition_comes_again_after_more_was_written() {
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    let client = cluster.connect();
    let share = vec![start("plays", 0, 0)];
    let mut queue = client.assign(vec![share.clone()]).unwrap().remove(0);
    let mut reading = Reading::of(&share);
    reading.read_to_end(&mut queue, 100);
    assert_eq!(reading.ends, [Some(0)], "the end of an empty partition is its start");

    cluster.write("plays", 0, 0..5);
    reading.ends = vec![None];
    reading.read_to_end(&mut queue, 100);

    assert_eq!(reading.ends, [Some(5)]);
    assert_eq!(reading.values, [vec![0, 1, 2, 3, 4]]);
}

#[test]
fn offset_behind_the_log_is_an_error_event_and_no_jump() {
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    cluster.write("plays", 0, 0..10);
    let client = cluster.connect();
    let mut queue = client.assign(vec![vec![start("plays", 0, 500)]]).unwrap().remove(0);

    let deadline = Instant::now() + DEADLINE;
    let mut errors = Vec::new();
    while errors.is_empty() {
        assert!(Instant::now() < deadline, "neither an error nor a record came");
        queue.consume(100, Duration::from_millis(100), |event| match event {
            Event::Error(error) => errors.push(error),
            event => panic!("read {event:?} although the offset does not exist"),
        });
    }

    assert!(errors[0].is_out_of_range(), "{:?}", errors[0]);
    assert_eq!(errors[0].partition, Some(TopicPartition::new("plays", 0)));
}

#[test]
fn key_value_timestamp_and_headers_are_handed_out() {
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "run_id", value: Some("first") })
        .insert(Header { key: "run_id", value: Some("last") })
        .insert(Header { key: "nothing", value: None::<&str> });
    cluster
        .send(BaseRecord::to("plays").partition(0).key("k").payload("v").timestamp(1_234).headers(headers));
    cluster.send(BaseRecord::to("plays").partition(0).key("tombstone"));
    cluster.send(BaseRecord::to("plays").partition(0).payload(""));
    cluster.producer.flush(DEADLINE).unwrap();
    let client = cluster.connect();
    let mut queue = client.assign(vec![vec![start("plays", 0, 0)]]).unwrap().remove(0);

    let mut seen = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while seen.len() < 3 {
        assert!(Instant::now() < deadline, "only {} records came", seen.len());
        queue.consume(10, Duration::from_millis(100), |event| {
            if let Event::Record(record) = event {
                let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                seen.push((own(record.key), own(record.value), own(record.run_id()), record.headers()));
                if record.offset == 0 {
                    assert_eq!(record.timestamp_ms(), Some((1_234, TimestampKind::Create)));
                    assert_eq!(record.header(c"nothing"), None);
                    assert_eq!(record.header(c"absent"), None);
                }
            }
        });
    }

    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let all = vec![
        ("run_id".to_owned(), bytes("first")),
        ("run_id".to_owned(), bytes("last")),
        ("nothing".to_owned(), None),
    ];
    assert_eq!(seen[0], (bytes("k"), bytes("v"), bytes("last"), all));
    assert_eq!(seen[1], (bytes("tombstone"), None, None, vec![]));
    assert_eq!(seen[2], (None, bytes(""), None, vec![]), "an empty value is not a tombstone");
}

#[test]
fn waker_ends_a_wait_also_when_it_comes_first() {
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    let client = cluster.connect();
    let share = vec![start("plays", 0, 0)];
    let mut queue = client.assign(vec![share.clone()]).unwrap().remove(0);
    Reading::of(&share).read_to_end(&mut queue, 10);
    let waker = queue.waker();

    let begun = Instant::now();
    waker.wake();
    assert_eq!(queue.consume(10, DEADLINE, |_| ()), 0);
    let sleeper = std::thread::spawn(move || queue.consume(10, DEADLINE, |_| ()));
    while !sleeper.is_finished() {
        waker.wake();
        std::thread::yield_now();
    }

    assert_eq!(sleeper.join().unwrap(), 0);
    assert!(begun.elapsed() < DEADLINE, "the wait was not ended");
}

#[test]
fn queue_that_is_not_read_stays_within_its_bound_and_loses_nothing() {
    const NUM_RECORDS: usize = 4_000;
    const RECORD_BYTES: usize = 1_000;
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    let values = 0..i64::try_from(NUM_RECORDS).unwrap();
    for value in values.clone() {
        let text = format!("{value:0RECORD_BYTES$}");
        cluster.send(BaseRecord::to("plays").partition(0).payload(text.as_str()));
    }
    cluster.producer.flush(DEADLINE).unwrap();
    // The smallest read-ahead there is: 97 KiB, on top of a response of at most 1 MB.
    let settings = KafkaSettings { queue_bytes: 1_100_000, ..cluster.settings() };
    let client = KafkaClient::connect(&settings).unwrap();
    let share = vec![start("plays", 0, 0)];
    let mut queue = client.assign(vec![share.clone()]).unwrap().remove(0);

    let deadline = Instant::now() + DEADLINE;
    let (mut most, mut num_unchanged) = (0, 0);
    while num_unchanged < 50 {
        assert!(Instant::now() < deadline, "the queue never settled; {most} events wait");
        client.serve(Duration::from_millis(10)).unwrap();
        let num_waiting = queue.num_waiting();
        num_unchanged = if num_waiting == most && most > 0 { num_unchanged + 1 } else { 0 };
        most = most.max(num_waiting);
    }
    assert!(most * RECORD_BYTES < 1_100_000 + RECORD_BYTES, "{most} records of {RECORD_BYTES} bytes wait");

    let mut reading = Reading::of(&share);
    reading.read_to_end(&mut queue, 1);
    assert_eq!(reading.values[0], values.collect::<Vec<_>>());
}

#[test]
fn panic_of_the_closure_releases_the_messages_and_keeps_the_queue_usable() {
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    cluster.write("plays", 0, 0..100);
    let client = cluster.connect();
    let mut queue = client.assign(vec![vec![start("plays", 0, 0)]]).unwrap().remove(0);

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            queue.consume(50, Duration::from_millis(100), |_| panic!("as the test wants"));
        }
    }));
    assert!(panicked.is_err(), "no event came");

    cluster.write("plays", 0, 100..101);
    let mut last = None;
    let deadline = Instant::now() + DEADLINE;
    while last != Some(100) {
        assert!(Instant::now() < deadline, "last record seen: {last:?}");
        queue.consume(50, Duration::from_millis(100), |event| {
            if let Event::Record(record) = event {
                last = Some(record.offset);
            }
        });
    }
}

#[test]
fn bad_assignments_are_refused_by_name() {
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    let client = cluster.connect();

    let negative = client.assign(vec![vec![start("plays", 0, -1)]]).unwrap_err();
    let twice = client.assign(vec![vec![start("plays", 0, 1)], vec![start("plays", 0, 2)]]).unwrap_err();

    assert_eq!(negative.to_string(), "failed to assign plays/0 at offset -1: the offset is negative");
    assert_eq!(twice.to_string(), "failed to assign plays/0 at offset 2: the partition is named twice");
}

#[test]
fn bounds_and_identity_are_told_by_the_broker() {
    let cluster = Cluster::with_topics(&[("plays", 2), ("pages", 1)]);
    cluster.write("plays", 1, 0..7);
    let client = cluster.connect();

    let partitions =
        [TopicPartition::new("plays", 1), TopicPartition::new("pages", 0), TopicPartition::new("plays", 0)];
    let bounds = client.bounds(&partitions, DEADLINE).unwrap();
    let topics = client.topics(&["plays", "pages"], DEADLINE).unwrap();

    let ends: Vec<_> = bounds.iter().map(|bounds| (bounds.earliest, bounds.stable_end)).collect();
    assert_eq!(ends, [(0, 7), (0, 0), (0, 0)]);
    let sizes: BTreeMap<_, _> =
        topics.iter().map(|(name, topic)| (name.as_str(), topic.num_partitions)).collect();
    assert_eq!(sizes, BTreeMap::from([("pages", 1), ("plays", 2)]));
    assert!(!client.cluster().cluster_id.is_empty());
}

#[test]
fn group_offsets_reach_the_broker() {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let cluster = Cluster::with_topics(&[("plays", 1)]);
    cluster.write("plays", 0, 0..10);
    let client = cluster.connect();
    let server = client.spawn_server().unwrap();
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.mock.bootstrap_servers())
        .set("group.id", &client.settings().group_id)
        .create()
        .unwrap();
    let mut asked = rdkafka::TopicPartitionList::new();
    asked.add_partition("plays", 0);

    client.commit_hint([(&TopicPartition::new("plays", 0), 4)]);

    let deadline = Instant::now() + DEADLINE;
    loop {
        let stored = reader.committed_offsets(asked.clone(), DEADLINE).unwrap();
        if stored.elements()[0].offset() == rdkafka::Offset::Offset(4) {
            break;
        }
        assert!(Instant::now() < deadline, "the broker never had the offset");
    }
    assert!(!server.has_ended());
    server.stop().unwrap();
}

#[test]
fn unreachable_brokers_are_named_with_the_time_waited() {
    let settings =
        KafkaSettings { connect_wait: Duration::from_millis(300), ..KafkaSettings::new("127.0.0.1:1") };

    let error = KafkaClient::connect(&settings).unwrap_err();

    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.starts_with("no broker answered at `127.0.0.1:1` within 0.3 s"), "{text}");
}
