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
    /// The steps between the states of symbols, which lie in an order that readers know (4.1.1).
    pub(super) fn new(parts: &Parts) -> Self {
        let mut symbols = [0; NUM_STATES];
        let mut place = 0;
        for (symbol, part) in parts.iter().enumerate() {
            for _ in 0..*part {
                symbols[place] = symbol;
                place = (place + NUM_STATES / 2 + NUM_STATES / 8 + 3) % NUM_STATES;
            }
        }
        let mut steps = [[Step::default(); NUM_STATES]; NUM_SYMBOLS];
        let mut numbers = *parts;
        for (state, symbol) in (0..).zip(symbols) {
            let number = u32::from(numbers[symbol]);
            numbers[symbol] += 1;
            let num_bits = STATE_BITS - number.ilog2();
            let first = (number << num_bits) as usize - NUM_STATES;
            for bits in 0..1_u8 << num_bits {
                steps[symbol][first + usize::from(bits)] = Step { state, bits, num_bits: num_bits as u8 };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
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
