//! Files on disk, durable before anyone may name them.
//!
//! A file written here is complete and synced, and so are the folders that lead to it, when `write` or `close` returns. A
//! data file is created anew: an existing one is never overwritten. A writer that is dropped before `close` removes its
//! file. All system calls run on the blocking pool.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage};
use serde::{Deserialize, Serialize};

use super::failure;

/// Reads and writes local files, addressed as `file:///path`, `file:/path` or `/path`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct LocalStorage;

pub(super) fn local_path(address: &str) -> PathBuf {
    let path = address.strip_prefix("file://").or_else(|| address.strip_prefix("file:")).unwrap_or(address);
    if path.starts_with('/') { PathBuf::from(path) } else { Path::new("/").join(path) }
}

/// Runs blocking file work off the runtime's threads.
pub(super) async fn blocking<T, F>(action: &'static str, address: &str, work: F) -> iceberg::Result<T>
where
    T: Send + 'static,
    F: FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
{
    let path = local_path(address);
    match tokio::task::spawn_blocking(move || work(path)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure(action, address, false, error)),
        Err(error) => Err(failure(action, address, false, error)),
    }
}

/// Creates the missing folders above `path` and syncs each folder that got a new entry.
fn create_parents(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.is_dir() {
        return Ok(());
    }
    let mut changed = vec![parent];
    for folder in parent.ancestors().skip(1) {
        changed.push(folder);
        if folder.is_dir() {
            break;
        }
    }
    fs::create_dir_all(parent)?;
    changed.iter().try_for_each(|folder| File::open(folder)?.sync_all())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_parents(path)?;
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_parent(path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for LocalStorage {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        blocking("look for", path, |path| path.try_exists()).await
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let size = blocking("look at", path, |path| Ok(fs::metadata(path)?.len())).await?;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        blocking("read", path, |path| Ok(Bytes::from(fs::read(path)?))).await
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        let file = blocking("open", path, File::open).await?;
        Ok(Box::new(LocalReader { address: path.to_owned(), file: Arc::new(file) }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        blocking("write", path, move |path| write_whole(&path, &bytes)).await
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        let file = blocking("create", path, |path| {
            create_parents(&path)?;
            OpenOptions::new().write(true).create_new(true).open(&path)
        })
        .await?;
        Ok(Box::new(LocalWriter { address: path.to_owned(), file: Some(Arc::new(file)) }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        blocking("delete", path, |path| remove_if_there(&path)).await
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        blocking("delete", path, |path| if path.is_dir() { fs::remove_dir_all(path) } else { Ok(()) }).await
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(*self), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(*self), path.to_owned()))
    }
}

struct LocalReader {
    address: String,
    file: Arc<File>,
}

#[async_trait]
impl FileRead for LocalReader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        let file = self.file.clone();
        blocking("read", &self.address, move |_| {
            let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, range.start)?;
            Ok(Bytes::from(buffer))
        })
        .await
    }
}

/// Writes one new file; `file` is `None` once it is closed.
struct LocalWriter {
    address: String,
    file: Option<Arc<File>>,
}

#[async_trait]
impl FileWrite for LocalWriter {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        let file = self.file.clone();
        blocking("write", &self.address, move |_| {
            let file = file.ok_or_else(|| io::Error::other("the file is closed"))?;
            (&*file).write_all(&bytes)
        })
        .await
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        let file = self.file.clone();
        blocking("sync", &self.address, move |path| {
            file.ok_or_else(|| io::Error::other("the file is closed"))?.sync_all()?;
            sync_parent(&path)
        })
        .await?;
        self.file = None;
        Ok(())
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if self.file.take().is_none() {
            return;
        }
        if let Err(error) = remove_if_there(&local_path(&self.address)) {
            tracing::warn!(path = self.address, %error, "failed to remove an unfinished file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(folder: &tempfile::TempDir, name: &str) -> String {
        format!("file://{}/{name}", folder.path().display())
    }

    #[tokio::test]
    async fn parents_are_created_and_ranges_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = address(&folder, "a b/é+%/x.bin");
        let storage = LocalStorage;

        storage.write(&path, Bytes::from_static(b"0123456789")).await.unwrap();

        let reader = storage.reader(&path).await.unwrap();
        assert_eq!(reader.read(3..7).await.unwrap(), "3456");
        assert_eq!(reader.read(0..2).await.unwrap(), "01");
        assert!(reader.read(8..12).await.is_err(), "a range past the end must fail");
        assert_eq!(storage.metadata(&path).await.unwrap().size, 10);
    }

    #[tokio::test]
    async fn a_dropped_writer_leaves_no_file_and_a_closed_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let (dropped, closed) = (address(&folder, "dropped"), address(&folder, "deep/closed"));
        let storage = LocalStorage;

        let mut writer = storage.writer(&dropped).await.unwrap();
        writer.write(Bytes::from_static(b"half")).await.unwrap();
        drop(writer);
        let mut writer = storage.writer(&closed).await.unwrap();
        writer.write(Bytes::from_static(b"who")).await.unwrap();
        writer.write(Bytes::from_static(b"le")).await.unwrap();
        writer.close().await.unwrap();
        drop(writer);

        assert!(!storage.exists(&dropped).await.unwrap());
        assert_eq!(storage.read(&closed).await.unwrap(), "whole");
    }

    #[tokio::test]
    async fn an_existing_data_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = address(&folder, "data.parquet");
        let storage = LocalStorage;
        storage.write(&path, Bytes::from_static(b"first")).await.unwrap();

        assert!(storage.writer(&path).await.is_err());

        assert_eq!(storage.read(&path).await.unwrap(), "first");
    }

    #[tokio::test]
    async fn deleting_what_is_not_there_succeeds() {
        let folder = tempfile::tempdir().unwrap();

        LocalStorage.delete(&address(&folder, "nothing")).await.unwrap();
    }
}
