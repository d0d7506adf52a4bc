//! Config on the straight path to the other node.

use super::*;

#[test]
fn config_goes_to_the_backup_and_is_answered_by_two_disks() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    let key = crate::item::ItemKey::new("project", "plant/project.toml");
    let body = Some(bytes::Bytes::from_static(b"title = \"Plant\""));
    let changes = vec![crate::item::Change { key: key.clone(), body }];
    let request = Request::Config { changes, expect: Vec::new() };
    let ticket = RequestTicket(5);
    pair.input(0, Input::Request { ticket, request, wall: UnixMs(1) });
    // A heartbeat may come before the update, which may be large: it shows no difference.
    pair.node(0).gateway.heartbeat();
    pair.drain(0);
    let is_heartbeat = |(to, input): &(usize, Input)| {
        let beat = |message: &Message| matches!(message, Message::Heartbeat(_));
        *to == 1 && matches!(input, Input::LinkMessage { message, .. } if beat(message))
    };
    let last = pair.queue.iter().rfind(|(_, entry)| is_heartbeat(entry)).map(|(at, _)| *at);
    let (to, heartbeat) = pair.queue.remove(&last.unwrap()).unwrap();
    pair.input(to, heartbeat);
    assert_eq!(pair.node(1).gateway.status().sync, SyncState::Good);
    pair.run(100 * MS);
    let done = Answer::Done { outcome: Outcome::Applied, copies: 2 };
    assert_eq!(pair.node(0).answers, [(ticket, done)]);
    assert!(pair.node(1).gateway.log(Kind::Config).items().contains_key(&key));
}
