//! Whether the peer lives, and how it is reached.
//!
//! ```text
//! link ends --> look (twice, 5 ms apart) -- all refused --> process gone ---+
//! goodbye ------------------------------------------------------------------+--> lost
//! nothing heard for the span -----------------------------> silence --------+
//! ```

use std::time::Duration;

use crate::activity::liveness::{Liveness, Voice};
use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::greeting::Greeting;
use crate::gateway::input::{LinkId, Options};
use crate::gateway::level::LevelState;
use crate::gateway::look::Looks;
use crate::gateway::output::{EventKind, Output};
use crate::gateway::reason::{Evidence, TakeReason};
use crate::gateway::sync::Telling;
use crate::item::{Kind, Position};
use crate::limits::REDIAL_MAX;
use crate::node::{BootId, NodeId, Role};
use crate::planted::{self, RuleFault};
use crate::time::Instant;
use crate::wire::peer::{Heartbeat, Message, Refusal, Stand};

/// What is known of the peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) node: Option<NodeId>,
    pub(super) boot: Option<BootId>,
    pub(super) public_address: String,
    pub(super) listens: Vec<String>,
    /// Its voice, from its first hello until it is lost.
    pub(super) liveness: Option<Liveness>,
    pub(super) stand: Option<Stand>,
    pub(super) highest_counter: u64,
    /// 0 (fails) to 255 (well), as it said last.
    pub(super) health: u8,
    /// Its config has nothing in common with the one here; outlives a link, until another one
    /// shows the contrary.
    pub(super) stranger: bool,
    /// Active side: the standby holds all that was answered; answers wait for its receipts.
    pub(super) standby_in_sync: bool,
    /// Standby side: the active node has said that this node is in sync.
    pub(super) told_in_sync: bool,
    /// Whether it was active when last heard.
    pub(super) was_active: bool,
    /// How far its copies have come; outlives a link.
    pub(super) kept_received: Position,
    pub(super) kept_durable: Position,
    pub(super) config_durable: Position,
    /// Config answers wait for the peer's disk.
    pub(super) config_follows: bool,
    /// Its last sums, to compare at equal positions.
    pub(super) sums: Option<(Position, u64, Position, u64)>,
    pub(super) looks: Looks,
    /// This node was stalled, and what it read since may have waited in the socket: a peer that
    /// lives has dialed again by then.
    no_silence_before: Instant,
    /// This node was stalled then, and its peer has not echoed a later heartbeat since: what is
    /// read may have waited in the socket.
    pub(super) woke: Option<Instant>,
    /// Standby side: in sync, told by such a message; believed with the echo.
    pub(super) told_while_waking: Option<Telling>,
    /// Silence has been put off for a greeting that may be the peer's.
    greeted: bool,
    /// When it last gave a sign: a message, or the end of its link.
    pub(super) last_sign: Instant,
}

impl Peer {
    /// Heard in this run and not lost since.
    pub(super) fn believed_alive(&self) -> bool {
        self.liveness.is_some()
    }

    fn heard(&mut self, now: Instant) {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(now);
        }
        self.last_sign = now;
    }
}

/// When to dial.
#[derive(Debug)]
pub(super) struct Dialer {
    due: Option<Instant>,
    wait: Duration,
    pub(super) dialing: bool,
    /// The question of a start that is still to be asked (not a Backup's: it dials anyway).
    pub(super) question: bool,
}

impl Dialer {
    pub(super) fn new(now: Instant, options: &Options) -> Dialer {
        let due = options.names_peer.then_some(now);
        let question = options.names_peer && options.role != Role::Backup;
        Dialer { due, wait: Duration::ZERO, dialing: false, question }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn soon(&mut self, now: Instant) {
        self.wait = Duration::ZERO;
        self.due = Some(now);
    }

    fn later(&mut self, now: Instant, ping_rate: Duration) {
        self.wait = (self.wait * 2).clamp(ping_rate.min(REDIAL_MAX), REDIAL_MAX);
        self.due = Some(now + self.wait);
    }
}

impl Gateway {
    fn dials(&self) -> bool {
        self.options.role == Role::Backup && self.options.names_peer && !self.stopping
    }

    pub(super) fn dial_time(&mut self) {
        if self.dialer.due.is_none_or(|at| self.now < at) {
            return;
        }
        self.dialer.due = None;
        // A stranger who greets on this node's own port is no reason to wait for it.
        let greets = self.greetings.values().any(Greeting::dialed);
        let busy = self.dialer.dialing || self.link.is_some() || greets;
        if busy && !self.dialer.question {
            return;
        }
        if self.dials() || self.dialer.question {
            self.dialer.dialing = true;
            self.out.push_back(Output::Dial);
        }
    }

    pub(super) fn dial_failed(&mut self) {
        self.dialer.dialing = false;
        self.dialer.question = false;
        self.redial_later();
    }

    pub(super) fn redial_later(&mut self) {
        if self.dials() {
            self.dialer.later(self.now, self.settings.ping_rate());
        }
    }

