//! The wall clock, in the units the tables use.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time since 1970 in microseconds.
pub fn now_us() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
