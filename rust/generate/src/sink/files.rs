//! Files: `<topic>.jsonl` in a folder, one record a line, whatever the record.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Record, Sink, SinkError};
use crate::event::Topic;

const BUFFER_BYTES: usize = 256 * 1024;

/// Four files of JSON lines.
#[derive(Debug)]
pub struct FileSink {
    /// In the order of [`Topic::ALL`].
    files: Vec<(PathBuf, BufWriter<File>)>,
}

impl FileSink {
    /// Makes the folder and the four files.
    ///
    /// # Errors
    /// [`SinkError::FileExists`] if one is there already and `overwrite` is false, [`SinkError::File`] otherwise.
    pub fn create(folder: &Path, overwrite: bool) -> Result<Self, SinkError> {
        fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        let mut files = Vec::with_capacity(Topic::ALL.len());
        for topic in Topic::ALL {
            let path = folder.join(format!("{}.jsonl", topic.name()));
            let mut options = OpenOptions::new();
            options.write(true);
            if overwrite {
                options.create(true).truncate(true)
            } else {
                options.create_new(true)
            };
            let file = options.open(&path).map_err(|source| match source.kind() {
                ErrorKind::AlreadyExists => SinkError::FileExists { path: path.clone() },
                _ => failed(&path, source),
            })?;
            files.push((path, BufWriter::with_capacity(BUFFER_BYTES, file)));
        }
        Ok(Self { files })
    }

    /// Opens the four files where a checkpoint left them; what was written after it is cut off.
    ///
    /// # Errors
    /// [`SinkError::NotResumable`] if a file is missing or shorter than it was then, [`SinkError::File`].
    pub fn resume(folder: &Path, mark: &serde_json::Value) -> Result<Self, SinkError> {
        let mut files = Vec::with_capacity(Topic::ALL.len());
        for topic in Topic::ALL {
            let path = folder.join(format!("{}.jsonl", topic.name()));
            let refused = |what| SinkError::NotResumable { path: path.clone(), what };
            let length = mark[topic.name()].as_u64();
            let length = length.ok_or_else(|| refused("the checkpoint knows no length of it"))?;
            let mut file =
                OpenOptions::new().write(true).open(&path).map_err(|source| failed(&path, source))?;
            let found = file.metadata().map_err(|source| failed(&path, source))?.len();
            if found < length {
                return Err(refused("it is shorter than it was at the checkpoint"));
            }
            file.set_len(length)
                .and_then(|()| file.seek(SeekFrom::End(0)))
                .map_err(|source| failed(&path, source))?;
            files.push((path, BufWriter::with_capacity(BUFFER_BYTES, file)));
        }
        Ok(Self { files })
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        for (path, file) in &mut self.files {
            file.flush().map_err(|source| failed(path, source))?;
        }
        Ok(())
    }
}

fn failed(path: &Path, source: std::io::Error) -> SinkError {
    SinkError::File { path: path.to_owned(), source }
}

impl Sink for FileSink {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let (path, file) = &mut self.files[record.topic as usize];
        file.write_all(&record.line()).map_err(|source| failed(path, source))
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SinkError> {
        self.flush()?;
        std::thread::sleep(wait);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.flush()
    }

    fn mark(&mut self) -> Result<serde_json::Value, SinkError> {
        self.flush()?;
        let mut lengths = serde_json::Map::new();
        for (topic, (path, file)) in Topic::ALL.iter().zip(&self.files) {
            let file = file.get_ref();
            let length =
                file.sync_data().and_then(|()| file.metadata()).map_err(|source| failed(path, source))?;
            lengths.insert(topic.name().to_owned(), length.len().into());
        }
        Ok(lengths.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = FileSink::create(folder.path(), false).unwrap();
        let values: [Option<&[u8]>; 4] = [Some(b"{}\n"), Some(b"{}"), Some(b""), None];

        for value in values {
            sink.write(&Record { topic: Topic::Auth, key: None, value, run_id: None }).unwrap();
        }
        sink.finish().unwrap();

        assert_eq!(fs::read(folder.path().join("auth_events.jsonl")).unwrap(), b"{}\n{}\n\n\n");
    }

    #[test]
    fn existing_files_are_not_overwritten_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let value = b"{}\n";
        let write = |overwrite| -> Result<(), SinkError> {
            let mut sink = FileSink::create(folder.path(), overwrite)?;
            sink.write(&Record { topic: Topic::Auth, key: None, value: Some(value), run_id: None })?;
            sink.finish()
        };

        write(false).unwrap();
        let message = write(false).unwrap_err().to_string();
        write(true).unwrap();

        assert!(message.ends_with("listen_events.jsonl` exists already"), "{message}");
        assert_eq!(fs::read(folder.path().join("auth_events.jsonl")).unwrap(), value);
    }
}
