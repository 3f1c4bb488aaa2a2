//! What can be seen from outside: `/metrics` (Prometheus text), `/healthz`, `/readyz`, and what a program adds.
//!
//! * `/healthz` is 200 as long as the process answers. One that has nothing to hope for ends by itself, and one that answers and
//!   yet lands nothing shows it by its lag, which tells more than a word of its own would.
//! * `/readyz` is 200 between start-up and shutdown, else 503: send it work or wait.
//!
//! Listens on 127.0.0.1 unless another address is given: the numbers are for a scraper beside it, not for the network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::error::RuntimeError;

/// The media type of the text format that `/metrics` speaks.
const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns 127.0.0.1 with `port`; 0 lets the system choose a free one.
pub fn local_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// How the process is doing; clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Returns a process that is not ready yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether the process does its work now: true after start-up, false from the first step of the shutdown on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Returns whether it does.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Binds `address`; with port 0 the real port is in the listener's `local_addr()`.
///
/// # Errors
/// [`RuntimeError::Bind`] if the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, RuntimeError> {
    TcpListener::bind(address).await.map_err(|source| RuntimeError::Bind { address, source })
}

/// Serves, and `more` routes beside its own, until `shutdown` is cancelled. Logs the address it listens on.
///
/// # Errors
/// [`RuntimeError::Serve`] if the listener breaks.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    health: Health,
    more: Router,
    shutdown: CancellationToken,
) -> Result<(), RuntimeError> {
    let address = listener.local_addr().map_err(RuntimeError::Serve)?;
    info!(%address, "metrics endpoint listens");
    let router = router(registry, health).merge(more);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await
        .map_err(RuntimeError::Serve)
}

fn router(registry: Arc<Registry>, health: Health) -> Router {
    let health_routes =
        Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health);
    Router::new().route("/metrics", get(metrics)).with_state(registry).merge(health_routes)
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz() -> Response {
    "ok\n".into_response()
}

async fn readyz(State(health): State<Health>) -> Response {
    if health.is_ready() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n").into_response()
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;

    struct Served {
        address: SocketAddr,
        health: Health,
        shutdown: CancellationToken,
        server: JoinHandle<Result<(), RuntimeError>>,
    }

    async fn start() -> Served {
        let mut registry = Registry::default();
        let rows = Counter::<u64>::default();
        registry.register("rows", "Rows committed", rows.clone());
        rows.inc_by(42);
        let listener = bind(local_address(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let server = tokio::spawn(serve(
            listener,
            Arc::new(registry),
            health.clone(),
            Router::new(),
            shutdown.clone(),
        ));
        Served { address, health, shutdown, server }
    }

    async fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    #[tokio::test]
    async fn port_zero_gives_a_real_port_on_the_local_address() {
        let served = start().await;

        assert_ne!(served.address.port(), 0);
        assert!(served.address.ip().is_loopback());
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let served = start().await;

        let (status, answer) = fetch(served.address, "/metrics").await;

        assert_eq!(status, 200);
        assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
        assert!(answer.contains("rows_total 42\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_follows_the_process_and_health_is_to_answer_at_all() {
        let served = start().await;
        assert_eq!(fetch(served.address, "/readyz").await.0, 503);
        assert_eq!(fetch(served.address, "/healthz").await.0, 200);

        served.health.set_ready(true);
        assert_eq!(fetch(served.address, "/readyz").await.0, 200);

        served.health.set_ready(false);
        assert_eq!(fetch(served.address, "/readyz").await.0, 503);
        assert_eq!(fetch(served.address, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn it_stops_when_told() {
        let served = start().await;
        assert_eq!(fetch(served.address, "/healthz").await.0, 200);

        served.shutdown.cancel();

        served.server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let served = start().await;

        let error = bind(served.address).await.unwrap_err();

        assert_eq!(error.to_string(), format!("failed to listen on `{}` for metrics", served.address));
        assert!(error.is_retryable());
    }
}
