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

use chrono::DateTime;

use super::{
    Record, Sink, SinkError,
    part::{Compression, PartFile, failed},
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

impl LayoutSink {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn record(hour: i64) -> Vec<u8> {
        format!(
            "{{\"song\":\"\\\"ts\\\":1\",\"ts\":{},\"sessionId\":1}}\n",
            1_771_804_800_000 + hour * HOUR_MS
        )
        .into_bytes()
    }

    fn layout(folder: &Path, compression: Option<Compression>, rotation: Rotation) -> Layout {
        Layout { folder: folder.to_owned(), compression, rotation, overwrite: false }
    }

    fn write(sink: &mut LayoutSink, topic: Topic, value: &[u8]) {
        sink.write(&Record { topic, key: None, value: Some(value), run_id: None }).unwrap();
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn each_hour_has_its_file_and_late_events_a_further_part() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = LayoutSink::create(layout(folder.path(), None, Rotation::Hour)).unwrap();

        for hour in [0, 0, 1, 0, 2] {
            write(&mut sink, Topic::PageView, &record(hour));
        }
        let at_two = files(folder.path());
        write(&mut sink, Topic::PageView, &record(0));
        write(&mut sink, Topic::PageView, b"{\"ts\":-5}\n");
        write(&mut sink, Topic::PageView, b"broken");
        sink.finish().unwrap();

        let of_hour = |hour: &str| format!("page_view_events/date=2026-02-23/hour={hour}");
        assert_eq!(
            at_two,
            [
                of_hour("00/part-0000.jsonl"),
                of_hour("01/part-0000.jsonl.partial"),
                of_hour("02/part-0000.jsonl.partial"),
            ]
        );
        assert_eq!(
            files(folder.path()),
            [
                of_hour("00/part-0000.jsonl"),
                of_hour("00/part-0001.jsonl"),
                of_hour("01/part-0000.jsonl"),
                of_hour("02/part-0000.jsonl"),
            ]
        );
        let read = |name: &str| fs::read(folder.path().join(of_hour(name))).unwrap();
        assert_eq!(read("00/part-0000.jsonl"), record(0).repeat(3));
        assert_eq!(read("00/part-0001.jsonl"), record(0));
        assert!(read("02/part-0000.jsonl").ends_with(b"{\"ts\":-5}\nbroken\n"));
    }

    #[test]
    fn compressed_files_hold_the_same_bytes() {
        for (compression, suffix) in [(Compression::Gzip, "gz"), (Compression::Zstd, "zst")] {
            let folder = tempfile::tempdir().unwrap();
            let mut sink =
                LayoutSink::create(layout(folder.path(), Some(compression), Rotation::None)).unwrap();
            write(&mut sink, Topic::Listen, &record(0));
            sink.idle(Duration::ZERO).unwrap();
            write(&mut sink, Topic::Listen, &record(9));
            sink.finish().unwrap();

            let bytes = fs::read(folder.path().join(format!("listen_events.jsonl.{suffix}"))).unwrap();
            let text = match compression {
                Compression::Zstd => zstd::decode_all(&bytes[..]).unwrap(),
                Compression::Gzip => {
                    let mut text = Vec::new();
                    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
                    text
                }
            };
            assert_eq!(text, [record(0), record(9)].concat());
            assert_eq!(files(folder.path()).len(), 4);
        }
    }

    #[test]
    fn a_sink_goes_on_after_everything_was_completed() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = LayoutSink::create(layout(folder.path(), None, Rotation::None)).unwrap();
        write(&mut sink, Topic::Auth, b"1\n");
        sink.finish().unwrap();
        write(&mut sink, Topic::Auth, b"2\n");
        sink.finish().unwrap();

        assert_eq!(fs::read(folder.path().join("auth_events.jsonl")).unwrap(), b"1\n");
        assert_eq!(fs::read(folder.path().join("auth_events.1.jsonl")).unwrap(), b"2\n");
    }

    #[test]
    fn what_is_there_stays_unless_asked() {
        for rotation in [Rotation::None, Rotation::Hour] {
            let folder = tempfile::tempdir().unwrap();
            let make = |overwrite| {
                let layout = Layout { overwrite, ..layout(folder.path(), None, rotation) };
                let mut sink = LayoutSink::create(layout)?;
                write(&mut sink, Topic::Listen, &record(0));
                sink.finish()
            };

            make(false).unwrap();
            assert!(matches!(make(false), Err(SinkError::FileExists { .. })));
            make(true).unwrap();
        }
    }

    #[test]
    fn event_times_are_found_and_strings_do_not_deceive() {
        assert_eq!(event_time(&record(0)), Some(1_771_804_800_000));
        assert_eq!(event_time(b"{\"ts\":-5}"), None);
        assert_eq!(event_time(b"{\"ts\":99999999999999999999}"), None);
        assert_eq!(event_time(b""), None);
    }
}
