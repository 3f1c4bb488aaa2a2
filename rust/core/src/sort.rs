//! Orders a batch by the contract's sort key and divides it by the table's partitions.
//!
//! Guarantees: nulls first, ascending, stable (rows with equal keys stay in the order of arrival). Whole numbers (user and
//! event time; in silver session and item too) are packed into one number of 64 or 128 bits, which is several times as fast
//! as a general sort; any other key takes the general way, with the same result.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::contract::{Contract, PartitionTransform};

/// Rows of a sorted run from which on merging runs is faster than sorting anew.
const LONG_RUN: usize = 64;
const MICROSECONDS_PER_HOUR: i64 = 3_600_000_000;

/// One partition of a bronze table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionKey {
    /// `event_date`, days since 1970.
    EventDate(i32),
    /// `hour(event_ts)`, hours since 1970.
    Hour(i32),
}

/// Returns the batch in the order of the contract's sort key; unchanged (not copied) if it is in order already.
///
/// # Errors
/// [`ArrowError::SchemaError`] where the batch lacks a column of the key; those of Arrow's kernels.
pub fn sort_batch(batch: &RecordBatch, contract: &Contract) -> Result<RecordBatch, ArrowError> {
    let keys = contract.sort_key.iter().map(|name| column(batch, name)).collect::<Result<Vec<_>, _>>()?;
    match order_of(&keys)? {
        Some(order) => take_record_batch(batch, &order),
        None => Ok(batch.clone()),
    }
}

/// Returns the rows in the order of the key columns, which are of equal length; `None` if they are in order already.
///
/// # Errors
/// Those of Arrow's kernels, for key types that have no order.
pub fn order_of(keys: &[&ArrayRef]) -> Result<Option<UInt32Array>, ArrowError> {
    if keys.first().is_none_or(|key| key.len() < 2) {
        return Ok(None);
    }
    match packed(keys) {
        Some(order) => Ok(order),
        None => general_order(keys).map(Some),
    }
}

/// Returns the batch divided by the table's partitions, ascending; rows keep their order. One partition is not copied.
///
/// # Errors
/// [`ArrowError::SchemaError`] where the batch lacks `event_date` or `event_ts`; those of Arrow's kernels.
pub fn split_by_partition(
    batch: &RecordBatch,
    contract: &Contract,
) -> Result<Vec<(PartitionKey, RecordBatch)>, ArrowError> {
    let keys: Vec<PartitionKey> = match contract.partition {
        PartitionTransform::EventDate => {
            let days = typed::<Date32Type>(batch, "event_date")?;
            days.values().iter().map(|day| PartitionKey::EventDate(*day)).collect()
        }
        PartitionTransform::Hour => {
            let times_us = typed::<TimestampMicrosecondType>(batch, "event_ts")?;
            let hour = |time_us: &i64| i32::try_from(time_us.div_euclid(MICROSECONDS_PER_HOUR)).unwrap_or(0);
            times_us.values().iter().map(|time_us| PartitionKey::Hour(hour(time_us))).collect()
        }
    };
    let Some(first) = keys.first() else {
        return Ok(Vec::new());
    };
    if keys.iter().all(|key| key == first) {
        return Ok(vec![(*first, batch.clone())]);
    }
    let mut rows: BTreeMap<PartitionKey, Vec<u32>> = BTreeMap::new();
    for (row, key) in (0_u32..).zip(&keys) {
        rows.entry(*key).or_default().push(row);
    }
    rows.into_iter()
        .map(|(key, rows)| Ok((key, take_record_batch(batch, &UInt32Array::from(rows))?)))
        .collect()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError(format!("batch has no column `{name}`"));
    batch.column_by_name(name).ok_or_else(missing)
}

fn typed<'a, T: arrow::datatypes::ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a arrow::array::PrimitiveArray<T>, ArrowError> {
    let other = || ArrowError::SchemaError(format!("column `{name}` is not of type {}", T::DATA_TYPE));
    column(batch, name)?.as_primitive_opt::<T>().ok_or_else(other)
}

/// A column of whole numbers, which have ranks from 1 on, and null has 0.
struct Ranked<'a> {
    values: Whole<'a>,
    nulls: Option<&'a NullBuffer>,
    min: i64,
    /// Bits of the highest rank.
    bits: u32,
}

#[derive(Clone, Copy)]
enum Whole<'a> {
    Short(&'a [i32]),
    Long(&'a [i64]),
}

impl Whole<'_> {
    fn len(self) -> usize {
        match self {
            Whole::Short(values) => values.len(),
            Whole::Long(values) => values.len(),
        }
    }
}

