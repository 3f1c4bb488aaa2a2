//! The slow, obviously right decoder: what it says is what a record means.
//!
//! It decides every value, every dead-letter reason and every unknown field, on `serde_json` values, one step after the
//! other. The fast decoder hands it everything unusual and must agree with it on the rest, bit for bit; tests hold the
//! two against each other.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{DecodeOptions, Reason, Record, Rejection};
use crate::contract::{Contract, Field, FieldKind, Split};

/// The value of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Absent, or null.
    Null,
    /// A text.
    Text(String),
    /// A whole number of 32 bits.
    Int(i32),
    /// A whole number of 64 bits.
    Long(i64),
    /// A floating-point number.
    Double(f64),
    /// True or false.
    Boolean(bool),
}

/// One decoded record.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// One per field of the contract, in its order.
    pub cells: Vec<Cell>,
    /// JSON object of the fields that the contract does not know, in wire order, values as they were written.
    pub extras: Option<String>,
}

/// Decodes one record.
///
/// # Errors
/// The reason why the record is a dead letter.
pub fn decode(contract: &Contract, options: &DecodeOptions, record: &Record<'_>) -> Result<Row, Rejection> {
    let bytes = record.value.ok_or_else(|| Rejection::new(Reason::Tombstone, "value is null"))?;
    if bytes.len() > options.max_value_bytes {
        let message = format!("value has {} bytes, more than {}", bytes.len(), options.max_value_bytes);
        return Err(Rejection::new(Reason::TooLarge, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Rejection::new(Reason::NotUtf8, format!("value is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    if text.trim_matches(WHITE_SPACE).is_empty() {
        return Err(Rejection::new(Reason::Empty, "value is empty"));
    }
    let row = fill(contract, parse_object(text)?)?;
    check_required(contract, &row)?;
    check_event_time(contract, options, record, &row)?;
    Ok(row)
}

/// JSON's white space.
const WHITE_SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The members of one JSON object, in wire order, doubled ones included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

fn parse_object(text: &str) -> Result<Vec<(String, &RawValue)>, Rejection> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = Members::deserialize(&mut deserializer).map_err(|error| not_json(text, &error))?;
    if deserializer.end().is_err() {
        return Err(Rejection::new(Reason::TrailingData, "value goes on after the JSON object"));
    }
    Ok(members.0)
}

fn not_json(text: &str, error: &serde_json::Error) -> Rejection {
    if error.is_data() {
        return Rejection::new(Reason::NotAnObject, "value is JSON but no object");
    }
    if has_lone_surrogate(text) {
        return Rejection::new(
            Reason::LoneSurrogate,
            "half of a surrogate pair stands alone, which is no text",
        );
    }
    let message = error.to_string();
    if message.starts_with("number out of range") {
        return Rejection::new(Reason::NumberOutOfRange, "a number is too large for every type");
    }
    Rejection::new(Reason::NotJson, format!("value is not JSON: {message}"))
}

/// Whether an escape `\uD800`..`\uDFFF` lacks its other half.
fn has_lone_surrogate(text: &str) -> bool {
    let mut rest = text;
    let mut open = false;
    while let Some(at) = rest.find('\\') {
        if open && at > 0 {
            return true;
        }
        let escape = rest[at + 1..].chars().next();
        let unit = rest.get(at + 2..at + 6).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let (unit, length) = match (escape, unit) {
            (Some('u'), Some(unit)) => (unit, 6),
            (Some(letter), _) => (0, 1 + letter.len_utf8()),
            (None, _) => return open,
        };
        let is_low = (0xDC00..0xE000).contains(&unit);
        if open != is_low {
            return true;
        }
        open = (0xD800..0xDC00).contains(&unit);
        rest = &rest[at + length..];
    }
    open
}

/// What a name on the wire stands for.
enum Meaning<'c> {
    Field(usize, &'c Field),
    Split(&'c Split),
    Unknown,
}

fn meaning<'c>(contract: &'c Contract, name: &str) -> Meaning<'c> {
    for (index, field) in contract.fields.iter().enumerate() {
        if field.name == name || field.aliases.iter().any(|alias| alias == name) {
            return Meaning::Field(index, field);
        }
    }
    contract.splits.iter().find(|split| split.name == name).map_or(Meaning::Unknown, Meaning::Split)
}

fn fill(contract: &Contract, members: Vec<(String, &RawValue)>) -> Result<Row, Rejection> {
    let mut cells = vec![Cell::Null; contract.fields.len()];
    let mut extras = String::new();
    let mut seen = HashSet::new();
    for (name, raw) in members {
        let value: Value = serde_json::from_str(raw.get()).map_err(|error| not_json(raw.get(), &error))?;
        // A field that comes twice (under whatever name) has no one value.
        let mut first = |name: &str| match seen.insert(name.to_owned()) {
            true => Ok(()),
            false => {
                Err(Rejection::new(Reason::DuplicateField, format!("field `{}` comes twice", short(name))))
            }
        };
        match meaning(contract, &name) {
            Meaning::Field(index, field) => {
                first(&field.name)?;
                cells[index] = cell(field, &value)?;
            }
            Meaning::Split(split) => {
                first(&split.into[0])?;
                first(&split.into[1])?;
                fill_split(contract, split, &value, &mut cells)?;
            }
            Meaning::Unknown => {
                first(&name)?;
                extras.push(if extras.is_empty() { '{' } else { ',' });
                extras.push_str(&Value::String(name).to_string());
                extras.push(':');
                extras.push_str(raw.get());
            }
        }
    }
    if !extras.is_empty() {
        extras.push('}');
    }
    Ok(Row { cells, extras: Some(extras).filter(|text| !text.is_empty()) })
}

fn fill_split(
    contract: &Contract,
    split: &Split,
    value: &Value,
    cells: &mut [Cell],
) -> Result<(), Rejection> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::String(text) => text,
        other => return Err(wrong_type(&split.name, other, "string")),
    };
    let (before, after) = match text.rsplit_once(',') {
        Some((before, after)) => (before, Some(after)),
        None => (text.as_str(), None),
    };
    for (name, part) in split.into.iter().zip([Some(before), after]) {
        let index = contract.fields.iter().position(|field| &field.name == name);
        if let (Some(index), Some(part)) = (index, part) {
            cells[index] = Cell::Text(part.trim().to_owned());
        }
    }
    Ok(())
}

