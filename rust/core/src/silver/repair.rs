//! Repairs text whose UTF-8 was read as Latin-1 (or Windows-1252) and written as UTF-8 again: `Ã¹` for `ù`.
//!
//! One pass takes every character as the byte it has in Latin-1, or else in Windows-1252 (as browsers decode it, where all
//! 256 bytes mean something), and reads the bytes as strict UTF-8. Both tables are one to one, so a pass can be undone. A
//! pass counts only if the whole text goes through, something in it was not ASCII, and there is evidence:
//!
//! * a control character U+0080–U+009F stands in the text: no catalogue has them, Latin-1 mojibake is full of them; or
//! * at least three characters came out; or
//! * every character that came out is common: Latin-1 letters and signs, Latin Extended-A, Greek, Cyrillic, or any
//!   character that takes three or four bytes.
//!
//! Without the last rule `BEYONCÉ’S` and `Strauß’` would be damaged, since `É’` and `ß’` happen to be the Windows-1252 form of
//! rare characters. Letters alone can never look like mojibake: in both tables the bytes 0x80–0xBF, which must follow a first
//! byte, are hardly letters (ª, º, µ, ƒ, Š, Œ, Ž, š, œ, ž, Ÿ are all).
//!
//! Passes repeat until one changes nothing, so text that went through the wrong table twice comes out whole, and repairing
//! a repaired text changes nothing. Each pass at least halves the characters above ASCII, so they end. What stays ambiguous:
//! clean text whose every non-ASCII run is also the mojibake of a common character (`Ã©` meant as such) is repaired. What
//! stays damaged: one or two characters that went through both tables in turn, such as `ÃƒÂ–` for `Ö`, for lack of evidence.

use std::borrow::Cow;

/// Returns the repaired text, borrowed if nothing was to be repaired.
#[must_use]
pub fn repair(text: &str) -> Cow<'_, str> {
    let mut repaired = Cow::Borrowed(text);
    while let Some(next) = pass(&repaired) {
        repaired = Cow::Owned(next);
    }
    repaired
}

/// One pass; `None` if it does not count.
fn pass(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let encoded = encode(text, latin1).or_else(|| encode(text, windows1252))?;
    let repaired = String::from_utf8(encoded).ok()?;
    has_evidence(text, &repaired).then_some(repaired)
}

fn encode(text: &str, byte: impl Fn(char) -> Option<u8>) -> Option<Vec<u8>> {
    text.chars().map(byte).collect()
}

fn latin1(letter: char) -> Option<u8> {
    u8::try_from(u32::from(letter)).ok()
}

/// The characters of bytes 0x80–0x9F; the five that Windows left open are the control characters, as browsers decode them.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

fn windows1252(letter: char) -> Option<u8> {
    match WINDOWS_1252.iter().position(|other| *other == letter) {
        Some(index) => u8::try_from(0x80 + index).ok(),
        None => latin1(letter).filter(|byte| !(0x80..=0x9F).contains(byte)),
    }
}

fn has_evidence(text: &str, repaired: &str) -> bool {
    let is_control = |letter: char| matches!(letter, '\u{80}'..='\u{9F}');
    let came_out = || repaired.chars().filter(|letter| !letter.is_ascii());
    text.contains(is_control) || came_out().nth(2).is_some() || came_out().all(is_common)
}

fn is_common(letter: char) -> bool {
    matches!(letter, '\u{A0}'..='\u{17F}' | '\u{386}'..='\u{3CE}' | '\u{400}'..='\u{45F}' | '\u{800}'..)
}
