//! Reads JSON numbers, eight digits at a time.
//!
//! `None` is "unusual" (too many digits, another form, no number at all); the reference decoder then decides. A double is
//! correctly rounded, so it is the reference's double bit for bit.

const MAX_WHOLE_DIGITS: usize = 18;
/// With at most this many digits the digits are an exact double, and so is the power of ten: one rounding in the division.
const MAX_EXACT_DIGITS: usize = 15;

const POWERS: [u64; MAX_WHOLE_DIGITS + 1] = {
    let mut powers = [1; MAX_WHOLE_DIGITS + 1];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

const EXACT_POWERS: [f64; MAX_EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads a whole number at `line[at]`; returns it and the position after it. Minus zero is unusual: JSON readers disagree.
#[inline]
pub(super) fn whole(line: &[u8], at: usize) -> Option<(i64, usize)> {
    let is_negative = *line.get(at)? == b'-';
    let start = at + usize::from(is_negative);
    let (magnitude, end) = digits(line, start)?;
    if line[start] == b'0' && (end > start + 1 || is_negative) {
        return None;
    }
    let magnitude = i64::try_from(magnitude).ok()?;
    Some((if is_negative { -magnitude } else { magnitude }, end))
}

/// Reads a number at `line[at]` as a double; returns it and the position after it.
#[inline]
pub(super) fn double(line: &[u8], at: usize) -> Option<(f64, usize)> {
    match short_double(line, at) {
        Some(short) => Some(short),
        None => long_double(line, at),
    }
}

/// Reads digits with an optional fraction, where their number is small and there is no exponent.
#[inline]
fn short_double(line: &[u8], at: usize) -> Option<(f64, usize)> {
    let is_negative = *line.get(at)? == b'-';
    let start = at + usize::from(is_negative);
    let (mut mantissa, mut end) = digits(line, start)?;
    let num_whole = end - start;
    if line[start] == b'0' && num_whole > 1 {
        return None;
    }
    let mut num_fraction = 0;
    if line.get(end) == Some(&b'.') {
        let (fraction, fraction_end) = digits(line, end + 1)?;
        num_fraction = fraction_end - end - 1;
        if num_whole + num_fraction > MAX_EXACT_DIGITS {
            return None;
        }
        mantissa = mantissa * POWERS[num_fraction] + fraction;
        end = fraction_end;
    }
    if num_whole > MAX_EXACT_DIGITS || matches!(line.get(end), Some(b'e' | b'E')) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 15 digits are exact")]
    let value = mantissa as f64 / EXACT_POWERS[num_fraction];
    Some((if is_negative { -value } else { value }, end))
}

/// Reads any other number that JSON's grammar allows and that is finite.
#[cold]
fn long_double(line: &[u8], at: usize) -> Option<(f64, usize)> {
    let end = token_end(line, at)?;
    let value: f64 = fast_float2::parse(&line[at..end]).ok()?;
    value.is_finite().then_some((value, end))
}

/// Returns the end of the number that begins at `line[at]`, by JSON's grammar.
fn token_end(line: &[u8], at: usize) -> Option<usize> {
    let skip_digits =
        |from: usize| from + line[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let start = at + usize::from(line.get(at) == Some(&b'-'));
    let mut end = match line.get(start)? {
        b'0' => start + 1,
        b'1'..=b'9' => skip_digits(start),
        _ => return None,
    };
    if line.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = skip_digits(fraction);
        if end == fraction {
            return None;
        }
    }
    if matches!(line.get(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + usize::from(matches!(line.get(end + 1), Some(b'+' | b'-')));
        end = skip_digits(exponent.min(line.len()));
        if end == exponent {
            return None;
        }
    }
    Some(end)
}

/// Reads 1 to 18 digits; returns their value and the position after them.
#[inline]
fn digits(line: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    let mut at = start;
    while let Some(chunk) = line.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let (part, count) = leading_digits(u64::from_le_bytes(*chunk));
        if at - start + count > MAX_WHOLE_DIGITS {
            return None;
        }
        value = value * POWERS[count] + part;
        at += count;
        if count < 8 {
            return (at > start).then_some((value, at));
        }
    }
    while let Some(digit) = line.get(at).filter(|byte| byte.is_ascii_digit()) {
        if at - start == MAX_WHOLE_DIGITS {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
        at += 1;
    }
    (at > start).then_some((value, at))
}

/// Returns the number that the leading digits (lowest address first) of eight bytes make, and how many they are.
#[inline]
fn leading_digits(word: u64) -> (u64, usize) {
    let digits = word ^ 0x3030_3030_3030_3030;
    // A digit is 0..=9 now; anything else gets its high bit set. A carry only reaches bytes after the first such one.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    let count = others.trailing_zeros() / 8;
    if count == 0 {
        return (0, 0);
    }
    // Missing digits become leading zeros; then neighbours join to pairs, pairs to fours, fours to eight.
    let digits = digits << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let upper = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let lower = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    (upper.wrapping_add(lower) >> 32, count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_every_length_are_read_wherever_the_line_ends() {
        let all = "123456789012345678";
        for length in 1..=18 {
            for (sign, after) in [("", ""), ("-", ","), ("", "}\n"), ("-", ",\"registration\":1")] {
                let line = format!("{sign}{}{after}", &all[..length]);
                let expected: i64 = line[..sign.len() + length].parse().unwrap();
                assert_eq!(whole(line.as_bytes(), 0), Some((expected, sign.len() + length)), "{line}");
            }
        }
        assert_eq!(whole(b"0,", 0), Some((0, 1)));
    }

    #[test]
    fn other_forms_of_whole_numbers_are_unusual() {
        for line in [
            "",
            "-",
            "x",
            "-x",
            "00",
            "01",
            "-0",
            "-01",
            "1234567890123456789",
            "1234567890123456789,\"abcdefgh\"",
            "+1",
            " 1",
        ] {
            assert_eq!(whole(line.as_bytes(), 0), None, "{line}");
        }
    }

    #[test]
    fn doubles_equal_those_of_the_standard_library_bit_for_bit() {
        let texts = [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "1",
            "-1.5",
            "223.4012",
            "-82.744814",
            "41.42828",
            "123456789.123456789012",
            "0.1",
            "0.3",
            "9007199254740993",
            "1e23",
            "-1E-7",
            "1.7976931348623157e308",
            "4.9e-324",
            "2e-400",
            "123456789012345.6",
            "12345678901234.5",
            "0.000000000000001",
            "18446744073709551616",
            "1e+5",
            "8.41e21",
            "100000000000000000000000000000001.5",
            "5e-324",
            "2.2250738585072011e-308",
        ];
        for text in texts {
            for after in ["", ",", "}\n", ",\"userId\":12"] {
                let line = format!("{text}{after}");
                let expected: f64 = text.parse().unwrap();
                let (found, end) = double(line.as_bytes(), 0).unwrap();
                assert_eq!((found.to_bits(), end), (expected.to_bits(), text.len()), "{line}");
            }
        }
    }

    #[test]
    fn what_is_no_finite_number_is_unusual() {
        for line in ["", "-", ".5", "-.5", "1.", "1.,", "1e", "1e+", "1.e5", "NaN", "-Infinity", "1e400", "x"]
        {
            assert_eq!(double(line.as_bytes(), 0), None, "{line}");
        }
        assert_eq!(
            double(b"00.5", 0),
            Some((0.0, 1)),
            "the zero ends the number, and what follows is refused"
        );
    }
}