/// The one place that decides what a JSON value of a known field means.
fn cell(field: &Field, value: &Value) -> Result<Cell, Rejection> {
    match (field.kind, value) {
        (_, Value::Null) => Ok(Cell::Null),
        (FieldKind::String, Value::String(text)) => Ok(Cell::Text(text.clone())),
        (FieldKind::Boolean, Value::Bool(value)) => Ok(Cell::Boolean(*value)),
        (FieldKind::Double, Value::Number(number)) => {
            number.as_f64().map(Cell::Double).ok_or_else(|| wrong_type(&field.name, value, "double"))
        }
        (FieldKind::Int | FieldKind::Long, Value::Number(number)) if number.is_f64() => {
            Err(wrong_type(&field.name, value, kind_name(field.kind)))
        }
        (FieldKind::Int | FieldKind::Long, Value::Number(number)) => {
            number.as_i64().and_then(|number| whole(field, number)).ok_or_else(|| out_of_range(field))
        }
        (FieldKind::Int | FieldKind::Long, Value::String(text)) if field.accept_text => {
            whole_from_text(field, text)
        }
        (kind, other) => Err(wrong_type(&field.name, other, kind_name(kind))),
    }
}

fn whole(field: &Field, number: i64) -> Option<Cell> {
    match field.kind {
        FieldKind::Int => i32::try_from(number).ok().map(Cell::Int),
        _ => Some(Cell::Long(number)),
    }
}

/// Empty text is null; else only the usual spelling of a whole number, so that two texts never mean one number.
fn whole_from_text(field: &Field, text: &str) -> Result<Cell, Rejection> {
    if text.is_empty() {
        return Ok(Cell::Null);
    }
    let number: Option<i64> = text.parse().ok().filter(|number: &i64| number.to_string() == text);
    match number {
        Some(number) => whole(field, number).ok_or_else(|| out_of_range(field)),
        None => {
            let message = format!("field `{}` is a text that is no whole number", field.name);
            Err(Rejection::new(Reason::WrongType, message))
        }
    }
}

fn wrong_type(name: &str, value: &Value, expected: &str) -> Rejection {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction or exponent",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Rejection::new(Reason::WrongType, format!("field `{name}` is {found}, expected {expected}"))
}

fn out_of_range(field: &Field) -> Rejection {
    let message = format!("field `{}` is a number that does not fit {}", field.name, kind_name(field.kind));
    Rejection::new(Reason::NumberOutOfRange, message)
}

fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::String => "string",
        FieldKind::Int => "int",
        FieldKind::Long => "long",
        FieldKind::Double => "double",
        FieldKind::Boolean => "boolean",
    }
}

/// A name for a message; an unknown one may be as long as the value allows.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

fn check_required(contract: &Contract, row: &Row) -> Result<(), Rejection> {
    for (field, cell) in contract.fields.iter().zip(&row.cells) {
        if field.required && matches!(cell, Cell::Null) {
            return Err(Rejection::new(
                Reason::MissingField,
                format!("required field `{}` is missing", field.name),
            ));
        }
    }
    Ok(())
}

fn check_event_time(
    contract: &Contract,
    options: &DecodeOptions,
    record: &Record<'_>,
    row: &Row,
) -> Result<(), Rejection> {
    let time = &contract.event_time;
    let index = contract.fields.iter().position(|field| field.name == time.field);
    let Some(Cell::Long(event_time_ms)) = index.map(|index| &row.cells[index]) else {
        return Err(Rejection::new(
            Reason::MissingField,
            format!("required field `{}` is missing", time.field),
        ));
    };
    if time.accepts(*event_time_ms, record.kafka_timestamp_ms(), options.max_event_time_ahead_ms) {
        return Ok(());
    }
    let message = format!("event time {event_time_ms} ms is out of range");
    Err(Rejection::new(Reason::EventTimeOutOfRange, message))
}

#[cfg(test)]
mod tests {
    use super::has_lone_surrogate;

    #[test]
    fn halves_of_surrogate_pairs_are_found_and_pairs_are_not() {
        for lone in [
            r"\ud83d",
            r"\ud83d x",
            r"\ude00",
            r"\ud83d\n",
            r"\ud83d\ud83d\ude00",
            r"\n\ud83d\u0041",
            r"\ud83d\",
        ] {
            assert!(has_lone_surrogate(lone), "{lone}");
        }
        for sound in ["", r"\ud83d\ude00", r"\\ud83d", r"\u0041\uE000", "\\", "\\é", r"\u12"] {
            assert!(!has_lone_surrogate(sound), "{sound}");
        }
    }
}
