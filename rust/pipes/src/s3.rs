//! The few S3 calls that are needed: get a text, list keys. (Chunks are put by their channel.)
//!
//! Settings come from the environment as for any AWS tool. With an own endpoint (`AWS_ENDPOINT_URL`, plain http is fine) buckets are
//! addressed by path, which every S3-compatible store understands; checksums beyond the protocol's minimum are not asked for.

use std::error::Error;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{DisplayErrorContext, SdkError};
use tracing::warn;

use crate::error::BoxError;
use crate::options::Options;

/// Tries of a call at the start, about ten seconds with the waits between; chunks have their own, longer patience.
const START_ATTEMPTS: u32 = 6;
/// The region if none is set: stores other than AWS do not care.
const FALLBACK_REGION: &str = "us-east-1";

/// Returns a client. It must be used on the runtime on which it was made.
pub(crate) async fn client(options: &Options) -> Client {
    if let Some(config) = &options.s3 {
        return Client::from_conf(config.clone());
    }
    let shared = aws_config::defaults(BehaviorVersion::latest()).load().await;
    let has_endpoint = shared.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let region = shared.region().cloned().unwrap_or_else(|| Region::from_static(FALLBACK_REGION));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .build();
    let config = Builder::from(&shared)
        .region(region)
        .force_path_style(has_endpoint)
        .timeout_config(timeouts)
        // A chunk is retried by the writer, which knows the close deadline.
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// Returns an object as text.
pub(crate) async fn get_text(client: &Client, bucket: &str, key: &str) -> Result<String, BoxError> {
    let bytes = with_patience(|| async {
        let object = client.get_object().bucket(bucket).key(key).send().await.map_err(Failure::from_sdk)?;
        object.body.collect().await.map_err(|error| Failure::passing(error.into()))
    })
    .await?
    .into_bytes();
    Ok(String::from_utf8(bytes.to_vec())?)
}

/// Returns the keys directly under `folder` (which ends with `/` or is empty). Without the right to list there are none, with a
/// warning: the stock writer needs no such right.
pub(crate) async fn list_keys(client: &Client, bucket: &str, folder: &str) -> Result<Vec<String>, BoxError> {
    let mut keys = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = with_patience(|| async {
            let list = client.list_objects_v2().bucket(bucket).prefix(folder).delimiter("/");
            let list = list.set_continuation_token(token.clone());
            list.send().await.map_err(Failure::from_sdk)
        })
        .await;
        let page = match page {
            Ok(page) => page,
            Err(failure) if failure.status == Some(403) => {
                warn!(bucket, folder, error = %failure, "not allowed to list chunks; starting at chunk 1");
                return Ok(keys);
            }
            Err(failure) => return Err(failure.into()),
        };
        keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            return Ok(keys);
        }
    }
}

/// A failed call: what was said, and whether another try may help.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Failure {
    message: String,
    status: Option<u16>,
    is_passing: bool,
}

impl Failure {
    fn passing(source: BoxError) -> Self {
        Self { message: source.to_string(), status: None, is_passing: true }
    }

    fn from_sdk<E: Error + Send + Sync + 'static>(error: SdkError<E>) -> Self {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let is_passing = status.is_none_or(|status| status >= 500 || status == 429 || status == 408);
        Self { message: plain(error).to_string(), status, is_passing }
    }
}

/// Returns an error whose text is the whole story in one line; the SDK's own text is only `service error`.
pub(crate) fn plain<E: Error + Send + Sync + 'static>(error: SdkError<E>) -> BoxError {
    DisplayErrorContext(&error).to_string().into()
}

/// Calls until it succeeds, fails for good, or the tries are used up.
async fn with_patience<T, F: Future<Output = Result<T, Failure>>>(
    call: impl Fn() -> F,
) -> Result<T, Failure> {
    let mut wait = Duration::from_millis(200);
    for _ in 1..START_ATTEMPTS {
        match call().await {
            Err(failure) if failure.is_passing => {
                warn!(error = %failure, ?wait, "S3 call failed; trying again");
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            outcome => return outcome,
        }
    }
    call().await
}
