//! Compresses whole numbers of eight bytes that lie near each other: times, offsets. zstd frames put together without a search.
//!
//! A number has the high bytes of the one before it, and low ones of its own that hardly repeat. So each is one sequence: its
//! low bytes as literals, packed no further, and the others as a match. How many there are of each is all that is coded. Of
//! listen events in the order of users, a number takes 7 ns instead of the 22 of zstd's own encoder, and 3.3 bytes instead of
//! 3.1: what zstd finds beyond this is in the literals of event times. What is known when a frame is made is known when it is
//! read, too: that takes 8 ns instead of zstd's 10.
//!
//! Sections of RFC 8878 are given below (<https://www.rfc-editor.org/rfc/rfc8878>).

use super::frame::{
    Frame, MAX_BLOCK, MIN_MATCH, Mode, modes, put_count, put_literals, split_count, split_literals,
};
use super::states::{
    Bits, NUM_SYMBOLS, STATE_BITS, Steps, first_or_zeros, parts, put_parts, split_parts, states,
};

/// Bytes of a number.
const WIDTH: usize = size_of::<u64>();
/// Low bytes of its own that a number has at most: the others are a match.
const MAX_OWN: usize = WIDTH - MIN_MATCH;
/// Numbers whose states take no more bits than are ready at once.
const WORD_NUMBERS: usize = 57 / (2 * STATE_BITS) as usize;
/// Of this many numbers one may be equal to the one before; more are left to zstd, which has no literals for them.
const RARELY: usize = 8;

/// Compresses bytes that end with numbers, the first of which begins at `begin`; `None` if more than their low bytes change,
/// many are equal, or they are too few.
pub(super) fn compress(page: &[u8], begin: usize) -> Option<Vec<u8>> {
    let (values, []) = page.get(begin..)?.as_chunks::<WIDTH>() else { return None };
    let [first, second, others @ ..] = values else { return None };
    let mut before = u64::from_le_bytes(*second);
    if num_own(u64::from_le_bytes(*first), before) > MAX_OWN {
        return None;
    }
    let mut frame = Frame::new(page.len())?;
    frame.raw(&page[..begin]);
    // The first sequence says how far back a match is.
    frame.block(|bytes| put_first(&page[begin..begin + WIDTH + MAX_OWN], bytes));
    let mut block = Block::default();
    for some in others.chunks(MAX_BLOCK / WIDTH) {
        block.split(some, before);
        before = u64::from_le_bytes(*some.last()?);
        let counts = block.counts()?;
        frame.block(|bytes| {
            put_literals(&block.literals[..block.num_literals], bytes);
            put_sequences(&block.own, &counts, bytes);
        });
    }
    Some(frame.finish())
}

/// How many low bytes a number has of its own; at least 1.
#[inline]
fn num_own(before: u64, number: u64) -> usize {
    ((before ^ number) | 1).ilog2() as usize / 8 + 1
}

/// Puts a number and the low bytes of the next one, whose others are matched.
fn put_first(literals: &[u8], bytes: &mut Vec<u8>) {
    put_literals(literals, bytes);
    put_count(1, Mode::Same, Mode::Same, Mode::Same, bytes);
    let offset = WIDTH as u8 + 3;
    bytes.extend_from_slice(&[(WIDTH + MAX_OWN) as u8, offset.ilog2() as u8, 0, offset]);
}

/// The numbers of one block.
#[derive(Default)]
struct Block {
    /// The bytes that each has of its own, one after the other, and room.
    literals: Vec<u8>,
    num_literals: usize,
    /// How many that are.
    own: Vec<u8>,
    /// How many numbers are equal to the one before.
    num_equal: usize,
}

impl Block {
    fn split(&mut self, values: &[[u8; WIDTH]], mut before: u64) {
        let Self { literals, own, .. } = self;
        literals.resize(values.len() * WIDTH, 0);
        own.clear();
        let (mut at, mut num_equal) = (0, 0);
        own.extend(values.iter().map(|value| {
            let number = u64::from_le_bytes(*value);
            let num_own = num_own(before, number);
            num_equal += usize::from(before == number);
            before = number;
            // The bytes that are too many are written over by those of the next number.
            if let Some(room) = literals.get_mut(at..).and_then(|literals| literals.first_chunk_mut()) {
                *room = *value;
            }
            at += num_own;
            num_own as u8
        }));
        (self.num_literals, self.num_equal) = (at, num_equal);
    }

