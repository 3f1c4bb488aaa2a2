//! The four ways a process ends, and the one way to end it without ado.
//!
//! The only unsafe call of this crate is here: `_exit` has no binding in std.

use std::process::{ExitCode as ProcessExitCode, Termination};

/// How a streamify process ends. Supervisors act on the number, so it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All work asked for is done, or a shutdown was asked for and went well.
    Done = 0,
    /// Something failed; starting again may help.
    Failure = 1,
    /// A setting is missing or wrong; starting again does not help until it is changed.
    BadSettings = 2,
    /// A person has to decide (gap, fenced writer, re-created topic, state mismatch); nothing may restart it by itself.
    NeedsDecision = 3,
}

impl ExitCode {
    /// Returns the number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for ProcessExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

impl Termination for ExitCode {
    fn report(self) -> ProcessExitCode {
        self.into()
    }
}

/// Ends the process now: no destructor, no `atexit` handler (librdkafka's may wait for its threads), no flush.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes any status, touches no memory of ours and does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_supervisors_know() {
        let codes = [ExitCode::Done, ExitCode::Failure, ExitCode::BadSettings, ExitCode::NeedsDecision];

        assert_eq!(codes.map(ExitCode::code), [0, 1, 2, 3]);
    }
}
