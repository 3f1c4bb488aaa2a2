//! A topic is data: its contract names the fields on the wire, the columns of its table, and what makes an event the same event.
//!
//! One TOML file per topic in the folder `contracts/` is the only place that knows fields. From it come the decoding
//! plan, the table's schema and the data dictionary; a further topic needs one new file and no code.
//!
//! A `Contract` that exists is valid: [`Contract::parse`] is the only way to make one, and it checks every rule that the
//! rest of the crate relies on (unique names, identity fields present with usable types, a long event time …).

mod column;
mod parse;
mod silver;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use column::{Column, ColumnType, LEGACY_EVENT_ID, schema_of};
pub(crate) use column::{ELEMENT, UTC};
pub use silver::{Alternation, Precedence, SilverRules};

/// The most fields a contract may have: the decoder keeps one bit per field in a machine word.
pub const MAX_FIELDS: usize = 64;

/// What one topic carries and how it becomes a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// Name of the contract, as in its file name.
    pub name: String,
    /// Version of the contract, from 1; stored with dead letters, so that a fix can be told from the fault.
    pub version: u32,
    /// Kafka topic.
    pub topic: String,
    /// Bronze table, without namespace: `bronze_<topic>`.
    pub table: String,
    /// What one row of the table is.
    pub doc: String,
    /// Payload fields, in table order.
    pub fields: Vec<Field>,
    /// Text fields that older producers send in place of several others.
    pub splits: Vec<Split>,
    /// What makes an event the same event.
    pub identity: Identity,
    /// Which field is the event time, and what is accepted.
    pub event_time: EventTime,
    /// How the table is partitioned.
    pub partition: PartitionTransform,
    /// Columns a file is sorted by, nulls first.
    pub sort_key: Vec<String>,
    /// How a row of silver is made from a row of bronze.
    pub silver: SilverRules,
}

/// One field of the payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Name on the wire.
    pub name: String,
    /// Other names on the wire for the same thing.
    pub aliases: Vec<String>,
    /// Name of the column; the wire name unless the contract says otherwise.
    pub column: String,
    /// Type on the wire and in the table.
    pub kind: FieldKind,
    /// Whether an event without it (or with null) is a dead letter.
    pub required: bool,
    /// Whether a number may also come as text (`"42"`); empty text is then null.
    pub accept_text: bool,
    /// Unit of a number.
    pub unit: Option<String>,
    /// What it means.
    pub doc: String,
    /// Whether it is about a person.
    pub personal: bool,
}

/// Type of a payload field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// UTF-8 text.
    String,
    /// Whole number of 32 bits.
    Int,
    /// Whole number of 64 bits.
    Long,
    /// IEEE 754 number of 64 bits; a whole number on the wire is accepted.
    Double,
    /// `true` or `false`; text is not accepted.
    Boolean,
}

/// One text on the wire that holds two fields, divided at its last comma: `"Lowell, MA"`.
///
/// Both halves are trimmed; without a comma the whole text is the first field and the second is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Name on the wire.
    pub name: String,
    /// The fields (by wire name) before and after the last comma.
    pub into: [String; 2],
}

/// The fields (by wire name) that make an event the same event wherever it is delivered; see [`crate::identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Session, required field.
    pub session: String,
    /// Position in the session, required field.
    pub item: String,
    /// Page, required text field; `None` where the topic has one kind of event only.
    pub page: Option<String>,
    /// Stands in for the page where there is none.
    pub kind: String,
    /// User; null is a value of its own.
    pub user: String,
}

/// The event time and its accepted range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// Field (by wire name), required long, milliseconds since 1970 UTC.
    pub field: String,
    /// First accepted instant, ms since 1970 UTC, inclusive.
    pub earliest_ms: i64,
    /// First instant no longer accepted whatever the Kafka timestamp says, ms since 1970 UTC.
    pub latest_ms: i64,
}

impl EventTime {
    /// Whether an event time is accepted: in `earliest_ms..latest_ms`, and at most `ahead_ms` after the record's Kafka
    /// timestamp if it has one. The wall clock plays no part, so that a replay decides alike.
    #[must_use]
    pub fn accepts(&self, event_time_ms: i64, kafka_timestamp_ms: Option<i64>, ahead_ms: i64) -> bool {
        let in_range = event_time_ms >= self.earliest_ms && event_time_ms < self.latest_ms;
        in_range && kafka_timestamp_ms.is_none_or(|base| event_time_ms <= base.saturating_add(ahead_ms))
    }
}

