//! Ids that are hexadecimal digits, two of them in a byte: at half their length, and in the order of the digits.

use super::plain::LENGTH;

const ONES: u64 = u64::MAX / 0xff;
const LOW: u64 = 0x0f * ONES;

/// Ids of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    /// Digits of each: 32 or 64.
    pub(super) num_digits: usize,
    /// Two digits in a byte.
    pub(super) packed: Vec<u8>,
}

impl Ids {
    /// None yet, in this room.
    pub(super) fn new(mut room: Vec<u8>) -> Self {
        room.clear();
        Self { num_digits: 32, packed: room }
    }

    /// Bytes of each.
    pub(super) fn id_bytes(&self) -> usize {
        self.num_digits / 2
    }

    /// Bytes of each as a text with its length.
    pub(super) fn width(&self) -> usize {
        LENGTH + self.num_digits
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.packed.len() / self.id_bytes()
    }

    /// Removes all but so many.
    pub(super) fn truncate(&mut self, count: usize) {
        self.packed.truncate(count * self.id_bytes());
    }

    /// Adds so many texts with their lengths; `false` if they are no digits, or not as many as the others have, and nothing was
    /// added.
    pub(super) fn add(&mut self, texts: &[u8], count: usize) -> bool {
        let Some(length) = texts.first_chunk() else { return count == 0 };
        if !self.takes(u32::from_le_bytes(*length) as usize)
            || Some(texts.len()) != count.checked_mul(self.width())
        {
            return false;
        }
        let before = self.packed.len();
        self.packed.resize(before + count * self.id_bytes(), 0);
        let packed = &mut self.packed[before..];
        let are_digits = match self.num_digits {
            32 => pack_texts::<36, 16>(texts, length, packed),
            _ => pack_texts::<68, 32>(texts, length, packed),
        };
        if !are_digits {
            self.packed.truncate(before);
        }
        are_digits
    }

    /// Adds ids of so many digits that lie side by side; `false` as for [`Ids::add`].
    pub(super) fn add_digits(&mut self, digits: &[u8], num_digits: usize) -> bool {
        if !self.takes(num_digits) || !digits.len().is_multiple_of(num_digits) {
            return false;
        }
        let before = self.packed.len();
        self.packed.resize(before + digits.len() / 2, 0);
        let are_digits = pack(digits, &mut self.packed[before..]);
        if !are_digits {
            self.packed.truncate(before);
        }
        are_digits
    }

    /// Whether ids of so many digits can be added.
    pub(super) fn takes(&mut self, num_digits: usize) -> bool {
        if self.packed.is_empty() && matches!(num_digits, 32 | 64) {
            self.num_digits = num_digits;
        }
        self.num_digits == num_digits
    }

    /// Appends the texts with their lengths.
    pub(super) fn put_texts(&self, texts: &mut Vec<u8>) {
        let begin = texts.len();
        texts.resize(begin + self.len() * self.width(), 0);
        let length = (self.num_digits as u32).to_le_bytes();
        let ids = self.packed.chunks_exact(self.id_bytes());
        for (id, text) in ids.zip(texts[begin..].chunks_exact_mut(self.width())) {
            text[..LENGTH].copy_from_slice(&length);
            unpack(id, &mut text[LENGTH..]);
        }
    }
}

/// Packs texts of this length; returns whether they are digits.
fn pack_texts<const WIDTH: usize, const HALF: usize>(
    texts: &[u8],
    length: &[u8; LENGTH],
    packed: &mut [u8],
) -> bool {
    let both = texts.as_chunks::<WIDTH>().0.iter().zip(packed.as_chunks_mut::<HALF>().0);
    both.fold(true, |are_digits, (text, packed)| {
        are_digits & (text[..LENGTH] == *length) & pack(&text[LENGTH..], packed)
    })
}

/// Packs lower-case digits, a multiple of eight; returns whether that is what they are.
pub(super) fn pack(digits: &[u8], packed: &mut [u8]) -> bool {
    let mut others = 0;
    for (eight, packed) in digits.as_chunks().0.iter().zip(packed.as_chunks_mut().0) {
        let given = u64::from_be_bytes(*eight);
        // Only letters have this bit, and `a` ends with 1 as `1` does.
        let values = (given & LOW) + 9 * ((given >> 6) & ONES);
        others |= digits_of(values & LOW) ^ given;
        let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
        *packed = ((fours | fours >> 16) as u32).to_be_bytes();
    }
    others == 0
}

/// The way back.
pub(super) fn unpack(packed: &[u8], digits: &mut [u8]) {
    for (four, eight) in packed.as_chunks().0.iter().zip(digits.as_chunks_mut().0) {
        let number = u64::from(u32::from_be_bytes(*four));
        let fours = (number | number << 16) & 0x0000_ffff_0000_ffff;
        let pairs = (fours | fours << 8) & 0x00ff_00ff_00ff_00ff;
        *eight = digits_of((pairs | pairs << 4) & LOW).to_be_bytes();
    }
}

/// The digit of each value: from ten on, a value carries into the bit above its four.
fn digits_of(values: u64) -> u64 {
    values + u64::from(b'0') * ONES + 39 * (((values + 6 * ONES) >> 4) & ONES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_and_nothing_else_is_one() {
        let all = *b"0123456789abcdef";
        let mut packed = [0; 8];
        assert!(pack(&all, &mut packed));
        assert_eq!(packed, [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        let mut digits = [0; 16];
        unpack(&packed, &mut digits);
        assert_eq!(digits, all);
        for byte in (0..=u8::MAX).filter(|byte| !all.contains(byte)) {
            for place in 0..all.len() {
                let mut other = all;
                other[place] = byte;
                assert!(!pack(&other, &mut packed), "byte {byte} at {place}");
            }
        }
    }
}
