//! The object store, against a real one.
//!
//! Built with the feature `object-store-tests` only. `STREAMIFY_TEST_S3` holds the address of a store (such as
//! `http://127.0.0.1:9000`), `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` its keys; a bucket per run is created.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use bytes::Bytes;
use futures::stream;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::Storage;
use streamify_lake::settings::{S3Credentials, S3Settings, Secret};
use streamify_lake::storage::{LakeStorage, ListedFile, PART_SIZE};

struct Store {
    storage: Arc<LakeStorage>,
    client: Client,
    bucket: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("these tests need the variable {name}"))
}

impl Store {
    async fn open() -> Self {
        let (endpoint, id, secret) =
            (variable("STREAMIFY_TEST_S3"), variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&endpoint)
            .force_path_style(true)
            .credentials_provider(Credentials::new(&id, &secret, None, None, "test"))
            .build();
        let client = Client::from_conf(config);
        let bucket = format!("test-{}", uuid::Uuid::new_v4());
        client.create_bucket().bucket(&bucket).send().await.unwrap();
        let credentials = Some(S3Credentials {
            access_key_id: id,
            secret_access_key: Secret::new(secret),
            session_token: None,
        });
        let settings = S3Settings { endpoint: Some(endpoint), region: None, credentials, path_style: true };
        let settings = S3Settings { region: Some("us-east-1".to_owned()), ..settings };
        Self { storage: Arc::new(LakeStorage::new(settings)), client, bucket }
    }

