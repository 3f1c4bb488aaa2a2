//! Invented places, in states that exist.

use super::words::{CITY_ENDS, STATES, State, invented_word, pick};
use crate::rng::Rng;

/// A place where a listener lives.
#[derive(Clone, Debug)]
pub struct Place {
    /// `"city":…,"zip":…,"state":…`
    pub name_json: String,
    /// `"lon":…,"lat":…`
    pub position_json: String,
    /// City.
    pub city: String,
    /// Zip code, five digits.
    pub zip: String,
    /// State, two letters.
    pub state: &'static str,
    /// Part of the country.
    pub region: &'static str,
    /// Country, two letters: US, and the territories that have a code of their own.
    pub country: &'static str,
    /// IANA time zone. The events do not follow it: like Eventsim's they share one clock.
    pub timezone: &'static str,
    /// People who live there; listeners are drawn by it.
    pub population: u64,
}

/// Invents places, the largest first; populations fall with the rank to the power of -0.8.
pub(super) fn invent(count: usize, rng: &mut Rng) -> Vec<Place> {
    (0..count).map(|rank| invent_place(rank, rng)).collect()
}

fn invent_place(rank: usize, rng: &mut Rng) -> Place {
    let state = pick(STATES, rng);
    let num_syllables = 1 + rng.below(2);
    let city = format!("{}{}", invented_word(rng, num_syllables), pick(CITY_ENDS, rng));
    let zip = format!("{:05}", usize::from(state.zip_prefix) * 100 + rng.below(100));
    let (lon, lat) = (state.lon + 2.0 * rng.unit() - 1.0, state.lat + 2.0 * rng.unit() - 1.0);
    let State { code, region, country, timezone, .. } = *state;
    let population = 2_000_000.0 * ((rank + 1) as f64).powf(-0.8);
    Place {
        name_json: format!(r#""city":{},"zip":"{zip}","state":"{code}""#, super::json(&city)),
        position_json: format!(r#""lon":{lon:.6},"lat":{lat:.6}"#),
        city,
        zip,
        state: code,
        region,
        country,
        timezone,
        population: population as u64,
    }
}
