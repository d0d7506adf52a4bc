//! What a person asks of the pair, on either node, and the choice that stands afterwards.
//!
//! ```text
//! request --> active node: acts, answers
//!        \--> standby: Request --> active node: acts --> Reply --> answers
//! ```
//!
//! A request may name the term that the person saw: another one in force answers with it and does
//! nothing. A choice is the chosen node's word: it ends with its run, its level, or its loss.

use crate::gateway::Gateway;
use crate::gateway::input::{LinkId, RequestTicket};
use crate::gateway::level::LevelState;
use crate::gateway::output::{Answer, Output};
use crate::item::Kind;
use crate::limits::{FORWARD_WAIT, FORWARDED_MAX};
use crate::time::Instant;
use crate::wire::peer::{Choice, Message, PersonAsk, PersonReply, SwitchReason};

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody at this node.
    Here(RequestTicket),
    /// Somebody at the peer, which forwarded it.
    There { link: LinkId, n: u64 },
}

/// Requests on their way to the active node.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    sent: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    n: u64,
    link: LinkId,
    ask: PersonAsk,
    ticket: RequestTicket,
    deadline: Instant,
}

impl Forwarded {
    pub(super) fn due(&self) -> Option<(Instant, &'static str)> {
        self.waiting.iter().map(|w| w.deadline).min().map(|at| (at, "forwarded request"))
    }

    /// Whether the peer was asked for this and has not answered.
    pub(super) fn asks(&self, ask: PersonAsk) -> bool {
        self.waiting.iter().any(|w| w.ask == ask)
    }
}

impl Gateway {
    /// A person asks something of the pair.
    pub(super) fn person(&mut self, asker: Asker, ask: PersonAsk, seen: Option<u64>) {
        let refused = |reason: &str| PersonReply::Refused { reason: reason.to_owned() };
        let reply = match &self.level {
            _ if self.options.pair.is_none() => refused("there is no other node"),
            LevelState::Active(active) => {
                let counter = active.activation.term.counter;
                match seen {
                    Some(seen) if seen != counter => {
                        PersonReply::OtherTerm { counter: Some(counter) }
                    }
                    Some(_) | None => return self.carry_out(asker, ask),
                }
            }
            LevelState::Taking(taking) => {
                PersonReply::OtherTerm { counter: Some(taking.activation.term.counter) }
            }
            LevelState::Undecided { .. } | LevelState::Standby => match asker {
                Asker::Here(ticket) => return self.forward(ticket, ask, seen),
                Asker::There { .. } => refused("neither node is active"),
            },
        };
        self.reply(asker, reply);
    }

    /// A person at the peer asks.
    pub(super) fn heard_request(
        &mut self,
        link: LinkId,
        n: u64,
        ask: PersonAsk,
        seen: Option<u64>,
    ) {
        self.hear();
        match ask {
            PersonAsk::Config => self.send_config_again(),
            PersonAsk::Adopt => self.adopt(Asker::There { link, n }),
            PersonAsk::Failover | PersonAsk::Resync => {
                self.person(Asker::There { link, n }, ask, seen);
            }
        }
    }

    fn carry_out(&mut self, asker: Asker, ask: PersonAsk) {
        match ask {
            PersonAsk::Failover => {
                if let Err((reason, Some(asker))) =
                    self.begin_switchover(SwitchReason::Requested, Some(asker))
                {
                    self.reply(asker, PersonReply::Refused { reason: reason.to_owned() });
                }
            }
            PersonAsk::Adopt => self.adopt(asker),
            PersonAsk::Config => self.send_config_again(),
            PersonAsk::Resync => {
                let reply = match self.resync() {
                    Ok(()) => PersonReply::Accepted,
                    Err(reason) => PersonReply::Refused { reason: reason.to_owned() },
                };
                self.reply(asker, reply);
            }
        }
    }

