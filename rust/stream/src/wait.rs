//! Waiting for a server that is not there yet: with pauses, warnings and an end.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::error::StreamError;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const WARN_INTERVAL: Duration = Duration::from_secs(5);

/// Tries `attempt` until it succeeds, fails for good, or `timeout` is over; warns every few seconds.
///
/// # Errors
/// The error of the last attempt.
pub async fn until_ready<T, F>(
    what: &str,
    timeout: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StreamError>
where
    F: Future<Output = Result<T, StreamError>>,
{
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    let mut warned: Option<Instant> = None;
    loop {
        let error = match told_of(what, attempt()).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !error.is_retryable() || Instant::now() + pause >= deadline {
            return Err(error);
        }
        if warned.is_none_or(|warned| warned.elapsed() >= WARN_INTERVAL) {
            let seconds_left = deadline.saturating_duration_since(Instant::now()).as_secs();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            warn!(%error, cause, seconds_left, "waiting for {what}");
            warned = Some(Instant::now());
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for one attempt, and says so if it takes long: a server that does not answer shows no error for a while.
async fn told_of<T>(what: &str, attempt: impl Future<Output = T>) -> T {
    let mut attempt = std::pin::pin!(attempt);
    let begun = Instant::now();
    loop {
        tokio::select! {
            ended = &mut attempt => return ended,
            () = sleep(WARN_INTERVAL) => warn!(seconds = begun.elapsed().as_secs(), "waiting for an answer of {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::kafka::{KafkaError, TopicPartition};

    fn away() -> StreamError {
        StreamError::Kafka(KafkaError::RequestFailed {
            what: "list offsets",
            servers: "x".into(),
            reason: "away".into(),
            retryable: true,
        })
    }

    #[tokio::test]
    async fn a_server_that_comes_late_is_waited_for() {
        let attempts = AtomicU32::new(0);

        let value = until_ready("it", Duration::from_secs(60), || async {
            if attempts.fetch_add(1, Ordering::Relaxed) < 2 { Err(away()) } else { Ok(7) }
        })
        .await;

        assert_eq!(value.unwrap(), 7);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_error() {
        let begun = Instant::now();

        let timeout = Duration::from_millis(250);
        let error = until_ready::<(), _>("it", timeout, || async { Err(away()) }).await.unwrap_err();

        assert!(error.is_retryable());
        assert!(begun.elapsed() <= Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_waiting_cannot_heal_is_returned_at_once() {
        let partition = TopicPartition::new("t", 0);
        let error = until_ready::<(), _>("it", Duration::from_secs(10), || async {
            Err(StreamError::Regression { partition: partition.clone(), next: 2, high_watermark: 1 })
        })
        .await
        .unwrap_err();

        assert!(matches!(error, StreamError::Regression { .. }));
    }
}
