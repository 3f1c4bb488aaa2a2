//! What the worker adds to the payload: identity, event time as timestamp and date, and where the record came from.
//!
//! All of it is made at the end of a batch, column by column, from columns that are already typed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::error::ArrowError;

use super::columns::{ColumnBuffer, Columns, Values, take_vec};
use super::{DecodeOptions, Record};
use crate::contract::{Contract, FieldKind, UTC, schema_of};
use crate::identity::{
    BLOCK, BlockHasher, EVENT_ID_DIGITS, EventIdentity, Part, first_half, hex, legacy_event_id,
};

/// Bytes of the derived columns in a batch, without those that [`Coordinates`] counts.
pub(super) const BYTES_PER_ROW: usize = EVENT_ID_DIGITS + 4 + 8 + 4 + 4 + 8;

const MILLISECONDS_PER_DAY: i64 = 86_400_000;

/// Where the records of the rows came from.
#[derive(Debug)]
pub(super) struct Coordinates {
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    timestamps_us: ColumnBuffer,
    run_ids: ColumnBuffer,
}

impl Coordinates {
    pub(super) fn new() -> Self {
        Self {
            partitions: Vec::new(),
            offsets: Vec::new(),
            timestamps_us: ColumnBuffer::new(FieldKind::Long),
            run_ids: ColumnBuffer::new(FieldKind::String),
        }
    }

    pub(super) fn push(&mut self, row: usize, record: &Record<'_>) {
        self.partitions.push(record.partition);
        self.offsets.push(record.offset);
        if let Some(timestamp_ms) = record.kafka_timestamp_ms() {
            self.timestamps_us.push_long(row, timestamp_ms.saturating_mul(1000));
        }
        if let Some(run_id) = record.run_id.filter(|run_id| !run_id.is_empty()) {
            self.run_ids.push_text(row, run_id.as_bytes());
        }
    }

    pub(super) fn bytes(&self) -> usize {
        12 * self.offsets.len() + self.timestamps_us.bytes() + self.run_ids.bytes()
    }
}

/// Takes all rows as a batch.
pub(super) fn batch(
    contract: &Contract,
    options: &DecodeOptions,
    columns: &mut Columns,
    coordinates: &mut Coordinates,
    processing_time_us: i64,
) -> Result<RecordBatch, ArrowError> {
    let rows = columns.rows;
    for column in columns.payload.iter_mut().chain([&mut columns.extras, &mut coordinates.run_ids]) {
        column.pad(rows);
    }
    let places = Places::new(contract);
    let event_ids = event_ids(contract, &places, columns, &coordinates.run_ids)?;
    let legacy = options.legacy_event_id.then(|| legacy_event_ids(&places, columns));
    let event_times_ms = match columns.payload.get(places.event_time).map(|column| &column.values) {
        Some(Values::Long(values)) => values.as_slice(),
        _ => &[],
    };
    let event_ts: Vec<i64> = event_times_ms.iter().map(|time_ms| time_ms * 1000).collect();
    let event_dates: Vec<i32> = event_times_ms.iter().map(|time_ms| day(*time_ms)).collect();

    let mut arrays = Vec::with_capacity(columns.payload.len() + 11);
    for column in &mut columns.payload {
        arrays.push(column.take(rows)?);
    }
    let timestamps = coordinates.timestamps_us.take(rows)?;
    let derived: [ArrayRef; 10] = [
        event_ids,
        Arc::new(TimestampMicrosecondArray::from(event_ts).with_timezone(UTC)),
        Arc::new(Date32Array::from(event_dates)),
        Arc::new(Int32Array::from(take_vec(&mut coordinates.partitions))),
        Arc::new(arrow::array::Int64Array::from(take_vec(&mut coordinates.offsets))),
        as_timestamps(&timestamps),
        Arc::new(Int32Array::from_value(options.source_epoch.cast_signed(), rows)),
        coordinates.run_ids.take(rows)?,
        Arc::new(TimestampMicrosecondArray::from_value(processing_time_us, rows).with_timezone(UTC)),
        columns.extras.take(rows)?,
    ];
    arrays.extend(derived);
    arrays.extend(legacy);
    RecordBatch::try_new(schema_of(&contract.columns_with(options.legacy_event_id)), arrays)
}

/// Event times are checked to lie before 2100, so the number of days always fits.
fn day(time_ms: i64) -> i32 {
    i32::try_from(time_ms.div_euclid(MILLISECONDS_PER_DAY)).unwrap_or(0)
}

/// Turns longs into timestamps without a copy.
fn as_timestamps(longs: &ArrayRef) -> ArrayRef {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    let longs = longs.as_primitive::<Int64Type>();
    Arc::new(
        TimestampMicrosecondArray::new(longs.values().clone(), longs.nulls().cloned()).with_timezone(UTC),
    )
}

