//! The columns of a silver table and what each is made of, from the contract alone.

use crate::contract::{Column, ColumnType, Contract, Field};

/// What a column is made of; a number is the index of a field of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    EventId,
    EventTs,
    EventDate,
    /// A bronze column that is no payload, as it is.
    Bronze(&'static str, ColumnType),
    /// A field as it is.
    Field(usize),
    /// Milliseconds become a timestamp.
    Timestamp(usize),
    Repaired(usize),
    /// What [`Make::Repaired`] changed.
    Original(usize),
    Unquoted(usize),
    Browser(usize),
    BrowserVersion(usize),
    Os(usize),
    DeviceType(usize),
    /// The value before the event.
    Old(usize),
    /// The value after it.
    New(usize),
    /// Left to the job.
    Precedence,
    PayloadHash,
    ProcessedAt,
}

/// Bronze columns beside the payload, with the type they have in silver.
pub(super) const RUN_ID: (&str, ColumnType) = ("_run_id", ColumnType::String);
pub(super) const EXTRAS: (&str, ColumnType) = ("_extras", ColumnType::String);
pub(super) const PARTITION: (&str, ColumnType) = ("_kafka_partition", ColumnType::Int);
pub(super) const OFFSET: (&str, ColumnType) = ("_kafka_offset", ColumnType::Long);
pub(super) const TIMESTAMP: (&str, ColumnType) = ("_kafka_timestamp", ColumnType::Timestamp);
pub(super) const EPOCH: (&str, ColumnType) = ("_source_epoch", ColumnType::Int);

/// Returns the columns in table order.
pub(super) fn plan(contract: &Contract) -> Vec<(Column, Make)> {
    let mut columns = Columns { contract, made: Vec::new() };
    columns.head();
    columns.payload();
    columns.derived();
    columns.tail();
    columns.made
}

/// Returns the name in snake_case: `itemInSession` is `item_in_session`, `userID` is `user_id`.
pub(super) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() {
            snake.push('_');
            continue;
        }
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let after_small = before.is_some_and(|before| before.is_lowercase() || before.is_numeric());
        let ends_capitals = before.is_some_and(|before| before.is_uppercase())
            && letters.get(index + 1).is_some_and(|after| after.is_lowercase());
        if letter.is_uppercase() && (after_small || ends_capitals) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

struct Columns<'a> {
    contract: &'a Contract,
    made: Vec<(Column, Make)>,
}

