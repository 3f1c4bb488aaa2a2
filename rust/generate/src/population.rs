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
