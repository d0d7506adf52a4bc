//! Chunks out of one node and into the other, whole and interrupted.

use super::*;
use crate::gateway::input::LoadedKind;
use crate::item::Kind;
use bytes::Bytes;

const FILES: u32 = 100;

/// A log with so many items of 20 kB: four of them are a chunk.
fn log_of(files: u32) -> Log {
    let mut loaded = LoadedKind::default();
    for n in 0..files {
        let body = Bytes::from(vec![7; 20_000]);
        let item = Item { body, changed: Position::default() };
        loaded.items.insert(ItemKey::new("project", format!("{n:03}")), item);
    }
    Log::new(Kind::Config, loaded, [0; 32])
}

fn empty() -> Log {
    log_of(0)
}

fn begun(log: &Log) -> (Outgoing, Incoming) {
    let mut out = Outgoing::new(1, log, false);
    assert!(out.next_chunk().is_none(), "nothing before the announcement was read");
    let incoming = Incoming::new(out.plan(), &empty()).unwrap();
    assert!(out.taken(TRANSFER_READY));
    (out, incoming)
}

fn flight(out: &mut Outgoing) -> Vec<Chunk> {
    std::iter::from_fn(|| out.next_chunk()).collect()
}

/// Carries all that is left; how many chunks that took.
fn carry(out: &mut Outgoing, incoming: &mut Incoming) -> u32 {
    let mut count = 0;
    loop {
        let flight = flight(out);
        assert!(flight.len() <= CHUNKS_IN_FLIGHT as usize);
        for chunk in flight {
            count += 1;
            let index = chunk.index;
            let taken = incoming.take(chunk);
            assert!(out.taken(index));
            if taken == ChunkTaken::Last {
                assert!(out.done());
                return count;
            }
            assert_eq!(taken, ChunkTaken::More);
        }
    }
}

#[test]
fn chunks_carry_everything_within_the_window() {
    let log = log_of(FILES);
    let (mut out, mut incoming) = begun(&log);
    assert_eq!(carry(&mut out, &mut incoming), FILES / 4 + 1, "the last one is empty");
    assert_eq!(&incoming.finish().0, log.items());
}

#[test]
fn an_empty_snapshot_is_one_chunk() {
    let (mut out, _) = begun(&empty());
    let chunk = out.next_chunk().unwrap();
    assert!(chunk.last && chunk.items.is_empty());
    assert!(out.next_chunk().is_none());
}

#[test]
fn a_broken_chunk_is_found() {
    let (mut out, mut incoming) = begun(&log_of(1));
    let mut chunk = out.next_chunk().unwrap();
    chunk.sum ^= 1;
    assert_eq!(incoming.take(chunk), ChunkTaken::Wrong("chunk with a wrong sum"));
}

#[test]
fn whatever_was_on_its_way_when_the_link_ended_is_sent_once_more() {
    let log = log_of(FILES);
    // Of eight chunks so many arrived, and of so many of these the sender has heard.
    for (arrived, heard) in [(1, 0), (3, 1), (8, 0), (8, 8), (5, 5)] {
        let (mut out, mut incoming) = begun(&log);
        let sent = flight(&mut out);
        assert_eq!(sent.len(), 8);
        for (n, chunk) in (0..).zip(sent).take(arrived) {
            let index = chunk.index;
            assert_eq!(incoming.take(chunk), ChunkTaken::More);
            assert!(n >= heard || out.taken(index));
        }
        let next = incoming.holds().unwrap().next;
        assert!(out.go_on_at(next), "{arrived} arrived, {heard} heard");
        assert!(incoming.is_continued_by(out.plan()));
        assert!(out.next_chunk().is_none(), "nothing before this announcement was read");
        assert!(out.taken(TRANSFER_READY));
        assert_eq!(carry(&mut out, &mut incoming), FILES / 4 + 1 - next);
        assert_eq!(&incoming.finish().0, log.items(), "{arrived} arrived, {heard} heard");
    }
}

#[test]
fn a_receiver_is_where_the_sender_can_have_brought_it() {
    let (mut out, mut incoming) = begun(&log_of(FILES));
    assert_eq!(incoming.holds(), None, "nothing has come");
    for chunk in flight(&mut out).into_iter().take(4) {
        let index = chunk.index;
        assert_eq!(incoming.take(chunk), ChunkTaken::More);
        assert!(out.taken(index));
    }
    for impossible in [0, 3, 9, u32::MAX] {
        assert!(!out.clone().go_on_at(impossible), "{impossible}");
    }
    let (mut small, _) = begun(&log_of(1));
    assert!(small.next_chunk().unwrap().last);
    assert!(!small.clone().go_on_at(1), "all of it has arrived: there is nothing to hold");
    assert!(small.go_on_at(0), "the last chunk was lost");
}

#[test]
fn another_plan_or_another_base_goes_on_with_nothing() {
    let (mut out, mut incoming) = begun(&log_of(FILES));
    assert_eq!(incoming.take(out.next_chunk().unwrap()), ChunkTaken::More);
    assert!(out.go_on_at(1));
    let SyncPlan::Full { transfer, at, bytes, archive, head, over, from } = out.plan() else {
        panic!("a full transfer")
    };
    let full = |transfer, archive, over, from| SyncPlan::Full {
        transfer,
        at,
        bytes,
        archive,
        head,
        over,
        from,
    };
    assert!(incoming.is_continued_by(full(transfer, archive, over, from)));
    for other in [
        full(transfer + 1, archive, over, from),
        full(transfer, !archive, over, from),
        full(transfer, archive, !over, from),
        full(transfer, archive, over, from + 1),
        full(transfer, archive, over, 0),
        SyncPlan::Tail { after: at },
    ] {
        assert!(!incoming.is_continued_by(other), "{other:?}");
    }
    assert!(incoming.follows(&empty()) && !incoming.follows(&log_of(1)));
}
