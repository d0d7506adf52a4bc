//! A peer that has the pair's secret and behaves badly: its link is closed with the reason, the
//! node goes on, and what was answered is there.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tandem_protocol::item::{Kind, Position};
use tandem_protocol::limits::{PEER_FRAME_MAX_BYTES, PEER_WORD_MAX_BYTES};
use tandem_protocol::node::{Level, NodeId};
use tandem_protocol::session::Outcome;
use tandem_protocol::term::Term;
use tandem_protocol::wire::peer::{Message, PersonAsk, SwitchReason, SyncPlan};
use tandem_tests::harness::operator::value_of;
use tandem_tests::harness::project::SETPOINT;
use tandem_tests::harness::{Node, Operator, Pair, Result, until};
use tandem_tests::puppet::Puppet;

use super::peers::{FLOOD_KIB_MAX, resident_kib};
use super::words::NO_MESSAGE;

/// A link is closed by then: the longest is a silent one, one span.
const CLOSED_MAX: Duration = Duration::from_secs(5);
/// For so long a flood goes on, if it is let.
const FLOOD: Duration = Duration::from_secs(3);
/// What a node says of links that it closes.
const CLOSED: &[&str] = &[
    NO_MESSAGE,
    "refused: a message that does not fit the link",
    "refused: a receipt for a chunk that was not sent",
    "refused: a receipt for what was not sent",
    "refused: an active node's word to an active node",
    "refused: an answer for a level that was not given",
    "refused: more words than a pair has for each other",
];

/// A pair whose backup is played by the test.
struct Stage {
    pair: Pair,
    operator: Operator,
    value: f64,
}

impl Stage {
    async fn named(name: &str) -> Result<Stage> {
        let pair = Pair::named(name).start().await?;
        assert_eq!(pair.settles().await?.id(), "a");
        let operator = Operator::at(pair.master().base()).await?;
        pair.backup().stop().await?;
        Ok(Stage { pair, operator, value: 0.0 })
    }

    /// A peer in sync: what is answered while it behaves is kept on both.
    async fn peer(&mut self) -> Result<Puppet> {
        let (backup, base) = (self.pair.backup().spec(), self.pair.master().base().to_owned());
        let mut puppet = Puppet::in_place_of(&backup, &base).await?;
        self.value += 1.0;
        let answered = tokio::select! {
            answered = self.operator.writes(SETPOINT, self.value) => answered,
            () = puppet.lives(CLOSED_MAX) => panic!("no answer, or the link is closed"),
        };
        assert_eq!(answered?, (Outcome::Applied, 2), "the peer counts as a copy");
        Ok(puppet)
    }

    /// The node goes on alone: it still answers, and no level has moved.
    async fn goes_on(&mut self, what: &str) -> Result {
        self.value += 1.0;
        let answered = self.operator.writes(SETPOINT, self.value).await?;
        assert_eq!(answered, (Outcome::Applied, 1), "{what}");
        let status = self.pair.master().status().await?;
        assert_eq!((status.level, status.fenced), (Level::Active, false), "{what}");
        assert_eq!(status.term.map(|term| term.counter), Some(1), "{what}: no new term");
        Ok(())
    }

    /// The real backup comes back, and has all that was answered.
    async fn ends(self) -> Result {
        self.pair.backup().start().await?;
        assert_eq!(self.pair.settles().await?.id(), "a");
        self.pair.master().kill().await?;
        self.pair.backup().becomes_active().await?;
        let kept = value_of(self.pair.backup().base(), SETPOINT).await?;
        assert!((kept - self.value).abs() < 0.01, "{kept} instead of {}", self.value);
        self.pair.ends(CLOSED).await
    }
}

/// How often a node has told that it closed a link for this reason.
async fn told(node: &Node, reason: &str) -> Result<usize> {
    let is = |event: &&serde_json::Value| {
        event["detail"]["reason"] == reason
            || event["text"].as_str().is_some_and(|text| text.contains(reason))
    };
    Ok(node.events().await?.iter().filter(is).count())
}

