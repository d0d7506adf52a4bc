//! Looks at a peer that is not heard: is its process gone, or only the way to it?
//!
//! ```text
//! link ends --> two connects to each port, 5 ms apart -- all refused --> process gone: lost
//! link ends, or half the span of silence --> GET /health/active every ping_rate
//!                 active, the same run --> the link is broken, not the node: no takeover;
//!                                          these answers stand in place of heartbeats
//!                 nothing of that kind --> no evidence: silence decides, and takes no longer
//! ```

use std::time::Duration;

use crate::activity::liveness::Liveness;
use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::input::{ActiveAnswer, LookId};
use crate::gateway::level::LevelState;
use crate::gateway::output::{EventKind, Output};
use crate::gateway::reason::Evidence;
use crate::planted::{self, RuleFault};
use crate::time::Instant;

/// A look at the ports that shows nothing is repeated this soon: a listener may close a moment
/// later.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The looks at one peer, since it was last heard.
#[derive(Debug, Default)]
pub(super) struct Looks {
    count: u64,
    /// At its ports.
    under_way: Option<LookId>,
    next: Option<Instant>,
    /// At its health: when it was last asked, and when it last said that it is active.
    asked: Option<Instant>,
    active: Option<Instant>,
    /// Whether the peer is known to live behind a broken link.
    broken: bool,
    /// How many questions were asked, and how many of them were answered by an active peer.
    asks: u64,
    answers: u64,
}

impl Looks {
    /// The link has ended.
    pub(super) fn begin(&mut self, now: Instant) {
        self.next = Some(now);
    }

    /// The peer was heard, or is lost.
    pub(super) fn end(&mut self) {
        *self = Looks { count: self.count, ..Looks::default() };
    }

    /// When to look at the ports again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.under_way.is_none())
    }

    /// Whether the link is broken and the peer lives.
    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// How often the peer was asked, and how often it answered as an active node.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.asks, self.answers)
    }

    fn id(&mut self) -> LookId {
        self.count += 1;
        LookId(self.count)
    }
}

impl Gateway {
    pub(super) fn look(&mut self) {
        if self.peer.looks.due().is_none_or(|at| self.now < at) {
            return;
        }
        self.peer.looks.next = None;
        if self.link.is_some() || !self.settings.trust_refused_connection {
            return;
        }
        let look = self.peer.looks.id();
        self.peer.looks.under_way = Some(look);
        let listens = self.peer.listens.clone();
        self.out.push_back(Output::Look { look, listens });
    }

    pub(super) fn looked(&mut self, look: LookId, all_refused: bool) {
        if self.peer.looks.under_way != Some(look) {
            return;
        }
        self.peer.looks.under_way = None;
        if self.link.is_some() || !self.peer.believed_alive() {
            return;
        }
        let all_refused = all_refused || planted::is(RuleFault::LookTrusted);
        if all_refused && self.settings.trust_refused_connection && !self.peer.listens.is_empty() {
            self.lost(Evidence::ProcessGone);
        } else {
            let ping_rate = self.settings.ping_rate();
            let again = if self.peer.looks.broken { ping_rate } else { ping_rate.min(LOOK_AGAIN) };
            self.peer.looks.next = Some(self.now + again);
        }
    }

    /// When to ask the peer's health. Only a node that might take the level asks.
    pub(super) fn ask_due(&self) -> Option<Instant> {
        let liveness = self.peer.liveness.as_ref()?;
        let waits = matches!(self.level, LevelState::Standby | LevelState::Undecided { .. });
        if !waits || self.peer.listens.is_empty() {
            return None;
        }
        let from = match &self.link {
            Some(_) => liveness.last_heard() + self.span() / 2,
            None => liveness.last_heard(),
        };
        let next = self.peer.looks.asked.map(|at| at + self.settings.ping_rate());
        Some(next.map_or(from, |next| next.max(from)))
    }

    pub(super) fn ask_active(&mut self) {
        if self.ask_due().is_none_or(|at| self.now < at) {
            return;
        }
        self.peer.looks.asked = Some(self.now);
        self.peer.looks.asks += 1;
        let look = self.peer.looks.id();
        let listens = self.peer.listens.clone();
        self.out.push_back(Output::AskActive { look, listens });
    }

    /// The peer's health has answered, or nothing has. Only the run that was heard counts, and
    /// only while it says that it is active under its permit.
    pub(super) fn asked_active(&mut self, answer: Option<ActiveAnswer>) {
        let heard = self.peer.liveness.as_ref().map(Liveness::last_heard);
        let silent = heard.is_some_and(|at| self.now >= at + self.span() / 2);
        if self.link.is_some() && !silent {
            return;
        }
        let known = |a: &ActiveAnswer| {
            Some(&a.node) == self.peer.node.as_ref() && Some(a.boot) == self.peer.boot
        };
        if answer.is_some_and(|answer| known(&answer) && answer.active) {
            self.peer.looks.active = Some(self.now);
            self.peer.looks.answers += 1;
        }
    }

    /// The span of silence is over. True: the peer was seen active in it, and has one more.
    pub(super) fn seen_active(&mut self) -> bool {
        let Some(liveness) = &mut self.peer.liveness else { return false };
        let Some(at) = self.peer.looks.active.filter(|at| *at > liveness.last_heard()) else {
            return false;
        };
        liveness.heard(at);
        self.peer.last_sign = at;
        if !self.peer.looks.broken {
            self.peer.looks.broken = true;
            self.peer.told_in_sync = false;
            let text = "the link is broken, the peer is active: the level stays there";
            let (asks, answers) = self.peer.looks.counts();
            let detail = vec![("looks", asks.to_string()), ("seen_active", answers.to_string())];
            self.event(Severity::Warning, EventKind::Evidence, text, detail);
            self.out.push_back(Output::StatusChanged);
            if self.link.is_some() {
                self.begin_link_anew("nothing is heard over it, and the peer is active");
                self.peer.looks.begin(self.now);
            }
        }
        true
    }
}