impl<'a> Ranked<'a> {
    /// `None` for a column of another type, and one whose ranks have more than 64 bits.
    fn new(array: &'a ArrayRef) -> Option<Self> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let values = if let Some(longs) = array.as_primitive_opt::<Int64Type>() {
            Whole::Long(longs.values())
        } else if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
            Whole::Long(times.values())
        } else {
            Whole::Short(array.as_primitive_opt::<Int32Type>()?.values())
        };
        let (min, max) = match values {
            Whole::Short(values) => range(values, nulls),
            Whole::Long(values) => range(values, nulls),
        };
        let widest = max.abs_diff(min).checked_add(1)?;
        Some(Self { values, nulls, min, bits: u64::BITS - widest.leading_zeros() })
    }

    fn add_to<K: Packed>(&self, packed: &mut [K]) {
        match self.values {
            Whole::Short(values) => self.add_values_to(values, packed),
            Whole::Long(values) => self.add_values_to(values, packed),
        }
    }

    fn add_values_to<T: Copy + Into<i64>, K: Packed>(&self, values: &[T], packed: &mut [K]) {
        let ranked = packed
            .iter_mut()
            .zip(values.iter().map(|value| (*value).into().abs_diff(self.min).wrapping_add(1)));
        match self.nulls {
            None => ranked.for_each(|(packed, rank)| *packed = packed.with(rank, self.bits)),
            Some(nulls) => ranked.zip(nulls).for_each(|((packed, rank), is_valid)| {
                *packed = packed.with(if is_valid { rank } else { 0 }, self.bits);
            }),
        }
    }
}

/// The least and the greatest value; of none, 0.
fn range<T: Copy + Into<i64>>(values: &[T], nulls: Option<&NullBuffer>) -> (i64, i64) {
    let values = values.iter().map(|value| (*value).into());
    let add = |(min, max): (i64, i64), value: i64| (min.min(value), max.max(value));
    let none = (i64::MAX, i64::MIN);
    let (min, max) = match nulls {
        None => values.fold(none, add),
        Some(nulls) => {
            values.zip(nulls).filter(|(_, is_valid)| *is_valid).map(|(value, _)| value).fold(none, add)
        }
    };
    if min > max { (0, 0) } else { (min, max) }
}

/// Ranks of several columns in one number, those of the first above all others.
trait Packed: Copy + Default + Ord {
    /// With one more rank, of so many bits.
    fn with(self, rank: u64, bits: u32) -> Self;
}

impl Packed for u64 {
    fn with(self, rank: u64, bits: u32) -> Self {
        self << bits | rank
    }
}

impl Packed for u128 {
    fn with(self, rank: u64, bits: u32) -> Self {
        self << bits | u128::from(rank)
    }
}

/// Returns the order of keys that are all whole numbers and fit into one number per row together; `None` where they do not.
fn packed(keys: &[&ArrayRef]) -> Option<Option<UInt32Array>> {
    let keys: Vec<Ranked<'_>> = keys.iter().map(|key| Ranked::new(key)).collect::<Option<_>>()?;
    match keys.iter().map(|key| key.bits).sum::<u32>() {
        0..64 => Some(packed_order(pack::<u64>(&keys))),
        64..=128 => Some(packed_order(pack::<u128>(&keys))),
        _ => None,
    }
}

/// Returns one number per row that orders as the key columns do.
fn pack<K: Packed>(keys: &[Ranked<'_>]) -> Vec<K> {
    let num_rows = keys.first().map_or(0, |key| key.values.len());
    let mut packed = vec![K::default(); num_rows];
    keys.iter().for_each(|key| key.add_to(&mut packed));
    packed
}

/// Returns the order of the keys; `None` if they are in order already. The row number decides between equal keys.
fn packed_order<K: Ord + Copy>(keys: Vec<K>) -> Option<UInt32Array> {
    let num_runs = 1 + keys.windows(2).filter(|pair| pair[0] > pair[1]).count();
    if num_runs == 1 {
        return None;
    }
    let mut order: Vec<(K, u32)> = keys.into_iter().zip(0_u32..).collect();
    // Rows that come from files in order are a few sorted runs, which the stable sort finds and merges.
    if num_runs <= order.len() / LONG_RUN {
        order.sort_by_key(|(key, _)| *key)
    } else {
        order.sort_unstable()
    }
    Some(UInt32Array::from_iter_values(order.into_iter().map(|(_, row)| row)))
}

fn general_order(keys: &[&ArrayRef]) -> Result<UInt32Array, ArrowError> {
    let options = Some(SortOptions { descending: false, nulls_first: true });
    let rows = keys.first().map_or(0, |key| u32::try_from(key.len()).unwrap_or(u32::MAX));
    let arrival: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows));
    let columns: Vec<SortColumn> = keys
        .iter()
        .map(|key| Arc::clone(key))
        .chain([arrival])
        .map(|values| SortColumn { values, options })
        .collect();
    lexsort_to_indices(&columns, None)
}

#[cfg(test)]
mod tests;
