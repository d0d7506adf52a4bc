//! Config of another lineage: neither side is overwritten before a person's word on the node
//! whose config is to go.
//!
//! ```text
//! Request::Adopt at N --> Request { Adopt } --> peer: sends all of its config from now on
//!                     <-- Reply, Sync { full, archive }, chunks ...
//! N: its own config to the archive, the peer's in force
//! ```
//!
//! A link that ends before the last chunk leaves both as they were: a person asks once more. A
//! master that has taken config from its backup begins the link anew, and sends from then on.

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::output::{EventKind, Output};
use crate::gateway::person::Asker;
use crate::item::{Kind, Position};
use crate::node::Role;
use crate::wire::peer::{PersonAsk, PersonReply};

/// One side's config, as its hello tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) at: Position,
    /// What its newest updates have led to.
    pub(super) marks: &'a [(u64, u64)],
}

impl Side<'_> {
    fn mark(&self, sequence: u64) -> Option<u64> {
        self.marks.iter().find(|(at, _)| *at == sequence).map(|(_, head)| *head)
    }
}

/// Whether two configs must not overwrite each other: of two lineages, or of one that parted,
/// such as when an old copy of a store was set back and changed.
pub(super) fn strangers(one: Side<'_>, other: Side<'_>) -> bool {
    if one.at.sequence == 0 || other.at.sequence == 0 {
        return false;
    }
    let shorter = one.at.sequence.min(other.at.sequence);
    let parted = matches!(
        (one.mark(shorter), other.mark(shorter)),
        (Some(here), Some(there)) if here != there
    );
    one.at.activation != other.at.activation || parted
}

/// Whether a master takes its backup's config: it has none, or is behind in the same lineage.
pub(super) fn from_backup(master: Position, backup: Position) -> bool {
    let nothing = master.sequence == 0 && backup.sequence > 0;
    let behind = master.activation == backup.activation && backup.sequence > master.sequence;
    nothing || behind
}

impl Gateway {
    /// A person lets config be replaced: this node's own, or (asked there) the peer's by this
    /// node's.
    pub(super) fn adopt(&mut self, asker: Asker) {
        let reply = match (self.may_adopt(), asker) {
            (Err(reason), _) => PersonReply::Refused { reason: reason.to_owned() },
            (Ok(()), Asker::Here(ticket)) => return self.forward(ticket, PersonAsk::Adopt, None),
            (Ok(()), Asker::There { .. }) if self.forwarded.asks(PersonAsk::Adopt) => {
                let reason = "both nodes are asked to adopt the other's config".to_owned();
                PersonReply::Refused { reason }
            }
            (Ok(()), Asker::There { .. }) => {
                self.give_config();
                PersonReply::Accepted
            }
        };
        self.reply(asker, reply);
    }

    fn may_adopt(&self) -> Result<(), &'static str> {
        let link = self.link.as_ref().filter(|l| l.established());
        match link {
            None => Err("the other node is not connected"),
            Some(_) if self.handover.is_giving() => Err("a switchover is under way"),
            Some(_) if self.disk.refusal().is_some() => {
                Err("the disk failed or is full: nothing can be archived")
            }
            Some(link) if link.config_incompatible => Ok(()),
            Some(_) => Err("there is nothing to adopt: the configs have a common history"),
        }
    }

    fn give_config(&mut self) {
        let Some(link) = &mut self.link else { return };
        self.peer.stranger = false;
        link.config_incompatible = false;
        link.config_from_peer = false;
        link.config.archive_due = true;
        self.send_all_anew(Kind::Config);
        let text = "the other node adopts this node's config";
        self.event(Severity::Warning, EventKind::Sync, text, Vec::new());
        self.out.push_back(Output::StatusChanged);
    }

    /// The peer sends its config, by a person's word at this node.
    pub(super) fn adopting(&mut self) {
        let Some(link) = &mut self.link else { return };
        self.peer.stranger = false;
        link.config_incompatible = false;
        link.config_from_peer = true;
        link.told_in_sync = false;
        let text = "the other node's config is adopted: this node's own goes to the archive";
        self.event(Severity::Warning, EventKind::Sync, text, Vec::new());
        self.out.push_back(Output::StatusChanged);
    }

    /// A master that has taken its backup's config is the one that sends from then on.
    pub(super) fn config_fetched(&mut self) {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let fetches = self.options.role == Role::Master && link.config_from_peer;
        let there = link.hello.config;
        let here = self.disk.durable(Kind::Config);
        let done = here.activation == there.activation && here.sequence >= there.sequence;
        if fetches && done && !link.transferring() {
            self.begin_link_anew("the config has come from the backup");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::ActivationId;

    fn at(lineage: u64, sequence: u64) -> Position {
        Position { activation: ActivationId(lineage), sequence }
    }

    #[test]
    fn who_may_be_overwritten() {
        let side = |lineage, sequence, marks| Side { at: at(lineage, sequence), marks };
        let cases = [
            ("nothing here", side(0, 0, &[]), side(7, 3, &[(3, 5)]), false),
            ("two lineages", side(6, 3, &[(3, 5)]), side(7, 3, &[(3, 5)]), true),
            ("behind", side(7, 2, &[(2, 4)]), side(7, 3, &[(2, 4), (3, 5)]), false),
            ("parted", side(7, 2, &[(2, 9)]), side(7, 3, &[(2, 4), (3, 5)]), true),
            ("too long ago to tell", side(7, 1, &[(1, 9)]), side(7, 3, &[(3, 5)]), false),
        ];
        for (name, one, other, expected) in cases {
            assert_eq!(strangers(one, other), expected, "{name}");
            assert_eq!(strangers(other, one), expected, "{name}, the other way");
        }
    }

    #[test]
    fn a_master_without_config_takes_the_backups() {
        assert!(from_backup(at(0, 0), at(7, 1)) && from_backup(at(7, 1), at(7, 2)));
        assert!(!from_backup(at(7, 2), at(7, 2)) && !from_backup(at(7, 3), at(7, 2)));
        assert!(!from_backup(at(0, 0), at(0, 0)) && !from_backup(at(6, 1), at(7, 2)));
    }
}
