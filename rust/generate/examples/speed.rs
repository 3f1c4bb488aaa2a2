//! Measures how fast events are made: one JSON line per number of threads.
//!
//! ```text
//! cargo run --release --example speed -- --users 10000 --days 28 --threads 1,2 --sink null
//! ```
//! `events_per_second` counts wall-clock time from the first event on (making listeners and catalogue is `prepare_seconds`);
//! `cpu_seconds_per_million` counts the processor time of all threads, that of the kernel included. `peak_rss_mib` is that of
//! the process so far, so measure memory with one number of threads at a time.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use streamify_generate::{
    event::Topic,
    profile::Profile,
    run::{Delivery, run},
    simulation::{Conduct, Settings, Simulation},
    sink::{Record, Sink, SinkError, files::FileSink},
};
use tokio_util::sync::CancellationToken;

/// Monday 2026-02-23.
const START_MS: i64 = 1_771_804_800_000;
const DAY_MS: i64 = 86_400_000;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Four buffered files, all of them /dev/null
    Null,
    /// Four files in --out, overwritten
    Files,
}

#[derive(Debug, Parser)]
struct Args {
    /// Profile
    #[arg(long, default_value = "example")]
    profile: String,
    /// Listeners
    #[arg(long, default_value_t = 10_000)]
    users: u32,
    /// Days
    #[arg(long, default_value_t = 28)]
    days: i64,
    /// Most records
    #[arg(long)]
    max_events: Option<u64>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Where to
    #[arg(long, value_enum, default_value = "null")]
    sink: Kind,
    /// Folder of the files
    #[arg(long, default_value = "speed-events")]
    out: PathBuf,
}

struct Null(Vec<BufWriter<File>>);

impl Null {
    fn open() -> io::Result<Self> {
        let open =
            |_| Ok(BufWriter::with_capacity(256 * 1024, File::options().write(true).open("/dev/null")?));
        Topic::ALL.iter().map(open).collect::<io::Result<_>>().map(Self)
    }
}

fn failed(source: io::Error) -> SinkError {
    SinkError::File { path: PathBuf::from("/dev/null"), source }
}

impl Sink for Null {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        self.0[record.topic as usize].write_all(record.value.unwrap_or_default()).map_err(failed)
    }

    fn idle(&mut self, _: Duration) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.0.iter_mut().try_for_each(|file| file.flush().map_err(failed))
    }
}

/// Returns the processor time of this process, in seconds, to a hundredth.
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("failed to read /proc/self/stat")?;
    // The name in parentheses may hold anything; fields 14 and 15 of the whole are user and system ticks.
    let fields = stat.rsplit_once(") ").context("/proc/self/stat has no name")?.1;
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap_or(0.0));
    Ok(ticks.sum::<f64>() / 100.0)
}

fn peak_rss_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("failed to read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM is no number")?;
    Ok(kib / 1024.0)
}

fn main() -> Result<()> {
    let args = Args::parse();
    for num_threads in &args.threads {
        ensure!(*num_threads > 0, "0 threads make nothing");
        measure(&args, *num_threads)?;
    }
    Ok(())
}

fn measure(args: &Args, num_threads: usize) -> Result<()> {
    let settings = Settings {
        profile: Profile::load(&args.profile, &streamify_generate::profile::Overrides::default())?,
        seed: 1,
        num_users: args.users,
        first_user_id: 1,
        start_ms: START_MS,
        end_ms: START_MS + args.days * DAY_MS,
        tag: None,
    };
    let (started, cpu_before) = (Instant::now(), cpu_seconds()?);
    let mut simulation = Simulation::start(settings, Conduct { num_threads, ..Conduct::default() }, None);
    // With threads, the listeners are made beside; the first event waits for them.
    if simulation.step().is_some() {
        simulation.put_back();
    }
    let (prepare, cpu_prepared) = (started.elapsed(), cpu_seconds()?);
    let mut sink: Box<dyn Sink> = match args.sink {
        Kind::Null => Box::new(Null::open()?),
        Kind::Files => Box::new(FileSink::create(&args.out, true)?),
    };
    let delivery = Delivery { max_events: args.max_events, ..Delivery::default() };
    let summary = run(&mut simulation, &delivery, sink.as_mut(), &CancellationToken::new(), &mut |_| {})?;
    let cpu = cpu_seconds()? - cpu_prepared;
    let line = serde_json::json!({
        "profile": args.profile,
        "users": args.users,
        "threads": num_threads,
        "sink": format!("{:?}", args.sink).to_lowercase(),
        "events": summary.events,
        "megabytes": summary.bytes / 1_000_000,
        "prepare_seconds": prepare.as_secs_f64(),
        "prepare_cpu_seconds": cpu_prepared - cpu_before,
        "seconds": summary.seconds,
        "events_per_second": summary.events_per_second.round(),
        "cpu_seconds_per_million": cpu / (summary.events as f64 / 1e6),
        "events_per_cpu_second": (summary.events as f64 / cpu).round(),
        "peak_rss_mib": peak_rss_mib()?.round(),
    });
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").context("failed to write to stdout")
}
