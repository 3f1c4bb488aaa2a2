//! Faults on request: a stage between the stream of events and the sink that makes the stream as dirty as real ones are.
//!
//! What it guarantees:
//! * The same seed, run and plan give the same deliveries, and which records a case hits does not depend on the other cases.
//! * A run with faults is the run without them plus exactly the listed differences: every event of the run is delivered once
//!   as an event (in another form or later where a listed fault says so), and everything else is listed.
//! * An event is altered by one case at most, the first in the order of the catalogue. A second delivery has the bytes of the
//!   first; whatever else is added beside an event is made from the event as it was.
//! * It holds late events and second deliveries only.
//!
//! It knows nothing of how events are made: it sees records in order, and yields records in order.

mod damage;
pub mod edit;
mod held;
pub mod identity;
mod inject;
pub mod kinds;
pub mod list;
pub mod plan;
mod queue;
mod twin;

use self::{
    identity::{EventFacts, FactReader},
    inject::plain,
    kinds::{Fate, Kind, Variant},
    plan::{Plan, Wanted},
    queue::Queue,
};
pub use held::Held;
pub use twin::Twin;

use crate::{
    event::Topic,
    rng::{Dice, Purpose},
};

/// A late event comes between these many milliseconds of event time after its place; the logarithm is uniform.
const LATE_MS: (f64, f64) = (60_000.0, 26.0 * 3_600_000.0);

/// A record on its way to the sink.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// Its topic.
    pub topic: Topic,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// JSON and a newline.
    pub value: &'a [u8],
    /// Event time, milliseconds since 1970; never before that of the record passed before.
    pub ts_ms: i64,
    /// Number of the session in the run.
    pub session_id: u64,
}

/// What a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one delivery of an event of the run.
    Event,
    /// A second delivery, byte for byte.
    Copy,
    /// Anything else that faults bring.
    Extra,
}

/// A record as it is delivered.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Where to.
    pub topic: Topic,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The run it is told by; `None` is the run itself.
    pub run_id: Option<&'a str>,
    /// What it is.
    pub role: Role,
    /// The faults it carries; none for most.
    pub faults: &'a [Fault],
}

/// A fault that happened.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The case.
    pub kind: &'static Kind,
    /// The way.
    pub variant: &'static Variant,
    /// The event of the run that it happened to.
    pub event: EventFacts,
    /// Its id.
    pub event_id: String,
    /// The id of the row that the delivery must become; `None` for a dead letter.
    pub row_id: Option<String>,
    /// More about it, such as a delay.
    pub detail: Option<String>,
}

/// The stage.
#[derive(Debug)]
pub struct Stage {
    armed: Vec<Armed>,
    reader: FactReader,
    run_id: String,
    drift_at_ms: i64,
    num_passed: u64,
    late: Queue,
    copies: Queue,
}

#[derive(Debug)]
struct Armed {
    wanted: Wanted,
    /// Decides who is hit.
    dice: Dice,
    /// Decides the details.
    details: Dice,
    twin: Twin,
}

/// What hits a record.
#[derive(Clone, Copy)]
struct Hit {
    armed: usize,
    variant: &'static Variant,
}

impl Stage {
    /// Makes the stage of a run.
    pub fn new(plan: &Plan, seed: u64, run_id: &str) -> Self {
        let armed = plan.wanted.iter().map(|wanted| {
            let number: u64 = wanted.kind.id[1..].parse().unwrap_or_default();
            Armed {
                wanted: wanted.clone(),
                dice: Dice::new(seed, Purpose::Faults, 2 * number),
                details: Dice::new(seed, Purpose::Faults, 2 * number + 1),
                twin: Twin::of(run_id, wanted.kind.id),
            }
        });
        Self {
            armed: armed.collect(),
            reader: FactReader::new(),
            run_id: run_id.to_owned(),
            drift_at_ms: plan.drift_at_ms,
            num_passed: 0,
            late: Queue::default(),
            copies: Queue::default(),
        }
    }

