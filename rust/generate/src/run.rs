//! The loop of a run: simulation → pace → sink, with exact counts.
//!
//! Every record that a sink has taken is counted, no other. A run ends at the end of its window, at the record limit, or when it
//! is asked to stop; all three are good ends, and the sink is finished in each. With a [`Keep`] the state is saved now and then
//! and at the end, each time after the sink has made safe what it has taken: a run resumed from it goes on with the next event.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use crate::outlet::TopicCounts;
use crate::{
    checkpoint::{Checkpoint, CheckpointError, RunMark, State},
    event::{Moment, Topic},
    faults::{Held, Passing, Stage, plan::Plan},
    machine::Machine,
    outlet::Outlet,
    pace::{Pace, Pacer, WallClock},
    simulation::{Next, Simulation},
    sink::{Sink, SinkError},
    truth::{Happening, Truth},
};

/// What messages are keyed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Key {
    /// No key, as Eventsim.
    #[default]
    None,
    /// The user id where the event shows it, else no key.
    User,
    /// The session id.
    Session,
}

/// How a run is delivered. Only faults change an event.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// What messages are keyed by.
    pub key: Key,
    /// How fast simulated time passes.
    pub pace: Pace,
    /// Most events a second; what faults add is not counted.
    pub max_eps: Option<f64>,
    /// What `pace` goes by; `None`: the system's.
    pub clock: Option<WallClock>,
    /// Most events, what faults add is not counted; with a [`Keep`], those before the cut are counted too.
    pub max_events: Option<u64>,
    /// What goes wrong on the way.
    pub faults: Plan,
    /// Where the state is saved.
    pub keep: Option<Keep>,
}

/// How the state of a run is saved.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The checkpoint.
    pub path: PathBuf,
    /// How often; the end of a slice of time is waited for.
    pub every: Duration,
    /// [`Checkpoint::progress`] of the checkpoint that the run goes on from.
    pub resumed: Option<serde_json::Value>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The end of the window, or of all listeners.
    Complete,
    /// The record limit.
    MaxEvents,
    /// It was asked to stop.
    Stopped,
}

/// What a run did; a resumed one counts what it did before the cut too.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Id of the run, also the header `run_id` of its records.
    pub run_id: String,
    /// Name of the profile.
    pub profile: String,
    /// Seed.
    pub seed: u64,
    /// Listeners at the start.
    pub users: u32,
    /// Start of the window, milliseconds since 1970.
    pub start_ms: i64,
    /// End of the window, milliseconds since 1970, if it has one.
    pub end_ms: Option<i64>,
    /// Time of the first event, if there was one.
    pub first_ts: Option<i64>,
    /// Time of the last event.
    pub last_ts: Option<i64>,
    /// Sessions with at least one event.
    pub sessions: u64,
    /// Counts by topic.
    pub topics: BTreeMap<&'static str, TopicCounts>,
    /// Events of all topics, each once.
    pub events: u64,
    /// Second deliveries of all topics.
    pub duplicates: u64,
    /// Further records that faults brought to all topics.
    pub extras: u64,
    /// Bytes of all values.
    pub bytes: u64,
    /// Whether it went on from a checkpoint.
    pub resumed: bool,
    /// Wall-clock seconds, those before a cut not counted.
    pub seconds: f64,
    /// Records of all kinds per wall-clock second, since the cut.
    pub events_per_second: f64,
    /// How it ended.
    pub outcome: Outcome,
}

/// What the loop knows and a checkpoint keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Progress {
    counts: [TopicCounts; Topic::ALL.len()],
    /// Events begun; those that are late count from their place.
    events: u64,
    first_ts: Option<i64>,
    last_ts: Option<i64>,
    sessions: u64,
    held: Held,
}

struct Run<'a> {
    outlet: Outlet<'a>,
    stage: Stage,
    machine: &'a Machine,
    delivery: &'a Delivery,
    mark: RunMark,
    progress: Progress,
    pacer: Pacer,
    started: Instant,
    saved: Instant,
    /// Records of all kinds before the cut.
    records_before: u64,
    summary: Summary,
}

