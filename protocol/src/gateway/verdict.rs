//! Making a verdict, obeying it, and what begins with it.

use crate::activity::decide::{self, Candidate, Rules};
use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::adopt;
use crate::gateway::input::{LinkId, Side};
use crate::gateway::level::LevelState;
use crate::gateway::output::{EventKind, Output};
use crate::gateway::proof;
use crate::gateway::reason::TakeReason;
use crate::item::Kind;
use crate::node::Role;
use crate::planted::{self, RuleFault};
use crate::wire::peer::{Hello, Message, Refusal, Verdict, VerdictReason};

impl Gateway {
    /// The master judges from both hellos, acts on it, and tells it.
    pub(super) fn judge(&mut self, own: &Hello) {
        let Some(link) = &self.link else { return };
        let (id, nonces, peer) = (link.id, link.nonces, link.hello.clone());
        let rules = Rules {
            failover_timeout: self.options.settings.failover_timeout(),
            by_uptime: self.options.settings.use_active_uptime_to_resolve_conflict,
        };
        let candidates = (Candidate::from(own), Candidate::from(&*peer));
        let (mine, reason) = decide::verdict(&candidates.0, &candidates.1, rules);
        let active = if mine { own.node.clone() } else { peer.node.clone() };
        let both = candidates.0.stand.counts_as_active() && candidates.1.stand.counts_as_active();
        self.settings = self.options.settings.clone();
        self.set_span();
        if let Some(link) = &mut self.link {
            link.active = Some(active.clone());
        }
        let above = if mine {
            // After a partition both may have used one counter: the order is that of terms.
            let overtaken = peer.last_term > own.stand.term;
            self.keep_or_take(reason, both || overtaken);
            None
        } else {
            // Whoever yields stops before the other is told to go on.
            self.yield_level(&format!("verdict: {}", TakeReason::Verdict(reason)));
            let own_counter = peer.stand.term.as_ref().map(|t| t.counter);
            let higher = own_counter.is_none_or(|c| self.ledger.highest_counter > c);
            let overtaken = own.last_term > peer.stand.term;
            let keeps = peer.stand.counts_as_active() && !both && !higher && !overtaken;
            (!keeps).then_some(self.ledger.highest_counter)
        };
        let verdict = Verdict {
            dialer_nonce: nonces.dialer,
            listener_nonce: nonces.listener,
            active,
            above,
            reason,
            settings: self.settings.clone(),
        };
        self.send(id, Message::Verdict(verdict));
        self.establish(&peer);
    }

    /// The backup obeys, or says hello again when it is no longer what it said it was.
    pub(super) fn obey(&mut self, verdict: Verdict) {
        let Some(link) = &self.link else { return };
        let nonces = link.nonces;
        let wrong = link.established()
            || link.side != Side::Dialer
            || verdict.dialer_nonce != nonces.dialer
            || verdict.listener_nonce != nonces.listener;
        if wrong {
            let id = link.id;
            self.break_link(id, Refusal::Unexpected, "a verdict that was not asked for");
            return;
        }
        let stand = self.stand();
        let said = &link.said;
        if stand.level != said.level || stand.taking != said.taking || stand.term != said.term {
            self.begin_link_anew("the level changed since the hello");
            return;
        }
        let peer = link.hello.clone();
        if let Some(link) = &mut self.link {
            link.active = Some(verdict.active.clone());
        }
        self.settings = verdict.settings;
        self.set_span();
        if verdict.active == self.options.node {
            self.take_as_told(verdict.reason, verdict.above);
        } else {
            self.yield_level(&format!("verdict: {}", TakeReason::Verdict(verdict.reason)));
        }
        self.establish(&peer);
    }

    fn take_as_told(&mut self, reason: VerdictReason, above: Option<u64>) {
        if let Some(counter) = above {
            self.ledger.highest_counter = self.ledger.highest_counter.max(counter);
            self.disk.ledger_changed();
        }
        let active = matches!(self.level, LevelState::Active(_) | LevelState::Taking(_));
        if !active && !self.eligible() {
            let counter = self.ledger.highest_counter + 1;
            self.ledger.highest_counter = counter;
            self.disk.ledger_changed();
            self.stand_by();
            if let Some(link) = &mut self.link {
                link.active = Some(link.hello.node.clone());
            }
            self.decline(counter, "no complete config, or no disk");
            return;
        }
        self.keep_or_take(reason, above.is_some());
    }

