//! The state machine of a profile, compiled: states are numbers, draws are one pass over a short list.
//!
//! A state is (page, auth, level), written `Page as AUTH/LEVEL`. What a [`Machine`] guarantees: every target and every entry
//! page is a state, no state's probabilities exceed 1, and whoever can end a session alive can begin another.

use std::collections::BTreeMap;

use crate::{
    profile::{PageAnswer, StateGroup, Users},
    rng::{Rng, Weighted},
};

/// The number of a state.
pub type StateId = u16;

/// Which events a page causes beside its page view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// `NextSong`: a listen.
    Song,
    /// `Login`: an auth event, one page later.
    Login,
    /// `Submit Upgrade`, `Submit Downgrade`: a status change.
    StatusChange,
    /// None.
    Plain,
}

/// A state of the machine.
#[derive(Clone, Debug)]
pub struct State {
    /// Page name.
    pub page: String,
    /// Auth state.
    pub auth: String,
    /// `free` or `paid` in the known profiles.
    pub level: String,
    /// HTTP method and status.
    pub answer: PageAnswer,
    /// What else it causes.
    pub kind: PageKind,
    /// True if its events name the listener.
    pub shows_user: bool,
    /// True if the listener is gone once a session ends here.
    pub is_churned: bool,
    /// Whether the auth is `Logged In`, which is what makes a login a success.
    pub is_logged_in: bool,
    group: usize,
    /// (cumulative probability, state), likeliest first.
    next: Vec<(f64, StateId)>,
}

impl State {
    /// Returns whether entering the state takes exactly one second.
    pub fn is_redirect(&self) -> bool {
        (300..399).contains(&self.answer.status)
    }
}

/// Why states do not make a machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A group key without a slash.
    #[error("state group `{0}` is not of the form `AUTH/LEVEL`")]
    BadGroup(String),
    /// A transition to nowhere.
    #[error(
        "state `{from}` leads to `{to}`, which is not a state (it needs a line of its own, `{{}}` where all ends)"
    )]
    UnknownTarget {
        /// Where from.
        from: String,
        /// The missing state.
        to: String,
    },
    /// An entry page that is no state.
    #[error("sessions of `{group}` start at `{to}`, which is not a state")]
    UnknownEntry {
        /// Auth and level.
        group: String,
        /// The missing state.
        to: String,
    },
    /// A probability below 0 or not a number.
    #[error("probability from state `{from}` to `{to}` is {value} (expected 0 to 1)")]
    BadProbability {
        /// Where from.
        from: String,
        /// Where to.
        to: String,
        /// As given.
        value: f64,
    },
    /// More than certain.
    #[error("probabilities of state `{from}` sum to {sum:.4}, more than 1")]
    MoreThanCertain {
        /// Where from.
        from: String,
        /// The sum.
        sum: f64,
    },
    /// Listeners who could never begin a session.
    #[error("`{group}` has no entry page with a weight above 0, but {who}")]
    NoEntry {
        /// Auth and level.
        group: String,
        /// Who gets there.
        who: String,
    },
    /// `[users]` that allow nobody.
    #[error("`users.{0}` has no weight above 0")]
    NoWeight(&'static str),
    /// More states than a number of 16 bits counts.
    #[error("{0} states are more than 65535")]
    TooManyStates(usize),
}

/// A compiled state machine.
#[derive(Clone, Debug)]
pub struct Machine {
    states: Vec<State>,
    groups: Vec<Group>,
    initial: (Weighted, Vec<usize>),
    newcomers: Option<usize>,
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    weights: Weighted,
    entries: Vec<StateId>,
}

impl Machine {
    /// Compiles and checks the states of a profile.
    ///
    /// # Errors
    /// Any [`MachineError`]; the first in the order of the groups and pages.
    pub fn compile(
        groups: &BTreeMap<String, StateGroup>,
        pages: &BTreeMap<String, PageAnswer>,
        users: &Users,
    ) -> Result<Self, MachineError> {
        let mut ids = BTreeMap::new();
        let mut states = Vec::new();
        for (index, (name, group)) in groups.iter().enumerate() {
            for page in group.next.keys() {
                let count = states.len();
                let id = StateId::try_from(count).map_err(|_| MachineError::TooManyStates(count + 1))?;
                ids.insert(state_name(page, name), id);
                states.push(new_state(page, name, index, pages, users)?);
            }
        }
        for (name, group) in groups {
            for (page, targets) in &group.next {
                let from = state_name(page, name);
                let next = compile_transitions(&from, name, targets, &ids)?;
                if let Some(id) = ids.get(&from) {
                    states[usize::from(*id)].next = next;
                }
            }
        }
        let mut compiled = Vec::new();
        for (name, group) in groups {
            compiled.push(compile_entry(name, group, &ids)?);
        }
        let initial = initial_groups(&compiled, users)?;
        let newcomers = format!("{}/{}", users.new_auth, users.new_level);
        let is_theirs = |group: &Group| group.name == newcomers && !group.entries.is_empty();
        let newcomers = compiled.iter().position(is_theirs);
        let machine = Self { states, groups: compiled, initial, newcomers };
        machine.check_that_life_goes_on()?;
        Ok(machine)
    }

    /// Returns a state.
    pub fn state(&self, id: StateId) -> &State {
        &self.states[usize::from(id)]
    }

