//! Reads a JSON text and copies it into its column in one pass, eight bytes at a time.
//!
//! Escapes are undone on the way (most user agents have two). `None` is "unusual": a control character, a broken escape,
//! half of a surrogate pair, or no end; what has been copied by then does not count, because nothing was committed.

use super::columns::Text;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = ONES << 7;

/// Returns a word whose lowest set bit is in the first byte (lowest address) that is a quote, a backslash or below 0x20;
/// zero if there is none. Bits above the lowest one mean nothing: a subtraction may have borrowed.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let backslash = word ^ (ONES * 0x5C);
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_quote | is_backslash | is_control) & HIGH_BITS
}

/// Copies the text whose first byte (after the opening quote) is `line[at]` and returns the position after its closing quote.
#[inline]
pub(super) fn text(line: &[u8], mut at: usize, out: &mut Text) -> Option<usize> {
    // Undoing an escape never makes text longer, and a word may be stored whole where only its first bytes count.
    out.make_room(line.len().saturating_sub(at) + 8);
    let mut end = out.used;
    loop {
        if let Some(chunk) = line.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            out.bytes.get_mut(end..)?.first_chunk_mut::<8>()?.copy_from_slice(chunk);
            let special = special_bytes(u64::from_le_bytes(*chunk));
            if special == 0 {
                at += 8;
                end += 8;
                continue;
            }
            let ordinary = (special.trailing_zeros() / 8) as usize;
            at += ordinary;
            end += ordinary;
        } else {
            while let Some(byte) = line.get(at).filter(|byte| !is_special(**byte)) {
                *out.bytes.get_mut(end)? = *byte;
                at += 1;
                end += 1;
            }
        }
        match line.get(at)? {
            b'"' => {
                out.commit(end);
                return Some(at + 1);
            }
            b'\\' => (at, end) = unescape(line, at + 1, &mut out.bytes, end)?,
            _ => return None,
        }
    }
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Undoes one escape whose letter is `line[at]`; returns where reading and writing go on.
#[inline]
fn unescape(line: &[u8], at: usize, bytes: &mut [u8], end: usize) -> Option<(usize, usize)> {
    let byte = match line.get(at)? {
        plain @ (b'"' | b'\\' | b'/') => *plain,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unescape_unicode(line, at + 1, bytes, end),
        _ => return None,
    };
    *bytes.get_mut(end)? = byte;
    Some((at + 1, end + 1))
}

/// Undoes `\uXXXX` (or a pair of them) whose digits begin at `line[at]`.
fn unescape_unicode(line: &[u8], at: usize, bytes: &mut [u8], end: usize) -> Option<(usize, usize)> {
    let first = code_unit(line, at)?;
    let (letter, at) = match first {
        0xD800..0xDC00 => {
            let second = (line.get(at + 4..at + 6)? == b"\\u").then(|| code_unit(line, at + 6))??;
            let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
            (char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + low)?, at + 10)
        }
        other => (char::from_u32(other)?, at + 4),
    };
    let length = letter.encode_utf8(bytes.get_mut(end..end + 4)?).len();
    Some((at, end + length))
}

/// Reads four hex digits.
fn code_unit(line: &[u8], at: usize) -> Option<u32> {
    let digits = line.get(at..at + 4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// Returns the position after a JSON text that is kept as it is written, `line[at]` being its first byte after the
/// opening quote; `None` for control characters and for escapes that would need a closer look.
pub(super) fn skip_text(line: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match line.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match line.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                _ => return None,
            },
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_at_every_place_beside_every_byte() {
        for place in 0..8 {
            for byte in 0..=255_u8 {
                for filler in [b'a', 0x80, 0xFF, 0x21, 0x23, 0x5B, 0x5D, 0x7F, 0x20, 0xA2, 0xDC] {
                    for after in [b'"', 0, b'x', 0x1F] {
                        let mut word = [filler; 8];
                        word[place] = byte;
                        for slot in &mut word[place + 1..] {
                            *slot = after;
                        }
                        let expected = word.iter().position(|byte| is_special(*byte));
                        let special = special_bytes(u64::from_le_bytes(word));
                        let found = (special != 0).then(|| (special.trailing_zeros() / 8) as usize);
                        assert_eq!(found, expected, "{word:02x?}");
                    }
                }
            }
        }
    }
}
