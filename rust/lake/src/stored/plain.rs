//! Parquet's PLAIN encoding: values one after another, in little-endian order; text and bytes after their length in four bytes;
//! truths as bits, the lowest first.

use parquet::errors::ParquetError;

use super::Kind;

/// Bytes of the length that comes before a text.
pub(super) const LENGTH: usize = size_of::<u32>();

/// Takes the next value, of any kind but truths.
///
/// # Errors
/// Bytes that end before it does.
#[inline]
pub(super) fn next<'a>(kind: Kind, bytes: &mut &'a [u8]) -> Result<&'a [u8], ParquetError> {
    let cut_off = || ParquetError::General("values are cut off".to_owned());
    let num_bytes = match kind.width() {
        Some(width) => width,
        None => {
            let length =
                bytes.split_off(..LENGTH).and_then(|bytes| bytes.first_chunk()).ok_or_else(cut_off)?;
            u32::from_le_bytes(*length) as usize
        }
    };
    bytes.split_off(..num_bytes).ok_or_else(cut_off)
}

/// How many bytes each of so many texts takes with its length, if all have the same, and these are the bytes of all.
pub(super) fn one_width(texts: &[u8], count: usize) -> Option<usize> {
    let width = LENGTH + u32::from_le_bytes(*texts.first_chunk()?) as usize;
    let is_it = |text: &[u8]| text[..LENGTH] == texts[..LENGTH];
    (texts.len() == width.checked_mul(count)? && texts.chunks_exact(width).all(is_it)).then_some(width)
}

/// Appends a value, of any kind but truths.
#[inline]
pub(super) fn put(kind: Kind, value: &[u8], out: &mut Vec<u8>) {
    if kind.width().is_none() {
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(value);
}

/// Appends truths.
pub(super) fn put_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    for (number, bit) in bits.enumerate() {
        if number % 8 == 0 {
            out.push(0);
        }
        if let Some(last) = out.last_mut().filter(|_| bit) {
            *last |= 1 << (number % 8);
        }
    }
}
