//! All listeners' lives, merged by time, slice by slice.
//!
//! Time is cut into slices so short that the steps of one fit into memory. In a slice the shards live their listeners forward,
//! each on a thread of its own; then the steps are merged by (time, listener) and sessions numbered in the order of their
//! first steps. Neither the number of shards nor the length of the slices changes the result. Memory grows with the living
//! listeners, not with the window.

use std::sync::Arc;

use crate::{
    arrivals::Arrivals,
    event::Chunk,
    model::Model,
    pace::{Pace, WallClock},
    shard::{Order, Shard, place_of},
    step::{SessionRef, Step},
};

/// Steps of a chunk: half a megabyte of events, which stays in a core's cache.
const CHUNK_STEPS: usize = 512;
/// Steps that a slice aims at.
const SLICE_STEPS: usize = 65_536;
/// A slice is never longer, in seconds: sort keys hold 32 bits of them.
const MAX_SPAN: i64 = 30 * 86_400;

/// The hands that do a kernel's work.
pub trait Crew {
    /// Has each shard carry out its order; returns them in the same order, `None` if the crew is lost.
    fn advance(&mut self, work: Vec<(Shard, Order)>) -> Option<Vec<Shard>>;

    /// Returns an empty chunk.
    fn empty_chunk(&mut self) -> Chunk;

    /// Takes a chunk of steps to encode and hand on, after all before it; false if nobody wants it.
    fn deliver(&mut self, chunk: Chunk) -> bool;
}

/// How long slices may be beside their usual limit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most steps that a slice aims at.
    pub max_steps: usize,
    /// Most seconds.
    pub max_span: i64,
    /// With a clock, slices are a second long once they reach into its future.
    pub clock: Option<WallClock>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_steps: SLICE_STEPS, max_span: MAX_SPAN, clock: None }
    }
}

impl Limits {
    /// Returns the limits of a run at some pace: what is waited for is not made long before.
    pub fn of(pace: Pace, max_eps: Option<f64>, clock: &WallClock) -> Self {
        let usual = Self::default();
        let max_steps = max_eps.map_or(usual.max_steps, |eps| (eps as usize).clamp(1, usual.max_steps));
        match pace {
            Pace::Fastest => Self { max_steps, ..usual },
            Pace::Compressed(speed) => {
                Self { max_steps, max_span: (speed.ceil() as i64).clamp(1, usual.max_span), ..usual }
            }
            Pace::Live => Self { max_steps, clock: Some(clock.clone()), ..usual },
        }
    }

    /// Returns whether there may be something to wait for.
    pub fn is_paced(&self) -> bool {
        self.clock.is_some() || self.max_span < MAX_SPAN || self.max_steps < SLICE_STEPS
    }
}

/// How a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// The window is over, or all listeners are gone.
    Over,
    /// The crew is lost, or nobody wants the events.
    Abandoned,
}

/// A run in progress, before its steps are text.
#[derive(Debug)]
pub struct Kernel {
    model: Arc<Model>,
    shards: Vec<Shard>,
    /// For each shard, the numbers of the sessions begun in the last slice.
    numbers: Vec<Vec<u64>>,
    arrivals: Arrivals,
    num_sessions: u64,
    span: i64,
    limits: Limits,
    keys: Vec<u128>,
}

/// What a run goes on from.
#[derive(Debug)]
pub struct Origin {
    /// The listeners.
    pub shards: Vec<Shard>,
    /// Those to come.
    pub arrivals: Arrivals,
    /// Sessions numbered so far.
    pub num_sessions: u64,
}

impl Origin {
    /// Stands at the start of a run with these listeners.
    pub fn start(model: &Model, shards: Vec<Shard>) -> Self {
        Self { shards, arrivals: Arrivals::new(model), num_sessions: 0 }
    }
}

