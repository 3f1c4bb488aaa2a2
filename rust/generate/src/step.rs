//! A step: one page entered by one listener, in the 64 bytes that the threads of a run pass to each other.
//!
//! A step holds all that an event's text is made from, so that it can be encoded anywhere, at any time, whatever has become of
//! the listener since.

use crate::{catalogue::Identity, machine::StateId};

/// Set in the session of a step whose session has no number yet: the rest is its ordinal in the slice of its shard.
const ORDINAL: u64 = 1 << 63;

/// One page entered by one listener.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Seconds since 1970.
    pub time: i64,
    /// When the account was made, in seconds since 1970.
    pub registration: i64,
    /// The number of the session in the run.
    pub session: SessionRef,
    /// The listener's place in the run, from 0.
    pub listener: u32,
    /// The number of the page in the session, from 0.
    pub item: u32,
    /// The song that plays or played last, if any, as an index into the catalogue.
    pub song: Option<u32>,
    /// Who and where.
    pub identity: Identity,
    /// Which page, with which auth and level.
    pub state: StateId,
    /// The page before was `Login`: an auth event belongs to this one.
    pub follows_login: bool,
    /// The first step of its session in this run.
    pub begins_session: bool,
}

/// The number of a session: none yet, an ordinal that stands for it until the slice is merged, or the number itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionRef(u64);

impl SessionRef {
    /// No step of it has been taken in this run.
    pub const NONE: Self = Self(0);

    /// Returns the stand-in for session `ordinal` of a shard's slice.
    pub fn ordinal(ordinal: usize) -> Self {
        Self(ORDINAL | ordinal as u64)
    }

    /// Returns a session's number, from 1.
    pub fn number(number: u64) -> Self {
        Self(number)
    }

    /// Returns whether no step has been taken.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the ordinal, if it is one.
    pub fn as_ordinal(self) -> Option<usize> {
        (self.0 & ORDINAL != 0).then_some((self.0 & !ORDINAL) as usize)
    }

    /// Returns the number; meaningless for an ordinal.
    pub fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_small() {
        assert!(size_of::<Step>() <= 64, "{}", size_of::<Step>());
    }

    #[test]
    fn sessions_are_none_ordinals_or_numbers() {
        assert!(SessionRef::NONE.is_none());
        assert_eq!(SessionRef::ordinal(7).as_ordinal(), Some(7));
        assert_eq!(SessionRef::number(7).as_ordinal(), None);
        assert_eq!(SessionRef::number(7).get(), 7);
    }
}
