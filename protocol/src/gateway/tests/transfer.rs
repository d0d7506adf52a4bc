//! A full transfer whose link ends goes on over the next one.

use super::*;
use crate::item::{Change, ItemKey, Position};
use crate::wire::peer::Holds;

/// Some chunks of `CHUNK_BYTES` for the config of a test.
const FILES: u64 = 40;
const CHUNKS: usize = FILES as usize + 1;

impl Pair {
    fn deploy(&mut self, name: &str, bytes: usize) {
        let key = ItemKey::new("project", format!("plant/{name}"));
        let body = Some(bytes::Bytes::from(vec![7; bytes]));
        let changes = vec![Change { key, body }];
        let request = Request::Config { changes, expect: Vec::new() };
        let ticket = RequestTicket(900);
        self.input(0, Input::Request { ticket, request, wall: UnixMs(1) });
    }

    /// What waits on the wire: plans and chunks for the backup.
    fn on_the_wire(&self, is: impl Fn(&Message) -> bool) -> usize {
        let message = |(_, input): &&(usize, Input)| match input {
            Input::LinkMessage { message, .. } => is(message),
            _ => false,
        };
        self.queue.values().filter(message).count()
    }

    /// Runs until the backup has this many chunks of the master's config, and the count that were
    /// sent by then.
    fn until_chunk(&mut self, index: u32) {
        let is =
            |message: &Message| matches!(message, Message::Chunk(chunk) if chunk.index == index);
        for _ in 0..3_000 {
            if self.on_the_wire(is) > 0 {
                return;
            }
            self.run(MS / 2);
        }
        panic!("chunk {index} never came");
    }

    /// The link ends at both nodes, and what is on its way is lost.
    fn reset(&mut self) {
        let link = LinkId(self.links);
        self.queue.retain(|_, (_, input)| !matches!(input, Input::LinkMessage { .. }));
        for index in [0, 1] {
            self.later(MS, index, Input::LinkDown { link });
        }
    }

    /// A pair whose master has more config than its queue holds, and whose backup has none yet.
    fn with_much_config(change: impl Fn(usize, &mut Options)) -> Pair {
        let mut pair = Pair::new(|index, options| {
            options.config_queue_max_bytes = 2_000;
            options.chunk_bytes = 1_000;
            change(index, options);
        });
        pair.nodes[1] = None;
        pair.queue.clear();
        pair.run(3_000 * MS);
        assert_eq!(pair.acting(), [0]);
        for n in 0..FILES {
            // Whatever the window holds, it does not reach back to nothing.
            pair.deploy(&n.to_string(), 3_000);
        }
        pair.run(100 * MS);
        let mut options = options(1, Role::Backup);
        change(1, &mut options);
        pair.start(1, options, Loaded::default());
        pair
    }

    fn equal(&mut self) {
        let of = |node: &mut Node| (node.gateway.config.sum(), node.gateway.config.position());
        assert_eq!(of(self.node(0)), of(self.node(1)));
        assert_eq!(self.node(1).gateway.status().sync, SyncState::Good);
    }

    fn said(&mut self, index: usize, what: &str) -> usize {
        let said = |event: &&GatewayEvent| event.text.contains(what);
        self.node(index).events.iter().filter(said).count()
    }
}

#[test]
fn a_transfer_goes_on_over_the_next_link() {
    let mut pair = Pair::with_much_config(|_, _| {});
    pair.until_chunk(20);
    let first = pair.chunks;
    pair.reset();
    pair.deploy("meanwhile", 10);
    pair.run(2_000 * MS);
    pair.equal();
    let again = pair.chunks - CHUNKS;
    assert!(first > 20 && again <= 8, "{first} before, {again} more than once");
    for index in [0, 1] {
        assert_eq!(pair.said(index, "full transfer of config goes on at chunk"), 1);
    }
    assert_eq!(pair.said(1, "full transfer of config installed"), 1);
    assert_eq!(pair.acting(), [0], "the level stood");
}

#[test]
fn it_goes_on_as_often_as_the_link_ends() {
    let mut pair = Pair::with_much_config(|_, _| {});
    for index in [8, 16, 24, 32] {
        pair.until_chunk(index);
        pair.reset();
    }
    pair.run(2_000 * MS);
    pair.equal();
    assert!(pair.chunks <= CHUNKS + 4 * 8, "{} chunks", pair.chunks);
}

