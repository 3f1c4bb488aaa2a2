//! What makes an event the same event, wherever and however often it is delivered.
//!
//! `event_id` is the first 128 bits of the BLAKE3 hash of one message, written as 32 lower-case hex digits (byte 0 first).
//! The message is fixed for good: a change would give every stored event a second identity.
//!
//! # Layout of the message
//!
//! Seven parts in this order, each with its own length in front:
//!
//! | part | content |
//! | --- | --- |
//! | topic | text |
//! | run | text; empty where the producer named no run |
//! | session | number or text, as the contract types it |
//! | item in session | number or text, as the contract types it |
//! | event time | number, ms since 1970 UTC |
//! | page or kind | text: the page where the contract names a page field, else the contract's `identity.kind` |
//! | user | number or text, as the contract types it, or null |
//!
//! * A number (int or long) is the byte `08` and its 8 bytes as a little-endian two's complement.
//! * A text of at most 253 bytes (UTF-8) is one byte with its length, then its bytes.
//! * A longer text is the byte `FE`, its length as 4 bytes little-endian, then its bytes.
//! * Null is the byte `FF` alone.
//! * After the last part, bytes `00` up to the next multiple of 64 (none if it is one already).
//!
//! Two different lists of parts give two different messages: each part says where it ends, the number of parts is fixed,
//! and the padding follows the last. In Python:
//!
//! ```python
//! def part(x):
//!     if x is None: return b"\xff"
//!     if isinstance(x, int): return b"\x08" + x.to_bytes(8, "little", signed=True)
//!     b = x.encode()
//!     return (bytes([len(b)]) if len(b) <= 253 else b"\xfe" + len(b).to_bytes(4, "little")) + b
//!
//! def event_id(topic, run, session, item, ts, page, user):
//!     m = b"".join(map(part, (topic, run or "", session, item, ts, page, user)))
//!     return blake3(m + bytes(-len(m) % 64)).digest()[:16].hex()
//! ```

use blake3::IncrementCounter;
use blake3::platform::Platform;
use sha2::{Digest, Sha256};

/// Hex digits of an event id.
pub const EVENT_ID_DIGITS: usize = 32;

/// The message is padded to a multiple of this, BLAKE3's block.
pub(crate) const BLOCK: usize = 64;
const LONG_TEXT: u8 = 0xFE;
const NULL: u8 = 0xFF;

/// One value of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// No value; different from every value.
    Null,
    /// An int or long.
    Number(i64),
    /// A text.
    Text(&'a [u8]),
}

/// Everything that makes an event the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventIdentity<'a> {
    /// Kafka topic.
    pub topic: &'a str,
    /// Producer run, empty if none.
    pub run_id: &'a [u8],
    /// Session.
    pub session: Part<'a>,
    /// Position in the session.
    pub item: Part<'a>,
    /// Event time, ms since 1970 UTC.
    pub event_time_ms: i64,
    /// Page, or the contract's kind.
    pub page: &'a [u8],
    /// User or null.
    pub user: Part<'a>,
}

impl EventIdentity<'_> {
    /// Returns the event id, 32 hex digits.
    #[must_use]
    pub fn event_id(&self) -> String {
        String::from_utf8_lossy(&hex(&self.id().to_be_bytes())).into_owned()
    }

    /// Returns the event id as a number, its first hex digit highest.
    #[must_use]
    pub fn id(&self) -> u128 {
        let mut message = Vec::with_capacity(2 * BLOCK);
        self.write_message(&mut message);
        u128::from_be_bytes(first_half(&message))
    }

    /// Appends the message to `out`, padding included; `out` must hold a multiple of 64 bytes.
    pub(crate) fn write_message(&self, out: &mut Vec<u8>) {
        write_text(self.topic.as_bytes(), out);
        write_text(self.run_id, out);
        write_part(self.session, out);
        write_part(self.item, out);
        write_part(Part::Number(self.event_time_ms), out);
        write_text(self.page, out);
        write_part(self.user, out);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
}

