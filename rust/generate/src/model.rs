//! All of a run that never changes while it goes on, made once and read by every thread.

use crate::{
    catalogue::Catalogue, clock::Calendar, event::Encoder, machine::Machine, profile::Profile,
    simulation::Settings,
};

/// What a run is made from, ready for use.
#[derive(Debug)]
pub struct Model {
    /// As given.
    pub settings: Settings,
    /// When sessions begin.
    pub calendar: Calendar,
    /// Songs, places, names.
    pub catalogue: Catalogue,
    /// Turns steps into JSON.
    pub encoder: Encoder,
    /// The whole second of the start: events are later.
    pub start: i64,
    /// First whole second that lies outside the window.
    pub end: i64,
    /// Added to every whole second: the millisecond part of the start.
    pub millisecond: i64,
}

impl Model {
    /// Prepares a run.
    pub fn new(settings: Settings) -> Self {
        let profile = &settings.profile;
        let (start, millisecond) = (settings.start_ms.div_euclid(1000), settings.start_ms.rem_euclid(1000));
        Self {
            calendar: Calendar::new(&profile.rates, &profile.daily, &profile.weekend),
            catalogue: Catalogue::invent(&profile.catalogue, settings.seed),
            encoder: Encoder::new(&profile.machine, settings.tag.as_deref()),
            start,
            end: settings.end_ms.saturating_sub(millisecond).saturating_add(999).div_euclid(1000),
            millisecond,
            settings,
        }
    }

    /// Returns how listeners behave.
    pub fn profile(&self) -> &Profile {
        &self.settings.profile
    }

    /// Returns the pages and how one leads to the next.
    pub fn machine(&self) -> &Machine {
        &self.settings.profile.machine
    }

    /// Returns where all randomness comes from.
    pub fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// Returns the time of a whole second of this run, in milliseconds since 1970.
    pub fn ts_ms(&self, time: i64) -> i64 {
        time * 1000 + self.millisecond
    }
}
