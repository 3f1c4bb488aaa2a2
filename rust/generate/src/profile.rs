//! Profiles: how listeners behave, as data. The format is described at the head of `profiles/example.toml`.
//!
//! A [`Profile`] is only ever a checked one: parsing names the file and the line of a mistake in the form, and the state,
//! page or key of a mistake in the meaning. The state machine in it is compiled by [`crate::machine`].

mod check;
mod error;
mod eventsim;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{catalogue::TrackFile, machine::Machine};
pub use error::ProfileError;

/// The profiles that come with the program, as (name, text).
pub const BUILTIN: &[(&str, &str)] = &[
    ("example", include_str!("../profiles/example.toml")),
    ("engagement", include_str!("../profiles/engagement.toml")),
];

/// A checked profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What it is called.
    pub name: String,
    /// One line about it.
    pub doc: String,
    /// Means of the gaps.
    pub rates: Rates,
    /// Day and night.
    pub daily: Daily,
    /// Saturday and Sunday.
    pub weekend: Weekend,
    /// The first listeners.
    pub users: Users,
    /// Sizes of the synthetic catalogue.
    pub catalogue: CatalogueSize,
    /// The pages and how one leads to the next.
    pub machine: Machine,
    /// What the file says that is no matter of behaviour.
    pub suggestions: Suggestions,
    canonical: Vec<u8>,
}

/// What an Eventsim configuration says about a run, for where the command line says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suggestions {
    /// Where all randomness comes from.
    pub seed: Option<u64>,
    /// Listeners at the start.
    pub num_users: Option<u32>,
    /// Number of the first listener.
    pub first_user_id: Option<u64>,
    /// Start of the window.
    pub start: Option<String>,
    /// End of the window.
    pub end: Option<String>,
    /// Label on events that name the listener.
    pub tag: Option<String>,
    /// Keys that mean nothing here.
    pub ignored: Vec<String>,
}

/// What the command line changes in a profile.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// [`Users::growth_rate`].
    pub growth_rate: Option<f64>,
    /// [`Users::attrition_rate`].
    pub attrition_rate: Option<f64>,
    /// [`Weekend::holidays`].
    pub holidays: Option<String>,
    /// Whether accounts are as old as Eventsim makes them: `growth_rate` years on average (it means the gap between two
    /// arrivals), five at most; without growth all were made at the start.
    pub eventsim_registration: bool,
}

/// Mean gaps.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Mean seconds between two pages, over all listeners.
    pub alpha_seconds: f64,
    /// Mean seconds between two sessions, over all listeners.
    pub beta_seconds: f64,
    /// Least seconds between two sessions.
    pub session_gap_seconds: i64,
}

/// Day and night.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Daily {
    /// Strength, 0 (flat) to below 1 / 2 pi.
    pub damping: f64,
    /// Hour of the day (UTC) with the fewest sessions.
    pub quietest_hour: f64,
}

/// Saturday, Sunday and holidays.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Weekend {
    /// Probability of rejecting a session start, 0 to below 1.
    pub damping: f64,
    /// Minutes before midnight at which the change begins.
    pub offset_minutes: i64,
    /// Minutes the change takes.
    pub scale_minutes: i64,
    /// Whose holidays count as weekends, as a country code; empty: nobody's.
    #[serde(default)]
    pub holidays: String,
}

/// The first listeners.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// Weights of the auth states at the start.
    pub auth: BTreeMap<String, f64>,
    /// Weights of the levels at the start.
    pub level: BTreeMap<String, f64>,
    /// Auth states whose events name the listener.
    pub show_details: Vec<String>,
    /// The auth state that ends a listener's life.
    pub churned: String,
    /// Mean age of an account at the start, in days; 0: all registered at the start.
    pub registration_age_days: f64,
    /// Greatest age of an account at the start, in days.
    #[serde(default = "oldest_account")]
    pub registration_age_max_days: f64,
    /// Auth state of listeners who come later.
    #[serde(default = "guest")]
    pub new_auth: String,
    /// Level of listeners who come later.
    #[serde(default = "free")]
    pub new_level: String,
    /// New listeners a year, as a part of those there are.
    #[serde(default)]
    pub growth_rate: f64,
    /// Part of the listeners who stop coming within a year, 0 to below 1.
    #[serde(default)]
    pub attrition_rate: f64,
}

fn oldest_account() -> f64 {
    36_500.0
}

fn guest() -> String {
    "Guest".to_owned()
}

fn free() -> String {
    "free".to_owned()
}

/// Sizes of the synthetic catalogue.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueSize {
    /// Cities.
    pub places: usize,
    /// First names, of both genders together.
    pub first_names: usize,
    /// Last names.
    pub last_names: usize,
    /// Artists.
    pub artists: usize,
    /// Songs.
    pub songs: usize,
    /// Weight of song i is i^-exponent.
    pub song_weight_exponent: f64,
    /// Part of the songs, and of the artists, with awkward strings, 0 to 1.
    pub awkward_share: f64,
    /// The songs of a file, instead of invented ones.
    #[serde(skip)]
    pub tracks: Option<Arc<TrackFile>>,
}

