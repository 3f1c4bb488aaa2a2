//! Load for Streamify: events of a music service as the public generator Eventsim would make them, and a broker to put them in.
//!
//! * [`profile`], [`machine`], [`clock`], [`holidays`], [`session`], [`population`], [`arrivals`], [`catalogue`]: the model. No
//!   output, no wall clock; everything follows from a seed.
//! * [`shard`], [`kernel`], [`pipeline`]: all listeners lived forward in slices of time, on any number of threads, and merged;
//!   [`step`] is what they pass on, [`event`] makes JSON of it, [`simulation`] is the whole as one reads it.
//! * [`faults`]: dirt on request, between the events and the sink.
//! * [`run`]: the loop with pace ([`pace`]), limits and counts; [`checkpoint`]: its state in a file; [`sink`]: files and Kafka;
//!   [`outlet`]: the way there; [`truth`]: what really happened.
//! * [`broker`]: the embedded broker.
//! * [`stats`]: what a stream looks like beside real ones.
//!
//! The same settings give the same bytes, with any number of threads, on every machine with the same floating-point functions.

pub mod arrivals;
pub mod broker;
pub mod catalogue;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod dimensions;
pub mod event;
pub mod faults;
pub mod holidays;
pub mod kernel;
pub mod machine;
pub mod model;
pub mod outlet;
pub mod pace;
pub mod pipeline;
pub mod population;
pub mod process;
pub mod profile;
pub mod rng;
pub mod run;
pub mod session;
pub mod shard;
pub mod simulation;
pub mod sink;
pub mod stats;
pub mod step;
pub mod truth;
