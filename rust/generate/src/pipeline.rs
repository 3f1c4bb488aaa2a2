//! A kernel on several threads: one that merges, and as many as asked for that live and encode.
//!
//! The thread that reads gets chunks in order; it waits for the next one while later ones are in the making. What is made
//! ahead is bounded. A thread that dies takes the run down with it: its panic is passed on to the reader.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::{
    checkpoint::State,
    event::Chunk,
    kernel::{Crew, Kernel, Limits, Origin, Progress},
    model::Model,
    shard::{Order, Shard},
    step::Step,
};

/// Chunks made ahead, per thread: enough to keep the reader busy, few enough for what is on its way to stay in the cache that the
/// cores share (16 cost a tenth more processor time).
const AHEAD: usize = 4;
/// The same where the reader waits for the clock, so that a state that is asked for comes soon.
const AHEAD_PACED: usize = 2;

type Task = Box<dyn FnOnce() + Send>;

/// What the reader gets.
pub enum Delivery {
    /// The next chunk, once it is encoded.
    Chunk(Receiver<Chunk>),
    /// The state behind all chunks so far.
    State(Box<State>),
    /// There is no more.
    Over,
}

/// What the reader wants from the thread that merges.
#[derive(Debug, Default)]
struct Wishes {
    /// Whether states are wanted at all.
    keeps_state: bool,
    state: AtomicBool,
    close: AtomicBool,
}

/// A run on several threads.
#[derive(Debug)]
pub struct Pipeline {
    /// `None` once it is closed.
    deliveries: Option<Receiver<Delivery>>,
    spare: Sender<Chunk>,
    wishes: Arc<Wishes>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts `num_threads` workers and the thread that merges.
    pub fn start(
        model: Arc<Model>,
        origin: Option<Origin>,
        limits: Limits,
        num_threads: usize,
        keeps_state: bool,
    ) -> Self {
        let ahead = if limits.is_paced() { AHEAD_PACED } else { AHEAD };
        let (task_tx, task_rx) = unbounded::<Task>();
        let (delivery_tx, delivery_rx) = bounded(ahead * num_threads);
        let (spare_tx, spare_rx) = unbounded();
        let wishes = Arc::new(Wishes { keeps_state, ..Wishes::default() });
        let mut threads: Vec<JoinHandle<()>> = (0..num_threads)
            .map(|_| {
                let tasks = task_rx.clone();
                thread::spawn(move || tasks.iter().for_each(|task| task()))
            })
            .collect();
        let mut crew =
            Pool { model: Arc::clone(&model), tasks: task_tx, deliveries: delivery_tx, spare: spare_rx };
        let theirs = Arc::clone(&wishes);
        threads.push(thread::spawn(move || {
            let populated = origin.or_else(|| crew.populate(num_threads as u32));
            if let Some(origin) = populated {
                merge_all(Kernel::new(model, origin, limits), &mut crew, &theirs);
            }
        }));
        Self { deliveries: Some(delivery_rx), spare: spare_tx, wishes, threads }
    }

    /// Returns what comes next, waiting for it.
    pub fn next_delivery(&mut self) -> Delivery {
        let next = self.deliveries.as_ref().and_then(|deliveries| deliveries.recv().ok());
        next.unwrap_or_else(|| self.pass_on_panic())
    }

    /// Waits for a chunk and hands `used` back.
    pub fn take(&mut self, chunk: &Receiver<Chunk>, mut used: Chunk) -> Chunk {
        used.clear();
        // Nobody needs it once the run is over.
        let _ = self.spare.send(used);
        match chunk.recv() {
            Ok(chunk) => chunk,
            Err(_) => {
                self.pass_on_panic();
                Chunk::default()
            }
        }
    }

    /// Asks for the state at the end of the slice in the making.
    pub fn want_state(&self) {
        self.wishes.state.store(true, Ordering::Relaxed);
    }

    /// Ends the run after the slice in the making; returns the state behind it, with the steps that nobody has taken, which come
    /// after `pending`.
    pub fn close(&mut self, mut pending: Vec<Step>) -> Option<State> {
        self.wishes.close.store(true, Ordering::Relaxed);
        let mut last = None;
        loop {
            match self.next_delivery() {
                Delivery::Chunk(chunk) => {
                    let chunk = self.take(&chunk, Chunk::default());
                    pending.extend_from_slice(chunk.steps());
                }
                Delivery::State(state) => last = Some(state),
                Delivery::Over => break,
            }
        }
        let mut state = *last?;
        state.pending = pending;
        Some(state)
    }

    /// Ends all threads; if one has panicked, so does this one.
    fn pass_on_panic(&mut self) -> Delivery {
        self.deliveries = None;
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
        Delivery::Over
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // The threads end when nobody takes their chunks.
        self.deliveries = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn merge_all(mut kernel: Kernel, crew: &mut Pool, wishes: &Wishes) {
    loop {
        let progress = kernel.next_slice(crew);
        let is_over = progress == Progress::Over || wishes.close.load(Ordering::Relaxed);
        if progress == Progress::Abandoned {
            return;
        }
        if wishes.keeps_state && (is_over || wishes.state.swap(false, Ordering::Relaxed)) {
            let state = Box::new(State::capture(&mut kernel));
            if crew.deliveries.send(Delivery::State(state)).is_err() {
                return;
            }
        }
        if is_over {
            let _ = crew.deliveries.send(Delivery::Over);
            return;
        }
    }
}

/// The workers, as the thread that merges sees them.
struct Pool {
    model: Arc<Model>,
    tasks: Sender<Task>,
    deliveries: Sender<Delivery>,
    spare: Receiver<Chunk>,
}

impl Pool {
    /// Has a worker do something; the result comes through the channel, which is closed empty if the worker dies.
    fn ask<T: Send + 'static>(&self, work: impl FnOnce(&Model) -> T + Send + 'static) -> Receiver<T> {
        let (result_tx, result_rx) = bounded(1);
        let model = Arc::clone(&self.model);
        let task = Box::new(move || {
            let _ = result_tx.send(work(&model));
        });
        // Refused only if all workers are dead; the channel then closes.
        let _ = self.tasks.send(task);
        result_rx
    }

    fn populate(&self, num_shards: u32) -> Option<Origin> {
        let asked: Vec<_> = (0..num_shards)
            .map(|shard| self.ask(move |model| Shard::populate(model, shard, num_shards)))
            .collect();
        let shards: Option<Vec<Shard>> = asked.iter().map(|shard| shard.recv().ok()).collect();
        Some(Origin::start(&self.model, shards?))
    }
}

impl Crew for Pool {
    fn advance(&mut self, work: Vec<(Shard, Order)>) -> Option<Vec<Shard>> {
        let asked: Vec<_> = work
            .into_iter()
            .map(|(mut shard, order)| {
                self.ask(move |model| {
                    shard.advance(model, &order);
                    shard
                })
            })
            .collect();
        asked.iter().map(|shard| shard.recv().ok()).collect()
    }

    fn empty_chunk(&mut self) -> Chunk {
        self.spare.try_recv().unwrap_or_default()
    }

    fn deliver(&mut self, mut chunk: Chunk) -> bool {
        let encoded = self.ask(move |model| {
            model.encoder.encode(model, &mut chunk);
            chunk
        });
        self.deliveries.send(Delivery::Chunk(encoded)).is_ok()
    }
}