    /// Makes the stage of a run that goes on from a cut.
    pub fn resume(plan: &Plan, seed: u64, run_id: &str, held: Held) -> Self {
        let (num_passed, late, copies) = held.restore();
        Self { num_passed, late, copies, ..Self::new(plan, seed, run_id) }
    }

    /// Returns what the stage goes on from after a cut.
    pub fn held(&self) -> Held {
        Held::of(self.num_passed, &self.late, &self.copies)
    }

    /// Returns the number of records passed.
    pub fn num_passed(&self) -> u64 {
        self.num_passed
    }

    /// Forgets the records from number `first` on: they will come again.
    pub fn rewind(&mut self, first: u64) {
        self.num_passed = first;
        self.late.forget_from(first);
        self.copies.forget_from(first);
    }

    /// Passes a record on, with what comes before, instead of and after it.
    ///
    /// # Errors
    /// The first of `deliver`; the rest of what was due is then not delivered.
    pub fn pass<E>(
        &mut self,
        record: &Passing<'_>,
        deliver: &mut dyn FnMut(&Delivery<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let number = self.num_passed;
        self.num_passed += 1;
        while let Some(late) = self.late.pop_due(record.ts_ms) {
            deliver(&late.delivery())?;
        }
        let mut hits = self.hits(record, number).peekable();
        if hits.peek().is_none() {
            drop(hits);
            deliver(&plain(record))?;
        } else {
            let hits: Vec<Hit> = hits.collect();
            self.pass_hit(record, number, &hits, deliver)?;
        }
        while let Some(copy) = self.copies.pop_due(self.num_passed.cast_signed()) {
            deliver(&copy.delivery())?;
        }
        Ok(())
    }

    /// Delivers all that still waits; the stream is over.
    ///
    /// # Errors
    /// The first of `deliver`.
    pub fn finish<E>(&mut self, deliver: &mut dyn FnMut(&Delivery<'_>) -> Result<(), E>) -> Result<(), E> {
        while let Some(late) = self.late.pop_due(i64::MAX) {
            deliver(&late.delivery())?;
        }
        while let Some(copy) = self.copies.pop_due(i64::MAX) {
            deliver(&copy.delivery())?;
        }
        Ok(())
    }

    /// Returns the second runs that tell a session too.
    pub fn twins(&self, session_id: u64) -> impl Iterator<Item = &Twin> {
        let told = move |armed: &&Armed| {
            armed.is_by_session()
                && armed.hit(session_id).is_some_and(|variant| variant.fate == Fate::OtherRow)
        };
        self.armed.iter().filter(told).map(|armed| &armed.twin)
    }

    fn hits<'a>(&'a self, record: &'a Passing<'_>, number: u64) -> impl Iterator<Item = Hit> + 'a {
        self.armed.iter().enumerate().filter_map(move |(index, armed)| {
            let place = if armed.is_by_session() { record.session_id } else { number };
            armed.hit(place).map(|variant| Hit { armed: index, variant })
        })
    }
}

impl Armed {
    /// Whether the case takes whole sessions.
    fn is_by_session(&self) -> bool {
        matches!(self.wanted.kind.id, "D3" | "D4")
    }

    fn hit(&self, place: u64) -> Option<&'static Variant> {
        self.wanted.draw(self.dice.unit(place))
    }

    fn delay_ms(&self, number: u64) -> i64 {
        let (least, most) = LATE_MS;
        (least * (most / least).powf(self.details.unit(number))) as i64
    }
}

impl queue::Waiting {
    fn delivery(&self) -> Delivery<'_> {
        let (key, value) = (self.key.as_deref(), Some(&self.value[..]));
        Delivery { topic: self.topic, key, value, run_id: None, role: self.role, faults: &self.faults }
    }
}

#[cfg(test)]
mod tests;
