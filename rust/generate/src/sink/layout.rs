//! Files that are compressed or cut by hour, each complete under its name.
//!
//! Without a cut: `<topic>.jsonl`, `.jsonl.gz` or `.jsonl.zst`. Cut by hour of event time (UTC):
//! `<topic>/date=2026-02-23/hour=07/part-0000.jsonl`, as partitioned data sets are laid out. A file is completed when the stream
//! is two hours further; an event that comes later still begins a further part of its hour (`part-0001`). Records without a readable
//! time between 2000 and 2100 go where the record before them went.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, NaiveDateTime};
use serde::{Deserialize, Serialize};

use super::{
    Record, Sink, SinkError,
    part::{Compression, PartFile, failed, partial},
};
use crate::event::Topic;

const HOUR_MS: i64 = 3_600_000;
/// Hours that are open beside the newest.
const OPEN_HOURS: i64 = 1;
/// Files that are open at most; late events can ask for any number of hours.
const MAX_OPEN_FILES: usize = 64;
/// Hours since 1970 of the years 2000 to 2099.
const HOUR_RANGE: std::ops::Range<i64> = 262_968..1_139_568;

/// When a new file begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Rotation {
    /// Never: one file a topic.
    #[default]
    None,
    /// With each hour of event time.
    Hour,
}

/// How files are laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The folder above all.
    pub folder: PathBuf,
    /// Compression, if any.
    pub compression: Option<Compression>,
    /// When a new file begins.
    pub rotation: Rotation,
    /// Whether files that exist are overwritten.
    pub overwrite: bool,
}

/// Files of all topics.
pub struct LayoutSink {
    layout: Layout,
    /// Open files by topic and hour; hour 0 without a cut.
    open: BTreeMap<(Topic, i64), PartFile>,
    /// Newest hour of each topic, in the order of [`Topic::ALL`].
    newest: [i64; Topic::ALL.len()],
    /// Parts begun, by topic and hour.
    parts: BTreeMap<(Topic, i64), u32>,
}

/// Where the files stand, for a checkpoint. Topics by their place in [`Topic::ALL`].
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Topic, hour and length in bytes of each file in the making.
    open: Vec<(usize, i64, u64)>,
    newest: [i64; Topic::ALL.len()],
    /// Topic, hour and number of parts begun.
    parts: Vec<(usize, i64, u32)>,
}

impl LayoutSink {
    /// Opens the files where [`Sink::mark`] saw them; what was written after that is cut off, files begun after it are removed.
    ///
    /// # Errors
    /// [`SinkError::NotResumable`] if a file is missing or shorter than it was then, [`SinkError::File`].
    pub fn resume(layout: Layout, mark: &serde_json::Value) -> Result<Self, SinkError> {
        let what = "the checkpoint is of other files";
        let other = || SinkError::NotResumable { path: layout.folder.clone(), what };
        let Mark { open, newest, parts } = Mark::deserialize(mark).map_err(|_| other())?;
        let topic = |place: usize| Topic::ALL.get(place).copied().ok_or_else(other);
        let begun: Result<BTreeMap<_, _>, SinkError> =
            parts.into_iter().map(|(place, hour, count)| Ok(((topic(place)?, hour), count))).collect();
        let parts = begun?;
        let mut files = BTreeMap::new();
        for (place, hour, length) in open {
            let place = (topic(place)?, hour);
            let part = parts.get(&place).and_then(|count| count.checked_sub(1)).ok_or_else(other)?;
            let path = layout.path(place.0, hour, part);
            files.insert(place, PartFile::resume(path, layout.compression, length)?);
        }
        layout.remove_after(&parts)?;
        Ok(Self { layout, open: files, newest, parts })
    }

    /// Makes the folder; without a cut, begins the files.
    ///
    /// # Errors
    /// [`SinkError::FileExists`] if there are files of this kind already and they may not be overwritten, [`SinkError::File`].
    pub fn create(layout: Layout) -> Result<Self, SinkError> {
        let mut sink =
            Self { layout, open: BTreeMap::new(), newest: [0; Topic::ALL.len()], parts: BTreeMap::new() };
        for topic in Topic::ALL {
            match sink.layout.rotation {
                Rotation::None => sink.begin(topic, 0)?,
                Rotation::Hour => {
                    let path = sink.layout.folder.join(topic.name());
                    if !sink.layout.overwrite && path.exists() {
                        return Err(SinkError::FileExists { path });
                    }
                    remove_dates(&path).map_err(|source| failed(&path, source))?;
                }
            }
        }
        Ok(sink)
    }

    fn begin(&mut self, topic: Topic, hour: i64) -> Result<(), SinkError> {
        if self.open.len() >= MAX_OPEN_FILES
            && let Some(place) = self.open.keys().min_by_key(|(_, hour)| *hour).copied()
        {
            self.complete(place)?;
        }
        let part = self.parts.entry((topic, hour)).or_insert(0);
        let path = self.layout.path(topic, hour, *part);
        *part += 1;
        let file = PartFile::create(path, self.layout.compression, self.layout.overwrite)?;
        self.open.insert((topic, hour), file);
        Ok(())
    }

