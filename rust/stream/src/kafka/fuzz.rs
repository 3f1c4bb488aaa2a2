//! Random records through the `unsafe` reading: every byte of key, value and headers comes back, whatever they hold, however
//! they are compressed and in whatever portions they are taken.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

/// Key, value, headers.
type Message = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn bytes(largest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..64), 1 => vec(any::<u8>(), 0..largest)]
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let header = ("[a-z_é]{1,12}", option::of(bytes(300)));
    vec((option::of(bytes(600)), option::of(bytes(40_000)), vec(header, 0..5)), 1..60)
}

fn write(servers: &str, compression: &str, messages: &[Message]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("linger.ms", "1")
        .set("compression.type", compression)
        .create()
        .unwrap();
    for (key, value, headers) in messages {
        let empty = OwnedHeaders::new_with_capacity(headers.len());
        let headers = headers
            .iter()
            .fold(empty, |all, (key, value)| all.insert(Header { key, value: value.as_deref() }));
        let mut record = BaseRecord::<[u8], [u8]>::to("plays").partition(0).headers(headers);
        record.key = key.as_deref();
        record.payload = value.as_deref();
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

fn read(servers: &str, portion: usize, count: usize) -> Vec<Message> {
    let settings = KafkaSettings { connect_wait: DEADLINE, ..KafkaSettings::new(servers) };
    let client = KafkaClient::connect(&settings).unwrap();
    let start = Start { partition: TopicPartition::new("plays", 0), offset: 0 };
    let mut queue = client.assign(vec![vec![start]]).unwrap().remove(0);
    let mut seen = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while seen.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} records came", seen.len());
        queue.consume(portion, Duration::from_millis(100), |event| match event {
            Event::Record(record) => {
                assert_eq!(record.offset, seen.len() as i64);
                let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                seen.push((own(record.key), own(record.value), record.headers()));
            }
            Event::EndOfPartition { .. } => {}
            Event::Error(error) => panic!("reading failed: {error}"),
        });
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn records_come_back_byte_for_byte(
        sent in messages(),
        compression in select(vec!["none", "gzip", "snappy", "lz4", "zstd"]),
        portion in select(vec![1usize, 2, 7, 2_000]),
    ) {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("plays", 1, 1).unwrap();
        let servers = mock.bootstrap_servers();
        write(&servers, compression, &sent);

        let seen = read(&servers, portion, sent.len());

        prop_assert_eq!(seen, sent);
    }
}
