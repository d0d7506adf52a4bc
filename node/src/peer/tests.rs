//! Two tables of connections, joined over loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::gateway::input::{LinkId, Side};
use tandem_protocol::gateway::output::Lane;
use tandem_protocol::item::{Change, ItemKey, Kind, Position, Update};
use tandem_protocol::limits::PEER_FRAME_MAX_BYTES;
use tandem_protocol::node::Level;
use tandem_protocol::tag::{Quality, Sample, TagValue};
use tandem_protocol::time::UnixMs;
use tandem_protocol::wire::peer::{Chunk, Message, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Around, Connection, Handle, Links};
use crate::clock::Clock;
use crate::driver::LevelNow;
use crate::event::{LinkEvent, LinkWhat, Opened, Purpose};
use crate::live::Live;

struct Node {
    links: Links,
    handle: Handle,
    events: mpsc::Receiver<LinkEvent>,
    live: Live,
    level: watch::Sender<LevelNow>,
}

impl Node {
    fn new() -> Node {
        let (report, events) = mpsc::channel(64);
        let handle = Handle::new(Clock::start(), report, runtime::Handle::current());
        let standby =
            LevelNow { level: Level::Cold, term: None, activation: None, permitted: false };
        let (level, levels) = watch::channel(standby);
        let live = Live::new();
        let links = handle.links(Around { peer: None, live: live.clone() }, levels);
        Node { links, handle, events, live, level }
    }

    async fn next(&mut self) -> LinkWhat {
        let event = timeout(Duration::from_secs(10), self.events.recv()).await;
        event.expect("in time").expect("open").what
    }

    fn open(&mut self, stream: TcpStream, side: Side) -> LinkId {
        self.links.open(opened(stream, Purpose::Control(side)), side).expect("room")
    }
}

fn opened(stream: TcpStream, purpose: Purpose) -> Opened {
    let remote = stream.peer_addr().expect("connected");
    Opened { connection: Connection { stream, remote }, purpose, read_ahead: Bytes::new() }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let dialed = TcpStream::connect(listener.local_addr().expect("address"));
    let (dialed, accepted) = tokio::join!(dialed, listener.accept());
    (dialed.expect("connected"), accepted.expect("accepted").0)
}

/// A dialer and a listener with one link.
async fn linked() -> (Node, LinkId, Node, LinkId) {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (near, far) = sockets().await;
    let (near, far) = (a.open(near, Side::Dialer), b.open(far, Side::Listener));
    (a, near, b, far)
}

#[tokio::test]
async fn messages_come_in_order_and_the_last_words_before_the_end() {
    let (mut a, near, mut b, far) = linked().await;
    for n in 0..1000 {
        a.links.send(near, Lane::Control, Message::Ask { n });
    }
    a.links.send(
        near,
        Lane::Control,
        Message::Refuse { reason: Refusal::OtherPair, detail: "not you".to_owned() },
    );
    // Unread bytes on this side must not take the last words back.
    b.links.send(far, Lane::Control, Message::Ask { n: 1 });
    a.links.close(near);
    for n in 0..1000 {
        match b.next().await {
            LinkWhat::Message { link, message, .. } => {
                assert_eq!((link, *message), (far, Message::Ask { n }));
            }
            other => panic!("{other:?}"),
        }
    }
    let LinkWhat::Message { message, .. } = b.next().await else { panic!("the refusal") };
    assert!(matches!(*message, Message::Refuse { .. }));
    assert!(matches!(b.next().await, LinkWhat::Ended { link, .. } if link == far));
    b.links.abort(far);
    assert!(a.links.is_closing());
    loop {
        // What was read before the close is dropped by the driver, as its link is unknown.
        match a.next().await {
            LinkWhat::Message { link, .. } => assert!(!a.links.knows(link)),
            LinkWhat::Flushed => break,
            other => panic!("{other:?}"),
        }
    }
    a.links.flushed();
    assert!(!a.links.is_closing());
}

