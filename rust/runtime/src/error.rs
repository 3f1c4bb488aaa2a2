//! What can go wrong while a process is set up.

use std::io;
use std::net::SocketAddr;

/// A failure to set up the frame of a process.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The thread that waits for signals could not be started, or a handler could not be registered.
    #[error("failed to listen for SIGINT and SIGTERM")]
    SignalHandler(#[source] io::Error),
    /// The log filter is not one.
    #[error("invalid `STREAMIFY_LOG`: `{filter}` is not a log filter (expected e.g. `info,rdkafka=debug`)")]
    LogFilter {
        /// The text that was given.
        filter: String,
        /// What the parser says of it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was already set up in this process.
    #[error("failed to set up logging: a subscriber is already installed")]
    SubscriberInstalled(#[source] tracing_subscriber::util::TryInitError),
    /// The metrics endpoint has no such address or the port is taken.
    #[error("failed to listen on `{address}` for metrics")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The metrics endpoint stopped by itself.
    #[error("metrics endpoint stopped")]
    Serve(#[source] io::Error),
}

impl RuntimeError {
    /// Returns whether the same call may succeed a moment later: only a taken port may.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}
