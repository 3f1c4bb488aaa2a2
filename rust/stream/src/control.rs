//! What the topic writers tell the intake threads: hand over what you hold, or stop.
//!
//! A cut of a topic is asked for by raising its number; each intake thread compares the number with the last one it
//! answered, so nothing is lost if two requests come before it looks. Wakers end a thread's wait for records, so an
//! answer comes at once also on an idle topic.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::kafka::Waker;

/// Shared between intake threads, writers and the run.
pub struct Control {
    stop: AtomicBool,
    cuts: Vec<AtomicU64>,
    hurries: Vec<AtomicUsize>,
    wakers: Mutex<Vec<Waker>>,
    behind: AtomicUsize,
    caught_up: Notify,
}

impl Control {
    /// Returns the control of a run over `num_topics` topics, of which `num_behind` partitions have not reached the end
    /// offset they are to reach.
    pub fn new(num_topics: usize, num_behind: usize) -> Arc<Self> {
        let control = Arc::new(Self {
            stop: AtomicBool::new(false),
            cuts: (0..num_topics).map(|_| AtomicU64::new(0)).collect(),
            hurries: (0..num_topics).map(|_| AtomicUsize::new(0)).collect(),
            wakers: Mutex::default(),
            behind: AtomicUsize::new(num_behind),
            caught_up: Notify::new(),
        });
        if num_behind == 0 {
            control.caught_up.notify_one();
        }
        control
    }

    /// Registers the waker of an intake thread.
    pub fn add_waker(&self, waker: Waker) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    /// Asks all intake threads to hand over what they hold of a topic.
    pub fn request_cut(&self, topic: usize) {
        if let Some(cut) = self.cuts.get(topic) {
            cut.fetch_add(1, Ordering::Release);
        }
        self.wake();
    }

    /// Returns the number of cuts asked for of a topic so far.
    pub fn cut_number(&self, topic: usize) -> u64 {
        self.cuts.get(topic).map_or(0, |cut| cut.load(Ordering::Acquire))
    }

    /// Notes one more, or one less, who waits for the topic's next commits.
    pub fn hurry(&self, topic: usize, more: bool) {
        let Some(waiting) = self.hurries.get(topic) else { return };
        if more {
            waiting.fetch_add(1, Ordering::AcqRel);
        } else {
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Returns whether somebody waits for the topic's next commits.
    pub fn is_in_hurry(&self, topic: usize) -> bool {
        self.hurries.get(topic).is_some_and(|waiting| waiting.load(Ordering::Acquire) > 0)
    }

    /// Asks all intake threads to hand over everything and to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Returns whether the threads were asked to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Says that one more partition has reached its end offset.
    pub fn reached_end(&self) {
        if self.behind.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.caught_up.notify_one();
        }
    }

    /// Waits until all partitions have reached their end offsets.
    pub async fn caught_up(&self) {
        self.caught_up.notified().await;
    }

    fn wake(&self) {
        for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waker.wake();
        }
    }
}
