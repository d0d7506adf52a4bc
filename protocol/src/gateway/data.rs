//! Items on their way between the nodes: config from the master, kept state from the active node.
//!
//! ```text
//! after the verdict both say where they stand (Receipt)
//! sender:   Sync { tail | full } --> Updates ..., Chunks ... --> InSync | OutOfSync
//! receiver: <-- Receipt { received, durable } ...            <-- SyncConfirmed
//! ```

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::input::LinkId;
use crate::gateway::offer::Committed;
use crate::gateway::output::{EventKind, Output};
use crate::gateway::sync::Telling;
use crate::replication::receiver::Misfit;
use crate::wire::peer::{Message, Refusal};

impl Gateway {
    /// A message of the link, or of a connection that greets.
    pub(super) fn link_message(&mut self, link: LinkId, message: Message) {
        if self.greetings.contains_key(&link) {
            self.greeting_message(link, message);
            return;
        }
        let Some(current) = self.link.as_ref().filter(|l| l.id == link) else { return };
        let established = current.established();
        if let Message::Verdict(verdict) = message {
            self.hear();
            self.obey(verdict);
        } else if established {
            self.established_message(link, message);
        } else {
            self.break_link(link, Refusal::Unexpected, "a message before the verdict");
        }
    }

    fn established_message(&mut self, link: LinkId, message: Message) {
        if let Some((reason, why)) = self.misplaced(&message) {
            self.break_link(link, reason, why);
            return;
        }
        match message {
            Message::Heartbeat(heartbeat) => {
                self.hear();
                self.heard_heartbeat(heartbeat);
            }
            Message::Took { term } => {
                self.hear();
                self.heard_took(term.counter);
            }
            Message::Declined { counter, reason } => {
                self.hear();
                self.heard_declined(counter, &reason);
            }
            Message::Ask { n } => {
                self.hear();
                let stand = self.stand();
                self.send(link, Message::Told { n, stand });
            }
            Message::Told { n, stand } => {
                self.hear();
                self.told(n, &stand);
            }
            Message::Goodbye { kind, .. } => self.heard_goodbye(kind),
            Message::Receipt { kind, received, durable, holds } => {
                self.heard_receipt(kind, (received, durable), holds);
            }
            Message::Sync { kind, plan, activations } => {
                let taken = self.begin_receiving(kind, plan, activations);
                self.or_anew(taken);
            }
            Message::Updates { kind, updates } => {
                let taken = self.receive(kind, updates);
                self.or_anew(taken);
            }
            Message::Chunk(chunk) => {
                let taken = self.receive_chunk(link, chunk);
                self.or_anew(taken);
            }
            Message::ChunkTaken { transfer, index } => self.chunk_taken(transfer, index),
            Message::InSync { kept, config, n } => {
                self.heard_in_sync(Telling { link, kept, config, n });
            }
            Message::OutOfSync { n, .. } => self.heard_out_of_sync(n),
            Message::SyncConfirmed { in_sync, n, .. } => self.heard_confirmed(in_sync, n),
            Message::Refuse { reason, detail } => {
                self.break_link(link, reason, &detail);
            }
            Message::Challenge { .. }
            | Message::Hello(_)
            | Message::Verdict(_)
            | Message::Join { .. }
            | Message::Live { .. } => {
                self.break_link(link, Refusal::Unexpected, "a message that does not fit the link");
            }
            Message::Prepare { counter, .. } => self.prepare(link, counter),
            Message::Prepared { counter, reason } => self.heard_prepared(link, counter, reason),
            Message::Commit { counter, last, why, prepared_us, held_us } => {
                self.heard_commit(link, Committed { counter, last, why, prepared_us, held_us });
            }
            Message::Request { n, ask, seen } => self.heard_request(link, n, ask, seen),
            Message::Reply { n, reply } => self.heard_reply(link, n, reply),
            message @ Message::Alone { .. } => self.heard_alone(link, message),
            Message::Merged { last } => self.heard_merged(last),
        }
    }

    /// What cannot be taken is asked for anew, from the hello on.
    fn or_anew(&mut self, taken: Result<(), Misfit>) {
        if let Err(Misfit(why)) = taken {
            self.event(Severity::Info, EventKind::Sync, why, Vec::new());
            self.begin_link_anew(why);
        }
    }

    pub(super) fn link_garbage(&mut self, link: LinkId, reason: Refusal) {
        let greeting = self.greetings.remove(&link);
        self.break_link(link, reason, "bytes that are no peer message");
        if let Some(greeting) = greeting {
            self.greeting_over(&greeting);
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        if let Some(greeting) = self.greetings.remove(&link) {
            self.greeting_over(&greeting);
            return;
        }
        if self.link.as_ref().is_some_and(|l| l.id == link) {
            self.take_link();
            self.event(Severity::Info, EventKind::Link, "the link ended", Vec::new());
            self.out.push_back(Output::StatusChanged);
            self.link_ended();
        }
    }

    pub(super) fn link_time(&mut self) {
        let Some(link) = &self.link else { return };
        if !link.established() && self.now >= link.verdict_deadline {
            let id = link.id;
            self.break_link(id, Refusal::TooSlow, "no verdict within a second");
        }
    }

    /// A transfer that does not move ends its link; it goes on over the next one.
    pub(super) fn transfer_time(&mut self) {
        let limit = std::time::Duration::from_secs(self.settings.sync_timeout_s);
        let Some(link) = &self.link else { return };
        if link.transferring() && self.now.since(link.progress) > limit {
            self.begin_link_anew("a full transfer did not move within sync_timeout");
        }
    }
}
