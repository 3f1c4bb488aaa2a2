//! Who reads a table incrementally, and how far: what they have not read yet must neither expire nor be deleted.
//!
//! A consumer is a property of the *source* table, [`PREFIX`] and its name, with the source's snapshot that the consumer's
//! own table has consumed. The truth is the state in the consumer's table; this is a copy that may lag behind and never runs
//! ahead, since it is written after the consumer's commit. A copy that lags keeps more than is needed, so that no order of
//! writers does harm. A text that cannot be read keeps everything.
//!
//! From the consumed snapshot on every snapshot is needed, and every file added after it, even if it has been compacted
//! away since. A catalog cannot assert properties, so a *new* consumer looks again after [`register`] whether its snapshot
//! is still there before it relies on it; [`register`] does that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::Utc;
use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};
use streamify_core::state::Consumed;
use uuid::Uuid;

use super::CareError;
use super::change::{Change, Changed, change};
use crate::catalog::Catalog;
use crate::commit::CommitOptions;

/// Table properties that begin with this register a consumer; the rest is its name.
pub const PREFIX: &str = "streamify.consumer.";

/// How far a consumer has read a table. The stored form is its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// Uuid of the consumer's own table; another one means that it was made anew and begins anew.
    pub table_uuid: String,
    /// The source's snapshot that is consumed, it and all before it.
    pub snapshot_id: i64,
    /// That snapshot's sequence number.
    pub sequence_number: i64,
    /// When this was written, in milliseconds since 1970 UTC.
    pub updated_at_ms: i64,
}

/// A registered consumer; `None` if its text cannot be read.
pub type Registered = BTreeMap<String, Option<Consumer>>;

/// Returns the consumers of a table by name.
pub fn registered(metadata: &TableMetadata) -> Registered {
    let properties = metadata.properties().iter();
    properties.filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?.to_owned(), parse(text)))).collect()
}

/// Reads the stored form.
pub fn parse(text: &str) -> Option<Consumer> {
    serde_json::from_str(text).ok()
}

/// Returns the stored form.
pub fn render(consumer: &Consumer) -> String {
    // Strings and numbers only: cannot fail.
    serde_json::to_string(consumer).unwrap_or_default()
}

/// Returns what to store: progress only ever goes forward, unless the consumer's table was made anew.
pub fn merge(stored: Option<&Consumer>, new: &Consumer) -> Consumer {
    match stored {
        Some(stored)
            if stored.table_uuid == new.table_uuid && stored.sequence_number > new.sequence_number =>
        {
            stored.clone()
        }
        _ => new.clone(),
    }
}

impl Consumer {
    /// The registration of the table `table_uuid`, which has consumed this much of its source, as of now.
    pub fn new(table_uuid: Uuid, consumed: &Consumed) -> Self {
        Self {
            table_uuid: table_uuid.to_string(),
            snapshot_id: consumed.snapshot_id,
            sequence_number: consumed.sequence_number,
            updated_at_ms: Utc::now().timestamp_millis(),
        }
    }

    /// The sequence number from which on the source's snapshots are needed, inclusive.
    fn needs_from(&self, metadata: &TableMetadata) -> i64 {
        let known = metadata.snapshot_by_id(self.snapshot_id);
        known.map_or(self.sequence_number, |snapshot| snapshot.sequence_number().min(self.sequence_number))
    }

    /// Returns whether nothing was heard of it for longer than `stale_after_ms`.
    pub fn is_stale(&self, now_ms: i64, stale_after_ms: i64) -> bool {
        now_ms.saturating_sub(self.updated_at_ms) > stale_after_ms
    }
}

/// Returns, by consumer, the sequence number from which on snapshots are needed, inclusive; those in `ignored` are left out.
pub fn needs(metadata: &TableMetadata, ignored: &BTreeSet<String>) -> BTreeMap<String, i64> {
    let consumers = registered(metadata).into_iter().filter(|(name, _)| !ignored.contains(name));
    consumers
        .map(|(name, consumer)| (name, consumer.map_or(i64::MIN, |consumer| consumer.needs_from(metadata))))
        .collect()
}

