//! The run itself: all listeners' lives, merged by time, as events.
//!
//! Deterministic: the same settings give the same bytes in the same order, whatever the number of threads; ties in time go by
//! listener number. Memory grows with the number of living listeners, not with the window.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    checkpoint::State,
    event::{Chunk, Moment},
    kernel::{Crew, Kernel, Limits, Origin, Progress},
    model::Model,
    pipeline::{Delivery, Pipeline},
    profile::Profile,
    shard::{Order, Shard},
    step::Step,
};

/// What a run is made from. Everything here but the end and the tag is part of the run id.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How listeners behave.
    pub profile: Profile,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Listeners at the start.
    pub num_users: u32,
    /// Number of the first listener.
    pub first_user_id: u64,
    /// Milliseconds since 1970; events are strictly later. Its millisecond part is that of every timestamp of the run.
    pub start_ms: i64,
    /// Milliseconds since 1970; events are strictly earlier. [`ENDLESS`]: there is no end.
    pub end_ms: i64,
    /// A label put on events that name the listener.
    pub tag: Option<String>,
}

/// The end of a run that has none.
pub const ENDLESS: i64 = i64::MAX;

impl Settings {
    /// Returns the id of the run, 16 hexadecimal digits derived from all that decides who the listeners are and which numbers
    /// they get: profile, seed, number of listeners, first number, start. A run repeated, or repeated with a later end, has the
    /// same id and begins with the same events.
    pub fn run_id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.profile.canonical().len() as u64).to_le_bytes());
        hasher.update(self.profile.canonical());
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&u64::from(self.num_users).to_le_bytes());
        hasher.update(&self.first_user_id.to_le_bytes());
        hasher.update(&self.start_ms.to_le_bytes());
        let hash = hasher.finalize();
        hash.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the end of the window, if it has one.
    pub fn end(&self) -> Option<i64> {
        (self.end_ms != ENDLESS).then_some(self.end_ms)
    }
}

/// How a run is carried out. None of it changes an event.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// Threads that make events; with 1, all is done on the thread that asks for them.
    pub num_threads: usize,
    /// How long the slices of time may be.
    pub limits: Limits,
    /// Whether [`Next::State`] is wanted: on request, and at the end.
    pub keeps_state: bool,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { num_threads: 1, limits: Limits::default(), keeps_state: false }
    }
}

/// A run in progress.
#[derive(Debug)]
pub struct Simulation {
    model: Arc<Model>,
    source: Source,
    keeps_state: bool,
    chunk: Chunk,
    /// Index in `chunk` of the next moment.
    position: usize,
    num_sessions: u64,
}

/// What comes next in a run.
#[derive(Debug)]
pub enum Next<'a> {
    /// The next step with its events.
    Moment(Moment<'a>),
    /// What the run could be resumed from, as far as it has come.
    State(Box<State>),
    /// Nothing: the run is over.
    Over,
}

#[derive(Debug)]
enum Source {
    Here(Box<Here>),
    Threads(Pipeline),
}

/// A run on the thread that asks for its events.
#[derive(Debug)]
struct Here {
    kernel: Kernel,
    desk: Desk,
    wants_state: bool,
    is_over: bool,
}

/// The crew of one.
#[derive(Debug)]
struct Desk {
    model: Arc<Model>,
    /// Chunks that are not encoded yet.
    waiting: VecDeque<Chunk>,
    spare: Vec<Chunk>,
}

impl Crew for Desk {
    fn advance(&mut self, work: Vec<(Shard, Order)>) -> Option<Vec<Shard>> {
        let lived = work.into_iter().map(|(mut shard, order)| {
            shard.advance(&self.model, &order);
            shard
        });
        Some(lived.collect())
    }

    fn empty_chunk(&mut self) -> Chunk {
        self.spare.pop().unwrap_or_default()
    }

    fn deliver(&mut self, chunk: Chunk) -> bool {
        self.waiting.push_back(chunk);
        true
    }
}

impl Simulation {
    /// Makes the listeners and stands before the first event; on this thread alone.
    pub fn new(settings: Settings) -> Self {
        Self::start(settings, Conduct::default(), None)
    }

