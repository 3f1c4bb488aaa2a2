//! The truth beside a run is what a naive reader counts in its records, faults or not.

#![expect(clippy::unwrap_used, reason = "tests may unwrap: a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
    time::Duration,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Int64Type,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use streamify_core::{DecodeOptions, Decoder, contract};
use streamify_generate::{
    event::Topic,
    faults::plan::Plan,
    profile::Profile,
    run::{Delivery, Summary, run_with_truth},
    simulation::{Settings, Simulation},
    sink::{Record, Sink, SinkError},
    truth::Truth,
};
use tokio_util::sync::CancellationToken;

const START: i64 = 1_771_804_800_926;
const DAY_MS: i64 = 86_400_000;

type Delivered = (Topic, Option<Vec<u8>>, String);

/// Keeps what it is given, with the run each record is told by.
struct Memory {
    run_id: String,
    records: Vec<Delivered>,
}

impl Sink for Memory {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let run_id = record.run_id.unwrap_or(&self.run_id).to_owned();
        self.records.push((record.topic, record.value.map(<[u8]>::to_vec), run_id));
        Ok(())
    }

    fn idle(&mut self, _: Duration) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A profile whose listeners cancel more often.
fn settings() -> Settings {
    let text = include_str!("../profiles/example.toml");
    let text = text.replace("\"Save Settings\" = 0.2", "\"Save Settings\" = 0.05");
    let text = text.replace("\"Cancel\" = 0.005", "\"Cancel\" = 0.12");
    Settings {
        profile: Profile::parse(&text, "test").unwrap(),
        seed: 11,
        num_users: 1_200,
        first_user_id: 5_000,
        start_ms: START,
        end_ms: START + 21 * DAY_MS,
        tag: None,
    }
}

fn generate(words: &[&str], truth: Option<&Path>) -> (Summary, Vec<Delivered>) {
    let mut simulation = Simulation::new(settings());
    let run_id = settings().run_id();
    let faults = Plan::parse(words.iter().copied(), START + 7 * DAY_MS).unwrap();
    let delivery = Delivery { faults, ..Delivery::default() };
    let mut sink = Memory { run_id: run_id.clone(), records: Vec::new() };
    let mut truth = truth.map(|folder| Truth::create(folder, false, &run_id).unwrap());
    let stop = CancellationToken::new();
    let summary =
        run_with_truth(&mut simulation, &delivery, &mut sink, truth.as_mut(), &stop, &mut |_| {}).unwrap();
    if let Some(truth) = truth {
        let songs = &simulation.model().catalogue.songs;
        truth.finish(&|song| &songs[song as usize].json).unwrap();
    }
    (summary, sink.records)
}