    /// How many numbers have how many bytes of their own; `None` if there is a better way to compress them.
    fn counts(&self) -> Option<[usize; NUM_SYMBOLS]> {
        // So few at once that a byte can count them.
        let count = |some: &[u8], own| some.iter().map(|other| u8::from(*other == own)).sum::<u8>();
        let counts = std::array::from_fn(|own| {
            self.own.chunks(u8::MAX.into()).map(|some| usize::from(count(some, own as u8))).sum()
        });
        let fitting: usize = counts[..=MAX_OWN].iter().sum();
        (fitting == self.own.len() && self.num_equal * RARELY <= fitting).then_some(counts)
    }
}

/// Puts a sequence for each number: so many literals, and a match as far back as before (3.1.1.3.2).
fn put_sequences(own: &[u8], counts: &[usize; NUM_SYMBOLS], bytes: &mut Vec<u8>) {
    // The code of so few literals is their number. An offset of 1 means the last one, and its code is 0.
    if let Some(only) = counts.iter().position(|count| *count == own.len()) {
        put_count(own.len(), Mode::Same, Mode::Same, Mode::Same, bytes);
        // And a bit that is set, where the bits of the sequences begin.
        bytes.extend_from_slice(&[only as u8, 0, (MAX_OWN - only) as u8, 1]);
        return;
    }
    let literals = parts(counts);
    let mut matches = literals;
    matches[..=MAX_OWN].reverse();
    put_count(own.len(), Mode::Coded, Mode::Same, Mode::Coded, bytes);
    put_parts(&literals, bytes);
    bytes.push(0);
    put_parts(&matches, bytes);
    put_codes(own, &Steps::new(&literals), &Steps::new(&matches), bytes);
}

/// Puts the codes of all sequences, of the last one first (3.1.1.3.2.1.2).
fn put_codes(own: &[u8], literals: &Steps, matches: &Steps, bytes: &mut Vec<u8>) {
    let Some((last, others)) = own.split_last() else { return };
    let begin = bytes.len();
    // Two states take two bytes at most, and eight are written at a time.
    bytes.resize(begin + 2 * own.len() + 8, 0);
    let room = &mut bytes[begin..];
    let (mut waiting, mut num_bits, mut at) = (0, 0, 0);
    let mut put = |bits: u64, count: u32| {
        waiting |= bits << num_bits;
        num_bits += count;
        if let Some(room) = room.get_mut(at..).and_then(|room| room.first_chunk_mut()) {
            *room = u64::to_le_bytes(waiting);
        }
        at += num_bits as usize / 8;
        waiting >>= num_bits & !7;
        num_bits &= 7;
        at + usize::from(num_bits > 0)
    };
    let symbols = |own: u8| (usize::from(own), MAX_OWN.wrapping_sub(usize::from(own)));
    // Any state of the last symbols will do.
    let (literal, matched) = symbols(*last);
    let (mut literal, mut matched) = (literals.to(literal, 0).state, matches.to(matched, 0).state);
    for own in others.iter().rev() {
        let (to_literal, to_matched) = symbols(*own);
        let (step, other) = (literals.to(to_literal, literal), matches.to(to_matched, matched));
        let both = u64::from(other.bits) | u64::from(step.bits) << other.num_bits;
        put(both, u32::from(other.num_bits + step.num_bits));
        (literal, matched) = (step.state, other.state);
    }
    // The states that a reader begins with, and a bit that is set, where the bits begin.
    put(u64::from(matched), STATE_BITS);
    put(u64::from(literal), STATE_BITS);
    let num_bytes = put(1, 1);
    bytes.truncate(begin + num_bytes);
}

