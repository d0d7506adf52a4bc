//! Acks with who and why, shelves, and their end.

use super::{Plant, ack, check};
use crate::alarm::AlarmState;
use crate::gateway::input::Request;
use crate::runtime::{events, records};
use crate::session::Operation;
use crate::time::UnixMs;

fn shelve(seconds: u64, who: Option<&str>) -> Operation {
    let (alarm, note) = ("Hot".to_owned(), Some("pump 2 is out".to_owned()));
    Operation::Shelve { alarm, seconds, who: who.map(str::to_owned), note }
}

fn unshelve() -> Operation {
    Operation::Unshelve { alarm: "Hot".to_owned() }
}

fn ended() -> Request {
    Request::ShelfEnded { alarm: "Hot".to_owned() }
}

fn state(plant: &Plant) -> AlarmState {
    records::alarm(&plant.definitions, &plant.kept, "Hot").unwrap()
}

#[test]
fn an_ack_says_who_and_why() {
    let mut plant = Plant::new();
    check(&plant.moved(true), "runs: applied");
    let (alarm, note) = ("Hot".to_owned(), Some("seen".to_owned()));
    let by_name = Operation::Ack { alarm, raise: 1, who: Some("Kim".to_owned()), note };
    check(&plant.operate(1, by_name), "runs: applied");
    let acked = state(&plant);
    assert_eq!((acked.acked_by.as_deref(), acked.note.as_deref()), (Some("Kim"), Some("seen")));
    // The first word stands; without a name the session is told.
    check(&plant.operate(2, ack(1)), "runs: applied");
    assert_eq!(state(&plant), acked);
    check(&plant.moved(false), "runs: applied");
    check(&plant.moved(true), "runs: applied");
    check(&plant.operate(3, ack(2)), "runs: applied");
    assert_eq!(state(&plant).acked_by.as_deref(), Some("5e55"));
}

#[test]
fn a_shelf_ends_by_its_time_or_by_hand() {
    let mut plant = Plant::new();
    check(&plant.operate(1, shelve(60, Some("Kim"))), "runs: applied");
    let shelf = state(&plant).shelved.unwrap();
    assert_eq!(shelf.until, UnixMs(plant.wall.0 + 60_000));
    assert_eq!((shelf.by.as_deref(), shelf.note.as_deref()), (Some("Kim"), Some("pump 2 is out")));
    check(&plant.run(&ended()), "known: applied");
    assert!(state(&plant).is_shelved(UnixMs(plant.wall.0 + 59_999)));
    plant.wall = UnixMs(plant.wall.0 + 60_000);
    assert!(!state(&plant).is_shelved(plant.wall), "over before anybody has said so");
    check(&plant.run(&ended()), "runs: applied");
    assert_eq!(state(&plant).shelved, None);
    check(&plant.run(&ended()), "known: applied");

    check(&plant.keyed("k", shelve(60, None)), "runs: applied");
    assert_eq!(state(&plant).shelved.unwrap().by, None);
    check(&plant.keyed("l", unshelve()), "runs: applied");
    assert_eq!(state(&plant).shelved, None);
    check(&plant.keyed("m", unshelve()), "runs: applied");
    assert_eq!(state(&plant).shelvings, 3, "an end by time does not count");
    let last = events::last(&plant.kept).0;
    assert_eq!(last, 4, "two shelves and two ends are told, what changed nothing is not");
}

#[test]
fn a_shelved_alarm_moves_and_stays_shelved() {
    let mut plant = Plant::new();
    check(&plant.operate(1, shelve(60, None)), "runs: applied");
    check(&plant.moved(true), "runs: applied");
    check(&plant.operate(2, ack(1)), "runs: applied");
    check(&plant.moved(false), "runs: applied");
    let state = state(&plant);
    assert!(state.is_shelved(plant.wall) && state.raise == 1, "{state:?}");
    assert_eq!(state.shelved.unwrap().by.as_deref(), Some("5e55"));
}

#[test]
fn a_wrong_shelf_is_rejected() {
    let mut plant = Plant::new();
    let range = "alarm \"Hot\": a shelf lasts from 1 to 604800 seconds";
    check(&plant.operate(1, shelve(0, None)), &format!("runs: {range}"));
    check(&plant.operate(2, shelve(604_801, None)), &format!("runs: {range}"));
    check(&plant.operate(3, shelve(u64::MAX, None)), &format!("runs: {range}"));
    let long = "x".repeat(65);
    let name = "runs: alarm \"Hot\": who: a name has from 1 to 64 bytes";
    check(&plant.operate(4, shelve(1, Some(&long))), name);
    check(&plant.operate(5, shelve(1, Some(""))), name);
    let other = Operation::Unshelve { alarm: "Cold".to_owned() };
    check(&plant.operate(6, other), "runs: alarm \"Cold\" does not exist");
    assert_eq!(state(&plant).shelved, None);
}
