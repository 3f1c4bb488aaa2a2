//! Makes the columns of silver from those of bronze, one after the other.
//!
//! Text that comes as a dictionary is read, repaired, taken apart and hashed there, each text once.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    AnyDictionaryArray, Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int32Array, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef};

use super::agents::{self, Agent};
use super::columns::{EXTRAS, Make};
use super::hash::{PayloadHashes, xxh64, xxh64_word};
use super::repair::repair;
use super::source::Source;
use super::{SilverError, SilverPlan, ids};
use crate::contract::{Alternation, ColumnType, Contract, UTC};

const MILLISECONDS_PER_DAY: i64 = 86_400_000;

/// See [`SilverPlan::transform`].
pub(super) fn transform(
    plan: &mut SilverPlan,
    bronze: &RecordBatch,
    processed_at_us: i64,
) -> Result<RecordBatch, SilverError> {
    let SilverPlan { contract, columns, schema, agents } = plan;
    let source = Source::new(contract, bronze);
    let payload =
        contract.fields.iter().map(|field| source.field(field)).collect::<Result<Vec<_>, SilverError>>()?;
    let times_ms = event_times(&source, &payload)?;
    require(&source, &payload)?;
    let mut rows = Rows { source, payload, times_ms, originals: Vec::new(), agents: Vec::new() };
    if let Some(name) = &contract.silver.user_agent {
        let texts =
            contract.fields.iter().position(|field| field.name == *name).map(|index| &rows.payload[index]);
        rows.agents = texts.map(|texts| agents.parse(texts_of(texts))).unwrap_or_default();
    }
    let mut arrays = Vec::with_capacity(columns.len());
    for (_, make) in columns {
        arrays.push(rows.make(*make, agents.known(), processed_at_us)?);
    }
    RecordBatch::try_new(with_types(schema, &arrays), arrays).map_err(|error| source.failed("*", error))
}