    fn path(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    async fn keys(&self) -> Vec<String> {
        let listed = self.client.list_objects_v2().bucket(&self.bucket).send().await.unwrap();
        listed.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect()
    }

    async fn num_unfinished_uploads(&self) -> usize {
        self.client.list_multipart_uploads().bucket(&self.bucket).send().await.unwrap().uploads().len()
    }
}

/// Bytes that differ everywhere, so that swapped parts show.
fn content(length: usize) -> Bytes {
    let words = (0..length / 8 + 1)
        .flat_map(|index| (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.take(length).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn keys_with_unusual_characters_are_taken_literally() {
    let store = Store::open().await;
    let keys = ["a+b", "a%20b", "a b", "é/ü", "x=1/y&z", "q?a#b"];

    for key in keys {
        store.storage.write(&store.path(key), Bytes::from(key.to_owned())).await.unwrap();
    }

    let mut expected = keys.map(str::to_owned);
    expected.sort();
    assert_eq!(store.keys().await, expected);
    for key in keys {
        assert_eq!(store.storage.read(&store.path(key)).await.unwrap(), key);
        assert_eq!(store.storage.read(&store.path(key).replace("s3://", "s3a://")).await.unwrap(), key);
    }
    let paths: Vec<String> = keys.iter().map(|key| store.path(key)).collect();
    store.storage.delete_stream(stream::iter(paths).boxed()).await.unwrap();
    assert!(store.keys().await.is_empty());
}

#[tokio::test]
async fn ranges_and_sizes_are_exact() {
    let store = Store::open().await;
    let (path, whole) = (store.path("file"), content(1000));
    store.storage.write(&path, whole.clone()).await.unwrap();

    let reader = store.storage.reader(&path).await.unwrap();

    assert_eq!(store.storage.metadata(&path).await.unwrap().size, 1000);
    assert_eq!(reader.read(100..300).await.unwrap(), whole.slice(100..300));
    assert_eq!(reader.read(992..1000).await.unwrap(), whole.slice(992..1000));
    assert_eq!(reader.read(5..5).await.unwrap(), "");
    assert!(reader.read(990..1010).await.is_err(), "a range past the end must fail");
}

#[tokio::test]
async fn what_is_not_there_is_absent_and_deleting_it_succeeds() {
    let store = Store::open().await;
    let path = store.path("nothing");

    assert!(!store.storage.exists(&path).await.unwrap());
    store.storage.delete(&path).await.unwrap();
    let error = store.storage.read(&path).await.unwrap_err();
    assert!(!error.retryable() && error.message().contains(&path), "{error}");
}

#[tokio::test]
async fn a_prefix_is_a_folder_and_not_the_beginning_of_a_name() {
    let store = Store::open().await;
    for key in ["t/a", "t/b/c", "t2/a"] {
        store.storage.write(&store.path(key), Bytes::from_static(b"x")).await.unwrap();
    }

    store.storage.delete_prefix(&store.path("t")).await.unwrap();

    assert_eq!(store.keys().await, ["t2/a"]);
}

#[tokio::test]
async fn a_listing_of_several_pages_has_every_file_once_and_no_neighbours() {
    let store = Store::open().await;
    let keys: Vec<String> = (0..1005).map(|number| format!("t/a/é+%20 {number}")).collect();
    let others = ["t2/a", "ta", "u"].map(str::to_owned);
    let writes = keys.iter().chain(&others).map(|key| {
        let (storage, path) = (store.storage.clone(), store.path(key));
        async move { storage.write(&path, Bytes::from_static(b"xyz")).await.unwrap() }
    });
    stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(16).collect::<Vec<()>>().await;

    let folder = store.path("t").replace("s3://", "s3a://");
    let listed: Vec<ListedFile> = store.storage.list(&folder).try_collect().await.unwrap();

    let expected: BTreeSet<String> =
        keys.iter().map(|key| store.path(key).replace("s3://", "s3a://")).collect();
    assert_eq!(listed.len(), 1005);
    assert_eq!(listed.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>(), expected);
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for file in &listed {
        let age_ms = now_ms - file.modified_ms;
        assert!(file.size == 3 && age_ms.abs() < 600_000, "{file:?} at {now_ms}");
    }
    let nothing: Vec<ListedFile> = store.storage.list(&store.path("none")).try_collect().await.unwrap();
    assert!(nothing.is_empty());
    let error = store.storage.list("s3://no-such-bucket-for-sure/t").try_next().await.unwrap_err();
    assert!(error.message().contains("no-such-bucket-for-sure"), "{error}");
}

#[tokio::test]
async fn files_of_every_size_arrive_whole() {
    let store = Store::open().await;

    for length in [0, 1, PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 5 * PART_SIZE + 123] {
        let (path, whole) = (store.path(&format!("{length}")), content(length));
        let mut writer = store.storage.writer(&path).await.unwrap();
        // Pieces that do not divide the part size.
        for start in (0..length).step_by(3_000_000) {
            writer.write(whole.slice(start..length.min(start + 3_000_000))).await.unwrap();
        }
        writer.close().await.unwrap();
        assert!(store.storage.read(&path).await.unwrap() == whole, "{length} bytes came back different");
    }
    assert_eq!(store.num_unfinished_uploads().await, 0);
}

#[tokio::test]
async fn a_dropped_writer_leaves_neither_file_nor_upload() {
    let store = Store::open().await;
    let mut writer = store.storage.writer(&store.path("file")).await.unwrap();
    writer.write(content(2 * PART_SIZE)).await.unwrap();
    assert_eq!(store.num_unfinished_uploads().await, 1);

    drop(writer);

    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while store.num_unfinished_uploads().await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "the upload was not aborted");
    }
    assert!(store.keys().await.is_empty());
}

#[tokio::test]
async fn a_write_that_fails_says_so_and_leaves_nothing() {
    let store = Store::open().await;
    let path = "s3://no-such-bucket-for-sure/file";

    let refused = store.storage.write(path, Bytes::from_static(b"x")).await.unwrap_err();
    let mut writer = store.storage.writer(path).await.unwrap();
    let streamed = writer.write(content(PART_SIZE)).await.unwrap_err();
    let closed = writer.close().await;

    assert!(!refused.retryable() && !streamed.retryable(), "{refused} {streamed}");
    assert!(closed.is_err(), "a failed writer cannot be closed");
}
