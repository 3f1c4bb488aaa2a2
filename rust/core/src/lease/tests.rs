use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_000_000;

fn lease(writer_id: &str, partitions: Option<&[i32]>, valid_until_ms: i64) -> Lease {
    Lease {
        writer_id: writer_id.to_owned(),
        process: Process { host: "h".into(), pid: 7, boot_id: None, started_ticks: None },
        partitions: partitions.map(|list| list.iter().copied().collect()),
        since_ms: NOW - 10,
        valid_until_ms,
    }
}

fn alive(_: &Process) -> bool {
    false
}

#[test]
fn a_valid_lease_of_another_writer_is_in_the_way_until_it_runs_out() {
    let leases = Leases(vec![lease("a", None, NOW)]);
    let wanted = lease("b", Some(&[3]), NOW + 90);

    let error = leases.take(&wanted, NOW, false, alive).unwrap_err();
    assert_eq!(error, LeaseError::Held(Box::new(lease("a", None, NOW))));
    assert!(error.to_string().contains("writer a (process 7 on host `h`), for all partitions"), "{error}");

    assert_eq!(leases.take(&wanted, NOW + 1, false, alive).unwrap().0, [wanted]);
}

#[test]
fn disjoint_writers_live_together() {
    let leases = Leases(vec![lease("a", Some(&[0, 1]), NOW + 90)]);
    let beside = leases.take(&lease("b", Some(&[2]), NOW + 90), NOW, false, alive).unwrap();

    assert_eq!(beside.0.len(), 2);
    assert!(beside.renew(&lease("a", Some(&[0, 1]), NOW + 180)).is_ok());
    assert!(beside.take(&lease("c", Some(&[1]), NOW + 90), NOW, false, alive).is_err());
}

#[test]
fn a_dead_process_holds_nothing_and_a_take_over_asks_nobody() {
    let leases = Leases(vec![lease("a", None, NOW + 90)]);
    let wanted = lease("b", None, NOW + 90);

    assert!(leases.take(&wanted, NOW, false, |process| process.pid == 7).is_ok());
    let taken = leases.take(&wanted, NOW, true, alive).unwrap();

    let lost = taken.renew(&lease("a", None, NOW + 180)).unwrap_err();
    assert_eq!(lost, LeaseError::Lost(Box::new(wanted)));
}

#[test]
fn a_lease_that_ran_out_is_renewed_where_nobody_took_it() {
    let leases = Leases(vec![lease("a", None, NOW - 500)]);

    assert_eq!(leases.renew(&lease("a", None, NOW + 90)).unwrap().0, [lease("a", None, NOW + 90)]);
    assert_eq!(leases.without("a"), Leases::default());
}

#[test]
fn the_json_form_is_a_list_that_people_can_read() {
    let leases = Leases(vec![lease("a", Some(&[1, 2]), NOW)]);
    let text = leases.to_json();

    assert_eq!(
        text,
        r#"[{"writer_id":"a","host":"h","pid":7,"partitions":[1,2],"since_ms":999990,"valid_until_ms":1000000}]"#
    );
    assert_eq!(Leases::from_json(&text), Some(leases));
    assert_eq!(Leases::from_json("[{"), None);
}

proptest! {
    /// Whatever writers do, and in whatever order: of two valid leases of different writers none shares a partition.
    #[test]
    fn no_partition_has_two_valid_leases(steps in prop::collection::vec(
        (0..4_u8, prop::option::of(prop::collection::btree_set(0..4_i32, 1..3)), 0..3_u8, any::<bool>(), 0..60_i64), 1..40)
    ) {
        let (mut leases, mut now) = (Leases::default(), NOW);
        for (writer, partitions, action, take_over, pause) in steps {
            now += pause;
            let mut wanted = lease(&writer.to_string(), None, now + 90);
            wanted.partitions = partitions;
            let result = match action {
                0 => leases.take(&wanted, now, take_over, alive),
                1 => {
                    let own = leases.0.iter().find(|lease| lease.writer_id == wanted.writer_id).cloned();
                    let renewed = own.map_or(wanted, |own| Lease { valid_until_ms: now + 90, ..own });
                    leases.renew(&renewed)
                }
                _ => Ok(leases.without(&wanted.writer_id)),
            };
            leases = result.unwrap_or(leases);
            for (index, left) in leases.0.iter().enumerate() {
                for right in &leases.0[index + 1..] {
                    prop_assert!(left.writer_id != right.writer_id && !left.overlaps(right), "{leases:?}");
                }
            }
        }
    }
}
