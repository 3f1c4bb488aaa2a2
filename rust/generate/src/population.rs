//! Listeners: who they are, how fast they live, and where in their life they stand.
//!
//! A listener is made from (seed, number) alone and carries an own random stream, so any part of the population can be made
//! and run anywhere with the same result. Two log-normal factors of mean 1 (`exp(N(0,1)) / sqrt(e)`) make some live fast and
//! most live slowly: the most active hundredth causes a sixth of all events.

use crate::{
    catalogue::{Catalogue, Identity},
    clock::{Calendar, DAY},
    profile::Profile,
    rng::{Purpose, Rng},
    session::Session,
};

/// A listener, about 150 bytes.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What the next draws come from.
    pub rng: Rng,
    /// Name, place and device; fixed for life.
    pub identity: Identity,
    /// Mean seconds between two pages.
    pub alpha: f64,
    /// Mean seconds between two sessions.
    pub beta: f64,
    /// When the account was made, in seconds since 1970.
    pub registration: i64,
    /// The session the listener is in, or will begin next.
    pub session: Session,
    /// The number of that session in the run; 0 until its first event is written.
    pub session_id: u64,
}

impl Listener {
    /// Makes listener number `index` (from 0) of a seed, standing at the first event after `start`; `None` if the account is
    /// cancelled before the run starts.
    pub fn new(
        profile: &Profile,
        calendar: &Calendar,
        catalogue: &Catalogue,
        seed: u64,
        index: u64,
        start: i64,
    ) -> Option<Self> {
        let mut rng = Rng::new(seed, Purpose::Listener, index);
        let alpha = profile.rates.alpha_seconds * log_normal_of_mean_one(&mut rng);
        let beta = profile.rates.beta_seconds * log_normal_of_mean_one(&mut rng);
        let age = rng.exponential_seconds(profile.users.registration_age_days * DAY as f64);
        let identity = catalogue.draw_identity(&mut rng);
        let group = profile.machine.draw_group(&mut rng);
        let first_start = calendar.first_session_start(start, beta, &mut rng);
        let session = Session::begin(&profile.machine, catalogue, group, first_start, &mut rng);
        let registration = start - age;
        let mut listener = Self { rng, identity, alpha, beta, registration, session, session_id: 0 };
        // Events at or before the start are lived through but not told.
        while listener.session.time() <= start {
            if !listener.advance(profile, calendar, catalogue) {
                return None;
            }
        }
        Some(listener)
    }

    /// Goes on to the next event, in this session or at the start of another; false if the listener is gone for good.
    pub fn advance(&mut self, profile: &Profile, calendar: &Calendar, catalogue: &Catalogue) -> bool {
        if self.session.advance(&profile.machine, catalogue, self.alpha, &mut self.rng) {
            return true;
        }
        let state = self.session.state();
        if profile.machine.state(state).is_churned {
            return false;
        }
        let group = profile.machine.group_after(state);
        let start = calendar.next_session_start(self.session.time(), self.beta, &mut self.rng);
        self.session = Session::begin(&profile.machine, catalogue, group, start, &mut self.rng);
        self.session_id = 0;
        true
    }
}

fn log_normal_of_mean_one(rng: &mut Rng) -> f64 {
    (rng.normal() - 0.5).exp()
}
