//! Reads a contract's TOML and checks every rule; errors name the file and the field.

use std::collections::HashSet;

use chrono::NaiveDate;
use serde::Deserialize;

use super::{
    Contract, ContractError, EventTime, Field, FieldKind, Identity, LEGACY_EVENT_ID, MAX_FIELDS,
    PartitionTransform, Split, column,
    silver::{self, RawSilver},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContract {
    name: String,
    version: u32,
    topic: String,
    table: String,
    doc: String,
    partition: Option<RawPartition>,
    sort_key: Vec<String>,
    #[serde(default)]
    silver: RawSilver,
    event_time: RawEventTime,
    identity: RawIdentity,
    #[serde(default)]
    splits: Vec<RawSplit>,
    fields: Vec<RawField>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawPartition {
    EventDate,
    Hour,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEventTime {
    field: String,
    earliest: String,
    latest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    session: String,
    item: String,
    page: Option<String>,
    kind: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSplit {
    name: String,
    into: [String; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    column: Option<String>,
    #[serde(rename = "type")]
    kind: RawKind,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    accept_text: bool,
    unit: Option<String>,
    doc: String,
    #[serde(default)]
    personal: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawKind {
    String,
    Int,
    Long,
    Double,
    Boolean,
}

/// See [`Contract::parse`].
pub(super) fn parse(text: &str, origin: &str) -> Result<Contract, ContractError> {
    let raw: RawContract = toml::from_str(text)
        .map_err(|source| ContractError::NotToml { origin: origin.to_owned(), source: Box::new(source) })?;
    let check = Check { origin };
    let contract = convert(raw, &check)?;
    check.contract(&contract)?;
    Ok(contract)
}

fn convert(raw: RawContract, check: &Check<'_>) -> Result<Contract, ContractError> {
    let (name, identity) = (raw.name, raw.identity);
    Ok(Contract {
        version: raw.version,
        topic: raw.topic,
        table: raw.table,
        doc: raw.doc,
        fields: raw.fields.into_iter().map(field).collect(),
        splits: raw.splits.into_iter().map(|split| Split { name: split.name, into: split.into }).collect(),
        identity: Identity {
            session: identity.session,
            item: identity.item,
            page: identity.page,
            kind: identity.kind,
            user: identity.user,
        },
        event_time: EventTime {
            earliest_ms: check.midnight("earliest", &raw.event_time.earliest)?,
            latest_ms: check.midnight("latest", &raw.event_time.latest)?,
            field: raw.event_time.field,
        },
        partition: match raw.partition {
            None | Some(RawPartition::EventDate) => PartitionTransform::EventDate,
            Some(RawPartition::Hour) => PartitionTransform::Hour,
        },
        sort_key: raw.sort_key,
        silver: silver::convert(raw.silver, &name),
        name,
    })
}

fn field(raw: RawField) -> Field {
    Field {
        column: raw.column.unwrap_or_else(|| raw.name.clone()),
        name: raw.name,
        aliases: raw.aliases,
        kind: match raw.kind {
            RawKind::String => FieldKind::String,
            RawKind::Int => FieldKind::Int,
            RawKind::Long => FieldKind::Long,
            RawKind::Double => FieldKind::Double,
            RawKind::Boolean => FieldKind::Boolean,
        },
        required: raw.required,
        accept_text: raw.accept_text,
        unit: raw.unit,
        doc: raw.doc,
        personal: raw.personal,
    }
}

/// The rules; each returns the first breach.
pub(super) struct Check<'a> {
    pub(super) origin: &'a str,
}

impl Check<'_> {
    pub(super) fn invalid<T>(&self, problem: impl Into<String>) -> Result<T, ContractError> {
        Err(ContractError::Invalid { origin: self.origin.to_owned(), problem: problem.into() })
    }

    pub(super) fn invalid_field<T>(
        &self,
        field: &str,
        problem: impl Into<String>,
    ) -> Result<T, ContractError> {
        let (origin, field) = (self.origin.to_owned(), field.to_owned());
        Err(ContractError::InvalidField { origin, field, problem: problem.into() })
    }

    fn midnight(&self, name: &str, date: &str) -> Result<i64, ContractError> {
        let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
        match day {
            Some(midnight) => Ok(midnight.and_utc().timestamp_millis()),
            None => self.invalid(format!("`event_time.{name}` is `{date}` (expected e.g. `2000-01-01`)")),
        }
    }

    fn contract(&self, contract: &Contract) -> Result<(), ContractError> {
        self.head(contract)?;
        for field in &contract.fields {
            self.field(field)?;
        }
        self.names_are_unique(contract)?;
        self.splits(contract)?;
        self.identity(contract)?;
        self.event_time(contract)?;
        self.sort_key(contract)?;
        self.silver(contract)
    }

    fn head(&self, contract: &Contract) -> Result<(), ContractError> {
        let topic_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !is_snake(&contract.name) {
            return self.invalid(format!("name `{}` is not snake_case", contract.name));
        }
        if !is_snake(&contract.table) {
            return self.invalid(format!("table `{}` is not snake_case", contract.table));
        }
        if contract.topic.is_empty() || contract.topic.len() > 249 || !contract.topic.bytes().all(topic_byte)
        {
            return self.invalid(format!("`{}` is not a topic name", contract.topic));
        }
        if contract.version == 0 {
            return self.invalid("versions count from 1");
        }
        if contract.doc.trim().is_empty() {
            return self.invalid("`doc` is empty");
        }
        if contract.fields.is_empty() || contract.fields.len() > MAX_FIELDS {
            return self.invalid(format!("it has {} fields (1 to {MAX_FIELDS})", contract.fields.len()));
        }
        Ok(())
    }

    fn field(&self, field: &Field) -> Result<(), ContractError> {
        for name in field.aliases.iter().chain([&field.name, &field.column]) {
            if !is_plain(name) {
                return self.invalid_field(
                    &field.name,
                    format!("has the name `{name}` (expected plain text without quotes)"),
                );
            }
        }
        if field.doc.trim().is_empty() {
            return self.invalid_field(&field.name, "has no `doc`");
        }
        let is_whole = matches!(field.kind, FieldKind::Int | FieldKind::Long);
        if field.accept_text && !is_whole {
            return self.invalid_field(&field.name, "has `accept_text`, which only an int or long can have");
        }
        let is_number = is_whole || field.kind == FieldKind::Double;
        if field.unit.is_some() && !is_number {
            return self.invalid_field(&field.name, "has a unit but is not a number");
        }
        Ok(())
    }

    fn names_are_unique(&self, contract: &Contract) -> Result<(), ContractError> {
        let mut wire_names = HashSet::new();
        let aliases = |field: &Field| field.aliases.clone();
        let wire =
            contract.fields.iter().flat_map(|field| [vec![field.name.clone()], aliases(field)].concat());
        for name in wire.chain(contract.splits.iter().map(|split| split.name.clone())) {
            if wire_names.contains(&name) {
                return self
                    .invalid_field(&name, "is on the wire twice (names, aliases and splits are one set)");
            }
            wire_names.insert(name);
        }
        // Engines compare column names without case, so `TS` beside `ts` would not load.
        let mut columns: HashSet<String> =
            column::derived_columns().into_iter().map(|column| column.name).collect();
        columns.insert(LEGACY_EVENT_ID.to_owned());
        for field in &contract.fields {
            if !columns.insert(field.column.to_lowercase()) {
                return self.invalid_field(
                    &field.name,
                    format!("has the column `{}`, which is taken", field.column),
                );
            }
        }
        Ok(())
    }

    fn splits(&self, contract: &Contract) -> Result<(), ContractError> {
        for split in &contract.splits {
            if !is_plain(&split.name) {
                return self.invalid(format!("split `{}` has no plain name", split.name));
            }
            if split.into[0] == split.into[1] {
                return self.invalid(format!("split `{}` names `{}` twice", split.name, split.into[0]));
            }
            for part in &split.into {
                self.text_field(contract, part, "splits")?;
            }
        }
        Ok(())
    }

    fn identity(&self, contract: &Contract) -> Result<(), ContractError> {
        let identity = &contract.identity;
        for name in [&identity.session, &identity.item] {
            let field = self.known(contract, name, "identity")?;
            if !field.required || !matches!(field.kind, FieldKind::Int | FieldKind::Long | FieldKind::String)
            {
                return self.invalid_field(
                    name,
                    "is part of the identity, so it must be required, and an int, long or string",
                );
            }
        }
        if let Some(page) = &identity.page
            && !self.text_field(contract, page, "identity")?.required
        {
            return self.invalid_field(page, "is part of the identity, so it must be required");
        }
        if identity.kind.is_empty() {
            return self.invalid("`identity.kind` is empty");
        }
        let user = self.known(contract, &identity.user, "identity")?;
        if !matches!(user.kind, FieldKind::Int | FieldKind::Long | FieldKind::String) {
            return self.invalid_field(
                &identity.user,
                "is part of the identity, so it must be an int, long or string",
            );
        }
        Ok(())
    }

    fn event_time(&self, contract: &Contract) -> Result<(), ContractError> {
        let time = &contract.event_time;
        let field = self.known(contract, &time.field, "event_time")?;
        if !field.required || field.kind != FieldKind::Long {
            return self.invalid_field(&time.field, "is the event time, so it must be a required long");
        }
        if time.earliest_ms >= time.latest_ms {
            return self.invalid("`event_time.earliest` is not before `event_time.latest`");
        }
        Ok(())
    }

    fn sort_key(&self, contract: &Contract) -> Result<(), ContractError> {
        let columns = contract.columns();
        let mut seen = HashSet::new();
        for name in &contract.sort_key {
            if !columns.iter().any(|column| &column.name == name) {
                return self.invalid(format!("`sort_key` names `{name}`, which is no column"));
            }
            if !seen.insert(name) {
                return self.invalid(format!("`sort_key` names `{name}` twice"));
            }
        }
        Ok(())
    }

    pub(super) fn known<'c>(
        &self,
        contract: &'c Contract,
        name: &str,
        part: &str,
    ) -> Result<&'c Field, ContractError> {
        match contract.field(name) {
            Some(field) => Ok(field),
            None => self.invalid(format!("`{part}` names `{name}`, which is no field")),
        }
    }

    pub(super) fn text_field<'c>(
        &self,
        contract: &'c Contract,
        name: &str,
        part: &str,
    ) -> Result<&'c Field, ContractError> {
        let field = self.known(contract, name, part)?;
        if field.kind == FieldKind::String {
            return Ok(field);
        }
        self.invalid_field(name, format!("stands in `{part}`, so it must be a string"))
    }
}

/// Whether a name is made of lower-case letters, digits and underscores.
pub(super) fn is_snake(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether a name can stand between JSON quotes as it is; the decoder compares bytes.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter != '"' && letter != '\\' && !letter.is_control())
}
