//! What Streamify knows without touching the outside world: contracts, decoding, identity, sorting, and the arithmetic of exactly-once.
//!
//! No I/O and no async code: everything here is a function of its input, and that is how it is tested.

pub mod contract;
pub mod dead_letter;
pub mod decode;
pub mod identity;
pub mod lease;
pub mod ledger;
pub mod replay;
pub mod session;
pub mod silver;
pub mod sort;
pub mod state;

pub use contract::{
    Column, ColumnType, Contract, ContractError, EventTime, Field, FieldKind, Identity, PartitionTransform,
    Split, builtin, load_dir,
};
pub use decode::{DecodeOptions, Decoder, Reason, Record, Rejection};
pub use silver::{SilverError, SilverPlan};
pub use sort::{PartitionKey, order_of, sort_batch, split_by_partition};