/// A peer says this in a link that is in order; the node closes it, and tells this reason.
async fn closes(stage: &mut Stage, what: &str, said: Bytes, reason: &str) -> Result {
    let mut puppet = stage.peer().await?;
    let before = told(stage.pair.master(), reason).await?;
    puppet.sends(said).await;
    assert!(puppet.is_closed(CLOSED_MAX).await, "{what}: the link stands");
    until(&format!("{what}: an event that says {reason}"), CLOSED_MAX, async || {
        match told(stage.pair.master(), reason).await {
            Ok(now) if now > before => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    stage.goes_on(what).await
}

fn frame(message: &Message) -> Bytes {
    let mut frame = BytesMut::new();
    tandem_protocol::wire::codec::encode(message, &mut frame);
    frame.freeze()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn right_messages_in_a_wrong_order() -> Result {
    let mut stage = Stage::named("right_messages_in_a_wrong_order").await?;
    let (kind, far) = (Kind::Kept, 1_000_000);
    let at = Position { sequence: far, ..Position::default() };
    let node: NodeId = "b".parse().expect("a name");
    let (why, reason) = (SwitchReason::Requested, "no".to_owned());
    let tail = SyncPlan::Tail { after: Position::default() };
    for (what, message, reason) in [
        ("a challenge", Message::Challenge { nonce: [0; 32] }, "Unexpected"),
        ("a join", Message::Join { proof: [0; 32] }, "Unexpected"),
        ("live values", Message::Live { all: true, values: Vec::new() }, "Unexpected"),
        (
            "a level that nobody gave",
            Message::Took { term: Term { counter: far, node } },
            "Unexpected",
        ),
        ("a level refused", Message::Declined { counter: far, reason }, "Unexpected"),
        ("an offer", Message::Prepare { counter: far, why }, "Unexpected"),
        (
            "a level given",
            Message::Commit { counter: far, last: at, why, prepared_us: 0, held_us: 0 },
            "Unexpected",
        ),
        ("in sync", Message::InSync { kept: Position::default(), config: at, n: 1 }, "Unexpected"),
        ("out of sync", Message::OutOfSync { kept: at, n: 1 }, "Unexpected"),
        ("merged", Message::Merged { last: true }, "Unexpected"),
        ("a chunk's receipt", Message::ChunkTaken { transfer: far, index: 3 }, "Unexpected"),
        (
            "a receipt",
            Message::Receipt { kind, received: at, durable: at, holds: None },
            "Unexpected",
        ),
        (
            "kept state",
            Message::Sync { kind, plan: tail, activations: Vec::new() },
            "kept state for an active node",
        ),
        ("updates", Message::Updates { kind, updates: Vec::new() }, "updates before a sync"),
        (
            "config",
            Message::Sync { kind: Kind::Config, plan: tail, activations: Vec::new() },
            "config that this node must not take",
        ),
    ] {
        closes(&mut stage, what, frame(&message), reason).await?;
    }
    stage.ends().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message() -> Result {
    let mut stage = Stage::named("what_is_no_message").await?;
    let mut large = BytesMut::new();
    large.put_u32(u32::try_from(PEER_FRAME_MAX_BYTES).expect("it fits") + 1);
    closes(&mut stage, "a frame above its limit", large.freeze(), "Oversized").await?;
    let reason = Some("x".repeat(PEER_WORD_MAX_BYTES));
    let long = frame(&Message::Prepared { counter: 1, reason });
    closes(&mut stage, "a long word", long, "Oversized").await?;
    let garbage = Bytes::from_static(&[0, 0, 0, 3, 0xff, 0xff, 0xff]);
    closes(&mut stage, "no CBOR", garbage, "Malformed").await?;
    // A heartbeat without its fields.
    let empty = Bytes::from_static(&[0, 0, 0, 4, 0x82, 0x06, 0x81, 0x80]);
    closes(&mut stage, "a message without its fields", empty, "Malformed").await?;
    // A message that a later version may know is passed over, and the link stands.
    let mut puppet = stage.peer().await?;
    puppet.sends(Bytes::from_static(&[0, 0, 0, 4, 0x82, 0x18, 0xfa, 0x80])).await;
    assert!(!puppet.is_closed(Duration::from_millis(500)).await, "an unknown message is skipped");
    drop(puppet);
    stage.ends().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods() -> Result {
    let mut stage = Stage::named("a_peer_that_floods").await?;
    let before = resident_kib(stage.pair.master())?;
    let (kind, at) = (Kind::Kept, Position::default());
    for (what, message) in [
        ("questions", Message::Ask { n: 1 }),
        ("old receipts", Message::Receipt { kind, received: at, durable: at, holds: None }),
        ("config, asked for again", Message::Request { n: 1, ask: PersonAsk::Config, seen: None }),
    ] {
        let mut puppet = stage.peer().await?;
        let closed = told(stage.pair.master(), "Flood").await?;
        let value = stage.value + 1.0;
        let (said, answered) =
            tokio::join!(puppet.floods(&message, FLOOD), stage.operator.writes(SETPOINT, value));
        stage.value = value;
        assert_eq!(answered?.0, Outcome::Applied, "{what}: sessions go on");
        let after = resident_kib(stage.pair.master())?;
        assert!(after < before + FLOOD_KIB_MAX, "{what}: {before} KiB before, {after} KiB after");
        let now = told(stage.pair.master(), "Flood").await?;
        assert_eq!(now, closed + 1, "{what}: said {said} times");
        stage.goes_on(what).await?;
    }
    stage.ends().await
}
