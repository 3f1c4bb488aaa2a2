//! Compresses ids that are hexadecimal digits, half a byte each: zstd frames put together without a search.
//!
//! All that zstd finds out about a page of ids is known before: the length of each is that of the one before it, and its
//! digits are sixteen different bytes, none of them more frequent. So each id is one sequence, its digits as literals and the
//! length of the next as a match, and a digit is four bits of the Huffman code, which is its value. So what is read from a
//! frame, and what another is made of, are packed digits; whoever moves ids never sees the digits themselves.
//!
//! Sections of RFC 8878 are given below (<https://www.rfc-editor.org/rfc/rfc8878>).

use super::frame::{
    Block, Frame, MAX_BLOCK, MIN_MATCH, MIN_PAGE, Mode, blocks, put_count, put_literals, split_literals,
};
use super::ids::{Ids, unpack};
use super::plain::LENGTH;

/// Streams that the digits of a block are divided into.
const STREAMS: usize = 4;
/// The Huffman code of lower-case digits (4.2.1): how many weights follow, and one for each byte up to `e`, in four bits;
/// that of `f` follows from them. All digits weigh the same, so that the code of each is its value.
const CODE: [u8; 1 + b'f' as usize / 2] = {
    let mut code = [0; 1 + b'f' as usize / 2];
    code[0] = 127 + b'f';
    let mut byte = 0;
    while byte < b'f' {
        if matches!(byte, b'0'..=b'9' | b'a'..=b'e') {
            code[1 + byte as usize / 2] |= 1 << (4 * (1 - byte % 2));
        }
        byte += 1;
    }
    code
};

/// Compresses bytes that end with texts of `width` bytes each, with their lengths, the first of which begins at `begin`;
/// `None` if they are not 32 or 64 lower-case digits each, or too few.
pub(super) fn compress_texts(page: &[u8], begin: usize, width: usize) -> Option<Vec<u8>> {
    let (levels, texts) = page.split_at_checked(begin).filter(|_| page.len() >= MIN_PAGE)?;
    let mut ids = Ids::new(Vec::new());
    let are_ids = matches!(width, 36 | 68) && ids.add(texts, texts.len() / width) && ids.width() == width;
    are_ids.then(|| compress(levels, &ids))?
}

/// Compresses a page of ids after such levels; `None` if they are too few.
pub(super) fn compress(levels: &[u8], ids: &Ids) -> Option<Vec<u8>> {
    let (id_bytes, width) = (ids.id_bytes(), ids.width());
    let num_packed = ids.len().checked_sub(2)? / STREAMS * STREAMS;
    let (first, others) = ids.packed.split_at_checked(id_bytes)?;
    let (packed, rest) = others.split_at_checked(num_packed * id_bytes)?;
    let mut frame = Frame::new(levels.len() + ids.len() * width)?;
    frame.raw(&[levels, &(ids.num_digits as u32).to_le_bytes()].concat());
    // The first sequence says how far back a match is.
    let mut digits = vec![0; ids.num_digits];
    unpack(first, &mut digits);
    frame.block(|bytes| {
        put_literals(&digits, bytes);
        put_sequences(1, width, Some(width), bytes);
    });
    // Streams are of one size, and what is left of the last block stays as it is.
    for some in packed.chunks(MAX_BLOCK / width / STREAMS * STREAMS * id_bytes) {
        frame.block(|bytes| {
            put_streams(some, bytes);
            put_sequences(some.len() / id_bytes, width, None, bytes);
        });
    }
    let mut texts = Vec::new();
    Ids { num_digits: ids.num_digits, packed: rest.to_vec() }.put_texts(&mut texts);
    frame.raw(&texts[LENGTH..]);
    Some(frame.finish())
}

/// Puts packed digits as literals in four streams (3.1.1.3.1).
fn put_streams(packed: &[u8], bytes: &mut Vec<u8>) {
    put_header(2 * packed.len(), bytes);
    for some in packed.chunks_exact(packed.len() / STREAMS) {
        // A stream is read from its end on, where a bit that is set says that it begins.
        put_reversed(some, bytes);
        bytes.push(1);
    }
}

/// Appends bytes, eight at a time, the last one first.
fn put_reversed(given: &[u8], bytes: &mut Vec<u8>) {
    let begin = bytes.len();
    bytes.resize(begin + given.len(), 0);
    let eights = given.as_chunks::<8>().0.iter().rev();
    for (given, reversed) in eights.zip(bytes[begin..].as_chunks_mut::<8>().0) {
        *reversed = u64::from_be_bytes(*given).to_le_bytes();
    }
}

