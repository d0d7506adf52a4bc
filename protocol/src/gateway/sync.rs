//! Whether the standby holds all that is answered: told, and counted on only once confirmed.
//!
//! ```text
//! active                                      standby
//! InSync { n }       -> answers wait          told; SyncConfirmed { n } -> nothing is alone
//!                       for its receipts
//! (a position is too old)
//! OutOfSync { n }    -> answers still wait    told;  SyncConfirmed { n } -> answered alone
//! ```
//!
//! Each telling has its number: an answer to an older one says nothing. The end of the link alone
//! changes nothing: the standby may believe what it was told last until it is declared lost.

use std::time::Duration;

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::input::LinkId;
use crate::gateway::link::Link;
use crate::gateway::output::{EventKind, Output};
use crate::item::{Kind, Position};
use crate::limits::{DURABLE_LAG_MAX, OUT_OF_SYNC_REST};
use crate::planted::{self, RuleFault};
use crate::replication::lag::Lag;
use crate::time::Instant;
use crate::wire::peer::{Heartbeat, Message, Refusal};

/// How old the standby's positions are.
#[derive(Debug)]
pub(super) struct Lags {
    received: Lag,
    durable: Lag,
    config: Lag,
}

impl Lags {
    pub(super) fn new(limit: Duration) -> Lags {
        Lags {
            received: Lag::new(limit),
            durable: Lag::new(DURABLE_LAG_MAX),
            config: Lag::new(DURABLE_LAG_MAX),
        }
    }

    fn each(&mut self) -> [&mut Lag; 3] {
        [&mut self.received, &mut self.durable, &mut self.config]
    }

    /// This node was stalled: receipts wait in its socket.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.each().into_iter().for_each(|lag| lag.excuse(now));
    }

    fn clear(&mut self) {
        self.each().into_iter().for_each(Lag::clear);
    }

    fn due(&self) -> Option<Instant> {
        let all = [&self.received, &self.durable, &self.config];
        all.into_iter().filter_map(Lag::due).min()
    }

    fn are_well(&self, now: Instant) -> bool {
        [&self.received, &self.durable, &self.config].into_iter().all(|lag| lag.is_well(now))
    }

    /// What is too old.
    fn over(&self, now: Instant) -> Option<&'static str> {
        [
            (&self.received, "what it has received is older than sync_lag_max_ms"),
            (&self.durable, "what it has stored is more than 5 s old"),
            (&self.config, "the config that it has stored is more than 5 s old"),
        ]
        .into_iter()
        .find_map(|(lag, why)| lag.is_over(now).then_some(why))
    }
}

/// Standby side: what an active node says with `InSync`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    pub(super) link: LinkId,
    pub(super) kept: Position,
    pub(super) config: Position,
    pub(super) n: u64,
}

impl Gateway {
    /// The link over which a standby that lags is to be told so.
    fn lag_judged(&self) -> Option<LinkId> {
        let waits = self.is_active() && self.peer.standby_in_sync && !self.handover.is_giving();
        let link = self.link.as_ref().filter(|l| waits && l.established() && !l.leaving)?;
        self.holds_permit().map(|_| link.id)
    }

    pub(super) fn lag_due(&self) -> Option<(Instant, &'static str)> {
        let due = self.lags.due();
        due.filter(|_| self.lag_judged().is_some()).map(|at| (at, "lag of the standby"))
    }

    /// Looks at how old the standby's positions are, and tells it when they are too old.
    pub(super) fn judge_lag(&mut self) {
        if !self.is_active() {
            self.lags.clear();
            return;
        }
        let link = self.link.as_ref().filter(|l| l.established());
        let durable = |kind: Kind| {
            link.and_then(|l| l.lanes(kind).sender.as_ref()).map_or(0, |s| s.durable().sequence)
        };
        let (kept, config) = (durable(Kind::Kept), durable(Kind::Config));
        let (now, head) = (self.now, self.kept.position().sequence);
        self.lags.received.set_limit(self.settings.sync_lag_max());
        self.lags.received.note(now, head, self.peer.kept_received.sequence);
        self.lags.durable.note(now, head, kept);
        if self.sends(Kind::Config) {
            self.lags.config.note(now, self.config.position().sequence, config);
        } else {
            self.lags.config.clear();
        }
        let (Some(id), Some(why)) = (self.lag_judged(), self.lags.over(now)) else { return };
        let kept = self.peer.kept_received;
        let Some(link) = &mut self.link else { return };
        link.told_in_sync = false;
        link.in_sync_confirmed = false;
        link.leaving = true;
        link.tellings += 1;
        let n = link.tellings;
        if planted::is(RuleFault::AloneUnconfirmed) {
            self.peer.standby_in_sync = false;
        }
        self.send(id, Message::OutOfSync { kept, n });
        let text = format!("the standby falls out of sync: {why}");
        let behind = head.saturating_sub(kept.sequence);
        let facts = vec![("reason", why.to_owned()), ("behind", behind.to_string())];
        self.event(Severity::Info, EventKind::Sync, text, facts);
    }

