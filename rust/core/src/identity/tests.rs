use std::collections::HashMap;

use super::*;

fn identity() -> EventIdentity<'static> {
    EventIdentity {
        topic: "listen_events",
        run_id: b"",
        session: Part::Number(97),
        item: Part::Number(0),
        event_time_ms: 1_793_000_000_926,
        page: b"listen",
        user: Part::Number(42),
    }
}

fn message(identity: &EventIdentity<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    identity.write_message(&mut message);
    message
}

#[test]
fn the_message_is_laid_out_as_documented() {
    let mut expected = b"\x0dlisten_events\x00".to_vec();
    for number in [97_i64, 0, 1_793_000_000_926] {
        expected.push(8);
        expected.extend_from_slice(&number.to_le_bytes());
    }
    expected.extend_from_slice(b"\x06listen\x08\x2a\0\0\0\0\0\0\0");
    assert_eq!(expected.len(), 58);
    expected.extend_from_slice(&[0; 6]);
    assert_eq!(message(&identity()), expected);
    assert_eq!(identity().event_id(), blake3::hash(&expected).to_hex()[..32]);
}

#[test]
fn null_and_long_text_are_laid_out_as_documented() {
    let page = "p".repeat(300);
    let long =
        EventIdentity { page: page.as_bytes(), user: Part::Null, session: Part::Text(b"s-1"), ..identity() };
    let mut expected = b"\x0dlisten_events\x00\x03s-1\x08\0\0\0\0\0\0\0\0\x08".to_vec();
    expected.extend_from_slice(&1_793_000_000_926_i64.to_le_bytes());
    expected.extend_from_slice(b"\xfe\x2c\x01\0\0");
    expected.extend_from_slice(page.as_bytes());
    expected.push(0xFF);
    expected.resize(384, 0);
    assert_eq!(message(&long), expected);
}

#[test]
fn ids_are_pinned() {
    let null_user = EventIdentity { user: Part::Null, ..identity() };
    let run = EventIdentity { run_id: b"7f3a", ..identity() };
    let ids = [identity().event_id(), null_user.event_id(), run.event_id()];
    insta::assert_snapshot!(ids.join("\n"), @r"
    5e6254b7c54c942c6c67511797b52ef8
    f7ae78c44a06e863887332d230c007ca
    2015cd8feb9dc7611eae50356bab9fa7
    ");
}

#[test]
fn different_events_have_different_messages() {
    let texts: [&[u8]; 8] =
        [b"", b"\0", b"listen", b"\xff", b"\x08", &[0xFF; 253], &[0xFF; 254], b"listen_events\0"];
    let parts = [
        Part::Null,
        Part::Number(0),
        Part::Number(-1),
        Part::Number(i64::MAX),
        Part::Number(0x0808_0808),
        Part::Text(b""),
        Part::Text(b"42"),
        Part::Text(b"\xff"),
    ];
    let mut seen = HashMap::new();
    for run_id in texts {
        for page in texts {
            for user in parts {
                for session in [Part::Number(1), Part::Number(8), Part::Number(1 << 56)] {
                    for item in [Part::Number(0), Part::Number(255)] {
                        let one = EventIdentity { run_id, page, user, session, item, ..identity() };
                        assert_eq!(message(&one).len() % 64, 0);
                        if let Some(other) = seen.insert(message(&one), format!("{one:?}")) {
                            panic!("{one:?} and {other} have one message");
                        }
                    }
                }
            }
        }
    }
    assert_eq!(seen.len(), 8 * 8 * 8 * 3 * 2);
}

#[test]
fn the_older_id_joins_what_is_not_null() {
    // The digests are those of `printf 42_97_5 | sha256sum`, and so on.
    let cases = [
        (
            Part::Number(42),
            Part::Number(97),
            5,
            "ee8392d1ace5675b32cba6dfcb8acf902b6fa39a766b5f6384c1b54f7825e3ae",
        ),
        (Part::Null, Part::Number(97), 5, "ef13c4c0ab8ef60372b0404a2dbef769cf1882fca1560846e1e562ca8bc6ea46"),
        (
            Part::Text(b"u"),
            Part::Text(b"s"),
            -1,
            "d33ee76050dc5513ccdd9e43a04c21eb0d5ff1ad03812193aed41cffbf97055c",
        ),
    ];
    for (user, session, time_ms, expected) in cases {
        assert_eq!(legacy_event_id(user, session, time_ms), expected);
    }
}

#[test]
fn many_blocks_at_once_have_the_hashes_of_each_alone() {
    let mut hasher = BlockHasher::new();
    let mut word = 1_u64;
    for count in (0..=BlockHasher::LANES).cycle().take(500) {
        let block = |_| {
            std::array::from_fn(|_| {
                word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                word.to_be_bytes()[0]
            })
        };
        let blocks: Vec<[u8; BLOCK]> = (0..count).map(block).collect();
        let found: Vec<[u8; 16]> = hasher.first_halves(&blocks).collect();
        let expected: Vec<[u8; 16]> = blocks.iter().map(|block| first_half(block)).collect();
        assert_eq!(found, expected);
    }
}
