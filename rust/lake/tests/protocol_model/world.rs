//! Everything that can happen to writers and catalog, step by step.

use streamify_lake::protocol::{Answer, Event, Refusal, ResumeFrom};
use uuid::Uuid;

use super::server::{OFFSETS, Request, Server};
use super::writer::{Phase, TOPIC, Writer};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub server: Server,
    pub writers: Vec<Writer>,
    pub late: Vec<Request>,
    pub faults: u8,
    pub rolled_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
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

impl World {
    pub fn apply(&mut self, step: Step) {
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

    pub fn ordinary_steps(&self, w: usize) -> Option<Step> {
        match &self.writers[w].phase {
            Phase::Idle => Some(Step::Begin(w)),
            Phase::Loading(_) => Some(Step::Load(w)),
            Phase::Posted(..) => Some(Step::Deliver(w)),
            Phase::Stopped(_) | Phase::Done => None,
        }
    }

    pub fn fault_steps(&self) -> Vec<Step> {
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
    pub fn state_is_true(&self) -> bool {
        let Ok(state) = self.server.view(Uuid::nil()).state(None) else { return true };
        let next = state.next_offset(TOPIC, 0).unwrap_or(0);
        self.server
            .rows()
            .iter()
            .enumerate()
            .all(|(offset, count)| *count == u8::from((offset as i64) < next))
    }

    /// Left alone, a writer comes to an end: all offsets in the table, or stopped with a reason.
    pub fn can_go_on(&self, w: usize) -> bool {
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
    pub fn restart_completes(&self) -> bool {
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