    /// Returns the hour whose file a record goes to, and completes files that are behind.
    fn hour(&mut self, record: &Record<'_>) -> Result<i64, SinkError> {
        if self.layout.rotation == Rotation::None {
            return Ok(0);
        }
        let newest = &mut self.newest[record.topic as usize];
        let hour = record.value.and_then(event_time).map(|ts_ms| ts_ms.div_euclid(HOUR_MS));
        let Some(hour) = hour.filter(|hour| HOUR_RANGE.contains(hour)) else {
            return Ok(*newest);
        };
        if hour > *newest {
            *newest = hour;
            let behind = self.open.range((record.topic, 0)..(record.topic, hour - OPEN_HOURS));
            for place in behind.map(|(place, _)| *place).collect::<Vec<_>>() {
                self.complete(place)?;
            }
        }
        Ok(hour)
    }

    fn complete(&mut self, place: (Topic, i64)) -> Result<(), SinkError> {
        self.open.remove(&place).map_or(Ok(()), PartFile::complete)
    }
}

impl Layout {
    fn path(&self, topic: Topic, hour: i64, part: u32) -> PathBuf {
        let suffix = Compression::suffix(self.compression);
        match self.rotation {
            Rotation::None if part == 0 => self.folder.join(format!("{}.jsonl{suffix}", topic.name())),
            Rotation::None => self.folder.join(format!("{}.{part}.jsonl{suffix}", topic.name())),
            Rotation::Hour => {
                let time = DateTime::from_timestamp_millis(hour * HOUR_MS).unwrap_or_default();
                let hour = time.format("date=%Y-%m-%d/hour=%H").to_string();
                let folder = self.folder.join(topic.name()).join(Path::new(&hour));
                folder.join(format!("part-{part:04}.jsonl{suffix}"))
            }
        }
    }
}

impl Layout {
    /// Removes the files that were begun after a mark: the next parts of the hours that had some, and the hours that had none.
    fn remove_after(&self, parts: &BTreeMap<(Topic, i64), u32>) -> Result<(), SinkError> {
        for topic in Topic::ALL {
            for hour in self.hours(topic)? {
                let first = parts.get(&(topic, hour)).copied().unwrap_or(0);
                // Parts are numbered without a gap.
                for part in first.. {
                    let path = self.path(topic, hour, part);
                    if !remove(&path)? & !remove(&partial(&path))? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the hours that have a folder; without a cut, the one there is.
    fn hours(&self, topic: Topic) -> Result<Vec<i64>, SinkError> {
        if self.rotation == Rotation::None {
            return Ok(vec![0]);
        }
        let folder = self.folder.join(topic.name());
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut hours = Vec::new();
        for date in names(&folder)? {
            for hour in names(&folder.join(&date))? {
                let time = format!("{date}/{hour}:00");
                if let Ok(time) = NaiveDateTime::parse_from_str(&time, "date=%Y-%m-%d/hour=%H:%M") {
                    hours.push(time.and_utc().timestamp_millis().div_euclid(HOUR_MS));
                }
            }
        }
        Ok(hours)
    }
}

/// Returns the names in a folder; none if it is a file.
fn names(folder: &Path) -> Result<Vec<String>, SinkError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let listed: io::Result<Vec<String>> =
        fs::read_dir(folder).and_then(|entries| entries.map(name).collect());
    listed.map_err(|source| failed(folder, source))
}

/// Removes a file; false if there is none.
fn remove(path: &Path) -> Result<bool, SinkError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed(path, source)),
    }
}

/// Removes the parts of an earlier run, and nothing else.
fn remove_dates(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("date=") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Returns the event time of a record, in milliseconds since 1970. The sequence searched for cannot be part of a string, where
/// quotes are escaped.
fn event_time(value: &[u8]) -> Option<i64> {
    const FIELD: &[u8] = b"\"ts\":";
    let at = memchr::memmem::find(value, FIELD)? + FIELD.len();
    let digits = value[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[at..at + digits]).ok()?.parse().ok()
}

impl Sink for LayoutSink {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let place = (record.topic, self.hour(record)?);
        if !self.open.contains_key(&place) {
            self.begin(place.0, place.1)?;
        }
        self.open.get_mut(&place).map_or(Ok(()), |file| file.write(&record.line()))
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SinkError> {
        for file in self.open.values_mut() {
            file.flush()?;
        }
        std::thread::sleep(wait);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        while let Some((_, file)) = self.open.pop_first() {
            file.complete()?;
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<serde_json::Value, SinkError> {
        let mut open = Vec::with_capacity(self.open.len());
        for ((topic, hour), file) in &mut self.open {
            open.push((*topic as usize, *hour, file.mark()?));
        }
        let parts =
            self.parts.iter().map(|((topic, hour), count)| (*topic as usize, *hour, *count)).collect();
        // A struct of numbers is always representable.
        Ok(serde_json::to_value(Mark { open, newest: self.newest, parts }).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
