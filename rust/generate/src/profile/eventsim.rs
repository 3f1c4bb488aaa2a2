//! Eventsim's own JSON configurations, read as profiles.
//!
//! Whatever Eventsim reads is read, with Eventsim's defaults, except for the level of new listeners, which is `free` here and
//! `Free` there (a level that its configurations do not know). Pages and how one leads to the next come from `transitions`,
//! first pages from `new-session`. What a run is made from beside that (`seed`, `n-users`, `start-date` …) becomes
//! [`Suggestions`]: the command line wins. Sizes of the catalogue are those of the built-in example.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    BUILTIN, Daily, PageAnswer, ProfileError, ProfileFile, Rates, StateGroup, Suggestions, Users, Weekend,
};

/// A whole number, written with or without a point.
#[derive(Clone, Copy, Debug)]
struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number.fract() != 0.0 || number.abs() > (1i64 << 53) as f64 {
            return Err(D::Error::custom(format!("{number} is not a whole number")));
        }
        Ok(Self(number as i64))
    }
}

impl Whole {
    fn at_least_0(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    seed: Option<Whole>,
    alpha: Option<f64>,
    beta: Option<f64>,
    damping: Option<f64>,
    weekend_damping: Option<f64>,
    weekend_damping_offset: Option<Whole>,
    weekend_damping_scale: Option<Whole>,
    session_gap: Option<Whole>,
    start_date: Option<String>,
    end_date: Option<String>,
    n_users: Option<Whole>,
    first_user_id: Option<Whole>,
    growth_rate: Option<f64>,
    tag: Option<String>,
    churned_state: Option<String>,
    new_user_auth: Option<String>,
    new_user_level: Option<String>,
    #[serde(default)]
    show_user_details: Vec<Show>,
    #[serde(default)]
    levels: Vec<Level>,
    #[serde(default)]
    auths: Vec<Auth>,
    #[serde(default)]
    new_session: Vec<Initial>,
    #[serde(default)]
    transitions: Vec<Transition>,
}

/// The keys of [`Config`]; all others mean nothing, to Eventsim neither.
const KEYS: [&str; 22] = [
    "seed",
    "alpha",
    "beta",
    "damping",
    "weekend-damping",
    "weekend-damping-offset",
    "weekend-damping-scale",
    "session-gap",
    "start-date",
    "end-date",
    "n-users",
    "first-user-id",
    "growth-rate",
    "tag",
    "churned-state",
    "new-user-auth",
    "new-user-level",
    "show-user-details",
    "levels",
    "auths",
    "new-session",
    "transitions",
];

#[derive(Deserialize)]
struct Show {
    auth: String,
    show: bool,
}

#[derive(Deserialize)]
struct Level {
    level: String,
    weight: f64,
}

#[derive(Deserialize)]
struct Auth {
    auth: String,
    weight: f64,
}

#[derive(Deserialize)]
struct Initial {
    #[serde(flatten)]
    state: StateKey,
    weight: f64,
}

#[derive(Deserialize)]
struct Transition {
    source: StateKey,
    dest: StateKey,
    p: f64,
}

#[derive(Deserialize)]
struct StateKey {
    page: String,
    auth: String,
    #[serde(default)]
    level: String,
    #[serde(default = "get")]
    method: String,
    status: Whole,
}

fn get() -> String {
    "GET".to_owned()
}

impl StateKey {
    fn group(&self) -> String {
        format!("{}/{}", self.auth, self.level)
    }

