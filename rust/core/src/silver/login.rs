//! Marks that depend on the event before in the session: which auth event is the outcome of a login.
//!
//! A producer can send a further auth event for one login, on a later page. The true one follows the `Login` page view at
//! once: same run, same session, one item later, on the same UTC day or the day after. The view is in another topic, so the
//! job reads both tables and asks here.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};

use super::columns::Make;
use super::source::Source;
use super::{SilverError, SilverPlan};
use crate::contract::{ColumnType, Precedence};

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// Run and session: the first 128 bits of the BLAKE3 hash of both, laid out as in [`crate::identity`].
    pub session: u128,
    /// Position in the session.
    pub item: i64,
    /// UTC day of the event, days since 1970.
    pub day: i32,
}

/// Returns for each auth event whether one of the login views stands one item before it, on its day or the day before.
#[must_use]
pub fn login_results(auth: &[Step], logins: &[Step]) -> Vec<bool> {
    let mut days: HashMap<(u128, i64), Vec<i32>> = HashMap::with_capacity(logins.len());
    for login in logins {
        days.entry((login.session, login.item)).or_default().push(login.day);
    }
    let follows = |event: &Step| {
        let before = event.item.checked_sub(1).and_then(|item| days.get(&(event.session, item)));
        before.is_some_and(|days| {
            days.iter().any(|day| *day == event.day || day.checked_add(1) == Some(event.day))
        })
    };
    auth.iter().map(follows).collect()
}

impl SilverPlan {
    /// Returns which rows of this plan's silver are the event before that a rule of another topic asks for.
    ///
    /// # Errors
    /// [`SilverError::MissingColumn`], [`SilverError::WrongType`], [`SilverError::Column`].
    pub fn precedes(&self, rule: &Precedence, silver: &RecordBatch) -> Result<BooleanArray, SilverError> {
        let source = Source::new(&self.contract, silver);
        let texts = source.required(&self.renamed(&rule.field), ColumnType::String)?;
        let texts = texts.as_string::<i32>();
        Ok(texts.iter().map(|text| Some(text == Some(rule.value.as_str()))).collect())
    }

    /// Returns rows of silver with the column of the contract's `precedence` set; as they are where it has none.
    ///
    /// # Errors
    /// [`SilverError::Column`] where there is not one mark per row, or the batch has not this plan's columns.
    pub fn mark(&self, silver: &RecordBatch, marks: Vec<bool>) -> Result<RecordBatch, SilverError> {
        let mut columns = silver.columns().to_vec();
        let place = self.columns.iter().position(|(_, make)| *make == Make::Precedence);
        if let Some(place) = place
            && let Some(column) = columns.get_mut(place)
        {
            *column = Arc::new(BooleanArray::from(marks));
        }
        let name = place.map_or("*", |place| self.columns[place].0.name.as_str());
        let failed = |error| Source::new(&self.contract, silver).failed(name, error);
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)
    }
}
