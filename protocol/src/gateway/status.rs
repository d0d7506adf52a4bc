//! What this node says about itself, and when that has changed.

use crate::gateway::Gateway;
use crate::gateway::level::{LevelState, incident};
use crate::gateway::output::Output;
use crate::node::{Level, SyncState};
use crate::status::{Health, NodeAddress, PeerStatus, Status};
use crate::term::Term;

/// What a change of status is told by: cheap to compare after each input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    level: Level,
    fenced: bool,
    term: Option<Term>,
    sync: SyncState,
    connected: bool,
    peer_level: Option<Level>,
    in_sync: bool,
    disk: Option<&'static str>,
    health: Health,
}

impl Gateway {
    /// What this node says about itself. Active is said only under a permit: a fenced node says
    /// Undecided and `fenced`.
    pub fn status(&self) -> Status {
        let digest = self.digest();
        let own = (self.options.node.clone(), self.options.public_address.clone());
        let peer = self.peer.node.clone().map(|node| (node, self.peer.public_address.clone()));
        let addresses = std::iter::once(own)
            .chain(peer)
            .filter(|(_, url)| !url.is_empty())
            .map(|(node, url)| NodeAddress { node, url })
            .collect();
        let last = self.ledger.activations.last();
        Status {
            pair: self.options.pair.clone(),
            node: self.options.node.clone(),
            boot: self.options.boot,
            role: self.options.role,
            level: digest.level,
            fenced: digest.fenced,
            term: digest.term,
            sync: digest.sync,
            peer: self.options.pair.as_ref().map(|_| PeerStatus {
                node: self.peer.node.clone(),
                connected: digest.connected,
                level: digest.peer_level.unwrap_or(Level::Undecided),
                in_sync: digest.in_sync,
            }),
            addresses,
            system: self.definitions.system.clone(),
            contact: self.definitions.contact.clone(),
            reason: self.level_reason(),
            incident: last.map(incident),
            disk: digest.disk.map(str::to_owned),
            version: self.options.software.clone(),
        }
    }

    fn digest(&self) -> Digest {
        let stand = self.stand();
        let fenced = stand.fenced;
        Digest {
            level: if fenced { Level::Undecided } else { stand.level },
            fenced,
            term: stand.term,
            sync: self.sync_state(),
            connected: self.link.as_ref().is_some_and(super::link::Link::established),
            peer_level: self.peer.stand.as_ref().map(|s| s.level),
            in_sync: self.peer.standby_in_sync || self.peer.told_in_sync,
            disk: self.disk.fault(),
            health: self.healths(),
        }
    }

    /// Says that the status has changed, when it has.
    pub(super) fn tell_status(&mut self) {
        let digest = self.digest();
        if self.shown_status.as_ref() != Some(&digest) {
            self.shown_status = Some(digest);
            self.out.push_back(Output::StatusChanged);
        }
    }

    fn level_reason(&self) -> String {
        match &self.level {
            LevelState::Active(active) => active.reason.to_string(),
            LevelState::Undecided { .. } => "waits for its peer".to_owned(),
            LevelState::Standby => "the peer is active, or is being awaited".to_owned(),
            LevelState::Taking(taking) => taking.reason.to_string(),
        }
    }
}
