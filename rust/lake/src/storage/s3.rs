//! Files in an S3 store, through the official SDK.
//!
//! One client, with its connections, serves all clones. Requests are retried a bounded number of times by the SDK; what
//! still fails says whether trying later can help. Payloads carry a CRC32 checksum and are left out of the signature, which
//! would cost a SHA-256 over every byte. Credentials are never serialized.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage};
use iceberg::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore};

use super::failure;
use super::s3_upload::{MAX_PARTS_IN_FLIGHT, S3Writer};
use crate::settings::S3Settings;

/// What S3 accepts in one request to delete objects.
pub(super) const MAX_DELETES_PER_REQUEST: usize = 1000;
const MAX_ATTEMPTS: u32 = 4;
/// Memory that is taken for an answer at most, in bytes, before it has come.
const MAX_RESERVED: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads and writes objects, addressed as `s3://bucket/key` or `s3a://bucket/key`; keys are taken literally.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct S3Storage {
    /// A deserialized storage has no settings and falls back to the usual AWS chain.
    #[serde(skip)]
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: S3Settings,
    client: OnceCell<Client>,
    upload_permits: Arc<Semaphore>,
}

impl Default for Shared {
    fn default() -> Self {
        Self::new(S3Settings::none())
    }
}

impl Shared {
    fn new(settings: S3Settings) -> Self {
        let upload_permits = Arc::new(Semaphore::new(MAX_PARTS_IN_FLIGHT));
        Self { settings, client: OnceCell::new(), upload_permits }
    }
}

/// Bucket and key of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectAddress {
    pub(super) bucket: String,
    pub(super) key: String,
}

/// Returns whether an address is for the object store.
pub(super) fn is_s3(path: &str) -> bool {
    path.starts_with("s3://") || path.starts_with("s3a://")
}

pub(super) fn parse(path: &str) -> iceberg::Result<ObjectAddress> {
    let rest = path.strip_prefix("s3://").or_else(|| path.strip_prefix("s3a://"));
    match rest.and_then(|rest| rest.split_once('/')) {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            Ok(ObjectAddress { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        _ => {
            let message = format!("`{path}` is not an object's address (expected e.g. `s3://bucket/key`)");
            Err(Error::new(ErrorKind::DataInvalid, message))
        }
    }
}

impl S3Storage {
    /// Creates a storage; the first request opens the connection.
    pub fn new(settings: S3Settings) -> Self {
        Self { shared: Arc::new(Shared::new(settings)) }
    }

    pub(super) async fn client(&self) -> &Client {
        self.shared.client.get_or_init(|| build_client(&self.shared.settings)).await
    }

    /// Deletes objects in as few requests as the protocol allows; those that do not exist are no error.
    pub(super) async fn delete_many(&self, paths: &[String]) -> iceberg::Result<()> {
        let mut by_bucket: BTreeMap<String, Vec<ObjectIdentifier>> = BTreeMap::new();
        for path in paths {
            let address = parse(path)?;
            let object = ObjectIdentifier::builder().key(address.key).build();
            let object = object.map_err(|error| failure("delete", path, false, error))?;
            by_bucket.entry(address.bucket).or_default().push(object);
        }
        for (bucket, objects) in by_bucket {
            for chunk in objects.chunks(MAX_DELETES_PER_REQUEST) {
                self.delete_chunk(&bucket, chunk.to_vec()).await?;
            }
        }
        Ok(())
    }

    async fn delete_chunk(&self, bucket: &str, objects: Vec<ObjectIdentifier>) -> iceberg::Result<()> {
        let place = format!("s3://{bucket}/ ({} objects)", objects.len());
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build();
        let delete = delete.map_err(|error| failure("delete", &place, false, error))?;
        let request = self.client().await.delete_objects().bucket(bucket).delete(delete);
        let answer = request.send().await.map_err(|error| s3_failure("delete", &place, error))?;
        match answer.errors().first() {
            None => Ok(()),
            Some(error) => {
                let path = format!("s3://{bucket}/{}", error.key().unwrap_or_default());
                let text =
                    format!("{}: {}", error.code().unwrap_or("?"), error.message().unwrap_or_default());
                Err(failure("delete", &path, true, S3Failure(text)))
            }
        }
    }
}

async fn build_client(settings: &S3Settings) -> Client {
    let region = settings.region.clone().map(Region::new);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region.clone())
        .force_path_style(settings.path_style)
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        .timeout_config(timeouts);
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint);
    }
    match &settings.credentials {
        Some(keys) => {
            let token = keys.session_token.as_ref().map(|token| token.reveal().to_owned());
            let secret = keys.secret_access_key.reveal();
            config = config.credentials_provider(Credentials::new(
                &keys.access_key_id,
                secret,
                token,
                None,
                "settings",
            ));
        }
        None => {
            let chain = aws_config::defaults(BehaviorVersion::latest()).region(region).load().await;
            config.set_credentials_provider(chain.credentials_provider());
        }
    }
    Client::from_conf(config.build())
}

