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
        if !is_growing || self.num_accounts == u32::MAX {
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
        if per_year <= 0.0 {
            return;
        }
        self.next += self.rng.exponential(YEAR_SECONDS / per_year);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::DAY,
        profile::{BUILTIN, Overrides, Profile},
        simulation::{ENDLESS, Settings},
    };

    /// Monday 2026-02-23.
    const MONDAY: i64 = 1_771_804_800;

    fn model(growth_rate: f64) -> Model {
        let overrides = Overrides { growth_rate: Some(growth_rate), ..Overrides::default() };
        Model::new(Settings {
            profile: Profile::parse_with(BUILTIN[0].1, "example", &overrides).unwrap(),
            seed: 4,
            num_users: 10_000,
            first_user_id: 1,
            start_ms: MONDAY * 1_000,
            end_ms: ENDLESS,
            tag: None,
        })
    }

    #[test]
    fn the_population_grows_by_its_rate_compounded() {
        let model = model(0.5);
        let mut arrivals = Arrivals::new(&model);

        let taken = arrivals.take_until(MONDAY + 365 * DAY, &model);

        let expected = 10_000.0 * (0.5f64.exp() - 1.0);
        assert!((taken.len() as f64 / expected - 1.0).abs() < 0.04, "{} came, not {expected}", taken.len());
        assert_eq!(
            taken.iter().map(|arrival| arrival.index).collect::<Vec<_>>(),
            (10_000..arrivals.num_accounts()).collect::<Vec<_>>()
        );
        assert!(taken.is_sorted_by_key(|arrival| arrival.time) && taken[0].time > MONDAY);
    }

    #[test]
    fn newcomers_come_by_day() {
        let model = model(5.0);
        let taken = Arrivals::new(&model).take_until(MONDAY + 28 * DAY, &model);
        let at =
            |hour: i64| taken.iter().filter(|arrival| arrival.time.rem_euclid(DAY) / 3_600 == hour).count();

        assert!(at(15) > 2 * at(3), "{} at 15 h, {} at 3 h", at(15), at(3));
    }

    #[test]
    fn nobody_comes_where_nothing_grows() {
        let model = model(0.0);

        assert!(Arrivals::new(&model).take_until(i64::MAX, &model).is_empty());
    }

    #[test]
    fn any_split_into_takes_gives_the_same_arrivals() {
        let model = model(1.0);
        let (mut whole, mut split) = (Arrivals::new(&model), Arrivals::new(&model));
        let end = MONDAY + 20 * DAY;

        let mut taken = Vec::new();
        for until in (MONDAY..=end).step_by(5_000) {
            taken.extend(split.take_until(until, &model));
            let kept = serde_json::to_string(&split).unwrap();
            split = serde_json::from_str(&kept).unwrap();
        }
        taken.extend(split.take_until(end, &model));

        assert_eq!(taken, whole.take_until(end, &model));
        assert!(taken.len() > 400);
    }
}
