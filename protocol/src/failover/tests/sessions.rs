//! What a session keeps, and when it begins anew.

use super::bench::{A, B, Bench};
use super::words::object;
use crate::event::{EventPosition, KeptEvent, Severity, What};
use crate::failover::Failover;
use crate::failover::input::{Command, Input, Options};
use crate::failover::output::SessionEvent;
use crate::session::Token;
use crate::time::UnixMs;
use crate::wire::session::{ClientMessage, CloseReason, ServerMessage};

fn opens(bench: &Bench, node: usize) -> Vec<ClientMessage> {
    let heard = bench.nodes[node].heard.iter();
    heard.filter(|m| matches!(m, ClientMessage::Open { .. })).cloned().collect()
}

/// Schedule 38, the client's half: ids are resent in order, before any new one.
#[test]
fn w1_after_w2() {
    let mut bench = Bench::new();
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(100);
    bench.write(1);
    bench.nodes[A].answers = false;
    bench.write(2);
    bench.write(3);
    bench.kill(A);
    bench.write(4);
    bench.asked(B);
    bench.activate(B, 2);
    assert_eq!(bench.asked(B), ["resume a1", "again 2", "again 3", "do 4"]);
    let floors: Vec<u64> = bench.nodes[B].requests.iter().map(|r| r.floor.0).collect();
    assert_eq!(floors, [1, 1, 1]);
    let later = bench.write(5);
    assert_eq!(bench.nodes[B].requests.last().unwrap().floor.0, later.0 - 1);
}

/// Schedule 45: opened just before the kill, so the other node does not know the session.
#[test]
fn opened_then_killed() {
    let mut bench = Bench::with(|options| options.props = object("shift", "night"));
    bench.run(10);
    bench.nodes[A].answers = false;
    let sent = bench.write(1);
    let typed = bench.props("note", "x");
    bench.kill(A);
    let waiting = bench.write(2);
    bench.told();
    bench.asked(B);
    bench.activate(B, 2);
    assert_eq!(bench.asked(B), ["resume a1", "open", "do 3"]);
    assert_eq!((sent.0, typed.0, waiting.0), (1, 2, 3));
    let told = bench.told();
    assert_eq!(
        told,
        [
            "applied 2",
            "unknown 1",
            "transferred a b 0",
            "resumed reload anew",
            "state",
            "applied 3"
        ]
    );
}

#[test]
fn anew_with_page_params_and_props_of_the_client() {
    let mut bench = Bench::new();
    bench.run(10);
    bench.props("note", "x");
    let params = object("boiler", "2");
    bench.operate(crate::session::Operation::Page { page: "q".to_owned(), params });
    bench.kill(A);
    bench.activate(B, 2);
    let opened = opens(&bench, B);
    let ClientMessage::Open { page, params, props, .. } = &opened[0] else { panic!() };
    assert_eq!((page.as_str(), params, props), ("q", &object("boiler", "2"), &object("note", "x")));
}

/// Schedule 44.
#[test]
fn two_tabs() {
    let mut bench = Bench::new();
    bench.run(2_000);
    bench.told();
    bench.asked(A);
    let conn = bench.machine.book.bound().unwrap().1.id;
    bench.input(Input::Message { conn, message: Box::new(ServerMessage::Replaced) });
    bench.run(5_000);
    assert_eq!(bench.asked(A), ["watch", "open"], "its own session, not the other tab's");
    assert_eq!(bench.told(), ["resumed reload anew", "state"]);
    assert_eq!(bench.nodes[A].sessions, ["a1", "a2"]);
}

#[test]
fn a_token_that_is_not_taken_opens_anew() {
    let mut bench = Bench::with(|options| options.addresses.truncate(1));
    bench.run(2_000);
    bench.told();
    bench.asked(A);
    bench.nodes[A].refuses = Some(CloseReason::BadToken);
    bench.cut(A);
    bench.run(100);
    assert_eq!(bench.asked(A), ["resume a1", "open"]);
    assert_eq!(bench.told(), ["resumed reload anew", "state"]);
}

#[test]
fn typed_while_disconnected_is_kept_and_writes_expire() {
    let mut bench = Bench::new();
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(10);
    bench.kill(A);
    bench.told();
    let note = bench.props("note", "a");
    let write = bench.write(1);
    let note2 = bench.props("note", "b");
    bench.run(30_000);
    assert_eq!(bench.told(), ["reconnecting", "expired 2"]);
    bench.asked(B);
    bench.activate(B, 2);
    assert_eq!(bench.asked(B), ["resume a1", "do 3"]);
    let state = bench.events.iter().find_map(|event| match event {
        SessionEvent::State { props, .. } => Some(props.clone()),
        _ => None,
    });
    assert_eq!(state, Some(object("note", "b")), "what is on its way is shown");
    assert_eq!((note.0, write.0, note2.0), (1, 2, 3));
    let told = bench.told();
    assert_eq!(told[3..], ["applied 1", "applied 3"], "{told:?}");
}

#[test]
fn state_whose_fate_is_unknown_is_said_again() {
    let mut bench = Bench::new();
    bench.run(10);
    bench.nodes[A].answers = false;
    let id = bench.props("note", "x");
    bench.asked(A);
    let outcome = crate::session::Outcome::Unknown;
    bench.say(A, &ServerMessage::Outcome { id, copies: 0, outcome });
    assert_eq!(bench.asked(A), ["do 2"]);
    bench.told();
    let outcome = crate::session::Outcome::Applied;
    let id = crate::session::WriteId(2);
    bench.say(A, &ServerMessage::Outcome { id, copies: 2, outcome });
    assert_eq!(bench.told(), [""; 0], "the user never heard of it");
}

