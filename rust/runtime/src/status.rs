//! One line at the bottom of a terminal that says how far the work is.
//!
//! It is written over in place, and gives way to every log line. Where stderr is no terminal it does not exist.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};

/// Longer lines are cut: a line that wraps cannot be written over.
const WIDTH: usize = 78;

static SHOWN: AtomicBool = AtomicBool::new(false);

/// Returns whether there is a terminal to show it on.
pub fn possible() -> bool {
    stderr().is_terminal()
}

/// Shows `text`, in the place of what was shown before.
pub fn show(text: &str) {
    if possible() {
        let text: String = text.chars().take(WIDTH).collect();
        SHOWN.store(true, Ordering::Relaxed);
        let _ = stderr().lock().write_all(format!("\r\x1b[K{text}").as_bytes());
    }
}

/// Takes the line away.
pub fn clear() {
    if SHOWN.swap(false, Ordering::Relaxed) {
        let _ = stderr().lock().write_all(b"\r\x1b[K");
    }
}
