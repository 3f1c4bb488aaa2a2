//! zstd frames put together without a search, where all that a search would find is known.
//!
//! The frames are ordinary ones (RFC 8878, <https://www.rfc-editor.org/rfc/rfc8878>, whose sections are given below).

/// Bytes of a page from which on this pays; more than any block has beside its literals.
pub(super) const MIN_PAGE: usize = 16 << 10;
/// Bytes that a block stands for at most (3.1.1.2.4).
pub(super) const MAX_BLOCK: usize = 128 << 10;
/// Bytes that a match has at least; its code is how many more it has (3.1.1.3.2.1.1).
pub(super) const MIN_MATCH: usize = 3;

/// What a frame begins with: a single segment, whose size follows in four bytes (3.1.1.1).
pub(super) const START: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 0xa0];

/// How the codes of a block's sequences are given (3.1.1.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// All have one code.
    Same = 1,
    /// By their probabilities.
    Coded = 2,
}

/// A frame in the making.
pub(super) struct Frame {
    bytes: Vec<u8>,
    /// Where the last block begins.
    last: usize,
}

impl Frame {
    /// A frame of these bytes; `None` if it would not pay.
    pub(super) fn new(page: &[u8]) -> Option<Self> {
        let size = u32::try_from(page.len()).ok().filter(|_| page.len() >= MIN_PAGE)?;
        let mut bytes = Vec::with_capacity(page.len() / 2 + MAX_BLOCK);
        bytes.extend_from_slice(&START);
        bytes.extend_from_slice(&size.to_le_bytes());
        Some(Self { bytes, last: 0 })
    }

    /// Appends bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        for some in bytes.chunks(MAX_BLOCK) {
            self.last = self.bytes.len();
            self.bytes.extend_from_slice(&((some.len() as u32) << 3).to_le_bytes()[..3]);
            self.bytes.extend_from_slice(some);
        }
    }

    /// Appends a block of literals and sequences, as they are put there (3.1.1.3).
    pub(super) fn block(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 3]);
        put(&mut self.bytes);
        let header = ((self.bytes.len() - self.last - 3) as u32) << 3 | 0b100;
        self.bytes[self.last..self.last + 3].copy_from_slice(&header.to_le_bytes()[..3]);
    }

    /// The frame, of at least one block.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes[self.last] |= 1;
        self.bytes
    }
}

/// Appends literals that are not packed, less than a megabyte (3.1.1.3.1).
pub(super) fn put_literals(literals: &[u8], bytes: &mut Vec<u8>) {
    let header = 0b1100 | (literals.len() as u32) << 4;
    bytes.extend_from_slice(&header.to_le_bytes()[..3]);
    bytes.extend_from_slice(literals);
}

/// Appends how many sequences there are, fewer than 32,512, and how their codes of literals, offsets and matches are given
/// (3.1.1.3.2.1).
pub(super) fn put_count(count: usize, literals: Mode, offsets: Mode, matches: Mode, bytes: &mut Vec<u8>) {
    match count {
        ..0x80 => bytes.push(count as u8),
        _ => bytes.extend_from_slice(&[0x80 | (count >> 8) as u8, count as u8]),
    }
    bytes.push((literals as u8) << 6 | (offsets as u8) << 4 | (matches as u8) << 2);
}