/// How a page answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PageAnswer {
    /// HTTP method.
    pub method: String,
    /// HTTP status.
    pub status: u16,
}

/// The states of one auth and level.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StateGroup {
    /// Weights of a session's first page.
    #[serde(default)]
    pub entry: BTreeMap<String, f64>,
    /// Page → probabilities of the next page.
    #[serde(default)]
    pub next: BTreeMap<String, BTreeMap<String, f64>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    name: String,
    #[serde(skip_serializing)]
    doc: String,
    rates: Rates,
    daily: Daily,
    weekend: Weekend,
    users: Users,
    catalogue: CatalogueSize,
    pages: BTreeMap<String, PageAnswer>,
    states: BTreeMap<String, StateGroup>,
}

impl Profile {
    /// Returns the profile with a built-in name.
    ///
    /// # Errors
    /// [`ProfileError::Unreadable`] if there is none of that name.
    pub fn builtin(name: &str) -> Result<Self, ProfileError> {
        match BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
            Some((_, text)) => Self::parse(text, name),
            None => Err(unreadable(name, std::io::ErrorKind::NotFound.into())),
        }
    }

    /// Returns the built-in profile `name`, or else the one in the file `name`, TOML or Eventsim's JSON.
    ///
    /// # Errors
    /// Any [`ProfileError`].
    pub fn load(name: &str, overrides: &Overrides) -> Result<Self, ProfileError> {
        if let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
            return Self::parse_with(text, name, overrides);
        }
        let text = std::fs::read_to_string(Path::new(name)).map_err(|source| unreadable(name, source))?;
        Self::parse_with(&text, name, overrides)
    }

    /// Parses and checks a profile; `origin` is what messages call it.
    ///
    /// # Errors
    /// All but [`ProfileError::Unreadable`].
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        Self::parse_with(text, origin, &Overrides::default())
    }

    /// Parses a profile, changes it, and checks it; `origin` is what messages call it. A text that begins with `{` is Eventsim's
    /// JSON.
    ///
    /// # Errors
    /// All but [`ProfileError::Unreadable`].
    pub fn parse_with(text: &str, origin: &str, overrides: &Overrides) -> Result<Self, ProfileError> {
        let text = text.trim_start_matches('\u{feff}');
        let is_eventsim = text.trim_start().starts_with('{');
        let (mut file, suggestions) = if is_eventsim {
            eventsim::read(text, origin)?
        } else {
            let malformed =
                |source| ProfileError::Malformed { origin: origin.to_owned(), source: Box::new(source) };
            (toml::from_str(text).map_err(malformed)?, Suggestions::default())
        };
        overrides.apply(&mut file);
        check::ranges(&file, origin, is_eventsim)?;
        // The doc line and comments are left out: they change no event.
        let canonical = serde_json::to_vec(&file).unwrap_or_default();
        let machine = Machine::compile(&file.states, &file.pages, &file.users)
            .map_err(|source| ProfileError::States { origin: origin.to_owned(), source })?;
        if file.users.growth_rate > 0.0 && machine.newcomers().is_none() {
            let group = format!("{}/{}", file.users.new_auth, file.users.new_level);
            return Err(ProfileError::NoNewcomers { origin: origin.to_owned(), group });
        }
        let ProfileFile { name, doc, rates, daily, weekend, users, catalogue, .. } = file;
        Ok(Self { name, doc, rates, daily, weekend, users, catalogue, machine, suggestions, canonical })
    }

    /// Takes the songs from a file; runs with another file are other runs.
    pub fn use_tracks(&mut self, tracks: TrackFile) {
        self.canonical.extend_from_slice(tracks.digest());
        self.catalogue.tracks = Some(Arc::new(tracks));
    }

    /// Returns a canonical form of all that shapes events, for deriving the run id.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }
}

impl Overrides {
    fn apply(&self, file: &mut ProfileFile) {
        let users = &mut file.users;
        users.growth_rate = self.growth_rate.unwrap_or(users.growth_rate);
        users.attrition_rate = self.attrition_rate.unwrap_or(users.attrition_rate);
        if self.eventsim_registration {
            users.registration_age_days = users.growth_rate * 365.0;
            users.registration_age_max_days = 5.0 * 365.0;
        }
        if let Some(holidays) = &self.holidays {
            file.weekend.holidays.clone_from(holidays);
        }
    }
}

fn unreadable(name: &str, source: std::io::Error) -> ProfileError {
    let builtin: Vec<String> = BUILTIN.iter().map(|(name, _)| format!("`{name}`")).collect();
    ProfileError::Unreadable { name: name.to_owned(), builtin: builtin.join(", "), source }
}

#[cfg(test)]
mod tests;