#[async_trait]
#[typetag::serde]
impl Storage for S3Storage {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        let address = parse(path)?;
        let request = self.client().await.head_object().bucket(address.bucket).key(address.key);
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) => Err(s3_failure("look for", path, error)),
        }
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let address = parse(path)?;
        let request = self.client().await.head_object().bucket(address.bucket).key(address.key);
        let answer = request.send().await.map_err(|error| s3_failure("look at", path, error))?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        get(self.client().await, path, &parse(path)?, None).await
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        let client = self.client().await.clone();
        Ok(Box::new(S3Reader { client, path: path.to_owned(), address: parse(path)? }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        put(self.client().await, path, &parse(path)?, bytes).await
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        let client = self.client().await.clone();
        Ok(Box::new(S3Writer::new(client, path, parse(path)?, self.shared.upload_permits.clone())))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        let address = parse(path)?;
        let request = self.client().await.delete_object().bucket(address.bucket).key(address.key);
        request.send().await.map(|_| ()).map_err(|error| s3_failure("delete", path, error))
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let address = parse(&folder)?;
        let request = self.client().await.list_objects_v2().bucket(&address.bucket).prefix(&address.key);
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| s3_failure("list", &folder, error))?;
            let keys = page.contents().iter().filter_map(|object| object.key());
            let paths: Vec<String> = keys.map(|key| format!("s3://{}/{key}", address.bucket)).collect();
            self.delete_many(&paths).await?;
        }
        Ok(())
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        let mut chunks = paths.chunks(MAX_DELETES_PER_REQUEST);
        while let Some(chunk) = chunks.next().await {
            self.delete_many(&chunk).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct S3Reader {
    client: Client,
    path: String,
    address: ObjectAddress,
}

#[async_trait]
impl FileRead for S3Reader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let bytes = get(&self.client, &self.path, &self.address, Some(header)).await?;
        // A store answers with less, without an error, when the object is shorter than asked.
        if bytes.len() as u64 != range.end - range.start {
            let text = format!("got {} bytes of range {}..{}", bytes.len(), range.start, range.end);
            return Err(failure("read", &self.path, false, S3Failure(text)));
        }
        Ok(bytes)
    }
}

async fn get(
    client: &Client,
    path: &str,
    address: &ObjectAddress,
    range: Option<String>,
) -> iceberg::Result<Bytes> {
    let request = client.get_object().bucket(&address.bucket).key(&address.key).set_range(range);
    let mut answer = request.send().await.map_err(|error| s3_failure("read", path, error))?;
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok());
    // Piece by piece into the memory that is returned: the connection's buffer is free again for the next piece.
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(MAX_RESERVED));
    while let Some(piece) =
        answer.body.try_next().await.map_err(|error| failure("read", path, true, error))?
    {
        bytes.extend_from_slice(&piece);
    }
    Ok(Bytes::from(bytes))
}

/// Stores one object by a single request.
pub(super) async fn put(
    client: &Client,
    path: &str,
    address: &ObjectAddress,
    bytes: Bytes,
) -> iceberg::Result<()> {
    let body = ByteStream::from(bytes);
    let request = client.put_object().bucket(&address.bucket).key(&address.key).body(body);
    let answer = request.customize().disable_payload_signing().send().await;
    answer.map(|_| ()).map_err(|error| s3_failure("write", path, error))
}

/// What the store said, in one line.
#[derive(Debug)]
pub(super) struct S3Failure(pub(super) String);

impl fmt::Display for S3Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for S3Failure {}

pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// Turns an SDK error into ours; retryable are those without an answer, 429 and 5xx.
pub(super) fn s3_failure<E>(action: &'static str, path: &str, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = status(&error);
    let code = error.code().map(str::to_owned);
    let retryable = match status {
        None => !matches!(error, SdkError::ConstructionFailure(_)),
        Some(status) => status == 429 || status >= 500,
    };
    let text = match (status, code) {
        (Some(status), Some(code)) => {
            format!("{code} ({status}): {}", error.message().unwrap_or("no message"))
        }
        (Some(status), None) => format!("the store answered {status}"),
        (None, _) => crate::catalog::with_causes(&error),
    };
    failure(action, path, retryable, S3Failure(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_literally_under_both_schemes() {
        let expected = ObjectAddress { bucket: "lake".to_owned(), key: "a+b/c%20 d/é.parquet".to_owned() };

        assert_eq!(parse("s3://lake/a+b/c%20 d/é.parquet").unwrap(), expected);
        assert_eq!(parse("s3a://lake/a+b/c%20 d/é.parquet").unwrap(), expected);
    }

    #[test]
    fn addresses_without_bucket_or_key_are_refused() {
        for path in ["s3://lake", "s3://lake/", "s3:///key", "file:///lake/key"] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