/// Puts what comes before the streams of so many digits.
fn put_header(num_digits: usize, bytes: &mut Vec<u8>) {
    let stream_bytes = stream_bytes(num_digits);
    // Compressed, both sizes in 18 bits each.
    let num_bytes = CODE.len() + 2 * (STREAMS - 1) + STREAMS * stream_bytes;
    let header = 0b1110 | (num_digits as u64) << 4 | (num_bytes as u64) << 22;
    bytes.extend_from_slice(&header.to_le_bytes()[..5]);
    bytes.extend_from_slice(&CODE);
    (1..STREAMS).for_each(|_| bytes.extend_from_slice(&(stream_bytes as u16).to_le_bytes()));
}

fn stream_bytes(num_digits: usize) -> usize {
    num_digits / STREAMS / 2 + 1
}

/// Puts sequences of a value's digits and the length that comes after them, which is matched `offset` bytes back; `None`: as
/// far back as before (3.1.1.3.2).
fn put_sequences(count: usize, width: usize, offset: Option<usize>, bytes: &mut Vec<u8>) {
    put_count(count, Mode::Same, Mode::Same, Mode::Same, bytes);
    // The code of so many literals, and how many bits follow that say how many more there are.
    let (literals, more_bits) = if width - LENGTH == 64 { (25, 6) } else { (22, 3) };
    let value = offset.map_or(1, |offset| offset as u16 + 3);
    // Codes of literals, offset and match, that take no bits in the sequences.
    bytes.extend_from_slice(&[literals, value.ilog2() as u8, (LENGTH - MIN_MATCH) as u8]);
    // What follows is read from its end on: a bit that is set, the rest of the offset, and no more literals.
    if offset.is_some() {
        bytes.extend_from_slice(&(value << more_bits).to_le_bytes());
    } else {
        let num_bits = count * more_bits;
        bytes.resize(bytes.len() + num_bits / 8, 0);
        bytes.push(1 << (num_bits % 8));
    }
}

/// Adds the ids of a frame of [`compress`], and returns the levels; `None` if it is another, or its ids cannot be added, and
/// nothing was.
pub(super) fn read<'a>(frame: &'a [u8], ids: &mut Ids) -> Option<&'a [u8]> {
    let (size, mut blocks) = blocks(frame)?;
    let Block::Raw(begin) = blocks.next()?? else { return None };
    let (levels, length) = begin.split_last_chunk()?;
    let size = size.checked_sub(levels.len())?;
    if !ids.takes(u32::from_le_bytes(*length) as usize) {
        return None;
    }
    let before = ids.packed.len();
    ids.packed.reserve(size / ids.width() * ids.id_bytes());
    let is_read = read_ids(blocks, ids).is_some();
    if is_read && (ids.packed.len() - before) / ids.id_bytes() * ids.width() == size {
        return Some(levels);
    }
    ids.packed.truncate(before);
    None
}

/// Adds the ids of the blocks that come after the levels and the first length. All but the digits is as it would be written.
fn read_ids<'a>(mut blocks: impl Iterator<Item = Option<Block<'a>>>, ids: &mut Ids) -> Option<()> {
    let Block::Packed(first) = blocks.next()?? else { return None };
    let (digits, sequences) = split_literals(first)?;
    let mut expected = Vec::new();
    put_sequences(1, ids.width(), Some(ids.width()), &mut expected);
    if sequences != expected {
        return None;
    }
    if digits.len() != ids.num_digits || !ids.add_digits(digits, ids.num_digits) {
        return None;
    }
    loop {
        match blocks.next()?? {
            Block::Packed(block) => read_streams(block, ids)?,
            Block::Raw(rest) => {
                let (digits, texts) = rest.split_at_checked(ids.num_digits)?;
                let are_ids =
                    ids.add_digits(digits, ids.num_digits) && ids.add(texts, texts.len() / ids.width());
                return (are_ids && blocks.next().is_none()).then_some(());
            }
        }
    }
}

