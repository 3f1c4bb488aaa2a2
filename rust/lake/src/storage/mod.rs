//! Files of tables: one [`iceberg::io::Storage`] that sends `s3://` and `s3a://` addresses to the object store and
//! `file:` addresses to the disk.
//!
//! The iceberg crate brings the interface but no object store. Ours keeps one client per set of settings, so that
//! loading a table costs no new connections.

mod list;
mod local;
mod s3;
mod s3_upload;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use serde::{Deserialize, Serialize};

pub use self::list::{ListedFile, canonical};
pub use self::local::LocalStorage;
pub use self::s3::S3Storage;
pub use self::s3_upload::PART_SIZE;
use crate::settings::S3Settings;

/// Access to the files of a table; clones share their connections.
#[derive(Clone, Debug)]
pub struct TableStore {
    /// The access that the iceberg crate knows.
    pub io: FileIO,
    /// The storage behind it, which can also list.
    pub storage: Arc<LakeStorage>,
}

impl TableStore {
    /// Creates an access of its own; connections are opened at the first use.
    fn new(settings: S3Settings, read_whole: Arc<AtomicU64>) -> Self {
        let storage = Arc::new(LakeStorage { read_whole, ..LakeStorage::new(settings) });
        let factory = LakeStorageFactory { storage: storage.clone() };
        Self { io: FileIOBuilder::new(Arc::new(factory)).build(), storage }
    }
}

/// Hands out [`TableStore`]s; those with equal object store settings share their connections.
#[derive(Clone, Debug)]
pub struct StorageProvider {
    default: S3Settings,
    known: Arc<Mutex<HashMap<S3Settings, TableStore>>>,
    read_whole: Arc<AtomicU64>,
}

/// How many sets of object store settings are kept; only vended credentials ever bring more than one.
const MAX_KNOWN: usize = 32;

impl StorageProvider {
    /// Creates a provider whose [`StorageProvider::default_store`] uses these settings.
    pub fn new(default: S3Settings) -> Self {
        Self { default, known: Arc::default(), read_whole: Arc::default() }
    }

    /// Returns the configured object store settings.
    pub fn settings(&self) -> &S3Settings {
        &self.default
    }

    /// Returns the file access with the configured settings.
    pub fn default_store(&self) -> TableStore {
        self.store(&self.default)
    }

    /// Returns the bytes of metadata files read so far through any access: of files read whole, for data files are read in
    /// ranges.
    pub fn metadata_bytes_read(&self) -> u64 {
        self.read_whole.load(Ordering::Relaxed)
    }

    /// Returns the file access with other settings, such as vended credentials.
    pub fn store(&self, settings: &S3Settings) -> TableStore {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = known.get(settings) {
            return store.clone();
        }
        if known.len() >= MAX_KNOWN {
            // Old vended keys: whoever still writes with them holds its own copy.
            known.clear();
        }
        let store = TableStore::new(settings.clone(), Arc::clone(&self.read_whole));
        known.insert(settings.clone(), store.clone());
        store
    }
}

/// The storage behind every [`FileIO`] of the lake.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LakeStorage {
    local: LocalStorage,
    s3: S3Storage,
    /// Bytes of files read whole.
    #[serde(skip)]
    read_whole: Arc<AtomicU64>,
}

impl LakeStorage {
    /// Creates a storage; connections are opened at the first use.
    pub fn new(settings: S3Settings) -> Self {
        Self { local: LocalStorage, s3: S3Storage::new(settings), read_whole: Arc::default() }
    }

    fn for_path(&self, path: &str) -> &dyn Storage {
        if s3::is_s3(path) { &self.s3 } else { &self.local }
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for LakeStorage {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        self.for_path(path).exists(path).await
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        self.for_path(path).metadata(path).await
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        let bytes = self.for_path(path).read(path).await?;
        self.read_whole.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        self.for_path(path).reader(path).await
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        self.for_path(path).write(path, bytes).await
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        self.for_path(path).writer(path).await
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        self.for_path(path).delete(path).await
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        self.for_path(path).delete_prefix(path).await
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        let mut chunks = paths.chunks(s3::MAX_DELETES_PER_REQUEST);
        while let Some(chunk) = chunks.next().await {
            let (remote, local): (Vec<_>, Vec<_>) = chunk.into_iter().partition(|path| s3::is_s3(path));
            self.s3.delete_many(&remote).await?;
            for path in &local {
                self.local.delete(path).await?;
            }
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

/// Gives every [`FileIO`] built from it the same storage.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LakeStorageFactory {
    storage: Arc<LakeStorage>,
}

#[typetag::serde]
impl StorageFactory for LakeStorageFactory {
    fn build(&self, _config: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(self.storage.clone())
    }
}

/// Builds the error of a failed file operation.
fn failure<E>(action: &'static str, path: &str, retryable: bool, source: E) -> iceberg::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    iceberg::Error::new(iceberg::ErrorKind::Unexpected, format!("failed to {action} `{path}`"))
        .with_retryable(retryable)
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{S3Credentials, Secret};

    #[test]
    fn equal_settings_share_one_storage_and_others_do_not() {
        let provider = StorageProvider::new(S3Settings::none());
        let vended = S3Settings {
            credentials: Some(S3Credentials {
                access_key_id: "id".to_owned(),
                secret_access_key: Secret::new("key"),
                session_token: None,
            }),
            ..S3Settings::none()
        };

        let _ = (provider.default_store(), provider.default_store(), provider.store(&vended));

        assert_eq!(provider.known.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn files_read_whole_are_counted_and_parts_of_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let provider = StorageProvider::new(S3Settings::none());
        let (one, other) = (provider.default_store().io, provider.clone().default_store().io);
        let path = format!("file://{}/manifest.avro", folder.path().display());
        one.new_output(&path).unwrap().write(Bytes::from_static(b"twelve bytes")).await.unwrap();

        assert_eq!(provider.metadata_bytes_read(), 0);
        one.new_input(&path).unwrap().reader().await.unwrap().read(0..5).await.unwrap();
        assert_eq!(provider.metadata_bytes_read(), 0);
        one.new_input(&path).unwrap().read().await.unwrap();
        other.new_input(&path).unwrap().read().await.unwrap();
        assert_eq!(provider.metadata_bytes_read(), 24);
    }

    #[test]
    fn a_serialized_storage_holds_no_secret() {
        let storage = LakeStorage::new(S3Settings {
            credentials: Some(S3Credentials {
                access_key_id: "id".to_owned(),
                secret_access_key: Secret::new("top-secret"),
                session_token: None,
            }),
            ..S3Settings::none()
        });

        let text = serde_json::to_string(&storage).unwrap();

        assert!(!text.contains("top-secret"), "{text}");
    }
}
