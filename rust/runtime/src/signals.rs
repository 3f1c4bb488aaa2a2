//! Signals become a token.
//!
//! The first SIGINT or SIGTERM cancels the token; the second one, of either kind, ends the process at once with
//! 128 + its number. Signals are awaited on a thread of their own, so a blocked main runtime cannot swallow them.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::RuntimeError;
use crate::exit::exit_now;

/// Starts listening for SIGINT and SIGTERM and returns the token that the first of them cancels.
///
/// When this returns the handlers are in place: no later signal kills the process by default any more. The token may be
/// cancelled by others as well (a task that ended); the first signal then still only asks, the second one ends.
///
/// # Errors
/// [`RuntimeError::SignalHandler`] if the thread or the handlers could not be set up.
pub fn shutdown_token() -> Result<CancellationToken, RuntimeError> {
    let token = CancellationToken::new();
    let cancelled_by_signal = token.clone();
    let (ready_tx, ready_rx) = mpsc::channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || listen(&cancelled_by_signal, &ready_tx))
        .map_err(RuntimeError::SignalHandler)?;
    match ready_rx.recv() {
        Ok(Ok(())) => Ok(token),
        Ok(Err(error)) => Err(RuntimeError::SignalHandler(error)),
        Err(_) => Err(RuntimeError::SignalHandler(io::Error::other("signal thread ended"))),
    }
}

fn listen(token: &CancellationToken, ready_tx: &mpsc::Sender<io::Result<()>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready_tx.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let handlers = signal(SignalKind::interrupt())
            .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
        let (mut interrupt, mut terminate) = match handlers {
            Ok(handlers) => handlers,
            Err(error) => {
                let _ = ready_tx.send(Err(error));
                return;
            }
        };
        let _ = ready_tx.send(Ok(()));

        let (name, _) = next(&mut interrupt, &mut terminate).await;
        info!(signal = name, "shutting down; a second signal ends the process at once");
        token.cancel();

        let (name, status) = next(&mut interrupt, &mut terminate).await;
        warn!(signal = name, "second signal: ending at once");
        exit_now(status);
    });
}

/// Waits for the next signal; returns its name and the exit status that tells of it.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = interrupt.recv() => ("SIGINT", 128 + libc::SIGINT),
        _ = terminate.recv() => ("SIGTERM", 128 + libc::SIGTERM),
    }
}
