//! What is known of a panic beyond its message: where it was and how it came there.
//!
//! A hook, installed once before the process's own, notes the last panic of each thread; a session that is dropped by that panic's
//! unwinding reports it. The hook found before is called as well, so the panic is printed as ever.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use crate::exception::ExceptionInfo;

static INSTALL: Once = Once::new();

thread_local! {
    static LAST: RefCell<Option<ExceptionInfo>> = const { RefCell::new(None) };
}

/// Installs the hook, the first time.
pub(crate) fn install() {
    INSTALL.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            previous(info);
        }));
    });
}

/// Returns the last panic of this thread and forgets it.
pub(crate) fn take_last() -> Option<ExceptionInfo> {
    LAST.try_with(|last| last.try_borrow_mut().ok()?.take()).ok().flatten()
}

fn note(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no message)");
    let location = info.location().map(|location| format!("at {location}\n"));
    let backtrace = Backtrace::force_capture().to_string();
    let frames = backtrace.lines().map(|line| format!("{line}\n"));
    let exception = ExceptionInfo::new("panic", message).with_stack(location.into_iter().chain(frames));
    // Neither access may panic: the thread may be ending, or panicking right here.
    let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(exception)));
}
