//! Beginning anew when another commit came first.
//!
//! A run decides what to write by what a table has consumed. Where another run commits in between, its decision is void: nothing of
//! it is committed, and it looks again. A job that is always second ends with [`BatchError::Overtaken`].

use std::future::Future;
use std::time::Instant;

use streamify_lake::commit::CommitError;
use streamify_lake::protocol::Refusal;
use tracing::warn;

use crate::context::Context;
use crate::error::BatchError;

/// What a run took, all attempts together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Attempts that came second.
    pub restarts: u32,
    /// Seconds.
    pub seconds: f64,
    /// Bytes of data files read.
    pub bytes_read: u64,
    /// Bytes of metadata files read.
    pub metadata_bytes: u64,
}

/// Attempts until one is not overtaken, at most `context.max_restarts` times anew.
pub(crate) async fn until_first<R, F>(
    context: &Context,
    table: &str,
    attempt: impl Fn() -> F,
) -> Result<(R, Effort), BatchError>
where
    F: Future<Output = Result<R, BatchError>>,
{
    let started = Instant::now();
    let catalog = context.lake.catalog();
    let (_, bytes_before, _) = context.meter.read();
    let metadata_before = catalog.metadata_bytes_read();
    let mut restarts = 0;
    loop {
        match attempt().await {
            Ok(report) => {
                let seconds = started.elapsed().as_secs_f64();
                let bytes_read = context.meter.read().1 - bytes_before;
                let metadata_bytes = catalog.metadata_bytes_read() - metadata_before;
                return Ok((report, Effort { restarts, seconds, bytes_read, metadata_bytes }));
            }
            Err(BatchError::Commit(error)) if came_second(&error) => {
                restarts += 1;
                if restarts > context.max_restarts {
                    let table = table.to_owned();
                    return Err(BatchError::Overtaken { table, times: restarts, source: error });
                }
                warn!(table, %error, "another commit came first, beginning anew");
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether another run or another job was faster; looking again tells what is left to do.
fn came_second(error: &CommitError) -> bool {
    let fenced = matches!(error, CommitError::Refused { refusal: Refusal::Fenced { .. }, .. });
    fenced || error.overtaken()
}
