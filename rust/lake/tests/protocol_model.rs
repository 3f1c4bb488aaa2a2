//! Explores the commit protocol exhaustively: the machine that the committer runs, two writers, a catalog, and every
//! order of lost, late and repeated answers, crashes, foreign commits, expiry, rollback and a table made anew that a
//! bounded number of faults allows.
//!
//! One history is left out, because nothing in a table can tell it: a rollback, a foreign commit on top of it *and* the
//! expiry of every snapshot below, all before a writer looks again. Expiry keeps snapshots for hours or days; a writer
//! looks at each commit.

use std::collections::BTreeMap;

use stateright::{Checker, Model, Property};
use streamify_core::state::{Change, SourceIdentity, Span, TableState};
use streamify_lake::protocol::{
    Action, Answer, Event, Intent, Machine, PropertyCommit, Refusal, ResumeFrom, View,
};
use uuid::Uuid;

/// Offsets of the one partition of the model.
const OFFSETS: usize = 3;
/// Faults in one history.
const FAULTS: u8 = 3;
/// Attempts of one commit.
const ATTEMPTS: u8 = 2;
const TOPIC: &str = "t";

type Rows = [u8; OFFSETS];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    sequence: i64,
    parent: Option<i64>,
    state: Option<TableState>,
    commit: Option<Uuid>,
    /// How often each offset is in the table as of this snapshot.
    rows: Rows,
}

/// The table in the catalog; a snapshot's id is its sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Server {
    uuid: u8,
    snapshots: BTreeMap<i64, Snapshot>,
    head: Option<i64>,
    last_sequence: i64,
    property: Option<(TableState, Uuid, i64)>,
    /// Commits ever applied, in order.
    applied: Vec<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    uuid: u8,
    base: Option<i64>,
    /// One more than the last of the base; the catalog refuses one that is not above its own last.
    sequence: i64,
    commit: Uuid,
    state: TableState,
    start: i64,
    end: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Loading(Machine),
    Posted(Machine, Request),
    Stopped(Refusal),
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writer {
    phase: Phase,
    /// What the writer remembers of the table.
    cached: View,
    last_sequence: i64,
    known: TableState,
    /// Makes commit ids unique.
    commits: u8,
    attempts: u8,
    range: (i64, i64),
    finished: Vec<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    server: Server,
    writers: Vec<Writer>,
    late: Vec<Request>,
    faults: u8,
    rolled_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Begin(usize),
    Load(usize),
    LoadFails(usize),
    Deliver(usize),
    DeliverAnswerLost(usize),
    RequestLost(usize),
    RequestLate(usize),
    Refused503(usize),
    Crash(usize),
    LateArrives(usize),
    LateDropped(usize),
    ForeignCommit,
    ExpireAllButHead,
    RollBack,
    MadeAnew,
}

impl Server {
    fn view(&self, commit: Uuid) -> View {
        let mut lineage = Vec::new();
        let mut next = self.head;
        while let Some(snapshot) = next.and_then(|id| self.snapshots.get(&id)) {
            lineage.push(snapshot);
            next = snapshot.parent;
        }
        let property_commit = match &self.property {
            None => PropertyCommit::Expired,
            Some((_, _, wanted)) => match lineage.iter().map(|s| s.sequence).find(|s| s <= wanted) {
                Some(sequence) if sequence == *wanted => PropertyCommit::Present,
                Some(_) => PropertyCommit::RolledBack,
                None if self.head.is_none() => PropertyCommit::RolledBack,
                None => PropertyCommit::Expired,
            },
        };
        View {
            table_uuid: Uuid::from_u128(u128::from(self.uuid)),
            head: self.head,
            property: self.property.as_ref().map(|(state, _, _)| state.clone()),
            property_commit_id: self.property.as_ref().map(|(_, commit, _)| *commit),
            property_commit,
            ancestry: lineage.iter().find_map(|s| s.state.clone()),
            landed: lineage.iter().find(|s| s.commit == Some(commit)).map(|s| s.sequence),
        }
    }

    fn rows(&self) -> Rows {
        self.head.and_then(|id| self.snapshots.get(&id)).map_or([0; OFFSETS], |s| s.rows)
    }

    /// `assert-table-uuid`, `assert-ref-snapshot-id`, an ascending sequence number; then the updates.
    fn commit(&mut self, request: &Request) -> Answer {
        if request.uuid != self.uuid || request.base != self.head || request.sequence <= self.last_sequence {
            return Answer::Conflict;
        }
        let mut rows = self.rows();
        for offset in request.start..request.end {
            rows[offset as usize] += 1;
        }
        let sequence = self.push(Some(request.state.clone()), Some(request.commit), rows);
        self.property = Some((request.state.clone(), request.commit, sequence));
        self.applied.push(request.commit);
        Answer::Applied { snapshot_id: sequence }
    }