/// Appends what a block of [`compress`] stands for, for [`frame::read`](super::frame::read); `None` if it is another.
pub(super) fn take(block: &[u8], offset: &mut usize, page: &mut Vec<u8>) -> Option<()> {
    let (literals, sequences) = split_literals(block)?;
    if *offset != WIDTH {
        take_first(block, literals, page)?;
        *offset = WIDTH;
        return Some(());
    }
    let (count, given, rest) = split_count(sequences).filter(|(count, ..)| *count > 0)?;
    let before = u64::from_le_bytes(*page.last_chunk()?);
    let begin = page.len();
    page.resize(begin + count * WIDTH, 0);
    let numbers = page[begin..].as_chunks_mut().0;
    if given == modes(Mode::Same, Mode::Same, Mode::Same) {
        take_same(literals, rest, before, numbers)
    } else if given == modes(Mode::Coded, Mode::Same, Mode::Coded) {
        take_coded(literals, rest, before, numbers)
    } else {
        None
    }
}

/// Of [`put_first`].
fn take_first(block: &[u8], literals: &[u8], page: &mut Vec<u8>) -> Option<()> {
    let mut expected = Vec::new();
    put_first(literals, &mut expected);
    if literals.len() != WIDTH + MAX_OWN || block != expected {
        return None;
    }
    page.extend_from_slice(literals);
    page.extend_from_slice(&literals[MAX_OWN..WIDTH]);
    Some(())
}

/// Numbers that have as many bytes of their own.
fn take_same(literals: &[u8], rest: &[u8], mut before: u64, numbers: &mut [[u8; WIDTH]]) -> Option<()> {
    let [own @ 1..=5, 0, matched, 1] = *rest else { return None };
    let mut at = 0;
    for number in numbers {
        before = joined(before, literals, &mut at, own);
        *number = before.to_le_bytes();
    }
    (own + matched == MAX_OWN as u8 && at == literals.len()).then_some(())
}

/// Numbers by the codes of their sequences, in the order of [`put_codes`] reversed.
fn take_coded(literals: &[u8], rest: &[u8], mut before: u64, numbers: &mut [[u8; WIDTH]]) -> Option<()> {
    let (parts, rest) = split_parts(rest)?;
    let ([0], rest) = rest.split_at_checked(1)? else { return None };
    let (matches, bits) = split_parts(rest)?;
    let mut expected = parts;
    expected[..=MAX_OWN].reverse();
    if matches != expected || parts[0] > 0 {
        return None;
    }
    let (parts, matches) = (states(&parts), states(&matches));
    let mut bits = Bits::new(bits)?;
    let (literal, matched) = (bits.take(STATE_BITS), bits.take(STATE_BITS));
    let (mut literal, mut matched) = (parts[literal as usize], matches[matched as usize]);
    let mut last = (literal, matched);
    let (mut at, mut are_ours) = (0, true);
    for some in numbers.chunks_mut(WORD_NUMBERS) {
        bits.refill();
        for number in some {
            before = joined(before, literals, &mut at, literal.symbol);
            *number = before.to_le_bytes();
            are_ours &= literal.symbol + matched.symbol == MAX_OWN as u8;
            let first = u32::from(literal.first) + bits.take(u32::from(literal.num_bits));
            let second = u32::from(matched.first) + bits.take(u32::from(matched.num_bits));
            last = (literal, matched);
            literal = parts[first as usize % parts.len()];
            matched = matches[second as usize % matches.len()];
        }
    }
    // No state follows that of the last number.
    let too_many = i64::from(last.0.num_bits + last.1.num_bits);
    (are_ours && at == literals.len() && bits.left() + too_many == 0).then_some(())
}

