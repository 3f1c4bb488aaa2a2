//! Listeners: who they are, how fast they live, and where in their life they stand.
//!
//! A listener is made from (seed, number) alone and carries an own random stream, so any part of the population can be made
//! and run anywhere with the same result. Two log-normal factors of mean 1 (`exp(N(0,1)) / sqrt(e)`) make some live fast and
//! most live slowly: the most active hundredth causes a sixth of all events.

use crate::{
    catalogue::Identity,
    clock::{DAY, YEAR_SECONDS},
    model::Model,
    profile::Users,
    rng::{Purpose, Rng},
    session::Session,
    step::{SessionRef, Step},
};

/// A listener, about 150 bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// What the next draws come from.
    pub rng: Rng,
    /// The place in the run, from 0.
    pub index: u32,
    /// Name, place and device; fixed for life.
    pub identity: Identity,
    /// Mean seconds between two pages.
    pub alpha: f64,
    /// Mean seconds between two sessions.
    pub beta: f64,
    /// When the account was made, in seconds since 1970.
    pub registration: i64,
    /// No session begins at or after this, in seconds since 1970.
    pub leaves_at: i64,
    /// The session the listener is in, or will begin next.
    pub session: Session,
    /// The number of that session in the run.
    pub session_ref: SessionRef,
}

impl Listener {
    /// Makes listener number `index` (from 0) of those there are at the start of a run, standing at the first event after it;
    /// `None` if the account is gone before the run starts.
    pub fn initial(model: &Model, index: u32) -> Option<Self> {
        let start = model.start;
        let mut rng = Rng::new(model.seed(), Purpose::Listener, u64::from(index));
        let (alpha, beta) = draw_pace(model, &mut rng);
        let age = registration_age(&model.profile().users, &mut rng);
        let identity = model.catalogue.draw_identity(&mut rng);
        let group = model.machine().draw_group(&mut rng);
        let first_start = model.calendar.first_session_start(start, beta, &mut rng);
        let session = Session::begin(model.machine(), &model.catalogue, group, first_start, &mut rng);
        let leaves_at = departure(model, index, start);
        let mut listener = Self {
            rng,
            index,
            identity,
            alpha,
            beta,
            registration: start - age,
            leaves_at,
            session,
            session_ref: SessionRef::NONE,
        };
        // Events at or before the start are lived through but not told.
        while listener.session.time() <= start {
            if !listener.advance(model) {
                return None;
            }
        }
        Some(listener)
    }

    /// Makes the listener who comes to the service at `arrival` as number `index`: a guest whose first session begins then, or
    /// later if it is a day on which few come; `None` if the profile knows no newcomers.
    pub fn newcomer(model: &Model, index: u32, arrival: i64) -> Option<Self> {
        let group = model.machine().newcomers()?;
        let mut rng = Rng::new(model.seed(), Purpose::Listener, u64::from(index));
        let (alpha, beta) = draw_pace(model, &mut rng);
        let identity = model.catalogue.draw_identity(&mut rng);
        let is_rejected = rng.chance(model.calendar.rejection(arrival));
        let first_start =
            if is_rejected { model.calendar.next_session_start(arrival, beta, &mut rng) } else { arrival };
        let session = Session::begin(model.machine(), &model.catalogue, group, first_start, &mut rng);
        let leaves_at = departure(model, index, arrival);
        let (registration, session_ref) = (arrival, SessionRef::NONE);
        Some(Self { rng, index, identity, alpha, beta, registration, leaves_at, session, session_ref })
    }

    /// Goes on to the next event, in this session or at the start of another; false if the listener is gone for good.
    pub fn advance(&mut self, model: &Model) -> bool {
        let machine = model.machine();
        if self.session.advance(machine, &model.catalogue, self.alpha, &mut self.rng) {
            return true;
        }
        let state = self.session.state();
        if machine.state(state).is_churned {
            return false;
        }
        let group = machine.group_after(state);
        let start = model.calendar.next_session_start(self.session.time(), self.beta, &mut self.rng);
        if start >= self.leaves_at {
            return false;
        }
        self.session = Session::begin(machine, &model.catalogue, group, start, &mut self.rng);
        self.session_ref = SessionRef::NONE;
        true
    }

    /// Returns the event the listener stands at.
    pub fn step(&self, model: &Model, begins_session: bool) -> Step {
        let session = &self.session;
        Step {
            time: session.time(),
            registration: self.registration,
            session: self.session_ref,
            listener: self.index,
            item: session.item(),
            song: session.song(),
            identity: self.identity,
            state: session.state(),
            follows_login: session.follows_login(model.machine()),
            begins_session,
        }
    }
}

fn draw_pace(model: &Model, rng: &mut Rng) -> (f64, f64) {
    let rates = &model.profile().rates;
    let alpha = rates.alpha_seconds * log_normal_of_mean_one(rng);
    let beta = rates.beta_seconds * log_normal_of_mean_one(rng);
    (alpha, beta)
}

fn log_normal_of_mean_one(rng: &mut Rng) -> f64 {
    (rng.normal() - 0.5).exp()
}

fn registration_age(users: &Users, rng: &mut Rng) -> i64 {
    let age = rng.exponential_seconds(users.registration_age_days * DAY as f64);
    age.min((users.registration_age_max_days * DAY as f64) as i64)
}

