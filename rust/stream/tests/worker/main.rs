//! The worker as a whole, against an in-process Kafka and a lake on disk.
//!
//! One binary for all of them: linking takes longer than running.

mod exactly_once;
mod memory;
mod outages;
mod support;