    /// Returns all states, in the order of their numbers.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Draws the group (auth and level) of a new listener.
    pub fn draw_group(&self, rng: &mut Rng) -> usize {
        let (weights, groups) = &self.initial;
        groups[weights.draw(rng)]
    }

    /// Returns the group of listeners who come later; `None` if they could begin no session.
    pub fn newcomers(&self) -> Option<usize> {
        self.newcomers
    }

    /// Draws the first state of a session of a listener of a group.
    pub fn draw_entry(&self, group: usize, rng: &mut Rng) -> StateId {
        let group = &self.groups[group];
        group.entries[group.weights.draw(rng)]
    }

    /// Returns the group a listener belongs to after a session that ended in a state.
    pub fn group_after(&self, state: StateId) -> usize {
        self.state(state).group
    }

    /// Draws the state after `state`; `None` if the session ends.
    pub fn draw_next(&self, state: StateId, rng: &mut Rng) -> Option<StateId> {
        let point = rng.unit();
        self.state(state).next.iter().find(|(edge, _)| point < *edge).map(|(_, next)| *next)
    }

    fn check_that_life_goes_on(&self) -> Result<(), MachineError> {
        for state in &self.states {
            let leaves = state.next.last().map_or(0.0, |(edge, _)| *edge);
            let group = &self.groups[state.group];
            if leaves < 1.0 - 1e-9 && !state.is_churned && group.entries.is_empty() {
                let who = format!("sessions end at `{}`", state_name(&state.page, &group.name));
                return Err(MachineError::NoEntry { group: group.name.clone(), who });
            }
        }
        Ok(())
    }
}

fn state_name(page: &str, group: &str) -> String {
    format!("{page} as {group}")
}

fn new_state(
    page: &str,
    group: &str,
    index: usize,
    pages: &BTreeMap<String, PageAnswer>,
    users: &Users,
) -> Result<State, MachineError> {
    let (auth, level) = group.split_once('/').ok_or_else(|| MachineError::BadGroup(group.to_owned()))?;
    let kind = match page {
        "NextSong" => PageKind::Song,
        "Login" => PageKind::Login,
        "Submit Upgrade" | "Submit Downgrade" => PageKind::StatusChange,
        _ => PageKind::Plain,
    };
    let usual = PageAnswer { method: "GET".to_owned(), status: 200 };
    Ok(State {
        page: page.to_owned(),
        auth: auth.to_owned(),
        level: level.to_owned(),
        answer: pages.get(page).cloned().unwrap_or(usual),
        kind,
        shows_user: users.show_details.iter().any(|shown| shown == auth),
        is_churned: users.churned == auth,
        is_logged_in: auth == "Logged In",
        group: index,
        next: Vec::new(),
    })
}

fn compile_transitions(
    from: &str,
    group: &str,
    targets: &BTreeMap<String, f64>,
    ids: &BTreeMap<String, StateId>,
) -> Result<Vec<(f64, StateId)>, MachineError> {
    let mut next = Vec::new();
    for (target, probability) in targets {
        let to = if target.contains(" as ") { target.clone() } else { state_name(target, group) };
        if !(0.0..=f64::MAX).contains(probability) {
            return Err(MachineError::BadProbability { from: from.to_owned(), to, value: *probability });
        }
        let Some(id) = ids.get(&to) else {
            return Err(MachineError::UnknownTarget { from: from.to_owned(), to });
        };
        next.push((*probability, *id));
    }
    // Likeliest first makes the draw short; the sort is stable, so that the order is the file's own alphabet.
    next.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut sum = 0.0;
    for (probability, _) in &mut next {
        sum += *probability;
        *probability = sum;
    }
    if sum > 1.0 + 1e-9 {
        return Err(MachineError::MoreThanCertain { from: from.to_owned(), sum });
    }
    Ok(next)
}

fn compile_entry(
    name: &str,
    group: &StateGroup,
    ids: &BTreeMap<String, StateId>,
) -> Result<Group, MachineError> {
    let (mut entries, mut weights) = (Vec::new(), Vec::new());
    for (page, weight) in &group.entry {
        let to = state_name(page, name);
        let Some(id) = ids.get(&to) else {
            return Err(MachineError::UnknownEntry { group: name.to_owned(), to });
        };
        if *weight > 0.0 && weight.is_finite() {
            entries.push(*id);
            weights.push(*weight);
        }
    }
    Ok(Group { name: name.to_owned(), weights: Weighted::new(weights), entries })
}

fn initial_groups(groups: &[Group], users: &Users) -> Result<(Weighted, Vec<usize>), MachineError> {
    for (key, weights) in [("auth", &users.auth), ("level", &users.level)] {
        if !weights.values().any(|weight| *weight > 0.0) {
            return Err(MachineError::NoWeight(key));
        }
    }
    let (mut weights, mut indices) = (Vec::new(), Vec::new());
    for (auth, auth_weight) in users.auth.iter().filter(|(_, weight)| **weight > 0.0) {
        for (level, level_weight) in users.level.iter().filter(|(_, weight)| **weight > 0.0) {
            let name = format!("{auth}/{level}");
            let index = groups.iter().position(|group| group.name == name && !group.entries.is_empty());
            let Some(index) = index else {
                return Err(MachineError::NoEntry { group: name, who: "listeners start there".to_owned() });
            };
            weights.push(auth_weight * level_weight);
            indices.push(index);
        }
    }
    Ok((Weighted::new(weights), indices))
}

#[cfg(test)]
mod tests;
