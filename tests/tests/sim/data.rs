//! What was answered, and what is sent but not received.

use tandem_protocol::runtime::records;
use tandem_protocol::session::{Operation, Outcome};
use tandem_tests::sim::plan::{MS, SECOND};

use crate::stage::{acts, each_pair, pass, until};

/// Schedule 27.
#[test]
fn sent_is_not_received() {
    each_pair(|world| {
        world.slow_link(150 * MS, 0, 0);
        pass(world, SECOND);
        let id = world.operate(0, super::clients::count(1));
        // Sent and durable at node 0 by now; the peer has not said that it has it.
        pass(world, 200 * MS);
        assert!(!world.witness.knows(0, id), "answered before the receipt");
        world.take_down(0, true);
        world.slow_link(0, 0, 0);
        until(world, 3 * SECOND, "node 1 takes over", |w| acts(w, 1));
        until(world, 8 * SECOND, "the client knows", |w| w.witness.knows(0, id));
        pass(world, SECOND);
        world.bring_up(0);
    });
}

/// Schedule 28.
#[test]
fn ack_alone_then_restart() {
    each_pair(|world| {
        world.take_down(1, true);
        until(world, 20 * SECOND, "an alarm to ack", |w| !w.clients[0].alarms.is_empty());
        let (alarm, raise) = world.clients[0].alarms.pop_first().expect("an alarm");
        let ack = Operation::Ack { alarm: alarm.clone(), raise, who: None, note: None };
        let id = world.operate(0, ack);
        until(world, 3 * SECOND, "the ack is answered", |w| w.witness.knows(0, id));
        assert_eq!(world.witness.told(0, id), Some(&Outcome::Applied));
        world.take_down(0, true);
        pass(world, SECOND);
        world.bring_up(0);
        until(world, 6 * SECOND, "it is active again", |w| acts(w, 0));
        let run = world.nodes[0].run.as_ref().expect("it runs");
        let key = records::alarm_key(&alarm);
        let state: tandem_protocol::alarm::AlarmState =
            records::get(&run.memory.kept.items, &key).expect("its state");
        assert!(state.acked || state.raise > raise, "{state:?}");
        world.bring_up(1);
    });
}

/// A write that died with its node before the receipt is told to be what it is, and the tail is
/// archived when the node returns (schedule 26b).
#[test]
fn unanswered_tail() {
    each_pair(|world| {
        world.cut(0, 1);
        let id = world.operate(0, super::clients::count(1));
        pass(world, 20 * MS);
        assert!(!world.witness.knows(0, id));
        world.take_down(0, true);
        world.heal(0, 1);
        until(world, 3 * SECOND, "node 1 takes over", |w| acts(w, 1));
        until(world, 9 * SECOND, "the client knows", |w| w.witness.knows(0, id));
        let session = world.saved(0).expect("a session").session;
        world.bring_up(0);
        assert!(world.quiet(20 * SECOND), "{:?}", world.failure());
        if world.witness.told(0, id) == Some(&Outcome::Applied) {
            // It ran again at node 1: the same id, once.
            return;
        }
        let counted = tandem_tests::sim::check::counted_key("Count/2", &session, id);
        for node in &world.nodes {
            let items = &node.run.as_ref().expect("it runs").memory.kept.items;
            assert!(!items.contains_key(&counted), "a tail that nobody heard of is merged");
        }
        let archives = world.nodes[0].disk.archives();
        assert!(archives.iter().any(|archive| archive.items.contains_key(&counted)));
    });
}
