//! Fills bronze tables from event files, without Kafka: for proofs and benchmarks of the batch jobs.
//!
//! ```text
//! fill_bronze FILE.kv TOPIC ROWS_PER_COMMIT [SHIFT_DAYS [FIRST_OFFSET]]
//! ```
//!
//! A line is a delivery, `key TAB json`, in partition 0 with its number as offset; what is no event is left out. The tables
//! are those of the environment (`STREAMIFY_HOME`, `POLARIS_URI` …). `SHIFT_DAYS` moves every event time, so that one file
//! makes many days of history.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a tool of the benchmarks: a panic is the report"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::BufRead as _;

use streamify_lake::{Lake, LakeSettings};
use support::{Delivery, contract, land};

const DAY_MS: i64 = 86_400_000;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, topic, rows, more @ ..] = arguments.as_slice() else {
        panic!("usage: fill_bronze FILE.kv TOPIC ROWS_PER_COMMIT [SHIFT_DAYS [FIRST_OFFSET]]");
    };
    let number = |index: usize| more.get(index).map_or(0, |text| text.parse::<i64>().unwrap());
    let (shift_ms, mut offset) = (number(0) * DAY_MS, number(1));
    let rows: usize = rows.parse().unwrap();
    let settings = LakeSettings::from_env(&|name: &str| std::env::var(name).ok()).unwrap();
    let lake = Lake::open(&settings).await.unwrap();
    let contract = contract(topic);
    let mut reader = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(file).unwrap());
    let mut landed = 0;
    loop {
        let mut deliveries = Vec::with_capacity(rows);
        let mut line = Vec::new();
        while deliveries.len() < rows && reader.read_until(b'\n', &mut line).unwrap() > 0 {
            let start = line.iter().position(|byte| *byte == b'\t').map_or(0, |tab| tab + 1);
            let value =
                if shift_ms == 0 { line[start..].to_vec() } else { shifted(&line[start..], shift_ms) };
            deliveries.push(Delivery { partition: 0, offset, run_id: None, value });
            offset += 1;
            line.clear();
        }
        if deliveries.is_empty() {
            break;
        }
        landed += land(&lake, &contract, &deliveries).await;
    }
    println!("{landed} rows, next offset {offset}");
}

/// The event with its time moved: the digits after `"ts":` are replaced.
fn shifted(value: &[u8], shift_ms: i64) -> Vec<u8> {
    let key = b"\"ts\":";
    let at = value.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let digits = value[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let time: i64 = std::str::from_utf8(&value[at..at + digits]).unwrap().parse().unwrap();
    [&value[..at], (time + shift_ms).to_string().as_bytes(), &value[at + digits..]].concat()
}
