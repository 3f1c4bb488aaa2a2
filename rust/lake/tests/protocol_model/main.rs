//! Explores the commit protocol exhaustively: the machine that the committer runs, two writers, a catalog, and every
//! order of lost, late and repeated answers, crashes, foreign commits, expiry, rollback and a table made anew that a
//! bounded number of faults allows.
//!
//! One history is left out, because nothing in a table can tell it: a rollback, a foreign commit on top of it *and* the
//! expiry of every snapshot below, all before a writer looks again. Expiry keeps snapshots for hours or days; a writer
//! looks at each commit.

mod server;
mod world;
mod writer;

use stateright::{Checker, Model, Property};
use streamify_lake::protocol::Refusal;

use self::server::Server;
use self::world::{Step, World};
use self::writer::{Phase, Writer};

/// Faults in one history.
const FAULTS: u8 = 3;

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
