//! Measures the decoder on a file of events.
//!
//! `cargo run --release -p streamify-core --example decode_bench -- [--topic NAME] [--batch ROWS] [--sort] [--reference] FILE`
//!
//! `FILE` has one event per line: JSON, or a key, a tab and JSON. The value of each record is the JSON with its newline, as
//! the producer sends it. The topic is taken from the file name unless named. `--sort` also sorts each batch.
//! `--reference` measures nothing: it decodes every line twice and compares batches and reasons.
//!
//! CPU seconds are user and system time of the process, from `/proc/self/stat`.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use streamify_core::{Contract, DecodeOptions, Decoder, Record, builtin, sort_batch};

struct Arguments {
    file: PathBuf,
    topic: String,
    batch: usize,
    sort: bool,
    reference: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let contract = builtin().into_iter().find(|contract| contract.topic == arguments.topic);
    let contract = contract.ok_or_else(|| format!("no contract has the topic `{}`", arguments.topic))?;
    let bytes = fs::read(&arguments.file)?;
    let lines = values(&bytes);
    if arguments.reference {
        return compare(&contract, &lines, arguments.batch);
    }
    for run in 1..=3 {
        measure(run, &contract, &lines, &arguments)?;
    }
    Ok(())
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let (mut file, mut topic, mut batch, mut sort, mut reference) = (None, None, 100_000, false, false);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--reference" => reference = true,
            "--sort" => sort = true,
            "--topic" => topic = words.next(),
            "--batch" => batch = words.next().ok_or("`--batch` needs a number")?.parse()?,
            _ => file = Some(PathBuf::from(word)),
        }
    }
    let file = file.ok_or("no file named")?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Arguments { file, topic: topic.unwrap_or(stem), batch, sort, reference })
}

/// Returns the values, newline included.
fn values(bytes: &[u8]) -> Vec<&[u8]> {
    let value = |line: &'_ [u8]| match line.iter().position(|byte| matches!(byte, b'\t' | b'{')) {
        Some(at) if line[at] == b'\t' => at + 1,
        _ => 0,
    };
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| &line[value(line)..]).collect()
}

fn record(offset: usize, value: &[u8]) -> Record<'_> {
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    Record { value: Some(value), partition: 0, offset, timestamp_ms: Some(1_800_000_000_000), run_id: None }
}

fn measure(
    run: u32,
    contract: &Arc<Contract>,
    lines: &[&[u8]],
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let mut decoder = Decoder::new(Arc::clone(contract), DecodeOptions::default());
    let (started, cpu) = (Instant::now(), cpu_seconds()?);
    let (mut rows, mut memory, mut rejected) = (0, 0, 0_u64);
    for (batch, lines) in lines.chunks(arguments.batch).enumerate() {
        for (index, line) in lines.iter().enumerate() {
            rejected += u64::from(decoder.push(&record(batch * arguments.batch + index, line)).is_err());
        }
        let mut batch = decoder.finish(0)?;
        if arguments.sort {
            batch = sort_batch(&batch, contract)?;
        }
        rows += batch.num_rows();
        memory = memory.max(batch.get_array_memory_size());
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of lines")]
    let millions = lines.len() as f64 / 1e6;
    let (elapsed, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    println!(
        "run {run}: {rows} rows, {rejected} rejected, {} slow, {} misses; {:.3} CPU-s per million = {:.2} M events/s per core, {:.2} M events/s elapsed; largest batch {} MiB",
        decoder.num_slow(),
        decoder.num_misses(),
        cpu / millions,
        millions / cpu,
        millions / elapsed,
        memory >> 20,
    );
    Ok(())
}

fn compare(contract: &Arc<Contract>, lines: &[&[u8]], batch: usize) -> Result<(), Box<dyn Error>> {
    let mut fast = Decoder::new(Arc::clone(contract), DecodeOptions::default());
    let mut slow = Decoder::new(Arc::clone(contract), DecodeOptions::default());
    let mut rejected = 0;
    for (index, chunk) in lines.chunks(batch).enumerate() {
        for (line, value) in chunk.iter().enumerate() {
            let record = record(index * batch + line, value);
            let (found, expected) = (fast.push(&record), slow.push_slowly(&record));
            rejected += usize::from(found.is_err());
            if found != expected {
                return Err(
                    format!("line {}: {found:?} instead of {expected:?}", index * batch + line + 1).into()
                );
            }
        }
        if fast.finish(0)? != slow.finish(0)? {
            return Err(format!("batch {index} differs").into());
        }
    }
    println!("{} lines agree ({rejected} rejected, {} slow)", lines.len(), fast.num_slow());
    Ok(())
}

/// Returns the CPU time of this process: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("unknown format of `/proc/self/stat`")?.1;
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
