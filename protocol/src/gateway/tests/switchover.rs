//! Switchover on the straight path, its refusals, and what a person's request leads to.

use super::{LinkId, MS, Message, Pair, options};
use crate::gateway::input::{Input, Loaded, Request, RequestTicket};
use crate::gateway::level::LevelState;
use crate::gateway::output::Answer;
use crate::node::{BootId, Level, Role, SyncState};
use crate::settings::RecoveryMode;
use crate::time::UnixMs;

const FAILOVER: RequestTicket = RequestTicket(900);

fn failover(pair: &mut Pair, index: usize, ticket: RequestTicket, seen: Option<u64>) {
    let request = Request::Failover { seen };
    pair.input(index, Input::Request { ticket, request, wall: UnixMs(2_000) });
}

fn answer(pair: &mut Pair, index: usize, ticket: RequestTicket) -> Option<Answer> {
    let answers = &pair.node(index).answers;
    answers.iter().find(|(of, _)| *of == ticket).map(|(_, answer)| answer.clone())
}

fn counter(pair: &mut Pair, index: usize) -> u64 {
    pair.node(index).gateway.status().term.expect("a term").counter
}

fn settled() -> Pair {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    assert_eq!(pair.acting(), [0]);
    pair
}

#[test]
fn a_request_moves_the_level_within_milliseconds() {
    for asked in [0, 1] {
        let mut pair = settled();
        let before = counter(&mut pair, 0);
        failover(&mut pair, asked, FAILOVER, Some(before));
        pair.run(12 * MS);
        assert_eq!(answer(&mut pair, asked, FAILOVER), Some(Answer::Accepted));
        assert_eq!(pair.acting(), [1]);
        assert!(counter(&mut pair, 1) > before);
        pair.run(100 * MS);
        for index in [0, 1] {
            assert_eq!(pair.node(index).gateway.status().sync, SyncState::Good, "node {index}");
        }
        pair.operate(1, 7);
        pair.run(50 * MS);
        let done = answer(&mut pair, 1, RequestTicket(7));
        assert!(matches!(done, Some(Answer::Done { copies: 2, .. })), "{done:?}");
    }
}

#[test]
fn the_second_of_a_double_click_is_another_term() {
    let mut pair = settled();
    let seen = counter(&mut pair, 0);
    failover(&mut pair, 0, FAILOVER, Some(seen));
    failover(&mut pair, 0, RequestTicket(901), Some(seen));
    pair.run(20 * MS);
    failover(&mut pair, 0, RequestTicket(902), Some(seen));
    pair.run(20 * MS);
    assert!(matches!(answer(&mut pair, 0, RequestTicket(901)), Some(Answer::Refused { .. })));
    let other = Answer::OtherTerm { counter: Some(counter(&mut pair, 1)) };
    assert_eq!(answer(&mut pair, 0, RequestTicket(902)), Some(other));
    assert_eq!(pair.acting(), [1]);
}

#[test]
fn what_is_held_is_resent_to_the_other_node() {
    let mut pair = settled();
    failover(&mut pair, 0, FAILOVER, None);
    let mut ticket = 10;
    while pair.acting() != [1] {
        pair.operate(0, ticket);
        ticket += 1;
        pair.run(MS);
    }
    pair.run(20 * MS);
    for number in 10..ticket {
        let answered = answer(&mut pair, 0, RequestTicket(number));
        let sound = matches!(answered, Some(Answer::Done { .. } | Answer::Standby));
        assert!(sound, "request {number}: {answered:?}");
    }
    assert_eq!(answer(&mut pair, 0, RequestTicket(ticket - 1)), Some(Answer::Standby));
}

#[test]
fn without_a_standby_in_sync_nothing_moves() {
    let mut pair = settled();
    pair.kill(1);
    pair.run(20 * MS);
    failover(&mut pair, 0, FAILOVER, None);
    assert!(matches!(answer(&mut pair, 0, FAILOVER), Some(Answer::Refused { .. })));
    assert_eq!(pair.acting(), [0]);
}

#[test]
fn a_stop_hands_over_before_it_says_goodbye() {
    let mut pair = settled();
    let before = counter(&mut pair, 0);
    pair.input(0, Input::Stop);
    pair.run(12 * MS);
    assert_eq!(pair.acting(), [1]);
    assert_eq!(counter(&mut pair, 1), before + 1);
    assert!(pair.node(1).levels.iter().any(|l| l.contains("planned stop")));
}

