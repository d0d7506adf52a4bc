//! Strange input: nothing a gateway says may make a client panic, spin or forget its session.

use proptest::prelude::*;

use super::bench::{A, B, Bench};
use crate::failover::input::Input;
use crate::node::Level;
use crate::session::{Outcome, SessionId, WriteId};
use crate::time::SessionClock;
use crate::wire::session::{CloseReason, ServerMessage};

/// What a confused or hostile gateway might say.
fn words(bench: &Bench, node: usize, pick: u8, n: u64) -> ServerMessage {
    let there = &bench.nodes[node];
    let outcomes = [Outcome::Applied, Outcome::Unknown, Outcome::Expired, Outcome::Applied];
    let reasons = [
        CloseReason::Malformed,
        CloseReason::BadToken,
        CloseReason::Stopping,
        CloseReason::Replaced,
        CloseReason::Limit,
    ];
    match pick % 11 {
        0 => ServerMessage::Standby { status: there.status(), via_proxy: n.is_multiple_of(2) },
        1 => ServerMessage::Active { status: there.status() },
        2 => ServerMessage::Pong {
            n,
            level: if n.is_multiple_of(2) { Level::Active } else { Level::Cold },
            term: there.term(),
            clock: SessionClock(n.wrapping_mul(u64::MAX / 3)),
        },
        3 => ServerMessage::Values { values: Vec::new() },
        4 => ServerMessage::Events { events: Vec::new() },
        5 => {
            let outcome = outcomes[(n % 4) as usize].clone();
            ServerMessage::Outcome { id: WriteId(n % 5), copies: 0, outcome }
        }
        6 => {
            let node = if n.is_multiple_of(2) { "a" } else { "b" }.parse().unwrap();
            ServerMessage::Moved { node, term: there.term(), reason: String::new() }
        }
        7 => ServerMessage::Replaced,
        8 => ServerMessage::Forgotten { session: SessionId("a1".to_owned()) },
        9 => ServerMessage::Unbound,
        _ => {
            let reason = reasons[(n % 5) as usize];
            ServerMessage::Closing { reason, detail: String::new() }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_comes_the_client_finds_its_way_back(
        single: bool,
        steps in prop::collection::vec((0..8_u8, any::<u8>(), 0..20_u64, 0..1_500_u64), 1..60),
    ) {
        let mut bench = Bench::with(|options| {
            options.fixed = false;
            if single {
                options.addresses.truncate(1);
            }
        });
        for (what, pick, n, wait) in steps {
            let node = usize::from(pick % 2);
            match what {
                0 => bench.kill(node),
                1 => bench.nodes[node].up = true,
                2 => bench.nodes[node].frozen = true,
                3 => bench.thaw(node),
                4 => bench.activate(node, n),
                5 => { bench.write(1); }
                6 => bench.input(Input::Probe),
                _ => {
                    let message = words(&bench, node, pick, n);
                    bench.say(node, &message);
                }
            }
            bench.run(wait);
        }
        // Then the world is well again: A is active with the highest term, B its standby.
        for node in [A, B] {
            bench.nodes[node].up = true;
            bench.nodes[node].via_proxy = false;
            bench.thaw(node);
        }
        bench.stand_by(B);
        bench.activate(A, 99);
        bench.run(15_000);
        prop_assert_eq!(bench.machine.book.bound().map(|(p, _)| p.url.as_str()), Some("http://a:1"));
        bench.nodes[A].answers = true;
        let id = bench.write(1);
        bench.run(100);
        let told = bench.told();
        prop_assert!(told.contains(&format!("applied {}", id.0)), "{:?}", told);
        prop_assert!(bench.machine.outbox.is_empty());
    }
}
