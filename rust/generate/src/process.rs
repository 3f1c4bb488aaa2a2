//! The two calls to the operating system that std has no safe form of: leaving the terminal's session, and signals to a PID.
//!
//! All `unsafe` of this crate is here. Both calls take plain numbers and touch no memory of ours.

use std::path::Path;

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks to end.
    Terminate,
    /// Ends.
    Kill,
}

/// Makes this process the leader of a session of its own, so that closing the terminal does not end it. Does nothing for a
/// process that leads a group already.
pub fn leave_terminal() {
    // SAFETY: no arguments, no memory; fails with EPERM for a group leader, which is as good.
    unsafe {
        libc::setsid();
    }
}

/// Sends a signal; nothing happens if there is no such process.
pub fn send(pid: u32, signal: Signal) {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    // 0 and negative numbers would mean whole process groups.
    let Ok(pid @ 1..) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: plain numbers, no memory; `pid` is positive, so exactly one process is meant.
    unsafe {
        libc::kill(pid, number);
    }
}

/// Returns whether a process is a broker started by this program, as far as /proc tells; where there is no /proc, true.
pub fn is_ours(pid: u32) -> bool {
    if !Path::new("/proc/self/cmdline").exists() {
        return true;
    }
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    words.any(|word| word == b"broker") && words.next() == Some(b"run".as_slice())
}
