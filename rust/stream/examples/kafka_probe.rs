//! Shows what the worker's Kafka side sees of a real cluster, as JSON on standard output; the integration tests and the
//! throughput measurements drive it.
//!
//! ```text
//! kafka_probe --servers 127.0.0.1:9092 identity TOPIC...
//! kafka_probe --servers 127.0.0.1:9092 watermarks TOPIC...
//! kafka_probe --servers 127.0.0.1:9092 drain TOPIC... [--from 2=500]... [--queues 2] [--show-values]
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use streamify_stream::kafka::{
    BatchQueue, Bounds, Event, Isolation, KafkaClient, KafkaSettings, Position, Resume, Start,
    TopicPartition, option_from_text,
};

#[derive(Parser)]
#[command(about = "Shows what the worker's Kafka side sees of a cluster, as JSON")]
struct Arguments {
    /// Bootstrap servers.
    #[arg(long)]
    servers: String,
    /// A librdkafka option, `key=value`; may be repeated.
    #[arg(long = "kafka-option")]
    options: Vec<String>,
    /// Read records of open and aborted transactions too.
    #[arg(long)]
    read_uncommitted: bool,
    /// Bytes to read ahead.
    #[arg(long, default_value_t = 32_000_000)]
    queue_bytes: u64,
    /// Seconds to wait for a broker's answer.
    #[arg(long, default_value_t = 30)]
    wait_seconds: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Cluster id, topic ids, partition counts.
    Identity {
        /// Topics to ask for.
        topics: Vec<String>,
    },
    /// Earliest offset, stable end, high watermark of every partition.
    Watermarks {
        /// Topics to ask for.
        topics: Vec<String>,
        /// Compare a stored offset: `partition=next offset`, for all topics; may be repeated.
        #[arg(long, value_parser = partition_and_offset)]
        from: Vec<(i32, i64)>,
    },
    /// Read up to the stable end as it is at the start, and count.
    Drain {
        /// Topics to read.
        topics: Vec<String>,
        /// Where to begin: `partition=offset`, for all topics; the earliest offset otherwise.
        #[arg(long, value_parser = partition_and_offset)]
        from: Vec<(i32, i64)>,
        /// Number of reading threads.
        #[arg(long, default_value_t = 1)]
        queues: usize,
        /// Events a call.
        #[arg(long, default_value_t = 2_000)]
        batch: usize,
        /// Print the values (UTF-8) and run ids.
        #[arg(long)]
        show_values: bool,
        /// Fail if the end is not reached by then, in seconds.
        #[arg(long, default_value_t = 120)]
        deadline_seconds: u64,
    },
}

fn partition_and_offset(text: &str) -> Result<(i32, i64), String> {
    let parts = text
        .split_once('=')
        .and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parts.ok_or_else(|| "expected `partition=offset`, e.g. `0=1500`".to_owned())
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let num_queues = match &arguments.command {
        Command::Drain { queues, .. } => (*queues).max(1),
        _ => 1,
    };
    let options: Result<_, _> = arguments.options.iter().map(|text| option_from_text(text)).collect();
    let settings = KafkaSettings {
        isolation: if arguments.read_uncommitted {
            Isolation::ReadUncommitted
        } else {
            Isolation::ReadCommitted
        },
        options: options?,
        queue_bytes: arguments.queue_bytes,
        num_queues,
        connect_wait: Duration::from_secs(arguments.wait_seconds),
        ..KafkaSettings::new(arguments.servers.clone())
    };
    let begun = Instant::now();
    let client = KafkaClient::connect(&settings)?;
    let connect_seconds = begun.elapsed().as_secs_f64();
    let probe = Probe { client, timeout: settings.connect_wait };
    let mut answer = match arguments.command {
        Command::Identity { topics } => probe.identity(&topics)?,
        Command::Watermarks { topics, from } => probe.watermarks(&topics, &from)?,
        Command::Drain { topics, from, queues: _, batch, show_values, deadline_seconds } => {
            let limits =
                Limits { batch, show_values, deadline: begun + Duration::from_secs(deadline_seconds) };
            probe.drain(&topics, &from, num_queues, &limits)?
        }
    };
    answer["connect_seconds"] = json!(connect_seconds);
    answer["total_seconds"] = json!(begun.elapsed().as_secs_f64());
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(())
}

struct Probe {
    client: Arc<KafkaClient>,
    timeout: Duration,
}

struct Limits {
    batch: usize,
    show_values: bool,
    deadline: Instant,
}

