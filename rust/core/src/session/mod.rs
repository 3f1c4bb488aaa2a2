//! Sessions: the events of one person without a pause of more than [`GAP_MS`], over all topics and across midnight.
//!
//! # Rules
//!
//! * A person is (run id, user id). An event without a user belongs to the one user that other events of its (run id,
//!   session id) name on its UTC day, the day before or the day after. Where they name none or several, the visitor of
//!   that (run id, session id) is a person of its own. The bound of one day keeps the cost of a late event local.
//! * The order is (event time, session id, item in session); what is equal in all three is ordered by content, so that the
//!   order of arrival never shows.
//! * A pause above [`GAP_MS`] starts a new session.
//! * A song is told twice: as a listen event and as a page view `NextSong` of equal session, item and time. Both, or the
//!   only one that is there, are one event and one listen.
//! * A session is closed once its end plus [`GAP_MS`] is below the watermark: the largest event time consumed so far.
//!
//! # The law
//!
//! For any order of arrival and any split into batches, the table equals a full recompute (but for `_processed_at`). The
//! [`Planner`] computes both: which partitions change, and all their rows. It does no I/O; it asks for days.

mod actor;
mod changes;
mod columns;
mod error;
mod events;
mod pass;
mod people;
mod planner;
mod row;
mod source;
mod table;
mod track;

pub use changes::Changes;
pub use columns::columns;
pub use error::SessionError;
pub use planner::{Options, Outcome, Planner, Step};
pub use source::{Read, Topic};

/// The longest pause within a session, in ms (inclusive).
pub const GAP_MS: i64 = 1_800_000;

/// A map by people, places or texts: looked up for every event, so its hash is a quick one, seeded at random.
type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Length of a UTC day in ms.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Returns the UTC day of an event time (ms since 1970), in days since 1970.
#[must_use]
pub fn day_of(time_ms: i64) -> i32 {
    let day = time_ms.div_euclid(DAY_MS).clamp(i32::MIN.into(), i32::MAX.into());
    i32::try_from(day).unwrap_or_default()
}

/// Returns the first ms of a UTC day.
fn start_of(day: i32) -> i64 {
    i64::from(day) * DAY_MS
}

#[cfg(test)]
mod tests;
