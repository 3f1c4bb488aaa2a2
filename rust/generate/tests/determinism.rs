//! Whatever the number of threads and wherever a run is cut, its bytes are the same.

#![expect(clippy::unwrap_used, reason = "tests may unwrap: a panic is the report")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use streamify_generate::{
    checkpoint::{Checkpoint, CheckpointError},
    event::Topic,
    faults::plan::Plan,
    kernel::Limits,
    pace::{Pace, WallClock},
    profile::{BUILTIN, Overrides, Profile},
    run::{Delivery, Keep, Outcome, Summary, run},
    simulation::{Conduct, ENDLESS, Settings, Simulation},
    sink::{Record, Sink, SinkError, files::FileSink},
};
use tokio_util::sync::CancellationToken;

/// Monday 2026-02-23, 926 ms past midnight.
const START: i64 = 1_771_804_800_926;
const DAY_MS: i64 = 86_400_000;

/// Listeners who come and go, so that places are used again.
fn settings(days: i64) -> Settings {
    let overrides = Overrides { growth_rate: Some(20.0), attrition_rate: Some(0.99), ..Overrides::default() };
    Settings {
        profile: Profile::parse_with(BUILTIN[0].1, "example", &overrides).unwrap(),
        seed: 42,
        num_users: 300,
        first_user_id: 1,
        start_ms: START,
        end_ms: START + days * DAY_MS,
        tag: None,
    }
}

fn conduct(num_threads: usize) -> Conduct {
    // Short slices, so that there are many.
    let limits = Limits { max_steps: 200, ..Limits::default() };
    Conduct { num_threads, limits, keeps_state: true }
}

fn bytes(simulation: &mut Simulation) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(moment) = simulation.step() {
        for (topic, value) in moment.events() {
            bytes.extend_from_slice(topic.name().as_bytes());
            bytes.extend_from_slice(value);
        }
    }
    bytes
}

#[test]
fn bytes_do_not_depend_on_threads_or_on_the_length_of_slices() {
    let expected = bytes(&mut Simulation::new(settings(10)));

    for num_threads in [1, 2, 4, 7] {
        let found = bytes(&mut Simulation::start(settings(10), conduct(num_threads), None));
        assert!(found == expected, "{num_threads} threads give other bytes");
    }
    assert!(expected.len() > 1_000_000, "only {} bytes", expected.len());
}

#[test]
fn a_run_that_nobody_reads_to_its_end_is_dropped_at_once() {
    let mut simulation = Simulation::start(settings(3_000), conduct(4), None);

    assert!(simulation.step().is_some());
    drop(simulation);
}

/// Gives up after so many records, as a killed process does: nothing is finished.
struct Killed {
    inner: FileSink,
    left: usize,
}

impl Sink for Killed {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        if self.left == 0 {
            return Err(SinkError::Undelivered { count: 1, first_reason: "killed".to_owned() });
        }
        self.left -= 1;
        self.inner.write(record)
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SinkError> {
        self.inner.idle(wait)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.inner.finish()
    }

    fn mark(&mut self) -> Result<serde_json::Value, SinkError> {
        self.inner.mark()
    }
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs from the checkpoint, if there is one, until the end, the limit, or the death of the sink.
    fn run(
        &self,
        settings: Settings,
        threads: usize,
        delivery: Delivery,
        dies_after: Option<usize>,
    ) -> Result<Summary, SinkError> {
        let checkpoint = Checkpoint::read(&self.checkpoint()).unwrap();
        let files = match &checkpoint {
            Some(checkpoint) => {
                checkpoint.check(&self.checkpoint(), &settings).unwrap();
                FileSink::resume(&self.files(), &checkpoint.sink).unwrap()
            }
            None => FileSink::create(&self.files(), false).unwrap(),
        };
        let (state, resumed) = checkpoint.map(|found| (found.state, found.progress)).unzip();
        let keep = Keep { path: self.checkpoint(), every: Duration::ZERO, resumed };
        let mut sink = Killed { inner: files, left: dies_after.unwrap_or(usize::MAX) };
        let mut simulation = Simulation::start(settings, conduct(threads), state);
        let delivery = Delivery { keep: Some(keep), ..delivery };
        run(&mut simulation, &delivery, &mut sink, &CancellationToken::new(), &mut |_| {})
    }

