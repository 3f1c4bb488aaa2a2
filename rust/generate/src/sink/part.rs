//! One file in the making: written under a temporary name, compressed if asked for, renamed when complete.
//!
//! Whoever finds `x.jsonl` finds all of it; what a crash leaves behind is called `x.jsonl.partial`.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
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
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

/// A file in the making. Dropped without [`PartFile::complete`], it stays under its temporary name.
pub(super) struct PartFile {
    path: PathBuf,
    partial: PathBuf,
    encoder: Encoder,
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
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let failed = |source| failed(&partial, source);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&partial).map_err(failed)?);
        let encoder = match compression {
            None => Encoder::Plain(file),
            Some(Compression::Gzip) => {
                Encoder::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default()))
            }
            Some(Compression::Zstd) => {
                Encoder::Zstd(zstd::stream::write::Encoder::new(file, ZSTD_LEVEL).map_err(failed)?)
            }
        };
        Ok(Self { path, partial, encoder })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`SinkError::File`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.encoder.writer().write_all(bytes).map_err(|source| failed(&self.partial, source))
    }

    /// Hands everything so far to the operating system.
    ///
    /// # Errors
    /// [`SinkError::File`].
    pub(super) fn flush(&mut self) -> Result<(), SinkError> {
        self.encoder.writer().flush().map_err(|source| failed(&self.partial, source))
    }

    /// Closes the file and gives it its name.
    ///
    /// # Errors
    /// [`SinkError::File`].
    pub(super) fn complete(self) -> Result<(), SinkError> {
        let Self { path, partial, encoder } = self;
        encoder.finish().and_then(|()| fs::rename(&partial, &path)).map_err(|source| failed(&path, source))
    }
}

impl Encoder {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .flush()
    }
}

pub(super) fn failed(path: &Path, source: io::Error) -> SinkError {
    SinkError::File { path: path.to_owned(), source }
}
