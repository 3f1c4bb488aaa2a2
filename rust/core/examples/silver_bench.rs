//! Measures silver on a file of events.
//!
//! `cargo run --release -p streamify-core --example silver_bench -- [--topic NAME] [--batch ROWS] [--agents COUNT] [--no-agents] FILE`
//!
//! `FILE` has one event per line: JSON, or a key, a tab and JSON. The topic is taken from the file name unless named.
//! Decoding is not measured. `--agents` puts that many made-up user agents in the place of those of the file;
//! `--no-agents` leaves user agents as they are, to tell what they cost.
//! Two figures per run: the ids and coordinates through `FirstDelivery`, and the transformation; the first run also meets every
//! user agent for the first time.
//!
//! CPU seconds are user and system time of the process, from `/proc/self/schedstat`.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use arrow::array::{RecordBatch, StringArray};
use streamify_core::silver::dedup::FirstDelivery;
use streamify_core::{Contract, DecodeOptions, Decoder, Record, SilverPlan, builtin};

struct Arguments {
    file: PathBuf,
    topic: String,
    batch: usize,
    agents: usize,
    no_agents: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let contract = builtin().into_iter().find(|contract| contract.topic == arguments.topic);
    let contract = contract.ok_or_else(|| format!("no contract has the topic `{}`", arguments.topic))?;
    let bytes = fs::read(&arguments.file)?;
    let mut decoder = Decoder::new(Arc::clone(&contract), DecodeOptions::default());
    let mut batches = Vec::new();
    for (offset, line) in (0..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let value = line.iter().position(|byte| *byte == b'{').map(|start| &line[start..]);
        let timestamp_ms = Some(1_800_000_000_000);
        let record = Record { value, partition: 0, offset, timestamp_ms, run_id: Some("bench") };
        // A dead letter is no row.
        let _ = decoder.push(&record);
        if decoder.rows() == arguments.batch {
            batches.push(decoder.finish(0)?);
        }
    }
    batches.push(decoder.finish(0)?);
    if arguments.agents > 0 {
        batches =
            batches.iter().map(|batch| with_agents(batch, arguments.agents)).collect::<Result<_, _>>()?;
    }
    let mut contract = Contract::clone(&contract);
    if arguments.no_agents {
        contract.silver.user_agent = None;
    }
    let mut plan = SilverPlan::new(&contract);
    for run in 1..=4 {
        measure(run, &mut plan, &batches)?;
    }
    Ok(())
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let (mut file, mut topic, mut batch, mut agents, mut no_agents) = (None, None, 65_536, 0, false);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--topic" => topic = words.next(),
            "--batch" => batch = words.next().ok_or("`--batch` needs a number")?.parse()?,
            "--agents" => agents = words.next().ok_or("`--agents` needs a number")?.parse()?,
            "--no-agents" => no_agents = true,
            _ => file = Some(PathBuf::from(word)),
        }
    }
    let file = file.ok_or("no file named")?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Arguments { file, topic: topic.unwrap_or(stem), batch, agents, no_agents })
}

/// Gives every row one of `count` user agents, without order.
fn with_agents(batch: &RecordBatch, count: usize) -> Result<RecordBatch, Box<dyn Error>> {
    let place = batch.schema().index_of("userAgent")?;
    let agent = |row: usize| {
        let number = row.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count;
        format!(
            "\"Mozilla/5.0 (Windows NT 6.{}; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{number}.0.1985.143 Safari/537.36\"",
            number % 4
        )
    };
    let mut columns = batch.columns().to_vec();
    columns[place] = Arc::new(StringArray::from_iter_values((0..batch.num_rows()).map(agent)));
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

fn measure(run: u32, plan: &mut SilverPlan, batches: &[RecordBatch]) -> Result<(), Box<dyn Error>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    let millions = rows as f64 / 1e6;
    let started = cpu_seconds()?;
    let mut first = FirstDelivery::new(0, 1);
    let mut row = 0;
    for batch in batches {
        for (id, coordinates) in plan.event_ids(batch)?.into_iter().zip(plan.coordinates(batch)?) {
            first.offer(id, coordinates, row, None);
            row += 1;
        }
    }
    let kept = first.seal().finish().kept.len();
    let decided = cpu_seconds()?;
    let mut columns = 0;
    for batch in batches {
        columns = plan.transform(batch, 0)?.num_columns();
    }
    let transformed = cpu_seconds()?;
    println!(
        "run {run}: {rows} rows, {kept} kept, {columns} columns; CPU-s per million: {:.3} first delivery, {:.3} transform",
        (decided - started) / millions,
        (transformed - decided) / millions,
    );
    Ok(())
}

/// Returns the CPU time of this thread, the only one.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = stat.split_whitespace().next().ok_or("empty `/proc/self/schedstat`")?.parse()?;
    Ok(nanoseconds / 1e9)
}
