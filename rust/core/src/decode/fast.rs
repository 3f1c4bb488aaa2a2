//! One pass over the bytes of an ordinary record, straight into the columns.
//!
//! `None` is "unusual": the caller rolls the row back and asks the reference decoder, which alone decides between a row
//! and a dead letter. So this file must never accept what the reference refuses, nor read it otherwise; it may give up on
//! anything. It gives up on: a doubled field, an escaped key, a value of another type, a number that is not plain, a
//! nested value or a `\u` escape in an unknown field, a field to be split, a missing required field, any broken syntax.

use super::columns::{ColumnBuffer, Columns, Values};
use super::plan::{FieldPlan, Key, Next, Plan, Previous};
use super::{number, scan};
use crate::contract::FieldKind;

/// More unknown fields than this in one record are unusual, so that looking for doubled ones stays cheap.
const MAX_UNKNOWN: usize = 16;

/// Reads records of one topic.
#[derive(Debug)]
pub(super) struct Reader {
    plan: Plan,
    /// The unknown fields of the record, as they will stand in `_extras`.
    extras: Vec<u8>,
    /// Where the keys in `extras` stand.
    unknown: Vec<(usize, usize)>,
}

/// What follows a value.
enum Step {
    Value(Next, usize),
    Unknown(usize),
    End(usize),
}

impl Reader {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, extras: Vec::new(), unknown: Vec::new() }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Reads one record, which must be UTF-8, into the row at `columns.rows`.
    pub(super) fn read(&mut self, line: &[u8], columns: &mut Columns) -> Option<()> {
        self.extras.clear();
        self.unknown.clear();
        let mut at = 0;
        let mut previous = Previous::Start;
        let mut seen = 0_u64;
        let mut present = 0_u64;
        loop {
            let (next, value_at) = match self.plan.predict(previous, line, at) {
                Some(predicted) => predicted,
                None => match self.step(previous, line, at)? {
                    Step::Value(next, value_at) => (next, value_at),
                    Step::Unknown(end) => {
                        (at, previous) = (end, Previous::Unknown);
                        continue;
                    }
                    Step::End(end) => {
                        at = end;
                        break;
                    }
                },
            };
            let bit = 1 << next.field;
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            let column = columns.payload.get_mut(next.field)?;
            let field = self.plan.fields[next.field];
            let is_present;
            (at, is_present) = value(field, next.is_quoted, line, value_at, columns.rows, column)?;
            present |= u64::from(is_present) << next.field;
            previous = Previous::Field(next.field);
        }
        let is_complete = present & self.plan.required == self.plan.required;
        let is_alone = line[at..].iter().all(|byte| is_white_space(*byte));
        if !is_complete || !is_alone {
            return None;
        }
        if !self.extras.is_empty() {
            self.extras.push(b'}');
            columns.extras.push_text(columns.rows, &self.extras);
        }
        Some(())
    }

    /// Reads what stands between two values by JSON's rules, and learns it.
    #[inline(never)]
    fn step(&mut self, previous: Previous, line: &[u8], from: usize) -> Option<Step> {
        let at = skip_white_space(line, from);
        let key_at = match (previous, line.get(at)?) {
            (Previous::Start, b'{') => skip_white_space(line, at + 1),
            (Previous::Field(_) | Previous::Unknown, b'}') => return Some(Step::End(at + 1)),
            (Previous::Field(_) | Previous::Unknown, b',') => skip_white_space(line, at + 1),
            _ => return None,
        };
        if *line.get(key_at)? != b'"' {
            return None;
        }
        let key_length = line[key_at + 1..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let key_end = key_at + 1 + key_length;
        if line[key_end] != b'"' {
            return None;
        }
        let colon = skip_white_space(line, key_end + 1);
        if *line.get(colon)? != b':' {
            return None;
        }
        let value_at = skip_white_space(line, colon + 1);
        match self.plan.key(&line[key_at + 1..key_end]) {
            Key::Split => None,
            Key::Field(field) => {
                let is_quoted = *line.get(value_at)? == b'"';
                let value_at = value_at + usize::from(is_quoted);
                let next = Next { field, is_quoted };
                self.plan.learn(previous, &line[from..value_at], next);
                Some(Step::Value(next, value_at))
            }
            Key::Unknown => self.keep(line, (key_at, key_end + 1), value_at).map(Step::Unknown),
        }
    }

    /// Keeps an unknown field as it is written; `key` includes its quotes. Returns the position after the value.
    fn keep(&mut self, line: &[u8], key: (usize, usize), value_at: usize) -> Option<usize> {
        let end = match line.get(value_at)? {
            b'"' => scan::skip_text(line, value_at + 1)?,
            b't' => literal(line, value_at, b"true")?,
            b'f' => literal(line, value_at, b"false")?,
            b'n' => literal(line, value_at, b"null")?,
            _ => number::double(line, value_at)?.1,
        };
        let name = &line[key.0..key.1];
        let is_doubled = self.unknown.iter().any(|(from, to)| &self.extras[*from..*to] == name);
        if is_doubled || self.unknown.len() == MAX_UNKNOWN {
            return None;
        }
        self.extras.push(if self.extras.is_empty() { b'{' } else { b',' });
        let from = self.extras.len();
        self.extras.extend_from_slice(name);
        self.unknown.push((from, self.extras.len()));
        self.extras.push(b':');
        self.extras.extend_from_slice(&line[value_at..end]);
        Some(end)
    }
}