    /// Tells the standby when it holds all that was answered. Everything before is ahead of this
    /// message on the same connection, so that the standby has it when it reads it.
    pub(super) fn judge_sync(&mut self) {
        let config_follows = self.config_caught_up();
        if config_follows {
            self.peer.config_follows = true;
        }
        if !self.is_active() {
            return;
        }
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let caught_up = link.kept.sender.as_ref().is_some_and(|s| {
            s.all_sent(&self.kept) && s.received().sequence >= self.behind_at_most()
        });
        let caught_up = caught_up && self.lags.are_well(self.now) && !self.rests_out(link);
        let config_done = config_follows || link.config_from_peer || link.config_incompatible;
        let lags = self.lags.over(self.now).is_some();
        let caught_up = caught_up || (planted::is(RuleFault::InSyncEarly) && !lags);
        if link.told_in_sync || !caught_up || !config_done || self.peer.health == 0 {
            return;
        }
        let (kept, config) = (self.kept.position(), self.config.position());
        let Some(link) = &mut self.link else { return };
        link.told_in_sync = true;
        link.in_sync_confirmed = false;
        link.leaving = false;
        link.tellings += 1;
        let (id, n) = (link.id, link.tellings);
        self.peer.standby_in_sync = true;
        self.send(id, Message::InSync { kept, config, n });
        self.out.push_back(Output::StatusChanged);
    }

    /// Whether the standby is being told that it is out of sync, or was a moment ago.
    fn rests_out(&self, link: &Link) -> bool {
        link.leaving || link.out_since.is_some_and(|at| self.now.since(at) < OUT_OF_SYNC_REST)
    }

    /// A joining standby may be a few updates behind the newest when it is told.
    fn behind_at_most(&self) -> u64 {
        self.kept.position().sequence.saturating_sub(64)
    }

    pub(super) fn config_caught_up(&self) -> bool {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return false };
        let head = self.config.position();
        link.config.sender.as_ref().is_some_and(|s| {
            !s.transferring() && s.received() == head && (s.durable() == head || head.sequence == 0)
        })
    }

    /// The standby confirms what it was told, or counts itself out after a stall: then it is told
    /// again.
    pub(super) fn heard_confirmed(&mut self, in_sync: bool, n: u64) {
        let acts = self.is_active();
        let Some(link) = self.link.as_mut().filter(|_| acts) else { return };
        if n != 0 && n != link.tellings {
            return;
        }
        if in_sync {
            if n != 0 && link.told_in_sync {
                link.in_sync_confirmed = true;
                self.event(Severity::Info, EventKind::Sync, "the standby is in sync", Vec::new());
                self.all_shared();
            }
        } else if n == 0 {
            link.told_in_sync = false;
            link.in_sync_confirmed = false;
        } else if std::mem::take(&mut link.leaving) {
            link.out_since = Some(self.now);
            self.peer.standby_in_sync = false;
            self.peer.config_follows = false;
            let text = "the standby is out of sync: this node answers alone";
            self.event(Severity::Info, EventKind::Sync, text, Vec::new());
            self.out.push_back(Output::StatusChanged);
        }
    }

    /// This node was stalled: what waits in its sockets is from before.
    pub(super) fn wake(&mut self) {
        if !planted::is(RuleFault::OldTellingTrusted) {
            self.peer.woke = Some(self.now);
        }
        self.peer.told_while_waking = None;
    }

    /// The peer echoes a heartbeat that this node sent after its stall: what follows is fresh.
    pub(super) fn heard_echo(&mut self, heartbeat: &Heartbeat) {
        let echoed = heartbeat.echo_us.map(|(sent, _)| sent);
        let woke = self.peer.woke.map(Instant::as_micros);
        if woke.is_none() || echoed < woke {
            return;
        }
        self.peer.woke = None;
        let telling = self.peer.told_while_waking.take();
        let link = self.link.as_ref().map(|l| l.id);
        if let Some(telling) = telling.filter(|t| Some(t.link) == link) {
            self.heard_in_sync(telling);
        }
    }

    /// All that was answered is here. After a stall that may have been true long ago: it is
    /// believed, and confirmed, with the first echo.
    pub(super) fn heard_in_sync(&mut self, telling: Telling) {
        if self.peer.woke.is_some() {
            self.peer.told_while_waking = Some(telling);
            return;
        }
        let Telling { link, kept, config, n } = telling;
        let here = self.kept.position();
        if here.sequence < kept.sequence {
            self.break_link(link, Refusal::Unexpected, "in sync at a position that is not here");
            return;
        }
        self.peer.told_in_sync = true;
        if let Some(link) = &mut self.link {
            link.told_out = false;
        }
        self.ledger.out_of_date = false;
        let complete = config.sequence == 0 || self.config.position() == config;
        if complete && !self.ledger.config_complete {
            self.ledger.config_complete = true;
        }
        self.nothing_alone();
        self.send(link, Message::SyncConfirmed { kept, in_sync: true, n });
        self.event(Severity::Info, EventKind::Sync, "in sync with the active node", Vec::new());
        self.out.push_back(Output::StatusChanged);
    }

    /// The active node goes on alone once it knows that this node knows.
    pub(super) fn heard_out_of_sync(&mut self, n: u64) {
        self.hear();
        self.peer.told_in_sync = false;
        self.peer.told_while_waking = None;
        let kept = self.kept.position();
        let Some(link) = &mut self.link else { return };
        link.told_out = true;
        let id = link.id;
        self.send(id, Message::SyncConfirmed { kept, in_sync: false, n });
        let text = "out of sync: the active node answers alone";
        self.event(Severity::Info, EventKind::Sync, text, Vec::new());
        self.out.push_back(Output::StatusChanged);
    }

    /// This node was stalled: it does not count itself in sync until it is told again.
    pub(super) fn say_out_of_sync(&mut self) {
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else { return };
        let (id, kept) = (link.id, self.kept.position());
        self.send(id, Message::SyncConfirmed { kept, in_sync: false, n: 0 });
        self.out.push_back(Output::StatusChanged);
    }
}
