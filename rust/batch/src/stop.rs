//! Runs a job so that a request to stop ends it soon, whatever it is doing.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::error::BatchError;

/// How long a job that was asked to stop may take to end by itself; then it is left behind.
pub const STOP_LIMIT: Duration = Duration::from_millis(1_500);

/// How much longer is waited for a job that is in the middle of computing and cannot be dropped before its next wait.
const GRACE: Duration = Duration::from_millis(200);

/// Runs `job` on a thread of its own, where it may compute for long and need not be `Send`. When `cancel` is cancelled the
/// job has [`STOP_LIMIT`] to end by itself (it looks at the token at every batch of rows); then it is dropped where it
/// waits. That is as a kill would be: a commit in the making either lands or does not, and its files are left to the orphan
/// removal.
///
/// # Errors
/// Those of the job; [`BatchError::Cancelled`] if it was dropped; [`BatchError::Panicked`] if it panicked.
pub async fn stoppable<T, F>(
    cancel: CancellationToken,
    job: impl FnOnce() -> F + Send + 'static,
) -> Result<T, BatchError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BatchError>>,
{
    let stop = cancel.clone();
    let work = tokio::task::spawn_blocking(move || {
        Handle::current().block_on(async {
            tokio::select! {
                biased;
                result = job() => result,
                () = after(&stop, STOP_LIMIT) => Err(BatchError::Cancelled),
            }
        })
    });
    tokio::select! {
        ended = work => match ended {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(payload) => Err(BatchError::Panicked { message: panic_message(payload.as_ref()) }),
                Err(_) => Err(BatchError::Cancelled),
            },
        },
        () = after(&cancel, STOP_LIMIT + GRACE) => Err(BatchError::Cancelled),
    }
}

async fn after(cancel: &CancellationToken, limit: Duration) {
    cancel.cancelled().await;
    tokio::time::sleep(limit).await;
}

/// What a panic said.
pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_job_that_does_not_look_at_its_token_is_left_behind() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let started = Instant::now();

        let result = stoppable(cancel, std::future::pending::<Result<(), BatchError>>).await;

        assert!(matches!(result, Err(BatchError::Cancelled)));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_job_that_ends_in_time_after_a_stop_keeps_its_result() {
        let cancel = CancellationToken::new();
        cancel.cancel();

        assert_eq!(stoppable(cancel, async || Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        async fn job() -> Result<(), BatchError> {
            std::panic::panic_any("no such row".to_owned())
        }

        let error = stoppable(CancellationToken::new(), job).await.unwrap_err();

        assert_eq!(error.to_string(), "a defect in streamify ended the job: no such row");
    }
}
