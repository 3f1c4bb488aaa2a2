use arrow::array::{Date32Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;

fn contract(sort_key: &[&str], partition: PartitionTransform) -> Contract {
    let mut contract = Contract::parse(crate::contract::tests::FIFTH, "ad_events.toml").unwrap();
    contract.sort_key = sort_key.iter().map(|name| (*name).to_owned()).collect();
    contract.partition = partition;
    contract
}

/// A batch with a user, a time and the row's number, which tells equal keys apart.
fn batch(rows: &[(Option<i64>, i64)]) -> RecordBatch {
    let users: Int64Array = rows.iter().map(|(user, _)| *user).collect();
    let texts: StringArray = rows.iter().map(|(user, _)| user.map(|user| user.to_string())).collect();
    let times = Int64Array::from_iter_values(rows.iter().map(|(_, time)| *time));
    let numbers = Int32Array::from_iter_values(0..i32::try_from(rows.len()).unwrap());
    RecordBatch::try_from_iter_with_nullable([
        ("user", Arc::new(users) as ArrayRef, true),
        ("time", Arc::new(times) as ArrayRef, false),
        ("row", Arc::new(numbers) as ArrayRef, false),
        ("text", Arc::new(texts) as ArrayRef, true),
    ])
    .unwrap()
}

fn numbers(batch: &RecordBatch) -> Vec<i32> {
    column(batch, "row").unwrap().as_primitive::<Int32Type>().values().to_vec()
}

/// Sorts in the most obvious way: Rust's stable sort, where `None` comes before every `Some`.
fn oracle(rows: &[(Option<i64>, i64)]) -> Vec<i32> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| rows[*row]);
    order.into_iter().map(|row| i32::try_from(row).unwrap()).collect()
}

fn key_values() -> impl Strategy<Value = i64> {
    prop_oneof![6 => -3_i64..4, 2 => 1_793_000_000_000_i64..1_793_000_100_000, 1 => any::<i64>()]
}

proptest! {
    #[test]
    fn packed_and_general_order_equal_a_stable_sort(
        rows in prop::collection::vec((prop::option::weighted(0.8, key_values()), key_values()), 0..200)
    ) {
        let batch = batch(&rows);
        let sorted = sort_batch(&batch, &contract(&["user", "time"], PartitionTransform::Hour)).unwrap();
        prop_assert_eq!(numbers(&sorted), oracle(&rows));
        let keys = [column(&batch, "user").unwrap(), column(&batch, "time").unwrap()];
        let general = take_record_batch(&batch, &general_order(&keys).unwrap()).unwrap();
        prop_assert_eq!(&general, &sorted);
        prop_assert_eq!(sorted.num_columns(), batch.num_columns());
    }

    #[test]
    fn any_number_of_keys_is_ordered_as_the_general_way_does(
        rows in prop::collection::vec((prop::option::weighted(0.8, key_values()), key_values()), 2..100),
        names in prop::collection::vec(prop::sample::select(vec!["user", "time", "row"]), 1..5),
    ) {
        let batch = batch(&rows);
        let keys: Vec<&ArrayRef> = names.iter().map(|name| column(&batch, name).unwrap()).collect();
        let in_order = || UInt32Array::from_iter_values(0..rows.len() as u32);
        prop_assert_eq!(order_of(&keys).unwrap().unwrap_or_else(in_order), general_order(&keys).unwrap());
    }
}

#[test]
fn the_extremes_of_both_keys_take_the_general_way() {
    let rows =
        [(Some(i64::MAX), 1), (None, i64::MIN), (Some(i64::MIN), i64::MAX), (Some(0), 0), (None, i64::MAX)];
    let batch = batch(&rows);
    let keys = [column(&batch, "user").unwrap(), column(&batch, "time").unwrap()];
    assert!(packed(&keys).is_none());
    let sorted = sort_batch(&batch, &contract(&["user", "time"], PartitionTransform::Hour)).unwrap();
    assert_eq!(numbers(&sorted), [1, 4, 2, 3, 0]);
}

#[test]
fn text_keys_are_sorted_too() {
    let batch = batch(&[(Some(2), 1), (Some(10), 2), (None, 3), (Some(10), 1)]);
    let sorted = sort_batch(&batch, &contract(&["text", "time"], PartitionTransform::Hour)).unwrap();
    assert_eq!(numbers(&sorted), [2, 3, 1, 0]);
}

#[test]
fn a_batch_in_order_is_not_copied() {
    let batch = batch(&[(None, 9), (Some(1), 1), (Some(1), 1), (Some(2), 0)]);
    let sorted = sort_batch(&batch, &contract(&["user", "time"], PartitionTransform::Hour)).unwrap();
    let address = |batch: &RecordBatch| column(batch, "row").unwrap().to_data().buffers()[0].as_ptr();
    assert_eq!(address(&sorted), address(&batch));
}

#[test]
fn a_missing_key_column_is_named() {
    let error = sort_batch(&batch(&[(None, 1), (None, 2)]), &contract(&["nobody"], PartitionTransform::Hour));
    assert_eq!(error.unwrap_err().to_string(), "Schema error: batch has no column `nobody`");
}

/// A batch with the derived columns that partitions are made from.
fn dated(times_us: &[i64]) -> RecordBatch {
    let days = times_us.iter().map(|time| i32::try_from(time.div_euclid(86_400_000_000)).unwrap());
    let numbers = Int32Array::from_iter_values(0..i32::try_from(times_us.len()).unwrap());
    let schema = Schema::new(vec![
        Field::new(
            "event_ts",
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("+00:00".into())),
            false,
        ),
        Field::new("event_date", DataType::Date32, false),
        Field::new("row", DataType::Int32, false),
    ]);
    let times = TimestampMicrosecondArray::from(times_us.to_vec()).with_timezone("+00:00");
    let columns: Vec<ArrayRef> =
        vec![Arc::new(times), Arc::new(Date32Array::from_iter_values(days)), Arc::new(numbers)];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[test]
fn partitions_are_ascending_and_keep_the_order_of_rows() {
    let hour = MICROSECONDS_PER_HOUR;
    let batch = dated(&[30 * hour, hour, 30 * hour + 1, -1, hour]);
    let split = |partition| {
        let parts = split_by_partition(&batch, &contract(&[], partition)).unwrap();
        parts.into_iter().map(|(key, part)| (key, numbers(&part))).collect::<Vec<_>>()
    };
    assert_eq!(
        split(PartitionTransform::EventDate),
        [
            (PartitionKey::EventDate(-1), vec![3]),
            (PartitionKey::EventDate(0), vec![1, 4]),
            (PartitionKey::EventDate(1), vec![0, 2]),
        ]
    );
    assert_eq!(
        split(PartitionTransform::Hour),
        [
            (PartitionKey::Hour(-1), vec![3]),
            (PartitionKey::Hour(1), vec![1, 4]),
            (PartitionKey::Hour(30), vec![0, 2])
        ]
    );
}

#[test]
fn one_partition_and_no_rows_need_no_copy() {
    let one = split_by_partition(&dated(&[5, 6]), &contract(&[], PartitionTransform::EventDate)).unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].1.num_rows(), 2);
    assert!(split_by_partition(&dated(&[]), &contract(&[], PartitionTransform::Hour)).unwrap().is_empty());
}
