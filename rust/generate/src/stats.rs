//! Statistics of a stream: what `streamify-generate stats` prints, beside what is known of real streams.
//!
//! [`input`] reads files or topics and hands each record to a [`Survey`]; [`Survey::measures`] turns what was seen into numbers,
//! [`reference`] has the values they are held against, and [`report`] the verdicts. Records are told apart by their fields, not
//! by where they stand, so any output of Eventsim will do, the single stream of its first version included.
//!
//! One pass; memory grows with sessions (about 120 bytes each), users and active user-days, not with records. Page views of a
//! session may come in any order; second deliveries of a page view count once.

mod distribution;
pub mod input;
mod line;
mod measures;
pub mod reference;
pub mod report;
mod sessions;
mod survey;

pub use distribution::Distribution;
pub use line::{Auth, Level, Line, PageView, Unreadable};
pub use measures::Measures;
pub use survey::{Survey, Tally};