impl Kernel {
    /// Goes on from `origin`.
    pub fn new(model: Arc<Model>, origin: Origin, limits: Limits) -> Self {
        let Origin { shards, arrivals, num_sessions } = origin;
        let numbers = vec![Vec::new(); shards.len()];
        Self { model, shards, numbers, arrivals, num_sessions, span: 1, limits, keys: Vec::new() }
    }

    /// Returns what another kernel could go on from; what was delivered is not part of it.
    pub fn settle(&mut self) -> (&[Shard], &Arrivals, u64) {
        for (shard, numbers) in self.shards.iter_mut().zip(&mut self.numbers) {
            shard.number_sessions(numbers);
            numbers.clear();
        }
        (&self.shards, &self.arrivals, self.num_sessions)
    }

    /// Lives through the next slice that has steps.
    pub fn next_slice(&mut self, crew: &mut dyn Crew) -> Progress {
        let Some((from, until)) = self.next_window() else { return Progress::Over };
        let mut orders = self.orders(from, until);
        let work = self.shards.drain(..).zip(orders.drain(..)).collect();
        let Some(shards) = crew.advance(work) else { return Progress::Abandoned };
        self.shards = shards;
        self.adapt_span(until - from);
        if self.merge(crew) { Progress::More } else { Progress::Abandoned }
    }

    /// Returns the bounds of the next slice; `None` at the end.
    fn next_window(&self) -> Option<(i64, i64)> {
        let arrival = self.arrivals.peek(&self.model).map(|arrival| arrival.time);
        let from = self.shards.iter().filter_map(Shard::next_time).chain(arrival).min()?;
        if from >= self.model.end {
            return None;
        }
        let mut span = self.span.min(self.limits.max_span);
        if let Some(clock) = &self.limits.clock {
            span = span.min(clock.now_ms().div_euclid(1000) - from);
        }
        Some((from, from.saturating_add(span.max(1)).min(self.model.end)))
    }

    fn orders(&mut self, from: i64, until: i64) -> Vec<Order> {
        let count = self.shards.len();
        let mut orders: Vec<Order> = (0..count)
            .map(|shard| Order {
                shard: shard as u32,
                from,
                until,
                arrivals: Vec::new(),
                numbers: std::mem::take(&mut self.numbers[shard]),
            })
            .collect();
        for arrival in self.arrivals.take_until(until, &self.model) {
            orders[arrival.index as usize % count].arrivals.push(arrival);
        }
        orders
    }

    /// Makes the next slice longer or shorter than this one was, by what this one held.
    fn adapt_span(&mut self, span: i64) {
        let num_steps: usize = self.shards.iter().map(|shard| shard.keys().len()).sum();
        let wanted = span as f64 * self.limits.max_steps as f64 / num_steps.max(1) as f64;
        self.span = (wanted as i64).clamp(span / 4, span * 2).clamp(1, MAX_SPAN);
    }

    /// Puts the shards' steps in order, numbers the sessions, and delivers; false if nobody wants it.
    fn merge(&mut self, crew: &mut dyn Crew) -> bool {
        self.keys.clear();
        for (shard, numbers) in self.shards.iter().zip(&mut self.numbers) {
            self.keys.extend_from_slice(shard.keys());
            numbers.clear();
            numbers.resize(shard.num_begun(), 0);
        }
        // One ascending run per shard, which this sort finds and merges.
        if self.shards.len() > 1 {
            self.keys.sort();
        }
        for keys in self.keys.chunks(CHUNK_STEPS) {
            let mut chunk = crew.empty_chunk();
            for key in keys {
                let (shard, position) = place_of(*key);
                let mut step: Step = *self.shards[shard].step(position);
                if let Some(ordinal) = step.session.as_ordinal() {
                    let number = &mut self.numbers[shard][ordinal];
                    if step.begins_session {
                        self.num_sessions += 1;
                        *number = self.num_sessions;
                    }
                    step.session = SessionRef::number(*number);
                }
                chunk.push(step);
            }
            if !crew.deliver(chunk) {
                return false;
            }
        }
        true
    }
}
