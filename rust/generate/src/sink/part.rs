//! One file in the making: written under a temporary name, compressed if asked for, renamed when complete.
//!
//! Whoever finds `x.jsonl` finds all of it; what a crash leaves behind is called `x.jsonl.partial`. A compressed file is a row of
//! gzip members or zstd frames, which readers take as one: where a checkpoint looks at it, one ends, so that it can be cut there.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::SinkError;

const BUFFER_BYTES: usize = 256 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// Compression of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// `.gz`, level 6.
    Gzip,
    /// `.zst`, level 3.
    Zstd,
}

impl Compression {
    /// Returns what the name of a file ends in.
    pub fn suffix(compression: Option<Self>) -> &'static str {
        match compression {
            None => "",
            Some(Self::Gzip) => ".gz",
            Some(Self::Zstd) => ".zst",
        }
    }
}

enum Encoder {
    /// No compression, or none begun.
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

/// A file in the making. Dropped without [`PartFile::complete`], it stays under its temporary name.
pub(super) struct PartFile {
    path: PathBuf,
    partial: PathBuf,
    compression: Option<Compression>,
    /// `None` only after an error.
    encoder: Option<Encoder>,
}

impl PartFile {
    /// Begins a file, with the folders above it.
    ///
    /// # Errors
    /// [`SinkError::FileExists`] if it is complete already and `overwrite` is false, [`SinkError::File`] otherwise.
    pub(super) fn create(
        path: PathBuf,
        compression: Option<Compression>,
        overwrite: bool,
    ) -> Result<Self, SinkError> {
        if !overwrite && path.exists() {
            return Err(SinkError::FileExists { path });
        }
        let partial = partial(&path);
        let failed = |source| failed(&partial, source);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&partial).map_err(failed)?);
        let encoder = Some(Encoder::begin(file, compression).map_err(failed)?);
        Ok(Self { path, partial, compression, encoder })
    }

    /// Opens a file where [`PartFile::mark`] saw it, complete or not by now; what was written after that is cut off.
    ///
    /// # Errors
    /// [`SinkError::NotResumable`] if it is missing or shorter than it was then, [`SinkError::File`].
    pub(super) fn resume(
        path: PathBuf,
        compression: Option<Compression>,
        length: u64,
    ) -> Result<Self, SinkError> {
        let partial = partial(&path);
        let failed = |source| failed(&partial, source);
        if !partial.exists() && path.exists() {
            fs::rename(&path, &partial).map_err(failed)?;
        }
        let refused = |what| SinkError::NotResumable { path: path.clone(), what };
        let mut file = match File::options().write(true).open(&partial) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(refused("it is gone")),
            opened => opened.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.len() < length {
            return Err(refused("it is shorter than it was at the checkpoint"));
        }
        file.set_len(length).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        let encoder = Some(Encoder::Plain(BufWriter::with_capacity(BUFFER_BYTES, file)));
        Ok(Self { path, partial, compression, encoder })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`SinkError::File`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if self.compression.is_some() && matches!(self.encoder, Some(Encoder::Plain(_))) {
            let compression = self.compression;
            self.change(|encoder| match encoder {
                Encoder::Plain(file) => Encoder::begin(file, compression),
                begun => Ok(begun),
            })?;
        }
        self.with_writer(|writer| writer.write_all(bytes))
    }

    /// Hands everything so far to the operating system.
    ///
    /// # Errors
    /// [`SinkError::File`].
    pub(super) fn flush(&mut self) -> Result<(), SinkError> {
        self.with_writer(|writer| writer.flush())
    }

    /// Ends what is being compressed, makes the file durable, and returns its length in bytes.
    ///
    /// # Errors
    /// [`SinkError::File`].
    pub(super) fn mark(&mut self) -> Result<u64, SinkError> {
        let mut length = 0;
        self.change(|encoder| {
            let file = encoder.end()?;
            file.get_ref().sync_data()?;
            length = file.get_ref().metadata()?.len();
            Ok(Encoder::Plain(file))
        })?;
        Ok(length)
    }

    fn change(&mut self, change: impl FnOnce(Encoder) -> io::Result<Encoder>) -> Result<(), SinkError> {
        let changed = self.encoder.take().ok_or_else(broken).and_then(change);
        self.encoder = Some(changed.map_err(|source| failed(&self.partial, source))?);
        Ok(())
    }

    fn with_writer(&mut self, act: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), SinkError> {
        let done = self.encoder.as_mut().ok_or_else(broken).and_then(|encoder| act(encoder.writer()));
        done.map_err(|source| failed(&self.partial, source))
    }

    /// Closes the file and gives it its name.
    ///
    /// # Errors
    /// [`SinkError::File`].
    pub(super) fn complete(self) -> Result<(), SinkError> {
        let Self { path, partial, encoder, .. } = self;
        let ended = encoder.ok_or_else(broken).and_then(Encoder::end);
        ended.and_then(|_| fs::rename(&partial, &path)).map_err(|source| failed(&path, source))
    }
}

/// Returns the name of a file in the making.
pub(super) fn partial(path: &Path) -> PathBuf {
    let mut partial = path.to_owned().into_os_string();
    partial.push(".partial");
    PathBuf::from(partial)
}

fn broken() -> io::Error {
    io::Error::other("an earlier write failed")
}

impl Encoder {
    fn begin(file: BufWriter<File>, compression: Option<Compression>) -> io::Result<Self> {
        Ok(match compression {
            None => Self::Plain(file),
            Some(Compression::Gzip) => {
                Self::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default()))
            }
            Some(Compression::Zstd) => Self::Zstd(zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    /// Ends the member or frame; what was written is with the operating system then.
    fn end(self) -> io::Result<BufWriter<File>> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.flush()?;
        Ok(file)
    }
}

pub(super) fn failed(path: &Path, source: io::Error) -> SinkError {
    SinkError::File { path: path.to_owned(), source }
}
