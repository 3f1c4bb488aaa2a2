//! Servers that are not there, at the start and in the middle.

use crate::support::*;
use streamify_lake::LakeSettings;
use streamify_runtime::ExitCode;
use streamify_runtime::endpoint::Health;
use streamify_stream::error::StreamError;
use streamify_stream::kafka::KafkaError;
use streamify_stream::session::End;
use streamify_stream::worker::Worker;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_at_the_start_end_the_run_after_the_wait() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    let mut settings =
        home.settings(&kafka, LISTENS, &["--until", "caught-up", "--connect-timeout", "500ms"]);
    kafka.mock.broker_down(1).unwrap();
    settings.source = streamify_stream::settings::Source::Brokers(kafka.mock.bootstrap_servers());

    let error = home.run(settings).await.unwrap_err();

    assert!(matches!(error, StreamError::Kafka(KafkaError::BrokersUnreachable { .. })), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Failure);
    assert!(error.hint().unwrap().contains("KAFKA_BOOTSTRAP_SERVERS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_after_the_wait() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    kafka
        .mock
        .topic_error(PAGES, rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        .unwrap();
    let home = Home::new();

    let topics = format!("{LISTENS},{PAGES}");
    let error = home.catch_up(&kafka, &topics, &["--connect-timeout", "500ms"]).await.unwrap_err();

    assert!(matches!(&error, StreamError::TopicsMissing { topics, .. } if topics == &[PAGES]), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_is_away_at_the_start_ends_the_run_after_the_wait() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    // A port that was free a moment ago and has no listener.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}");
    let lake = LakeSettings::from_env(&|name| (name == "POLARIS_URI").then(|| uri.clone())).unwrap();
    let settings = home.settings(&kafka, LISTENS, &["--until", "caught-up", "--connect-timeout", "500ms"]);
    let mut registry = prometheus_client::registry::Registry::default();
    let worker =
        Worker::new(settings, lake, &mut registry, Health::new(), std::time::Instant::now()).unwrap();

    let error = worker.run(CancellationToken::new()).await.unwrap_err();

    assert!(matches!(error, StreamError::Lake { .. }), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Failure);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_go_away_in_the_middle_are_waited_for() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..100);
    let running = Running::start(&home, home.settings(&kafka, LISTENS, &["--freshness", "300ms"]));
    running.wait_for_rows(100).await;

    kafka.mock.broker_down(1).unwrap();
    kafka.mock.broker_up(1).unwrap();
    kafka.send_events(LISTENS, 1, 100..200);
    running.wait_for_rows(200).await;

    assert_eq!(running.stop().await.unwrap(), End::Stopped);
    home.assert_exactly_once(LISTENS, 0, &[200]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_embedded_broker_the_error_says_where_it_was_looked_for() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    let mut settings = home.settings(&kafka, LISTENS, &["--until", "caught-up"]);
    settings.source = streamify_stream::settings::Source::Embedded;

    let error = home.run(settings).await.unwrap_err();

    assert!(matches!(error, StreamError::EmbeddedBrokerMissing { .. }), "{error}");
    assert!(error.to_string().contains("broker.json"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_is_found_and_its_identity_stands_for_the_cluster() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..10);
    let describe = |identity: &str| {
        let (pid, servers) = (std::process::id(), kafka.mock.bootstrap_servers());
        std::fs::create_dir_all(home.path().join("broker")).unwrap();
        let text = format!(r#"{{"pid":{pid},"bootstrap_servers":"{servers}","identity":"{identity}"}}"#);
        std::fs::write(home.path().join("broker/broker.json"), text).unwrap();
    };
    let settings = || {
        let mut settings = home.settings(&kafka, LISTENS, &["--until", "caught-up"]);
        settings.source = streamify_stream::settings::Source::Embedded;
        settings.source_id = None;
        settings
    };
    describe("one");
    assert_eq!(home.run(settings()).await.unwrap().total.rows, 10);

    describe("two");
    let error = home.run(settings()).await.unwrap_err();

    assert!(matches!(error, StreamError::SourceChanged { .. }), "{error}");
}