#[test]
fn it_begins_anew_where_a_half_is_missing_or_does_not_fit() {
    type Between = fn(&mut Pair);
    let cases: [(&str, Between); 4] = [
        ("the receiver is another run", |pair| {
            pair.kill(1);
            let again = Options { boot: BootId(77), ..options(1, Role::Backup) };
            pair.start(1, again, Loaded::default());
        }),
        ("the sender's half is gone", |pair| {
            pair.node(0).gateway.interrupted.drop_outgoing(Kind::Config);
        }),
        ("the receiver's half is gone", |pair| {
            let _ = pair.node(1).gateway.interrupted.take_incoming(Kind::Config);
        }),
        ("the sender's log has moved on too far", |pair| {
            (0..40).for_each(|n| pair.deploy(&format!("more{n}"), 3_000));
        }),
    ];
    for (name, between) in cases {
        let mut pair = Pair::with_much_config(|_, _| {});
        pair.until_chunk(20);
        pair.reset();
        pair.run(3 * MS);
        between(&mut pair);
        let before = pair.chunks;
        pair.run(3_000 * MS);
        pair.equal();
        assert!(pair.chunks - before >= CHUNKS, "{name}: {} chunks", pair.chunks - before);
        assert_eq!(pair.said(0, "goes on at chunk"), 0, "{name}");
    }
}

#[test]
fn what_nobody_goes_on_with_is_dropped_in_time() {
    let mut pair = Pair::with_much_config(|_, _| {});
    pair.until_chunk(20);
    pair.reset();
    pair.cut = true;
    pair.healing = true;
    pair.run(500 * MS);
    let held = |pair: &mut Pair| {
        let receiver = pair.node(1).gateway.config.clone();
        let incoming = pair.node(1).gateway.interrupted.holds(Kind::Config, &receiver).is_some();
        (pair.node(0).gateway.interrupted.holds_outgoing(Kind::Config), incoming)
    };
    assert_eq!(held(&mut pair), (true, true));
    pair.run(crate::limits::TRANSFER_HELD);
    assert_eq!(held(&mut pair), (false, false));
}

#[test]
fn what_a_person_asked_for_begins_anew() {
    let mut pair = Pair::with_much_config(|_, _| {});
    pair.run(3_000 * MS);
    pair.equal();
    let before = pair.chunks;
    let (ticket, request) = (RequestTicket(7), Request::Resync);
    pair.input(0, Input::Request { ticket, request, wall: UnixMs(2_000) });
    pair.until_chunk(20);
    pair.reset();
    pair.run(2_000 * MS);
    pair.equal();
    assert!(pair.chunks > before + 20);
    assert_eq!(pair.said(0, "goes on at chunk"), 0);
}

#[test]
fn a_chunk_with_a_wrong_sum_is_not_gone_on_with() {
    let mut pair = Pair::with_much_config(|_, _| {});
    pair.until_chunk(20);
    let chunks = pair.queue.values_mut().filter_map(|(_, input)| match input {
        Input::LinkMessage { message: Message::Chunk(chunk), .. } => Some(chunk),
        _ => None,
    });
    chunks.for_each(|chunk| chunk.sum ^= 1);
    let before = pair.chunks;
    pair.run(2_000 * MS);
    pair.equal();
    assert!(pair.chunks - before >= CHUNKS);
    assert_eq!(pair.said(0, "goes on at chunk"), 0);
}

#[test]
fn a_version_that_says_nothing_of_transfers_and_this_one_understand_each_other() {
    /// A receipt as it was.
    #[derive(minicbor::Encode, minicbor::Decode)]
    enum Old {
        #[n(10)]
        Receipt {
            #[n(0)]
            kind: Kind,
            #[n(1)]
            received: Position,
            #[n(2)]
            durable: Position,
        },
    }
    let at = Position::default();
    let old =
        minicbor::to_vec(Old::Receipt { kind: Kind::Kept, received: at, durable: at }).unwrap();
    let receipt = |holds| Message::Receipt { kind: Kind::Kept, received: at, durable: at, holds };
    assert_eq!(minicbor::decode::<Message>(&old).unwrap(), receipt(None));
    let new = minicbor::to_vec(receipt(Some(Holds { transfer: 7, next: 3 }))).unwrap();
    let Old::Receipt { received, .. } = minicbor::decode(&new).unwrap();
    assert_eq!(received, at);
}