/// How a bronze table is partitioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionTransform {
    /// Identity of the column `event_date`.
    EventDate,
    /// `hour(event_ts)`.
    Hour,
}

impl Contract {
    /// Reads a contract from TOML; `origin` (a file name) stands in error messages.
    ///
    /// # Errors
    /// [`ContractError::NotToml`] where the text is no TOML of the right shape, [`ContractError::Invalid`] and
    /// [`ContractError::InvalidField`] where it breaks a rule.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ContractError> {
        parse::parse(text, origin)
    }

    /// Returns the field with this wire name (not an alias).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Why contracts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The text is no TOML, or not of a contract's shape.
    #[error("failed to read contract `{origin}`")]
    NotToml {
        /// File name.
        origin: String,
        /// Where and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The contract as a whole breaks a rule.
    #[error("invalid contract `{origin}`: {problem}")]
    Invalid {
        /// File name.
        origin: String,
        /// The broken rule.
        problem: String,
    },
    /// One field breaks a rule.
    #[error("invalid contract `{origin}`: field `{field}` {problem}")]
    InvalidField {
        /// File name.
        origin: String,
        /// Wire name.
        field: String,
        /// The broken rule.
        problem: String,
    },
    /// The folder or a file of it cannot be read.
    #[error("failed to read contracts at `{}`", path.display())]
    Unreadable {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder has no `*.toml`.
    #[error("folder `{}` holds no contract (expected at least one `<topic>.toml`)", path.display())]
    NoContracts {
        /// Folder.
        path: PathBuf,
    },
}

const EMBEDDED: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/contracts.rs"));

/// Returns the contracts that are built in: all of the folder `contracts/` at build time, by file name.
///
/// # Panics
/// If an embedded contract is invalid, which a test of this crate rules out.
#[must_use]
#[expect(clippy::panic, reason = "embedded text cannot change after the build, and a test parses all of it")]
pub fn builtin() -> Vec<Arc<Contract>> {
    match parse_all(EMBEDDED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()) {
        Ok(contracts) => contracts,
        Err(error) => panic!("{error}"),
    }
}

/// Returns the contracts of a folder: all its `*.toml`, by file name.
///
/// # Errors
/// Those of [`Contract::parse`]; [`ContractError::Unreadable`], [`ContractError::NoContracts`]; and
/// [`ContractError::Invalid`] where two contracts share a name, topic or table, or one has a rule on a topic that none has.
pub fn load_dir(folder: &Path) -> Result<Vec<Arc<Contract>>, ContractError> {
    let unreadable = |path: &Path, source| ContractError::Unreadable { path: path.to_owned(), source };
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let path = entry.map_err(|source| unreadable(folder, source))?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|source| unreadable(&path, source))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        texts.push((name, text));
    }
    if texts.is_empty() {
        return Err(ContractError::NoContracts { path: folder.to_owned() });
    }
    texts.sort();
    parse_all(texts)
}

/// Parses all and checks what only the set can break: no name, topic or table twice, and no rule on a topic that is not there.
fn parse_all(texts: Vec<(String, String)>) -> Result<Vec<Arc<Contract>>, ContractError> {
    let mut contracts: Vec<Arc<Contract>> = Vec::with_capacity(texts.len());
    let mut origins = Vec::with_capacity(texts.len());
    for (origin, text) in texts {
        let contract = Contract::parse(&text, &origin)?;
        let twin = contracts.iter().find(|other| {
            other.name == contract.name
                || other.topic == contract.topic
                || other.table == contract.table
                || other.silver.table == contract.silver.table
        });
        if let Some(twin) = twin {
            let problem = format!("its name, topic or a table is that of contract `{}`", twin.name);
            return Err(ContractError::Invalid { origin, problem });
        }
        contracts.push(Arc::new(contract));
        origins.push(origin);
    }
    for (contract, origin) in contracts.iter().zip(&origins) {
        silver::check_across(contract, &contracts, origin)?;
    }
    Ok(contracts)
}

#[cfg(test)]
pub(crate) mod tests;
