//! Writing one object of unknown size with bounded memory.
//!
//! Up to one part the bytes are kept and stored by a single request at `close`. Beyond that a multipart upload is started,
//! whose parts go out while the file is still being written; all writers of one storage together have at most
//! [`MAX_PARTS_IN_FLIGHT`] parts under way. The object appears at `close` or never: an error or a dropped writer aborts.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use iceberg::io::FileWrite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::failure;
use super::s3::{ObjectAddress, S3Failure, put, s3_failure, status};

/// The size of each part but the last, in bytes.
pub const PART_SIZE: usize = 8 << 20;
/// How many parts of one storage are uploaded at the same time; each holds [`PART_SIZE`] bytes of memory.
pub(super) const MAX_PARTS_IN_FLIGHT: usize = 4;

/// Writes one object.
///
/// # Cancel safety
/// After a cancelled `write` or `close` the writer must be dropped, which aborts the upload.
pub(super) struct S3Writer {
    client: Client,
    path: String,
    address: ObjectAddress,
    permits: Arc<Semaphore>,
    pending: VecDeque<Bytes>,
    num_pending_bytes: usize,
    num_bytes: u64,
    upload: Option<Upload>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Failed,
    Closed,
}

struct Upload {
    id: String,
    num_parts: i32,
    running: JoinSet<iceberg::Result<CompletedPart>>,
    done: Vec<CompletedPart>,
}

impl S3Writer {
    pub(super) fn new(client: Client, path: &str, address: ObjectAddress, permits: Arc<Semaphore>) -> Self {
        Self {
            client,
            path: path.to_owned(),
            address,
            permits,
            pending: VecDeque::new(),
            num_pending_bytes: 0,
            num_bytes: 0,
            upload: None,
            state: State::Open,
        }
    }

    fn check_open(&self) -> iceberg::Result<()> {
        if self.state == State::Open {
            return Ok(());
        }
        Err(failure("write", &self.path, false, S3Failure("the writer is closed or has failed".to_owned())))
    }

    async fn write_inner(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.num_bytes += bytes.len() as u64;
        self.num_pending_bytes += bytes.len();
        self.pending.push_back(bytes);
        while self.num_pending_bytes >= PART_SIZE {
            let part = self.take_pending(PART_SIZE);
            self.send_part(part).await?;
        }
        Ok(())
    }

    /// Takes the next `size` bytes (or all there are) as one piece.
    fn take_pending(&mut self, size: usize) -> Bytes {
        let size = size.min(self.num_pending_bytes);
        self.num_pending_bytes -= size;
        let mut part = Vec::with_capacity(size);
        while part.len() < size {
            let Some(mut chunk) = self.pending.pop_front() else { break };
            let wanted = size - part.len();
            if chunk.len() > wanted {
                part.extend_from_slice(&chunk.split_to(wanted));
                self.pending.push_front(chunk);
            } else {
                part.extend_from_slice(&chunk);
            }
        }
        Bytes::from(part)
    }

