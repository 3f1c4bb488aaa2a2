//! What the stage keeps in a checkpoint: how many records have passed, and the deliveries that wait.

use serde::{Deserialize, Serialize};

use super::{
    Fault, Role,
    identity::EventFacts,
    kinds::{ALL, Cause},
    queue::{Queue, Waiting},
};
use crate::event::Topic;

/// The state of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    num_passed: u64,
    late: Vec<HeldDelivery>,
    copies: Vec<HeldDelivery>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HeldDelivery {
    due: i64,
    original: u64,
    topic: String,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    is_copy: bool,
    faults: Vec<HeldFault>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HeldFault {
    id: String,
    variant: String,
    session_id: i64,
    item: i64,
    ts_ms: i64,
    page: String,
    user_id: Option<i64>,
    event_id: String,
    row_id: Option<String>,
    detail: Option<String>,
}

impl Held {
    pub(super) fn of(num_passed: u64, late: &Queue, copies: &Queue) -> Self {
        let held = |queue: &Queue| queue.iter().map(HeldDelivery::of).collect();
        Self { num_passed, late: held(late), copies: held(copies) }
    }

    pub(super) fn restore(self) -> (u64, Queue, Queue) {
        let queue = |held: Vec<HeldDelivery>| {
            let mut queue = Queue::default();
            held.into_iter()
                .filter_map(HeldDelivery::restore)
                .for_each(|waiting| queue.push_waiting(waiting));
            queue
        };
        (self.num_passed, queue(self.late), queue(self.copies))
    }
}

impl HeldDelivery {
    fn of(waiting: &Waiting) -> Self {
        Self {
            due: waiting.due,
            original: waiting.original,
            topic: waiting.topic.name().to_owned(),
            key: waiting.key.clone(),
            value: waiting.value.clone(),
            is_copy: waiting.role == Role::Copy,
            faults: waiting.faults.iter().map(HeldFault::of).collect(),
        }
    }

    fn restore(self) -> Option<Waiting> {
        let topic = Topic::ALL.into_iter().find(|topic| topic.name() == self.topic)?;
        Some(Waiting {
            due: self.due,
            original: self.original,
            topic,
            key: self.key,
            value: self.value,
            role: if self.is_copy { Role::Copy } else { Role::Event },
            faults: self.faults.into_iter().filter_map(|fault| fault.restore(topic)).collect(),
        })
    }
}

impl HeldFault {
    fn of(fault: &Fault) -> Self {
        let EventFacts { session_id, item, ts_ms, page, user_id, .. } = fault.event.clone();
        let (id, variant) = (fault.kind.id.to_owned(), fault.variant.name.to_owned());
        let (event_id, row_id) = (fault.event_id.clone(), fault.row_id.clone());
        let detail = fault.detail.clone();
        Self { id, variant, session_id, item, ts_ms, page, user_id, event_id, row_id, detail }
    }

    fn restore(self, topic: Topic) -> Option<Fault> {
        let kind = ALL.iter().find(|kind| kind.id == self.id)?;
        let Cause::Injected { variants, .. } = kind.cause else { return None };
        let variant = variants.iter().find(|variant| variant.name == self.variant)?;
        let Self { session_id, item, ts_ms, page, user_id, event_id, row_id, detail, .. } = self;
        let event = EventFacts { topic, session_id, item, ts_ms, page, user_id };
        Some(Fault { kind, variant, event, event_id, row_id, detail })
    }
}