/// Returns 128 bits that stand for a session of a run: run (text) and session as in the message, hashed alike.
pub(crate) fn session_key(run_id: &[u8], session: Part<'_>) -> u128 {
    let mut message = Vec::with_capacity(BLOCK);
    write_text(run_id, &mut message);
    write_part(session, &mut message);
    u128::from_be_bytes(first_half(&message))
}

/// Appends one value with its length in front.
pub(crate) fn write_part(part: Part<'_>, out: &mut Vec<u8>) {
    match part {
        Part::Null => out.push(NULL),
        Part::Text(text) => write_text(text, out),
        Part::Number(number) => {
            let mut bytes = [8_u8; 9];
            bytes[1..].copy_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&bytes);
        }
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(length) if length < LONG_TEXT => out.push(length),
        _ => {
            // A Kafka value is far below 4 GiB, so the length always fits.
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            out.push(LONG_TEXT);
            out.extend_from_slice(&length.to_le_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Returns the first 128 bits of the BLAKE3 hash.
pub(crate) fn first_half(message: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(message).as_bytes()[..16]);
    half
}

/// Hashes messages of one block sixteen at a time, in the lanes of one vector register.
///
/// It saves about 0.09 CPU seconds per million events. `hash_many` is public but not documented by its crate; a test holds
/// it against `blake3::hash`, and a change of it would not compile.
#[derive(Debug)]
pub(crate) struct BlockHasher {
    platform: Platform,
    hashes: [u8; 32 * BlockHasher::LANES],
}

impl BlockHasher {
    /// The most messages of one call.
    pub(crate) const LANES: usize = 16;
    /// BLAKE3's initial chaining value and the flags of a message that is one block; see section 2 of its specification.
    const INITIAL: [u32; 8] = [
        0x6A09_E667,
        0xBB67_AE85,
        0x3C6E_F372,
        0xA54F_F53A,
        0x510E_527F,
        0x9B05_688C,
        0x1F83_D9AB,
        0x5BE0_CD19,
    ];
    const CHUNK_START: u8 = 1;
    const CHUNK_END: u8 = 2;
    const ROOT: u8 = 8;

    pub(crate) fn new() -> Self {
        Self { platform: Platform::detect(), hashes: [0; 32 * Self::LANES] }
    }

    /// Returns the first 128 bits of the BLAKE3 hash of each message; of the first sixteen, if there are more.
    pub(crate) fn first_halves(&mut self, messages: &[[u8; BLOCK]]) -> impl Iterator<Item = [u8; 16]> {
        let mut inputs = [&[0; BLOCK]; Self::LANES];
        let count = messages.len().min(Self::LANES);
        for (input, message) in inputs.iter_mut().zip(messages) {
            *input = message;
        }
        self.platform.hash_many(
            &inputs[..count],
            &Self::INITIAL,
            0,
            IncrementCounter::No,
            0,
            Self::CHUNK_START,
            Self::CHUNK_END | Self::ROOT,
            &mut self.hashes[..32 * count],
        );
        let (hashes, _) = self.hashes[..32 * count].as_chunks::<32>();
        hashes.iter().map(|hash| {
            let mut half = [0; 16];
            half.copy_from_slice(&hash[..16]);
            half
        })
    }
}

/// Returns 16 bytes as 32 lower-case hex digits.
pub(crate) fn hex(bytes: &[u8; 16]) -> [u8; EVENT_ID_DIGITS] {
    let mut digits = [0; EVENT_ID_DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    digits
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Returns the id that older pipelines on these topics made: SHA-256 (64 hex digits) of user, session and event time,
/// joined by `_`, with null left out. It merges different events, so it is only a column for comparison.
#[must_use]
pub fn legacy_event_id(user: Part<'_>, session: Part<'_>, event_time_ms: i64) -> String {
    let mut message = Vec::with_capacity(64);
    for part in [user, session, Part::Number(event_time_ms)] {
        let text = match part {
            Part::Null => continue,
            Part::Number(number) => number.to_string().into_bytes(),
            Part::Text(text) => text.to_vec(),
        };
        if !message.is_empty() {
            message.push(b'_');
        }
        message.extend_from_slice(&text);
    }
    let digest = Sha256::digest(&message);
    digest
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests;
