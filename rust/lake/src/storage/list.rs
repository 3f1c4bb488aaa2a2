//! What is in a folder of a store, page by page, and one spelling for addresses.
//!
//! A listing holds one page in memory. It is not a snapshot: a file that is written or deleted meanwhile may be in it or
//! not; a file that is there from beginning to end is in it exactly once. Neither links nor names that are not UTF-8 are
//! followed or given: Iceberg names no such file.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use aws_sdk_s3::types::Object;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use iceberg::{Error, ErrorKind, Result};

use super::local::{blocking, local_path};
use super::s3::{is_s3, parse, s3_failure};
use super::{LakeStorage, S3Storage};

/// A file as a listing gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Its address, beginning with the folder as it was asked for.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When the store last took a write of it, in milliseconds since 1970 UTC by the store's clock; `i64::MAX` if the
    /// store does not say, so that it never counts as old.
    pub modified_ms: i64,
}

impl LakeStorage {
    /// Lists all files below a folder, at any depth and in no order; a folder that does not exist has none.
    ///
    /// # Errors
    /// The stream ends with the first error: an address that is neither `s3://`, `s3a://`, `file:` nor an absolute path, or
    /// a store that does not answer.
    pub fn list(&self, folder: &str) -> BoxStream<'static, Result<ListedFile>> {
        let folder = format!("{}/", folder.trim_end_matches('/'));
        if is_s3(&folder) {
            remote(self.s3.clone(), folder)
        } else if folder.starts_with("file:/") || folder.starts_with('/') {
            local(folder)
        } else {
            let message = format!("`{folder}` cannot be listed: neither an S3 address nor a local path");
            stream::iter([Err(Error::new(ErrorKind::FeatureUnsupported, message))]).boxed()
        }
    }
}

/// Returns an address in the one spelling by which addresses are compared: `s3://bucket/key` for all S3 schemes, an absolute
/// path for local files. Other addresses stay as they are.
pub fn canonical(address: &str) -> Cow<'_, str> {
    for scheme in ["s3a://", "s3n://"] {
        if let Some(rest) = address.strip_prefix(scheme) {
            return Cow::Owned(format!("s3://{rest}"));
        }
    }
    if !address.starts_with("file:/") && !address.starts_with('/') {
        return Cow::Borrowed(address);
    }
    // Components leave out doubled slashes and dots.
    let path: PathBuf = local_path(address).components().collect();
    match path.to_str() {
        Some(path) => Cow::Owned(path.to_owned()),
        None => Cow::Borrowed(address),
    }
}

fn remote(storage: S3Storage, folder: String) -> BoxStream<'static, Result<ListedFile>> {
    let opened = async move {
        let address = parse(&folder)?;
        // The addresses given begin as the one asked for: under the scheme that the table uses.
        let root = folder.strip_suffix(&address.key).unwrap_or(&folder).to_owned();
        let request = storage.client().await.list_objects_v2().bucket(&address.bucket).prefix(&address.key);
        let pages = stream::unfold(request.into_paginator().send(), |mut pages| async move {
            let page = pages.next().await?;
            Some((page, pages))
        });
        Ok::<_, Error>(pages.flat_map(move |page| match page {
            Ok(mut page) => {
                let objects = page.contents.take().unwrap_or_default();
                let files: Vec<_> =
                    objects.iter().filter_map(|object| listed(&root, object)).map(Ok).collect();
                stream::iter(files)
            }
            Err(error) => stream::iter(vec![Err(s3_failure("list", &folder, error))]),
        }))
    };
    stream::once(opened).try_flatten().boxed()
}

fn listed(root: &str, object: &Object) -> Option<ListedFile> {
    let key = object.key()?;
    // Some tools mark a folder by an empty object.
    if key.ends_with('/') {
        return None;
    }
    let modified = object.last_modified().and_then(|time| time.to_millis().ok());
    Some(ListedFile {
        path: format!("{root}{key}"),
        size: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        modified_ms: modified.unwrap_or(i64::MAX),
    })
}

fn local(folder: String) -> BoxStream<'static, Result<ListedFile>> {
    let folders = stream::try_unfold(vec![folder], |mut waiting| async move {
        let Some(folder) = waiting.pop() else { return Ok::<_, Error>(None) };
        let address = folder.clone();
        let (files, folders) = blocking("list", &folder, move |path| read_folder(&path, &address)).await?;
        waiting.extend(folders);
        Ok(Some((stream::iter(files.into_iter().map(Ok)), waiting)))
    });
    folders.try_flatten().boxed()
}

/// Files and folders of one folder; what vanishes meanwhile is left out.
fn read_folder(path: &Path, address: &str) -> io::Result<(Vec<ListedFile>, Vec<String>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((files, folders)),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Of the entry itself: links are not followed.
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            folders.push(format!("{address}{name}/"));
        } else if metadata.is_file() {
            files.push(ListedFile {
                path: format!("{address}{name}"),
                size: metadata.len(),
                modified_ms: modified_ms(&metadata),
            });
        }
    }
    Ok((files, folders))
}

fn modified_ms(metadata: &fs::Metadata) -> i64 {
    let since = metadata.modified().ok().map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
    since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(folder: &str) -> Vec<String> {
        let files: Vec<ListedFile> = LakeStorage::default().list(folder).try_collect().await.unwrap();
        let mut names: Vec<String> = files.into_iter().map(|file| file.path).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_folder_is_listed_at_any_depth_with_sizes_and_without_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        fs::create_dir_all(folder.path().join("t/data/day=1/empty")).unwrap();
        fs::create_dir_all(folder.path().join("t2")).unwrap();
        fs::write(folder.path().join("t/data/day=1/é +%.parquet"), "12345").unwrap();
        fs::write(folder.path().join("t/top"), "").unwrap();
        fs::write(folder.path().join("t2/other"), "").unwrap();
        std::os::unix::fs::symlink(folder.path().join("t2"), folder.path().join("t/link")).unwrap();

        let asked = format!("file://{root}/t");
        assert_eq!(names(&asked).await, [format!("{asked}/data/day=1/é +%.parquet"), format!("{asked}/top")]);

        let files: Vec<ListedFile> = LakeStorage::default().list(&asked).try_collect().await.unwrap();
        let sizes: u64 = files.iter().map(|file| file.size).sum();
        assert_eq!(sizes, 5);
        assert!(files.iter().all(|file| file.modified_ms > 1_500_000_000_000 && file.modified_ms < i64::MAX));
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_empty_and_an_unknown_scheme_is_an_error() {
        assert_eq!(names("/nowhere/at/all").await, Vec::<String>::new());
        let refused = LakeStorage::default().list("gs://bucket/t").try_collect::<Vec<_>>().await;
        assert!(refused.unwrap_err().to_string().contains("gs://bucket/t"));
    }

    #[test]
    fn addresses_of_one_file_have_one_spelling() {
        assert_eq!(canonical("s3a://b/k//x"), "s3://b/k//x");
        assert_eq!(canonical("s3://b/k"), "s3://b/k");
        for local in ["file:///a/b", "file:/a/b", "/a/b", "file:///a//b", "/a/./b/"] {
            assert_eq!(canonical(local), "/a/b", "{local}");
        }
        assert_eq!(canonical("memory:///a"), "memory:///a");
    }
}