/// Where the identity's fields stand among the columns.
struct Places {
    session: usize,
    item: usize,
    event_time: usize,
    page: Option<usize>,
    user: usize,
}

impl Places {
    fn new(contract: &Contract) -> Self {
        // A valid contract has all of them.
        let place =
            |name: &str| contract.fields.iter().position(|field| field.name == name).unwrap_or(usize::MAX);
        let identity = &contract.identity;
        Self {
            session: place(&identity.session),
            item: place(&identity.item),
            event_time: place(&contract.event_time.field),
            page: identity.page.as_deref().map(place),
            user: place(&identity.user),
        }
    }
}

/// Walks along the null ranges of a column, row by row.
struct NullCursor<'a> {
    ranges: &'a [(usize, usize)],
}

impl NullCursor<'_> {
    /// Whether a row is null; rows must not go down.
    fn is_null(&mut self, row: usize) -> bool {
        while let Some((_, to)) = self.ranges.first().filter(|(_, to)| *to <= row) {
            debug_assert!(*to <= row);
            self.ranges = &self.ranges[1..];
        }
        self.ranges.first().is_some_and(|(from, _)| *from <= row)
    }
}

fn event_ids(
    contract: &Contract,
    places: &Places,
    columns: &Columns,
    run_ids: &ColumnBuffer,
) -> Result<ArrayRef, ArrowError> {
    let part = |place: usize, row: usize| columns.payload[place].part(row);
    let text = |place: usize, row: usize| match columns.payload[place].part(row) {
        Part::Text(text) => text,
        Part::Null | Part::Number(_) => &[],
    };
    let mut nulls = NullCursor { ranges: columns.payload[places.user].null_ranges() };
    let mut ids = Ids::new(columns.rows);
    for row in 0..columns.rows {
        let identity = EventIdentity {
            topic: &contract.topic,
            run_id: match run_ids.part(row) {
                Part::Text(text) => text,
                Part::Null | Part::Number(_) => &[],
            },
            session: part(places.session, row),
            item: part(places.item, row),
            event_time_ms: match part(places.event_time, row) {
                Part::Number(time_ms) => time_ms,
                Part::Null | Part::Text(_) => 0,
            },
            page: places.page.map_or(contract.identity.kind.as_bytes(), |page| text(page, row)),
            user: if nulls.is_null(row) { Part::Null } else { part(places.user, row) },
        };
        ids.push(&identity);
    }
    ids.flush();
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(EVENT_ID_DIGITS, columns.rows));
    Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(ids.digits), None)?))
}

/// Gathers messages of one block until they fill the lanes of the hash; a longer one is hashed alone.
struct Ids {
    digits: Vec<u8>,
    message: Vec<u8>,
    blocks: Vec<[u8; BLOCK]>,
    /// Where in `digits` the id of each block belongs.
    places: Vec<usize>,
    hasher: BlockHasher,
}

impl Ids {
    fn new(rows: usize) -> Self {
        Self {
            digits: Vec::with_capacity(rows * EVENT_ID_DIGITS),
            message: Vec::with_capacity(4 * BLOCK),
            blocks: Vec::with_capacity(BlockHasher::LANES),
            places: Vec::with_capacity(BlockHasher::LANES),
            hasher: BlockHasher::new(),
        }
    }

    fn push(&mut self, identity: &EventIdentity<'_>) {
        self.message.clear();
        identity.write_message(&mut self.message);
        let place = self.digits.len();
        match <&[u8; BLOCK]>::try_from(self.message.as_slice()) {
            Ok(block) => {
                self.blocks.push(*block);
                self.places.push(place);
                self.digits.resize(place + EVENT_ID_DIGITS, 0);
            }
            Err(_) => self.digits.extend_from_slice(&hex(&first_half(&self.message))),
        }
        if self.blocks.len() == BlockHasher::LANES {
            self.flush();
        }
    }

    /// Writes the ids of the gathered blocks; needed once more after the last row.
    fn flush(&mut self) {
        for (half, place) in self.hasher.first_halves(&self.blocks).zip(&self.places) {
            self.digits[*place..place + EVENT_ID_DIGITS].copy_from_slice(&hex(&half));
        }
        self.blocks.clear();
        self.places.clear();
    }
}

fn legacy_event_ids(places: &Places, columns: &Columns) -> ArrayRef {
    let mut nulls = NullCursor { ranges: columns.payload[places.user].null_ranges() };
    let ids = (0..columns.rows).map(|row| {
        let user = if nulls.is_null(row) { Part::Null } else { columns.payload[places.user].part(row) };
        let time_ms = match columns.payload[places.event_time].part(row) {
            Part::Number(time_ms) => time_ms,
            Part::Null | Part::Text(_) => 0,
        };
        legacy_event_id(user, columns.payload[places.session].part(row), time_ms)
    });
    Arc::new(StringArray::from_iter_values(ids))
}
