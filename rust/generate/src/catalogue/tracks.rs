//! A file of tracks of the user's own, in the format that Eventsim reads (`listen_counts.txt`, plain or gzip): one track a line,
//! five fields separated by tabs — track id, artist, title, duration in seconds, listen count. Listens are drawn by the count.
//!
//! Lines may end in CR LF; empty lines are passed over; an empty duration means 180 s, as for Eventsim. A count of 0 is
//! allowed: such a track is never played. What else a line has wrong is an error that names file and line.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::music::{self, Music, Track};
use crate::rng::Rng;

/// What Eventsim takes for a missing duration, in seconds.
const DEFAULT_SECONDS: f64 = 180.0;
/// Longest duration that is believed, in seconds.
const MAX_SECONDS: f64 = 86_400.0;

/// The bytes of a track file as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// What the public files are in.
    #[default]
    #[value(name = "utf-8")]
    Utf8,
    /// Each byte a letter. That is how Eventsim reads the UTF-8 file, which damages every letter beyond ASCII.
    #[value(name = "iso-8859-1")]
    Latin1,
}

/// A track of the file.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    id: String,
    artist: String,
    title: String,
    seconds: f64,
    count: u64,
}

/// The tracks of a file.
#[derive(Clone, Debug)]
pub struct TrackFile {
    lines: Vec<Line>,
    digest: [u8; 32],
}

/// Why a track file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrackFileError {
    /// It cannot be read, or is no gzip file though it begins like one.
    #[error("failed to read track file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not as expected.
    #[error("track file `{}`, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it, and what was expected.
        problem: String,
    },
    /// No track that could be played.
    #[error("track file `{}` has no track with a listen count above 0", path.display())]
    Silent {
        /// The file.
        path: PathBuf,
    },
}

impl TrackFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Any [`TrackFileError`].
    pub fn load(path: &Path, encoding: Encoding) -> Result<Self, TrackFileError> {
        let unreadable = |source| TrackFileError::Unreadable { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let is_gzip = file.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
        let mut bytes = Vec::new();
        let read = if is_gzip {
            flate2::bufread::MultiGzDecoder::new(file).read_to_end(&mut bytes)
        } else {
            file.read_to_end(&mut bytes)
        };
        read.map_err(unreadable)?;
        Self::parse(&bytes, encoding, path)
    }

    fn parse(bytes: &[u8], encoding: Encoding, path: &Path) -> Result<Self, TrackFileError> {
        let mut lines: Vec<Line> = Vec::new();
        let mut first_seen: HashMap<String, usize> = HashMap::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            let failed = |problem| TrackFileError::Line { path: path.to_owned(), line: number, problem };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let line = parse_line(&decode(line, encoding).map_err(failed)?).map_err(failed)?;
            if let Some(first) = first_seen.insert(line.id.clone(), number) {
                return Err(failed(format!("track `{}` is there already, in line {first}", line.id)));
            }
            lines.push(line);
        }
        if lines.iter().all(|line| line.count == 0) {
            return Err(TrackFileError::Silent { path: path.to_owned() });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[encoding as u8]).update(bytes);
        Ok(Self { lines, digest: *hasher.finalize().as_bytes() })
    }

    /// Returns what tells this content, so read, from any other.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns the listen counts, in the order of the tracks.
    pub(super) fn counts(&self) -> impl Iterator<Item = f64> {
        self.lines.iter().map(|line| line.count as f64)
    }

    /// Returns the tracks; what the file does not tell about them (albums, genres, years) is invented.
    pub(super) fn music(&self, rng: &mut Rng) -> Music {
        let mut artists: HashMap<&str, u32> = HashMap::new();
        let mut music = Music::default();
        for line in &self.lines {
            let next = music.artists.len() as u32;
            let artist = *artists.entry(&line.artist).or_insert(next);
            if artist == next {
                let is_band = rng.chance(0.5);
                music.artists.push(music::describe_artist(line.artist.clone(), is_band, rng));
            }
            let is_explicit = rng.chance(0.12);
            let (id, title, duration) = (line.id.clone(), line.title.clone(), line.seconds);
            music.tracks.push(Track { id, title, artist, album: 0, duration, is_explicit });
        }
        music::put_on_albums(&mut music, rng);
        music
    }
}

fn decode(line: &[u8], encoding: Encoding) -> Result<String, String> {
    match encoding {
        Encoding::Latin1 => Ok(line.iter().copied().map(char::from).collect()),
        Encoding::Utf8 => std::str::from_utf8(line).map(str::to_owned).map_err(|error| {
            format!("byte {} is not UTF-8 (perhaps `--tracks-encoding iso-8859-1`?)", error.valid_up_to() + 1)
        }),
    }
}