    fn push(&mut self, state: Option<TableState>, commit: Option<Uuid>, rows: Rows) -> i64 {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        self.snapshots.insert(sequence, Snapshot { sequence, parent: self.head, state, commit, rows });
        self.head = Some(sequence);
        sequence
    }
}

fn source() -> SourceIdentity {
    SourceIdentity { cluster_id: "c".into(), topic_id: None }
}

impl Writer {
    fn new(server: &Server) -> Self {
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
    fn start(&mut self, server: &Server) {
        self.remember(server, Uuid::nil());
        self.phase = match self.cached.state(None) {
            Ok(state) => {
                self.known = state;
                self.idle_or_done()
            }
            Err(refusal) => Phase::Stopped(refusal),
        };
    }

    fn remember(&mut self, server: &Server, commit: Uuid) {
        self.cached = server.view(commit);
        self.last_sequence = server.last_sequence;
    }

    fn idle_or_done(&self) -> Phase {
        if self.known.next_offset(TOPIC, 0) == Some(OFFSETS as i64) { Phase::Done } else { Phase::Idle }
    }

    fn begin(&mut self, index: usize) {
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

    fn commit_id(&self, index: usize) -> Uuid {
        Uuid::from_u128(((index as u128 + 1) << 8) | u128::from(self.commits))
    }

    fn feed(&mut self, index: usize, mut machine: Machine, event: Event) {
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

    fn answer(&mut self, index: usize, answer: Answer, server: &Server) {
        if let Phase::Posted(machine, _) = std::mem::replace(&mut self.phase, Phase::Idle) {
            if matches!(answer, Answer::Applied { .. }) {
                // The catalog's answer carries the new metadata.
                self.remember(server, self.commit_id(index));
            }
            self.feed(index, machine, Event::Answered(answer));
        }
    }
}

impl World {
    fn apply(&mut self, step: Step) {
        let World { server, writers, late, rolled_back, .. } = self;
        match step {
            Step::Begin(w) => writers[w].begin(w),
            Step::Load(w) | Step::LoadFails(w) => {
                if let Phase::Loading(machine) = writers[w].phase.clone() {
                    let event = if matches!(step, Step::Load(_)) {
                        let commit = writers[w].commit_id(w);
                        writers[w].remember(server, commit);
                        Event::Loaded(writers[w].cached.clone())
                    } else {
                        writers[w].attempts += 1;
                        Event::LoadFailed("down".into())
                    };
                    writers[w].feed(w, machine, event);
                }
            }
            Step::Deliver(w) | Step::DeliverAnswerLost(w) => {
                if let Phase::Posted(_, request) = writers[w].phase.clone() {
                    let answer = server.commit(&request);
                    let answer = if matches!(step, Step::Deliver(_)) { answer } else { Answer::Unknown };
                    writers[w].answer(w, answer, server);
                }
            }
            Step::RequestLost(w) => writers[w].answer(w, Answer::Unknown, server),
            Step::Refused503(w) => writers[w].answer(w, Answer::Unavailable, server),
            Step::RequestLate(w) => {
                if let Phase::Posted(_, request) = writers[w].phase.clone() {
                    late.push(request);
                    writers[w].answer(w, Answer::Unknown, server);
                }
            }
            Step::Crash(w) => {
                if let Phase::Posted(_, request) = writers[w].phase.clone() {
                    late.push(request);
                }
                writers[w].start(server);
            }
            Step::LateArrives(i) => {
                let request = late.remove(i);
                server.commit(&request);
            }
            Step::LateDropped(i) => {
                late.remove(i);
            }
            Step::ForeignCommit => {
                let rows = server.rows();
                server.push(None, None, rows);
            }
            Step::ExpireAllButHead => {
                let head = server.head;
                server.snapshots.retain(|id, _| Some(*id) == head);
            }
            Step::RollBack => {
                *rolled_back = true;
                server.head = server.head.and_then(|id| server.snapshots[&id].parent);
            }
            Step::MadeAnew => {
                *server =
                    Server { uuid: server.uuid + 1, applied: server.applied.clone(), ..Server::default() };
            }
        }
    }

    fn ordinary_steps(&self, w: usize) -> Option<Step> {
        match &self.writers[w].phase {
            Phase::Idle => Some(Step::Begin(w)),
            Phase::Loading(_) => Some(Step::Load(w)),
            Phase::Posted(..) => Some(Step::Deliver(w)),
            Phase::Stopped(_) | Phase::Done => None,
        }
    }

    fn fault_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (w, writer) in self.writers.iter().enumerate() {
            match &writer.phase {
                Phase::Loading(_) => steps.extend([Step::LoadFails(w), Step::Crash(w)]),
                Phase::Posted(..) => steps.extend([
                    Step::DeliverAnswerLost(w),
                    Step::RequestLost(w),
                    Step::RequestLate(w),
                    Step::Refused503(w),
                    Step::Crash(w),
                ]),
                Phase::Stopped(_) => steps.push(Step::Crash(w)),
                Phase::Idle | Phase::Done => {}
            }
        }
        steps.push(Step::ForeignCommit);
        if self.server.snapshots.len() > 1 && !self.rolled_back {
            steps.push(Step::ExpireAllButHead);
        }
        let parent = self.server.head.and_then(|id| self.server.snapshots[&id].parent);
        if parent.is_some_and(|id| self.server.snapshots.contains_key(&id)) {
            steps.push(Step::RollBack);
        }
        if self.server.uuid == 1 {
            steps.push(Step::MadeAnew);
        }
        steps
    }

    /// What the table says it holds is what it holds.
    fn state_is_true(&self) -> bool {
        let Ok(state) = self.server.view(Uuid::nil()).state(None) else { return true };
        let next = state.next_offset(TOPIC, 0).unwrap_or(0);
        self.server
            .rows()
            .iter()
            .enumerate()
            .all(|(offset, count)| *count == u8::from((offset as i64) < next))
    }

    /// Left alone, a writer comes to an end: all offsets in the table, or stopped with a reason.
    fn can_go_on(&self, w: usize) -> bool {
        let mut world = self.clone();
        for _ in 0..40 {
            match world.ordinary_steps(w) {
                Some(step) => world.apply(step),
                None => return true,
            }
        }
        false
    }

    /// A fresh process, whatever happened before, fills the table or names the decision it needs.
    fn restart_completes(&self) -> bool {
        let mut world = self.clone();
        world.late.clear();
        world.writers[0].start(&world.server);
        if let Phase::Stopped(refusal) = &world.writers[0].phase {
            let Refusal::StateMismatch { .. } = refusal else { return false };
            let view = world.server.view(Uuid::nil());
            let resumed =
                view.state(Some(ResumeFrom::Snapshot)).or_else(|_| view.state(Some(ResumeFrom::Property)));
            return resumed.is_ok();
        }
        while let Some(step) = world.ordinary_steps(0) {
            world.apply(step);
        }
        world.writers[0].phase == Phase::Done && world.server.rows() == [1; OFFSETS]
    }
}

struct Protocol;

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let server = Server { uuid: 1, ..Server::default() };
        let writers = vec![Writer::new(&server), Writer::new(&server)];
        vec![World { server, writers, late: Vec::new(), faults: 0, rolled_back: false }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        actions.extend((0..world.writers.len()).filter_map(|w| world.ordinary_steps(w)));
        actions.extend((0..world.late.len()).flat_map(|i| [Step::LateArrives(i), Step::LateDropped(i)]));
        if world.faults < FAULTS {
            actions.extend(world.fault_steps());
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        let ordinary = (0..world.writers.len()).any(|w| world.ordinary_steps(w) == Some(step));
        if !ordinary && !matches!(step, Step::LateArrives(_) | Step::LateDropped(_)) {
            next.faults += 1;
        }
        next.apply(step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is doubled", |_, world: &World| {
                world.server.rows().iter().all(|count| *count <= 1)
            }),
            Property::always(
                "nothing is lost: the stored offset is what the table holds",
                |_, world: &World| world.state_is_true(),
            ),
            Property::always("a commit is applied once at most", |_, world: &World| {
                let mut applied = world.server.applied.clone();
                applied.sort();
                applied.windows(2).all(|pair| pair[0] != pair[1])
            }),
            Property::always("a commit called finished was applied", |_, world: &World| {
                world.writers.iter().flat_map(|w| &w.finished).all(|id| world.server.applied.contains(id))
            }),
            Property::always("every writer comes to an end", |_, world: &World| {
                (0..world.writers.len()).all(|w| world.can_go_on(w))
            }),
            Property::always("a restart completes or names its decision", |_, world: &World| {
                world.restart_completes()
            }),
            Property::sometimes("a lost answer is found", |_, world: &World| {
                world.faults > 0 && world.writers.iter().any(|w| w.phase == Phase::Done)
            }),
            Property::sometimes("a second writer is fenced", |_, world: &World| {
                world.writers.iter().any(|w| matches!(w.phase, Phase::Stopped(Refusal::Fenced { .. })))
            }),
            Property::sometimes("a rollback is seen", |_, world: &World| {
                world.writers.iter().any(|w| matches!(w.phase, Phase::Stopped(Refusal::StateMismatch { .. })))
            }),
            Property::sometimes("a table made anew is seen", |_, world: &World| {
                world.writers.iter().any(|w| matches!(w.phase, Phase::Stopped(Refusal::TableReplaced { .. })))
            }),
        ]
    }
}

#[test]
fn every_history_with_three_faults_keeps_the_promise() {
    let checker = Protocol.checker().threads(2).spawn_bfs().join();

    checker.assert_properties();
    println!("states explored: {} unique of {}", checker.unique_state_count(), checker.state_count());
    assert!(checker.unique_state_count() > 100_000, "the model has become trivial");
}