    pub(super) fn redial_soon(&mut self) {
        if self.dials() {
            self.dialer.soon(self.now);
        }
    }

    /// The peer has said hello: it is heard in this run.
    pub(super) fn hear_hello(&mut self) {
        let Some(link) = &self.link else { return };
        let hello = link.hello.clone();
        let restarted = self.peer.boot.is_some_and(|boot| boot != hello.boot);
        if restarted && self.peer.standby_in_sync {
            self.handover.rest.lost(self.now);
            self.lost_while_active(Evidence::OtherRun);
        }
        if restarted || !hello.in_sync {
            self.peer.standby_in_sync = false;
            self.peer.config_follows = false;
        }
        if restarted {
            self.peer.told_in_sync = false;
        }
        self.peer.node = Some(hello.node.clone());
        self.peer.boot = Some(hello.boot);
        self.peer.health = hello.health;
        if restarted {
            self.forget_choice_of_peer();
            // Another run holds nothing of what was sent.
            Kind::ALL.into_iter().for_each(|kind| self.interrupted.drop_outgoing(kind));
        }
        self.heed_choice(hello.choice.as_ref());
        self.peer.public_address = hello.public_address.clone();
        self.peer.listens = hello.listens.clone();
        self.peer.was_active = hello.stand.counts_as_active();
        self.peer.stand = Some(hello.stand.clone());
        let span = hello.settings.failover_timeout().max(self.settings.ping_rate());
        self.peer.liveness = Some(Liveness::new(self.now, span));
        self.peer.last_sign = self.now;
        self.peer.looks.end();
        // Whoever says hello now is heard now, not out of a socket's buffer.
        self.peer.no_silence_before = Instant::ZERO;
        self.peer.greeted = false;
        self.drop_reserve();
        let named = [hello.stand.taking, hello.stand.term.as_ref().map(|t| t.counter)];
        let highest = named.into_iter().flatten().fold(hello.highest_counter, u64::max);
        if highest > self.ledger.highest_counter {
            self.ledger.highest_counter = highest;
            self.disk.ledger_changed();
        }
        self.peer.highest_counter = self.peer.highest_counter.max(highest);
    }

    /// The peer's driver has said something.
    pub(super) fn hear(&mut self) {
        self.peer.heard(self.now);
    }

    pub(super) fn set_span(&mut self) {
        let span = self.span();
        if let Some(liveness) = &mut self.peer.liveness {
            liveness.set_span(span);
        }
    }

    /// The heartbeat's tick.
    pub(super) fn tick(&mut self) {
        let late = self.now.since(self.next_tick);
        self.next_tick = self.now + self.settings.ping_rate();
        self.words = 0;
        if late > self.span() / 2 && !planted::is(RuleFault::AccuserUnexcused) {
            // This node was stalled: it neither accuses nor counts itself as in sync.
            self.peer.no_silence_before = self.now + self.dial_span();
            if let Some(liveness) = &mut self.peer.liveness {
                liveness.excuse(self.now);
            }
            self.wake();
            if self.peer.told_in_sync {
                self.peer.told_in_sync = false;
                self.say_out_of_sync();
            }
            self.lags.excuse(self.now);
        }
        self.renew_permit();
        self.heartbeat();
        self.transfer_time();
        self.drop_interrupted();
        self.recover();
    }

    pub(super) fn heartbeat(&mut self) {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let id = link.id;
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let echo_us = link.echo.map(|(at, clock)| (clock, micros(self.now.since(at))));
        self.heartbeats += 1;
        let permit_ms = match &self.level {
            LevelState::Active(active) if self.may_act().is_some() => {
                Some(micros(active.permit.until().since(self.now)) / 1000)
            }
            LevelState::Active(_)
            | LevelState::Undecided { .. }
            | LevelState::Standby
            | LevelState::Taking(_) => None,
        };
        let heartbeat = Heartbeat {
            n: self.heartbeats,
            stand: self.stand(),
            kept_received: self.kept.position(),
            kept_durable: self.disk.durable(Kind::Kept),
            config: self.config.position(),
            kept_sum: self.kept.sum(),
            config_sum: self.config.sum(),
            clock_us: self.now.as_micros(),
            echo_us,
            health: self.health(),
            highest_counter: self.ledger.highest_counter,
            permit_ms,
            choice: self.ledger.choice.clone(),
        };
        self.send(id, Message::Heartbeat(heartbeat));
    }

