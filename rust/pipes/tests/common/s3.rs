//! Just enough of S3 for the message channel: put, get, head and list of one bucket, with faults on demand.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use streamify_pipes::{Bootstrap, Options};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{object, read_messages};

pub const BUCKET: &str = "pipes-testing";

/// What happens to the next puts.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// 503, nothing stored.
    Unavailable,
    /// Stored, but the answer is a 500.
    StoredButFailed,
    /// 403, nothing stored.
    Forbidden,
}

#[derive(Debug, Default)]
pub struct Store {
    pub objects: BTreeMap<String, Bytes>,
    /// Keys in the order in which they were put, failed puts included.
    pub puts: Vec<String>,
    pub put_faults: Vec<Fault>,
    /// Connections to cut as soon as they are made.
    pub resets: usize,
    pub list_forbidden: bool,
    /// A key was put again with other bytes: a reader may have seen the first.
    pub rewritten: Vec<String>,
    /// Page size of lists; 1000 if not set.
    pub max_keys_per_page: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct FakeS3 {
    store: Arc<Mutex<Store>>,
    pub address: SocketAddr,
}

/// Cuts connections on demand before a byte is read.
struct CuttingListener {
    listener: TcpListener,
    store: Arc<Mutex<Store>>,
}

impl axum::serve::Listener for CuttingListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                continue;
            };
            let mut store = self.store.lock().unwrap();
            if store.resets == 0 {
                return (stream, address);
            }
            store.resets -= 1;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl FakeS3 {
    /// Serves on a thread of its own, so that tests may block.
    pub fn start() -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let (address_tx, address_rx) = std::sync::mpsc::channel();
        let shared = Arc::clone(&store);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                address_tx.send(listener.local_addr().unwrap()).unwrap();
                let router = Router::new()
                    .route("/{bucket}/{*key}", get(get_object).put(put_object))
                    .route("/{bucket}/", get(list_objects))
                    .route("/{bucket}", get(list_objects))
                    .with_state(Arc::clone(&shared));
                axum::serve(CuttingListener { listener, store: shared }, router).await.unwrap();
            });
        });
        Self { store, address: address_rx.recv().unwrap() }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns options of a session that talks to this store.
    pub fn options(&self) -> Options {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(5)).build(),
            )
            .build();
        Options { s3: Some(config), ..Options::default() }
    }

    /// Returns parameters of a session under `prefix`; `interval_ms` is what the reader announces.
    pub fn bootstrap(&self, prefix: &str, interval_ms: Option<u64>) -> Bootstrap {
        let mut messages =
            json!({"bucket": BUCKET, "key_prefix": prefix, "include_stdio_in_messages": false});
        if let Some(interval_ms) = interval_ms {
            messages["streamify_min_interval_ms"] = interval_ms.into();
        }
        Bootstrap {
            context: object(json!({"data": {"run_id": "r", "asset_keys": ["a", "b"]}})),
            messages: object(messages),
        }
    }

    /// Reads as the stock reader does: 1, 2, 3 … up to the first number that is missing. Every other chunk is lost.
    pub fn chunks(&self, prefix: &str) -> Vec<Vec<Value>> {
        let store = self.store();
        let chunk = |number: usize| store.objects.get(&format!("{prefix}/{number}.json"));
        (1..).map_while(chunk).map(|body| read_messages(std::str::from_utf8(body).unwrap())).collect()
    }
}

type Shared = State<Arc<Mutex<Store>>>;

const CLOSE: (HeaderName, &str) = (header::CONNECTION, "close");

fn failure(status: StatusCode, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>on demand</Message></Error>");
    (status, [CLOSE], body).into_response()
}

async fn get_object(State(store): Shared, Path((_, key)): Path<(String, String)>) -> Response {
    match store.lock().unwrap().objects.get(&key) {
        Some(body) => ([CLOSE], body.clone()).into_response(),
        None => failure(StatusCode::NOT_FOUND, "NoSuchKey"),
    }
}

async fn put_object(
    State(store): Shared,
    Path((bucket, key)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let mut store = store.lock().unwrap();
    store.puts.push(key.clone());
    let fault = if store.put_faults.is_empty() { None } else { Some(store.put_faults.remove(0)) };
    match fault {
        Some(Fault::Unavailable) => return failure(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Some(Fault::Forbidden) => return failure(StatusCode::FORBIDDEN, "AccessDenied"),
        Some(Fault::StoredButFailed) | None => {}
    }
    if bucket != BUCKET {
        return failure(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    if store.objects.insert(key.clone(), body.clone()).is_some_and(|old| old != body) {
        store.rewritten.push(key);
    }
    match fault {
        Some(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        None => (StatusCode::OK, [CLOSE]).into_response(),
    }
}

async fn list_objects(State(store): Shared, Path(bucket): Path<String>, uri: Uri) -> Response {
    let store = store.lock().unwrap();
    if store.list_forbidden {
        return failure(StatusCode::FORBIDDEN, "AccessDenied");
    }
    if bucket != BUCKET {
        return failure(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("continuation-token").cloned().unwrap_or_default();
    let found: Vec<&String> =
        store.objects.keys().filter(|key| key.starts_with(&prefix) && **key > after).collect();
    let page_size = store.max_keys_per_page.unwrap_or(1000);
    let contents: String =
        found.iter().take(page_size).map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
    let more = match found.get(page_size) {
        Some(_) => format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>",
            found[page_size - 1]
        ),
        None => "<IsTruncated>false</IsTruncated>".to_owned(),
    };
    let body = format!("<ListBucketResult><Name>{BUCKET}</Name>{contents}{more}</ListBucketResult>");
    ([(header::CONTENT_TYPE, "application/xml"), CLOSE], body).into_response()
}
