//! Transactions, dimension topics and statistics over a real Kafka protocol: the embedded broker in this process.

#![expect(clippy::unwrap_used, reason = "tests may unwrap: a panic is the report")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use streamify_generate::{
    broker::start_cluster,
    dimensions::{self, Dimension},
    event::Topic,
    profile::Profile,
    run::{Delivery, Summary, run},
    simulation::{Settings, Simulation},
    sink::{
        Record, Sink, Transactions,
        dimensions::write_kafka,
        files::FileSink,
        kafka::{KafkaSettings, KafkaSink, TopicOptions},
    },
    stats::{Survey, input},
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    let start_ms = 1_771_804_800_926;
    Settings {
        profile: Profile::builtin("example").unwrap(),
        seed: 5,
        num_users: 200,
        first_user_id: 1,
        start_ms,
        end_ms: start_ms + 7 * 86_400_000,
        tag: None,
    }
}

fn kafka(servers: &str) -> KafkaSettings {
    KafkaSettings {
        servers: servers.to_owned(),
        options: BTreeMap::new(),
        num_partitions: 2,
        replication: 1,
        compression: "zstd".to_owned(),
        run_id: "0123456789abcdef".to_owned(),
        follow: None,
        topics: TopicOptions::default(),
        transactions: None,
    }
}

fn generate(sink: &mut dyn Sink, stop: &CancellationToken) -> Summary {
    run(&mut Simulation::new(settings()), &Delivery::default(), sink, stop, &mut |_| {}).unwrap()
}

/// Reads the committed records of a topic until there are `count`, as (key, value).
fn read(servers: &str, topic: &str, count: usize) -> Vec<(Option<String>, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "any")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    for partition in metadata.topics()[0].partitions() {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut records, started) = (Vec::new(), Instant::now());
    while records.len() < count {
        assert!(started.elapsed() < PATIENCE, "{} of {count} records of {topic}", records.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let key = message.key().map(|key| String::from_utf8(key.to_vec()).unwrap());
        records.push((key, message.payload().unwrap().to_vec()));
    }
    records
}

#[test]
fn a_run_in_transactions_delivers_everything() {
    let (_cluster, servers) = start_cluster(2).unwrap();
    let transactions = Some(Transactions { max_records: 100, max_age: PATIENCE });
    let stop = CancellationToken::new();
    let mut sink =
        KafkaSink::connect(KafkaSettings { transactions, ..kafka(&servers) }, stop.clone()).unwrap();

    let summary = generate(&mut sink, &stop);

    assert!(summary.events > 1_000, "{}", summary.events);
    for topic in Topic::ALL {
        let count = summary.topics[topic.name()].events as usize;
        assert_eq!(read(&servers, topic.name(), count).len(), count);
    }
}

#[test]
fn an_open_transaction_is_undone_when_the_sink_goes() {
    let (_cluster, servers) = start_cluster(2).unwrap();
    let transactions = Some(Transactions { max_records: 1_000, max_age: PATIENCE });
    let connect = || {
        KafkaSink::connect(KafkaSettings { transactions, ..kafka(&servers) }, CancellationToken::new())
            .unwrap()
    };
    let mut first = connect();
    first.write(&Record { topic: Topic::Auth, key: None, value: Some(b"{}\n"), run_id: None }).unwrap();
    drop(first);

    // The same run again takes over at once and can finish.
    let mut second = connect();
    second.write(&Record { topic: Topic::Auth, key: None, value: Some(b"{}\n"), run_id: None }).unwrap();
    second.finish().unwrap();
}

#[test]
fn dimension_topics_hold_every_object_under_its_key() {
    let (_cluster, servers) = start_cluster(2).unwrap();
    let mut expected: BTreeMap<Dimension, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    let collected = dimensions::for_each::<()>(&settings(), &mut |dimension, key, value| {
        expected.entry(dimension).or_default().insert(key.to_owned(), value.to_vec());
        Ok(())
    });
    collected.unwrap();

    write_kafka(&settings(), &kafka(&servers), "dim.", 2, &CancellationToken::new()).unwrap();

    for (dimension, objects) in expected {
        let records = read(&servers, &format!("dim.{}", dimension.name()), objects.len());
        let found: BTreeMap<String, Vec<u8>> =
            records.into_iter().map(|(key, value)| (key.unwrap(), value)).collect();
        assert!(found == objects, "{dimension:?} differs");
    }
}

#[test]
fn statistics_of_topics_are_those_of_files() {
    let (_cluster, servers) = start_cluster(2).unwrap();
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    generate(&mut FileSink::create(folder.path(), false).unwrap(), &stop);
    generate(&mut KafkaSink::connect(kafka(&servers), stop.clone()).unwrap(), &stop);
    let (mut of_files, mut of_topics) = (Survey::default(), Survey::default());

    input::files::read(&[folder.path().to_owned()], &mut of_files, &stop).unwrap();
    let topics = Topic::ALL.map(|topic| topic.name().to_owned()).to_vec();
    let source = input::kafka::Source { servers, options: BTreeMap::new(), topics };
    input::kafka::read(&source, &mut of_topics, &stop).unwrap();

    assert!(of_files.tally().page_views > 500);
    assert_eq!(of_files.tally(), of_topics.tally());
    assert_eq!(of_files.measures(None).values, of_topics.measures(None).values);
}
