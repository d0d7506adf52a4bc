//! Clients over a failover: old ids, frozen sockets, lower terms, tabs.

use std::time::Duration;

use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::session::{Operation, Outcome, SessionId, WriteId};
use tandem_protocol::tag::TagValue;
use tandem_tests::sim::plan::{MS, SECOND};
use tandem_tests::sim::world::World;

use crate::stage::{acts, each_pair, pass, served_by, told, until};

/// Adds one to a counting tag.
pub(crate) fn count(number: u64) -> Operation {
    Operation::Write { tag: format!("Count/{}", 1 + number % 2), value: TagValue::Int(1) }
}

/// Schedule 38.
#[test]
fn w1_after_w2() {
    each_pair(|world| {
        let session = world.saved(0).expect("a session").session;
        let ask = |world: &mut World, id: u64, resent: bool| {
            let operation = count(id);
            let clock = world.nodes[0].session_clock(world.now);
            let deadline = tandem_protocol::time::SessionClock(clock.0 + 5_000);
            let (id, floor) = (WriteId(id), WriteId(0));
            let request =
                tandem_protocol::session::Request { id, floor, deadline, resent, operation };
            world.ask_script(0, Request::Operate { session: session.clone(), request, clock });
            pass(world, 100 * MS);
        };
        ask(world, 900, false);
        ask(world, 899, true);
        let outcomes: Vec<Outcome> = world.scripted(0).iter().filter_map(outcome).collect();
        assert_eq!(outcomes, [Outcome::Applied, Outcome::Unknown]);
    });
}

fn outcome(answer: &Answer) -> Option<Outcome> {
    match answer {
        Answer::Done { outcome, .. } => Some(outcome.clone()),
        _ => None,
    }
}

/// Schedule 39.
#[test]
fn setpoint_in_a_frozen_socket() {
    each_pair(|world| {
        world.take_down(1, true);
        pass(world, 2 * SECOND);
        world.stall(0);
        let id = world.operate(0, count(1));
        pass(world, 20 * SECOND);
        world.thaw(0);
        until(world, 10 * SECOND, "the client knows", |w| w.witness.knows(0, id));
        assert_eq!(world.witness.told(0, id), Some(&Outcome::Expired));
        world.bring_up(1);
    });
}

/// Schedule 40.
#[test]
fn only_lower_term_left() {
    each_pair(|world| {
        world.cut(0, 1);
        world.cut(1, 0);
        world.cut_clients(0);
        until(world, 8 * SECOND, "clients are at node 1", |w| served_by(w, 1));
        world.heal_clients(0);
        pass(world, 4 * SECOND);
        assert!(served_by(world, 1), "a lower term does not tempt");
        world.take_down(1, true);
        until(world, 8 * SECOND, "clients take the lower term", |w| served_by(w, 0));
        let id = world.operate(0, count(1));
        until(world, 3 * SECOND, "and work there", |w| w.witness.knows(0, id));
        world.bring_up(1);
        world.heal(0, 1);
        world.heal(1, 0);
    });
}

/// Schedule 40, the other half: the last word of a node that froze is not fresh.
#[test]
fn stale_offer() {
    each_pair(|world| {
        world.cut(0, 1);
        world.cut(1, 0);
        world.cut_clients(0);
        until(world, 8 * SECOND, "clients are at node 1", |w| served_by(w, 1));
        world.heal_clients(0);
        pass(world, 4 * SECOND);
        world.stall(1);
        until(world, 9 * SECOND, "clients take the lower term", |w| served_by(w, 0));
        world.thaw(1);
        world.heal(0, 1);
        world.heal(1, 0);
    });
}

/// Schedule 41.
#[test]
fn healthy_looking_session() {
    each_pair(|world| {
        world.stall(0);
        until(world, 2 * SECOND, "node 1 takes over", |w| acts(w, 1));
        until(world, 20 * MS, "clients are there at once", |w| served_by(w, 1));
        world.thaw(0);
    });
}

/// Schedule 44.
#[test]
fn two_tabs() {
    each_pair(|world| {
        let saved = world.saved(0);
        let tab = world.add_client(saved);
        pass(world, 10 * SECOND);
        let binds = told(world, 0, "State") + told(world, tab, "State");
        assert!(world.clients.iter().all(|client| client.bound.is_some()));
        let sessions: Vec<SessionId> =
            [0, tab].map(|c| world.saved(c).expect("a session").session).to_vec();
        assert_ne!(sessions[0], sessions[1], "one of them opened anew");
        pass(world, 10 * SECOND);
        let later = told(world, 0, "State") + told(world, tab, "State");
        assert_eq!(binds, later, "no ping-pong");
    });
}

/// Schedule 45.
#[test]
fn opened_then_killed() {
    each_pair(|world| {
        // Node 1 does not hear of the new session.
        world.cut(0, 1);
        world.cut(1, 0);
        world.cut_clients(1);
        pass(world, 3 * SECOND);
        let new = world.add_client(None);
        until(world, 3 * SECOND, "it is opened", |w| w.clients[new].bound.is_some());
        let mut props = serde_json::Map::new();
        props.insert("typed".to_owned(), "half a sentence".into());
        let id = world.operate(new, Operation::Props { props });
        until(world, 3 * SECOND, "its text is kept", |w| w.witness.knows(new, id));
        world.take_down(0, true);
        world.heal_clients(1);
        until(world, 9 * SECOND, "clients are at node 1", |w| served_by(w, 1));
        let events = &world.clients[new].told;
        let anew = |e: &&String| e.starts_with("Resumed") && e.contains("recovered: false");
        assert!(events.iter().any(|e| anew(&e) && e.contains("anew: true")), "{events:?}");
        let state = events.iter().rfind(|e| e.starts_with("State")).expect("its state");
        assert!(state.contains("half a sentence") && state.contains("page: \"main\""), "{state}");
        world.heal(0, 1);
        world.heal(1, 0);
        world.bring_up(0);
    });
}

/// Schedule 46.
#[test]
fn backoff_and_news() {
    each_pair(|world| {
        world.take_down(1, false);
        // The watches to node 1 are in their longest backoff by now.
        pass(world, 20 * SECOND);
        world.bring_up(1);
        until(world, 3 * SECOND, "node 1 is in sync", |w| in_sync(w, 0));
        world.take_down(0, false);
        until(world, 100 * MS, "node 1 takes over", |w| acts(w, 1));
        until(world, 50 * MS, "clients try at once", |w| served_by(w, 1));
        pass(world, SECOND);
        world.bring_up(0);
    });
}

fn in_sync(world: &World, host: usize) -> bool {
    let run = world.nodes[host].run.as_ref();
    run.and_then(|run| run.status.peer.as_ref()).is_some_and(|peer| peer.in_sync)
}

/// A setpoint whose user does not wait is not run late. The silent node may have run it in time:
/// `expired` would say too much.
#[test]
fn a_short_deadline_is_not_run_late() {
    each_pair(|world| {
        world.stall(0);
        let id = world.operate_within(0, count(1), Duration::from_millis(300));
        until(world, 6 * SECOND, "the client knows", |w| w.witness.knows(0, id));
        assert_eq!(world.witness.told(0, id), Some(&Outcome::Unknown));
        world.thaw(0);
    });
}
