//! `tracing` events as log messages in Dagster.
//!
//! An event becomes `message key=value …`. Each message is a row in Dagster's event log, so there is a limit per second; what is
//! over it is counted, and the count is sent before the next message that passes, or before `closed`. Errors may use the whole allowance, other levels four
//! fifths of it.
//!
//! Events of the writer's own thread are left out: a failing channel must not report itself into itself.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::message::Level;
use crate::session::PipesHandle;

/// Messages per second, on average.
const DEFAULT_RATE: u32 = 10;
/// So many seconds' worth may come at once.
const BURST_SECONDS: f64 = 10.0;
/// The part of the allowance that only errors may use.
const RESERVED: f64 = 0.2;

thread_local! {
    static MUTED: Cell<bool> = const { Cell::new(false) };
}

/// Leaves out the events of this thread from now on.
pub(crate) fn mute_this_thread() {
    MUTED.set(true);
}

/// A layer that sends events to Dagster. Made by [`PipesHandle::layer`].
#[derive(Debug)]
pub struct PipesLayer {
    handle: PipesHandle,
    max_level: LevelFilter,
    started: Instant,
    limiter: Mutex<Limiter>,
}

impl PipesLayer {
    pub(crate) fn new(handle: PipesHandle) -> Self {
        let limiter = Mutex::new(Limiter::new(DEFAULT_RATE));
        Self { handle, max_level: LevelFilter::INFO, started: Instant::now(), limiter }
    }

    /// Sends events up to this level; the default is info.
    #[must_use]
    pub fn with_max_level(mut self, max_level: LevelFilter) -> Self {
        self.max_level = max_level;
        self
    }

    /// Sends so many messages per second on average; the default is 10, ten seconds' worth at once.
    #[must_use]
    pub fn with_rate(mut self, messages_per_second: u32) -> Self {
        self.limiter = Mutex::new(Limiter::new(messages_per_second));
        self
    }
}

impl<S: Subscriber> Layer<S> for PipesLayer {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > self.max_level || MUTED.get() {
            return;
        }
        let level = Level::from(level);
        let now = self.started.elapsed().as_secs_f64();
        let verdict = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).ask(level, now);
        if verdict == Verdict::Suppress {
            self.handle.note_suppressed();
            return;
        }
        self.handle.tell_suppressed();
        let mut rendered = Rendered::default();
        event.record(&mut rendered);
        self.handle.log(level, &rendered.finish());
    }
}

/// A token bucket. Times are seconds since its start.
#[derive(Debug)]
struct Limiter {
    rate: f64,
    tokens: f64,
    last: f64,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Suppress,
}

impl Limiter {
    fn new(messages_per_second: u32) -> Self {
        let rate = f64::from(messages_per_second.max(1));
        Self { rate, tokens: rate * BURST_SECONDS, last: 0.0 }
    }

    fn ask(&mut self, level: Level, now: f64) -> Verdict {
        let capacity = self.rate * BURST_SECONDS;
        self.tokens = (self.tokens + (now - self.last).max(0.0) * self.rate).min(capacity);
        self.last = self.last.max(now);
        let floor = if level >= Level::Error { 0.0 } else { capacity * RESERVED };
        if self.tokens - 1.0 < floor {
            return Verdict::Suppress;
        }
        self.tokens -= 1.0;
        Verdict::Pass
    }
}

/// Collects an event's message and fields.
#[derive(Debug, Default)]
struct Rendered {
    message: String,
    fields: String,
}

impl Rendered {
    fn finish(self) -> String {
        format!("{}{}", self.message, self.fields).trim_start().to_owned()
    }
}

/// Events that come from the `log` crate carry their origin in such fields.
fn is_of_the_log_bridge(field: &Field) -> bool {
    field.name().starts_with("log.")
}

impl Visit for Rendered {
    fn record_str(&mut self, field: &Field, value: &str) {
        if is_of_the_log_bridge(field) {
            return;
        }
        if field.name() == "message" {
            self.message.push_str(value);
        } else if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=') {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        } else {
            let _ = write!(self.fields, " {}={value}", field.name());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if is_of_the_log_bridge(field) {
            return;
        }
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_limit_only_errors_pass_and_time_gives_the_allowance_back() {
        let mut limiter = Limiter::new(1);

        for _ in 0..8 {
            assert_eq!(limiter.ask(Level::Info, 0.0), Verdict::Pass);
        }
        assert_eq!(limiter.ask(Level::Info, 0.0), Verdict::Suppress);
        assert_eq!(limiter.ask(Level::Warning, 0.5), Verdict::Suppress);
        assert_eq!(limiter.ask(Level::Error, 0.5), Verdict::Pass);
        assert_eq!(limiter.ask(Level::Error, 0.5), Verdict::Pass);
        assert_eq!(limiter.ask(Level::Error, 0.5), Verdict::Suppress);
        assert_eq!(limiter.ask(Level::Info, 100.0), Verdict::Pass);
    }
}
