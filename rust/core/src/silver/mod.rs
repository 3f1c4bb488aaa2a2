//! From rows of a bronze table to rows of its silver table: renamed, typed, repaired, taken apart; one row each.
//!
//! A [`SilverPlan`] follows from the contract; a further topic needs no code. Guarantees: [`SilverPlan::transform`] keeps rows
//! in place (row i becomes row i) and depends on the row alone, so any division into batches gives the same rows; values
//! that need no change share the memory of bronze. Which rows are wanted (one per event) is decided beside it, by
//! [`dedup::FirstDelivery`].
//!
//! Tables that older pipelines wrote may lack columns: optional ones are null then, event ids of another form are
//! computed anew, and rows that are no events at all are told apart by [`SilverPlan::complete_rows`].

pub mod dedup;
pub mod login;
pub mod repair;

mod agents;
mod columns;
mod hash;
mod ids;
mod source;
#[cfg(test)]
mod tests;
mod transform;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::error::ArrowError;

use crate::contract::{Column, Contract, schema_of};
use agents::AgentCache;
use columns::Make;
use dedup::Coordinates;
use login::Step;
use source::Source;

/// Why rows of bronze cannot become rows of silver.
#[derive(Debug, thiserror::Error)]
pub enum SilverError {
    /// The batch lacks a column without which nothing is an event.
    #[error("bronze rows of topic `{topic}` have no column `{column}`")]
    MissingColumn {
        /// Topic.
        topic: String,
        /// Column.
        column: String,
    },
    /// A column has a type that cannot be taken for the one expected.
    #[error("column `{column}` of topic `{topic}` is of type {found} (expected {expected})")]
    WrongType {
        /// Topic.
        topic: String,
        /// Column.
        column: String,
        /// Its type.
        found: DataType,
        /// The contract's type.
        expected: DataType,
    },
    /// A row is no event; [`SilverPlan::complete_rows`] tells which are.
    #[error("row {row} of a batch of topic `{topic}` is no event: `{column}` {problem}")]
    NotAnEvent {
        /// Topic.
        topic: String,
        /// Row in the batch, from 0.
        row: usize,
        /// Column.
        column: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value cannot be converted, or a text column is above 2 GiB.
    #[error("failed to make column `{column}` of topic `{topic}`")]
    Column {
        /// Topic.
        topic: String,
        /// Column.
        column: String,
        /// Why.
        #[source]
        source: ArrowError,
    },
}

/// How the rows of one topic become silver; one per thread, as it remembers the user agents it has seen.
#[derive(Debug)]
pub struct SilverPlan {
    contract: Contract,
    columns: Vec<(Column, Make)>,
    schema: SchemaRef,
    agents: AgentCache,
}

/// Returns the columns of a contract's silver table, in table order.
#[must_use]
pub fn columns(contract: &Contract) -> Vec<Column> {
    columns::plan(contract).into_iter().map(|(column, _)| column).collect()
}

impl SilverPlan {
    /// Returns the plan of a contract.
    #[must_use]
    pub fn new(contract: &Contract) -> Self {
        let columns = columns::plan(contract);
        let schema = schema_of(&columns.iter().map(|(column, _)| column.clone()).collect::<Vec<_>>());
        Self { contract: contract.clone(), columns, schema, agents: AgentCache::default() }
    }

    /// Returns the contract.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Returns the name of the silver table, without namespace.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.contract.silver.table
    }

