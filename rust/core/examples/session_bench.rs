//! Measures a full recompute of sessions from silver rows in memory, without I/O.
//!
//! `cargo run --release -p streamify-core --example session_bench -- [--users N] [--days N] [--max-events N]`
//!
//! The rows are invented but shaped like silver: per day 30 % of the users have a producer session of about 80 events, most of
//! them songs (a listen and a page view each), 4 % of the page views without a user; each topic's rows of a day are in
//! batches of 8,192, ordered by user and time. People and events of a day are pushed as the planner asks for them, so that
//! every row is handed over two times. Prints CPU seconds (user and system time, from `/proc/self/stat`), rows, sessions.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use streamify_core::session::{Options, Planner, Read, Step, Topic};

const DAY_MS: i64 = 86_400_000;
const FIRST_DAY: i32 = 20_454;
const BATCH_ROWS: usize = 8_192;

/// Batches of one day by topic, for both kinds of reading.
type Day = Vec<(Topic, Vec<RecordBatch>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut users, mut days, mut max_events) = (20_000_i64, 4, 4_000_000);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().ok_or_else(|| format!("`{word}` needs a number"))?;
        match word.as_str() {
            "--users" => users = number.parse()?,
            "--days" => days = number.parse()?,
            "--max-events" => max_events = number.parse()?,
            _ => return Err(format!("unknown option `{word}`").into()),
        }
    }
    let silver: BTreeMap<i32, Day> = (0..days)
        .map(|day| Ok((FIRST_DAY + day, day_of_silver(day, users)?)))
        .collect::<Result<_, ArrowError>>()?;
    for run in 1..=3 {
        measure(run, &silver, max_events)?;
    }
    Ok(())
}

fn measure(run: u32, silver: &BTreeMap<i32, Day>, max_events: usize) -> Result<(), Box<dyn Error>> {
    let rows: usize =
        silver.values().flatten().flat_map(|(_, batches)| batches).map(RecordBatch::num_rows).sum();
    let (cpu, clock) = (cpu_seconds()?, Instant::now());
    let options = Options { processed_at_us: 0, max_events };
    let mut planner = Planner::full(silver.keys().copied().collect(), None, options);
    let (mut sessions, mut bytes, mut in_people, mut in_events) = (0, 0, 0.0, 0.0);
    loop {
        match planner.next_step()? {
            Step::Read { day, read } => {
                let begin = Instant::now();
                for (topic, batches) in silver.get(&day).into_iter().flatten() {
                    for batch in batches {
                        planner.push(*topic, batch)?;
                    }
                }
                let seconds = begin.elapsed().as_secs_f64();
                *(if read == Read::People { &mut in_people } else { &mut in_events }) += seconds;
            }
            Step::Rows { rows, .. } => {
                sessions += rows.num_rows();
                bytes += rows.get_array_memory_size();
            }
            Step::Sessions { .. } | Step::Finish { .. } => {}
            Step::Done(_) => break,
        }
    }
    let (cpu, wall) = (cpu_seconds()? - cpu, clock.elapsed().as_secs_f64());
    let millions = rows as f64 / 1e6;
    println!(
        "run {run}: {rows} rows, {sessions} sessions ({:.1} MB), {cpu:.2} CPU s, {:.3} CPU s per million rows; \
         wall {wall:.2} s, of it people {in_people:.2}, events {in_events:.2}; peak {} MB",
        bytes as f64 / 1e6,
        cpu / millions,
        peak_megabytes()?,
    );
    Ok(())
}

/// Columns of one topic's rows of a day.
#[derive(Default)]
struct Columns {
    users: Vec<Option<i64>>,
    sessions: Vec<i64>,
    items: Vec<i32>,
    times_us: Vec<i64>,
    pages: Vec<&'static str>,
    songs: Vec<Option<u64>>,
}

