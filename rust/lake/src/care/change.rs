//! One change of a table's metadata: decided on what the catalog has, sent once, decided anew after anything but success.
//!
//! A plan must be repeatable: after an unknown outcome it is asked again on fresh metadata, and says `None` if that has what
//! it wants already. So a change whose answer was lost is neither repeated nor reported as failed.

use std::sync::Arc;

use iceberg::spec::MAIN_BRANCH;
use iceberg::{TableRequirement, TableUpdate};
use tracing::warn;

use super::CareError;
use crate::catalog::{Catalog, CommitFailure, LoadedTable};
use crate::commit::CommitOptions;
use crate::commit::retry::Retry;
use crate::protocol::Refusal;

/// What goes to the catalog; the table's uuid is asserted in any case.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) requirements: Vec<TableRequirement>,
    pub(super) updates: Vec<TableUpdate>,
}

/// A table after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The table as the change left it, or found it if there was nothing to do.
    pub table: LoadedTable,
    /// Attempts sent; 0 if there was nothing to do.
    pub attempts: u32,
}

/// Asserts that nobody has moved `main`.
pub(super) fn main_unmoved(table: &LoadedTable) -> TableRequirement {
    TableRequirement::RefSnapshotIdMatch {
        r#ref: MAIN_BRANCH.to_owned(),
        snapshot_id: table.metadata.current_snapshot_id(),
    }
}

/// Loads a table that must exist.
pub(super) async fn load(catalog: &Arc<dyn Catalog>, name: &str) -> Result<LoadedTable, CareError> {
    match catalog.load_table(name).await {
        Ok(Some(table)) => Ok(table),
        Ok(None) => Err(CareError::TableMissing { table: name.to_owned() }),
        Err(source) => Err(CareError::Unavailable { table: name.to_owned(), source }),
    }
}

/// Applies what `plan` wants of the newest metadata; `None` ends it.
pub(super) async fn change<P>(
    catalog: &Arc<dyn Catalog>,
    name: &str,
    options: &CommitOptions,
    mut plan: P,
) -> Result<Changed, CareError>
where
    P: FnMut(&LoadedTable) -> Result<Option<Change>, CareError>,
{
    let mut retry = Retry::new(options);
    let mut attempts = 0;
    let mut uuid = None;
    loop {
        let failure = match load(catalog, name).await {
            Err(error) if !error.is_retryable() || !retry.may_continue() => return Err(error),
            Err(error) => {
                retry.failed(&error);
                retry.pause().await;
                continue;
            }
            Ok(table) => {
                same_table(&table, &mut uuid)?;
                let Some(change) = plan(&table)? else { return Ok(Changed { table, attempts }) };
                let mut requirements = change.requirements;
                requirements.push(TableRequirement::UuidMatch { uuid: table.metadata.uuid() });
                attempts += 1;
                match catalog.commit(&table, requirements, change.updates).await {
                    Ok(table) => return Ok(Changed { table, attempts }),
                    Err(failure) => failure,
                }
            }
        };
        let reason = failure.to_string();
        match failure {
            CommitFailure::Rejected(_) => return Err(not_committed(name, attempts, reason, true)),
            CommitFailure::Conflict(message) => retry.conflicted(&message),
            CommitFailure::Unavailable { message, retry_after } => retry.unavailable(&message, retry_after),
            CommitFailure::Unknown(message) => {
                warn!(table = name, message, "outcome of a change unknown, looking at the table");
                retry.unavailable(&message, None);
            }
        }
        if !retry.may_continue() {
            let refusal = retry.explain(Refusal::GaveUp { last: reason });
            return Err(not_committed(name, attempts, refusal.to_string(), false));
        }
        retry.pause().await;
    }
}

fn not_committed(table: &str, attempts: u32, reason: String, rejected: bool) -> CareError {
    CareError::NotCommitted { table: table.to_owned(), attempts, reason, rejected }
}

/// A table that was dropped and made anew under the same name is not the one that was asked for.
fn same_table(table: &LoadedTable, uuid: &mut Option<uuid::Uuid>) -> Result<(), CareError> {
    let found = table.metadata.uuid();
    if *uuid.get_or_insert(found) == found {
        return Ok(());
    }
    Err(CareError::refused(
        &table.name,
        "it was dropped and made anew meanwhile",
        "run it again if the new table is meant",
    ))
}
