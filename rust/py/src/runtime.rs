//! The threads of this process: made at the first call, and anew after a fork, in whose child the parent's threads do not exist.

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::PyResult;
use tokio::runtime::{Builder, Runtime};

use crate::errors::StreamifyError;

struct Owned {
    pid: u32,
    runtime: Runtime,
}

// No lock: one that another thread held at the moment of a fork would never be free again in the child.
static CURRENT: AtomicPtr<Owned> = AtomicPtr::new(std::ptr::null_mut());

/// Returns the runtime of this process. It is never taken down: the threads end with the process.
///
/// # Errors
/// [`StreamifyError`] if the system gives no threads.
pub fn runtime() -> PyResult<&'static Runtime> {
    let pid = std::process::id();
    let current = CURRENT.load(Ordering::Acquire);
    // SAFETY: what is stored is null or came from `Box::into_raw` below and is never freed.
    if let Some(owned) = unsafe { current.as_ref() }
        && owned.pid == pid
    {
        return Ok(&owned.runtime);
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("streamify")
        .enable_all()
        .build()
        .map_err(|error| StreamifyError::new_err(format!("failed to start threads: {error}")))?;
    let made = Box::into_raw(Box::new(Owned { pid, runtime }));
    match CURRENT.compare_exchange(current, made, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: as above; the former one, of the process that we were forked from, is left alone: its threads are not here.
        Ok(_) => Ok(unsafe { &(*made).runtime }),
        Err(_) => {
            // Another thread was first.
            // SAFETY: `made` was never shared.
            let unused = unsafe { Box::from_raw(made) };
            unused.runtime.shutdown_background();
            self::runtime()
        }
    }
}