fn day_of_silver(day: i32, users: i64) -> Result<Day, ArrowError> {
    let mut dice = Dice(u64::from(day.unsigned_abs()) + 7);
    let (mut listens, mut pages) = (Columns::default(), Columns::default());
    let midnight = i64::from(FIRST_DAY + day) * DAY_MS;
    for user in 0..users {
        if dice.below(10) >= 3 {
            continue;
        }
        let session = i64::from(day) * users + user;
        let mut time_ms = midnight + dice.below(80_000_000).cast_signed();
        for item in 0..i32::try_from(40 + dice.below(80)).unwrap_or_default() {
            time_ms += 1_000 * dice.below(400).cast_signed();
            if time_ms >= midnight + DAY_MS {
                break;
            }
            let song = (dice.below(100) < 80).then(|| dice.below(20) * dice.below(20) * dice.below(25));
            let user = (song.is_some() || dice.below(100) >= 20).then_some(user);
            if song.is_some() {
                listens.push(user, (session, item, time_ms), "", song);
            }
            let page = if song.is_some() { "NextSong" } else { ["Home", "Login", "Help"][item as usize % 3] };
            pages.push(user, (session, item, time_ms), page, song);
        }
    }
    Ok(vec![
        (Topic::Listen, listens.batches(Topic::Listen)?),
        (Topic::PageView, pages.batches(Topic::PageView)?),
    ])
}

impl Columns {
    fn push(
        &mut self,
        user: Option<i64>,
        (session, item, time_ms): (i64, i32, i64),
        page: &'static str,
        song: Option<u64>,
    ) {
        self.users.push(user);
        self.sessions.push(session);
        self.items.push(item);
        self.times_us.push(time_ms * 1_000);
        self.pages.push(page);
        self.songs.push(song);
    }

    fn batches(&self, topic: Topic) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut order: Vec<usize> = (0..self.users.len()).collect();
        order.sort_by_key(|row| (self.users[*row], self.times_us[*row]));
        order.chunks(BATCH_ROWS).map(|rows| self.batch(topic, rows)).collect()
    }

    fn batch(&self, topic: Topic, rows: &[usize]) -> Result<RecordBatch, ArrowError> {
        let text = |of: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(|row| of(*row)).collect::<StringArray>())
        };
        let column = |name: &&'static str| -> (&'static str, ArrayRef, bool) {
            let array: ArrayRef = match *name {
                "run_id" => text(&|_| Some("0f3a9c51".to_owned())),
                "user_id" => Arc::new(rows.iter().map(|row| self.users[*row]).collect::<Int64Array>()),
                "session_id" => {
                    Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| self.sessions[*row])))
                }
                "item_in_session" => {
                    Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| self.items[*row])))
                }
                "event_ts" => {
                    let times = rows.iter().map(|row| self.times_us[*row]);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00"))
                }
                "page" => text(&|row| Some(self.pages[row].to_owned())),
                "artist" => text(&|row| self.songs[row].map(|song| format!("Artist number {}", song / 7))),
                "song" => text(&|row| self.songs[row].map(|song| format!("The song that has number {song}"))),
                "duration" => {
                    let seconds = |row: &usize| self.songs[*row].map(|song| 120.0 + song as f64 / 97.0);
                    Arc::new(rows.iter().map(seconds).collect::<Float64Array>())
                }
                "level" => {
                    text(&|row| Some(if self.sessions[row] % 4 == 0 { "paid" } else { "free" }.to_owned()))
                }
                _ => text(&|row| Some(format!("Place {}", self.sessions[row] % 977))),
            };
            (name, array, true)
        };
        RecordBatch::try_from_iter_with_nullable(topic.columns(Read::Events).iter().map(column))
    }
}

/// A small generator of random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Returns the CPU time of this process: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("unknown format of `/proc/self/stat`")?.1;
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// Returns the most memory that the process had, silver included.
fn peak_megabytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no `VmHWM` in `/proc/self/status`")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).ok_or("`VmHWM` has no number")?.parse()?;
    Ok(kilobytes / 1_000)
}