    /// Returns the columns, in table order.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        self.columns.iter().map(|(column, _)| column.clone()).collect()
    }

    /// Returns the Arrow schema of the columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the columns that are unique together.
    #[must_use]
    pub fn identity(&self) -> &'static [&'static str] {
        &["event_id"]
    }

    /// Returns the columns that rows of a partition are sorted by, nulls first: user, event time, session, item.
    #[must_use]
    pub fn sort_key(&self) -> Vec<String> {
        let identity = &self.contract.identity;
        let (user, session, item) =
            (self.renamed(&identity.user), self.renamed(&identity.session), self.renamed(&identity.item));
        vec![user, "event_ts".to_owned(), session, item]
    }

    /// Returns the silver column of a field; a valid contract has the field.
    #[must_use]
    pub fn renamed(&self, name: &str) -> String {
        let column = self.contract.field(name).map_or(name, |field| &field.column);
        columns::snake_case(column)
    }

    /// Returns the bronze columns that [`SilverPlan::transform`] reads; a table may lack those that are not required.
    #[must_use]
    pub fn bronze_columns(&self) -> Vec<String> {
        let beside = self.columns.iter().filter_map(|(_, make)| match make {
            Make::Bronze(name, _) => Some((*name).to_owned()),
            _ => None,
        });
        let payload = self.contract.fields.iter().map(|field| field.column.clone());
        payload.chain([ids::EVENT_ID.to_owned()]).chain(beside).collect()
    }

    /// Returns the bronze columns that event ids come from: `event_id` first, which is enough wherever it holds 32 hex
    /// digits (see [`SilverPlan::stored_ids`]), then those needed for rows where it does not.
    #[must_use]
    pub fn identity_columns(&self) -> Vec<String> {
        ids::columns(&self.contract)
    }

    /// Returns the ids of the rows if `event_id` alone tells all of them: 32 hex digits as a number, first digit highest.
    ///
    /// # Errors
    /// [`SilverError::WrongType`], [`SilverError::Column`] where `event_id` is no text.
    pub fn stored_ids(&self, bronze: &RecordBatch) -> Result<Option<Vec<u128>>, SilverError> {
        ids::stored(&Source::new(&self.contract, bronze))
    }

    /// Returns the ids of the rows, computed where `event_id` is missing or of another form. Needs
    /// [`SilverPlan::identity_columns`].
    ///
    /// # Errors
    /// [`SilverError::MissingColumn`], [`SilverError::WrongType`], [`SilverError::Column`]; [`SilverError::NotAnEvent`]
    /// where an id must be computed and a required part of it is null.
    pub fn event_ids(&self, bronze: &RecordBatch) -> Result<Vec<u128>, SilverError> {
        ids::all(&Source::new(&self.contract, bronze))
    }

    /// Returns where the rows came from, for [`dedup::FirstDelivery`]; what a row does not know sorts before everything.
    ///
    /// # Errors
    /// [`SilverError::WrongType`], [`SilverError::Column`].
    pub fn coordinates(&self, bronze: &RecordBatch) -> Result<Vec<Coordinates>, SilverError> {
        source::coordinates(&Source::new(&self.contract, bronze))
    }

    /// Returns which rows are events: every required field is there and the event time is in the contract's range.
    /// `None` if all are, which is so in every table that Streamify wrote. Needs the required fields' columns.
    ///
    /// # Errors
    /// [`SilverError::MissingColumn`], [`SilverError::WrongType`], [`SilverError::Column`].
    pub fn complete_rows(&self, bronze: &RecordBatch) -> Result<Option<BooleanArray>, SilverError> {
        let source = Source::new(&self.contract, bronze);
        let mut nulls = None;
        for field in self.contract.fields.iter().filter(|field| field.required) {
            let array = source.field(field)?;
            nulls = NullBuffer::union(nulls.as_ref(), array.nulls());
            if field.name == self.contract.event_time.field {
                let times = array.as_primitive::<Int64Type>();
                let in_range = |time_ms: &i64| self.contract.event_time.accepts(*time_ms, None, 0);
                if !times.values().iter().all(in_range) {
                    let in_range = times.values().iter().map(in_range).collect();
                    nulls = NullBuffer::union(nulls.as_ref(), Some(&in_range));
                }
            }
        }
        let incomplete = nulls.filter(|nulls| nulls.null_count() > 0);
        Ok(incomplete.map(|nulls| BooleanArray::new(nulls.into_inner(), None)))
    }

    /// Returns the rows of silver, row i for row i, with [`SilverPlan::schema`]; text that came as a dictionary stays one.
    /// `processed_at_us` is microseconds since 1970 UTC. The column of the contract's `precedence` is false: what came before stands in another table, see [`login`].
    ///
    /// # Errors
    /// [`SilverError`]; a row that is no event fails the batch, so filter by [`SilverPlan::complete_rows`] where that can be.
    pub fn transform(
        &mut self,
        bronze: &RecordBatch,
        processed_at_us: i64,
    ) -> Result<RecordBatch, SilverError> {
        transform::transform(self, bronze, processed_at_us)
    }

    /// Returns where the rows of silver stand in their sessions, for [`login::login_results`]. Needs `run_id`, `event_date` and
    /// the columns of session and item.
    ///
    /// # Errors
    /// [`SilverError::MissingColumn`], [`SilverError::WrongType`], [`SilverError::Column`].
    pub fn steps(&self, silver: &RecordBatch) -> Result<Vec<Step>, SilverError> {
        let identity = &self.contract.identity;
        let (session, item) = (self.renamed(&identity.session), self.renamed(&identity.item));
        ids::steps(&Source::new(&self.contract, silver), &session, &item)
    }
}
