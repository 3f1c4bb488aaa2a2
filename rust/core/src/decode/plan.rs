//! What the fast decoder knows of a contract, and what it has learned from the data.
//!
//! For each field (and for the start of a record, and for an unknown field) it keeps the last two byte strings that stood
//! between the end of that value and the start of the next, such as `,"song":"`, with the field they led to. One compare
//! then stands for key, lookup, colon, comma and opening quote. It is keyed by the field before, not by position, so a
//! missing field costs one miss. Learned strings are only ever a short cut: a miss reads the key by JSON's rules.

use crate::contract::{Contract, FieldKind};

/// The longest byte string that is learned.
const MAX_LITERAL: usize = 32;
const WORDS: usize = MAX_LITERAL / 8;

/// What came last: picks the predictions for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Previous {
    /// Nothing yet.
    Start,
    /// A field that the contract does not know.
    Unknown,
    /// The field with this index.
    Field(usize),
}

impl Previous {
    #[inline]
    fn index(self) -> usize {
        match self {
            Self::Start => 0,
            Self::Unknown => 1,
            Self::Field(index) => index + 2,
        }
    }
}

/// The field whose value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Index of the field.
    pub(super) field: usize,
    /// Whether the opening quote of its value has been read.
    pub(super) is_quoted: bool,
}

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Field(usize),
    Split,
    Unknown,
}

/// How the fast decoder treats a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldPlan {
    pub(super) kind: FieldKind,
    pub(super) accept_text: bool,
}

#[derive(Clone, Copy, Debug)]
struct Prediction {
    literal: [u64; WORDS],
    mask: [u64; WORDS],
    /// 0 is "nothing learned".
    length: usize,
    next: Next,
}

impl Prediction {
    const NONE: Self =
        Self { literal: [0; WORDS], mask: [0; WORDS], length: 0, next: Next { field: 0, is_quoted: false } };

    fn new(literal: &[u8], next: Next) -> Self {
        let mut bytes = [0; MAX_LITERAL];
        let mut mask = [0; MAX_LITERAL];
        bytes[..literal.len()].copy_from_slice(literal);
        mask[..literal.len()].fill(0xFF);
        Self { literal: words(&bytes), mask: words(&mask), length: literal.len(), next }
    }
}

#[inline]
fn words(bytes: &[u8; MAX_LITERAL]) -> [u64; WORDS] {
    let (chunks, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|index| u64::from_le_bytes(chunks[index]))
}

/// The plan of one topic.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) fields: Vec<FieldPlan>,
    /// One bit per required field.
    pub(super) required: u64,
    /// Index of the event time.
    pub(super) event_time: usize,
    names: Vec<(Vec<u8>, Key)>,
    predictions: Vec<[Prediction; 2]>,
    misses: u64,
}

impl Plan {
    pub(super) fn new(contract: &Contract) -> Self {
        let mut names = Vec::new();
        let mut required = 0;
        for (index, field) in contract.fields.iter().enumerate() {
            required |= u64::from(field.required) << index;
            for name in [&field.name].into_iter().chain(&field.aliases) {
                names.push((name.clone().into_bytes(), Key::Field(index)));
            }
        }
        for split in &contract.splits {
            names.push((split.name.clone().into_bytes(), Key::Split));
        }
        let plan =
            |field: &crate::contract::Field| FieldPlan { kind: field.kind, accept_text: field.accept_text };
        let event_time = contract.fields.iter().position(|field| field.name == contract.event_time.field);
        Self {
            fields: contract.fields.iter().map(plan).collect(),
            required,
            event_time: event_time.unwrap_or(usize::MAX),
            names,
            predictions: vec![[Prediction::NONE; 2]; contract.fields.len() + 2],
            misses: 0,
        }
    }

    /// Returns what stands at `line[at]` by one of the learned byte strings, and where its value begins.
    #[inline]
    pub(super) fn predict(&self, previous: Previous, line: &[u8], at: usize) -> Option<(Next, usize)> {
        let candidates = &self.predictions[previous.index()];
        let rest = line.get(at..)?;
        let window = match rest.first_chunk::<MAX_LITERAL>() {
            Some(window) => words(window),
            None => {
                let mut window = [0; MAX_LITERAL];
                window[..rest.len()].copy_from_slice(rest);
                words(&window)
            }
        };
        for candidate in candidates {
            let pairs = window.iter().zip(&candidate.literal).zip(&candidate.mask);
            let difference =
                pairs.fold(0, |found, ((word, literal), mask)| found | ((word ^ literal) & mask));
            if difference == 0 && candidate.length != 0 {
                return Some((candidate.next, at + candidate.length));
            }
        }
        None
    }

    /// Remembers the byte string between two values, in place of the older of two.
    pub(super) fn learn(&mut self, previous: Previous, literal: &[u8], next: Next) {
        self.misses += 1;
        if literal.len() <= MAX_LITERAL {
            let slots = &mut self.predictions[previous.index()];
            *slots = [Prediction::new(literal, next), slots[0]];
        }
    }

    /// Returns what a key stands for.
    pub(super) fn key(&self, name: &[u8]) -> Key {
        self.names.iter().find(|(known, _)| known == name).map_or(Key::Unknown, |(_, key)| *key)
    }

    /// Returns how often a key had to be read by JSON's rules.
    pub(super) fn misses(&self) -> u64 {
        self.misses
    }
}
