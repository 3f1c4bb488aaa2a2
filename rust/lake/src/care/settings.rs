//! Table properties and the sort order, as commits that assert what they were decided on.
//!
//! What the commit path keeps in properties (offsets, commit id, consumers) is not set by hand here: a wrong word there
//! would stop every writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::spec::{SortOrder, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};

use super::change::{Change, Changed, change, main_unmoved};
use super::{CareError, consumers};
use crate::catalog::{Catalog, LoadedTable};
use crate::commit::{CommitOptions, keys};
use crate::schema;

/// Properties to set and to remove.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Values by key.
    pub set: BTreeMap<String, String>,
    /// Keys; those that are not there are no error.
    pub unset: BTreeSet<String>,
}

/// Keys that Iceberg keeps for itself: they are no properties.
const RESERVED: [&str; 8] = [
    "format-version",
    "uuid",
    "snapshot-count",
    "current-snapshot-summary",
    "current-snapshot-id",
    "current-snapshot-timestamp-ms",
    "current-schema",
    "default-partition-spec",
];

/// Sets and removes table properties in one commit.
///
/// # Errors
/// [`CareError::Refused`] for keys that the commit path or Iceberg own, and for a key both set and removed; and what a
/// commit can meet.
pub async fn set_properties(
    catalog: &Arc<dyn Catalog>,
    table: &str,
    edit: &Edit,
    options: &CommitOptions,
) -> Result<Changed, CareError> {
    for key in edit.set.keys().chain(&edit.unset) {
        check_key(table, key)?;
    }
    if let Some(key) = edit.unset.iter().find(|key| edit.set.contains_key(*key)) {
        let reason = format!("property `{key}` is both set and removed");
        return Err(CareError::refused(table, reason, "ask for one of the two"));
    }
    change(catalog, table, options, |table| Ok(plan_edit(table, edit))).await
}

/// Makes new files sorted by these columns, ascending with nulls first; none: unsorted. Files that exist stay as they are.
///
/// # Errors
/// [`CareError::Refused`] if a column does not exist; and what a commit can meet.
pub async fn set_sort_order(
    catalog: &Arc<dyn Catalog>,
    table: &str,
    columns: &[String],
    options: &CommitOptions,
) -> Result<Changed, CareError> {
    change(catalog, table, options, |table| plan_sort_order(table, columns)).await
}

fn plan_edit(table: &LoadedTable, edit: &Edit) -> Option<Change> {
    let present = table.metadata.properties();
    let changed = edit.set.iter().filter(|(key, value)| present.get(*key) != Some(value));
    let set: std::collections::HashMap<_, _> =
        changed.map(|(key, value)| (key.clone(), value.clone())).collect();
    let removals: Vec<String> = edit.unset.iter().filter(|key| present.contains_key(*key)).cloned().collect();
    let mut updates = Vec::new();
    if !set.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: set });
    }
    if !removals.is_empty() {
        updates.push(TableUpdate::RemoveProperties { removals });
    }
    (!updates.is_empty()).then(|| Change { requirements: unchanged(table), updates })
}

fn plan_sort_order(table: &LoadedTable, columns: &[String]) -> Result<Option<Change>, CareError> {
    let metadata = &table.metadata;
    let built = schema::sort_order(metadata.current_schema(), columns);
    let wanted = built.map_err(|error| {
        CareError::refused(&table.name, error.to_string(), "name columns of the table's schema")
    })?;
    let wanted = wanted.unwrap_or_else(SortOrder::unsorted_order);
    if metadata.default_sort_order().fields == wanted.fields {
        return Ok(None);
    }
    let updates = match known_order(metadata, &wanted) {
        Some(sort_order_id) => vec![TableUpdate::SetDefaultSortOrder { sort_order_id }],
        // -1 is the order added last, whatever id the catalog gives it.
        None => vec![
            TableUpdate::AddSortOrder { sort_order: wanted },
            TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
        ],
    };
    Ok(Some(Change { requirements: unchanged(table), updates }))
}

fn known_order(metadata: &TableMetadata, wanted: &SortOrder) -> Option<i64> {
    metadata.sort_orders_iter().find(|order| order.fields == wanted.fields).map(|order| order.order_id)
}

/// All that a decision about settings may rest on.
fn unchanged(table: &LoadedTable) -> Vec<TableRequirement> {
    let metadata = &table.metadata;
    vec![
        main_unmoved(table),
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
        TableRequirement::DefaultSpecIdMatch { default_spec_id: metadata.default_partition_spec_id() },
        TableRequirement::DefaultSortOrderIdMatch { default_sort_order_id: metadata.default_sort_order_id() },
    ]
}

fn check_key(table: &str, key: &str) -> Result<(), CareError> {
    let owned = [keys::STATE, keys::STATE_SEQUENCE, keys::COMMIT_ID, keys::LEDGER, keys::CHANGES];
    if owned.contains(&key) || key.starts_with(consumers::PREFIX) {
        let reason = format!("property `{key}` belongs to the commit path");
        return Err(CareError::refused(table, reason, "it changes with commits; never set it by hand"));
    }
    if RESERVED.contains(&key) || key.trim().is_empty() {
        let reason = format!("`{key}` is not a property");
        return Err(CareError::refused(table, reason, "Iceberg keeps this itself"));
    }
    Ok(())
}
