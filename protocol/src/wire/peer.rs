//! Peer messages: what two nodes say to each other.
//!
//! ```text
//! dialer (backup)                      listener (master)
//!                               <-  Challenge { nonce }
//!   Hello { .., nonce, proof }  ->
//!                               <-  Hello { .., nonce, proof }  or Refuse { reason }
//!                               <-  Verdict { .. }
//!   Took | Declined             ->      (when the verdict gives it the level)
//!   Heartbeat                  <->  Heartbeat
//!   Sync, Updates, Receipt     <->      (config from the master, kept from the active)
//!   Prepare, Commit             ->      (from the active node, in a switchover)
//!                               <-  Prepared, Took | Declined
//! ```
//!
//! The bulk connection opens with `Join { proof }` and then carries chunks of full transfers and
//! live values, so that they never stand before a heartbeat.

mod data;
mod hello;
mod verdict;

use minicbor::{Decode, Encode};

use crate::item::{ItemKey, Kind, Position, Update};
use crate::term::{Activation, Term};

pub use data::{AloneItem, Chunk, Holds, LiveValue, SyncPlan};
pub use hello::{Choice, Heartbeat, Hello, Stand};
pub use verdict::{Goodbye, PersonAsk, PersonReply, Refusal, SwitchReason, Verdict, VerdictReason};

/// The version of these messages.
pub const PROTOCOL_VERSION: u32 = 1;

/// As the index of `ChunkTaken`: the receiver is ready for the first chunk.
pub const TRANSFER_READY: u32 = u32::MAX;

