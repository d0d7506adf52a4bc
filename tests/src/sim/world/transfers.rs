//! Full transfers under the tally's eyes, and the link that ends in the middle of one.

use tandem_protocol::gateway::input::LinkId;
use tandem_protocol::item::Kind;
use tandem_protocol::wire::peer::{Message, SyncPlan, TRANSFER_READY};

use super::{Event, World};
use crate::sim::network::Host;

impl World {
    /// What a node sends of a transfer: counted, and met by what the plan has for it.
    pub(super) fn note_transfer(&mut self, host: Host, message: &Message) {
        match message {
            Message::Sync { kind, plan: SyncPlan::Full { over, from, .. }, .. } => {
                if *from > 0 {
                    self.tally.case("transfer resumed");
                }
                self.tally.case(match (over, kind) {
                    (true, _) => "difference of histories that parted",
                    (false, Kind::Config) => "full sync of config",
                    (false, Kind::Kept) => "full sync of kept state",
                });
            }
            Message::Sync { kind: Kind::Kept, plan: SyncPlan::Tail { after }, .. } => {
                let run = self.nodes[host].run.as_ref();
                let head = run.map_or(0, |run| run.memory.kept.position.sequence);
                if after.sequence < head {
                    self.tally.case("partial resync");
                }
            }
            Message::ChunkTaken { index, .. } if *index != TRANSFER_READY => {
                let meets = self.plan.on_transfer.take_if(|chunk| *chunk <= *index);
                if meets.filter(|_| !self.settling).is_some() {
                    self.tally.case("link reset in a transfer");
                    self.after(0, Event::LinkReset);
                }
            }
            _ => {}
        }
    }

    /// Something between the nodes ends the link's connections; what is on its way is lost.
    pub fn reset_links(&mut self) {
        for node in 0..2 {
            let links = self.nodes[node].run.as_ref().map(|run| run.links.keys().copied());
            for link in links.into_iter().flatten().collect::<Vec<LinkId>>() {
                self.drop_link(node, link, true);
            }
        }
    }
}