fn parse_line(line: &str) -> Result<Line, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [id, artist, title, duration, count] = fields[..] else {
        return Err(format!(
            "{} fields instead of 5 (expected track id, artist, title, duration, listen count, separated by tabs)",
            fields.len()
        ));
    };
    if id.is_empty() {
        return Err("the track id is empty".to_owned());
    }
    let seconds = match duration.trim() {
        "" => DEFAULT_SECONDS,
        text => text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_SECONDS).ok_or_else(
            || format!("duration `{text}` is not a number of seconds above 0 and up to {MAX_SECONDS}"),
        )?,
    };
    let count = count.trim();
    let count: u32 = count
        .parse()
        .map_err(|_| format!("listen count `{count}` is not a whole number from 0 to {}", u32::MAX))?;
    let [id, artist, title] = [id, artist, title].map(str::to_owned);
    Ok(Line { id, artist, title, seconds, count: u64::from(count) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const FILE: &str = "TRA1\tNora Vale\tSlow Harbour\t223.4012\t41\r\nTRA2\tNora Vale\tOù va l'été\t\t0\r\n\r\n\
                        TRA3\tThe \"Quiet\" Engines\tSlow Harbour\t1.04\t7";

    fn parse(text: &str) -> Result<TrackFile, TrackFileError> {
        TrackFile::parse(text.as_bytes(), Encoding::Utf8, Path::new("tracks.txt"))
    }

    #[test]
    fn files_are_read_plain_and_packed() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) =
            (folder.path().join("listen_counts.txt"), folder.path().join("listen_counts.txt.gz"));
        std::fs::write(&plain, FILE).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(FILE.as_bytes()).unwrap();
        std::fs::write(&packed, gzip.finish().unwrap()).unwrap();

        let plain = TrackFile::load(&plain, Encoding::Utf8).unwrap();
        let packed = TrackFile::load(&packed, Encoding::Utf8).unwrap();

        assert_eq!(plain.lines, packed.lines);
        assert_eq!(plain.digest(), packed.digest());
        let found: Vec<(&str, f64, u64)> =
            plain.lines.iter().map(|line| (line.title.as_str(), line.seconds, line.count)).collect();
        assert_eq!(
            found,
            [("Slow Harbour", 223.4012, 41), ("Où va l'été", 180.0, 0), ("Slow Harbour", 1.04, 7)]
        );
        let music = plain.music(&mut Rng::new(1, crate::rng::Purpose::Catalogue, 0));
        assert_eq!(music.artists.len(), 2);
        assert_eq!(music.tracks[2].artist, 1);
    }

    #[test]
    fn eventsims_way_of_reading_damages_letters_as_in_its_events() {
        let file = TrackFile::parse(FILE.as_bytes(), Encoding::Latin1, Path::new("tracks.txt")).unwrap();

        assert_eq!(file.lines[1].title, "OÃ¹ va l'Ã©tÃ©");
        assert_ne!(file.digest(), parse(FILE).unwrap().digest());
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let message = |bytes: &[u8]| {
            TrackFile::parse(bytes, Encoding::Utf8, Path::new("tracks.txt")).unwrap_err().to_string()
        };
        let good = "TRA1\ta\tb\t200\t1\n";

        for (line, expected) in [
            (
                "TRA2\ta\tb\t200",
                "4 fields instead of 5 (expected track id, artist, title, duration, listen count,",
            ),
            ("\ta\tb\t200\t1", "the track id is empty"),
            ("TRA2\ta\tb\tlong\t1", "duration `long` is not a number of seconds above 0"),
            ("TRA2\ta\tb\t0\t1", "duration `0` is not a number"),
            ("TRA2\ta\tb\tNaN\t1", "duration `NaN` is not a number"),
            ("TRA2\ta\tb\t200\t-1", "listen count `-1` is not a whole number from 0 to 4294967295"),
            ("TRA1\ta\tb\t200\t1", "track `TRA1` is there already, in line 1"),
        ] {
            let message = message(format!("{good}{line}\r\n").as_bytes());
            assert!(
                message.starts_with(&format!("track file `tracks.txt`, line 2: {expected}")),
                "{message}"
            );
        }
        let latin = message(b"TRA1\tAna\xefs\tb\t200\t1");
        assert_eq!(
            latin,
            "track file `tracks.txt`, line 1: byte 9 is not UTF-8 (perhaps `--tracks-encoding iso-8859-1`?)"
        );
        assert_eq!(
            message(b"TRA1\ta\tb\t200\t0"),
            "track file `tracks.txt` has no track with a listen count above 0"
        );
        let missing = TrackFile::load(Path::new("nowhere.txt"), Encoding::Utf8).unwrap_err();
        assert_eq!(missing.to_string(), "failed to read track file `nowhere.txt`");
    }
}
