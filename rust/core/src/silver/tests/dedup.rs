//! Against an oracle that sorts everything.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::BooleanArray;
use proptest::prelude::*;

use crate::silver::dedup::{Coordinates, Deliveries, FirstDelivery, bucket_of};

#[derive(Clone, Debug)]
struct Delivery {
    id: u128,
    coordinates: Coordinates,
    payload: Option<i32>,
}

type Known = BTreeMap<u128, Option<i32>>;

fn decide(deliveries: &[(usize, Delivery)], known: &Known, buckets: u32) -> Deliveries {
    let mut all = Deliveries::default();
    for bucket in 0..buckets {
        let mut first = FirstDelivery::new(bucket, buckets);
        for (row, one) in deliveries {
            let is_here = first.offer(one.id, one.coordinates, *row, one.payload);
            assert_eq!(is_here, bucket_of(one.id, buckets) == bucket);
        }
        let mut sealed = first.seal();
        for (id, payload) in known {
            sealed.known(*id, *payload);
        }
        all.add(&sealed.finish());
    }
    all
}

/// The rows kept, offered, duplicates, already known, conflicts; by sorting.
fn oracle(deliveries: &[Delivery], known: &Known) -> (BTreeSet<usize>, [u64; 4]) {
    let mut by_id: BTreeMap<u128, Vec<(Coordinates, usize)>> = BTreeMap::new();
    let mut payloads: BTreeMap<u128, BTreeSet<i32>> = BTreeMap::new();
    for (row, one) in deliveries.iter().enumerate() {
        by_id.entry(one.id).or_default().push((one.coordinates, row));
        payloads.entry(one.id).or_default().extend(one.payload);
    }
    let mut kept = BTreeSet::new();
    let mut counts = [deliveries.len() as u64, 0, 0, 0];
    for (id, mut rows) in by_id {
        rows.sort_unstable();
        let payloads = payloads.get_mut(&id).unwrap();
        match known.get(&id) {
            Some(payload) => {
                payloads.extend(*payload);
                counts[2] += rows.len() as u64;
            }
            None => {
                kept.insert(rows[0].1);
                counts[1] += rows.len() as u64 - 1;
            }
        }
        counts[3] += u64::from(payloads.len() > 1);
    }
    (kept, counts)
}

fn ids() -> impl Strategy<Value = u128> {
    // Few ids, spread over the whole range, and some that differ in one half only.
    prop_oneof![
        (0..20_u128).prop_map(|id| id * (u128::MAX / 20)),
        (0..5_u128),
        (0..5_u128).prop_map(|id| id << 64),
        Just(u128::MAX)
    ]
}

fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
    let payload = prop_oneof![4 => Just(Some(1)), 1 => Just(Some(2)), 1 => Just(None)];
    let one =
        (ids(), 0..2_i32, 0..3_i32, 0..9_i64, payload).prop_map(|(id, epoch, partition, offset, payload)| {
            Delivery { id, coordinates: Coordinates { epoch, partition, offset }, payload }
        });
    proptest::collection::vec(one, 0..150)
}

proptest! {
    #[test]
    fn any_number_of_buckets_and_any_order_agree_with_sorting(
        deliveries in deliveries(),
        known in proptest::collection::btree_map(ids(), prop_oneof![Just(None), Just(Some(1)), Just(Some(2))], 0..15),
        buckets in 1..20_u32,
        shuffled in any::<u64>(),
    ) {
        let mut rows: Vec<(usize, Delivery)> = deliveries.iter().cloned().enumerate().collect();
        rows.sort_by_key(|(row, _)| (*row as u64 + 1).wrapping_mul(shuffled | 1).rotate_left(17));
        let found = decide(&rows, &known, buckets);
        let (kept, counts) = oracle(&deliveries, &known);
        let rows: BTreeSet<usize> = (0..deliveries.len() + 100).filter(|row| found.kept.contains(*row)).collect();
        prop_assert_eq!(&rows, &kept);
        prop_assert_eq!([found.offered, found.duplicates, found.already_known, found.conflicts], counts);
        prop_assert_eq!(found.kept.len() as u64 + found.duplicates + found.already_known, found.offered);
        let mut contested: BTreeMap<u128, usize> = BTreeMap::new();
        for one in &deliveries {
            *contested.entry(one.id).or_insert(usize::from(known.contains_key(&one.id))) += 1;
        }
        contested.retain(|_, count| *count > 1);
        prop_assert!(contested.keys().eq(found.contested.keys().collect::<BTreeSet<_>>()));
        let mask = found.kept.mask(0..deliveries.len());
        prop_assert_eq!(mask, BooleanArray::from((0..deliveries.len()).map(|row| kept.contains(&row)).collect::<Vec<_>>()));
    }

    #[test]
    fn every_id_has_one_bucket(id in any::<u128>(), buckets in 1..5000_u32) {
        prop_assert!(bucket_of(id, buckets) < buckets);
        let holds = (0..buckets.min(40)).filter(|bucket| bucket_of(id, buckets.min(40)) == *bucket).count();
        prop_assert_eq!(holds, 1);
    }
}

#[test]
fn the_least_coordinates_win_and_the_lower_row_between_equal_ones() {
    let at = |epoch, partition, offset| Coordinates { epoch, partition, offset };
    let order = [at(i32::MIN, i32::MIN, i64::MIN), at(0, 0, 9), at(0, 1, 0), at(1, 0, 0)];
    for (earlier, later) in order.iter().zip(&order[1..]) {
        let mut first = FirstDelivery::new(0, 1);
        first.offer(7, *later, 0, None);
        first.offer(7, *earlier, 1, None);
        first.offer(7, *earlier, 2, None);
        assert_eq!(first.len(), 1);
        let decided = first.seal().finish();
        assert!(!decided.kept.contains(0) && decided.kept.contains(1) && !decided.kept.contains(2));
    }
}

#[test]
fn ids_fill_their_buckets_evenly() {
    let mut counts = [0_u32; 7];
    for number in 0..70_000_u32 {
        let hash = blake3::hash(&number.to_le_bytes());
        let id = u128::from_be_bytes(hash.as_bytes()[..16].try_into().unwrap());
        counts[bucket_of(id, 7) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
}

#[test]
fn nothing_offered_is_nothing_kept() {
    let mut sealed = FirstDelivery::new(3, 2).seal();
    sealed.known(1, None);
    let decided = sealed.finish();
    assert!(decided.kept.is_empty());
    assert_eq!(decided, Deliveries::default());
}
