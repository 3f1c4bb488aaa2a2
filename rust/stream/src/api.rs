//! What can be asked of a running worker over HTTP, beside metrics and health.
//!
//! * `GET /v1/status`: what it has done, how far it is, what it lags; JSON, as [`Status`].
//! * `POST /v1/barrier?timeout=30s` with `{"topic": "listen_events", "offsets": {"0": 120}}`: answers once all records below these
//!   offsets are in the table, with a snapshot that has them; commits come at once while somebody waits. 408 when the time is
//!   over.
//! * `POST /v1/stop`: commits what was read and ends with code 0. With a control token it must be named
//!   (`Authorization: Bearer …`); without one only a loopback address takes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streamify_core::lease::Process;
use streamify_runtime::endpoint::Health;
use streamify_runtime::settings::{Secret, parse_duration};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use crate::clock;
use crate::live::{Live, Position};
use crate::report::{Report, TopicSummary};

/// How long a barrier waits at most, whatever is asked.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// What the answers are made from.
pub struct Api {
    /// The run's counts.
    pub report: Arc<Report>,
    /// The run's positions.
    pub live: Arc<Live>,
    /// How the process is doing.
    pub health: Health,
    /// Ends the run.
    pub shutdown: CancellationToken,
    /// Who writes.
    pub writer_id: Uuid,
    /// Where it runs.
    pub process: Process,
    /// When it began, ms since 1970.
    pub started_at_ms: i64,
    /// The Dagster run that launched it.
    pub dagster_run_id: Option<String>,
    /// What a stop must name.
    pub control_token: Option<Secret>,
    /// Where the endpoint listens.
    pub address: SocketAddr,
}

/// The answer of `/v1/status`.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    writer_id: Uuid,
    host: String,
    pid: u32,
    started_at_ms: i64,
    dagster_run_id: Option<String>,
    ready: bool,
    /// The whole run's figures, as Dagster is told them too.
    #[serde(flatten)]
    pub progress: Progress,
}

/// How far a run is.
#[derive(Debug, Serialize)]
pub struct Progress {
    /// Seconds since the start.
    pub seconds: f64,
    /// Rows committed in this run.
    pub rows: u64,
    /// Records that went to the dead-letter table.
    pub dead_letters: u64,
    /// Records delivered by the brokers and committed.
    pub received: u64,
    /// Records not in the tables yet; `None` while the brokers have not told all ends.
    pub lag_records: Option<i64>,
    /// Of the topic that is most behind: age of the instant up to which its table is complete; 0 without lag.
    pub lag_seconds: Option<f64>,
    /// Of the topic that is most in danger: seconds until it drops a record that is not in the table.
    pub headroom_seconds: Option<f64>,
    /// As of the last commits, the worst table's.
    pub freshness_seconds: Option<f64>,
    /// By table.
    pub tables: Vec<TableProgress>,
}

/// How far a table is.
#[derive(Debug, Serialize)]
pub struct TableProgress {
    topic: String,
    table: String,
    rows: u64,
    dead_letters: u64,
    commits: u64,
    snapshot_id: Option<i64>,
    committed_at_ms: Option<i64>,
    freshness_seconds: Option<f64>,
    lag_records: Option<i64>,
    lag_seconds: Option<f64>,
    headroom_seconds: Option<f64>,
    partitions: Vec<Position>,
}

/// Returns how far a run is.
pub fn progress(report: &Report, live: &Live) -> Progress {
    let summary = report.summary("");
    let now_ms = clock::now_us() / 1000;
    let tables: Vec<TableProgress> =
        summary.topics.into_iter().map(|topic| table_progress(topic, live, now_ms)).collect();
    let read = || tables.iter().filter(|table| !table.partitions.is_empty());
    let worst =
        |values: Vec<Option<f64>>, choose: fn(f64, f64) -> f64| values.into_iter().flatten().reduce(choose);
    Progress {
        seconds: summary.seconds,
        rows: summary.total.rows,
        dead_letters: summary.total.dead_letters,
        received: summary.total.received,
        lag_records: read()
            .map(|table| table.lag_records)
            .reduce(|left, right| Some(left? + right?))
            .flatten(),
        lag_seconds: worst(read().map(|table| table.lag_seconds).collect(), f64::max),
        headroom_seconds: worst(read().map(|table| table.headroom_seconds).collect(), f64::min),
        freshness_seconds: summary.total.freshness_seconds,
        tables,
    }
}

