//! Compresses values of one size that repeat a part of the value before, without a search for what they repeat.
//!
//! Numbers of 64 bits that follow each other mostly have the same high bytes, and ids have the same length before them. zstd
//! looks for that at every byte, and is led astray by ids. Here it is told: per value a match with the one before, and
//! the rest as literals (`ZSTD_compressSequences`, <https://facebook.github.io/zstd/zstd_manual.html>). The frames are
//! ordinary ones. Of listen events, a million values each: ids 124 to 53 ms and 17.9 to 16.2 bytes, event times 43 to 35 ms
//! and 5.3 to 4.0 bytes.
//!
//! All `unsafe` of this crate is here. zstd checks that each match lies within the bytes; that both are the same is what the
//! comparison here says.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;
use zstd::zstd_safe::compress_bound;
use zstd_sys::{
    ZSTD_CCtx, ZSTD_CCtx_setParameter, ZSTD_Sequence, ZSTD_cParameter, ZSTD_compressSequences,
    ZSTD_createCCtx, ZSTD_freeCCtx, ZSTD_getErrorName, ZSTD_isError,
};

/// Bytes that zstd can match at least.
const MIN_MATCH: usize = 3;

/// Compresses pages, with room that it keeps.
#[derive(Debug)]
pub(super) struct Repeats {
    context: NonNull<ZSTD_CCtx>,
    sequences: Vec<ZSTD_Sequence>,
}

impl Drop for Repeats {
    fn drop(&mut self) {
        // SAFETY: the context is `ZSTD_createCCtx`'s, and nobody has it after this.
        unsafe { ZSTD_freeCCtx(self.context.as_ptr()) };
    }
}

fn checked(code: usize) -> Result<usize, ParquetError> {
    // SAFETY: both take any number, and the name of an error is a text that stays for ever.
    unsafe {
        if ZSTD_isError(code) == 0 {
            return Ok(code);
        }
        let name = CStr::from_ptr(ZSTD_getErrorName(code)).to_string_lossy();
        Err(ParquetError::General(format!("zstd: {name}")))
    }
}

impl Repeats {
    pub(super) fn new() -> Result<Self, ParquetError> {
        // SAFETY: takes nothing; no memory gives null.
        let context = NonNull::new(unsafe { ZSTD_createCCtx() });
        let context = context.ok_or_else(|| ParquetError::General("zstd: no memory".to_owned()))?;
        let repeats = Self { context, sequences: Vec::new() };
        repeats.set(ZSTD_cParameter::ZSTD_c_compressionLevel, ZstdLevel::default().compression_level())?;
        repeats.set(ZSTD_cParameter::ZSTD_c_minMatch, MIN_MATCH as c_int)?;
        // Nothing is searched, so its table need not be large.
        repeats.set(ZSTD_cParameter::ZSTD_c_hashLog, 6)?;
        // `ZSTD_c_validateSequences`
        repeats.set(ZSTD_cParameter::ZSTD_c_experimentalParam12, 1)?;
        Ok(repeats)
    }

    fn set(&self, parameter: ZSTD_cParameter, value: c_int) -> Result<(), ParquetError> {
        // SAFETY: the context lives as long as `self`.
        checked(unsafe { ZSTD_CCtx_setParameter(self.context.as_ptr(), parameter, value) }).map(drop)
    }

    /// Compresses bytes that end with values of `width` bytes each, the first of which begins at `begin`.
    ///
    /// # Errors
    /// Those of zstd, none of which is expected.
    pub(super) fn compress(
        &mut self,
        bytes: &[u8],
        begin: usize,
        width: usize,
    ) -> Result<Vec<u8>, ParquetError> {
        self.sequences.clear();
        let mut matches = Matches { sequences: &mut self.sequences, width, literals: begin };
        let values = bytes.get(begin..).unwrap_or_default();
        match width {
            8 => matches.find_in_numbers(values.as_chunks().0),
            _ => matches.find_in_texts(values),
        }
        let mut frame: Vec<u8> = Vec::with_capacity(compress_bound(bytes.len()));
        // SAFETY: the pointers are those of live memory, `frame` has room for its capacity, and of all that is in it
        // zstd wrote the number of bytes that it returns.
        unsafe {
            let length = checked(ZSTD_compressSequences(
                self.context.as_ptr(),
                frame.as_mut_ptr().cast(),
                frame.capacity(),
                self.sequences.as_ptr(),
                self.sequences.len(),
                bytes.as_ptr().cast(),
                bytes.len(),
            ))?;
            frame.set_len(length);
        }
        Ok(frame)
    }
}

