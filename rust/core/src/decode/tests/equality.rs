//! The fast decoder against the reference, on lines made from the samples by seeded mutation.

use super::*;

/// A small generator of random numbers (splitmix64), so that every run sees the same lines.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "12",
    "0.0",
    "-0.0",
    "1.0",
    "1.5",
    "-2.25",
    "1e3",
    "1E-3",
    "1e+2",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-",
    "+1",
    "1e",
    "1e+",
    "0x10",
    "NaN",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "99999999",
    "100000000",
    "123456789012345",
    "1234567890123456",
    "123456789012345678",
    "999999999999999999",
    "1234567890123456789",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "123456789.123456789012",
    "0.1",
    "0.30000000000000004",
    "4.9e-324",
    "1.7976931348623157e308",
    "1e309",
    "9007199254740993",
    "9007199254740993.0",
    "1793000000926",
    "1793000000926.0",
    "5.0e-1",
    "123456.7890123456",
    "0.00000000000000000001",
    "1e400",
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "abcdefg",
    "abcdefgh",
    "abcdefghi",
    "exactly sixteen!",
    "ù é ñ",
    "\u{1F3B5} tune",
    r"\n\t\\",
    r#"\"q\""#,
    r"\/",
    r"\u0041",
    r"\u00e9",
    r"\u20ac",
    r"\ud83c\udfb5",
    r"\ud83c",
    r"\udfb5",
    r"\ud83c\u0041",
    r"\uD83C\uDFB5x",
    r"\u0000",
    r"\u12",
    r"\uzzzz",
    r"\x",
    r"\",
    "\u{7f}",
    "\u{80}\u{9f}",
    "\u{1}",
    "\t",
    "\n",
    "\0",
    "a long text that needs several words of eight bytes, and then some more, to reach its end",
    "1234567890123456",
    "42",
    "-7",
    "007",
    "null",
    "true",
];

const OTHERS: &[&str] = &[
    "null",
    "true",
    "false",
    "nul",
    "tru",
    "[]",
    "{}",
    "[1,2]",
    r#"{"a":1}"#,
    r#"[{"a":[null,"\u00e9"]}]"#,
    "[",
    "\"\"",
    "nullx",
    "True",
    "",
    "[1,]",
    r#"{"a":1,"a":2}"#,
];

const NAMES: &[&str] = &[
    "artist",
    "song",
    "duration",
    "length",
    "ts",
    "sessionId",
    "session_id",
    "itemInSession",
    "city",
    "state",
    "location",
    "userId",
    "user_id",
    "lng",
    "lon",
    "zip",
    "tag",
    "page",
    "success",
    "status",
    "mood",
    "größe",
    "a\\\"b",
    "s\\u006fng",
    "",
    "x",
    "a_key_that_is_longer_than_what_the_decoder_learns_at_once",
    "Artist",
    "bad\u{1}key",
];

/// Divides a flat sample into its members.
fn members(sample: &str) -> Vec<String> {
    let body = &sample[1..sample.len() - 1];
    let mut members = vec![String::new()];
    let (mut is_text, mut is_escaped) = (false, false);
    for letter in body.chars() {
        if letter == ',' && !is_text {
            members.push(String::new());
            continue;
        }
        is_text ^= letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        members.last_mut().unwrap().push(letter);
    }
    members
}

fn value(random: &mut Random) -> String {
    match random.below(5) {
        0 | 1 => random.pick(NUMBERS).to_owned(),
        2 | 3 => format!("\"{}{}\"", random.pick(TEXTS), random.pick(TEXTS)),
        _ => random.pick(OTHERS).to_owned(),
    }
}

fn change_members(random: &mut Random, members: &mut Vec<String>) {
    for _ in 0..random.below(4) {
        let at = random.below(members.len());
        match random.below(7) {
            0 => {
                let other = random.below(members.len());
                members.swap(at, other);
            }
            1 if members.len() > 1 => drop(members.remove(at)),
            2 => members.insert(at, members[random.below(members.len())].clone()),
            3 | 4 => members.insert(at, format!("\"{}\":{}", random.pick(NAMES), value(random))),
            _ => {
                let name = members[at].split(':').next().unwrap().to_owned();
                members[at] = format!("{name}:{}", value(random));
            }
        }
    }
}

/// Makes a line: members shuffled, removed, doubled, added, changed; white space; then, rarely, broken bytes.
fn line(random: &mut Random, sample: &str) -> Vec<u8> {
    let mut members = members(sample);
    change_members(random, &mut members);
    let spaces = ["", "", "", "", " ", "\n", "\t ", "\r\n"];
    let (comma, colon) = match random.below(6) {
        0 => (
            format!("{},{}", random.pick(&spaces), random.pick(&spaces)),
            format!("\":{}", random.pick(&spaces)),
        ),
        _ => (",".to_owned(), "\":".to_owned()),
    };
    let body = members.join(&comma).replace("\":", &colon);
    let mut text =
        format!("{}{{{}{body}{}}}", random.pick(&spaces), random.pick(&spaces), random.pick(&spaces));
    text.push_str(random.pick(&["\n", "\n", "\n", "\r\n", "", " ", "x", "{}", ",", "\0"]));
    let mut bytes = text.into_bytes();
    if random.one_in(12) {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    if random.one_in(8) && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = random.next().to_le_bytes()[0];
    }
    bytes
}

