//! New listeners: when they come, one after the other, so that nobody has to be made before it is their time.
//!
//! Arrivals are a Poisson process whose rate is `growth_rate` a year times the number of accounts made so far, bent to the
//! busy hours like session starts. It has a random stream of its own: who comes when depends on the seed, the first
//! listeners' number and the rate alone.

use serde::{Deserialize, Serialize};

use crate::{
    clock::YEAR_SECONDS,
    model::Model,
    rng::{Purpose, Rng},
};

/// The arrivals of a run that have not happened yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    rng: Rng,
    /// Accounts made so far, the next arrival not among them.
    num_accounts: u32,
    /// The next arrival, in seconds since the start of the run, before it is bent.
    next: f64,
    /// Time of the arrival before, in seconds since 1970: none is earlier.
    last: i64,
}

/// Somebody who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Place in the run, from 0.
    pub index: u32,
    /// When, in seconds since 1970.
    pub time: i64,
}

impl Arrivals {
    /// Stands before the first arrival of a run.
    pub fn new(model: &Model) -> Self {
        let mut arrivals = Self {
            rng: Rng::new(model.seed(), Purpose::Arrivals, 0),
            num_accounts: model.settings.num_users,
            next: 0.0,
            last: model.start + 1,
        };
        arrivals.draw_next(model);
        arrivals
    }

    /// Returns the next arrival; `None` if the population does not grow.
    pub fn peek(&self, model: &Model) -> Option<Arrival> {
        let is_growing = model.profile().users.growth_rate > 0.0 && model.machine().newcomers().is_some();
        if !is_growing || self.num_accounts == u32::MAX || !self.next.is_finite() {
            return None;
        }
        let time = model.calendar.warp(model.start.saturating_add(self.next as i64)).max(self.last);
        Some(Arrival { index: self.num_accounts, time })
    }

    /// Takes all arrivals before `until`, the earliest first.
    pub fn take_until(&mut self, until: i64, model: &Model) -> Vec<Arrival> {
        let mut taken = Vec::new();
        while let Some(arrival) = self.peek(model).filter(|arrival| arrival.time < until) {
            taken.push(arrival);
            self.last = arrival.time;
            self.num_accounts += 1;
            self.draw_next(model);
        }
        taken
    }

    /// Returns the number of accounts made so far.
    pub fn num_accounts(&self) -> u32 {
        self.num_accounts
    }

    fn draw_next(&mut self, model: &Model) {
        let per_year = f64::from(self.num_accounts) * model.profile().users.growth_rate;
        self.next += self.rng.exponential(YEAR_SECONDS / per_year);
    }
}
