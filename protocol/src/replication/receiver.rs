//! Taking one kind from the peer.

use crate::item::{Position, Update};
use crate::replication::log::Log;
use crate::replication::transfer::{ChunkTaken, Incoming};
use crate::term::Activation;
use crate::wire::peer::{Chunk, SyncPlan};

/// One kind's way from the peer over one link.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    incoming: Option<(Incoming, Vec<Activation>)>,
    flowing: bool,
}

/// Why a peer's words cannot be taken: the link begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit(pub &'static str);

impl Receiver {
    /// The peer says how it will bring this node up to date. For a tail the activations are to be
    /// stored now; for a full transfer they come with the items. `held`: what an earlier link left
    /// of a transfer.
    ///
    /// # Errors
    /// The tail does not follow what is here, or the transfer goes on from what is not here.
    pub fn begin(
        &mut self,
        log: &Log,
        plan: SyncPlan,
        activations: Vec<Activation>,
        held: Option<Incoming>,
    ) -> Result<Option<Vec<Activation>>, Misfit> {
        match plan {
            SyncPlan::Tail { after } if after != log.position() => {
                Err(Misfit("a tail that does not follow"))
            }
            SyncPlan::Tail { .. } => {
                self.incoming = None;
                self.flowing = true;
                Ok(Some(activations))
            }
            SyncPlan::Full { from, .. } => {
                self.flowing = false;
                let held = held.filter(|held| held.follows(log) && held.is_continued_by(plan));
                let incoming = match from {
                    0 => Incoming::new(plan, log),
                    _ => held,
                };
                let goes_on = "a transfer that goes on from what is not here";
                self.incoming = Some((incoming.ok_or(Misfit(goes_on))?, activations));
                Ok(None)
            }
        }
    }

    /// The link has ended: what has come of a transfer, for the next one.
    pub fn interrupt(self) -> Option<Incoming> {
        self.incoming.map(|(incoming, _)| incoming).filter(|incoming| incoming.holds().is_some())
    }

    /// The name of the transfer that runs.
    pub fn transfer(&self) -> Option<u64> {
        self.incoming.as_ref().map(|(i, _)| i.id())
    }

    /// Takes updates into the log.
    ///
    /// # Errors
    /// They were not announced, or do not follow.
    pub fn updates(&self, log: &mut Log, updates: &[Update]) -> Result<(), Misfit> {
        if !self.flowing {
            return Err(Misfit("updates before a sync"));
        }
        for update in updates {
            if !log.append(update.clone()) {
                return Err(Misfit("an update that does not follow"));
            }
        }
        Ok(())
    }

    /// Takes a chunk; after the last one everything is in the log, and the activations and
    /// whether the old state must be archived come back.
    ///
    /// # Errors
    /// It is not the next chunk of the announced transfer.
    pub fn chunk(&mut self, log: &mut Log, chunk: Chunk) -> Result<Option<Installed>, Misfit> {
        let Some((incoming, _)) = &mut self.incoming else { return Err(Misfit("a stray chunk")) };
        match incoming.take(chunk) {
            ChunkTaken::Wrong(why) => {
                // Nothing of it is believed: the next link begins anew.
                self.incoming = None;
                Err(Misfit(why))
            }
            ChunkTaken::More => Ok(None),
            ChunkTaken::Last => {
                let Some((incoming, activations)) = self.incoming.take() else { return Ok(None) };
                let (items, position, head, archive) = incoming.finish();
                let before = log.position();
                log.install(items, position, head);
                self.flowing = true;
                Ok(Some(Installed { activations, archive, before }))
            }
        }
    }
}

/// A full transfer has replaced everything in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The sender's activations: the new history.
    pub activations: Vec<Activation>,
    /// Whether the old state holds what the new one lacks.
    pub archive: bool,
    /// The position before.
    pub before: Position,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::input::LoadedKind;
    use crate::item::{Item, ItemKey, Kind};
    use crate::replication::transfer::Outgoing;
    use crate::wire::peer::TRANSFER_READY;

    fn log_of(items: u8) -> Log {
        let mut loaded = LoadedKind::default();
        for n in 0..items {
            let item = Item { body: vec![n; 10].into(), changed: Position::default() };
            loaded.items.insert(ItemKey::new("project", n.to_string()), item);
        }
        Log::new(Kind::Config, loaded, [0; 32])
    }

    /// A receiver that has taken a chunk of ten, and the sender's side of it.
    fn one_of_ten() -> (Log, Receiver, Outgoing) {
        let mut own = log_of(0);
        let mut out = Outgoing::new(1, &log_of(10), false);
        out.cut_into(1);
        let mut receiver = Receiver::default();
        assert_eq!(receiver.begin(&own, out.plan(), Vec::new(), None), Ok(None));
        assert!(out.taken(TRANSFER_READY));
        let chunk = out.next_chunk().expect("a chunk");
        assert_eq!(receiver.chunk(&mut own, chunk), Ok(None));
        (own, receiver, out)
    }

    #[test]
    fn a_transfer_goes_on_with_what_an_earlier_link_left() {
        let (own, receiver, mut out) = one_of_ten();
        let held = receiver.interrupt().expect("a chunk has come");
        assert!(out.go_on_at(1));
        let begin = |log: &Log, held| Receiver::default().begin(log, out.plan(), Vec::new(), held);
        assert_eq!(begin(&own, Some(held.clone())), Ok(None));
        assert!(begin(&own, None).is_err(), "nothing is held");
        assert!(begin(&log_of(1), Some(held)).is_err(), "the own log has moved");
    }

    #[test]
    fn a_chunk_with_a_wrong_sum_leaves_nothing_to_go_on_with() {
        let (mut own, mut receiver, mut out) = one_of_ten();
        let mut chunk = out.next_chunk().expect("a chunk");
        chunk.sum ^= 1;
        assert!(receiver.chunk(&mut own, chunk).is_err());
        assert!(receiver.interrupt().is_none());
    }
}