#[test]
fn events_come_once_and_in_order() {
    let mut bench = Bench::new();
    bench.run(10);
    bench.told();
    let event = |n: u64| KeptEvent {
        position: EventPosition(n),
        time: UnixMs(0),
        what: What::Notice { severity: Severity::Info, text: n.to_string(), incident: None },
    };
    bench.say(A, &ServerMessage::Events { events: vec![event(1), event(2)] });
    bench.say(A, &ServerMessage::Events { events: vec![event(2), event(3)] });
    bench.say(B, &ServerMessage::Events { events: vec![event(4)] });
    assert_eq!(bench.told(), ["notice 1", "notice 2", "notice 3"]);
    bench.cut(A);
    bench.run(500);
    let resumes = bench.nodes[A].heard.iter().any(|message| {
        matches!(message, ClientMessage::Resume { last_event: Some(EventPosition(3)), .. })
    });
    assert!(resumes);
}

#[test]
fn the_outbox_is_bounded() {
    let mut bench = Bench::new();
    bench.nodes[A].answers = false;
    bench.run(10);
    bench.told();
    for n in 0..65 {
        bench.write(n);
    }
    assert_eq!(bench.told(), ["rejected 65"]);
    assert_eq!(bench.nodes[A].requests.len(), 64);
    let tags = vec!["T".to_owned(); 5_000];
    bench.input(Input::Command(Command::Subscribe { tags }));
    let subscribed = bench.nodes[A].heard.iter().find_map(|message| match message {
        ClientMessage::Subscribe { tags } => Some(tags.len()),
        _ => None,
    });
    assert_eq!(subscribed, Some(2_000));
    bench.props("x", &"y".repeat(40_000));
    assert!(bench.told().contains(&"rejected 66".to_owned()));
}

#[test]
fn a_page_that_does_not_exist_ends_the_session() {
    let mut bench = Bench::new();
    bench.nodes[A].refuses = Some(CloseReason::NoSuchPage);
    bench.run(10);
    assert_eq!(bench.told(), ["closed"]);
    assert!(bench.ended);
}

#[test]
fn closed_by_its_user() {
    let mut bench = Bench::new();
    bench.run(10);
    bench.told();
    bench.input(Input::Command(Command::Close));
    assert_eq!(bench.asked(A).last().unwrap(), "close");
    assert_eq!(bench.told(), ["closed"]);
    assert!(bench.ended);
    bench.write(1);
    bench.run(60_000);
    assert_eq!((bench.told(), bench.dials), (Vec::new(), 2));
}

#[test]
fn a_browser_at_a_node_resumes_first_and_then_goes_there() {
    let mut bench = Bench::with(|options| options.navigates = true);
    bench.nodes[B].sessions.push("a1".to_owned());
    bench.run(100);
    bench.kill(A);
    bench.nodes[B].answers = false;
    let id = bench.write(1);
    bench.activate(B, 2);
    bench.value(B, 7);
    assert!(bench.told().contains(&"value 7".to_owned()), "values go on in the old page");
    assert!(bench.navigated.is_empty(), "open ids first");
    let outcome = crate::session::Outcome::Applied;
    bench.say(B, &ServerMessage::Outcome { id, copies: 1, outcome });
    let (url, saved) = bench.navigated.pop().unwrap();
    assert_eq!(url, "http://b:1");
    assert_eq!(saved.token, Token("hand-over at b".to_owned()));
    assert!(saved.nonce.is_some() && saved.open.is_empty());
    assert_eq!(
        saved.next_id.0,
        2 + crate::limits::IDS_LEFT_TO_A_PAGE,
        "above what the old page still uses"
    );
    assert_eq!(saved.transfer.as_ref().map(|t| t.to.as_str()), Some("b"));
    bench.run(60_000);
    assert!(bench.navigated.is_empty(), "once");

    // The page there goes on, and tells its user.
    let addresses = vec!["http://b:1".to_owned()];
    let mut options = Options::new(addresses, "plant", "p");
    options.navigates = true;
    let json = serde_json::to_string(&saved).unwrap();
    options.resume = Some(serde_json::from_str(&json).unwrap());
    bench.machine = Failover::new(bench.now, options);
    bench.nodes[B].heard.clear();
    bench.told();
    bench.run(100);
    let used = bench.nodes[B].heard.iter().any(|message| {
        matches!(message, ClientMessage::Resume { token, nonce: Some(_), .. }
            if *token == saved.token)
    });
    assert!(used);
    let told = bench.told();
    assert_eq!(told, ["connected b", "transferred a b 0", "resumed recovered", "state"]);
    assert_eq!(bench.machine.next_id(), saved.next_id);
    let id = crate::session::WriteId(2);
    let outcome = crate::session::Outcome::Applied;
    bench.say(B, &ServerMessage::Outcome { id, copies: 2, outcome });
    let heard = bench.told();
    assert!(heard.iter().any(|told| told.contains("applied")), "the old page's: {heard:?}");
    assert_eq!(bench.machine.save().unwrap().nonce, None, "a session's own token from now on");
}

#[test]
fn a_page_loaded_from_a_standby_is_led_on() {
    let mut bench = Bench::with(|options| {
        options.addresses.reverse();
        options.addresses.truncate(1);
        options.fixed = false;
        options.navigates = true;
    });
    bench.run(100);
    let urls: Vec<&str> = bench.navigated.iter().map(|(url, _)| url.as_str()).collect();
    assert_eq!(urls, ["http://a:1"]);
    assert_eq!(bench.told(), ["connected a", "state"]);
}
