//! The worker as a whole, against an in-process Kafka and a lake on disk.
//!
//! One binary for all of them: linking takes longer than running.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod api;
mod exactly_once;
mod group;
mod help;
mod leases;
mod memory;
mod outages;
mod support;
