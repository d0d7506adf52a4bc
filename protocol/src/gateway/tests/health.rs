//! What a node that is degraded means for the level, and what it does not mean.

use super::*;
use crate::item::{Change, ItemKey};
use crate::status::Health;

const REST: Duration = Duration::from_millis(2_500);

impl Pair {
    fn says(&mut self, index: usize, level: u8) {
        let reason = if level == 255 { String::new() } else { "its field bus is gone".to_owned() };
        self.input(index, Input::Health { level, reason });
    }
}

/// A pair in sync whose level has rested; node 0 is the active one.
fn rested(recovery: RecoveryMode, health_switch: bool) -> Pair {
    let mut pair = Pair::new(|_, options| {
        options.settings.master_recovery_mode = recovery;
        options.settings.health_switch = health_switch;
    });
    pair.run(REST);
    assert_eq!(pair.acting(), [0]);
    pair
}

#[test]
fn the_level_goes_to_the_healthier_node() {
    let mut pair = rested(RecoveryMode::Manual, true);
    pair.says(0, 100);
    pair.run(200 * MS);
    assert_eq!(pair.acting(), [1]);
    let reason = pair.node(1).levels.last().cloned().unwrap_or_default();
    assert!(reason.contains("to the healthier node"), "{reason}");
    let said = pair.node(0).events.iter().find(|event| event.kind == EventKind::Health);
    assert!(said.is_some_and(|event| event.text.contains("its field bus is gone")), "{said:?}");
    let (own, peer) = (pair.node(0).gateway.healths(), pair.node(1).gateway.healths());
    assert_eq!((own.level, own.peer, peer.level, peer.peer), (100, Some(255), 255, Some(100)));
    assert_eq!(own.reason, "its field bus is gone");
}

#[test]
fn it_stays_where_it_is_without_a_reason() {
    type Before = fn(&mut Pair);
    let cases: [(&str, bool, Before); 3] = [
        ("the setting is off", false, |pair| pair.says(0, 100)),
        ("both are as well", true, |pair| {
            pair.says(1, 100);
            pair.says(0, 100);
        }),
        ("the other one is worse", true, |pair| pair.says(1, 100)),
    ];
    for (name, health_switch, before) in cases {
        let mut pair = rested(RecoveryMode::Manual, health_switch);
        before(&mut pair);
        pair.run(5_000 * MS);
        assert_eq!(pair.acting(), [0], "{name}");
    }
}

#[test]
fn it_rests_before_and_waits_for_a_standby_in_sync() {
    let mut pair = Pair::new(|_, options| options.settings.health_switch = true);
    pair.run(500 * MS);
    pair.says(0, 100);
    pair.run(1_000 * MS);
    assert_eq!(pair.acting(), [0], "it rests");
    pair.run(1_500 * MS);
    assert_eq!(pair.acting(), [1]);

    let mut pair = rested(RecoveryMode::Manual, true);
    pair.kill(1);
    pair.run(100 * MS);
    pair.says(0, 100);
    pair.run(5_000 * MS);
    assert_eq!(pair.acting(), [0], "there is nobody");
}

#[test]
fn a_persons_choice_is_above_health() {
    let mut pair = rested(RecoveryMode::Automatic, true);
    let (ticket, request) = (RequestTicket(900), Request::Failover { seen: None });
    pair.input(0, Input::Request { ticket, request, wall: UnixMs(2_000) });
    pair.run(100 * MS);
    assert_eq!(pair.acting(), [1]);
    pair.says(1, 100);
    pair.run(6_000 * MS);
    assert_eq!(pair.acting(), [1]);
}

#[test]
fn it_comes_back_only_when_the_master_is_as_well_again() {
    let mut pair = rested(RecoveryMode::Automatic, true);
    pair.says(0, 100);
    pair.run(200 * MS);
    assert_eq!(pair.acting(), [1]);
    pair.run(20_000 * MS);
    assert_eq!(pair.acting(), [1], "it does not go to and fro");
    let moves = pair.node(0).levels.len() + pair.node(1).levels.len();
    pair.says(0, 255);
    pair.run(200 * MS);
    assert_eq!(pair.acting(), [0], "well again, and rested");
    assert!(pair.node(0).levels.len() + pair.node(1).levels.len() > moves);
}

#[test]
fn a_module_that_can_do_nothing_is_no_failed_disk() {
    let mut pair = rested(RecoveryMode::Manual, false);
    for index in [0, 1] {
        pair.says(index, 0);
    }
    pair.run(200 * MS);
    let health = Health { level: 1, reason: "its field bus is gone".to_owned(), peer: Some(1) };
    assert_eq!(pair.node(1).gateway.healths(), health);
    let body = Some(bytes::Bytes::from_static(b"x"));
    let changes = vec![Change { key: ItemKey::new("project", "plant/x"), body }];
    let (ticket, request) = (RequestTicket(5), Request::Config { changes, expect: Vec::new() });
    pair.input(0, Input::Request { ticket, request, wall: UnixMs(1) });
    pair.run(100 * MS);
    let done = Answer::Done { outcome: Outcome::Applied, copies: 2 };
    assert_eq!(pair.node(0).answers, [(ticket, done)], "both store");
    pair.kill(0);
    pair.run(20 * MS);
    assert_eq!(pair.acting(), [1], "a takeover asks for no health");
}
