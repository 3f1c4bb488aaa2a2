//! From the bytes of a Kafka record to a row of a bronze table, or to a dead letter with a reason; never to a guess.
//!
//! Two decoders, one meaning: [`reference`] is slow and decides everything; the fast one takes the ordinary record in one
//! pass over its bytes, and hands anything unusual to the reference. No present value is ever dropped in silence: it
//! lands in its column, in `_extras`, or the whole record becomes a dead letter.
//!
//! # What dirty data becomes
//!
//! | case | record | becomes |
//! | --- | --- | --- |
//! | D1 | text that was read with the wrong character set | a row, as it came; the contract's `silver.text_repair` names the fields that silver repairs |
//! | D2 | quotes and backslashes in text | a row, unescaped once, as JSON says |
//! | D3 | ids that begin again in another producer run | rows with different `event_id`, by the header `run_id` |
//! | D4 | the same event again | a row with the same `event_id`; silver keeps the first |
//! | D5 | equal event times in a session | rows with different `event_id`, by item in session and page |
//! | D6 | a second outcome of one login | a row; silver marks it |
//! | D7 | no user (absent, null, empty text) | a row with null; never 0 or empty |
//! | D8 | no user, and the identity | null has a mark of its own in the identity |
//! | D9 | a session cut at its start | a row, whatever the first item is |
//! | D10 | an event before the registration | a row |
//! | D11 | equal registrations | rows |
//! | D12 | newline, carriage return or other JSON white space around the object | the same row |
//! | D13 | a quoted user agent | a row, quotes kept |
//! | D14 | a known field of another type | dead letter `wrong_type`; a whole number that does not fit: `number_out_of_range` |
//! | D15 | no JSON | dead letter `not_json`; bytes that are no UTF-8: `not_utf8` |
//! | D16 | an event time before 2000, too far after the Kafka timestamp, or from 2100 on | dead letter `event_time_out_of_range` |
//! | D17 | old event times | rows of their own days, however old (from 2000 on) and in whatever order |
//! | D18 | a topic that was made again | rows with the next `_source_epoch` |
//! | D19 | one event at two offsets | two rows with the same `event_id` |
//! | D20 | an unknown page or other value, an unknown field, a field that changed its type | a row; a row with `_extras`; dead letter |
//! | D21 | control characters, U+0000 (escaped), characters of 4 bytes, long text | a row; a lone surrogate: dead letter `lone_surrogate`; unescaped characters below U+0020: `not_json` |
//! | D22 | one song under two catalogue entries | a row per event; nothing is joined or merged here |
//! | D23 | null value / empty or blank / `[]` or `"text"` / two objects / above the size limit | dead letter `tombstone` / `empty` / `not_an_object` / `trailing_data` / `too_large` |
//!
//! Further: a field that comes twice, under one name or two, is `duplicate_field`, known or not, equal or not (JSON leaves
//! its meaning open). A required field that is absent or null is `missing_field`. Null of any other field is as absent;
//! null of an unknown field is kept in `_extras`.

mod columns;
mod derived;
mod fast;
mod number;
mod plan;
pub mod reference;
mod scan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use crate::contract::Contract;
use columns::Columns;
use derived::Coordinates;
use fast::Reader;
use plan::Plan;

/// A Kafka record as far as decoding needs it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Kafka timestamp, ms since 1970 UTC; `None` or negative if the record has none.
    pub timestamp_ms: Option<i64>,
    /// Producer run, from the header `run_id`; empty is as none.
    pub run_id: Option<&'a str>,
}

impl Record<'_> {
    /// Returns the Kafka timestamp, without the negative numbers that stand for none.
    fn kafka_timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms.filter(|timestamp_ms| *timestamp_ms >= 0)
    }
}

/// What the decoder leaves to its caller's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// How far an event time may lie after the record's Kafka timestamp, ms.
    pub max_event_time_ahead_ms: i64,
    /// The source epoch of the rows.
    pub source_epoch: u32,
    /// Whether to add the column [`crate::contract::LEGACY_EVENT_ID`].
    pub legacy_event_id: bool,
    /// The largest value that is decoded, bytes, inclusive.
    pub max_value_bytes: usize,
}

impl Default for DecodeOptions {
    /// One day ahead, epoch 0, no older id, values up to 1 MiB.
    fn default() -> Self {
        Self {
            max_event_time_ahead_ms: 86_400_000,
            source_epoch: 0,
            legacy_event_id: false,
            max_value_bytes: 1024 * 1024,
        }
    }
}

/// Why a record is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// As a code.
    pub reason: Reason,
    /// In words; names fields and types, never values of people.
    pub message: String,
}

impl Rejection {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Code of a rejection, stored in the dead-letter table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The value is null.
    Tombstone,
    /// The value is larger than the limit.
    TooLarge,
    /// The value has no byte, or white space only.
    Empty,
    /// The value is no UTF-8.
    NotUtf8,
    /// The value is no JSON.
    NotJson,
    /// The value is JSON, but no object.
    NotAnObject,
    /// Something follows the object.
    TrailingData,
    /// A text holds half of a surrogate pair.
    LoneSurrogate,
    /// A field comes twice.
    DuplicateField,
    /// A known field has another type.
    WrongType,
    /// A number does not fit the field's type.
    NumberOutOfRange,
    /// A required field is absent or null.
    MissingField,
    /// The event time is not accepted.
    EventTimeOutOfRange,
}

