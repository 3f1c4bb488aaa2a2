//! Replay: records that are in Kafka or among the dead letters already are decoded again, and land under their original offsets.
//!
//! * [`dead_letters`] takes what could not be decoded then and can be now.
//! * [`swap`] puts the rows of a staging table, which the stream worker filled anew from Kafka, in the place of a range of the
//!   target's.
//!
//! Both can be killed at any moment and run again: what they look at to decide is what is in the tables.

pub mod dead_letters;
mod places;
pub mod swap;