    fn name(&self) -> String {
        format!("{} as {}", self.page, self.group())
    }
}

/// Returns what Eventsim calls a key of ours.
pub(super) fn name_of(key: &'static str) -> &'static str {
    match key {
        "rates.alpha_seconds" => "alpha",
        "rates.beta_seconds" => "beta",
        "rates.session_gap_seconds" => "session-gap",
        "daily.damping" => "damping",
        "weekend.damping" => "weekend-damping",
        "weekend.offset_minutes" => "weekend-damping-offset",
        "weekend.scale_minutes" => "weekend-damping-scale",
        "users.growth_rate" => "growth-rate",
        other => other,
    }
}

/// Reads a configuration; `origin` is what messages call it.
pub(super) fn read(text: &str, origin: &str) -> Result<(ProfileFile, Suggestions), ProfileError> {
    let malformed = |source| ProfileError::MalformedJson { origin: origin.to_owned(), source };
    let config: Config = serde_json::from_str(text).map_err(malformed)?;
    let keys: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_str(text).map_err(malformed)?;
    let suggestions = Suggestions {
        seed: config.seed.map(|seed| seed.0 as u64),
        num_users: config.n_users.and_then(Whole::at_least_0).and_then(|count| u32::try_from(count).ok()),
        first_user_id: config.first_user_id.and_then(Whole::at_least_0),
        start: config.start_date.clone(),
        end: config.end_date.clone(),
        tag: config.tag.clone(),
        ignored: keys.into_keys().filter(|key| !KEYS.contains(&key.as_str())).collect(),
    };
    let pages = pages(&config, origin)?;
    let states = states(&config, origin)?;
    let name = std::path::Path::new(origin).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let example: ProfileFile = toml::from_str(BUILTIN[0].1).map_err(|source| ProfileError::Malformed {
        origin: BUILTIN[0].0.to_owned(),
        source: Box::new(source),
    })?;
    let whole = |number: Option<Whole>, usual| number.map_or(usual, |number| number.0);
    let file = ProfileFile {
        name,
        doc: format!("the Eventsim configuration {origin}"),
        rates: Rates {
            alpha_seconds: config.alpha.unwrap_or(60.0),
            beta_seconds: config.beta.unwrap_or(3.0 * 86_400.0),
            session_gap_seconds: whole(config.session_gap, 1_800),
        },
        daily: Daily { damping: config.damping.unwrap_or(0.0625), quietest_hour: 3.0 },
        weekend: Weekend {
            damping: config.weekend_damping.unwrap_or(0.5),
            offset_minutes: whole(config.weekend_damping_offset, 6),
            scale_minutes: whole(config.weekend_damping_scale, 6),
            holidays: example.weekend.holidays,
        },
        users: Users {
            auth: config.auths.into_iter().map(|auth| (auth.auth, auth.weight)).collect(),
            level: config.levels.into_iter().map(|level| (level.level, level.weight)).collect(),
            show_details: config
                .show_user_details
                .into_iter()
                .filter(|it| it.show)
                .map(|it| it.auth)
                .collect(),
            churned: config.churned_state.unwrap_or_default(),
            new_auth: config.new_user_auth.unwrap_or(example.users.new_auth),
            new_level: config.new_user_level.unwrap_or(example.users.new_level),
            growth_rate: config.growth_rate.unwrap_or(0.0),
            ..example.users
        },
        catalogue: example.catalogue,
        pages,
        states,
    };
    Ok((file, suggestions))
}

/// Collects how the pages answer; a page has one answer in all states.
fn pages(config: &Config, origin: &str) -> Result<BTreeMap<String, PageAnswer>, ProfileError> {
    let mut pages: BTreeMap<String, PageAnswer> = BTreeMap::new();
    for state in config.transitions.iter().flat_map(|transition| [&transition.source, &transition.dest]) {
        let status = u16::try_from(state.status.0).unwrap_or(u16::MAX);
        let answer = PageAnswer { method: state.method.clone(), status };
        let known = pages.entry(state.page.clone()).or_insert_with(|| answer.clone());
        if (&known.method, known.status) != (&answer.method, answer.status) {
            return Err(ProfileError::TwoAnswers {
                origin: origin.to_owned(),
                page: state.page.clone(),
                one: format!("{} {}", known.method, known.status),
                other: format!("{} {}", answer.method, answer.status),
            });
        }
    }
    Ok(pages)
}

/// Collects the states: whatever occurs in a transition; sessions may begin at no other.
fn states(config: &Config, origin: &str) -> Result<BTreeMap<String, StateGroup>, ProfileError> {
    let mut groups: BTreeMap<String, StateGroup> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for Transition { source, dest, p } in &config.transitions {
        for state in [source, dest] {
            known.insert(state.name());
            groups.entry(state.group()).or_default().next.entry(state.page.clone()).or_default();
        }
        if let Some(row) = groups.get_mut(&source.group()).and_then(|group| group.next.get_mut(&source.page))
        {
            // A transition that is listed twice has both probabilities, as in Eventsim.
            *row.entry(dest.name()).or_default() += p;
        }
    }
    let missing: Vec<String> = config
        .new_session
        .iter()
        .map(|initial| initial.state.name())
        .filter(|name| !known.contains(name))
        .map(|name| format!("`{name}`"))
        .collect();
    if !missing.is_empty() {
        return Err(ProfileError::UnknownInitialStates {
            origin: origin.to_owned(),
            states: missing.join(", "),
        });
    }
    for Initial { state, weight } in &config.new_session {
        *groups.entry(state.group()).or_default().entry.entry(state.page.clone()).or_default() += weight;
    }
    Ok(groups)
}

#[cfg(test)]
mod tests;
