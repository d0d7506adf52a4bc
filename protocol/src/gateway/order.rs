//! Whether what the peer says fits: who may say it, and how often.
//!
//! A peer that has proved the secret is no stranger, but it may be broken. What only an active
//! node says is not heard by one that is active itself; what nobody waits for is not taken; and
//! words that bring no data are counted between two heartbeats of this node, so that a flood of
//! them ends instead of taking the time of all else. Whatever does not fit closes the link.

use crate::gateway::Gateway;
use crate::item::Position;
use crate::limits::PEER_WORDS_MAX;
use crate::wire::peer::{Message, Refusal};

impl Gateway {
    /// Why this message does not fit the link, if it does not.
    pub(super) fn misplaced(&mut self, message: &Message) -> Option<(Refusal, &'static str)> {
        if !self.brings_data(message) {
            self.words += 1;
            if self.words > PEER_WORDS_MAX {
                return Some((Refusal::Flood, "more words than a pair has for each other"));
            }
        }
        let unexpected = |why| Some((Refusal::Unexpected, why));
        match message {
            Message::Receipt { kind, received, .. } => {
                let sender = self.link.as_ref().and_then(|l| l.lanes(*kind).sender.as_ref());
                let flows = sender.is_some_and(|sender| !sender.transferring());
                if flows && received.sequence > self.log(*kind).position().sequence {
                    return unexpected("a receipt for what was not sent");
                }
                None
            }
            _ if !self.stand().counts_as_active() => None,
            Message::InSync { .. }
            | Message::OutOfSync { .. }
            | Message::Prepare { .. }
            | Message::Commit { .. }
            | Message::Merged { .. } => unexpected("an active node's word to an active node"),
            Message::Took { .. } | Message::Declined { .. } if !self.awaits_the_peer() => {
                unexpected("an answer for a level that was not given")
            }
            Message::Challenge { .. }
            | Message::Hello(_)
            | Message::Refuse { .. }
            | Message::Verdict(_)
            | Message::Took { .. }
            | Message::Declined { .. }
            | Message::Heartbeat(_)
            | Message::Ask { .. }
            | Message::Told { .. }
            | Message::Updates { .. }
            | Message::Sync { .. }
            | Message::Chunk(_)
            | Message::ChunkTaken { .. }
            | Message::SyncConfirmed { .. }
            | Message::Goodbye { .. }
            | Message::Prepared { .. }
            | Message::Request { .. }
            | Message::Reply { .. }
            | Message::Join { .. }
            | Message::Live { .. }
            | Message::Alone { .. } => None,
        }
    }

    /// Whether the level was given to the peer, by a commit or by the verdict.
    fn awaits_the_peer(&self) -> bool {
        let named = self.link.as_ref().and_then(|l| l.active.as_ref());
        self.handover.is_given() || (named.is_some() && named == self.peer.node.as_ref())
    }

    /// Whether a message moves items: as many of them come as the senders' windows allow.
    fn brings_data(&self, message: &Message) -> bool {
        match message {
            Message::Updates { updates, .. } => !updates.is_empty(),
            Message::Chunk(_) | Message::ChunkTaken { .. } => true,
            Message::Receipt { kind, received, durable } => {
                let sender = self.link.as_ref().and_then(|l| l.lanes(*kind).sender.as_ref());
                let newer = |new: &Position, known: Position| new.sequence > known.sequence;
                sender.is_some_and(|s| newer(received, s.received()) || newer(durable, s.durable()))
            }
            Message::Challenge { .. }
            | Message::Hello(_)
            | Message::Refuse { .. }
            | Message::Verdict(_)
            | Message::Took { .. }
            | Message::Declined { .. }
            | Message::Heartbeat(_)
            | Message::Ask { .. }
            | Message::Told { .. }
            | Message::Sync { .. }
            | Message::InSync { .. }
            | Message::SyncConfirmed { .. }
            | Message::OutOfSync { .. }
            | Message::Goodbye { .. }
            | Message::Prepare { .. }
            | Message::Prepared { .. }
            | Message::Commit { .. }
            | Message::Request { .. }
            | Message::Reply { .. }
            | Message::Join { .. }
            | Message::Live { .. }
            | Message::Alone { .. }
            | Message::Merged { .. } => false,
        }
    }
}