    fn contents(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let read = |topic: Topic| fs::read(self.files().join(format!("{}.jsonl", topic.name()))).unwrap();
        Topic::ALL.into_iter().map(|topic| (topic.name(), read(topic))).collect()
    }
}

fn uncut(settings: Settings, delivery: &Delivery) -> (BTreeMap<&'static str, Vec<u8>>, Summary) {
    let place = Place::new();
    let mut sink = FileSink::create(&place.files(), false).unwrap();
    let mut simulation = Simulation::new(settings);
    let summary = run(&mut simulation, delivery, &mut sink, &CancellationToken::new(), &mut |_| {}).unwrap();
    (place.contents(), summary)
}

fn assert_same(found: &Summary, expected: &Summary) {
    assert_eq!(found.topics, expected.topics);
    assert_eq!(
        (found.events, found.sessions, found.duplicates, found.extras),
        (expected.events, expected.sessions, expected.duplicates, expected.extras)
    );
    assert_eq!((found.first_ts, found.last_ts), (expected.first_ts, expected.last_ts));
    assert!(found.resumed && !expected.resumed);
}

#[test]
fn a_run_killed_again_and_again_and_resumed_has_the_bytes_of_one_that_was_not() {
    let delivery = Delivery {
        faults: Plan::parse(["all=0.03", "D19=0.05", "D23.giant=0"], 0).unwrap(),
        ..Delivery::default()
    };
    let (expected, whole) = uncut(settings(12), &delivery);
    let place = Place::new();

    let mut num_deaths = 0;
    let summary = loop {
        // With another number of threads each time.
        match place.run(settings(12), 1 + num_deaths % 4, delivery.clone(), Some(2_500)) {
            Ok(summary) => break summary,
            Err(error) => assert!(error.to_string().contains("killed"), "{error}"),
        }
        num_deaths += 1;
    };

    assert!(num_deaths >= 3, "only {num_deaths} deaths");
    assert!(place.contents() == expected, "bytes differ");
    assert_same(&summary, &whole);
}

#[test]
fn a_run_stopped_at_any_record_goes_on_with_the_next() {
    let (expected, whole) = uncut(settings(6), &Delivery::default());

    for threads in [1, 3] {
        let place = Place::new();
        let mut limit = 0;
        let summary = loop {
            limit += 777;
            let delivery = Delivery { max_events: Some(limit), ..Delivery::default() };
            let summary = place.run(settings(6), threads, delivery, None).unwrap();
            assert!(summary.events <= limit);
            if summary.outcome == Outcome::Complete {
                break summary;
            }
        };

        assert!(limit > 3 * 777, "only {limit} records");
        assert!(place.contents() == expected, "bytes differ with {threads} threads");
        assert_same(&summary, &whole);
    }
}

#[test]
fn a_complete_run_goes_on_when_its_end_is_moved() {
    let (expected, _) = uncut(settings(8), &Delivery::default());
    let place = Place::new();

    place.run(settings(5), 2, Delivery::default(), None).unwrap();
    place.run(settings(8), 1, Delivery::default(), None).unwrap();

    assert!(place.contents() == expected, "bytes differ");
}