    async fn send_part(&mut self, part: Bytes) -> iceberg::Result<()> {
        if self.upload.is_none() {
            self.upload = Some(self.start().await?);
        }
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|error| failure("write", &self.path, false, error))?;
        let Some(upload) = self.upload.as_mut() else { return Ok(()) };
        while let Some(finished) = upload.running.try_join_next() {
            let part = finished.map_err(|error| failure("write", &self.path, false, error))??;
            upload.done.push(part);
        }
        upload.num_parts += 1;
        let job = PartUpload {
            client: self.client.clone(),
            path: self.path.clone(),
            address: self.address.clone(),
            upload_id: upload.id.clone(),
            number: upload.num_parts,
            _permit: permit,
        };
        upload.running.spawn(job.run(part));
        Ok(())
    }

    async fn start(&self) -> iceberg::Result<Upload> {
        let request =
            self.client.create_multipart_upload().bucket(&self.address.bucket).key(&self.address.key);
        let answer = request.send().await.map_err(|error| s3_failure("begin writing", &self.path, error))?;
        let Some(id) = answer.upload_id else {
            let text = "the store gave no upload id".to_owned();
            return Err(failure("begin writing", &self.path, true, S3Failure(text)));
        };
        Ok(Upload { id, num_parts: 0, running: JoinSet::new(), done: Vec::new() })
    }

    async fn close_inner(&mut self) -> iceberg::Result<()> {
        let rest = self.take_pending(PART_SIZE);
        if self.upload.is_none() {
            return put(&self.client, &self.path, &self.address, rest).await;
        }
        if !rest.is_empty() {
            self.send_part(rest).await?;
        }
        let Some(upload) = self.upload.as_mut() else { return Ok(()) };
        while let Some(finished) = upload.running.join_next().await {
            let part = finished.map_err(|error| failure("write", &self.path, false, error))??;
            upload.done.push(part);
        }
        let mut parts = std::mem::take(&mut upload.done);
        parts.sort_by_key(|part| part.part_number);
        let id = upload.id.clone();
        self.complete(&id, parts).await
    }

    async fn complete(&self, id: &str, parts: Vec<CompletedPart>) -> iceberg::Result<()> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request =
            self.client.complete_multipart_upload().bucket(&self.address.bucket).key(&self.address.key);
        match request.upload_id(id).multipart_upload(parts).send().await {
            Ok(_) => Ok(()),
            // A repeated request whose first answer was lost: the upload is gone because the object is there.
            Err(error) if status(&error) == Some(404) && self.is_complete().await => Ok(()),
            Err(error) => Err(s3_failure("finish writing", &self.path, error)),
        }
    }

    async fn is_complete(&self) -> bool {
        let request = self.client.head_object().bucket(&self.address.bucket).key(&self.address.key);
        let Ok(answer) = request.send().await else { return false };
        answer.content_length().and_then(|size| u64::try_from(size).ok()) == Some(self.num_bytes)
    }

    /// Notes how an operation ended and cleans up after a failure.
    async fn settle(&mut self, result: iceberg::Result<()>, after_success: State) -> iceberg::Result<()> {
        match result {
            Ok(()) => {
                self.state = after_success;
                Ok(())
            }
            Err(error) => {
                self.state = State::Failed;
                self.pending.clear();
                if let Some(upload) = self.upload.take() {
                    abort(self.client.clone(), self.address.clone(), upload).await;
                }
                Err(error)
            }
        }
    }
}

#[async_trait]
impl FileWrite for S3Writer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.check_open()?;
        let result = self.write_inner(bytes).await;
        self.settle(result, State::Open).await
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        self.check_open()?;
        let result = self.close_inner().await;
        self.settle(result, State::Closed).await
    }
}

impl Drop for S3Writer {
    fn drop(&mut self) {
        if self.state == State::Closed {
            return;
        }
        let Some(upload) = self.upload.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(abort(self.client.clone(), self.address.clone(), upload));
            }
            Err(_) => {
                tracing::warn!(path = self.path, "left an unfinished upload behind: no runtime to abort it")
            }
        }
    }
}

struct PartUpload {
    client: Client,
    path: String,
    address: ObjectAddress,
    upload_id: String,
    number: i32,
    _permit: OwnedSemaphorePermit,
}

impl PartUpload {
    async fn run(self, bytes: Bytes) -> iceberg::Result<CompletedPart> {
        let request = self
            .client
            .upload_part()
            .bucket(&self.address.bucket)
            .key(&self.address.key)
            .upload_id(&self.upload_id)
            .part_number(self.number)
            .body(ByteStream::from(bytes));
        let answer = request.customize().disable_payload_signing().send().await;
        let answer = answer.map_err(|error| s3_failure("write", &self.path, error))?;
        Ok(CompletedPart::builder()
            .part_number(self.number)
            .set_e_tag(answer.e_tag)
            .set_checksum_crc32(answer.checksum_crc32)
            .build())
    }
}

/// Stops the parts under way and tells the store to forget the upload.
async fn abort(client: Client, address: ObjectAddress, mut upload: Upload) {
    upload.running.shutdown().await;
    let request = client.abort_multipart_upload().bucket(&address.bucket).key(&address.key);
    if let Err(error) = request.upload_id(&upload.id).send().await {
        let error = crate::catalog::with_causes(&error);
        tracing::warn!(bucket = address.bucket, key = address.key, error, "failed to abort an upload");
    }
}