impl Columns<'_> {
    fn push(&mut self, make: Make, name: &str, kind: ColumnType, nullable: bool, doc: &str) {
        self.made.push((Column::new(name, kind, nullable, doc), make));
    }

    fn bronze(&mut self, source: (&'static str, ColumnType), name: &str, doc: &str) {
        self.push(Make::Bronze(source.0, source.1), name, source.1, true, doc);
    }

    /// A column about the same thing as a field: about a person if the field is.
    fn of_field(&mut self, make: Make, field: &Field, name: &str, nullable: bool, doc: String) {
        let personal = field.personal;
        let column = Column { personal, ..Column::new(name, ColumnType::String, nullable, &doc) };
        self.made.push((column, make));
    }

    fn head(&mut self) {
        let id = "Identity of the event, 32 lower-case hex digits; one row each.";
        self.push(Make::EventId, "event_id", ColumnType::String, false, id);
        self.push(Make::EventTs, "event_ts", ColumnType::Timestamp, false, "Event time, UTC.");
        let date = "Date of the event time, UTC; the partition.";
        self.push(Make::EventDate, "event_date", ColumnType::Date, false, date);
        let run =
            "Producer run; sessions and users are numbered within it. Null where the producer named none.";
        self.bronze(RUN_ID, "run_id", run);
    }

    fn payload(&mut self) {
        let contract = self.contract;
        let rules = &contract.silver;
        for (index, field) in contract.fields.iter().enumerate() {
            let is_replaced = rules.alternation.as_ref().is_some_and(|rule| rule.field == field.name);
            if field.name == contract.event_time.field || is_replaced {
                continue;
            }
            let mut column = Column {
                name: snake_case(&field.column),
                kind: field.kind.into(),
                nullable: !field.required,
                doc: field.doc.clone(),
                unit: field.unit.clone(),
                personal: field.personal,
            };
            let make = if rules.timestamps.contains(&field.name) {
                (column.kind, column.unit) = (ColumnType::Timestamp, None);
                column.doc.push_str(" UTC.");
                Make::Timestamp(index)
            } else if rules.text_repair.contains(&field.name) {
                column.doc = format!("{} Repaired here.", column.doc);
                Make::Repaired(index)
            } else if rules.user_agent.as_ref() == Some(&field.name) {
                column.doc = format!("{} Without them here.", column.doc);
                Make::Unquoted(index)
            } else {
                Make::Field(index)
            };
            self.made.push((column, make));
        }
    }

    fn derived(&mut self) {
        let contract = self.contract;
        let rules = &contract.silver;
        let place = |name: &String| contract.fields.iter().position(|field| field.name == *name);
        let field = |name: &String| place(name).map(|index| (index, &contract.fields[index]));
        for (index, field) in rules.text_repair.iter().filter_map(field) {
            let column = snake_case(&field.column);
            let doc = format!("`{column}` as it came; null unless it was repaired.");
            self.of_field(Make::Original(index), field, &format!("{column}_original"), true, doc);
        }
        if let Some((index, field)) = rules.user_agent.as_ref().and_then(field) {
            self.user_agent(index, &snake_case(&field.column));
        }
        if let Some(rule) = &rules.alternation
            && let Some((index, field)) = field(&rule.field)
        {
            let column = snake_case(&field.column);
            let [one, other] = &rule.between;
            let old = format!("`{column}` before the event.");
            let new = format!(
                "`{column}` that the event asks for: the other of `{one}` and `{other}`; null if it was neither."
            );
            self.of_field(Make::Old(index), field, &format!("old_{column}"), !field.required, old);
            self.of_field(Make::New(index), field, &format!("new_{column}"), true, new);
        }
        if let Some(rule) = &rules.precedence {
            self.push(Make::Precedence, &rule.column, ColumnType::Boolean, false, &rule.doc);
        }
    }

    fn user_agent(&mut self, index: usize, column: &str) {
        let mut text = |make, name, doc: String| self.push(make, name, ColumnType::String, true, &doc);
        text(Make::Browser(index), "browser", format!("Browser by `{column}`; `Other` if unknown."));
        let version = format!("Version of the browser by `{column}`, as far as it is told.");
        text(Make::BrowserVersion(index), "browser_version", version);
        text(
            Make::Os(index),
            "os",
            format!("Operating system by `{column}`, without version; `Other` if unknown."),
        );
        let device =
            format!("Kind of device by `{column}`: `desktop`, `mobile`, `tablet`, `bot` or `other`.");
        text(Make::DeviceType(index), "device_type", device);
    }

    fn tail(&mut self) {
        let adopted = "Null in rows taken over from an older pipeline that did not keep it.";
        let first = "of the delivery that was consumed first.";
        self.bronze(PARTITION, PARTITION.0, &format!("Kafka partition {first} {adopted}"));
        self.bronze(OFFSET, OFFSET.0, &format!("Kafka offset {first} {adopted}"));
        self.bronze(TIMESTAMP, TIMESTAMP.0, "Kafka timestamp of that record, UTC.");
        self.bronze(EPOCH, EPOCH.0, &format!("Source epoch {first} {adopted}"));
        let hash = "32-bit hash of the payload; tells deliveries of one event that disagree.";
        self.push(Make::PayloadHash, "_payload_hash", ColumnType::Int, false, hash);
        let processed = "When this row was made, UTC.";
        self.push(Make::ProcessedAt, "_processed_at", ColumnType::Timestamp, false, processed);
        self.bronze(EXTRAS, EXTRAS.0, "JSON object of the fields the contract does not know.");
    }
}