    /// The standby is brought up to date from the start, in all that this node sends.
    fn resync(&mut self) -> Result<(), &'static str> {
        if self.handover.is_giving() {
            return Err("a switchover is under way");
        }
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else {
            return Err("the other node is not connected");
        };
        if link.transferring() {
            return Err("a full transfer runs already");
        }
        for kind in Kind::ALL {
            if self.sends(kind) {
                self.send_all_anew(kind);
            }
        }
        Ok(())
    }

    pub(super) fn forward(&mut self, ticket: RequestTicket, ask: PersonAsk, seen: Option<u64>) {
        let link = self.link.as_ref().filter(|l| l.established()).map(|l| l.id);
        let room = self.forwarded.waiting.len() < FORWARDED_MAX;
        match (link, room) {
            (Some(link), true) => {
                self.forwarded.sent += 1;
                let n = self.forwarded.sent;
                let deadline = self.now + FORWARD_WAIT;
                self.forwarded.waiting.push(Waiting { n, link, ask, ticket, deadline });
                self.send(link, Message::Request { n, ask, seen });
            }
            (Some(_), false) => self.out.push_back(Output::Answer { ticket, answer: Answer::Busy }),
            (None, _) => self.refuse_person(ticket, "the active node is not connected"),
        }
    }

    fn refuse_person(&mut self, ticket: RequestTicket, reason: &str) {
        let answer = Answer::Refused { reason: reason.to_owned() };
        self.out.push_back(Output::Answer { ticket, answer });
    }

    /// Answers whoever asked.
    pub(super) fn reply(&mut self, asker: Asker, reply: PersonReply) {
        match asker {
            Asker::Here(ticket) => {
                let answer = match reply {
                    PersonReply::Accepted => Answer::Accepted,
                    PersonReply::OtherTerm { counter } => Answer::OtherTerm { counter },
                    PersonReply::Refused { reason } => Answer::Refused { reason },
                };
                self.out.push_back(Output::Answer { ticket, answer });
            }
            Asker::There { link, n } => self.send(link, Message::Reply { n, reply }),
        }
    }

    /// The active node has answered a forwarded request.
    pub(super) fn heard_reply(&mut self, link: LinkId, n: u64, reply: PersonReply) {
        self.hear();
        let waiting = &mut self.forwarded.waiting;
        if let Some(at) = waiting.iter().position(|w| w.n == n && w.link == link) {
            let Waiting { ask, ticket, .. } = waiting.swap_remove(at);
            if ask == PersonAsk::Adopt && reply == PersonReply::Accepted {
                self.adopting();
            }
            self.reply(Asker::Here(ticket), reply);
        }
    }

    /// Requests whose way is gone, or that took too long.
    pub(super) fn forwarded_time(&mut self) {
        let link = self.link.as_ref().map(|l| l.id);
        let now = self.now;
        let over = |w: &mut Waiting| now >= w.deadline || link != Some(w.link);
        let over: Vec<Waiting> = self.forwarded.waiting.extract_if(.., over).collect();
        for waiting in over {
            self.refuse_person(waiting.ticket, "the active node did not answer in time");
        }
    }

    /// What the peer says of a person's choice. The chosen node's own word counts.
    pub(super) fn heed_choice(&mut self, said: Option<&Choice>) {
        if self.handover.is_given() {
            // The peer has not heard of it yet.
            return;
        }
        let by_peer = said.filter(|c| Some(&c.node) == self.peer.node.as_ref());
        let own = self.ledger.choice.as_ref();
        let of_peer = own.is_none_or(|c| Some(&c.node) == self.peer.node.as_ref());
        let newer = by_peer.map(|c| c.counter) > own.map(|c| c.counter);
        if (of_peer || newer) && own != by_peer {
            self.ledger.choice = by_peer.cloned();
            self.disk.ledger_changed();
        }
    }

    /// The peer is lost or runs anew: a choice of it is over.
    pub(super) fn forget_choice_of_peer(&mut self) {
        let of_peer = |c: &mut Choice| Some(&c.node) == self.peer.node.as_ref();
        if self.ledger.choice.take_if(of_peer).is_some() {
            self.disk.ledger_changed();
        }
    }
}
