//! Behind a proxy: one address, whose socket is moved.

use super::bench::{A, Bench};
use crate::failover::input::Input;
use crate::wire::session::ServerMessage;

/// Node A stands for the proxy; which node is behind it is its name in statuses.
fn bench() -> Bench {
    let mut bench = Bench::with(|options| {
        options.addresses.truncate(1);
        options.fixed = false;
        options.navigates = true;
    });
    bench.nodes[A].via_proxy = true;
    bench.run(1_000);
    assert_eq!(bench.told(), ["connected a", "state"]);
    assert_eq!(bench.asked(A), ["open"]);
    bench
}

fn moved(bench: &mut Bench) {
    bench.nodes[A].name = "b";
    bench.nodes[A].active = true;
    bench.nodes[A].counter = 2;
    let term = bench.nodes[A].term();
    let node = "b".parse().unwrap();
    let reason = "process gone".to_owned();
    bench.say(A, &ServerMessage::Moved { node, term, reason });
}

#[test]
fn the_proxy_is_the_only_address() {
    let mut bench = bench();
    bench.run(60_000);
    assert_eq!(bench.dials, 1);
}

#[test]
fn moved_resumes_on_the_same_socket_and_resends() {
    let mut bench = bench();
    bench.nodes[A].answers = false;
    bench.write(1);
    bench.asked(A);
    bench.nodes[A].answers = true;
    moved(&mut bench);
    assert_eq!(bench.asked(A), ["resume a1", "again 1"]);
    bench.run(10_000);
    assert_eq!(bench.dials, 1);
    assert!(bench.navigated.is_empty());
    assert!(bench.told().contains(&"applied 1".to_owned()));
}

#[test]
fn after_standby_it_waits_for_moved() {
    let mut bench = bench();
    bench.stand_by(A);
    let id = bench.write(1);
    bench.run(2_400);
    assert_eq!(bench.told(), ["reconnecting"]);
    moved(&mut bench);
    let told = bench.told();
    assert_eq!(told, ["transferred a b 2400", "resumed recovered", "state", "applied 1"]);
    assert_eq!((id.0, bench.dials), (1, 1));
}

#[test]
fn after_standby_and_no_move_it_redials_the_proxy() {
    let mut bench = bench();
    bench.stand_by(A);
    bench.run(2_499);
    assert_eq!(bench.dials, 1);
    bench.nodes[A].active = true;
    bench.run(100);
    assert_eq!(bench.dials, 2);
    assert_eq!(bench.asked(A), ["resume a1"]);
    assert_eq!(bench.told(), ["reconnecting", "resumed recovered", "state"]);
}

#[test]
fn a_silent_socket_is_kept_for_moved() {
    let mut bench = bench();
    bench.nodes[A].frozen = true;
    bench.run(3_000);
    assert_eq!((bench.told(), bench.dials), (vec!["reconnecting".to_owned()], 1));
    bench.nodes[A].frozen = false;
    moved(&mut bench);
    // The last word came with the pong at 1000 ms.
    assert_eq!(bench.told(), ["transferred a b 3000", "resumed recovered", "state"]);
    assert_eq!(bench.dials, 1);
}

#[test]
fn a_silent_socket_that_speaks_again_goes_on() {
    let mut bench = bench();
    bench.nodes[A].frozen = true;
    bench.run(3_000);
    let id = bench.write(1);
    bench.asked(A);
    bench.thaw(A);
    bench.run(100);
    assert_eq!(bench.told(), ["reconnecting", "resumed recovered", "applied 1"]);
    assert_eq!(bench.asked(A), ["do 1"]);
    assert_eq!((id.0, bench.dials), (1, 1));
}

#[test]
fn a_dead_proxy_is_redialled() {
    let mut bench = bench();
    bench.nodes[A].frozen = true;
    bench.run(6_000);
    assert!(bench.dials >= 2);
    bench.thaw(A);
    bench.run(3_000);
    assert_eq!(bench.told(), ["reconnecting", "resumed recovered", "state"]);

    bench.cut(A);
    bench.run(10);
    assert_eq!(bench.told(), ["state"]);
}

#[test]
fn unbound_in_flight_does_not_lose_the_session() {
    let mut bench = bench();
    bench.nodes[A].answers = false;
    bench.write(1);
    bench.asked(A);
    bench.nodes[A].frozen = true;
    moved(&mut bench);
    // The new node answers the request that was on its way, then the resume.
    bench.say(A, &ServerMessage::Unbound);
    bench.nodes[A].answers = true;
    bench.thaw(A);
    bench.input(Input::Timeout);
    assert_eq!(bench.asked(A), ["resume a1", "again 1"]);
}
