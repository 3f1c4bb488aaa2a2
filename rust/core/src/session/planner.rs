//! Which partitions of the table of sessions change, and all their rows, as a machine that asks for days.
//!
//! The caller owns all I/O. It calls [`Planner::next_step`] until [`Step::Done`] and does what each step says:
//!
//! ```text
//! Read { day, read }  read those columns of the day's silver rows of every topic; `push` each batch
//! Sessions { day }    read the rows of the day's partition of the table of sessions; `push_sessions` each batch
//! Rows { day, rows }  write these rows to the new content of the day's partition
//! Finish { day }      no more rows for this day; its file can be closed
//! Done(outcome)       replace all `outcome.replaced` partitions and store watermark and day in one commit
//! ```
//!
//! A day without data is no special case: nothing is pushed. In memory are the users of three days (one entry per
//! session of the producer), one pass over one day's events (32 bytes each, at most [`Options::max_events`], about), the
//! sessions of that pass, and the sessions that cross midnight.
//!
//! # Which partitions change
//!
//! 1. The people `A` that changed events touch: their users, and for each of their (run id, session id) every user it is
//!    known with and the visitor, since an event without a user may now be another's.
//! 2. Per person and day the first and the last touched time. Replaced are that day, the day one gap after the last
//!    time (a session may begin there now, or no longer), and the day on which the session before the first time begins:
//!    followed back day by day, since it may have begun long ago.
//! 3. Days with a session that the watermark now closes.
//!
//! In a replaced partition the rows of other people stay; those of `A` are computed anew, reading on until they have ended.

mod back;
mod closing;
mod replace;
mod watch;

use std::collections::{BTreeSet, HashSet};

use arrow::array::RecordBatch;

use self::back::Back;
use self::closing::{Closing, Latest};
use self::replace::Replace;
use self::watch::Watch;
use super::actor::{Actor, Runs, Who};
use super::people::Window;
use super::{Changes, Read, SessionError, Topic};

/// What the caller does next.
#[derive(Debug)]
pub enum Step {
    /// Read the silver rows of all topics on this day.
    Read {
        /// Days since 1970.
        day: i32,
        /// Which columns; see [`Topic::columns`].
        read: Read,
    },
    /// Read the rows of this partition of the table of sessions, all columns.
    Sessions {
        /// Days since 1970.
        day: i32,
    },
    /// Write rows of a partition that is replaced.
    Rows {
        /// Days since 1970.
        day: i32,
        /// Columns of [`columns`](super::columns); rows that stay have the schema they were pushed with.
        rows: RecordBatch,
    },
    /// All rows of a replaced partition were given; there may be none.
    Finish {
        /// Days since 1970.
        day: i32,
    },
    /// Nothing more to do but to commit.
    Done(Outcome),
}

/// What the table's state becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The largest event time consumed, in ms; `None` if there never was an event.
    pub watermark_ms: Option<i64>,
    /// The first day that holds a session that is not closed.
    pub open_from_day: Option<i32>,
    /// The partitions whose content is now exactly the rows that were given.
    pub replaced: BTreeSet<i32>,
}

/// Settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Written as `_processed_at`, µs since 1970.
    pub processed_at_us: i64,
    /// A day with more events of the people concerned is read in several passes, each over a share of the people.
    pub max_events: usize,
}

/// Computes sessions; see the module's documentation.
#[derive(Debug)]
pub struct Planner {
    common: Common,
    phase: Phase,
}

/// What all phases use.
#[derive(Debug)]
struct Common {
    runs: Runs,
    window: Window,
    options: Options,
    watermark_ms: Option<i64>,
    affected: Affected,
    asked: Asked,
}

/// The people whose sessions are computed.
#[derive(Debug)]
enum Affected {
    All,
    Some(HashSet<Actor>),
}

/// What the last step asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// People to stitch by.
    Window(i32),
    /// Events for the phase.
    Events(i32),
    /// Sessions for the phase.
    Sessions(i32),
}

#[derive(Debug)]
enum Phase {
    Latest(Latest),
    Watch(Watch),
    Back(Back),
    Closing(Closing),
    Replace(Box<Replace>),
    Done(Outcome),
}

/// How a phase goes on.
enum Turn {
    Step(Step),
    Phase(Phase),
}

impl Planner {
    /// Begins a full recompute: every person on all `days`, which must be all days with silver rows or sessions.
    ///
    /// `watermark_ms` is the stored one; a later event time is found in the last of the days.
    #[must_use]
    pub fn full(days: BTreeSet<i32>, watermark_ms: Option<i64>, options: Options) -> Self {
        let common = Common::new(Runs::default(), watermark_ms, Affected::All, options);
        Self { common, phase: Phase::Latest(Latest::of(days)) }
    }