#[tokio::test]
async fn bytes_that_are_no_message_are_reported_by_kind() {
    let too_long = u32::MAX.to_be_bytes();
    let no_message = [0, 0, 0, 1, 0xff];
    for (bytes, expected) in
        [(&too_long[..], Refusal::Oversized), (&no_message[..], Refusal::Malformed)]
    {
        let (mut near, far) = sockets().await;
        let mut node = Node::new();
        let link = node.open(far, Side::Listener);
        near.write_all(bytes).await.expect("written");
        match node.next().await {
            LinkWhat::Garbage { link: which, reason } => {
                assert_eq!((which, reason), (link, expected));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let (near, far) = sockets().await;
    let mut node = Node::new();
    let link = node.open(far, Side::Listener);
    let detail = "x".repeat(64 * 1024);
    let gave_up = (0..20_000).find_map(|_| {
        let detail = detail.clone();
        node.links.send(link, Lane::Control, Message::Refuse { reason: Refusal::TooSlow, detail });
        node.links.own_report()
    });
    assert!(matches!(gave_up, Some(LinkWhat::Ended { link: which, .. }) if which == link));
    assert!(!node.links.knows(link));
    drop(near);
}

#[tokio::test]
async fn the_bulk_connection_joins_by_its_proof_and_carries_chunks_and_live_values() {
    let (mut a, near, mut b, far) = linked().await;
    let proof = [7; 32];
    a.links.expect_bulk(near, proof);
    b.links.expect_bulk(far, proof);
    let chunk =
        Chunk { transfer: 1, index: 0, items: Vec::new(), last: true, sum: 0, gone: Vec::new() };
    // Given before the connection is there: it waits for it.
    a.links.send(near, Lane::Bulk, Message::Chunk(chunk.clone()));

    let path = "Plant/Level".parse().expect("a path");
    let sample = Sample { value: TagValue::Int(5), quality: Quality::Good, time: UnixMs(1) };
    a.live.publish(&path, sample.clone());
    a.level.send_modify(|now| {
        now.level = Level::Active;
        now.permitted = true;
    });

    let (dialed, accepted) = sockets().await;
    a.links.open_bulk(near, opened(dialed, Purpose::DialedBulk(near)));
    let remote = accepted.peer_addr().expect("connected");
    b.handle.accept(accepted.into_std().expect("a socket"), Bytes::new(), remote, true);
    let LinkWhat::Opened(joined) = b.next().await else { panic!("joined") };
    let Purpose::JoinedBulk(said) = joined.purpose else { panic!("{:?}", joined.purpose) };
    assert_eq!(said, proof);
    b.links.join_bulk(said, *joined);

    match b.next().await {
        LinkWhat::Message { link, message, .. } => {
            assert_eq!((link, *message), (far, Message::Chunk(chunk)));
        }
        other => panic!("{other:?}"),
    }
    let mut follow = b.live.peer_feed();
    let values = timeout(Duration::from_secs(10), follow.changed()).await.expect("in time");
    assert_eq!(values, [(path, sample)]);
}

#[tokio::test]
async fn a_bulk_connection_without_a_proof_is_dropped() {
    let node = Node::new();
    let (mut near, far) = sockets().await;
    let remote = far.peer_addr().expect("connected");
    node.handle.accept(far.into_std().expect("a socket"), Bytes::new(), remote, true);
    let mut frame = bytes::BytesMut::new();
    tandem_protocol::wire::codec::encode(&Message::Ask { n: 1 }, &mut frame);
    near.write_all(&frame).await.expect("written");
    let mut end = [0u8; 1];
    let read = timeout(Duration::from_secs(10), near.read(&mut end)).await.expect("in time");
    assert_eq!(read.unwrap_or(0), 0);
}

/// What is read and not handled is bounded in bytes, however many messages the queue could hold.
#[tokio::test]
async fn large_messages_wait_in_the_socket() {
    let (mut a, near, mut b, _far) = linked().await;
    let body = Some(Bytes::from(vec![0; PEER_FRAME_MAX_BYTES - 1024]));
    let changes = vec![Change { key: ItemKey::new("project", "large"), body }];
    let update = Update { position: Position::default(), changes, alone: false };
    let message = Message::Updates { kind: Kind::Config, updates: vec![update] };
    for _ in 0..4 {
        a.links.send(near, Lane::Control, message.clone());
    }
    let (first, _second) = (b.next().await, b.next().await);
    assert!(matches!(first, LinkWhat::Message { .. }));
    let third = timeout(Duration::from_millis(200), b.events.recv()).await;
    assert!(third.is_err(), "a third is read before one is handled");
    drop(first);
    assert!(matches!(b.next().await, LinkWhat::Message { .. }));
}