/// One message.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Message {
    /// The listener's first word: prove the secret over this nonce.
    #[n(0)]
    Challenge {
        /// 32 random bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// Who I am and where I stand.
    #[n(1)]
    Hello(#[n(0)] Box<Hello>),
    /// No link with you.
    #[n(2)]
    Refuse {
        /// Why.
        #[n(0)]
        reason: Refusal,
        /// What exactly, for people.
        #[n(1)]
        detail: String,
    },
    /// Who is active, by the master, from both hellos.
    #[n(3)]
    Verdict(#[n(0)] Verdict),
    /// The node given the level has it, durably.
    #[n(4)]
    Took {
        /// Its term.
        #[n(0)]
        term: Term,
    },
    /// The node given the level cannot have it and will never use that term.
    #[n(5)]
    Declined {
        /// The counter that is spent.
        #[n(0)]
        counter: u64,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// I live, and this is where I stand.
    #[n(6)]
    Heartbeat(#[n(0)] Heartbeat),
    /// A fenced node asks: are you active?
    #[n(7)]
    Ask {
        /// Repeated in the answer.
        #[n(0)]
        n: u64,
    },
    /// The answer to `Ask`.
    #[n(8)]
    Told {
        /// As in the ask.
        #[n(0)]
        n: u64,
        /// Where the answering node stands.
        #[n(1)]
        stand: Stand,
    },
    /// Updates of one kind, in order.
    #[n(9)]
    Updates {
        /// Which kind.
        #[n(0)]
        kind: Kind,
        /// The updates.
        #[n(1)]
        updates: Vec<Update>,
    },
    /// How far updates of one kind have come.
    #[n(10)]
    Receipt {
        /// Which kind.
        #[n(0)]
        kind: Kind,
        /// All up to here are in memory.
        #[n(1)]
        received: Position,
        /// All up to here are on disk.
        #[n(2)]
        durable: Position,
        /// What is held of a transfer that an earlier link has left: it may go on.
        #[n(3)]
        holds: Option<Holds>,
    },
    /// How the receiver will be brought up to date: what follows begins after `from`.
    #[n(11)]
    Sync {
        /// Which kind.
        #[n(0)]
        kind: Kind,
        /// A tail of the log, or everything.
        #[n(1)]
        plan: SyncPlan,
        /// The sender's activations, so that the receiver's history becomes the sender's.
        #[n(2)]
        activations: Vec<Activation>,
    },
    /// A part of a full transfer (bulk connection).
    #[n(12)]
    Chunk(#[n(0)] Chunk),
    /// A chunk has been received, or (`TRANSFER_READY`) the announcement of a full transfer was
    /// read: chunks travel on another connection and must not come before it.
    #[n(13)]
    ChunkTaken {
        /// Which transfer.
        #[n(0)]
        transfer: u64,
        /// Which chunk.
        #[n(1)]
        index: u32,
    },
    /// From here on answers wait for your receipts: you hold all that was answered.
    #[n(14)]
    InSync {
        /// The kept position at which it holds.
        #[n(0)]
        kept: Position,
        /// The config position at which it holds.
        #[n(1)]
        config: Position,
        /// Counts what the standby is told on this link, from 1 on.
        #[n(2)]
        n: u64,
    },
    /// The standby has heard that it is in sync, or out of it.
    #[n(15)]
    SyncConfirmed {
        /// As told.
        #[n(0)]
        kept: Position,
        /// Whether it was told in or out.
        #[n(1)]
        in_sync: bool,
        /// Which telling it answers; 0: none, the standby counts itself out.
        #[n(2)]
        n: u64,
    },
    /// You are out of sync from this position on; what follows is answered alone once you have
    /// confirmed this.
    #[n(16)]
    OutOfSync {
        /// The last position of which the active node knows that you have it.
        #[n(0)]
        kept: Position,
        /// Counts what the standby is told on this link.
        #[n(1)]
        n: u64,
    },
    /// This node leaves the link on purpose.
    #[n(17)]
    Goodbye {
        /// In which way.
        #[n(0)]
        kind: Goodbye,
        /// Its last kept position.
        #[n(1)]
        last: Position,
    },
    /// Switchover: be ready to take the level.
    #[n(18)]
    Prepare {
        /// The counter that the taker will use.
        #[n(0)]
        counter: u64,
        /// Why the level is to move.
        #[n(1)]
        why: SwitchReason,
    },
    /// Switchover: ready, with that term on disk, or not.
    #[n(19)]
    Prepared {
        /// As in `Prepare`.
        #[n(0)]
        counter: u64,
        /// Why not; `None` when ready.
        #[n(1)]
        reason: Option<String>,
    },
    /// Switchover: the level is yours; the sender is standby from now on.
    #[n(20)]
    Commit {
        /// The counter to use.
        #[n(0)]
        counter: u64,
        /// The last kept position of the sender.
        #[n(1)]
        last: Position,
        /// Why the level moves.
        #[n(2)]
        why: SwitchReason,
        /// For how long the sender has prepared, in microseconds.
        #[n(3)]
        prepared_us: u64,
        /// For how long it has held writes, in microseconds.
        #[n(4)]
        held_us: u64,
    },
    /// A person's request, forwarded by a standby.
    #[n(21)]
    Request {
        /// Repeated in the reply.
        #[n(0)]
        n: u64,
        /// What is asked.
        #[n(1)]
        ask: PersonAsk,
        /// The counter of the term that the person saw.
        #[n(2)]
        seen: Option<u64>,
    },
    /// The reply to `Request`.
    #[n(22)]
    Reply {
        /// As in the request.
        #[n(0)]
        n: u64,
        /// What became of it.
        #[n(1)]
        reply: PersonReply,
    },
    /// The opening of the bulk connection.
    #[n(23)]
    Join {
        /// HMAC over both nonces of the control connection.
        #[cbor(n(0), with = "minicbor::bytes")]
        proof: [u8; 32],
    },
    /// Live values (bulk connection): newest wins; the receiver keeps one for each tag.
    #[n(24)]
    Live {
        /// Whether these are all values, or those that changed.
        #[n(0)]
        all: bool,
        /// The values.
        #[n(1)]
        values: Vec<LiveValue>,
    },
    /// What the sender changed that the active node's history lacks (merge).
    #[n(25)]
    Alone {
        /// Items that it answered alone: to be merged.
        #[n(0)]
        items: Vec<AloneItem>,
        /// Whether more follow; each message waits for its `Merged`.
        #[n(1)]
        more: bool,
        /// Items of a tail that was answered to nobody: not to be merged, but to be sent anew.
        #[n(2)]
        undo: Vec<ItemKey>,
        /// The last sequence that both histories have.
        #[n(3)]
        fork: u64,
        /// Whether `items` and `undo` name all that differs from there on, so that a difference
        /// brings the sender up to date.
        #[n(4)]
        all: bool,
        /// The sender's monotonic clock in microseconds: the ages are as of then.
        #[n(5)]
        clock_us: u64,
    },
    /// An `Alone` was taken.
    #[n(26)]
    Merged {
        /// Whether it was the last one, and all of it is on disk.
        #[n(0)]
        last: bool,
    },
}

impl Message {
    /// Whether it carries items or values: such a frame may be long.
    pub fn moves_items(&self) -> bool {
        matches!(
            self,
            Message::Updates { .. }
                | Message::Chunk(_)
                | Message::Live { .. }
                | Message::Alone { .. }
        )
    }
}
