//! What the stage does with a record that is hit.

use super::{
    Delivery, Fault, Hit, Passing, Role, Stage,
    damage::{Value, damage},
    identity::EventFacts,
    kinds::{Effect, Fate},
    queue::Entry,
};

/// A second delivery comes at most this many records after the first.
pub(super) const MAX_COPY_DELAY_RECORDS: usize = 2_000;

/// An event as it is delivered.
struct Told<'a> {
    event: &'a EventFacts,
    value: &'a [u8],
    row_id: String,
}

/// Where the deliveries go.
type Deliver<'a, E> = &'a mut dyn FnMut(&Delivery<'_>) -> Result<(), E>;

/// Returns the delivery of a record as it is.
pub(super) fn plain<'a>(record: &Passing<'a>) -> Delivery<'a> {
    let Passing { topic, key, value, .. } = *record;
    Delivery { topic, key, value: Some(value), run_id: None, role: Role::Event, faults: &[] }
}

impl Stage {
    /// Passes a record that is hit.
    pub(super) fn pass_hit<E>(
        &mut self,
        record: &Passing<'_>,
        number: u64,
        hits: &[Hit],
        deliver: Deliver<'_, E>,
    ) -> Result<(), E> {
        let Some(event) = self.reader.read(record.topic, record.value) else {
            return deliver(&plain(record));
        };
        let (altered, mut faults) = self.alter(record, &event, number, hits);
        let row_id = faults.first().and_then(|fault| fault.row_id.clone());
        let row_id = row_id.unwrap_or_else(|| event.event_id(&self.run_id));
        let told = Told { event: &event, value: altered.as_deref().unwrap_or(record.value), row_id };
        let late = hits.iter().find(|hit| hit.variant.effect == Effect::Late);
        if let Some(hit) = late {
            let delay = self.armed[hit.armed].delay_ms(number);
            let detail = Some(format!("{:.1} min late", delay as f64 / 60_000.0));
            faults.push(Fault { detail, ..self.fault(hit, &event, Some(told.row_id.clone())) });
            let (topic, key, role, due) = (record.topic, record.key, Role::Event, record.ts_ms + delay);
            self.late.push(Entry { due, original: number, topic, key, value: told.value, role, faults });
        } else {
            deliver(&Delivery { value: Some(told.value), faults: &faults, ..plain(record) })?;
        }
        for hit in hits.iter().filter(|hit| hit.variant.effect == Effect::Added) {
            match (self.armed[hit.armed].wanted.kind.id, hit.variant.fate) {
                ("D19", _) if late.is_none() => self.repeat_later(record, &told, number, hit),
                ("D19", _) => {}
                (_, Fate::Row) => self.repeat_now(record, &told, hit, deliver)?,
                (_, Fate::OtherRow) => self.tell_twin(record, &event, hit, deliver)?,
                (_, Fate::DeadLetter(_)) => self.spoil(record, &event, number, hit, deliver)?,
            }
        }
        Ok(())
    }

    /// Returns the event in another form, and why, if any hit does that.
    fn alter(
        &self,
        record: &Passing<'_>,
        event: &EventFacts,
        number: u64,
        hits: &[Hit],
    ) -> (Option<Vec<u8>>, Vec<Fault>) {
        for hit in hits.iter().filter(|hit| hit.variant.effect == Effect::Altered) {
            let Some(Value::Bytes(value)) = self.damaged(record, number, hit) else { continue };
            let other = (hit.variant.fate == Fate::OtherRow).then(|| self.reader.read(record.topic, &value));
            let facts = other.flatten().unwrap_or_else(|| event.clone());
            let fault = self.fault(hit, event, Some(facts.event_id(&self.run_id)));
            return (Some(value), vec![fault]);
        }
        (None, Vec::new())
    }

    /// Keeps a second delivery for later.
    fn repeat_later(&mut self, record: &Passing<'_>, told: &Told<'_>, number: u64, hit: &Hit) {
        let faults = vec![self.fault(hit, told.event, Some(told.row_id.clone()))];
        let delay = self.armed[hit.armed].details.below(number, MAX_COPY_DELAY_RECORDS) as u64;
        let due = (self.num_passed + delay).cast_signed();
        let (topic, key, role) = (record.topic, record.key, Role::Copy);
        self.copies.push(Entry { due, original: number, topic, key, value: told.value, role, faults });
    }

    /// Delivers the event again at once: its whole session is told twice.
    fn repeat_now<E>(
        &self,
        record: &Passing<'_>,
        told: &Told<'_>,
        hit: &Hit,
        deliver: Deliver<'_, E>,
    ) -> Result<(), E> {
        let fault = self.fault(hit, told.event, Some(told.row_id.clone()));
        deliver(&Delivery { role: Role::Extra, value: Some(told.value), faults: &[fault], ..plain(record) })
    }

    /// Delivers what a second run tells of the event.
    fn tell_twin<E>(
        &self,
        record: &Passing<'_>,
        event: &EventFacts,
        hit: &Hit,
        deliver: Deliver<'_, E>,
    ) -> Result<(), E> {
        let twin = &self.armed[hit.armed].twin;
        let Some(told) = twin.tell(record.value) else { return Ok(()) };
        let facts = EventFacts { ts_ms: event.ts_ms + twin.shift_ms, ..event.clone() };
        let fault = Fault {
            detail: Some(format!("run {}, {} ms later", twin.run_id, twin.shift_ms)),
            ..self.fault(hit, event, Some(facts.event_id(&twin.run_id)))
        };
        let (value, run_id) = (Some(&told[..]), Some(twin.run_id.as_str()));
        deliver(&Delivery { role: Role::Extra, value, run_id, faults: &[fault], ..plain(record) })
    }

    /// Delivers what readers must refuse.
    fn spoil<E>(
        &self,
        record: &Passing<'_>,
        event: &EventFacts,
        number: u64,
        hit: &Hit,
        deliver: Deliver<'_, E>,
    ) -> Result<(), E> {
        let Some(value) = self.damaged(record, number, hit) else { return Ok(()) };
        let value = match &value {
            Value::Bytes(bytes) => Some(&bytes[..]),
            Value::Tombstone => None,
        };
        let fault = self.fault(hit, event, None);
        deliver(&Delivery { role: Role::Extra, value, faults: &[fault], ..plain(record) })
    }

    fn damaged(&self, record: &Passing<'_>, number: u64, hit: &Hit) -> Option<Value> {
        let armed = &self.armed[hit.armed];
        if armed.wanted.kind.id == "D20" && record.ts_ms < self.drift_at_ms {
            return None;
        }
        let pick = armed.details.at(number);
        damage(armed.wanted.kind, hit.variant, record.topic, record.value, pick)
    }

    fn fault(&self, hit: &Hit, event: &EventFacts, row_id: Option<String>) -> Fault {
        let kind = self.armed[hit.armed].wanted.kind;
        let event_id = event.event_id(&self.run_id);
        Fault { kind, variant: hit.variant, event: event.clone(), event_id, row_id, detail: None }
    }
}