impl Probe {
    fn identity(&self, topics: &[String]) -> anyhow::Result<Value> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let topics = self.client.topics(&names, self.timeout)?;
        let topics: BTreeMap<_, _> = topics
            .into_iter()
            .map(|(name, topic)| {
                (name, json!({"topic_id": topic.topic_id, "num_partitions": topic.num_partitions}))
            })
            .collect();
        Ok(json!({"cluster_id": self.client.cluster().cluster_id, "topics": topics}))
    }

    fn partitions(&self, topics: &[String]) -> anyhow::Result<Vec<(TopicPartition, Bounds)>> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let found = self.client.topics(&names, self.timeout)?;
        let mut partitions = Vec::new();
        for topic in topics {
            let identity = found.get(topic).with_context(|| format!("no topic `{topic}`"))?;
            partitions
                .extend((0..identity.num_partitions).map(|partition| TopicPartition::new(topic, partition)));
        }
        let bounds = self.client.bounds(&partitions, self.timeout)?;
        Ok(partitions.into_iter().zip(bounds).collect())
    }

    fn watermarks(&self, topics: &[String], from: &[(i32, i64)]) -> anyhow::Result<Value> {
        let mut answer = serde_json::Map::new();
        for (partition, bounds) in self.partitions(topics)? {
            let next = from.iter().find(|(of, _)| *of == partition.partition).map(|(_, next)| *next);
            let resume = next.map(|next| match bounds.resume_from(next) {
                Resume::Possible => json!("possible"),
                Resume::Gap { earliest, num_missing } => json!({"gap": num_missing, "earliest": earliest}),
                Resume::Regression { high_watermark } => json!({"regression_to": high_watermark}),
            });
            let Bounds { earliest, stable_end, high_watermark } = bounds;
            answer.insert(
                partition.to_string(),
                json!({"earliest": earliest, "stable_end": stable_end, "high_watermark": high_watermark, "resume": resume}),
            );
        }
        Ok(json!({"partitions": answer}))
    }

    fn drain(
        &self,
        topics: &[String],
        from: &[(i32, i64)],
        num_queues: usize,
        limits: &Limits,
    ) -> anyhow::Result<Value> {
        let mut shares = vec![Vec::new(); num_queues];
        let mut ends = vec![Vec::new(); num_queues];
        for (index, (partition, bounds)) in self.partitions(topics)?.into_iter().enumerate() {
            let chosen = from.iter().find(|(of, _)| *of == partition.partition);
            let offset = chosen.map_or(bounds.earliest, |(_, offset)| *offset);
            shares[index % num_queues].push(Start { partition, offset });
            ends[index % num_queues].push(bounds.stable_end);
        }
        let server = self.client.spawn_server()?;
        let (begun, cpu_before) = (Instant::now(), cpu_seconds()?);
        let queues = self.client.assign(shares.clone())?;
        let mut readings = Vec::new();
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let mut threads = Vec::new();
            for ((queue, share), ends) in queues.into_iter().zip(&shares).zip(&ends) {
                threads.push(scope.spawn(move || Reading::new(share).until(queue, ends, limits)));
            }
            for thread in threads {
                let Ok(reading) = thread.join() else { bail!("a reading thread panicked") };
                readings.push(reading?);
            }
            Ok(())
        })?;
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
        server.stop()?;
        let num_records: u64 =
            readings.iter().flat_map(|reading| &reading.positions).map(|p| p.run().received).sum();
        let partitions: serde_json::Map<_, _> =
            readings.iter().zip(&shares).flat_map(|(reading, share)| reading.to_json(share)).collect();
        Ok(json!({
            "records": num_records,
            "payload_bytes": readings.iter().map(|reading| reading.payload_bytes).sum::<u64>(),
            "calls": readings.iter().map(|reading| reading.calls).sum::<u64>(),
            "first_record_seconds": readings.iter().filter_map(|reading| reading.first_record).map(|at| (at - begun).as_secs_f64()).reduce(f64::min),
            "seconds": seconds,
            "cpu_seconds": cpu,
            "cpu_seconds_per_million": cpu * 1e6 / (num_records.max(1) as f64),
            "max_rss_mib": max_rss_mib()?,
            "partitions": partitions,
        }))
    }
}

/// What one thread has read.
struct Reading {
    positions: Vec<Position>,
    values: Vec<Vec<Value>>,
    payload_bytes: u64,
    calls: u64,
    first_record: Option<Instant>,
}

impl Reading {
    fn new(share: &[Start]) -> Self {
        Self {
            positions: share.iter().map(|start| Position::new(start.offset)).collect(),
            values: vec![Vec::new(); share.len()],
            payload_bytes: 0,
            calls: 0,
            first_record: None,
        }
    }

    fn until(mut self, mut queue: BatchQueue, ends: &[i64], limits: &Limits) -> anyhow::Result<Self> {
        while self.positions.iter().zip(ends).any(|(position, end)| !position.has_reached(*end)) {
            if Instant::now() > limits.deadline {
                bail!("the end was not reached in time: positions {:?}, ends {ends:?}", self.positions);
            }
            self.calls += 1;
            let mut failure = None;
            queue.consume(limits.batch, Duration::from_millis(100), |event| {
                if failure.is_none() {
                    failure = self.take(&event, limits.show_values).err();
                }
            });
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(self)
    }

    fn take(&mut self, event: &Event<'_>, show_values: bool) -> anyhow::Result<()> {
        match event {
            Event::Record(record) => {
                self.first_record.get_or_insert_with(Instant::now);
                self.positions[record.slot].record(record.offset)?;
                self.payload_bytes += record.value.map_or(0, |value| value.len() as u64);
                if show_values {
                    let text =
                        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    self.values[record.slot].push(json!([
                        record.offset,
                        text(record.value),
                        text(record.run_id())
                    ]));
                }
            }
            Event::EndOfPartition { slot, offset } => self.positions[*slot].end_of_partition(*offset)?,
            Event::Error(error) => bail!(error.clone()),
        }
        Ok(())
    }

    fn to_json<'a>(&'a self, share: &'a [Start]) -> impl Iterator<Item = (String, Value)> + 'a {
        share.iter().zip(&self.positions).zip(&self.values).map(|((start, position), values)| {
            let run = position.run();
            let counts = json!({
                "from": run.from, "to": run.to, "received": run.received, "skipped_by_broker": run.skipped_by_broker, "values": values,
            });
            (start.partition.to_string(), counts)
        })
    }
}

/// Returns the CPU time of this process with all its threads, user and system. Linux only, like the measurement.
fn cpu_seconds() -> anyhow::Result<f64> {
    // Fields 14 and 15, counted in 1/100 s on every Linux that matters; the name before may hold spaces.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(") ").context("no name in /proc/self/stat")?.1;
    let ticks: Result<Vec<f64>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}

fn max_rss_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
