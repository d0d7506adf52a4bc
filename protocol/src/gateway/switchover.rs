//! Moving the level on purpose, with nothing lost: from the active node to its standby. Here is the
//! side that gives; the side that takes is `offer`.
//!
//! ```text
//! active                                       standby
//! Prepare { counter }  ----------------------> reserves a term with it (fsync)
//!                      <---------------------- Prepared
//! nearly level: permit withdrawn, writes held
//! level: stands by, answers `standby`
//! Commit { counter, last } ------------------> Active in that term
//!                      <---------------------- Took, or Declined (the counter is spent)
//! ```
//!
//! Before the commit the active node can go on alone, and must after half a second of holding
//! writes. After it the level comes back by `Declined`, or by ordinary evidence of loss: never by
//! a timer, and always with a new term.

use std::time::Duration;

use crate::activity::recovery::{Balance, Rest};
use crate::activity::switchover::{Levelled, Next, Switchover};
use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::input::LinkId;
use crate::gateway::level::LevelState;
use crate::gateway::link::Lanes;
use crate::gateway::offer::Offer;
use crate::gateway::output::{EventKind, Output};
use crate::gateway::person::Asker;
use crate::gateway::reason::TakeReason;
use crate::item::{Kind, Position};
use crate::node::Role;
use crate::planted::{self, RuleFault};
use crate::settings::RecoveryMode;
use crate::time::Instant;
use crate::wire::peer::{Choice, Goodbye, Message, PersonReply, SwitchReason};

/// What is under way in either direction.
#[derive(Debug, Default)]
pub(super) struct Handover {
    giving: Option<Giving>,
    /// The other way: the peer may give the level to this node.
    pub(super) offer: Option<Offer>,
    /// Committed: the peer has not said yet that it has the level.
    given: Option<Given>,
    /// How long the other has prepared and held writes, for the event of this activation.
    pub(super) took: Option<(Duration, Duration)>,
    /// The process is to stop: at this time at the latest.
    pub(super) stop_by: Option<Instant>,
    pub(super) rest: Rest,
}

#[derive(Debug)]
struct Giving {
    link: LinkId,
    machine: Switchover,
    why: SwitchReason,
    asker: Option<Asker>,
    /// Whether the peer has been asked to prepare.
    asked: bool,
}

#[derive(Debug)]
struct Given {
    link: LinkId,
    counter: u64,
    why: SwitchReason,
}

impl Handover {
    /// Whether writes are held and rooms have no permit.
    pub(super) fn frozen(&self) -> bool {
        self.giving.as_ref().is_some_and(|giving| giving.machine.frozen())
    }

    /// Whether this node is giving the level and has not committed.
    pub(super) fn is_giving(&self) -> bool {
        self.giving.is_some()
    }

    /// Whether this node has given the level and waits for the peer's word.
    pub(super) fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// Whether this counter is older than that of the level which the peer is to have.
    pub(super) fn gave_later(&self, counter: u64) -> bool {
        self.given.as_ref().is_some_and(|given| counter < given.counter)
    }

    pub(super) fn due(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let giving = self.giving.as_ref().map(|g| (g.machine.due(now), "switchover"));
        let stop = self.stop_by.map(|at| (at, "stop"));
        giving.into_iter().chain(stop).min_by_key(|(at, _)| *at)
    }
}