fn compare(topic: &str, sample: &str, seed: u64) -> (usize, usize) {
    let contract = contract(topic);
    let mut random = Random(seed);
    let (mut rows, mut rejected) = (0, 0);
    for batch in 0..20 {
        let options = DecodeOptions {
            legacy_event_id: batch % 5 == 4,
            max_value_bytes: if batch % 7 == 6 { 500 } else { 1 << 20 },
            ..DecodeOptions::default()
        };
        let lines: Vec<Vec<u8>> = (0..300).map(|_| line(&mut random, sample)).collect();
        let runs = [None, Some("run-a"), Some("run-b")];
        let records: Vec<Record<'_>> =
            lines.iter().map(|line| Record { run_id: runs[random.below(3)], ..record(line) }).collect();
        let (batch, reasons) = decode_all(&contract, &options, &records);
        rows += batch.num_rows();
        rejected += reasons.iter().flatten().count();
    }
    (rows, rejected)
}

#[test]
fn both_decoders_agree_on_mutated_listens() {
    for seed in 0..4 {
        let (rows, rejected) = compare("listen_events", LISTEN, seed);
        assert!(rows > 1000 && rejected > 1000, "{rows} rows, {rejected} rejected");
    }
}

#[test]
fn both_decoders_agree_on_the_other_topics() {
    for (topic, sample) in
        [("page_view_events", PAGE), ("auth_events", AUTH), ("status_change_events", CHANGE)]
    {
        let (rows, rejected) = compare(topic, sample, 77);
        assert!(rows > 1000 && rejected > 1000, "{topic}: {rows} rows, {rejected} rejected");
    }
}

/// A line that is ordinary in every way but its values, its missing fields and its order, so that the fast path takes it.
fn ordinary_line(random: &mut Random) -> String {
    let whole = |random: &mut Random| {
        let digits = 1 + random.below(18);
        let number = (random.next() % 10_u64.pow(u32::try_from(digits).unwrap())).cast_signed();
        if random.one_in(4) && number != 0 { -number } else { number }
    };
    let double = |random: &mut Random| match random.below(4) {
        0 => format!("{}", f64::from_bits(random.next() & 0x7FEF_FFFF_FFFF_FFFF)),
        1 => format!("{:e}", f64::from_bits(random.next() & 0xFFEF_FFFF_FFFF_FFFF)),
        2 => format!("{:.*}", random.below(12), f64::from_bits(random.next() >> 12 | 0x4060_0000_0000_0000)),
        _ => whole(random).to_string(),
    };
    let sound = [
        "",
        "x",
        "Slow Harbour",
        "ù é",
        "\u{1F3B5}\u{1F3B5}",
        r#"\"Mozilla/5.0 (X11; Linux x86_64)\""#,
        r"a\\b\/c\n",
        r"\u0041\u00e9\u20ac\ud83c\udfb5",
        "sixteen bytes!!!",
        "fifteen bytes!!",
    ];
    let text = |random: &mut Random| (0..random.below(4)).map(|_| random.pick(&sound)).collect::<String>();
    let mut members = vec![
        format!("\"ts\":{}", 1_793_000_000_926 - random.below(1 << 30)),
        format!("\"sessionId\":{}", whole(random)),
        format!("\"itemInSession\":{}", random.below(1 << 31)),
    ];
    for name in
        ["artist", "song", "auth", "level", "city", "zip", "state", "userAgent", "gender", "tag", "mood"]
    {
        if !random.one_in(5) {
            members.push(format!(
                "\"{name}\":\"{}\"",
                text(random).replace("\\u", if name == "mood" { "" } else { "\\u" })
            ));
        }
    }
    for name in ["duration", "lon", "lat"] {
        members.push(format!("\"{name}\":{}", double(random)));
    }
    let user =
        [whole(random).to_string(), format!("\"{}\"", whole(random)), "null".to_owned(), "\"\"".to_owned()];
    members.push(format!("\"userId\":{}", user[random.below(4)]));
    if random.one_in(2) {
        let last = members.len() - 1;
        let (one, other) = (random.below(last), random.below(last));
        members.swap(one, other);
    }
    format!("{{{}}}\n", members.join(","))
}

#[test]
fn both_decoders_agree_where_the_fast_one_does_all_the_work() {
    let mut random = Random(2026);
    let lines: Vec<String> = (0..20_000).map(|_| ordinary_line(&mut random)).collect();
    let mut fast = Decoder::new(contract("listen_events"), DecodeOptions::default());
    let mut slow = Decoder::new(contract("listen_events"), DecodeOptions::default());
    for lines in lines.chunks(1000) {
        for line in lines {
            assert_eq!(fast.push(&record(line.as_bytes())), Ok(()), "{line}");
            slow.push_slowly(&record(line.as_bytes())).unwrap();
        }
        assert_same_bits(&fast.finish(0).unwrap(), &slow.finish(0).unwrap());
    }
    assert_eq!(fast.num_slow(), 0, "the reference was asked");
}
