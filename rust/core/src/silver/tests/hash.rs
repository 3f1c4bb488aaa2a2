use std::collections::HashSet;

use arrow::datatypes::Int32Type;

use super::*;
use crate::silver::hash::{PayloadHashes, xxh64, xxh64_word};

#[test]
fn xxh64_agrees_with_the_reference() {
    let bytes: Vec<u8> = (0..100).collect();
    // By the Python package `xxhash`, with the seeds 0 and 2654435761.
    let cases: [(&[u8], u64, u64); 7] = [
        (b"", 0xef46_db37_51d8_e999, 0xac75_fda2_929b_17ef),
        (b"a", 0xd24e_c4f1_a98c_6e5b, 0x393d_a8b7_8992_279b),
        (b"abc", 0x44bc_2cf5_ad77_0999, 0x1318_df30_094a_85fd),
        (b"0123456789abcdef", 0x5c5b_90c3_4e37_6d0b, 0x9c29_abe1_ea25_f5c4),
        (&bytes[..32], 0xcbf5_9c51_16ff_32b4, 0x7181_3547_74e0_d600),
        (&bytes, 0x6ac1_e580_3216_6597, 0x8832_442a_8828_4f11),
        (&bytes[..71], 0x2ebf_fc96_eb13_9d60, 0xdab6_2e93_cd8a_e329),
    ];
    for (bytes, plain, seeded) in cases {
        assert_eq!((xxh64(bytes, 0), xxh64(bytes, 2_654_435_761)), (plain, seeded), "{bytes:?}");
    }
    for word in [0, 1, u64::MAX, 0x0123_4567_89AB_CDEF] {
        assert_eq!(xxh64_word(word, 7), xxh64(&word.to_le_bytes(), 7));
    }
}

#[test]
fn a_row_is_hashed_as_documented() {
    // By the Python lines of the module's text, for {artist: Nora, userId: 42, lat: -0.5, success: true, song: ""}.
    let mut hashes = PayloadHashes::new(1);
    hashes.add("userId", |_, seed| Some(xxh64_word(42, seed)));
    hashes.add("song", |_, seed| Some(xxh64(b"", seed)));
    hashes.add("tag", |_, _| None);
    hashes.add("artist", |_, seed| Some(xxh64(b"Nora", seed)));
    hashes.add("lat", |_, seed| Some(xxh64_word((-0.5_f64).to_bits(), seed)));
    hashes.add("success", |_, seed| Some(xxh64_word(1, seed)));
    assert_eq!(hashes.finish(), [-1_733_355_682]);
}

fn hash(line: &str, run_id: Option<&str>) -> i32 {
    let contract = contract("listen_events");
    let bronze = bronze_of(&contract, &[LISTEN, line], run_id);
    let rows = SilverPlan::new(&contract).transform(&bronze, 0).unwrap();
    rows.column_by_name("_payload_hash").unwrap().as_primitive::<Int32Type>().value(1)
}

#[test]
fn the_hash_is_of_the_payload_alone() {
    let contract = contract("listen_events");
    let bronze = bronze_of(&contract, &[LISTEN, LISTEN], None);
    let rows = SilverPlan::new(&contract).transform(&bronze, 0).unwrap();
    let hashes = rows.column_by_name("_payload_hash").unwrap().as_primitive::<Int32Type>().clone();
    assert_eq!(hashes.value(0), hashes.value(1), "offsets differ");
    assert_eq!(hash(LISTEN, Some("other")), hashes.value(0));
}

#[test]
fn every_value_counts_and_null_is_not_empty() {
    let changes = [
        ("\"artist\":\"Nora Vale\"", "\"artist\":\"Nora  Vale\""),
        ("\"artist\":\"Nora Vale\",", ""),
        ("\"artist\":\"Nora Vale\"", "\"artist\":\"\""),
        ("\"userId\":42", "\"userId\":43"),
        ("\"userId\":42,", ""),
        ("\"lat\":41.42828", "\"lat\":0.0"),
        ("\"lat\":41.42828", "\"lat\":-0.0"),
        ("\"level\":\"free\"", "\"level\":\"paid\""),
        ("\"itemInSession\":0", "\"itemInSession\":1"),
        (
            "\"artist\":\"Nora Vale\",\"song\":\"Slow Harbour\"",
            "\"artist\":\"Slow Harbour\",\"song\":\"Nora Vale\"",
        ),
        ("{", "{\"mood\":1,"),
        ("{", "{\"mood\":2,"),
    ];
    let mut seen = HashSet::from([hash(LISTEN, None)]);
    for (from, to) in changes {
        assert!(seen.insert(hash(&with(LISTEN, from, to), None)), "{to}");
    }
}
