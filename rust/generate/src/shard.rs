//! A part of the listeners, lived forward on one thread.
//!
//! What a shard does depends on its listeners alone: how the population is cut into shards changes nothing in a run. A shard
//! holds living listeners only; the place of one who has gone is given to the next newcomer.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

use crate::{
    arrivals::Arrival,
    model::Model,
    population::Listener,
    step::{SessionRef, Step},
};

/// Some of the listeners.
#[derive(Debug, Default)]
pub struct Shard {
    listeners: Vec<Listener>,
    /// Places in `listeners` that nobody lives in.
    free: Vec<u32>,
    /// (time of the next event, place in `listeners`), the earliest on top.
    agenda: BinaryHeap<Reverse<(i64, u32)>>,
    /// Whose sessions began in the last slice, by the sessions' ordinals.
    begun: Vec<u32>,
    /// The steps of the last slice, listener by listener.
    steps: Vec<Step>,
    /// One per step, ascending; see [`sort_key`].
    keys: Vec<u128>,
}

/// What to do in a slice of time.
#[derive(Debug)]
pub struct Order {
    /// Which shard it is; part of the keys.
    pub shard: u32,
    /// Seconds since 1970; no event is earlier.
    pub from: i64,
    /// Seconds since 1970; events are earlier.
    pub until: i64,
    /// Newcomers of the slice.
    pub arrivals: Vec<Arrival>,
    /// The numbers that the sessions begun in the last slice have got, by ordinal.
    pub numbers: Vec<u64>,
}

/// Returns the key that puts the steps of a slice in order: by time, then listener, then as they happened.
fn sort_key(from: i64, shard: u32, position: usize, step: &Step) -> u128 {
    let since = (step.time - from) as u128;
    since << 96 | u128::from(step.listener) << 64 | (position as u128) << 32 | u128::from(shard)
}

/// Returns the shard and the position in it of the step with a key.
pub fn place_of(key: u128) -> (usize, usize) {
    ((key & 0xffff_ffff) as usize, ((key >> 32) & 0xffff_ffff) as usize)
}

impl Shard {
    /// Makes the initial listeners whose number is `remainder` modulo `modulus`.
    pub fn populate(model: &Model, remainder: u32, modulus: u32) -> Self {
        let mut shard = Self::default();
        let count = model.settings.num_users.saturating_sub(remainder).div_ceil(modulus) as usize;
        shard.listeners.reserve_exact(count);
        shard.agenda.reserve_exact(count);
        let indices = (remainder..model.settings.num_users).step_by(modulus as usize);
        indices.filter_map(|index| Listener::initial(model, index)).for_each(|listener| shard.add(listener));
        shard
    }

    /// Takes a listener in.
    pub fn add(&mut self, listener: Listener) {
        let time = listener.session.time();
        let place = match self.free.pop() {
            Some(place) => {
                self.listeners[place as usize] = listener;
                place
            }
            None => {
                self.listeners.push(listener);
                (self.listeners.len() - 1) as u32
            }
        };
        self.agenda.push(Reverse((time, place)));
    }

    /// Returns the time of the next event.
    pub fn next_time(&self) -> Option<i64> {
        self.agenda.peek().map(|Reverse((time, _))| *time)
    }

    /// Returns the living listeners, in no particular order.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = &Listener> {
        self.agenda.iter().map(|Reverse((_, place))| &self.listeners[*place as usize])
    }

    /// Returns the keys of the last slice's steps, ascending.
    pub fn keys(&self) -> &[u128] {
        &self.keys
    }

    /// Returns the step at a position of the last slice.
    pub fn step(&self, position: usize) -> &Step {
        &self.steps[position]
    }

    /// Returns how many sessions began in the last slice.
    pub fn num_begun(&self) -> usize {
        self.begun.len()
    }

    /// Lives through a slice of time.
    pub fn advance(&mut self, model: &Model, order: &Order) {
        self.number_sessions(&order.numbers);
        for Arrival { index, time } in &order.arrivals {
            if let Some(listener) = Listener::newcomer(model, *index, *time) {
                self.add(listener);
            }
        }
        self.steps.clear();
        self.keys.clear();
        while let Some(mut top) = self.agenda.peek_mut() {
            let Reverse((time, place)) = *top;
            if time >= order.until {
                break;
            }
            let listener = &mut self.listeners[place as usize];
            match live_until(listener, place, model, order, &mut self.steps, &mut self.begun) {
                Some(next) => *top = Reverse((next, place)),
                None => {
                    PeekMut::pop(top);
                    self.free.push(place);
                }
            }
        }
        let steps = self.steps.iter().enumerate();
        self.keys.extend(steps.map(|(position, step)| sort_key(order.from, order.shard, position, step)));
        self.keys.sort_unstable();
    }

    /// Puts the numbers that the merge has given to the sessions of the last slice in the place of their ordinals.
    pub fn number_sessions(&mut self, numbers: &[u64]) {
        for (ordinal, (place, number)) in self.begun.drain(..).zip(numbers).enumerate() {
            let listener = &mut self.listeners[place as usize];
            if listener.session_ref == SessionRef::ordinal(ordinal) {
                listener.session_ref = SessionRef::number(*number);
            }
        }
    }
}

/// Lives one listener's part of a slice; returns the time of the first event after it, `None` if they are gone for good.
fn live_until(
    listener: &mut Listener,
    place: u32,
    model: &Model,
    order: &Order,
    steps: &mut Vec<Step>,
    begun: &mut Vec<u32>,
) -> Option<i64> {
    loop {
        let begins = listener.session_ref.is_none();
        if begins {
            listener.session_ref = SessionRef::ordinal(begun.len());
            begun.push(place);
        }
        steps.push(listener.step(model, begins));
        if !listener.advance(model) {
            return None;
        }
        let time = listener.session.time();
        if time >= order.until {
            return Some(time);
        }
    }
}
