//! Parquet's hybrid of run lengths and packed bits, in which levels and dictionary indices are stored.
//!
//! A run is a varint header and its values: `count << 1` and one value in whole bytes, or `groups << 1 | 1` and groups of
//! eight values of `width` bits, lowest bits first
//! (<https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>).

use parquet::errors::ParquetError;

/// The widest value in bits.
pub(super) const MAX_WIDTH: u32 = 32;
/// Bytes of a run of one value at most.
pub(super) const MAX_RUN_BYTES: usize = 14;
/// Values of one group of packed bits.
const GROUP: usize = 8;
/// Values that are unpacked at once.
const UNPACKED: usize = 512;

/// Values as they are stored.
#[derive(Debug)]
pub(super) enum Run<'a> {
    /// One value, so many times.
    Repeated(u32, usize),
    /// Values one by one.
    Values(&'a [u32]),
}

/// Calls the function made for this width alone, in which all places are known; `$zero` for none.
macro_rules! for_width {
    ($width:expr, $call:ident($($argument:expr),*), $zero:expr) => {
        for_width!($width, $call($($argument),*), $zero,
            1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
    };
    ($width:expr, $call:ident $arguments:tt, $zero:expr, $($known:literal)*) => {
        match $width {
            $($known => $call::<$known> $arguments,)*
            _ => $zero,
        }
    };
}

fn damaged(problem: &str) -> ParquetError {
    ParquetError::General(format!("run lengths and packed bits: {problem}"))
}

/// Hands over `count` values of `width` bits, run by run.
///
/// # Errors
/// Bytes that end early or make no sense; those of `take`.
pub(super) fn decode(
    mut bytes: &[u8],
    width: u32,
    count: usize,
    mut take: impl FnMut(Run<'_>) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    if width > MAX_WIDTH {
        return Err(damaged("values of more than 32 bits"));
    }
    let mut left = count;
    while left > 0 {
        let header = varint(&mut bytes)?;
        let length = usize::try_from(header >> 1).map_err(|_| damaged("a run is too long"))?;
        if length == 0 {
            return Err(damaged("a run without values"));
        }
        if header & 1 == 0 {
            let num_bytes = width.div_ceil(8) as usize;
            let value = first(bytes, num_bytes).ok_or_else(|| damaged("the last run is cut off"))?;
            bytes = &bytes[num_bytes..];
            let taken = length.min(left);
            take(Run::Repeated(value, taken))?;
            left -= taken;
        } else {
            let taken = length.saturating_mul(GROUP).min(left);
            // Some writers leave out the bytes of values beyond the last.
            let num_bytes = length.saturating_mul(width as usize).min(bytes.len());
            let packed = bytes.split_off(..num_bytes).unwrap_or_default();
            if packed.len() < (taken * width as usize).div_ceil(8) {
                return Err(damaged("the last run is cut off"));
            }
            unpack(packed, width, taken, &mut take)?;
            left -= taken;
        }
    }
    Ok(())
}

/// The first bytes as a number.
fn first(bytes: &[u8], num_bytes: usize) -> Option<u32> {
    let mut value = [0; 4];
    match bytes.first_chunk() {
        Some(four) => value = *four,
        None => value[..num_bytes].copy_from_slice(bytes.get(..num_bytes)?),
    }
    Some((u64::from(u32::from_le_bytes(value)) & ((1 << (8 * num_bytes)) - 1)) as u32)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, ParquetError> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.split_off_first().ok_or_else(|| damaged("bytes end before the values"))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a run is too long"))
}

fn unpack(
    packed: &[u8],
    width: u32,
    count: usize,
    take: &mut impl FnMut(Run<'_>) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    let mut values = [[0; GROUP]; UNPACKED / GROUP];
    for first in (0..count).step_by(UNPACKED) {
        let some = UNPACKED.min(count - first);
        let groups = &mut values[..some.div_ceil(GROUP)];
        unpack_groups(packed.get(first / GROUP * width as usize..).unwrap_or_default(), width, groups);
        take(Run::Values(&values.as_flattened()[..some]))?;
    }
    Ok(())
}

/// Unpacks groups. Missing bytes are zeros.
fn unpack_groups(packed: &[u8], width: u32, groups: &mut [[u32; GROUP]]) {
    /// A value spans at most five bytes; the last ones are read beyond the group.
    const BYTES: usize = MAX_WIDTH as usize + 8;
    fn one<const WIDTH: usize>(bytes: &[u8; BYTES], values: &mut [u32; GROUP]) {
        for (number, value) in values.iter_mut().enumerate() {
            let bit = number * WIDTH;
            let word = bytes[bit / 8..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
            *value = (word >> (bit % 8) & ((1 << WIDTH) - 1)) as u32;
        }
    }
    fn of_width<const WIDTH: usize>(mut packed: &[u8], groups: &mut [[u32; GROUP]]) {
        for values in groups {
            if let Some(bytes) = packed.first_chunk() {
                one::<WIDTH>(bytes, values);
            } else {
                let mut bytes = [0; BYTES];
                bytes[..packed.len()].copy_from_slice(packed);
                one::<WIDTH>(&bytes, values);
            }
            packed = packed.get(WIDTH..).unwrap_or_default();
        }
    }
    for_width!(width, of_width(packed, groups), groups.fill([0; GROUP]));
}

/// Returns the bits that the largest value takes; 0 for zero.
pub(super) fn width_of(largest: u32) -> u32 {
    u32::BITS - largest.leading_zeros()
}

/// Appends the values, each below `2^width`, in about as few bytes as there may be.
///
/// A run of one value may have any length, and packed values come in groups of eight: so it is decided group by group. Where
/// rows are in the order of a column, runs of a few rows take a third of what they take as bits.
pub(super) fn encode(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let run_bytes = run_bytes(width);
    let (mut packed_from, mut at) = (0, 0);
    while let Some(group) = values[at..].first_chunk::<GROUP>() {
        let changes = changes(group);
        let num_runs = 1 + changes.count_ones() as usize;
        let length = match changes {
            0 => GROUP + run_length(group[0], &values[at + GROUP..]),
            _ => 1 + changes.trailing_zeros() as usize,
        };
        // A run in fewer bytes than its bits; or a few in fewer than the group, which needs a header if it stands alone.
        let is_long = length * width as usize >= GROUP * run_bytes;
        let are_few = num_runs > 1 && num_runs * run_bytes < width as usize + 2;
        if is_long || are_few || width == 0 {
            pack(&values[packed_from..at], width, out);
            put_repeated(group[0], length, width, out);
            at += length;
            packed_from = at;
        } else {
            at += GROUP;
        }
    }
    pack(&values[packed_from..], width, out);
}

/// Bytes of a run of one value, unless it is long.
pub(super) fn run_bytes(width: u32) -> usize {
    1 + width.div_ceil(8) as usize
}

/// A bit for each value that the next one does not equal.
pub(super) fn changes<const COUNT: usize>(values: &[u32; COUNT]) -> u64 {
    let pairs = values.iter().zip(&values[1..]);
    (0..).zip(pairs).fold(0, |bits, (place, (value, next))| bits | u64::from(value != next) << place)
}

/// How often the value stands at the beginning.
fn run_length(value: u32, values: &[u32]) -> usize {
    let groups = values.as_chunks().0.iter().take_while(|group| **group == [value; GROUP]).count() * GROUP;
    groups + values[groups..].iter().take_while(|other| **other == value).count()
}

/// Appends one value, so many times.
pub(super) fn put_repeated(value: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    let num_bytes = width.div_ceil(8) as usize;
    if count < 0x40 {
        // Header and value at once.
        let begin = out.len();
        out.extend_from_slice(&(u64::from(value) << 8 | (count as u64) << 1).to_le_bytes());
        out.truncate(begin + 1 + num_bytes);
    } else {
        put_varint((count as u64) << 1, out);
        out.extend_from_slice(&value.to_le_bytes()[..num_bytes]);
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends one run of packed values; none, no run. The last group is filled up with zeros.
fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    fn of_width<const WIDTH: usize>(values: &[u32], out: &mut Vec<u8>) {
        let (whole, rest) = values.as_chunks::<GROUP>();
        let mut last = [0; GROUP];
        last[..rest.len()].copy_from_slice(rest);
        let last = (!rest.is_empty()).then_some(&last);
        for group in whole.iter().chain(last) {
            // Eight values of up to 16 bits are one number, whose halves do not wait for each other.
            if WIDTH <= 16 {
                let half = |values: &[u32]| {
                    values.iter().rev().fold(0, |bits, value| bits << WIDTH | u64::from(*value))
                };
                let bits = u128::from(half(&group[..4])) | u128::from(half(&group[4..])) << (4 * WIDTH);
                out.extend_from_slice(&bits.to_le_bytes()[..WIDTH.min(16)]);
                continue;
            }
            let mut bytes = [0; WIDTH];
            let (mut waiting, mut num_bits, mut at) = (0_u64, 0, 0);
            for value in group {
                waiting |= u64::from(*value) << num_bits;
                num_bits += WIDTH;
                while num_bits >= 8 {
                    bytes[at] = waiting as u8;
                    (waiting, num_bits, at) = (waiting >> 8, num_bits - 8, at + 1);
                }
            }
            out.extend_from_slice(&bytes);
        }
    }
    if !values.is_empty() {
        put_varint((values.len().div_ceil(GROUP) as u64) << 1 | 1, out);
        for_width!(width, of_width(values, out), ());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, ParquetError> {
        let mut values = Vec::new();
        decode(bytes, width, count, |run| {
            match run {
                Run::Repeated(value, times) => values.extend(std::iter::repeat_n(value, times)),
                Run::Values(some) => values.extend_from_slice(some),
            }
            Ok(())
        })?;
        Ok(values)
    }

    /// Runs of any length of values of some width.
    fn values() -> impl Strategy<Value = (u32, Vec<u32>)> {
        (0..=MAX_WIDTH).prop_flat_map(|width| {
            let most = ((1_u64 << width) - 1) as u32;
            let run = (0..=most, prop_oneof![Just(1_usize), 1..12_usize, 1..1500_usize]);
            let runs = prop::collection::vec(run, 0..40).prop_map(|runs| {
                runs.into_iter().flat_map(|(value, times)| std::iter::repeat_n(value, times)).collect()
            });
            (Just(width), runs)
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded((width, values) in values()) {
            let mut bytes = Vec::new();
            encode(&values, width, &mut bytes);
            prop_assert_eq!(decoded(&bytes, width, values.len()).unwrap(), values);
        }

        #[test]
        fn bytes_that_are_cut_off_are_an_error((width, values) in values(), part in 0.0..1.0) {
            let mut bytes = Vec::new();
            encode(&values, width, &mut bytes);
            prop_assume!(!bytes.is_empty());
            let kept = &bytes[..(bytes.len() as f64 * part) as usize];
            // Zeros that fill up the last group may be missing, and nothing else.
            match decoded(kept, width, values.len()) {
                Ok(found) => prop_assert_eq!(found, values),
                Err(error) => prop_assert!(error.to_string().contains("packed bits")),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), width in 0..40_u32) {
            if let Ok(values) = decoded(&bytes, width, 100) {
                prop_assert_eq!(values.len(), 100);
            }
        }
    }

    #[test]
    fn the_format_is_that_of_the_specification() {
        let mut bytes = Vec::new();
        // The example of the specification: 0 to 7 in three bits each.
        encode(&[0, 1, 2, 3, 4, 5, 6, 7], 3, &mut bytes);
        assert_eq!(bytes, [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        bytes.clear();
        encode(&[300; 100], 9, &mut bytes);
        assert_eq!(bytes, [200, 1, 44, 1]);
    }
}
