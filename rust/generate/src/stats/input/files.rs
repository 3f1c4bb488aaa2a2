//! JSON lines from files, folders and standard input; plain, gzip or zstd, told by their first bytes.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use tokio_util::sync::CancellationToken;

use super::InputError;
use crate::stats::Survey;

const BUFFER_BYTES: usize = 256 * 1024;
/// A line above this is nobody's event; reading on would only fill the memory.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Reads files and folders (with all below them), `-` being standard input. In folders, names that begin with `.` or `_` and
/// unfinished files (`.partial`) are passed over.
///
/// # Errors
/// [`InputError::File`], [`InputError::NoFile`], [`InputError::Stopped`].
pub fn read(paths: &[PathBuf], survey: &mut Survey, stop: &CancellationToken) -> Result<(), InputError> {
    for path in paths {
        if path.as_os_str() == "-" {
            read_lines(Box::new(io::stdin().lock()), path, survey, stop)?;
            continue;
        }
        let mut files = Vec::new();
        if path.is_dir() {
            list(path, &mut files)?;
            if files.is_empty() {
                return Err(InputError::NoFile { path: path.clone() });
            }
        } else {
            files.push(path.clone());
        }
        for file in files {
            let opened = File::open(&file).map_err(|source| failed(&file, source))?;
            read_lines(Box::new(opened), &file, survey, stop)?;
        }
    }
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> InputError {
    InputError::File { path: path.to_owned(), source }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let failed = |source| failed(folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(['.', '_']) || name.ends_with(".partial") {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Returns the text behind a compression, if there is one.
fn unpacked<'a>(source: Box<dyn Read + 'a>) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
    let head = source.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let decoder = flate2::bufread::MultiGzDecoder::new(source);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)));
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(source)?;
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)));
    }
    Ok(Box::new(source))
}

fn read_lines(
    source: Box<dyn Read + '_>,
    path: &Path,
    survey: &mut Survey,
    stop: &CancellationToken,
) -> Result<(), InputError> {
    let failed = |source| failed(path, source);
    let mut lines = unpacked(source).map_err(failed)?;
    let (mut line, mut num_lines) = (Vec::with_capacity(4096), 0u64);
    loop {
        line.clear();
        let num_bytes = (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(failed)?;
        if num_bytes == 0 {
            return Ok(());
        }
        if !line.trim_ascii().is_empty() {
            survey.add(0, &line);
        }
        num_lines += 1;
        if num_lines.is_multiple_of(4_096) && stop.is_cancelled() {
            return Err(InputError::Stopped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const HOME: &str = r#"{"ts":1793000123926,"sessionId":98,"page":"Home","auth":"Guest","status":200,"level":"free","itemInSession":0}"#;

    fn page_views(paths: &[PathBuf]) -> Result<u64, InputError> {
        let mut survey = Survey::default();
        read(paths, &mut survey, &CancellationToken::new())?;
        Ok(survey.tally().page_views)
    }

    #[test]
    fn folders_are_read_whatever_the_compression_and_unfinished_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let event = |session: &str| HOME.replace("98", session) + "\n";
        fs::create_dir(at("hour=01")).unwrap();
        fs::write(at("plain.jsonl"), event("1") + "\n" + &event("2")).unwrap();
        fs::write(at("hour=01/packed.zst"), zstd::encode_all(event("3").as_bytes(), 1).unwrap()).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(event("4").as_bytes()).unwrap();
        fs::write(at("hour=01/packed.gz"), gzip.finish().unwrap()).unwrap();
        fs::write(at("growing.jsonl.partial"), event("5")).unwrap();
        fs::write(at("_SUCCESS"), event("6")).unwrap();

        assert_eq!(page_views(&[folder.path().to_owned()]).unwrap(), 4);
        assert_eq!(page_views(&[at("plain.jsonl"), at("hour=01/packed.gz")]).unwrap(), 3);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let damaged = folder.path().join("damaged.gz");

        let empty = page_views(&[folder.path().to_owned()]).unwrap_err().to_string();
        fs::write(&damaged, [0x1f, 0x8b, 8, 0, 1, 2, 3]).unwrap();
        let broken = page_views(&[folder.path().to_owned()]).unwrap_err().to_string();
        let missing = page_views(&[folder.path().join("none")]).unwrap_err().to_string();

        assert!(empty.starts_with("no file with events in `"), "{empty}");
        assert!(broken.starts_with("failed to read `") && broken.ends_with("damaged.gz`"), "{broken}");
        assert!(missing.ends_with("/none`"), "{missing}");
    }
}
