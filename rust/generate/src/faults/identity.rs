//! Which event a record tells of: its own facts and the event id that the contracts give it.

use streamify_core::{
    contract,
    identity::{EventIdentity, Part},
};

use super::edit;
use crate::event::Topic;

/// The facts that make an event the same event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts {
    /// Topic.
    pub topic: Topic,
    /// Number of the session in its run.
    pub session_id: i64,
    /// Position in the session.
    pub item: i64,
    /// Event time, milliseconds since 1970.
    pub ts_ms: i64,
    /// Page, or the contract's kind where the topic has no pages.
    pub page: String,
    /// Number of the listener, if the event names them.
    pub user_id: Option<i64>,
}

impl EventFacts {
    /// Returns the event's id in a run.
    pub fn event_id(&self, run_id: &str) -> String {
        let identity = EventIdentity {
            topic: self.topic.name(),
            run_id: run_id.as_bytes(),
            session: Part::Number(self.session_id),
            item: Part::Number(self.item),
            event_time_ms: self.ts_ms,
            page: self.page.as_bytes(),
            user: self.user_id.map_or(Part::Null, Part::Number),
        };
        identity.event_id()
    }
}

/// Reads events' facts off their bytes.
#[derive(Clone, Debug)]
pub struct FactReader {
    /// By topic: the page field, or the kind of all its events.
    pages: Vec<(Topic, Result<String, String>)>,
}

impl FactReader {
    /// Takes what it needs from the built-in contracts.
    pub fn new() -> Self {
        let contracts = contract::builtin();
        let page = |topic: &Topic| {
            let contract = contracts.iter().find(|contract| contract.topic == topic.name())?;
            let identity = &contract.identity;
            Some((*topic, identity.page.clone().ok_or_else(|| identity.kind.clone())))
        };
        Self { pages: Topic::ALL.iter().filter_map(page).collect() }
    }

    /// Returns the facts of a sound event; `None` for anything else.
    pub fn read(&self, topic: Topic, json: &[u8]) -> Option<EventFacts> {
        let (_, page) = self.pages.iter().find(|(known, _)| *known == topic)?;
        Some(EventFacts {
            topic,
            session_id: edit::number(json, "sessionId")?,
            item: edit::number(json, "itemInSession")?,
            ts_ms: edit::number(json, "ts")?,
            page: match page {
                Ok(field) => edit::text(json, field)?,
                Err(kind) => kind.clone(),
            },
            user_id: edit::number(json, "userId"),
        })
    }
}

impl Default for FactReader {
    fn default() -> Self {
        Self::new()
    }
}