/// Runs a simulation into a sink. `watch` is called now and then, and while the pace is waited for, with what is done so far.
///
/// # Errors
/// Any [`SinkError`] but [`SinkError::Stopped`], which is an outcome.
pub fn run(
    simulation: &mut Simulation,
    delivery: &Delivery,
    sink: &mut dyn Sink,
    stop: &CancellationToken,
    watch: &mut dyn FnMut(&Summary),
) -> Result<Summary, SinkError> {
    run_with_truth(simulation, delivery, sink, None, stop, watch)
}

/// As [`run`], and tells `truth` what really happened.
///
/// # Errors
/// As [`run`]; [`SinkError::Truth`].
pub fn run_with_truth(
    simulation: &mut Simulation,
    delivery: &Delivery,
    sink: &mut dyn Sink,
    truth: Option<&mut Truth>,
    stop: &CancellationToken,
    watch: &mut dyn FnMut(&Summary),
) -> Result<Summary, SinkError> {
    let model = Arc::clone(simulation.model());
    let mut run = Run::new(simulation, model.machine(), delivery, Outlet::new(sink, truth))?;
    run.tally();
    run.records_before = run.summary.events + run.summary.duplicates + run.summary.extras;
    let outcome = run.deliver_all(simulation, stop, watch)?;
    run.summary.outcome = outcome;
    run.outlet.sink.finish()?;
    run.tally();
    Ok(run.summary)
}

impl<'a> Run<'a> {
    fn new(
        simulation: &Simulation,
        machine: &'a Machine,
        delivery: &'a Delivery,
        mut outlet: Outlet<'a>,
    ) -> Result<Self, CheckpointError> {
        let settings = simulation.settings();
        let fresh = || Progress {
            counts: Default::default(),
            events: 0,
            first_ts: None,
            last_ts: None,
            sessions: 0,
            held: Held::default(),
        };
        let kept = delivery.keep.as_ref().and_then(|keep| Some((&keep.path, keep.resumed.as_ref()?)));
        let progress = match kept {
            None => fresh(),
            Some((path, value)) => Progress::deserialize(value).map_err(|_| CheckpointError::Damaged {
                path: path.clone(),
                what: "its counts are not readable",
            })?,
        };
        outlet.counts = progress.counts;
        let stage = Stage::resume(&delivery.faults, settings.seed, &settings.run_id(), progress.held.clone());
        let clock = delivery.clock.clone().unwrap_or_else(WallClock::system);
        let origin_ms = progress.last_ts.unwrap_or(settings.start_ms);
        Ok(Self {
            outlet,
            stage,
            machine,
            delivery,
            mark: RunMark::of(settings),
            pacer: Pacer::new(delivery.pace, delivery.max_eps, clock, origin_ms),
            started: Instant::now(),
            saved: Instant::now(),
            records_before: 0,
            progress,
            summary: Summary {
                run_id: settings.run_id(),
                profile: settings.profile.name.clone(),
                seed: settings.seed,
                users: settings.num_users,
                start_ms: settings.start_ms,
                end_ms: settings.end(),
                first_ts: None,
                last_ts: None,
                sessions: 0,
                topics: BTreeMap::new(),
                events: 0,
                duplicates: 0,
                extras: 0,
                bytes: 0,
                resumed: kept.is_some(),
                seconds: 0.0,
                events_per_second: 0.0,
                outcome: Outcome::Complete,
            },
        })
    }

    fn deliver_all(
        &mut self,
        simulation: &mut Simulation,
        stop: &CancellationToken,
        watch: &mut dyn FnMut(&Summary),
    ) -> Result<Outcome, SinkError> {
        let limit = self.delivery.max_events.unwrap_or(u64::MAX);
        let mut num_steps = 0u64;
        // A run that is cut before its first save could not be gone on with.
        if self.delivery.keep.is_some() {
            simulation.want_state();
        }
        let outcome = loop {
            let moment = match simulation.next() {
                Next::Moment(moment) => moment,
                Next::State(state) => {
                    self.save(*state)?;
                    continue;
                }
                Next::Over => break Outcome::Complete,
            };
            if self.progress.events + moment.events().len() as u64 > limit {
                simulation.put_back();
                break Outcome::MaxEvents;
            }
            match self.keep_pace(moment.ts_ms, stop, watch).and_then(|()| self.deliver(&moment)) {
                Ok(()) => {}
                Err(SinkError::Stopped) => {
                    simulation.put_back();
                    break Outcome::Stopped;
                }
                Err(error) => return Err(error),
            }
            num_steps += 1;
            if num_steps.is_multiple_of(1_024) {
                self.look_around(simulation, watch);
                if stop.is_cancelled() {
                    break Outcome::Stopped;
                }
            }
        };
        if outcome != Outcome::Complete
            && let Some(state) = simulation.close()
        {
            self.save(state)?;
        }
        if outcome != Outcome::Stopped {
            let outlet = &mut self.outlet;
            self.stage.finish(&mut |delivery| outlet.take(delivery))?;
        }
        Ok(outcome)
    }