    /// Begins an incremental run; `watermark_ms` and `open_from_day` are those of the last [`Outcome`].
    #[must_use]
    pub fn incremental(
        changes: Changes,
        watermark_ms: Option<i64>,
        open_from_day: Option<i32>,
        options: Options,
    ) -> Self {
        let watermark = watermark_ms.max(changes.latest_ms());
        let closing = Closing::of(open_from_day, watermark_ms);
        let common = Common::new(changes.runs, watermark, Affected::Some(HashSet::new()), options);
        Self { common, phase: Phase::Watch(Watch::of(changes.spans, closing)) }
    }

    /// Returns what to do next. After [`Step::Done`] it returns that again.
    ///
    /// # Errors
    /// See [`SessionError`]; the run cannot go on.
    pub fn next_step(&mut self) -> Result<Step, SessionError> {
        loop {
            self.common.asked = Asked::Nothing;
            let turn = match &mut self.phase {
                Phase::Latest(latest) => latest.turn(&mut self.common),
                Phase::Watch(watch) => watch.turn(&mut self.common),
                Phase::Back(back) => back.turn(&mut self.common),
                Phase::Closing(closing) => closing.turn(&mut self.common),
                Phase::Replace(replace) => replace.turn(&mut self.common)?,
                Phase::Done(outcome) => Turn::Step(Step::Done(outcome.clone())),
            };
            match turn {
                Turn::Step(step) => return Ok(step),
                Turn::Phase(phase) => self.phase = phase,
            }
        }
    }

    /// Takes silver rows of the day that the last [`Step::Read`] asked for.
    ///
    /// # Errors
    /// A column that is missing, of another type or null where it must not be; rows of another day; rows not asked for.
    pub fn push(&mut self, topic: Topic, batch: &RecordBatch) -> Result<(), SessionError> {
        let common = &mut self.common;
        match (common.asked, &mut self.phase) {
            (Asked::Window(day), _) => {
                let Common { runs, window, affected, .. } = common;
                window.push(day, batch, runs, |who| affected.may_have(who))
            }
            (Asked::Events(day), Phase::Latest(latest)) => latest.push(day, batch, &mut common.runs),
            (Asked::Events(day), Phase::Watch(watch)) => watch.push(day, batch, &mut common.runs),
            (Asked::Events(day), Phase::Back(back)) => back.push(day, batch, common),
            (Asked::Events(day), Phase::Replace(replace)) => replace.push((day, topic), batch, common),
            _ => Err(SessionError::NotAsked { what: "silver rows" }),
        }
    }

    /// Takes rows of the partition that the last [`Step::Sessions`] asked for.
    ///
    /// # Errors
    /// As for [`Planner::push`].
    pub fn push_sessions(&mut self, batch: &RecordBatch) -> Result<(), SessionError> {
        match (self.common.asked, &mut self.phase) {
            (Asked::Sessions(day), Phase::Closing(closing)) => closing.push(day, batch, &self.common),
            (Asked::Sessions(day), Phase::Replace(replace)) => {
                replace.push_sessions(day, batch, &mut self.common)
            }
            _ => Err(SessionError::NotAsked { what: "sessions" }),
        }
    }
}

impl Common {
    fn new(runs: Runs, watermark_ms: Option<i64>, affected: Affected, options: Options) -> Self {
        let window = Window::default();
        Self { runs, window, options, watermark_ms, affected, asked: Asked::Nothing }
    }

    /// Returns the step that reads people needed to stitch events of `day`, `None` if all are there.
    fn read_people_around(&mut self, day: i32) -> Option<Turn> {
        let day = self.window.missing_for(day)?;
        self.window.begin(day);
        self.asked = Asked::Window(day);
        Some(Turn::Step(Step::Read { day, read: Read::People }))
    }

    fn read(&mut self, day: i32, read: Read) -> Turn {
        self.asked = Asked::Events(day);
        Turn::Step(Step::Read { day, read })
    }

    fn read_sessions(&mut self, day: i32) -> Turn {
        self.asked = Asked::Sessions(day);
        Turn::Step(Step::Sessions { day })
    }

    fn watermark_ms(&self) -> i64 {
        self.watermark_ms.unwrap_or(i64::MIN)
    }
}

impl Affected {
    fn has(&self, actor: Actor) -> bool {
        match self {
            Self::All => true,
            Self::Some(actors) => actors.contains(&actor),
        }
    }

    /// Whether an event may be of an affected person, before it is stitched.
    fn may_have(&self, who: Who) -> bool {
        who.user.is_none_or(|user| self.has(Actor::user(who.run, user)))
    }
}