/// Bytes as zstd has them: literals and a match with what stands `width` bytes before, again and again.
struct Matches<'a> {
    sequences: &'a mut Vec<ZSTD_Sequence>,
    width: usize,
    /// Literals since the last match.
    literals: usize,
}

impl Matches<'_> {
    /// Little-endian numbers, which end with their high bytes.
    fn find_in_numbers(&mut self, values: &[[u8; 8]]) {
        let mut before = None;
        for value in values {
            let value = u64::from_le_bytes(*value);
            let same = before.map_or(0, |before: u64| (before ^ value).leading_zeros() as usize / 8);
            self.literals += self.width - same;
            self.add(same);
            before = Some(value);
        }
    }

    fn find_in_texts(&mut self, values: &[u8]) {
        let mut before: &[u8] = &[];
        for value in values.chunks_exact(self.width) {
            let same = value.iter().zip(before).take_while(|(byte, before)| byte == before).count();
            self.add(same);
            self.literals += self.width - same;
            before = value;
        }
    }

    #[inline]
    fn add(&mut self, length: usize) {
        match self.sequences.last_mut() {
            _ if length < MIN_MATCH => self.literals += length,
            // It goes on where the last match ended.
            Some(last) if self.literals == 0 => last.matchLength += length as u32,
            _ => {
                let (offset, literals) = (self.width as u32, self.literals as u32);
                let matched =
                    ZSTD_Sequence { offset, litLength: literals, matchLength: length as u32, rep: 0 };
                self.sequences.push(matched);
                self.literals = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(repeats: &mut Repeats, bytes: &[u8], begin: usize, width: usize) -> usize {
        let frame = repeats.compress(bytes, begin, width).unwrap();
        assert!(zstd::decode_all(frame.as_slice()).unwrap() == bytes, "{} bytes", bytes.len());
        frame.len()
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(
            begin in prop::collection::vec(any::<u8>(), 0..20),
            width in prop_oneof![Just(8_usize), 5..70_usize],
            values in prop::collection::vec((any::<u64>(), 0..9_usize, 0..40_usize), 0..300),
        ) {
            let mut bytes = begin.clone();
            let mut value = vec![0; width];
            for (number, changed, times) in values {
                // Some bytes of the last value are others, then it stays for a while.
                let from = number as usize % width;
                for (byte, new) in value.iter_mut().skip(from).zip(number.to_le_bytes()).take(changed) {
                    *byte = new;
                }
                (0..times).for_each(|_| bytes.extend_from_slice(&value));
            }
            let mut repeats = Repeats::new().unwrap();
            check(&mut repeats, &bytes, begin.len(), width);
            // Its room is used again.
            check(&mut repeats, &bytes, begin.len(), width);
        }
    }

    #[test]
    fn what_repeats_takes_few_bytes() {
        let mut repeats = Repeats::new().unwrap();
        let one: Vec<u8> = (0..200_000).flat_map(|_| 1_793_000_000_926_u64.to_le_bytes()).collect();
        assert!(check(&mut repeats, &one, 0, 8) < 300);
        let rising: Vec<u8> = (0..100_000_u64).flat_map(|number| (1 << 40 | number).to_le_bytes()).collect();
        assert!(check(&mut repeats, &rising, 0, 8) < 150_000);
        let ids: Vec<u8> = (0..10_000_u64)
            .flat_map(|number| {
                let text = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                [&16_u32.to_le_bytes(), text.as_bytes()].concat()
            })
            .collect();
        assert!(check(&mut repeats, &ids, 0, 20) < 10_000 * 17 / 2);
    }

    #[test]
    fn a_page_without_values_has_its_levels() {
        check(&mut Repeats::new().unwrap(), &[2, 0, 0, 0, 9, 1], 6, 8);
        check(&mut Repeats::new().unwrap(), &[], 0, 8);
    }
}