    fn look_around(&mut self, simulation: &mut Simulation, watch: &mut dyn FnMut(&Summary)) {
        self.tally();
        watch(&self.summary);
        if let Some(keep) = &self.delivery.keep
            && self.saved.elapsed() >= keep.every
        {
            simulation.want_state();
        }
    }

    /// Saves the state, once the sink has made safe what comes before it.
    fn save(&mut self, state: State) -> Result<(), SinkError> {
        let Some(keep) = &self.delivery.keep else { return Ok(()) };
        let sink = self.outlet.sink.mark()?;
        self.progress.counts = self.outlet.counts;
        self.progress.held = self.stage.held();
        let progress = serde_json::to_value(&self.progress).unwrap_or_default();
        Checkpoint { run: self.mark.clone(), progress, sink, state }.write(&keep.path)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Waits until events of a time may leave.
    fn keep_pace(
        &mut self,
        ts_ms: i64,
        stop: &CancellationToken,
        watch: &mut dyn FnMut(&Summary),
    ) -> Result<(), SinkError> {
        if self.pacer.is_free() {
            return Ok(());
        }
        loop {
            let ahead = self.pacer.wait(ts_ms);
            if ahead.is_zero() {
                return Ok(());
            }
            if stop.is_cancelled() {
                return Err(SinkError::Stopped);
            }
            self.outlet.sink.idle(ahead.min(Duration::from_millis(100)))?;
            self.tally();
            watch(&self.summary);
        }
    }

    fn deliver(&mut self, moment: &Moment<'_>) -> Result<(), SinkError> {
        let key = match self.delivery.key {
            Key::None => None,
            Key::User => moment.user_id.map(|id| id.to_string()),
            Key::Session => Some(moment.session_id.to_string()),
        };
        let key = key.as_deref().map(str::as_bytes);
        self.pacer.sent(moment.events().len());
        let (ts_ms, session_id) = (moment.ts_ms, moment.session_id);
        let (outlet, first) = (&mut self.outlet, self.stage.num_passed());
        for (topic, value) in moment.events() {
            let record = Passing { topic, key, value, ts_ms, session_id };
            let passed = self.stage.pass(&record, &mut |delivery| outlet.take(delivery));
            // The whole moment comes again after a cut.
            passed.inspect_err(|_| self.stage.rewind(first))?;
        }
        self.progress.events += moment.events().len() as u64;
        if let Some(truth) = &mut outlet.truth {
            let happening = Happening::of(moment, self.machine);
            truth.happened(&happening, self.stage.twins(session_id)).map_err(SinkError::Truth)?;
        }
        self.progress.first_ts.get_or_insert(moment.ts_ms);
        // Sessions are numbered from 1 in the order of their first events.
        self.progress.sessions = self.progress.sessions.max(moment.session_id);
        self.progress.last_ts = Some(moment.ts_ms);
        Ok(())
    }

    fn tally(&mut self) {
        let (outlet, summary) = (&self.outlet, &mut self.summary);
        let Progress { first_ts, last_ts, sessions, .. } = &self.progress;
        summary.topics =
            Topic::ALL.iter().map(|topic| (topic.name(), outlet.counts[*topic as usize])).collect();
        summary.sessions = *sessions;
        (summary.first_ts, summary.last_ts) = (*first_ts, *last_ts);
        summary.events = outlet.total(|counts| counts.events);
        summary.duplicates = outlet.total(|counts| counts.duplicates);
        summary.extras = outlet.total(|counts| counts.extras);
        summary.bytes = outlet.total(|counts| counts.bytes);
        summary.seconds = self.started.elapsed().as_secs_f64();
        let since_cut = summary.events + summary.duplicates + summary.extras - self.records_before;
        summary.events_per_second = since_cut as f64 / summary.seconds.max(1e-9);
    }
}

#[cfg(test)]
mod tests;
