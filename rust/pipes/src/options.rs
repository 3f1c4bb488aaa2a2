//! What a program may choose about its session.

use std::time::Duration;

use serde_json::{Map, Value};

/// Settings of a session; the defaults suit a worker launched by stock Dagster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of messages that may wait for the channel; as many again may be on their way. Default 4 MiB.
    pub max_buffer_bytes: usize,
    /// How long a close may take. Default 8 s: the K8s and ECS readers stop about 11 s after the stop signal.
    pub close_deadline: Duration,
    /// Least time between two S3 chunks, unless the reader announces another. Default 15 s: the stock reader takes one chunk
    /// per 11 to 12 s.
    pub chunk_interval: Duration,
    /// Extras of the `opened` message, handed to the reader's `on_opened`.
    pub opened_extras: Map<String, Value>,
    /// S3 settings instead of those of the environment.
    pub s3: Option<aws_sdk_s3::Config>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_buffer_bytes: 4 << 20,
            close_deadline: Duration::from_secs(8),
            chunk_interval: Duration::from_secs(15),
            opened_extras: Map::new(),
            s3: None,
        }
    }
}