fn restart(pair: &mut Pair, index: usize, boot: u64) {
    let role = [Role::Master, Role::Backup][index];
    let mut again = options(index, role);
    again.boot = BootId(boot);
    again.settings.master_recovery_mode = RecoveryMode::Automatic;
    pair.start(index, again, Loaded::default());
}

#[test]
fn a_master_that_returns_has_the_level_back_after_its_rest() {
    let automatic = |_, o: &mut super::Options| {
        o.settings.master_recovery_mode = RecoveryMode::Automatic;
    };
    let mut pair = Pair::new(automatic);
    pair.run(500 * MS);
    pair.kill(0);
    pair.run(200 * MS);
    assert_eq!(pair.acting(), [1]);
    restart(&mut pair, 0, 99);
    pair.run(1_600 * MS);
    assert_eq!(pair.acting(), [1], "the level rests");
    pair.run(600 * MS);
    assert_eq!(pair.acting(), [0], "back at the master");
    assert_eq!(pair.node(1).gateway.status().level, Level::Cold);
}

#[test]
fn a_persons_choice_stands() {
    let automatic = |_, o: &mut super::Options| {
        o.settings.master_recovery_mode = RecoveryMode::Automatic;
    };
    let mut pair = Pair::new(automatic);
    pair.run(500 * MS);
    failover(&mut pair, 0, FAILOVER, None);
    pair.run(10_000 * MS);
    assert_eq!(pair.acting(), [1]);
    let choices = [0, 1].map(|i| pair.node(i).gateway.ledger.choice.clone());
    assert!(choices[0].is_some());
    assert_eq!(choices[0], choices[1]);
    // The other node restarts: the choice was not of it.
    pair.kill(0);
    pair.run(100 * MS);
    restart(&mut pair, 0, 98);
    pair.run(10_000 * MS);
    assert_eq!(pair.acting(), [1]);
}

#[test]
fn a_commit_that_waited_in_a_socket_is_declined() {
    for phase in [0, 30, 60, 90] {
        let mut pair = settled();
        pair.run(phase * MS);
        let before = counter(&mut pair, 0);
        failover(&mut pair, 0, FAILOVER, None);
        while pair.acting() == [0] {
            pair.run(MS);
        }
        pair.stalled = Some(1);
        pair.run(550 * MS);
        assert_eq!(pair.acting(), [0; 0], "no timer gives it back");
        pair.thaw();
        pair.run(50 * MS);
        assert_eq!(pair.acting(), [0], "phase {phase}: {:?}", pair.node(1).levels);
        assert_eq!(counter(&mut pair, 0), before + 2, "the counter of the commit is spent");
    }
}

#[test]
fn a_level_that_was_stored_anew_and_stalled_is_told_of() {
    let mut pair = settled();
    failover(&mut pair, 0, FAILOVER, None);
    while !pair.node(0).gateway.handover.is_given() {
        pair.run(MS / 4);
    }
    // The term that was stored ahead cannot be used: another one is on its way to the disk.
    pair.node(1).gateway.drop_reserve();
    while !matches!(pair.node(1).gateway.level, LevelState::Taking(_)) {
        pair.run(MS / 4);
    }
    pair.stalled = Some(1);
    pair.run(550 * MS);
    pair.thaw();
    pair.run(20 * MS);
    assert_eq!(pair.acting(), [1], "the peer has not taken it back");
    assert!(!pair.node(0).gateway.handover.is_given(), "whoever gave it knows");
    let told = pair.node(0).events.iter().any(|e| e.text.contains("has taken the level"));
    assert!(told, "and says so");
}

#[test]
fn a_word_about_an_older_offer_gives_nothing_back() {
    let mut pair = settled();
    failover(&mut pair, 0, FAILOVER, None);
    while !pair.node(0).gateway.handover.is_given() {
        pair.run(MS / 4);
    }
    let message = Message::Declined { counter: 1, reason: "late".to_owned() };
    pair.input(0, Input::LinkMessage { link: LinkId(pair.links), message });
    assert!(pair.node(0).gateway.handover.is_given(), "the peer may be taking it");
    pair.run(20 * MS);
    assert_eq!(pair.acting(), [1]);
}
