//! Config on the straight path to the other node.

use super::*;

#[test]
fn config_goes_to_the_backup_and_is_answered_by_two_disks() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(500 * MS);
    let key = crate::item::ItemKey::new("project", "plant/project.toml");
    let body = Some(bytes::Bytes::from_static(b"title = \"Plant\""));
    let changes = vec![crate::item::Change { key: key.clone(), body }];
    let (ticket, request) = (RequestTicket(5), Request::Config { changes, expect: Vec::new() });
    pair.input(0, Input::Request { ticket, request, wall: UnixMs(1) });
    // A heartbeat may come before the update, which may be large: it shows no difference.
    pair.node(0).gateway.heartbeat();
    pair.drain(0);
    let beats = |(_, (to, input)): &(_, &(usize, Input))| {
        *to == 1 && matches!(input, Input::LinkMessage { message: Message::Heartbeat(_), .. })
    };
    let at = *pair.queue.iter().rfind(beats).unwrap().0;
    let (to, heartbeat) = pair.queue.remove(&at).unwrap();
    pair.input(to, heartbeat);
    assert_eq!(pair.node(1).gateway.status().sync, SyncState::Good);
    pair.run(100 * MS);
    let done = Answer::Done { outcome: Outcome::Applied, copies: 2 };
    assert_eq!(pair.node(0).answers, [(ticket, done)]);
    assert!(pair.node(1).gateway.log(Kind::Config).items().contains_key(&key));
}