impl Gateway {
    /// Why the level cannot be given to the peer now; `Ok`: over which link it can.
    pub(super) fn may_give(&self) -> Result<LinkId, &'static str> {
        let LevelState::Active(active) = &self.level else { return Err("this node is not active") };
        if self.handover.is_giving() {
            return Err("a switchover is already under way");
        }
        if self.may_act().is_none() || active.retaking_counter().is_some() {
            return Err("this node's permit is being renewed");
        }
        let Some(link) = self.link.as_ref().filter(|l| l.established()) else {
            return Err("the other node is not connected");
        };
        if link.config_incompatible {
            return Err("the other node's config is incompatible");
        }
        if link.transferring() {
            return Err("a full transfer runs");
        }
        if !self.peer.standby_in_sync || link.leaving {
            return Err("the other node is not in sync");
        }
        if self.peer.health == 0 {
            return Err("the other node is not well");
        }
        Ok(link.id)
    }

    /// Asks the standby to prepare. Nothing is held yet.
    ///
    /// # Errors
    /// Why the level cannot move now.
    pub(super) fn begin_switchover(
        &mut self,
        why: SwitchReason,
        asker: Option<Asker>,
    ) -> Result<(), (&'static str, Option<Asker>)> {
        let link = match self.may_give() {
            Ok(link) => link,
            Err(reason) => return Err((reason, asker)),
        };
        let counter = self.ledger.highest_counter.max(self.peer.highest_counter) + 1;
        let machine = Switchover::new(self.now, counter);
        self.handover.giving = Some(Giving { link, machine, why, asker, asked: false });
        self.ask_to_prepare();
        let text = format!("prepares to hand the level over: {}", why.as_text());
        self.event(Severity::Info, EventKind::Switchover, text, Vec::new());
        Ok(())
    }

    /// A standby that has not yet confirmed that it is in sync would refuse: it is asked then.
    fn ask_to_prepare(&mut self) {
        let confirmed = self.link.as_ref().is_some_and(|l| l.in_sync_confirmed);
        let Some(giving) = self.handover.giving.as_mut().filter(|g| !g.asked && confirmed) else {
            return;
        };
        giving.asked = true;
        let (link, counter, why) = (giving.link, giving.machine.counter(), giving.why);
        self.send(link, Message::Prepare { counter, why });
    }

    /// The peer is ready to take the level, or is not.
    pub(super) fn heard_prepared(&mut self, link: LinkId, counter: u64, reason: Option<String>) {
        self.hear();
        let Some(giving) = &mut self.handover.giving else { return };
        if giving.link != link || giving.machine.counter() != counter {
            return;
        }
        match reason {
            None => giving.machine.ready(),
            Some(reason) => self.abort_switchover(&reason),
        }
    }

    /// Goes on with what is under way. True when the level was given.
    pub(super) fn advance_switchover(&mut self) -> bool {
        let link = self.link.as_ref().filter(|l| l.established()).map(|l| l.id);
        self.watch_given(link);
        let Some(giving) = &self.handover.giving else { return false };
        let highest = self.ledger.highest_counter.max(self.peer.highest_counter);
        let broken = match &self.level {
            LevelState::Active(_) if self.holds_permit().is_none() => Some("this node was stalled"),
            LevelState::Active(_) if link != Some(giving.link) => Some("the link ended"),
            LevelState::Active(_) if !self.peer.standby_in_sync => Some("the standby fell behind"),
            LevelState::Active(_) if giving.machine.counter() <= highest => {
                Some("another term was named")
            }
            LevelState::Active(_) => None,
            LevelState::Undecided { .. } | LevelState::Standby | LevelState::Taking(_) => {
                Some("this node is not active any more")
            }
        };
        if let Some(why) = broken {
            self.abort_switchover(why);
            return false;
        }
        self.ask_to_prepare();
        loop {
            let stand = Levelled {
                head: self.kept.position().sequence,
                received: self.peer.kept_received.sequence,
                rest: !self.sends(Kind::Config) || self.config_caught_up(),
                answered: self.answers.kept_is_answered(),
            };
            let Some(giving) = &mut self.handover.giving else { return false };
            match giving.machine.next(self.now, stand) {
                Next::Wait => return false,
                Next::Freeze if planted::is(RuleFault::FreezeForgotten) => {}
                Next::Freeze => self.out.push_back(Output::PermitWithdrawn),
                Next::Abort(why) => {
                    self.abort_switchover(why);
                    return false;
                }
                Next::Commit => {
                    self.commit_switchover();
                    return true;
                }
            }
        }
    }

    /// A node that stops has nothing more to wait for when the link is gone.
    fn watch_given(&mut self, link: Option<LinkId>) {
        let gone = self.handover.given.as_ref().is_some_and(|given| link != Some(given.link));
        if gone {
            self.handover.given = None;
            if self.handover.stop_by.is_some() {
                self.finish_stop(Goodbye::HandedOver);
            }
        }
    }

    /// The active node goes on in its term: nothing was given.
    pub(super) fn abort_switchover(&mut self, why: &str) {
        let Some(giving) = self.handover.giving.take() else { return };
        let held = giving.machine.times(self.now).1;
        let text = format!("the level was not handed over: {why}");
        let detail = vec![
            ("reason", giving.why.as_text().to_owned()),
            ("why", why.to_owned()),
            ("held_ms", millis(held)),
        ];
        self.event(Severity::Warning, EventKind::Switchover, text, detail);
        self.handover.rest.moved(self.now);
        if let Some(asker) = giving.asker {
            self.reply(asker, PersonReply::Refused { reason: why.to_owned() });
        }
        if self.handover.stop_by.is_some() {
            self.finish_stop(Goodbye::HandedOver);
            return;
        }
        if self.may_act().is_some() {
            if giving.machine.frozen() {
                self.give_permit();
            }
            self.run_held();
        }
        if self.disk.withholds() {
            self.refuse_unstored();
        }
    }

    /// From here on this node is standby, whatever becomes of the commit.
    fn commit_switchover(&mut self) {
        let Some(Giving { link, machine, why, asker, .. }) = self.handover.giving.take() else {
            return;
        };
        let (prepared, held) = machine.times(self.now);
        let (counter, last) = (machine.counter(), self.kept.position());
        self.handover.given = Some(Given { link, counter, why });
        self.step_down(&format!("handed over: {}", why.as_text()));
        self.ledger.highest_counter = self.ledger.highest_counter.max(counter);
        let chosen = self.peer.node.clone().filter(|_| why == SwitchReason::Requested);
        self.ledger.choice = chosen.map(|node| Choice { node, counter });
        self.disk.ledger_changed();
        // The peer holds all of it and waits for this node's receipts from its first answer on.
        self.peer.told_in_sync = true;
        self.begin_kept_anew(None);
        let (prepared_us, held_us) = (micros(prepared), micros(held));
        self.send(link, Message::Commit { counter, last, why, prepared_us, held_us });
        if let Some(asker) = asker {
            self.reply(asker, PersonReply::Accepted);
        }
    }

    /// Kept updates flow the other way from here on. `peer`: where the peer stands, when known.
    pub(super) fn begin_kept_anew(&mut self, peer: Option<Position>) {
        if let Some(link) = &mut self.link {
            let stands = peer.map(|at| (at, Position::default()));
            link.kept = Lanes { stands, receipt_due: true, ..Lanes::default() };
            link.told_in_sync = false;
            link.leaving = false;
            link.told_out = false;
        }
    }

    /// The peer says that it has the level that was given to it.
    pub(super) fn given_was_taken(&mut self, counter: u64) {
        let Some(given) = self.handover.given.take() else { return };
        let text = format!("the peer has taken the level with counter {counter}");
        let detail = vec![("reason", given.why.as_text().to_owned())];
        self.event(Severity::Info, EventKind::Switchover, text, detail);
        if self.handover.stop_by.is_some() {
            self.finish_stop(Goodbye::HandedOver);
        } else if let Some(fault) = self.disk.fault() {
            self.leave_without_disk(fault);
        }
    }

    /// The peer has refused the level that was given to it; its counter is spent.
    pub(super) fn given_was_declined(&mut self) {
        if self.handover.given.take().is_none() {
            return;
        }
        self.ledger.choice = None;
        self.handover.rest.moved(self.now);
        if self.handover.stop_by.is_some() {
            self.finish_stop(Goodbye::HandedOver);
        }
    }

    /// The level goes back to a master that is well again, or to the healthier node.
    pub(super) fn recover(&mut self) {
        if planted::is(RuleFault::TimerAbort) && self.handover.given.take().is_some() {
            self.take(TakeReason::PeerDeclined);
            return;
        }
        let chosen = self.ledger.choice.as_ref().is_some_and(|c| c.node == self.options.node)
            && !planted::is(RuleFault::ChoiceIgnored);
        let automatic = self.settings.master_recovery_mode == RecoveryMode::Automatic;
        let base = Duration::from_millis(self.settings.min_active_hold_ms);
        let rests =
            !self.handover.rest.is_over(self.now, base) && !planted::is(RuleFault::HoldIgnored);
        let balance = Balance {
            recovers: automatic && self.options.role == Role::Backup,
            by_health: self.settings.health_switch,
            chosen,
            rests,
            own: self.health(),
            peer: self.peer.health,
        };
        let Some(why) = balance.moves() else { return };
        if self.handover.stop_by.is_some() || self.disk.failed() {
            return;
        }
        // Whatever stands in its way is looked at again with the next heartbeat.
        let _ = self.begin_switchover(why, None);
    }
}

impl SwitchReason {
    /// What a person reads.
    pub const fn as_text(self) -> &'static str {
        match self {
            SwitchReason::Requested => "on request",
            SwitchReason::Recovery => "back to the master",
            SwitchReason::Stopping => "before a planned stop",
            SwitchReason::DiskFailed => "its disk failed",
            SwitchReason::DiskFull => "its disk is full",
            SwitchReason::Health => "to the healthier node",
        }
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

fn millis(d: Duration) -> String {
    format!("{:.2}", d.as_secs_f64() * 1000.0)
}