fn table_progress(summary: TopicSummary, live: &Live, now_ms: i64) -> TableProgress {
    let position = live.topic(&summary.topic).unwrap_or_default();
    TableProgress {
        topic: summary.topic,
        table: summary.table,
        rows: summary.rows,
        dead_letters: summary.dead_letters,
        commits: summary.commits,
        snapshot_id: position.snapshot_id.or(summary.snapshot_id),
        committed_at_ms: position.committed_at_ms,
        freshness_seconds: summary.freshness_seconds,
        lag_records: position.lag_records(),
        lag_seconds: position.lag_seconds(now_ms),
        headroom_seconds: position.headroom_seconds(now_ms),
        partitions: position.partitions.into_values().collect(),
    }
}

/// Returns the routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/barrier", post(barrier))
        .route("/v1/stop", post(stop))
        .with_state(Arc::new(api))
}

async fn status(State(api): State<Arc<Api>>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        writer_id: api.writer_id,
        host: api.process.host.clone(),
        pid: api.process.pid,
        started_at_ms: api.started_at_ms,
        dagster_run_id: api.dagster_run_id.clone(),
        ready: api.health.is_ready(),
        progress: progress(&api.report, &api.live),
    })
}

#[derive(Deserialize)]
struct Wait {
    timeout: Option<String>,
}

#[derive(Deserialize)]
struct Barrier {
    topic: String,
    /// By partition: all records below must be in the table.
    offsets: BTreeMap<i32, i64>,
}

async fn barrier(
    State(api): State<Arc<Api>>,
    Query(wait): Query<Wait>,
    Json(wanted): Json<Barrier>,
) -> Response {
    let limit = match wait.timeout.as_deref().map(parse_duration).transpose() {
        Ok(limit) => limit.unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("timeout: {error}")),
    };
    let deadline = Instant::now() + limit;
    let mut commits = api.live.commits();
    let mut hurry = None;
    loop {
        let next = match reached(&api.live, &wanted) {
            Ok(Reached::All(answer)) => return answer.into_response(),
            Ok(Reached::NotYet(next)) => next,
            Err(unknown) => return refuse(StatusCode::NOT_FOUND, &unknown),
        };
        // A session that begins anew has another control.
        hurry = api.live.hurry(&wanted.topic).or(hurry);
        tokio::select! {
            changed = timeout_at(deadline, commits.changed()) => if changed.is_err() {
                let error = format!("not all of these offsets are in the table after {} s", limit.as_secs());
                return (StatusCode::REQUEST_TIMEOUT, Json(json!({"error": error, "offsets": next}))).into_response();
            },
            () = api.shutdown.cancelled() => return refuse(StatusCode::SERVICE_UNAVAILABLE, "the worker is stopping"),
        }
    }
}

/// How far a barrier is.
enum Reached {
    All(Json<Value>),
    NotYet(BTreeMap<i32, i64>),
}

/// Looks how far a barrier is; an error names what is not read here. Nothing is known before the first session has begun.
fn reached(live: &Live, wanted: &Barrier) -> Result<Reached, String> {
    let topics = live.topics();
    if topics.is_empty() {
        return Ok(Reached::NotYet(BTreeMap::new()));
    }
    let name = &wanted.topic;
    let topic = topics.get(name).ok_or_else(|| format!("topic `{name}` is not read here"))?;
    if let Some(unknown) = wanted.offsets.keys().find(|number| !topic.partitions.contains_key(number)) {
        return Err(format!("partition {unknown} of topic `{name}` is not read here"));
    }
    let next: BTreeMap<i32, i64> =
        topic.partitions.values().map(|position| (position.partition, position.next_offset)).collect();
    let has = |(number, offset): (&i32, &i64)| next.get(number).is_some_and(|next| next >= offset);
    if wanted.offsets.iter().all(has) {
        return Ok(Reached::All(Json(json!({"snapshot_id": topic.snapshot_id, "offsets": next}))));
    }
    Ok(Reached::NotYet(next))
}

async fn stop(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match &api.control_token {
        Some(token) if given != Some(token.expose()) => {
            return refuse(
                StatusCode::UNAUTHORIZED,
                "name the worker's control token: `Authorization: Bearer …`",
            );
        }
        None if !api.address.ip().is_loopback() => {
            let text = "this address can be reached from elsewhere; set STREAMIFY_CONTROL_TOKEN to be able to stop the worker here";
            return refuse(StatusCode::FORBIDDEN, text);
        }
        _ => {}
    }
    info!("stopped over the endpoint");
    api.shutdown.cancel();
    (StatusCode::ACCEPTED, Json(json!({"pid": api.process.pid}))).into_response()
}

fn refuse(code: StatusCode, error: &str) -> Response {
    (code, Json(json!({"error": error}))).into_response()
}