    /// Makes the listeners, or takes them over from `state`, and stands before the first event.
    pub fn start(settings: Settings, conduct: Conduct, state: Option<State>) -> Self {
        let model = Arc::new(Model::new(settings));
        let Conduct { num_threads, limits, keeps_state } = conduct;
        let num_threads = num_threads.max(1);
        let (origin, pending) = match state {
            Some(state) => {
                let (origin, pending) = state.restore(num_threads);
                (Some(origin), pending)
            }
            None => (None, Vec::new()),
        };
        let num_sessions = origin.as_ref().map_or(0, |origin| origin.num_sessions);
        let source = if num_threads == 1 {
            let populate = || Origin::start(&model, vec![Shard::populate(&model, 0, 1)]);
            let kernel = Kernel::new(Arc::clone(&model), origin.unwrap_or_else(populate), limits);
            let desk = Desk { model: Arc::clone(&model), waiting: VecDeque::new(), spare: Vec::new() };
            Source::Here(Box::new(Here { kernel, desk, wants_state: false, is_over: false }))
        } else {
            Source::Threads(Pipeline::start(Arc::clone(&model), origin, limits, num_threads, keeps_state))
        };
        let mut chunk = Chunk::default();
        pending.into_iter().for_each(|step| chunk.push(step));
        model.encoder.encode(&model, &mut chunk);
        Self { model, source, keeps_state, chunk, position: 0, num_sessions }
    }

    /// Returns what comes next.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Next<'_> {
        while self.position >= self.chunk.steps().len() {
            match self.refill() {
                Refill::Chunk => {}
                Refill::State(state) => return Next::State(state),
                Refill::Over => return Next::Over,
            }
        }
        self.position += 1;
        match self.chunk.moment(self.position - 1) {
            Some(moment) => {
                self.num_sessions = self.num_sessions.max(moment.session_id);
                Next::Moment(moment)
            }
            None => Next::Over,
        }
    }

    /// Returns the next step with its events; `None` if the run is over.
    pub fn step(&mut self) -> Option<Moment<'_>> {
        while self.position >= self.chunk.steps().len() {
            if let Refill::Over = self.refill() {
                return None;
            }
        }
        match self.next() {
            Next::Moment(moment) => Some(moment),
            Next::State(_) | Next::Over => None,
        }
    }

    /// Takes the last moment back: it comes again, or is part of what [`Self::close`] returns.
    pub fn put_back(&mut self) {
        self.position = self.position.saturating_sub(1);
    }

    /// Asks for a [`Next::State`] soon.
    pub fn want_state(&mut self) {
        match &mut self.source {
            Source::Here(here) => here.wants_state = true,
            Source::Threads(pipeline) => pipeline.want_state(),
        }
    }

    /// Ends the run here; returns what it could be resumed from, if it keeps that.
    pub fn close(&mut self) -> Option<State> {
        let mut pending: Vec<Step> = self.chunk.steps()[self.position..].to_vec();
        if !self.keeps_state {
            return None;
        }
        match &mut self.source {
            Source::Here(here) => {
                here.desk.waiting.iter().for_each(|chunk| pending.extend_from_slice(chunk.steps()));
                let mut state = State::capture(&mut here.kernel);
                state.pending = pending;
                Some(state)
            }
            Source::Threads(pipeline) => pipeline.close(pending),
        }
    }

    fn refill(&mut self) -> Refill {
        self.position = 0;
        let used = std::mem::take(&mut self.chunk);
        match &mut self.source {
            Source::Here(here) => here.refill(&mut self.chunk, used, self.keeps_state),
            Source::Threads(pipeline) => match pipeline.next_delivery() {
                Delivery::Chunk(chunk) => {
                    self.chunk = pipeline.take(&chunk, used);
                    Refill::Chunk
                }
                Delivery::State(state) => Refill::State(state),
                Delivery::Over => Refill::Over,
            },
        }
    }

    /// Returns the number of sessions begun so far.
    pub fn num_sessions(&self) -> u64 {
        self.num_sessions
    }

    /// Returns what the run is made from.
    pub fn settings(&self) -> &Settings {
        &self.model.settings
    }

    /// Returns all of the run that does not change.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

/// What came in the place of a used chunk.
enum Refill {
    Chunk,
    State(Box<State>),
    Over,
}

impl Here {
    fn refill(&mut self, chunk: &mut Chunk, mut used: Chunk, keeps_state: bool) -> Refill {
        used.clear();
        loop {
            if let Some(mut next) = self.desk.waiting.pop_front() {
                // Only one chunk is text at a time.
                next.adopt_memory(&mut used);
                self.desk.spare.push(used);
                let model = &self.desk.model;
                model.encoder.encode(model, &mut next);
                *chunk = next;
                return Refill::Chunk;
            }
            if std::mem::take(&mut self.wants_state) && keeps_state {
                return Refill::State(Box::new(State::capture(&mut self.kernel)));
            }
            if self.is_over {
                return Refill::Over;
            }
            self.is_over = self.kernel.next_slice(&mut self.desk) != Progress::More;
            self.wants_state |= self.is_over;
        }
    }
}

#[cfg(test)]
mod tests;
