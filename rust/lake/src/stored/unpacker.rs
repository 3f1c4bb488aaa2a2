//! From the bytes of a page in a file to those that it stands for.

use std::io::Read as _;

use parquet::errors::ParquetError;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

use super::ids::Ids;
use super::{digits, frame, numbers};

/// Bytes of a page at most, by Parquet's format.
const MAX_PAGE: u64 = i32::MAX as u64;

pub(super) fn damaged(problem: &str) -> ParquetError {
    ParquetError::General(problem.to_owned())
}

/// Decompresses pages, with room that it keeps.
pub(super) struct Unpacker {
    zstd: Decompressor<'static>,
    page: Vec<u8>,
}

impl Unpacker {
    pub(super) fn new() -> Result<Self, ParquetError> {
        Ok(Self { zstd: Decompressor::new()?, page: Vec::new() })
    }

    /// Returns the bytes that these stand for, if they are packed.
    pub(super) fn unpack<'a>(
        &'a mut self,
        is_packed: bool,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], ParquetError> {
        // A page without values may have no bytes at all.
        if !is_packed || bytes.is_empty() {
            return Ok(bytes);
        }
        self.page.clear();
        if frame::read(bytes, &mut self.page, numbers::take).is_some() {
            return Ok(&self.page);
        }
        self.page.clear();
        let mut ids = Ids::new(Vec::new());
        if let Some(levels) = digits::read(bytes, &mut ids) {
            self.page.extend_from_slice(levels);
            ids.put_texts(&mut self.page);
            return Ok(&self.page);
        }
        match get_frame_content_size(bytes) {
            Ok(Some(length)) if length <= MAX_PAGE => {
                self.page.reserve(length as usize);
                self.zstd.decompress_to_buffer(bytes, &mut self.page)?;
            }
            _ => {
                let mut unpacked = zstd::Decoder::with_buffer(bytes)?.take(MAX_PAGE + 1);
                unpacked.read_to_end(&mut self.page)?;
            }
        }
        if self.page.len() as u64 > MAX_PAGE {
            return Err(damaged("a page is larger than 2 GiB"));
        }
        Ok(&self.page)
    }
}
