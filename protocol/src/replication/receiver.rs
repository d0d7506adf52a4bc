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
    /// stored now; for a full transfer they come with the items.
    ///
    /// # Errors
    /// The tail does not follow what is here.
    pub fn begin(
        &mut self,
        log: &Log,
        plan: SyncPlan,
        activations: Vec<Activation>,
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
            SyncPlan::Full { transfer, at, archive, head, over, .. } => {
                self.flowing = false;
                let mut incoming = Incoming::new(transfer, at, head, archive);
                if over {
                    incoming = incoming.over(log.items().clone());
                }
                self.incoming = Some((incoming, activations));
                Ok(None)
            }
        }
    }

    /// Whether updates may come.
    pub fn flowing(&self) -> bool {
        self.flowing
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
            ChunkTaken::Wrong(why) => Err(Misfit(why)),
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