/// A number with so many bytes of its own, which lie there; missing ones are zeros.
#[inline(always)]
fn joined(before: u64, literals: &[u8], at: &mut usize, own: u8) -> u64 {
    let low = (1 << (8 * u64::from(own))) - 1;
    let bytes = first_or_zeros(literals, *at);
    *at += usize::from(own);
    before & !low | u64::from_le_bytes(bytes) & low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::testing::{comes_back, damages, is_read_as_by_zstd};
    use super::*;

    fn page(before: &[u8], numbers: &[u64]) -> Vec<u8> {
        before.iter().copied().chain(numbers.iter().flat_map(|number| number.to_le_bytes())).collect()
    }

    fn read(frame: &[u8]) -> Option<Vec<u8>> {
        let mut page = Vec::new();
        super::super::frame::read(frame, &mut page, take).map(|()| page)
    }

    fn check(before: &[u8], numbers: &[u64]) -> Option<usize> {
        let frame = compress(&page(before, numbers), before.len())?;
        assert!(comes_back(&page(before, numbers), &frame, read), "{} numbers", numbers.len());
        Some(frame.len())
    }

    /// Numbers that differ from the one before in so many bytes at most.
    fn walk(changes: Vec<(u64, u32)>) -> Vec<u64> {
        let mut number = 0x0006_1f2a_3b4c_5d6e_u64;
        let next = |(changed, num_bytes): (u64, u32)| {
            number ^= changed & ((1 << (8 * num_bytes)) - 1);
            number
        };
        changes.into_iter().map(next).collect()
    }

    proptest! {
        #[test]
        fn a_frame_that_is_read_is_read_as_zstd_reads_it(
            numbers in prop::collection::vec((1..u64::MAX, 1..4_u32), 2100..2200),
            damage in damages(),
        ) {
            let mut frame = compress(&page(&[2, 0, 0, 0, 9, 1], &walk(numbers)), 6).unwrap();
            // The codes are at the end.
            let codes = frame.len() - 1400..frame.len();
            damage.apply(&mut frame, codes);
            prop_assert!(is_read_as_by_zstd(&frame, read));
        }

        #[test]
        fn what_is_compressed_comes_back(
            before in prop::collection::vec(any::<u8>(), 0..20),
            most in 1..6_u32,
            changes in prop::collection::vec((1..u64::MAX, 1..6_u32), 2100..9000),
        ) {
            let changes: Vec<_> = changes.into_iter().map(|(changed, bytes)| (changed, bytes.min(most))).collect();
            let own: usize = changes.iter().map(|(_, bytes)| *bytes as usize).sum();
            let numbers = walk(changes);
            let length = check(&before, &numbers);
            // Five ways are told apart by 2.4 bits, twice.
            prop_assert!(length.is_none_or(|length| length < own + numbers.len() * 2 / 3 + 200));
            prop_assert!(length.is_some() || numbers.windows(2).filter(|pair| pair[0] == pair[1]).count() > 100);
        }
    }

    #[test]
    fn blocks_may_be_full_or_end_after_a_number() {
        let per_block = MAX_BLOCK / WIDTH;
        for count in (1..3).flat_map(|blocks| blocks * per_block + 1..blocks * per_block + 5) {
            let numbers: Vec<u64> = (0..count as u64).map(|number| number * number).collect();
            assert!(check(&[3; 6], &numbers).is_some(), "{count} numbers");
            // All of one kind.
            let numbers: Vec<u64> = (0..count as u64).map(|number| number % 2).collect();
            assert!(check(&[3; 6], &numbers).is_some_and(|length| length < count + 200), "{count} numbers");
        }
        let levels = vec![0xa5; 2 * MAX_BLOCK + 1];
        assert!(check(&levels, &[1, 2]).is_some());
    }

    #[test]
    fn rare_changes_have_codes_too() {
        let mut numbers: Vec<u64> = (0..50_000).map(|number| number * 7 % 251).collect();
        numbers[40_000] = 1 << 39;
        assert!(check(&[], &numbers).is_some_and(|length| length < 52_000));
        numbers[10_000] = 1 << 20;
        numbers[20_000] = 1 << 12;
        assert!(check(&[], &numbers).is_some_and(|length| length < 55_000));
    }

    #[test]
    fn what_repeats_or_changes_too_much_is_left_to_zstd() {
        let rising: Vec<u64> = (0..5000).collect();
        assert!(check(&[], &rising).is_some());
        assert_eq!(check(&[], &[7; 5000]), None);
        let mut high = rising.clone();
        high[4000] = 1 << 40;
        assert_eq!(check(&[], &high), None);
        high.swap(1, 4000);
        assert_eq!(check(&[], &high), None);
        // Fewer bytes than announced, and few.
        assert_eq!(compress(&page(&[], &rising)[1..], 0), None);
        assert_eq!(check(&[], &rising[..100]), None);
        assert_eq!(compress(&[0; 20_000], 20_000), None);
        assert_eq!(compress(&[0; 20_000], 20_001), None);
    }
}
