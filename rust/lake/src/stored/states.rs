//! Codes of whole numbers by their probability, about as many bits as they tell: the finite state entropy of zstd
//! (RFC 8878, 4.1, <https://www.rfc-editor.org/rfc/rfc8878#section-4.1>).
//!
//! A reader is in one of [`NUM_STATES`] states, each of which stands for a symbol, and reads from it, with some bits, the next
//! state. So the writer goes from the last symbol to the first: from a state, and the symbol before, to the state of that
//! symbol that leads there. There is one for each, and a table of them is all that is needed.

/// Bits of a state: the fewest that there may be, which do for a handful of symbols.
pub(super) const STATE_BITS: u32 = 5;
const NUM_STATES: usize = 1 << STATE_BITS;
/// Symbols that there may be. A power of two, so that none lies outside a table.
pub(super) const NUM_SYMBOLS: usize = 8;

/// How probable each symbol is, in states that it has.
pub(super) type Parts = [u16; NUM_SYMBOLS];

/// Returns the states of symbols that occur so often; at least one of each that occurs at all. One must.
pub(super) fn parts(counts: &[usize; NUM_SYMBOLS]) -> Parts {
    let total = counts.iter().sum::<usize>().max(1);
    let mut parts = counts.map(|count| match count {
        0 => 0,
        _ => ((count * NUM_STATES + total / 2) / total).max(1) as u16,
    });
    // What is missing or too much by rounding is that of the most frequent: it has more than rounding could take away.
    let sum: u16 = parts.iter().sum();
    if let Some(most) = parts.iter_mut().max() {
        *most = *most + NUM_STATES as u16 - sum;
    }
    parts
}

/// From a state, with bits, to that of a symbol before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    pub(super) state: u8,
    pub(super) bits: u8,
    pub(super) num_bits: u8,
}

/// By symbol and state.
pub(super) struct Steps([[Step; NUM_STATES]; NUM_SYMBOLS]);

impl Steps {
    /// The steps between the states of symbols.
    pub(super) fn new(parts: &Parts) -> Self {
        let mut steps = [[Step::default(); NUM_STATES]; NUM_SYMBOLS];
        for (number, state) in (0..).zip(states(parts)) {
            for bits in 0..1_u8 << state.num_bits {
                let from = usize::from(state.first + bits);
                steps[usize::from(state.symbol)][from] =
                    Step { state: number, bits, num_bits: state.num_bits };
            }
        }
        Self(steps)
    }

    /// The step to a symbol.
    #[inline]
    pub(super) fn to(&self, symbol: usize, state: u8) -> Step {
        self.0[symbol % NUM_SYMBOLS][usize::from(state) % NUM_STATES]
    }
}

/// Appends how probable each symbol is (4.1.1): values in no more bits than what is left of the states allows.
pub(super) fn put_parts(parts: &Parts, bytes: &mut Vec<u8>) {
    let (mut bits, mut num_bits) = (u128::from(STATE_BITS - 5), 4);
    let mut put = |value: u32, count: u32| {
        bits |= u128::from(value) << num_bits;
        num_bits += count;
    };
    let mut left = NUM_STATES as u32 + 1;
    let mut parts = parts.iter().map(|part| u32::from(*part)).peekable();
    while let Some(part) = parts.next().filter(|_| left > 1) {
        let width = left.ilog2() + 1;
        // So many of the lowest values are a bit shorter, for which the others of their width make room.
        let unused = (1 << width) - 1 - left;
        left -= part;
        match part + 1 {
            value if value < unused => put(value, width - 1),
            value if value < 1 << (width - 1) => put(value, width),
            value => put(value + unused, width),
        }
        if part == 0 {
            // How many more there are of the kind, three at a time.
            let mut more = 0;
            while parts.next_if_eq(&0).is_some() {
                more += 1;
            }
            (0..more / 3).for_each(|_| put(3, 2));
            put(more % 3, 2);
        }
    }
    bytes.extend_from_slice(&bits.to_le_bytes()[..num_bits.div_ceil(8) as usize]);
}