fn table(folder: &Path, name: &str) -> RecordBatch {
    let file = File::open(folder.join(format!("{name}.parquet"))).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn longs(table: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    table.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

fn texts(table: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = table.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

/// The rows of some columns as text, to be compared.
fn rows(table: &RecordBatch, columns: &[&str]) -> Vec<Vec<String>> {
    let cells = columns.iter().map(|name| match table.column_by_name(name).unwrap().data_type() {
        arrow::datatypes::DataType::Utf8 => {
            texts(table, name).into_iter().map(|cell| format!("{cell:?}")).collect()
        }
        _ => longs(table, name).into_iter().map(|cell| format!("{cell:?}")).collect::<Vec<_>>(),
    });
    let cells: Vec<Vec<String>> = cells.collect();
    let mut rows: Vec<Vec<String>> =
        (0..table.num_rows()).map(|row| cells.iter().map(|column| column[row].clone()).collect()).collect();
    rows.sort();
    rows
}

fn shown<T: std::fmt::Debug>(cell: T) -> String {
    format!("{:?}", Some(cell))
}

/// What a reader knows that takes each sound record and drops second deliveries.
#[derive(Default)]
struct Naive {
    events: Vec<(Topic, String, Value)>,
    /// Per topic: deliveries, rows, dead letters, distinct events, bytes.
    counts: BTreeMap<Topic, [i64; 5]>,
}

impl Naive {
    fn read(records: &[Delivered]) -> Self {
        let (mut naive, mut ids) = (Self::default(), BTreeSet::new());
        let contracts = contract::builtin();
        for (topic, value, run_id) in records {
            let contract = contracts.iter().find(|contract| contract.topic == topic.name()).unwrap();
            let mut decoder = Decoder::new(contract.clone(), DecodeOptions::default());
            let record = streamify_core::Record {
                value: value.as_deref(),
                partition: 0,
                offset: 0,
                timestamp_ms: Some(START + 60 * DAY_MS),
                run_id: Some(run_id),
            };
            let is_sound = decoder.push(&record).is_ok();
            let batch = decoder.finish(0).unwrap();
            let id = texts(&batch, "event_id").pop().flatten();
            let is_new = id.is_some_and(|id| ids.insert(id));
            let counts = naive.counts.entry(*topic).or_default();
            counts[0] += 1;
            counts[1] += i64::from(is_sound);
            counts[2] += i64::from(!is_sound);
            counts[3] += i64::from(is_new);
            counts[4] += value.as_ref().map_or(0, Vec::len) as i64;
            if is_new {
                let event = serde_json::from_slice(value.as_ref().unwrap()).unwrap();
                naive.events.push((*topic, run_id.clone(), event));
            }
        }
        naive
    }

    fn of(&self, wanted: Topic) -> impl Iterator<Item = (&str, &Value)> {
        self.events
            .iter()
            .filter(move |(topic, ..)| *topic == wanted)
            .map(|(_, run_id, event)| (&run_id[..], event))
    }

    fn user(event: &Value) -> Option<i64> {
        match &event["userId"] {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        }
    }
}

fn long(event: &Value, name: &str) -> i64 {
    event[name].as_i64().unwrap()
}

#[derive(Debug)]
struct Session {
    start: i64,
    end: i64,
    first_item: i64,
    pages: i64,
    songs: i64,
    anonymous: i64,
    user: Option<i64>,
}

fn sessions(naive: &Naive) -> BTreeMap<(String, i64), Session> {
    let mut sessions: BTreeMap<(String, i64), Session> = BTreeMap::new();
    for (run_id, event) in naive.of(Topic::PageView) {
        let (ts, item, user) = (long(event, "ts"), long(event, "itemInSession"), Naive::user(event));
        let fresh =
            Session { start: ts, end: ts, first_item: item, pages: 0, songs: 0, anonymous: 0, user: None };
        let session = sessions.entry((run_id.to_owned(), long(event, "sessionId"))).or_insert(fresh);
        session.start = session.start.min(ts);
        session.end = session.end.max(ts);
        session.first_item = session.first_item.min(item);
        session.pages += 1;
        session.songs += i64::from(event["page"] == "NextSong");
        session.anonymous += i64::from(user.is_none());
        assert!(session.user.is_none() || user.is_none() || session.user == user);
        session.user = session.user.or(user);
    }
    sessions
}

fn check_topics(naive: &Naive, folder: &Path) {
    let columns = ["topic", "deliveries", "rows", "dead_letters", "distinct_events", "bytes"];
    let mut expected: Vec<Vec<String>> = naive
        .counts
        .iter()
        .map(|(topic, counts)| [vec![shown(topic.name())], counts.iter().map(shown).collect()].concat())
        .collect();
    expected.sort();
    assert_eq!(rows(&table(folder, "topics"), &columns), expected);
}

fn check_sessions(naive: &Naive, folder: &Path) {
    let found = sessions(naive);
    let cells = |((run_id, number), session): (&(String, i64), &Session)| {
        let Session { start, end, first_item, pages, songs, anonymous, .. } = *session;
        let numbers = [*number, start, end, first_item, pages, songs, anonymous];
        [vec![shown(run_id)], numbers.iter().map(shown).collect()].concat()
    };
    let mut expected: Vec<Vec<String>> = found.iter().map(cells).collect();
    expected.sort();
    let columns = [
        "run_id",
        "session_id",
        "start_ms",
        "end_ms",
        "first_item",
        "num_pages",
        "num_songs",
        "num_anonymous",
    ];
    let truth = table(folder, "sessions");
    assert!(rows(&truth, &columns) == expected, "sessions differ");

    // Who it was: what the session says anywhere, and the one listener with the same device where it never does.
    let mut devices: BTreeMap<(String, i64), String> = BTreeMap::new();
    let mut of_users: BTreeMap<(String, i64), String> = BTreeMap::new();
    for (run_id, event) in naive.of(Topic::PageView) {
        let device = format!("{} {} {} {}", event["zip"], event["lat"], event["lon"], event["userAgent"]);
        if let Some(user) = Naive::user(event) {
            of_users.insert((run_id.to_owned(), user), device.clone());
        }
        devices.insert((run_id.to_owned(), long(event, "sessionId")), device);
    }
    let (runs, numbers, users) =
        (texts(&truth, "run_id"), longs(&truth, "session_id"), longs(&truth, "user_id"));
    let mut num_never_named = 0;
    for ((run_id, number), user) in runs.into_iter().zip(numbers).zip(users) {
        let (key, user) = ((run_id.unwrap(), number.unwrap()), user.unwrap());
        let known = &found[&key];
        assert!(known.user.is_none_or(|known| known == user), "session {key:?}");
        if known.user.is_none()
            && let Some(device) = of_users.get(&(key.0.clone(), user))
        {
            assert_eq!(&devices[&key], device, "session {key:?}");
            num_never_named += 1;
        }
    }
    assert!(num_never_named > 20, "{num_never_named} sessions without a name");

    let people =
        found.iter().filter(|(_, session)| session.anonymous > 0).map(|((run_id, number), session)| {
            let numbers = [*number, session.anonymous, session.pages - session.anonymous];
            [vec![shown(run_id)], numbers.iter().map(shown).collect()].concat()
        });
    let mut people: Vec<Vec<String>> = people.collect();
    people.sort();
    let columns = ["run_id", "session_id", "num_anonymous", "num_known"];
    assert!(rows(&table(folder, "people"), &columns) == people, "people differ");
}

fn check_churners(naive: &Naive, folder: &Path) {
    let mut churners: BTreeMap<(String, i64), i64> = BTreeMap::new();
    for (run_id, event) in naive.of(Topic::PageView).filter(|(_, event)| event["auth"] == "Cancelled") {
        let key = (run_id.to_owned(), Naive::user(event).unwrap());
        let ts = long(event, "ts");
        churners.entry(key).and_modify(|first| *first = ts.min(*first)).or_insert(ts);
    }
    assert!(churners.len() > 10, "{} churners", churners.len());
    let cells = churners.iter().map(|((run_id, user), ts)| vec![shown(run_id), shown(user), shown(ts)]);
    let mut expected: Vec<Vec<String>> = cells.collect();
    expected.sort();
    assert_eq!(rows(&table(folder, "churners"), &["run_id", "user_id", "ts_ms"]), expected);
}

/// Plays by run, and by artist and title too if those are as the catalogue has them.
fn check_plays(naive: &Naive, folder: &Path, texts_are_sound: bool) {
    let key = |run_id: &str, artist: &str, song: &str| {
        let (artist, song) = if texts_are_sound { (artist, song) } else { ("", "") };
        (run_id.to_owned(), artist.to_owned(), song.to_owned())
    };
    let mut expected = BTreeMap::new();
    for (run_id, event) in naive.of(Topic::Listen) {
        let names = key(run_id, event["artist"].as_str().unwrap(), event["song"].as_str().unwrap());
        *expected.entry(names).or_insert(0) += 1;
    }
    let truth = table(folder, "plays");
    let mut found = BTreeMap::new();
    let names = texts(&truth, "run_id").into_iter().zip(texts(&truth, "artist")).zip(texts(&truth, "song"));
    for (((run_id, artist), song), plays) in names.zip(longs(&truth, "plays")) {
        *found.entry(key(&run_id.unwrap(), &artist.unwrap(), &song.unwrap())).or_insert(0) += plays.unwrap();
    }
    assert!(found == expected, "plays differ");
}

#[test]
fn truth_is_what_a_naive_reader_counts() {
    for words in [&[][..], &["all=0.03", "D1=0", "D2=0", "D21=0"], &["all=0.05", "D23.giant=0"]] {
        let folder = tempfile::tempdir().unwrap();
        let (_, records) = generate(words, Some(folder.path()));
        let naive = Naive::read(&records);

        check_topics(&naive, folder.path());
        check_sessions(&naive, folder.path());
        check_churners(&naive, folder.path());
        check_plays(&naive, folder.path(), !words.contains(&"D23.giant=0"));
    }
}

#[test]
fn listed_faults_stand_where_the_list_says() {
    let folder = tempfile::tempdir().unwrap();
    let (summary, records) = generate(&["all=0.02", "D23.giant=0"], Some(folder.path()));
    let faults = table(folder.path(), "faults");
    let mut by_topic: BTreeMap<String, Vec<&Delivered>> = BTreeMap::new();
    for record in &records {
        by_topic.entry(record.0.name().to_owned()).or_default().push(record);
    }

    let places = texts(&faults, "topic").into_iter().zip(longs(&faults, "ordinal"));
    let kinds = texts(&faults, "fault").into_iter().zip(texts(&faults, "variant"));
    let runs = texts(&faults, "run_id");
    let mut num_checked = 0;
    for (((topic, ordinal), (fault, variant)), run_id) in places.zip(kinds).zip(runs) {
        let (_, value, told_by) = by_topic[&topic.unwrap()][ordinal.unwrap() as usize];
        assert_eq!(*told_by, run_id.unwrap());
        let text = value.as_deref().map(String::from_utf8_lossy);
        let is_there = match (fault.as_deref().unwrap(), variant.as_deref().unwrap()) {
            ("D23", "tombstone") => text.is_none(),
            ("D23", "array") => text.unwrap() == "[]\n",
            ("D16", "zero") => text.unwrap().contains("\"ts\":0,"),
            ("D10", "early") => {
                let event: Value = serde_json::from_str(&text.unwrap()).unwrap();
                event["registration"].as_i64() > event["ts"].as_i64()
            }
            ("D12", "crlf") => text.unwrap().ends_with("\r\n"),
            ("D20", "new_page") => text.unwrap().contains("\"Podcasts\""),
            ("D21", "lone_surrogate") => text.unwrap().contains("\\ud83d\""),
            _ => continue,
        };
        assert!(is_there, "{fault:?} {variant:?}");
        num_checked += 1;
    }
    assert!(num_checked > 50);
    let copies = texts(&faults, "fault").iter().filter(|fault| fault.as_deref() == Some("D19")).count();
    assert_eq!(copies as u64, summary.duplicates);
    let added = texts(&faults, "effect").iter().filter(|effect| effect.as_deref() == Some("added")).count();
    assert_eq!(added as u64, summary.duplicates + summary.extras);
}

#[test]
fn truth_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();

    let (_, with) = generate(&["all=0.02"], Some(folder.path()));
    let (_, without) = generate(&["all=0.02"], None);

    assert!(with == without && with.len() > 20_000);
}

#[test]
fn truth_is_not_overwritten_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    Truth::create(folder.path(), false, "a").unwrap();

    let message = Truth::create(folder.path(), false, "a").err().unwrap().to_string();

    assert!(message.ends_with("sessions.parquet` exists already"), "{message}");
    Truth::create(folder.path(), true, "a").unwrap();
}