/// Adds the ids of one block.
fn read_streams(block: &[u8], ids: &mut Ids) -> Option<()> {
    let num_digits = (u32::from_le_bytes(*block.first_chunk()?) >> 4 & 0x3ffff) as usize;
    if num_digits == 0 || !num_digits.is_multiple_of(ids.num_digits * STREAMS) {
        return None;
    }
    let mut expected = Vec::new();
    put_header(num_digits, &mut expected);
    let rest = block.strip_prefix(expected.as_slice())?;
    let stream_bytes = stream_bytes(num_digits);
    let (streams, sequences) = rest.split_at_checked(STREAMS * stream_bytes)?;
    expected.clear();
    put_sequences(num_digits / ids.num_digits, ids.width(), None, &mut expected);
    if sequences != expected {
        return None;
    }
    for stream in streams.chunks_exact(stream_bytes) {
        let (1, reversed) = stream.split_last().map(|(end, reversed)| (*end, reversed))? else { return None };
        put_reversed(reversed, &mut ids.packed);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::testing::{comes_back, damages, is_read_as_by_zstd};
    use super::*;

    /// A page of texts, after these bytes.
    fn page(before: &[u8], texts: impl IntoIterator<Item = String>) -> Vec<u8> {
        let values =
            texts.into_iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat());
        before.iter().copied().chain(values).collect()
    }

    fn digits(number: u64, count: usize) -> String {
        let one = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        one.repeat(count / one.len())
    }

    fn read_page(frame: &[u8]) -> Option<Vec<u8>> {
        let mut ids = Ids::new(Vec::new());
        let mut page = read(frame, &mut ids)?.to_vec();
        ids.put_texts(&mut page);
        Some(page)
    }

    proptest! {
        #[test]
        fn a_frame_that_is_read_is_read_as_zstd_reads_it(damage in damages()) {
            let page = page(&[2, 0, 0, 0, 9, 1], (0..600).map(|number| digits(number, 32)));
            let mut frame = compress_texts(&page, 6, 36).unwrap();
            // What is put once for all digits is at the start.
            damage.apply(&mut frame, 0..150);
            prop_assert!(is_read_as_by_zstd(&frame, read_page));
        }

        #[test]
        fn what_is_compressed_comes_back(
            before in prop::collection::vec(any::<u8>(), 0..20),
            count in prop_oneof![Just(32_usize), Just(64_usize)],
            numbers in prop::collection::vec(any::<u64>(), 500..9000),
        ) {
            let num_ids = numbers.len();
            let page = page(&before, numbers.into_iter().map(|number| digits(number, count)));
            let frame = compress_texts(&page, before.len(), count + LENGTH).unwrap();
            prop_assert!(comes_back(&page, &frame, read_page));
            prop_assert!(frame.len() < num_ids * (count / 2 + 1) + 400);
        }
    }

    #[test]
    fn blocks_may_be_full_or_end_after_a_value() {
        let per_block = MAX_BLOCK / 36;
        for num_ids in [1, 2].into_iter().flat_map(|blocks| blocks * per_block..blocks * per_block + 5) {
            let page = page(&[], (0..num_ids as u64).map(|number| digits(number, 32)));
            let frame = compress_texts(&page, 0, 36).unwrap();
            assert!(comes_back(&page, &frame, read_page), "{num_ids} ids");
        }
        // Levels of more than a block are zstd's to read.
        let levels = vec![0xa5; 2 * MAX_BLOCK + 1];
        let page = page(&levels, (0..2).map(|number| digits(number, 32)));
        let frame = compress_texts(&page, levels.len(), 36).unwrap();
        assert!(zstd::decode_all(frame.as_slice()).unwrap() == page);
        assert_eq!(read_page(&frame), None);
    }

    #[test]
    fn ids_are_added_to_those_of_their_length_and_to_no_other() {
        let texts = |count| page(&[], (0..500).map(|number| digits(number, count)));
        let frame = |count: usize| compress_texts(&texts(count), 0, count + LENGTH).unwrap();
        let mut ids = Ids::new(Vec::new());
        assert!(ids.add(&texts(64), 500));
        assert!(read(&frame(64), &mut ids).is_some());
        let before = ids.clone();
        assert_eq!(before.len(), 1000);
        assert_eq!(read(&frame(32), &mut ids), None);
        assert!(!ids.add(&texts(32), 500));
        assert!(!ids.add(&texts(64), 499));
        let mut damaged = frame(64);
        damaged.pop();
        assert_eq!(read(&damaged, &mut ids), None);
        assert_eq!(ids, before);
    }

    #[test]
    fn frames_of_another_kind_are_left_to_zstd() {
        let page = page(&[], (0..1000).map(|number| digits(number, 32)));
        let other = zstd::encode_all(page.as_slice(), 1).unwrap();
        assert_eq!(read_page(&other), None);
        assert_eq!(read_page(&[]), None);
        let mut large = compress_texts(&page, 0, 36).unwrap();
        large[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read_page(&large), None);
    }

    #[test]
    fn what_is_no_digit_is_left_to_zstd() {
        let ids = |changed: &str| {
            let mut ids: Vec<String> = (0..1000).map(|number| digits(number, 32)).collect();
            ids[700].replace_range(13..13 + changed.len(), changed);
            page(&[], ids)
        };
        assert!(compress_texts(&ids("0"), 0, 36).is_some());
        assert_eq!(compress_texts(&ids("g"), 0, 36), None);
        assert_eq!(compress_texts(&ids("\u{e9}"), 0, 36), None);
        // Another length in the place of one, fewer bytes than announced, other widths, and few.
        let mut other = ids("0");
        other[36 * 500] = 33;
        assert_eq!(compress_texts(&other, 0, 36), None);
        assert_eq!(compress_texts(&ids("0")[1..], 0, 36), None);
        assert_eq!(compress_texts(&ids("0"), 0, 40), None);
        assert_eq!(compress_texts(&ids("0"), 0, 68), None);
        assert_eq!(compress_texts(&ids("0")[..36 * 100], 0, 36), None);
        assert_eq!(compress_texts(&[0; 20_000], 20_000, 36), None);
        assert_eq!(compress_texts(&[0; 20_000], 20_001, 36), None);
    }
}