#[test]
fn checkpoints_of_other_runs_and_damaged_ones_are_refused() {
    let place = Place::new();
    place.run(settings(3), 1, Delivery::default(), None).unwrap();
    let path = place.checkpoint();
    let checkpoint = Checkpoint::read(&path).unwrap().unwrap();
    let refusal =
        |settings: &Settings| checkpoint.check(Path::new("state"), settings).unwrap_err().to_string();

    assert_eq!(
        refusal(&Settings { seed: 43, ..settings(3) }),
        "checkpoint `state` belongs to another run: the seed is `42` there and `43` here"
    );
    assert!(
        refusal(&Settings { start_ms: START - 926, ..settings(3) })
            .contains("the start is `2026-02-23T00:00:00.926Z`")
    );
    let other = Profile::builtin("example").unwrap();
    assert!(refusal(&Settings { profile: other, ..settings(3) }).contains("the run id is"));

    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = Checkpoint::read(&path).unwrap_err();
    assert!(
        matches!(damaged, CheckpointError::Damaged { what: "its checksum does not match its content", .. }),
        "{damaged}"
    );
    fs::write(&path, b"something else").unwrap();
    assert!(Checkpoint::read(&path).is_err());
    assert!(Checkpoint::read(Path::new("/nonexistent/state")).unwrap().is_none());
}

/// Moves the clock instead of waiting.
struct Timed {
    clock: WallClock,
    stop: CancellationToken,
    until_ms: i64,
    /// (simulated time of the record, time of the clock), in milliseconds.
    sent: Vec<(i64, i64)>,
}

impl Sink for Timed {
    fn write(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let event: serde_json::Value = serde_json::from_slice(record.value.unwrap()).unwrap();
        self.sent.push((event["ts"].as_i64().unwrap(), self.clock.now_ms()));
        Ok(())
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SinkError> {
        self.clock.advance(wait);
        if self.clock.now_ms() >= self.until_ms {
            self.stop.cancel();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn a_continuous_run_catches_up_then_keeps_step_and_goes_on_with_the_same_people() {
    let now = START + 2 * DAY_MS;
    let clock = WallClock::by_hand(now);
    let stop = CancellationToken::new();
    let place = Place::new();
    let endless = || Settings { end_ms: ENDLESS, ..settings(0) };
    let live = |clock: &WallClock| Conduct {
        num_threads: 1,
        limits: Limits::of(Pace::Live, None, clock),
        keeps_state: true,
    };
    let delivery = |resumed| Delivery {
        pace: Pace::Live,
        clock: Some(clock.clone()),
        keep: Some(Keep { path: place.checkpoint(), every: Duration::ZERO, resumed }),
        ..Delivery::default()
    };
    let mut sink =
        Timed { clock: clock.clone(), stop: stop.clone(), until_ms: now + DAY_MS / 2, sent: Vec::new() };

    let first = run(
        &mut Simulation::start(endless(), live(&clock), None),
        &delivery(None),
        &mut sink,
        &stop,
        &mut |_| {},
    );
    assert_eq!(first.unwrap().outcome, Outcome::Stopped);
    let checkpoint = Checkpoint::read(&place.checkpoint()).unwrap().unwrap();
    let stop = CancellationToken::new();
    (sink.stop, sink.until_ms) = (stop.clone(), now + DAY_MS);
    let mut simulation = Simulation::start(endless(), live(&clock), Some(checkpoint.state));
    let second =
        run(&mut simulation, &delivery(Some(checkpoint.progress)), &mut sink, &stop, &mut |_| {}).unwrap();

    assert!(sink.sent.iter().all(|(ts, sent)| ts <= sent), "an event was sent before its time");
    assert!(
        sink.sent.iter().filter(|(ts, _)| *ts < now).all(|(_, sent)| *sent == now),
        "the past was waited for"
    );
    let late = sink.sent.iter().filter(|(ts, sent)| *ts > now && sent - ts > 100);
    assert_eq!(late.count(), 0, "live events were late");
    let live = sink.sent.iter().filter(|(ts, _)| *ts > now).count();
    assert!(live > 50, "only {live} live events");
    // The same events as of a run that was given its end.
    let (_, whole) = uncut(Settings { end_ms: now + DAY_MS, ..endless() }, &Delivery::default());
    assert_eq!((second.events, second.sessions), (whole.events, whole.sessions));
}