    /// The verdict names this node: it goes on, in a new term if another was named above its own.
    fn keep_or_take(&mut self, reason: VerdictReason, new_term: bool) {
        match &self.level {
            LevelState::Undecided { .. } | LevelState::Standby => {
                self.take(TakeReason::Verdict(reason));
            }
            LevelState::Taking(taking) => {
                if new_term || self.ledger.highest_counter > taking.activation.term.counter {
                    self.take_again();
                }
            }
            LevelState::Active(active) => {
                let higher = self.ledger.highest_counter > active.activation.term.counter;
                if self.fenced() {
                    self.unfence();
                }
                if (new_term || higher) && !planted::is(RuleFault::TermKept) {
                    self.retake(match new_term {
                        true => TakeReason::Verdict(reason),
                        false => TakeReason::HigherCounter,
                    });
                }
            }
        }
    }

    fn yield_level(&mut self, reason: &str) {
        match &self.level {
            LevelState::Active(_) | LevelState::Taking(_) => self.step_down(reason),
            LevelState::Undecided { .. } => self.stand_by(),
            LevelState::Standby => {}
        }
    }

    /// From here on both know who is active: heartbeats and data begin.
    fn establish(&mut self, peer: &Hello) {
        let role = self.options.role;
        let here = adopt::Side { at: self.config.position(), marks: self.config.marks() };
        let there = adopt::Side { at: peer.config, marks: &peer.config_marks };
        let strangers =
            adopt::strangers(here, there) && !planted::is(RuleFault::LineageOverwritten);
        let from_backup = match role {
            Role::Master => adopt::from_backup(here.at, there.at),
            Role::Backup | Role::Independent => adopt::from_backup(there.at, here.at),
        };
        let Some(link) = &mut self.link else { return };
        // Whoever was in sync over an older link is told again over this one.
        self.peer.told_in_sync = false;
        link.config_from_peer = from_backup == (role == Role::Master);
        link.config_incompatible = strangers;
        self.peer.stranger = strangers;
        link.lanes_mut(Kind::Config).receipt_due = true;
        link.lanes_mut(Kind::Kept).receipt_due = true;
        let (id, side, nonces) = (link.id, link.side, link.nonces);
        let proof = proof::of_bulk(&self.options.secret, nonces);
        self.out.push_back(match side {
            Side::Dialer => Output::DialBulk { link: id, proof },
            Side::Listener => Output::ExpectBulk { link: id, proof },
        });
        let text = format!("link with {} is up", peer.node);
        let facts = vec![
            ("peer", peer.node.to_string()),
            ("version", peer.software.clone()),
            ("differing_settings", (self.options.settings != peer.settings).to_string()),
        ];
        self.event(Severity::Info, EventKind::Link, text, facts);
        if strangers {
            let text = "the configs of the nodes have nothing in common: neither is overwritten before \
                        `pair adopt`";
            self.event(Severity::Warning, EventKind::Sync, text, Vec::new());
        }
        self.out.push_back(Output::StatusChanged);
        self.heartbeat();
        if self.is_active() {
            self.say_took_on(id);
        }
    }

    fn say_took_on(&mut self, link: LinkId) {
        let Some(term) = self.stand().term else { return };
        if self.options.role == Role::Backup {
            self.send(link, Message::Took { term });
        }
    }

    /// The node that the verdict named has the level.
    pub(super) fn heard_took(&mut self, counter: u64) {
        self.peer.was_active = true;
        self.heed_counter(counter);
        if let Some(link) = &mut self.link {
            link.active = Some(link.hello.node.clone());
        }
        self.given_was_taken(counter);
    }

    /// The peer's counter is above this node's own while it is active.
    pub(super) fn heed_counter(&mut self, counter: u64) {
        if counter > self.ledger.highest_counter {
            self.ledger.highest_counter = counter;
            self.disk.ledger_changed();
        }
        self.peer.highest_counter = self.peer.highest_counter.max(counter);
        let own = match &self.level {
            LevelState::Active(active) => active.activation.term.counter,
            LevelState::Undecided { .. } | LevelState::Standby | LevelState::Taking(_) => return,
        };
        if counter > own && !self.fenced() {
            self.retake(TakeReason::HigherCounter);
        }
    }

    /// The node that the verdict named cannot have the level: this one takes it.
    pub(super) fn heard_declined(&mut self, counter: u64, reason: &str) {
        if self.handover.gave_later(counter) {
            // It says nothing of the level that was given since, which the peer may be taking.
            return;
        }
        self.heed_counter(counter);
        let text = format!("the peer declined the level: {reason}");
        self.event(Severity::Warning, EventKind::Level, text, Vec::new());
        self.peer.was_active = false;
        if let Some(link) = &mut self.link {
            link.active = Some(self.options.node.clone());
        }
        self.given_was_declined();
        let waits = matches!(self.level, LevelState::Standby | LevelState::Undecided { .. });
        if !waits || self.stopping {
            return;
        }
        if self.eligible() {
            self.take(TakeReason::PeerDeclined);
        } else {
            // It gave the level because it cannot store a term: a new verdict says who can.
            self.begin_link_anew("the level was declined, and cannot be stored here");
        }
    }
}