    /// A heartbeat came. Two nodes that both count as active on one link, or a verdict's active
    /// node that is not, must say hello again.
    pub(super) fn heard_heartbeat(&mut self, heartbeat: Heartbeat) {
        self.measure_clock(&heartbeat);
        self.heard_echo(&heartbeat);
        if let Some(link) = &mut self.link {
            link.echo = Some((self.now, heartbeat.clock_us));
        }
        let active = heartbeat.stand.counts_as_active();
        let own = self.stand().counts_as_active();
        self.peer.was_active = active;
        self.peer.stand = Some(heartbeat.stand.clone());
        self.peer.health = heartbeat.health;
        self.heed_choice(heartbeat.choice.as_ref());
        self.peer.sums = Some((
            heartbeat.kept_received,
            heartbeat.kept_sum,
            heartbeat.config,
            heartbeat.config_sum,
        ));
        if active && own {
            self.begin_link_anew("both nodes are active on one link");
            return;
        }
        let named = self.link.as_ref().and_then(|l| l.active.clone());
        if !active && !own && named == self.peer.node {
            self.begin_link_anew("the active node says that it is not");
            return;
        }
        self.heed_counter(heartbeat.highest_counter);
    }

    /// A link has ended without this node's doing.
    pub(super) fn link_ended(&mut self) {
        self.peer.last_sign = self.now;
        self.fence_link_gone();
        self.redial_soon();
        if self.peer.believed_alive() {
            self.reserve();
            self.peer.looks.begin(self.now);
            self.look();
        }
    }

    pub(super) fn watch_due(&self) -> Option<(Instant, &'static str)> {
        let silence = self.peer.liveness.as_ref().map(|l| (l.deadline(), "silence"));
        let asks = self.ask_due().map(|at| (at, "look at its health"));
        let due = [silence, self.peer.looks.due().map(|at| (at, "look")), asks];
        due.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    pub(super) fn watch_time(&mut self) {
        self.look();
        self.ask_active();
        let greeted = self.is_greeted();
        let Some(liveness) = &mut self.peer.liveness else { return };
        if liveness.check(self.now) == Voice::Alive {
            return;
        }
        // A verdict that is on its way decides: taking the level now would be behind its back.
        let first = greeted && !std::mem::replace(&mut self.peer.greeted, greeted);
        if first || self.now < self.peer.no_silence_before {
            liveness.excuse(self.now);
            return;
        }
        if self.seen_active() {
            return;
        }
        self.lost(Evidence::Silence);
    }

    /// Whether this node was stalled a moment ago: what it knows of its peer may be old.
    pub(super) fn was_stalled(&self) -> bool {
        self.now < self.peer.no_silence_before
    }

    /// The peer is judged lost. Its link is closed; whoever is left acts alone.
    pub(super) fn lost(&mut self, evidence: Evidence) {
        let heard = self.now.since(self.peer.last_sign).as_millis();
        let heartbeat = self.peer.liveness.as_ref().map(|l| self.now.since(l.last_heard()));
        let (asks, answers) = self.peer.looks.counts();
        let detail = vec![
            ("evidence", evidence.to_string()),
            ("peer", self.peer.node.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("last_sign_ms", heard.to_string()),
            ("last_heard_ms", heartbeat.map_or(0, |age| age.as_millis()).to_string()),
            ("looks", asks.to_string()),
            ("seen_active", answers.to_string()),
            ("in_sync", (self.peer.told_in_sync || self.peer.standby_in_sync).to_string()),
        ];
        let text = format!("peer lost: {evidence}");
        self.event(Severity::Info, EventKind::Evidence, text, detail);
        if matches!(evidence, Evidence::ProcessGone | Evidence::Silence) {
            self.handover.rest.lost(self.now);
        }
        match &self.level {
            LevelState::Active(_) | LevelState::Taking(_) => self.lost_while_active(evidence),
            LevelState::Undecided { .. } | LevelState::Standby => {
                self.forget_peer();
                self.take(TakeReason::Lost(evidence));
            }
        }
        if let Some(link) = self.take_link() {
            self.close_link(link.id, Refusal::DeclaredLost, evidence.to_string());
        }
        self.peer.told_in_sync = false;
        self.redial_soon();
    }

    /// The standby is lost: what waits for its receipts is answered alone.
    pub(super) fn lost_while_active(&mut self, evidence: Evidence) {
        self.forget_peer();
        self.peer.standby_in_sync = false;
        self.peer.config_follows = false;
        if self.fenced() && evidence != Evidence::OtherRun {
            self.fence_link_gone();
        }
    }

    fn forget_peer(&mut self) {
        self.forget_choice_of_peer();
        self.peer.liveness = None;
        self.peer.looks.end();
        self.out.push_back(Output::StatusChanged);
    }

    /// Closes the link so that both say hello again and a new verdict is made.
    pub(super) fn begin_link_anew(&mut self, why: &str) {
        if let Some(link) = self.take_link() {
            self.close_link(link.id, Refusal::LevelChanged, why);
            self.fence_link_gone();
        }
        self.redial_soon();
    }

    /// The link does not obey the rules of its messages.
    pub(super) fn break_link(&mut self, link: LinkId, reason: Refusal, why: &str) {
        self.close_link(link, reason, why);
        let detail = vec![("reason", format!("{reason:?}"))];
        self.event(Severity::Warning, EventKind::Refused, why, detail);
        if self.link.as_ref().is_some_and(|l| l.id == link) {
            self.take_link();
            self.fence_link_gone();
            self.redial_later();
        }
    }
}
