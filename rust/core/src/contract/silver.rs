//! The section `[silver]` of a contract: what a row of silver has beside the renamed payload, as data.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::parse::{Check, is_snake};
use super::{Contract, ContractError, FieldKind};

/// How a row of silver is made from a row of bronze. Fields are named by their wire names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilverRules {
    /// Silver table, without namespace: `silver_<contract name>` unless the contract says otherwise.
    pub table: String,
    /// Text fields whose UTF-8 was read as Latin-1 or Windows-1252 somewhere; silver repairs them, bronze keeps them.
    pub text_repair: Vec<String>,
    /// Long fields in ms since 1970 UTC that become timestamps.
    pub timestamps: Vec<String>,
    /// Text field that is a user agent: unquoted, and taken apart into browser, system and device.
    pub user_agent: Option<String>,
    /// Field that the event changes.
    pub alternation: Option<Alternation>,
    /// A mark that depends on the event before in the session.
    pub precedence: Option<Precedence>,
}

/// A field with one of two values, which holds the value before the event; after it, the other one holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternation {
    /// Text field; silver has `old_<column>` and `new_<column>` in its place.
    pub field: String,
    /// The two values.
    pub between: [String; 2],
}

/// A boolean that is true where the event one item before, in the same session of the same run, is of a given kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precedence {
    /// Silver column.
    pub column: String,
    /// Topic of the event before.
    pub topic: String,
    /// Text field of that topic.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What it means.
    pub doc: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSilver {
    table: Option<String>,
    #[serde(default)]
    text_repair: Vec<String>,
    #[serde(default)]
    timestamps: Vec<String>,
    user_agent: Option<String>,
    alternation: Option<Alternation>,
    precedence: Option<Precedence>,
}

pub(super) fn convert(raw: RawSilver, contract_name: &str) -> SilverRules {
    SilverRules {
        table: raw.table.unwrap_or_else(|| format!("silver_{contract_name}")),
        text_repair: raw.text_repair,
        timestamps: raw.timestamps,
        user_agent: raw.user_agent,
        alternation: raw.alternation,
        precedence: raw.precedence,
    }
}

impl Check<'_> {
    pub(super) fn silver(&self, contract: &Contract) -> Result<(), ContractError> {
        let rules = &contract.silver;
        if !is_snake(&rules.table) {
            return self.invalid(format!("table `{}` is not snake_case", rules.table));
        }
        if rules.table == contract.table {
            return self.invalid(format!("`{}` is both the bronze and the silver table", rules.table));
        }
        for name in &rules.text_repair {
            self.text_field(contract, name, "silver.text_repair")?;
        }
        for name in &rules.timestamps {
            self.timestamp(contract, name)?;
        }
        if let Some(name) = &rules.user_agent {
            self.text_field(contract, name, "silver.user_agent")?;
        }
        if let Some(alternation) = &rules.alternation {
            self.alternation(contract, alternation)?;
        }
        if let Some(precedence) = &rules.precedence {
            self.precedence(contract, precedence)?;
        }
        self.one_rule_per_field(contract)?;
        let mut names = HashSet::new();
        match crate::silver::columns(contract).into_iter().find(|column| !names.insert(column.name.clone())) {
            Some(twice) => self.invalid(format!(
                "silver would have the column `{}` twice; give one of the fields another `column`",
                twice.name
            )),
            None => Ok(()),
        }
    }

    fn timestamp(&self, contract: &Contract, name: &str) -> Result<(), ContractError> {
        let field = self.known(contract, name, "silver.timestamps")?;
        if field.kind != FieldKind::Long {
            return self.invalid_field(name, "stands in `silver.timestamps`, so it must be a long");
        }
        let identity = &contract.identity;
        if [&identity.session, &identity.item, &identity.user, &contract.event_time.field]
            .contains(&&field.name)
        {
            return self.invalid_field(
                name,
                "stands in `silver.timestamps`, but is the event time or part of the identity",
            );
        }
        Ok(())
    }

    fn alternation(&self, contract: &Contract, rule: &Alternation) -> Result<(), ContractError> {
        let field = self.text_field(contract, &rule.field, "silver.alternation")?;
        if rule.between[0] == rule.between[1] || rule.between.iter().any(String::is_empty) {
            return self.invalid("`silver.alternation.between` needs two different values");
        }
        let identity = &contract.identity;
        if [Some(&identity.session), identity.page.as_ref(), Some(&identity.user)]
            .contains(&Some(&field.name))
        {
            return self.invalid_field(
                &rule.field,
                "is part of the identity, so `silver.alternation` cannot replace it",
            );
        }
        Ok(())
    }

    fn precedence(&self, contract: &Contract, rule: &Precedence) -> Result<(), ContractError> {
        if !is_snake(&rule.column) {
            return self.invalid(format!("`silver.precedence.column` is `{}`, not snake_case", rule.column));
        }
        if rule.doc.trim().is_empty() || rule.value.is_empty() {
            return self.invalid("`silver.precedence` needs a `value` and a `doc`");
        }
        let item = &contract.identity.item;
        if self.known(contract, item, "identity")?.kind == FieldKind::String {
            return self
                .invalid_field(item, "is a text, but `silver.precedence` needs to know the item before it");
        }
        Ok(())
    }

    /// Two rules for one field would need an order.
    fn one_rule_per_field(&self, contract: &Contract) -> Result<(), ContractError> {
        let rules = &contract.silver;
        let alternation = rules.alternation.as_ref().map(|rule| &rule.field);
        let named =
            rules.text_repair.iter().chain(&rules.timestamps).chain(&rules.user_agent).chain(alternation);
        let mut seen = HashSet::new();
        for name in named {
            if !seen.insert(name) {
                return self.invalid_field(name, "stands in `silver` twice");
            }
        }
        Ok(())
    }
}

/// Checks what a contract says of another topic.
pub(super) fn check_across(
    contract: &Contract,
    all: &[Arc<Contract>],
    origin: &str,
) -> Result<(), ContractError> {
    let Some(rule) = &contract.silver.precedence else { return Ok(()) };
    let check = Check { origin };
    let Some(other) = all.iter().find(|other| other.topic == rule.topic) else {
        return check
            .invalid(format!("`silver.precedence` names the topic `{}`, which has no contract", rule.topic));
    };
    match other.field(&rule.field) {
        Some(field) if field.kind == FieldKind::String => Ok(()),
        _ => check.invalid(format!(
            "`silver.precedence` names `{}`, which is no text field of the topic `{}`",
            rule.field, rule.topic
        )),
    }
}