/// Draws when a listener who is there at `from` stops coming, from a stream of its own, so that the life until then does not
/// depend on the rate: of those there are, the share `attrition_rate` goes within a year.
fn departure(model: &Model, index: u32, from: i64) -> i64 {
    let rate = model.profile().users.attrition_rate;
    if rate <= 0.0 {
        return i64::MAX;
    }
    let mean = YEAR_SECONDS / -(1.0 - rate).ln();
    let stay = Rng::new(model.seed(), Purpose::Departure, u64::from(index)).exponential_seconds(mean);
    from.saturating_add(stay)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{
        profile::{BUILTIN, Overrides, Profile},
        simulation::{Settings, Simulation},
    };

    /// Monday 2026-02-23.
    const START: i64 = 1_771_804_800_000;
    const DAY_MS: i64 = 86_400_000;

    fn settings(overrides: &Overrides, num_users: u32, days: i64) -> Settings {
        Settings {
            profile: Profile::parse_with(BUILTIN[0].1, "example", overrides).unwrap(),
            seed: 8,
            num_users,
            first_user_id: 1,
            start_ms: START,
            end_ms: START + days * DAY_MS,
            tag: None,
        }
    }

    #[test]
    fn newcomers_begin_as_guests_when_they_come_and_not_before() {
        let overrides = Overrides { growth_rate: Some(3.0), ..Overrides::default() };
        let mut simulation = Simulation::new(settings(&overrides, 1_000, 60));
        let machine = simulation.settings().profile.machine.clone();
        let mut seen = BTreeSet::new();
        let (mut registered, mut guests) = (BTreeSet::new(), 0u32);

        while let Some(moment) = simulation.step() {
            let (step, state) = (moment.step, machine.state(moment.step.state));
            if step.listener < 1_000 {
                assert_ne!(state.auth, "Guest");
                continue;
            }
            assert!(step.time >= step.registration, "an event before the registration");
            if seen.insert(step.listener) {
                assert_eq!((state.auth.as_str(), state.level.as_str()), ("Guest", "free"));
                assert_eq!(moment.user_id, None);
            }
            guests += u32::from(state.auth == "Guest");
            if state.page == "Submit Registration" {
                registered.insert(step.listener);
            }
        }

        // A rate of 3 a year compounds to 1000 (e^(3 60/365) - 1) = 637 newcomers in 60 days, few of whom never show.
        assert!((520..680).contains(&seen.len()), "{} newcomers", seen.len());
        assert!(
            registered.len() > 100 && guests > 1_000,
            "{} registered, {guests} pages of guests",
            registered.len()
        );
    }

    #[test]
    fn the_share_of_the_attrition_rate_goes_within_a_year() {
        let lifetimes = |rate| {
            let overrides = Overrides { attrition_rate: Some(rate), ..Overrides::default() };
            let model = Model::new(settings(&overrides, 1, 1));
            (0..20_000).map(|index| departure(&model, index, 0)).collect::<Vec<_>>()
        };
        let share = |stays: &[i64], days: i64| {
            stays.iter().filter(|stay| **stay < days * DAY).count() as f64 / stays.len() as f64
        };

        let stays = lifetimes(0.3);

        assert!((share(&stays, 365) - 0.3).abs() < 0.01, "{} gone after a year", share(&stays, 365));
        assert!((share(&stays, 730) - 0.51).abs() < 0.012, "{} gone after two", share(&stays, 730));
        assert!(lifetimes(0.0).iter().all(|stay| *stay == i64::MAX));
    }

    #[test]
    fn who_leaves_lived_as_before_and_a_run_outlives_its_listeners() {
        let events = |attrition_rate| {
            let overrides = Overrides { attrition_rate, ..Overrides::default() };
            let mut simulation = Simulation::new(settings(&overrides, 60, 2_000));
            let mut steps: BTreeMap<u32, Vec<(i64, u32)>> = BTreeMap::new();
            while let Some(moment) = simulation.step() {
                steps.entry(moment.step.listener).or_default().push((moment.step.time, moment.step.item));
            }
            steps
        };

        // Nearly all are gone within the first of five years, and the run ends without them.
        let (stayed, left) = (events(None), events(Some(0.999)));

        for (listener, steps) in &left {
            assert!(stayed[listener].starts_with(steps), "listener {listener} lived another life");
        }
        let last = left.values().filter_map(|steps| steps.last()).max().unwrap();
        assert!(last.0 < START / 1_000 + 1_500 * DAY, "somebody is still there");
        let several = left.values().filter(|steps| steps.iter().filter(|(_, item)| *item == 0).count() > 1);
        assert!(several.count() > 10, "nobody came twice");
    }

    #[test]
    fn accounts_are_as_old_as_eventsim_makes_them_if_that_is_asked_for() {
        let ages = |growth_rate| {
            let overrides = Overrides {
                growth_rate: Some(growth_rate),
                eventsim_registration: true,
                ..Overrides::default()
            };
            let model = Model::new(settings(&overrides, 2_000, 1));
            let listeners = (0..2_000).filter_map(|index| Listener::initial(&model, index));
            listeners.map(|listener| model.start - listener.registration).collect::<Vec<_>>()
        };

        assert!(ages(0.0).iter().all(|age| *age == 0));
        let oldest = ages(10.0).iter().filter(|age| **age == 5 * 365 * DAY).count();
        assert!((1_160..1_270).contains(&oldest), "{oldest} of 2000 are five years old");
    }
}
