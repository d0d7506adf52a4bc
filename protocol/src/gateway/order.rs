//! Whether what the peer says fits: who may say it, and how often.
//!
//! A peer that has proved the secret is no stranger, but it may be broken. What only an active
//! node says is not heard by one that is active itself; what nobody waits for is not taken; and
//! words that bring no data are counted between two heartbeats of this node, so that a flood of
//! them ends instead of taking the time of all else. Whatever does not fit closes the link.

use crate::gateway::Gateway;
use crate::item::{Kind, Position};
use crate::limits::PEER_WORDS_MAX;
use crate::wire::peer::{Message, Refusal};

/// What the rules of order see in a message.
enum Class {
    /// Items, or what keeps a sender's window open: as many come as the windows allow.
    Data,
    /// How far the peer has come with items of a kind.
    Receipt { kind: Kind, received: Position, durable: Position },
    /// A word that only the active node has for its standby.
    FromActive,
    /// The standby's answer for a level that was given to it.
    AboutLevel,
    /// A word that either node may say at any time.
    Word,
}

impl Class {
    fn of(message: &Message) -> Class {
        match message {
            Message::Updates { updates, .. } if !updates.is_empty() => Class::Data,
            Message::Chunk(_) | Message::ChunkTaken { .. } => Class::Data,
            &Message::Receipt { kind, received, durable, .. } => {
                Class::Receipt { kind, received, durable }
            }
            Message::InSync { .. }
            | Message::OutOfSync { .. }
            | Message::Prepare { .. }
            | Message::Commit { .. }
            | Message::Merged { .. } => Class::FromActive,
            Message::Took { .. } | Message::Declined { .. } => Class::AboutLevel,
            Message::Challenge { .. }
            | Message::Hello(_)
            | Message::Refuse { .. }
            | Message::Verdict(_)
            | Message::Heartbeat(_)
            | Message::Ask { .. }
            | Message::Told { .. }
            | Message::Updates { .. }
            | Message::Sync { .. }
            | Message::SyncConfirmed { .. }
            | Message::Goodbye { .. }
            | Message::Prepared { .. }
            | Message::Request { .. }
            | Message::Reply { .. }
            | Message::Join { .. }
            | Message::Live { .. }
            | Message::Alone { .. } => Class::Word,
        }
    }
}

impl Gateway {
    /// Why this message does not fit the link, if it does not.
    pub(super) fn misplaced(&mut self, message: &Message) -> Option<(Refusal, &'static str)> {
        let class = Class::of(message);
        if !self.brings_data(&class) {
            self.words += 1;
            if self.words > PEER_WORDS_MAX {
                return Some((Refusal::Flood, "more words than a pair has for each other"));
            }
        }
        let active = self.stand().counts_as_active();
        let why = match class {
            Class::Receipt { kind, received, .. } if self.was_not_sent(kind, received) => {
                "a receipt for what was not sent"
            }
            Class::FromActive if active => "an active node's word to an active node",
            Class::AboutLevel if active && !self.awaits_the_peer() => {
                "an answer for a level that was not given"
            }
            Class::Data
            | Class::Receipt { .. }
            | Class::FromActive
            | Class::AboutLevel
            | Class::Word => return None,
        };
        Some((Refusal::Unexpected, why))
    }

    /// Whether a peer that is sent updates has received more than there are.
    fn was_not_sent(&self, kind: Kind, received: Position) -> bool {
        let sender = self.link.as_ref().and_then(|l| l.lanes(kind).sender.as_ref());
        let flows = sender.is_some_and(|sender| !sender.transferring());
        flows && received.sequence > self.log(kind).position().sequence
    }

    /// Whether the level was given to the peer, by a commit or by the verdict.
    fn awaits_the_peer(&self) -> bool {
        let named = self.link.as_ref().and_then(|l| l.active.as_ref());
        self.handover.is_given() || (named.is_some() && named == self.peer.node.as_ref())
    }

    /// Whether a message moves items. A receipt does if it is news.
    fn brings_data(&self, class: &Class) -> bool {
        match *class {
            Class::Data => true,
            Class::Receipt { kind, received, durable } => {
                let sender = self.link.as_ref().and_then(|l| l.lanes(kind).sender.as_ref());
                let newer = |new: Position, known: Position| new.sequence > known.sequence;
                sender.is_some_and(|s| newer(received, s.received()) || newer(durable, s.durable()))
            }
            Class::FromActive | Class::AboutLevel | Class::Word => false,
        }
    }
}