/// Reads one value at `line[at]`; returns the position after it and whether it is one (null is not).
#[inline]
fn value(
    field: FieldPlan,
    is_quoted: bool,
    line: &[u8],
    at: usize,
    row: usize,
    column: &mut ColumnBuffer,
) -> Option<(usize, bool)> {
    // A key learned before a value without quotes also fits before one with them.
    let (is_quoted, at) = match *line.get(at)? {
        b'n' if !is_quoted => return Some((literal(line, at, b"null")?, false)),
        b'"' if !is_quoted => (true, at + 1),
        _ => (is_quoted, at),
    };
    if is_quoted && field.kind != FieldKind::String {
        return quoted_whole(field, line, at, row, column);
    }
    column.pad(row);
    let end = match &mut column.values {
        Values::Text(text) if is_quoted => scan::text(line, at, text)?,
        Values::Text(_) => return None,
        Values::Long(values) => {
            let (value, end) = number::whole(line, at)?;
            values.push(value);
            end
        }
        Values::Int(values) => {
            let (value, end) = number::whole(line, at)?;
            values.push(i32::try_from(value).ok()?);
            end
        }
        Values::Double(values) => {
            let (value, end) = number::double(line, at)?;
            values.push(value);
            end
        }
        Values::Boolean(values) => {
            let is_true = line[at] == b't';
            let end = literal(line, at, if is_true { b"true" } else { b"false" })?;
            values.push(is_true);
            end
        }
    };
    Some((end, true))
}

/// Reads a whole number in quotes, where the contract accepts that; nothing between the quotes is null.
fn quoted_whole(
    field: FieldPlan,
    line: &[u8],
    at: usize,
    row: usize,
    column: &mut ColumnBuffer,
) -> Option<(usize, bool)> {
    if !field.accept_text {
        return None;
    }
    if *line.get(at)? == b'"' {
        return Some((at + 1, false));
    }
    let (value, end) = number::whole(line, at)?;
    if *line.get(end)? != b'"' {
        return None;
    }
    column.pad(row);
    match &mut column.values {
        Values::Long(values) => values.push(value),
        Values::Int(values) => values.push(i32::try_from(value).ok()?),
        Values::Text(_) | Values::Double(_) | Values::Boolean(_) => return None,
    }
    Some((end + 1, true))
}

fn literal(line: &[u8], at: usize, expected: &[u8]) -> Option<usize> {
    line[at..].starts_with(expected).then_some(at + expected.len())
}

fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip_white_space(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|byte| is_white_space(*byte)) {
        at += 1;
    }
    at
}
