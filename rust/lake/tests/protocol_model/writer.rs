//! A writer of the model: the machine that the committer runs, and what its process remembers.

use std::collections::BTreeMap;

use streamify_core::state::{Change, SourceIdentity, Span, TableState};
use streamify_lake::protocol::{Action, Answer, Event, Intent, Machine, Refusal, View};
use uuid::Uuid;

use super::server::{OFFSETS, Request, Server};

/// Attempts of one commit.
const ATTEMPTS: u8 = 2;
pub const TOPIC: &str = "t";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    Loading(Machine),
    Posted(Machine, Request),
    Stopped(Refusal),
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    pub phase: Phase,
    /// What the writer remembers of the table.
    pub cached: View,
    pub last_sequence: i64,
    pub known: TableState,
    /// Makes commit ids unique.
    pub commits: u8,
    pub attempts: u8,
    pub range: (i64, i64),
    pub finished: Vec<Uuid>,
}

fn source() -> SourceIdentity {
    SourceIdentity { cluster_id: "c".into(), topic_id: None }
}

impl Writer {
    pub fn new(server: &Server) -> Self {
        let mut writer = Writer {
            phase: Phase::Idle,
            cached: server.view(Uuid::nil()),
            last_sequence: server.last_sequence,
            known: TableState::default(),
            commits: 0,
            attempts: 0,
            range: (0, 0),
            finished: Vec::new(),
        };
        writer.start(server);
        writer
    }

    /// A process starts: it reads the table; after a rollback an operator has chosen to read again.
    pub fn start(&mut self, server: &Server) {
        self.remember(server, Uuid::nil());
        self.phase = match self.cached.state(None) {
            Ok(state) => {
                self.known = state;
                self.idle_or_done()
            }
            Err(refusal) => Phase::Stopped(refusal),
        };
    }

    pub fn remember(&mut self, server: &Server, commit: Uuid) {
        self.cached = server.view(commit);
        self.last_sequence = server.last_sequence;
    }

    pub fn idle_or_done(&self) -> Phase {
        if self.known.next_offset(TOPIC, 0) == Some(OFFSETS as i64) { Phase::Done } else { Phase::Idle }
    }

    pub fn begin(&mut self, index: usize) {
        let expected = self.known.next_offset(TOPIC, 0);
        let start = expected.unwrap_or(0);
        // One writer takes one offset a commit, the other up to two, so that their ranges overlap in every way.
        let end = (start + 1 + index as i64).min(OFFSETS as i64);
        self.range = (start, end);
        self.commits += 1;
        self.attempts = 0;
        let machine = Machine::new(Intent {
            commit_id: Uuid::from_u128(((index as u128 + 1) << 8) | u128::from(self.commits)),
            table_uuid: self.cached.table_uuid,
            changes: vec![Change::Advance {
                topic: TOPIC.into(),
                epoch: 0,
                source: source(),
                spans: BTreeMap::from([(0, Span { expected, start, end })]),
            }],
            resume_from: None,
        });
        let view = View { landed: None, ..self.cached.clone() };
        self.feed(index, machine, Event::Loaded(view));
    }

    pub fn commit_id(&self, index: usize) -> Uuid {
        Uuid::from_u128(((index as u128 + 1) << 8) | u128::from(self.commits))
    }

    pub fn feed(&mut self, index: usize, mut machine: Machine, event: Event) {
        let may_retry = self.attempts < ATTEMPTS;
        self.phase = match machine.on(event, may_retry) {
            Action::Load => Phase::Loading(machine),
            Action::Post { head, state } => {
                self.attempts += 1;
                let request = Request {
                    uuid: self.cached.table_uuid.as_u128() as u8,
                    base: head,
                    sequence: self.last_sequence + 1,
                    commit: self.commit_id(index),
                    state,
                    start: self.range.0,
                    end: self.range.1,
                };
                Phase::Posted(machine, request)
            }
            Action::Finish { state, .. } => {
                self.known = state;
                self.finished.push(self.commit_id(index));
                self.idle_or_done()
            }
            Action::Stop(refusal) => Phase::Stopped(refusal),
        };
    }

    pub fn answer(&mut self, index: usize, answer: Answer, server: &Server) {
        if let Phase::Posted(machine, _) = std::mem::replace(&mut self.phase, Phase::Idle) {
            if matches!(answer, Answer::Applied { .. }) {
                // The catalog's answer carries the new metadata.
                self.remember(server, self.commit_id(index));
            }
            self.feed(index, machine, Event::Answered(answer));
        }
    }
}