/// The schema with the types of these columns: a dictionary of texts stands for text.
fn with_types(schema: &SchemaRef, arrays: &[ArrayRef]) -> SchemaRef {
    let columns = schema.fields().iter().zip(arrays);
    if columns.clone().all(|(field, array)| field.data_type() == array.data_type()) {
        return Arc::clone(schema);
    }
    let typed = columns.map(|(field, array)| Field::clone(field).with_data_type(array.data_type().clone()));
    Arc::new(Schema::new_with_metadata(typed.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The dictionary of an array that has one.
fn dictionary(array: &ArrayRef) -> Option<&dyn AnyDictionaryArray> {
    array.as_any_dictionary_opt()
}

/// The texts of an array; those of its dictionary where it has one, each once.
fn texts_of(array: &ArrayRef) -> &StringArray {
    dictionary(array).map_or_else(|| array.as_string(), |dictionary| dictionary.values().as_string())
}

/// The array with other texts in the place of those that [`texts_of`] gives.
fn with_texts(array: &ArrayRef, texts: ArrayRef) -> ArrayRef {
    match dictionary(array) {
        Some(dictionary) => dictionary.with_values(texts),
        None => texts,
    }
}

/// Checks that no required field is null.
fn require(source: &Source<'_>, payload: &[ArrayRef]) -> Result<(), SilverError> {
    for (field, array) in source.contract.fields.iter().zip(payload) {
        if field.required && array.null_count() > 0 {
            let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or(0);
            return Err(source.not_an_event(row, &field.column, "is null"));
        }
    }
    Ok(())
}

/// Returns the event times, ms since 1970 UTC, checked to be in the contract's range.
fn event_times(source: &Source<'_>, payload: &[ArrayRef]) -> Result<Vec<i64>, SilverError> {
    let time = &source.contract.event_time;
    let index = source.contract.fields.iter().position(|field| field.name == time.field);
    let times =
        index.map(|index| payload[index].as_primitive::<Int64Type>().values().to_vec()).unwrap_or_default();
    match times.iter().position(|time_ms| !time.accepts(*time_ms, None, 0)) {
        Some(row) => Err(source.not_an_event(row, &time.field, "is null or out of the contract's range")),
        None => Ok(times),
    }
}

/// A batch on its way.
struct Rows<'a> {
    source: Source<'a>,
    /// By field.
    payload: Vec<ArrayRef>,
    times_ms: Vec<i64>,
    /// What was repaired so far, by field.
    originals: Vec<(usize, ArrayRef)>,
    /// The user agent's number of each text that [`texts_of`] gives, [`agents::NONE`] for null.
    agents: Vec<u32>,
}

impl Rows<'_> {
    fn make(&mut self, make: Make, known: &[Agent], processed_at_us: i64) -> Result<ArrayRef, SilverError> {
        let contract = self.source.contract;
        let times = || self.times_ms.iter();
        Ok(match make {
            Make::EventId => ids::texts(&self.source)?,
            Make::EventTs => timestamps(times().map(|time_ms| time_ms * 1000).collect()),
            Make::EventDate => Arc::new(Date32Array::from_iter_values(times().map(|time_ms| day(*time_ms)))),
            Make::Bronze(name, kind) => self.source.optional(name, kind)?,
            Make::Field(index) => Arc::clone(&self.payload[index]),
            Make::Timestamp(index) => self.timestamp(index),
            Make::Repaired(index) => self.repaired(index),
            Make::Original(index) => self.original(index),
            Make::Unquoted(index) => {
                let unquoted = map_texts(
                    texts_of(&self.payload[index]),
                    |text| agents::unquoted(text) != text,
                    |text| Cow::Borrowed(agents::unquoted(text)),
                );
                match unquoted {
                    Some(unquoted) => with_texts(&self.payload[index], unquoted),
                    None => Arc::clone(&self.payload[index]),
                }
            }
            Make::Browser(index) => self.agent_column(index, known, |agent| Some(&agent.browser)),
            Make::BrowserVersion(index) => self.agent_column(index, known, |agent| agent.version.as_deref()),
            Make::Os(index) => self.agent_column(index, known, |agent| Some(&agent.os)),
            Make::DeviceType(index) => self.agent_column(index, known, |agent| Some(agent.device)),
            Make::Old(index) => Arc::clone(&self.payload[index]),
            Make::New(index) => {
                let payload = &self.payload[index];
                let others = other_value(contract.silver.alternation.as_ref(), texts_of(payload));
                with_texts(payload, others)
            }
            Make::Precedence => Arc::new(BooleanArray::from(vec![false; self.source.rows()])),
            Make::PayloadHash => {
                let extras = self.source.optional(EXTRAS.0, EXTRAS.1)?;
                Arc::new(Int32Array::from(payload_hashes(contract, &self.payload, &extras)))
            }
            Make::ProcessedAt => timestamps(vec![processed_at_us; self.source.rows()]),
        })
    }

    /// Milliseconds beyond the range of microseconds become its ends.
    fn timestamp(&self, index: usize) -> ArrayRef {
        let longs = self.payload[index].as_primitive::<Int64Type>();
        let micros = longs.values().iter().map(|time_ms| time_ms.saturating_mul(1000)).collect::<Vec<i64>>();
        Arc::new(TimestampMicrosecondArray::new(micros.into(), longs.nulls().cloned()).with_timezone(UTC))
    }

    fn repaired(&mut self, index: usize) -> ArrayRef {
        let payload = &self.payload[index];
        let texts = texts_of(payload);
        let is_changed = |text: &str| !text.is_ascii() && matches!(repair(text), Cow::Owned(_));
        let repaired = if is_ascii(texts) { None } else { map_texts(texts, is_changed, repair) };
        let Some(repaired) = repaired else {
            return Arc::clone(payload);
        };
        let fixed = repaired.as_string::<i32>();
        let original = |(before, after): (Option<&str>, Option<&str>)| {
            if before == after { None } else { before.map(str::to_owned) }
        };
        let originals: StringArray = texts.iter().zip(fixed).map(original).collect();
        let repaired = with_texts(payload, repaired);
        self.originals.push((index, with_texts(payload, Arc::new(originals))));
        repaired
    }

    fn original(&self, index: usize) -> ArrayRef {
        match self.originals.iter().find(|(field, _)| *field == index) {
            Some((_, originals)) => Arc::clone(originals),
            None => new_null_array(&DataType::Utf8, self.source.rows()),
        }
    }

    fn agent_column<'k>(
        &self,
        index: usize,
        known: &'k [Agent],
        value: impl Fn(&'k Agent) -> Option<&'k str>,
    ) -> ArrayRef {
        let mut texts = StringBuilder::with_capacity(self.agents.len(), 8 * self.agents.len());
        for agent in &self.agents {
            // Out of range: null.
            texts.append_option(known.get(*agent as usize).and_then(&value));
        }
        with_texts(&self.payload[index], Arc::new(texts.finish()))
    }
}

/// The contract's event times end before 2100, so the number of days always fits.
fn day(time_ms: i64) -> i32 {
    i32::try_from(time_ms.div_euclid(MILLISECONDS_PER_DAY)).unwrap_or(0)
}

fn timestamps(micros: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(micros).with_timezone(UTC))
}

