//! zstd frames put together without a search, where all that a search would find is known; and read the same way.
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
    /// A frame that stands for so many bytes; `None` if it would not pay.
    pub(super) fn new(size: usize) -> Option<Self> {
        let announced = u32::try_from(size).ok().filter(|_| size >= MIN_PAGE)?;
        let mut bytes = Vec::with_capacity(size / 2 + MAX_BLOCK);
        bytes.extend_from_slice(&START);
        bytes.extend_from_slice(&announced.to_le_bytes());
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
    bytes.push(modes(literals, offsets, matches));
}

/// How codes are given, in a byte.
pub(super) fn modes(literals: Mode, offsets: Mode, matches: Mode) -> u8 {
    (literals as u8) << 6 | (offsets as u8) << 4 | (matches as u8) << 2
}

/// A block of a frame.
pub(super) enum Block<'a> {
    /// Bytes as they are.
    Raw(&'a [u8]),
    /// Literals and sequences.
    Packed(&'a [u8]),
}

/// Returns how many bytes a frame stands for, by itself, and its blocks; `None` in the place of one that is damaged or another,
/// and `None` at once for frames that begin in another way.
pub(super) fn blocks(frame: &[u8]) -> Option<(usize, impl Iterator<Item = Option<Block<'_>>>)> {
    let mut rest = frame.strip_prefix(&START)?;
    let size = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?) as usize;
    // No number takes less than a byte, and no digit less than half a one. A wrong size must not take all memory.
    if size > 8 * frame.len() {
        return None;
    }
    let blocks = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let block = split_block(&mut rest);
        if block.is_none() {
            rest = &[];
        }
        Some(block)
    });
    Some((size, blocks))
}

/// Splits the next block off; `None` if it is damaged, cut off, or of another kind.
fn split_block<'a>(rest: &mut &'a [u8]) -> Option<Block<'a>> {
    let header = rest.split_off(..3)?;
    let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let block = rest.split_off(..(header >> 3) as usize)?;
    // The last block ends the frame, and no other does.
    match (header & 1 == 1, header >> 1 & 0b11) {
        (is_last, _) if is_last != rest.is_empty() => None,
        (_, 0) => Some(Block::Raw(block)),
        (_, 2) => Some(Block::Packed(block)),
        _ => None,
    }
}

/// Appends what a block stands for to what came before; `None` if it was not put together here, and something may have been
/// appended. Is given how far back the last match was, 0 at first, and sets it.
pub(super) type Take = fn(block: &[u8], offset: &mut usize, page: &mut Vec<u8>) -> Option<()>;

/// Appends what a frame of such blocks stands for; `None` if it has others, and something may have been appended.
pub(super) fn read(frame: &[u8], page: &mut Vec<u8>, take: Take) -> Option<()> {
    let (size, blocks) = blocks(frame)?;
    page.reserve(size);
    let (begin, mut offset) = (page.len(), 0);
    for block in blocks {
        match block? {
            Block::Raw(bytes) => page.extend_from_slice(bytes),
            Block::Packed(block) => take(block, &mut offset, page)?,
        }
    }
    (page.len() - begin == size).then_some(())
}

/// Splits literals that are not packed from what comes after them; `None` if they are packed.
pub(super) fn split_literals(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = block.split_first_chunk::<3>()?;
    let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    if header & 0b1111 != 0b1100 {
        return None;
    }
    rest.split_at_checked((header >> 4) as usize)
}

/// Splits how many sequences there are, and how their codes are given, from what comes after.
pub(super) fn split_count(sequences: &[u8]) -> Option<(usize, u8, &[u8])> {
    match *sequences {
        [count @ ..0x80, modes, ref rest @ ..] => Some((usize::from(count), modes, rest)),
        [high @ 0x80..=0xfe, low, modes, ref rest @ ..] => {
            Some((usize::from(high - 0x80) << 8 | usize::from(low), modes, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Frames are held to zstd's own reader, whole and damaged.

    use std::ops::Range;

    use proptest::prelude::*;
    use proptest::sample::Index;

    /// Reads a page; `None` if a frame was not put together here.
    pub(crate) type Read = fn(frame: &[u8]) -> Option<Vec<u8>>;

    /// Whether zstd reads a page from a frame, and we do.
    pub(crate) fn comes_back(page: &[u8], frame: &[u8], read: Read) -> bool {
        zstd::decode_all(frame).is_ok_and(|found| found == page) && read(frame).as_deref() == Some(page)
    }

    /// Whether zstd reads the same, if we read anything.
    pub(crate) fn is_read_as_by_zstd(frame: &[u8], read: Read) -> bool {
        read(frame).is_none_or(|found| zstd::decode_all(frame).is_ok_and(|page| page == found))
    }

    /// What may become of a frame: other bytes, anywhere or where it matters, and an end too early.
    #[derive(Clone, Debug)]
    pub(crate) struct Damage {
        bytes: Vec<(Index, u8)>,
        is_anywhere: bool,
        cut: Option<Index>,
    }

    pub(crate) fn damages() -> impl Strategy<Value = Damage> {
        let bytes = prop::collection::vec(any::<(Index, u8)>(), 0..4);
        (bytes, any::<bool>(), any::<Option<Index>>()).prop_map(|(bytes, is_anywhere, cut)| Damage {
            bytes,
            is_anywhere,
            cut,
        })
    }

    impl Damage {
        pub(crate) fn apply(&self, frame: &mut Vec<u8>, where_it_matters: Range<usize>) {
            let places = if self.is_anywhere { 0..frame.len() } else { where_it_matters };
            for (place, byte) in &self.bytes {
                frame[places.start + place.index(places.len())] = *byte;
            }
            if let Some(cut) = self.cut {
                frame.truncate(cut.index(frame.len()));
            }
        }
    }
}