/// Returns the sequence number from which on any consumer needs the snapshots, inclusive; `None` if there is none.
pub fn needed_from(metadata: &TableMetadata, ignored: &BTreeSet<String>) -> Option<i64> {
    needs(metadata, ignored).into_values().min()
}

/// Registers a consumer, or its progress, at the table that it reads.
///
/// # Errors
/// [`CareError::Refused`] if the name is empty or has other characters than letters, digits, `_`, `-` and `.`, or if a new
/// consumer's snapshot is not in the table (any more); and what a commit can meet.
pub async fn register(
    catalog: &Arc<dyn Catalog>,
    source: &str,
    name: &str,
    consumer: &Consumer,
    options: &CommitOptions,
) -> Result<Changed, CareError> {
    check_name(source, name)?;
    let key = format!("{PREFIX}{name}");
    let mut is_new = false;
    let changed = change(catalog, source, options, |table| {
        let stored = table.metadata.properties().get(&key);
        let former = stored.and_then(|text| parse(text));
        is_new |= former.is_none();
        let text = render(&merge(former.as_ref(), consumer));
        let updates =
            vec![TableUpdate::SetProperties { updates: HashMap::from([(key.clone(), text.clone())]) }];
        Ok((stored != Some(&text)).then(|| Change { requirements: Vec::new(), updates }))
    })
    .await?;
    if is_new && changed.table.metadata.snapshot_by_id(consumer.snapshot_id).is_none() {
        return Err(CareError::refused(
            source,
            format!("consumer `{name}` begins at snapshot {}, which is not there", consumer.snapshot_id),
            "it has expired; begin at the present snapshot, after a full read",
        ));
    }
    Ok(changed)
}

/// Removes a consumer's registration; one that is not registered is no error.
///
/// # Errors
/// What a commit can meet.
pub async fn unregister(
    catalog: &Arc<dyn Catalog>,
    source: &str,
    name: &str,
    options: &CommitOptions,
) -> Result<Changed, CareError> {
    let key = format!("{PREFIX}{name}");
    change(catalog, source, options, |table| {
        let updates = vec![TableUpdate::RemoveProperties { removals: vec![key.clone()] }];
        let there = table.metadata.properties().contains_key(&key);
        Ok(there.then(|| Change { requirements: Vec::new(), updates }))
    })
    .await
}

fn check_name(source: &str, name: &str) -> Result<(), CareError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.is_empty() && name.chars().all(allowed) {
        return Ok(());
    }
    Err(CareError::refused(
        source,
        format!("`{name}` cannot name a consumer"),
        "use letters, digits, `_`, `-` and `.`, such as the name of the consumer's table",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence_number: i64, table_uuid: &str) -> Consumer {
        Consumer {
            table_uuid: table_uuid.to_owned(),
            snapshot_id: 7,
            sequence_number,
            updated_at_ms: 1000 + sequence_number,
        }
    }

    #[test]
    fn the_stored_form_is_read_back_and_anything_else_is_not() {
        let text = render(&at(5, "u"));
        assert_eq!(text, r#"{"table_uuid":"u","snapshot_id":7,"sequence_number":5,"updated_at_ms":1005}"#);
        assert_eq!(parse(&text), Some(at(5, "u")));
        assert_eq!(parse("{}"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn progress_goes_forward_only_unless_the_consumer_was_made_anew() {
        assert_eq!(merge(None, &at(5, "u")), at(5, "u"));
        assert_eq!(merge(Some(&at(5, "u")), &at(9, "u")), at(9, "u"));
        assert_eq!(merge(Some(&at(9, "u")), &at(5, "u")), at(9, "u"));
        assert_eq!(merge(Some(&at(9, "u")), &at(5, "other")), at(5, "other"));
    }

    #[test]
    fn a_consumer_is_stale_after_more_than_the_time_given() {
        assert!(!at(0, "u").is_stale(1500, 500));
        assert!(at(0, "u").is_stale(1501, 500));
        assert!(!at(0, "u").is_stale(0, 500), "a clock that runs behind makes nobody stale");
    }
}