/// Whether no text has a byte above 0x7F, looked at in one sweep; bytes between the texts count too.
fn is_ascii(texts: &StringArray) -> bool {
    let offsets = texts.value_offsets();
    let (from, to) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    match (usize::try_from(from), usize::try_from(to)) {
        (Ok(from), Ok(to)) => texts.value_data()[from..to].is_ascii(),
        _ => false,
    }
}

/// Returns the texts mapped; `None` if none changes.
fn map_texts(
    texts: &StringArray,
    is_changed: impl Fn(&str) -> bool,
    map: impl Fn(&str) -> Cow<'_, str>,
) -> Option<ArrayRef> {
    if !texts.iter().flatten().any(is_changed) {
        return None;
    }
    let mut mapped = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for text in texts {
        mapped.append_option(text.map(&map));
    }
    Some(Arc::new(mapped.finish()))
}

/// Returns the value after the event: the one of the two that is not there; null for a third.
fn other_value(rule: Option<&Alternation>, texts: &StringArray) -> ArrayRef {
    let other = |text: &str| {
        let [one, other] = &rule?.between;
        match text {
            text if text == one => Some(other.as_str()),
            text if text == other => Some(one.as_str()),
            _ => None,
        }
    };
    let others: StringArray = texts.iter().map(|text| text.and_then(other)).collect();
    Arc::new(others)
}

fn payload_hashes(contract: &Contract, payload: &[ArrayRef], extras: &ArrayRef) -> Vec<i32> {
    let mut hashes = PayloadHashes::new(extras.len());
    let fields = contract.fields.iter().map(|field| (field.column.as_str(), ColumnType::from(field.kind)));
    for ((name, kind), array) in fields.zip(payload).chain([((EXTRAS.0, EXTRAS.1), extras)]) {
        if array.null_count() == array.len() {
            continue;
        }
        let nulls = array.nulls();
        let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
        macro_rules! add {
            (|$row:ident, $seed:ident| $hash:expr) => {
                hashes.add(name, |$row, $seed| if is_null($row) { None } else { Some($hash) })
            };
        }
        match kind {
            ColumnType::Int => {
                let values = array.as_primitive::<Int32Type>().values();
                add!(|row, seed| xxh64_word(i64::from(values[row]).cast_unsigned(), seed));
            }
            ColumnType::Long => {
                let values = array.as_primitive::<Int64Type>().values();
                add!(|row, seed| xxh64_word(values[row].cast_unsigned(), seed));
            }
            ColumnType::Double => {
                let values = array.as_primitive::<Float64Type>().values();
                add!(|row, seed| xxh64_word(values[row].to_bits(), seed));
            }
            ColumnType::Boolean => {
                let values = array.as_boolean();
                add!(|row, seed| xxh64_word(u64::from(values.value(row)), seed));
            }
            // Text; a payload has no other types.
            _ => match dictionary(array) {
                None => {
                    let values = array.as_string::<i32>();
                    add!(|row, seed| xxh64(values.value(row).as_bytes(), seed));
                }
                Some(dictionary) => {
                    let (seed, keys) = (PayloadHashes::seed(name), dictionary.normalized_keys());
                    let hash = |text: Option<&str>| text.map_or(0, |text| xxh64(text.as_bytes(), seed));
                    let known: Vec<u64> = texts_of(array).iter().map(hash).collect();
                    add!(|row, _seed| known[keys[row]]);
                }
            },
        }
    }
    hashes.finish()
}
