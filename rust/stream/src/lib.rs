//! Kafka topics into Iceberg tables, each record exactly once.
//!
//! The way of a record: [`kafka`] hands out batches without a copy; [`intake`] threads decode them ([`buffer`]) and hand
//! over chunks; one [`writer`] per topic fills sorted Parquet files ([`days`]) and closes them when a commit is due
//! ([`schedule`]); one [`committer`] per topic commits dead letters ([`dead_letters`]), then rows with the new offsets.
//! Bytes on the way are bounded by one [`budget`].
//!
//! Around it: [`cli`] and [`settings`]; [`start`] and [`plan`] decide where to begin; [`session`] wires the parts; [`worker`] begins
//! anew after what can heal; [`lease`]s keep a second writer away; [`report`], [`metrics`] and [`live`] tell what was done and how
//! far it is, the last one over [`api`]; [`status`] tells it without a running worker.

pub mod adoption;
pub mod api;
pub mod broker;
pub mod budget;
pub mod buffer;
pub mod cli;
pub mod clock;
pub mod committer;
pub mod control;
pub mod days;
pub mod dead_letters;
pub mod error;
pub mod intake;
pub mod kafka;
pub mod lease;
pub mod live;
pub mod metrics;
pub mod plan;
pub mod replay;
pub mod report;
pub mod schedule;
pub mod session;
pub mod settings;
pub mod skips;
pub mod start;
pub mod status;
pub mod summary;
pub mod wait;
pub mod watch;
pub mod worker;
pub mod writer;