impl Reason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 13] = [
        Self::Tombstone,
        Self::TooLarge,
        Self::NotUtf8,
        Self::Empty,
        Self::NotJson,
        Self::LoneSurrogate,
        Self::NotAnObject,
        Self::TrailingData,
        Self::DuplicateField,
        Self::WrongType,
        Self::NumberOutOfRange,
        Self::MissingField,
        Self::EventTimeOutOfRange,
    ];

    /// Returns the reason with this code, if there is one.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == code)
    }

    /// Returns the code as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too_large",
            Self::Empty => "empty",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::TrailingData => "trailing_data",
            Self::LoneSurrogate => "lone_surrogate",
            Self::DuplicateField => "duplicate_field",
            Self::WrongType => "wrong_type",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::MissingField => "missing_field",
            Self::EventTimeOutOfRange => "event_time_out_of_range",
        }
    }
}

/// Decodes the records of one topic on one thread; rows gather until [`Decoder::finish`].
///
/// A text column holds at most 2 GiB, so finish long before [`Decoder::bytes`] comes near it.
#[derive(Debug)]
pub struct Decoder {
    contract: Arc<Contract>,
    options: DecodeOptions,
    reader: Reader,
    columns: Columns,
    coordinates: Coordinates,
    num_slow: u64,
}

impl Decoder {
    /// Returns a decoder without rows.
    #[must_use]
    pub fn new(contract: Arc<Contract>, options: DecodeOptions) -> Self {
        let reader = Reader::new(Plan::new(&contract));
        let columns = Columns::new(&contract);
        Self { contract, options, reader, columns, coordinates: Coordinates::new(), num_slow: 0 }
    }

    /// Decodes one record into one row.
    ///
    /// # Errors
    /// The reason why the record is a dead letter; the rows are as before.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Rejection> {
        if self.read_fast(record).is_none() {
            self.columns.roll_back();
            return self.push_slowly(record);
        }
        self.complete_row(record);
        Ok(())
    }

    /// Decodes one record by the [`reference`] decoder alone, into the same columns: the measure for [`Decoder::push`].
    ///
    /// # Errors
    /// As [`Decoder::push`].
    pub fn push_slowly(&mut self, record: &Record<'_>) -> Result<(), Rejection> {
        self.num_slow += 1;
        let row = reference::decode(&self.contract, &self.options, record)?;
        self.columns.write_row(&row);
        self.complete_row(record);
        Ok(())
    }

    /// Reads an ordinary record into the next row; `None` leaves part of a row behind, to be rolled back.
    fn read_fast(&mut self, record: &Record<'_>) -> Option<()> {
        let line = record.value.filter(|value| value.len() <= self.options.max_value_bytes)?;
        // Once for the whole record: then no text needs a check of its own.
        simdutf8::basic::from_utf8(line).ok()?;
        self.reader.read(line, &mut self.columns)?;
        let event_time_ms = self.columns.payload.get(self.reader.plan().event_time)?.last_long()?;
        let ahead_ms = self.options.max_event_time_ahead_ms;
        self.contract.event_time.accepts(event_time_ms, record.kafka_timestamp_ms(), ahead_ms).then_some(())
    }

    fn complete_row(&mut self, record: &Record<'_>) {
        self.coordinates.push(self.columns.rows, record);
        self.columns.rows += 1;
    }

    /// Returns how many records the reference decoder had to look at, dead letters included.
    #[must_use]
    pub fn num_slow(&self) -> u64 {
        self.num_slow
    }

    /// Returns how many keys were not where the data so far let them be expected.
    #[must_use]
    pub fn num_misses(&self) -> u64 {
        self.reader.plan().misses()
    }

    /// Returns the contract.
    #[must_use]
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Returns the number of rows held.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.rows
    }

    /// Returns the bytes of the rows held, derived columns included, without spare room. Costs a few nanoseconds per column.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.columns.bytes() + self.coordinates.bytes() + self.columns.rows * derived::BYTES_PER_ROW
    }

    /// Takes all rows as a batch with the columns of [`Contract::columns_with`], in the order of arrival.
    /// `processing_time_us` is microseconds since 1970 UTC.
    ///
    /// # Errors
    /// [`ArrowError::OffsetOverflowError`] where a text column is above 2 GiB; the rows are lost.
    pub fn finish(&mut self, processing_time_us: i64) -> Result<RecordBatch, ArrowError> {
        let batch = derived::batch(
            &self.contract,
            &self.options,
            &mut self.columns,
            &mut self.coordinates,
            processing_time_us,
        );
        if batch.is_err() {
            self.columns = Columns::new(&self.contract);
            self.coordinates = Coordinates::new();
        }
        self.columns.rows = 0;
        batch
    }
}
