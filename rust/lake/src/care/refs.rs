//! Tags and branches. `main` moves by commits of rows only and is out of reach here.
//!
//! Each change asserts where the name pointed when it was decided, so that of two people who set one name the second is
//! told. An expiry that runs at the very moment a tag is set on a snapshot about to expire may win: the tag is then refused
//! or gone, and [`all`] shows it. Tag what is not about to expire, or lengthen the retention first.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};

use super::CareError;
use super::change::{Change, Changed, change};
use crate::catalog::{Catalog, LoadedTable};
use crate::commit::CommitOptions;

/// A tag or branch to be set.
#[derive(Clone, Debug)]
pub struct NewRef {
    /// Its name; not `main`.
    pub name: String,
    /// The snapshot; `None`: where `main` is.
    pub snapshot_id: Option<i64>,
    /// Tag or branch, and how long it is kept.
    pub retention: SnapshotRetention,
    /// Whether an existing one of this name is replaced; else that is an error.
    pub replace: bool,
}

/// Branches and tags by name.
pub type Refs = BTreeMap<String, SnapshotReference>;

/// Returns all branches and tags, `main` among them.
///
/// # Errors
/// The crate shows them in the JSON form only; an error means that this form has changed, never that there are none.
pub fn all(metadata: &TableMetadata) -> Result<Refs, serde_json::Error> {
    let mut json = serde_json::to_value(metadata)?;
    match json.get_mut("refs") {
        None if metadata.current_snapshot().is_none() => Ok(Refs::new()),
        refs => serde_json::from_value(refs.map(serde_json::Value::take).unwrap_or_default()),
    }
}

/// Returns all branches and tags of a table.
pub(super) fn of(table: &LoadedTable) -> Result<Refs, CareError> {
    all(&table.metadata).map_err(|error| {
        let reason = format!("its branches and tags cannot be read: {error}");
        CareError::refused(&table.name, reason, "another tool wrote them in a form that is not known here")
    })
}

/// Creates or replaces a tag or branch; one that is so already is left as it is.
///
/// # Errors
/// [`CareError::Refused`] for `main`, an empty name, an unknown snapshot, or an existing other one without `replace`; and
/// what a commit can meet.
pub async fn set(
    catalog: &Arc<dyn Catalog>,
    table: &str,
    new: &NewRef,
    options: &CommitOptions,
) -> Result<Changed, CareError> {
    check_name(table, &new.name)?;
    change(catalog, table, options, |table| plan_set(table, new)).await
}

/// Removes a tag or branch; one that is not there is no error.
///
/// # Errors
/// [`CareError::Refused`] for `main`; and what a commit can meet.
pub async fn remove(
    catalog: &Arc<dyn Catalog>,
    table: &str,
    name: &str,
    options: &CommitOptions,
) -> Result<Changed, CareError> {
    check_name(table, name)?;
    change(catalog, table, options, |table| {
        let Some(former) = of(table)?.remove(name) else { return Ok(None) };
        let updates = vec![TableUpdate::RemoveSnapshotRef { ref_name: name.to_owned() }];
        Ok(Some(Change { requirements: vec![points_to(name, Some(former.snapshot_id))], updates }))
    })
    .await
}

fn plan_set(table: &LoadedTable, new: &NewRef) -> Result<Option<Change>, CareError> {
    let Some(snapshot_id) = new.snapshot_id.or(table.metadata.current_snapshot_id()) else {
        return Err(CareError::refused(&table.name, "it has no snapshot yet", "write to it first"));
    };
    if table.metadata.snapshot_by_id(snapshot_id).is_none() {
        let reason = format!("there is no snapshot {snapshot_id}");
        return Err(CareError::refused(&table.name, reason, "it may have expired; list the snapshots"));
    }
    let reference = SnapshotReference::new(snapshot_id, new.retention.clone());
    let former = of(table)?.remove(&new.name);
    match &former {
        Some(former) if *former == reference => return Ok(None),
        Some(former) if !new.replace => {
            let reason = format!("`{}` is there already, at snapshot {}", new.name, former.snapshot_id);
            return Err(CareError::refused(
                &table.name,
                reason,
                "replace it explicitly, or take another name",
            ));
        }
        _ => {}
    }
    let requirement = points_to(&new.name, former.map(|former| former.snapshot_id));
    let updates = vec![TableUpdate::SetSnapshotRef { ref_name: new.name.clone(), reference }];
    Ok(Some(Change { requirements: vec![requirement], updates }))
}

/// Asserts where a name points to; `None`: that it does not exist.
pub(super) fn points_to(name: &str, snapshot_id: Option<i64>) -> TableRequirement {
    TableRequirement::RefSnapshotIdMatch { r#ref: name.to_owned(), snapshot_id }
}

fn check_name(table: &str, name: &str) -> Result<(), CareError> {
    if name == MAIN_BRANCH {
        return Err(CareError::refused(
            table,
            "`main` cannot be set or removed",
            "name another branch or a tag",
        ));
    }
    if name.trim().is_empty() {
        return Err(CareError::refused(table, "a branch or tag needs a name", "give one"));
    }
    Ok(())
}
