//! Event ids as numbers of 128 bits, from their text or, where an older pipeline stored something else, from the payload.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type};

use super::SilverError;
use super::columns::RUN_ID;
use super::login::Step;
use super::source::Source;
use crate::contract::{ColumnType, Contract};
use crate::identity::{EVENT_ID_DIGITS, EventIdentity, Part, hex, session_key};

pub(super) const EVENT_ID: &str = "event_id";

/// See [`super::SilverPlan::identity_columns`].
pub(super) fn columns(contract: &Contract) -> Vec<String> {
    let identity = &contract.identity;
    let parts = [&identity.session, &identity.item, &contract.event_time.field, &identity.user];
    let columns = parts
        .into_iter()
        .chain(&identity.page)
        .filter_map(|name| contract.field(name))
        .map(|field| &field.column);
    [EVENT_ID, RUN_ID.0].into_iter().map(str::to_owned).chain(columns.cloned()).collect()
}

/// See [`super::SilverPlan::stored_ids`].
pub(super) fn stored(source: &Source<'_>) -> Result<Option<Vec<u128>>, SilverError> {
    let texts = source.plain_optional(EVENT_ID, ColumnType::String)?;
    Ok(texts.as_string::<i32>().iter().map(|text| text.and_then(parse)).collect())
}

/// See [`super::SilverPlan::event_ids`].
pub(super) fn all(source: &Source<'_>) -> Result<Vec<u128>, SilverError> {
    if let Some(ids) = stored(source)? {
        return Ok(ids);
    }
    let identities = Identities::new(source)?;
    let texts = source.plain_optional(EVENT_ID, ColumnType::String)?;
    let id = |(row, text): (usize, Option<&str>)| match text.and_then(parse) {
        Some(id) => Ok(id),
        None => identities.compute(row),
    };
    texts.as_string::<i32>().iter().enumerate().map(id).collect()
}

/// Returns the ids as text; bronze's own column where it has the right form throughout.
pub(super) fn texts(source: &Source<'_>) -> Result<ArrayRef, SilverError> {
    let stored = source.plain_optional(EVENT_ID, ColumnType::String)?;
    if stored.as_string::<i32>().iter().all(|text| text.is_some_and(is_canonical)) {
        return Ok(stored);
    }
    let ids = all(source)?;
    let digits: Vec<u8> = ids.iter().flat_map(|id| hex(&id.to_be_bytes())).collect();
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(EVENT_ID_DIGITS, ids.len()));
    let array = StringArray::try_new(offsets, Buffer::from_vec(digits), None);
    Ok(std::sync::Arc::new(array.map_err(|error| source.failed(EVENT_ID, error))?))
}

const NO_DIGIT: u8 = 0xFF;

/// The value of each hex digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Returns the number that 32 hex digits of either case are.
fn parse(text: &str) -> Option<u128> {
    let digits: &[u8; EVENT_ID_DIGITS] = text.as_bytes().try_into().ok()?;
    let half = |digits: &[u8]| {
        let add = |(number, seen): (u64, u8), digit: &u8| {
            let value = VALUES[usize::from(*digit)];
            ((number << 4) | u64::from(value & 15), seen | value)
        };
        digits.iter().fold((0, 0), add)
    };
    let (high, low) = digits.split_at(EVENT_ID_DIGITS / 2);
    let ((high, seen_high), (low, seen_low)) = (half(high), half(low));
    (seen_high | seen_low < 16).then_some((u128::from(high) << 64) | u128::from(low))
}

/// Whether the text is 32 lower-case hex digits.
fn is_canonical(text: &str) -> bool {
    text.len() == EVENT_ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns one value of an int, long or text column as a part of an identity.
fn part(array: &ArrayRef, row: usize) -> Part<'_> {
    if array.is_null(row) {
        return Part::Null;
    }
    match array.data_type() {
        DataType::Int32 => Part::Number(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Part::Number(array.as_primitive::<Int64Type>().value(row)),
        _ => Part::Text(array.as_string::<i32>().value(row).as_bytes()),
    }
}

fn text(array: &ArrayRef, row: usize) -> &[u8] {
    match part(array, row) {
        Part::Text(text) => text,
        Part::Null | Part::Number(_) => &[],
    }
}

/// The columns that identities are made of.
struct Identities<'a> {
    source: &'a Source<'a>,
    run_ids: ArrayRef,
    session: ArrayRef,
    item: ArrayRef,
    event_time: ArrayRef,
    page: Option<ArrayRef>,
    user: ArrayRef,
}

impl<'a> Identities<'a> {
    fn new(source: &'a Source<'a>) -> Result<Self, SilverError> {
        let contract = source.contract;
        let identity = &contract.identity;
        let field = |name: &str| match contract.field(name) {
            Some(field) => source.plain_field(field),
            // A valid contract knows every field that it names.
            None => source.required(name, ColumnType::String),
        };
        Ok(Self {
            source,
            run_ids: source.plain_optional(RUN_ID.0, RUN_ID.1)?,
            session: field(&identity.session)?,
            item: field(&identity.item)?,
            event_time: field(&contract.event_time.field)?,
            page: identity.page.as_deref().map(field).transpose()?,
            user: field(&identity.user)?,
        })
    }

    fn compute(&self, row: usize) -> Result<u128, SilverError> {
        let contract = self.source.contract;
        let names = &contract.identity;
        let page = self.page.as_ref().zip(names.page.as_ref());
        let required = [
            (&self.session, &names.session),
            (&self.item, &names.item),
            (&self.event_time, &contract.event_time.field),
        ];
        if let Some((_, name)) = required.into_iter().chain(page).find(|(array, _)| array.is_null(row)) {
            return Err(self.source.not_an_event(
                row,
                name,
                "is null, and the stored `event_id` is not of 32 hex digits",
            ));
        }
        let identity = EventIdentity {
            topic: &contract.topic,
            run_id: text(&self.run_ids, row),
            session: part(&self.session, row),
            item: part(&self.item, row),
            event_time_ms: self.event_time.as_primitive::<Int64Type>().value(row),
            page: self.page.as_ref().map_or(names.kind.as_bytes(), |page| text(page, row)),
            user: part(&self.user, row),
        };
        Ok(identity.id())
    }
}

/// See [`super::SilverPlan::steps`].
pub(super) fn steps(source: &Source<'_>, session: &str, item: &str) -> Result<Vec<Step>, SilverError> {
    let kind = |column: &str| {
        let fields = &source.contract.fields;
        let field = fields.iter().find(|field| super::columns::snake_case(&field.column) == column);
        field.map_or(ColumnType::String, |field| field.kind.into())
    };
    let run_ids = source.plain_optional("run_id", ColumnType::String)?;
    let sessions = source.required(session, kind(session))?;
    let items = source.required(item, kind(item))?;
    let days = source.required("event_date", ColumnType::Date)?;
    let days = days.as_primitive::<Date32Type>();
    let step = |row: usize| match part(&items, row) {
        Part::Number(item) => {
            let session = session_key(text(&run_ids, row), part(&sessions, row));
            Ok(Step { session, item, day: days.value(row) })
        }
        Part::Null | Part::Text(_) => Err(source.not_an_event(row, item, "is no number")),
    };
    (0..source.rows()).map(step).collect()
}