/// Splits what [`put_parts`] wrote from what comes after; `None` if it was another.
pub(super) fn split_parts(bytes: &[u8]) -> Option<(Parts, &[u8])> {
    let mut first = [0; size_of::<u128>()];
    let known = bytes.len().min(first.len());
    first[..known].copy_from_slice(&bytes[..known]);
    let bits = u128::from_le_bytes(first);
    let mut num_bits = 4;
    if bits as u32 & 0b1111 != STATE_BITS - 5 {
        return None;
    }
    let next = |num_bits: u32, count: u32| (bits >> num_bits) as u32 & ((1 << count) - 1);
    let mut parts = Parts::default();
    let (mut left, mut symbol) = (NUM_STATES as u32 + 1, 0);
    while left > 1 {
        let width = left.ilog2() + 1;
        let unused = (1 << width) - 1 - left;
        let mut value = next(num_bits, width - 1);
        num_bits += width - 1;
        if value >= unused {
            value = next(num_bits - (width - 1), width);
            num_bits += 1;
            value = if value < 1 << (width - 1) { value } else { value - unused };
        }
        let part = value.checked_sub(1).filter(|part| *part < left)?;
        *parts.get_mut(symbol)? = part as u16;
        (left, symbol) = (left - part, symbol + 1);
        let mut is_more = part == 0;
        while is_more {
            let zeros = next(num_bits, 2);
            (num_bits, symbol) = (num_bits + 2, symbol + zeros as usize);
            is_more = zeros == 3 && symbol < NUM_SYMBOLS;
        }
    }
    bytes.split_at_checked(num_bits.div_ceil(8) as usize).map(|(_, rest)| (parts, rest))
}

/// What a state stands for, and the first of the states that may be next and the bits that choose among them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    pub(super) symbol: u8,
    pub(super) first: u8,
    pub(super) num_bits: u8,
}

/// All states, by their number (4.1.1).
pub(super) fn states(parts: &Parts) -> [State; NUM_STATES] {
    let mut states = [State::default(); NUM_STATES];
    let mut place = 0;
    for (symbol, part) in (0..).zip(parts) {
        for _ in 0..*part {
            states[place].symbol = symbol;
            place = (place + NUM_STATES / 2 + NUM_STATES / 8 + 3) % NUM_STATES;
        }
    }
    let mut numbers = *parts;
    for state in &mut states {
        let number = &mut numbers[usize::from(state.symbol)];
        state.num_bits = (STATE_BITS - number.ilog2()) as u8;
        state.first = ((*number << state.num_bits) as usize - NUM_STATES) as u8;
        *number += 1;
    }
    states
}

/// Bytes from a place on; missing ones are zeros.
#[inline(always)]
pub(super) fn first_or_zeros<const COUNT: usize>(bytes: &[u8], at: usize) -> [u8; COUNT] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk().copied().unwrap_or_else(|| {
        let mut first = [0; COUNT];
        first[..rest.len()].copy_from_slice(rest);
        first
    })
}

/// Bits that are read from the end, where the highest one that is set is none of them.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    left: i64,
    /// The next bits, the first one on top.
    word: u64,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let last = bytes.last().filter(|last| **last > 0)?;
        let mut bits = Self { bytes, left: 8 * (bytes.len() as i64 - 1) + i64::from(last.ilog2()), word: 0 };
        bits.refill();
        Some(bits)
    }

    /// How many bits there are; less than 0, where more were taken.
    pub(super) fn left(&self) -> i64 {
        self.left
    }

    /// Makes at least 57 bits ready to be taken; zeros beyond the last.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let left = self.left.max(0) as usize;
        let begin = left.div_ceil(8).saturating_sub(size_of::<u64>());
        let word = u64::from_le_bytes(first_or_zeros(self.bytes, begin));
        self.word = word.checked_shl((64 + 8 * begin - left) as u32).unwrap_or_default();
    }

    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let bits = self.word >> 1 >> (63 - count);
        self.word <<= count;
        self.left -= i64::from(count);
        bits as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Some((parts, _)) = split_parts(&bytes) {
                prop_assert_eq!(usize::from(parts.iter().sum::<u16>()), NUM_STATES);
            }
        }

        #[test]
        fn all_states_are_given_and_each_symbol_that_occurs_has_one(
            counts in prop::array::uniform8(prop_oneof![Just(0_usize), 1..4_usize, 1..20_000_usize]),
        ) {
            prop_assume!(counts.iter().any(|count| *count > 0));
            let parts = parts(&counts);
            prop_assert_eq!(usize::from(parts.iter().sum::<u16>()), NUM_STATES);
            for (part, count) in parts.iter().zip(counts) {
                prop_assert_eq!(*part > 0, count > 0, "{:?}", parts);
            }
            let mut bytes = Vec::new();
            put_parts(&parts, &mut bytes);
            bytes.push(0xa5);
            prop_assert_eq!(split_parts(&bytes), Some((parts, &[0xa5][..])));
            // From each state there is one way to each symbol.
            let steps = Steps::new(&parts);
            for (symbol, _) in (0..).zip(parts).filter(|(_, part)| *part > 0) {
                let mut ways: Vec<(u8, u8)> =
                    (0..NUM_STATES as u8).map(|state| steps.to(symbol, state)).map(|step| (step.state, step.bits)).collect();
                ways.sort_unstable();
                ways.dedup();
                prop_assert_eq!(ways.len(), NUM_STATES);
            }
        }
    }
}
