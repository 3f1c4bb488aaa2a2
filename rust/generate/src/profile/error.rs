//! Why a profile cannot be used, in words that name file, line, key or state.

use crate::machine::MachineError;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Neither a built-in name nor a readable file.
    #[error("failed to read profile `{name}` (built in: {builtin})")]
    Unreadable {
        /// As given.
        name: String,
        /// Names that would work.
        builtin: String,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or with unknown, missing or wrongly typed keys; the source names line and column.
    #[error("profile `{origin}` is not well formed")]
    Malformed {
        /// Name or path.
        origin: String,
        /// Line, column and cause.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A number outside its range.
    #[error("profile `{origin}`: `{key}` is {value} (expected {expected})")]
    OutOfRange {
        /// Name or path.
        origin: String,
        /// Dotted key.
        key: &'static str,
        /// The number.
        value: f64,
        /// The range in words.
        expected: &'static str,
    },
    /// Neither TOML nor Eventsim's JSON; the source names line and column.
    #[error("Eventsim configuration `{origin}` is not well formed")]
    MalformedJson {
        /// Path.
        origin: String,
        /// Line, column and cause.
        #[source]
        source: serde_json::Error,
    },
    /// Sessions that begin where nothing leads on, nor to.
    #[error("profile `{origin}`: sessions begin at states that never occur in `transitions`: {states}")]
    UnknownInitialStates {
        /// Path.
        origin: String,
        /// All of them.
        states: String,
    },
    /// A page that answers in two ways.
    #[error("profile `{origin}`: page `{page}` is `{one}` in one state and `{other}` in another")]
    TwoAnswers {
        /// Path.
        origin: String,
        /// The page.
        page: String,
        /// Method and status.
        one: String,
        /// Method and status.
        other: String,
    },
    /// A country nobody knows the holidays of.
    #[error("profile `{origin}`: no holidays are known for `{country}` (known: {known}; empty for none)")]
    UnknownHolidays {
        /// Name or path.
        origin: String,
        /// As given.
        country: String,
        /// Codes that would work.
        known: String,
    },
    /// A growing population whose newcomers could begin no session.
    #[error("profile `{origin}`: new listeners come as `{group}`, which has no entry page")]
    NoNewcomers {
        /// Name or path.
        origin: String,
        /// Auth and level.
        group: String,
    },
    /// A state machine that cannot run.
    #[error("profile `{origin}` has a state machine that cannot run")]
    States {
        /// Name or path.
        origin: String,
        /// Which state, and why.
        #[source]
        source: MachineError,
    },
}
