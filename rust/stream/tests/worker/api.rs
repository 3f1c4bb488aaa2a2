//! The endpoint of a running worker: status, barrier, stop.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use streamify_runtime::endpoint::{self, Health};
use streamify_runtime::settings::Secret;
use streamify_stream::api::{Api, router};
use streamify_stream::lease::this_process;
use streamify_stream::session::End;
use streamify_stream::worker::Worker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Home, Kafka, LISTENS, until};

struct Served {
    address: SocketAddr,
    worker: JoinHandle<End>,
    /// A test that fails must not wait for a worker that nobody stops.
    _stop: DropGuard,
}

async fn start(home: &Home, kafka: &Kafka, freshness: &str, token: Option<&str>) -> Served {
    let settings = home.settings(kafka, LISTENS, &["--freshness", freshness]);
    let (mut registry, health, shutdown) = (Registry::default(), Health::new(), CancellationToken::new());
    let writer_id = settings.writer_id;
    let now = std::time::Instant::now();
    let worker = Worker::new(settings, home.lake_settings(), &mut registry, health.clone(), now).unwrap();
    let listener = endpoint::bind(endpoint::local_address(0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api {
        report: worker.report(),
        live: worker.live(),
        health: health.clone(),
        shutdown: shutdown.clone(),
        writer_id,
        process: this_process(),
        started_at_ms: 1,
        dagster_run_id: Some("run".into()),
        control_token: token.map(Secret::new),
        address,
    };
    tokio::spawn(endpoint::serve(listener, Arc::new(registry), health, router(api), shutdown.clone()));
    let stop = shutdown.clone().drop_guard();
    let worker = tokio::spawn(async move { worker.run(shutdown).await.unwrap() });
    Served { address, worker, _stop: stop }
}

impl Served {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>, header: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let body = body.map_or_else(String::new, |body| body.to_string());
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{header}content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn ended(&mut self) -> End {
        (&mut self.worker).await.unwrap()
    }

    async fn status(&self) -> Value {
        self.ask("GET", "/v1/status", None, "").await.1
    }

    async fn barrier(&self, timeout: &str, offsets: Value) -> (u16, Value) {
        let body = json!({"topic": LISTENS, "offsets": offsets});
        self.ask("POST", &format!("/v1/barrier?timeout={timeout}"), Some(body), "").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_rows_positions_and_lag() {
    let kafka = Kafka::with_topics(&[(LISTENS, 2)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 2, 0..20);
    let mut served = start(&home, &kafka, "200ms", None).await;

    until("no lag", || async { served.status().await["lag_records"] == 0 }).await;

    let status = served.status().await;
    assert_eq!(
        (&status["rows"], &status["ready"], &status["pid"]),
        (&json!(20), &json!(true), &json!(std::process::id()))
    );
    assert_eq!(status["dagster_run_id"], "run");
    let table = &status["tables"][0];
    assert_eq!((&table["table"], &table["lag_seconds"]), (&json!("bronze_listen_events"), &json!(0.0)));
    assert!(table["snapshot_id"].is_i64() && table["committed_at_ms"].is_i64(), "{table}");
    let ends: Vec<&Value> =
        table["partitions"].as_array().unwrap().iter().map(|one| &one["next_offset"]).collect();
    assert_eq!(ends, [&json!(10), &json!(10)]);
    assert_eq!(served.ask("POST", "/v1/stop", None, "").await.0, 202);
    assert_eq!(served.ended().await, End::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_brings_the_commit_and_names_a_snapshot_that_has_the_rows() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..5);
    // Without the barrier the second commit would come after an hour.
    let mut served = start(&home, &kafka, "1h", None).await;
    assert_eq!(served.barrier("30s", json!({"0": 5})).await.0, 200);
    kafka.send_events(LISTENS, 1, 5..12);

    let (code, answer) = served.barrier("30s", json!({"0": 12})).await;

    assert_eq!((code, &answer["offsets"]["0"]), (200, &json!(12)));
    let table = home.table("bronze_listen_events").await.unwrap();
    assert_eq!(answer["snapshot_id"], json!(table.metadata.current_snapshot_id().unwrap()));
    home.assert_exactly_once(LISTENS, 0, &[12]).await;
    assert_eq!(served.ask("POST", "/v1/stop", None, "").await.0, 202);
    served.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_that_cannot_be_met_says_how_far_it_got() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    kafka.send_events(LISTENS, 1, 0..5);
    let mut served = start(&home, &kafka, "200ms", None).await;
    assert_eq!(served.barrier("30s", json!({"0": 5})).await.0, 200);

    let (code, answer) = served.barrier("200ms", json!({"0": 6})).await;
    assert_eq!((code, &answer["offsets"]["0"]), (408, &json!(5)));

    let (code, answer) = served.barrier("1s", json!({"7": 1})).await;
    assert_eq!(code, 404, "{answer}");
    let (code, answer) = served.barrier("soon", json!({"0": 1})).await;
    assert_eq!(code, 400, "{answer}");
    assert_eq!(served.ask("POST", "/v1/stop", None, "").await.0, 202);
    served.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_must_name_the_token_where_there_is_one() {
    let kafka = Kafka::with_topics(&[(LISTENS, 1)]);
    let home = Home::new();
    let mut served = start(&home, &kafka, "200ms", Some("secret")).await;

    assert_eq!(served.ask("POST", "/v1/stop", None, "").await.0, 401);
    assert_eq!(served.ask("POST", "/v1/stop", None, "authorization: Bearer wrong\r\n").await.0, 401);
    assert!(!served.worker.is_finished());

    assert_eq!(served.ask("POST", "/v1/stop", None, "authorization: Bearer secret\r\n").await.0, 202);
    assert_eq!(served.ended().await, End::Stopped);
}
