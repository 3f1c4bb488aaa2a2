use super::*;
use std::io::Read;

fn record(hour: i64) -> Vec<u8> {
    format!("{{\"song\":\"\\\"ts\\\":1\",\"ts\":{},\"sessionId\":1}}\n", 1_771_804_800_000 + hour * HOUR_MS)
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
        let mut sink = LayoutSink::create(layout(folder.path(), Some(compression), Rotation::None)).unwrap();
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

fn write_hours(sink: &mut LayoutSink, hours: &[i64]) {
    for hour in hours {
        write(sink, Topic::PageView, &record(*hour));
    }
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let text = |name: &String| {
        let bytes = fs::read(folder.join(name)).unwrap();
        match Path::new(name).extension().unwrap().to_str().unwrap() {
            "zst" => zstd::decode_all(&bytes[..]).unwrap(),
            "gz" => {
                let mut text = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
                text
            }
            _ => bytes,
        }
    };
    files(folder).into_iter().map(|name| (name.clone(), text(&name))).collect()
}

#[test]
fn a_run_that_was_cut_and_resumed_has_the_files_of_one_that_was_not() {
    const HOURS: [i64; 12] = [0, 0, 1, 0, 2, 0, 3, 3, 4, 2, 0, 5];
    for compression in [None, Some(Compression::Gzip), Some(Compression::Zstd)] {
        for rotation in [Rotation::None, Rotation::Hour] {
            let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut sink = LayoutSink::create(layout(whole.path(), compression, rotation)).unwrap();
            write_hours(&mut sink, &HOURS);
            sink.finish().unwrap();

            let mut sink = LayoutSink::create(layout(cut.path(), compression, rotation)).unwrap();
            let mut written = 0;
            for (at, is_ended) in [(2, false), (5, true), (6, false), (6, true), (9, false)] {
                write_hours(&mut sink, &HOURS[written..at]);
                let mark = sink.mark().unwrap();
                // What comes after the mark is lost: written and killed, or written and ended well.
                write_hours(&mut sink, &HOURS[at..]);
                if is_ended {
                    sink.finish().unwrap();
                }
                drop(sink);
                sink = LayoutSink::resume(layout(cut.path(), compression, rotation), &mark).unwrap();
                written = at;
            }
            write_hours(&mut sink, &HOURS[written..]);
            sink.finish().unwrap();

            assert_eq!(contents(cut.path()), contents(whole.path()), "{compression:?} {rotation:?}");
        }
    }
}

#[test]
fn files_that_are_not_as_the_checkpoint_left_them_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = || layout(folder.path(), Some(Compression::Zstd), Rotation::None);
    let mut sink = LayoutSink::create(place()).unwrap();
    write_hours(&mut sink, &[0, 1]);
    let mark = sink.mark().unwrap();
    sink.finish().unwrap();
    let message = |mark: &serde_json::Value| LayoutSink::resume(place(), mark).err().unwrap().to_string();

    assert!(message(&serde_json::Value::Null).ends_with("the checkpoint is of other files"));
    let path = folder.path().join("page_view_events.jsonl.zst");
    fs::write(&path, b"short").unwrap();
    assert!(message(&mark).ends_with("it is shorter than it was at the checkpoint"));
    fs::remove_file(folder.path().join("page_view_events.jsonl.zst.partial")).unwrap();
    assert!(message(&mark).ends_with("page_view_events.jsonl.zst` cannot be resumed: it is gone"));
}
