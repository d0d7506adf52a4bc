//! What comes out of a node's door, done as the real rooms do it, under the checkers' eyes.

use tandem_protocol::gateway::input::{Input, Items, StoreTicket, Stored};
use tandem_protocol::gateway::output::{EventKind, GatewayEvent, Lane, Output, Permit, StoreWrite};
use tandem_protocol::item::{Kind, Update};
use tandem_protocol::runtime::records::{self, Counted};
use tandem_protocol::term::ActivationId;
use tandem_protocol::time::Instant;
use tandem_protocol::wire::peer::Message;

use super::skew::Way;
use super::{Event, World};
use crate::sim::check::Rule;
use crate::sim::network::{Cargo, Host, Micros};
use crate::sim::node::ForDriver;
use crate::sim::planted::Plant;

/// A store whose end was told before it came has a ticket above this.
const CLAIMED: u64 = u64::MAX / 2;

impl World {
    /// Does one output; true when the door has nothing more to say.
    pub(super) fn output(&mut self, host: Host, output: Output) -> bool {
        match output {
            Output::Timeout { at, .. } => {
                let at = self.virtual_time(host, at);
                if let Some(run) = &mut self.nodes[host].run {
                    run.timer = Some(at);
                }
                return true;
            }
            Output::Send { link, lane, message } => self.send(host, link, lane, message),
            Output::Dial => self.dial(host, None),
            Output::DialBulk { link, proof } => {
                self.expect(host, link, proof);
                self.dial(host, Some((link, proof)));
            }
            Output::ExpectBulk { link, proof } => self.expect(host, link, proof),
            Output::CloseLink { link, reason, detail } => {
                let id = self.nodes[host].id.clone();
                self.line(|| format!("{id} closes its link: {reason:?} {detail}"));
                self.close_link(host, link);
            }
            Output::Look { look, .. } => self.look(host, look),
            Output::AskActive { look, .. } => self.ask_active(host, look),
            Output::Store { ticket, writes } => self.store(host, ticket, writes),
            Output::Answer { ticket, answer } => self.answered(host, ticket, answer),
            Output::Show { kind, updates, items } => {
                self.shown(host, kind, &updates, items);
            }
            Output::Reload { kind, items } => self.shown(host, kind, &[], items),
            Output::StatusChanged => self.status_changed(host),
            Output::Permit(permit) => self.permitted(host, permit),
            Output::PermitWithdrawn => self.withdrawn(host),
            Output::Event(event) => self.event(host, &event),
            Output::Exit { reason, detail } => {
                let text = format!("{} exits: {reason:?} {detail}", self.nodes[host].id);
                self.fail(Rule::NoExit, text);
            }
            Output::Stopped => self.stopped(host),
        }
        false
    }

    fn virtual_time(&self, host: Host, at: Instant) -> Micros {
        at.as_micros().saturating_sub(self.nodes[host].offset).max(self.now)
    }

    fn send(
        &mut self,
        host: Host,
        link: tandem_protocol::gateway::input::LinkId,
        lane: Lane,
        message: Message,
    ) {
        if self.settling
            && self.plant == Some(Plant::VerdictLost)
            && matches!(message, Message::Verdict(_))
        {
            return;
        }
        if matches!(message, Message::Commit { .. }) {
            self.after(0, Event::Committed(host));
        }
        self.note_transfer(host, &message);
        let Some(run) = &mut self.nodes[host].run else { return };
        let Some(entry) = run.links.get_mut(&link) else { return };
        let side = usize::from(!entry.dialed);
        let pipe = match lane {
            Lane::Control => crate::sim::network::PipeId(link.0),
            Lane::Bulk => match entry.bulk {
                Some(pipe) => pipe,
                None => return entry.waiting.push(message),
            },
        };
        self.send_peer(pipe, side, message);
    }

    /// Sends a peer message on a connection.
    pub(super) fn send_peer(
        &mut self,
        pipe: crate::sim::network::PipeId,
        side: usize,
        message: Message,
    ) {
        let from = self.network.pipe(pipe).map_or(0, |pipe| pipe.ends[side].host);
        let message = Way::of(self.plan.seed, from).through(message);
        if !matches!(message, Message::Heartbeat(_) | Message::Live { .. }) {
            let text = || format!("wire {pipe:?} side {side} {message:?}");
            self.line(|| text().chars().take(400).collect());
        }
        let arrival = self.network.send(self.now, pipe, side, Cargo::Peer(Box::new(message)));
        self.arrive(arrival);
    }

    /// The level came by this reason: a recovery rests before, and a person's choice stands.
    fn switched(&mut self, host: Host, reason: &str) {
        let hold = self.plan.settings.min_active_hold_ms * 1_000;
        if reason.contains("back to the master") || reason.contains("healthier") {
            let back = self.witness.goes_back(self.now, hold, host);
            self.check(back);
        } else if reason.contains("join wait") {
            // It has waited in vain for the other one: that one counts as lost.
            self.witness.chooses(None, Some(1 - host));
        } else if reason.contains("on request") {
            self.witness.chooses(Some(host), None);
        } else if reason.contains("disk") || reason.contains("cannot store") {
            // A choice is over with the level that a fault has taken.
            self.witness.chooses(None, Some(1 - host));
        }
        self.witness.moved(self.now, host);
    }

    fn store(&mut self, host: Host, ticket: StoreTicket, mut writes: Vec<StoreWrite>) {
        self.bend(host, &mut writes);
        let life = self.nodes[host].life;
        let mut config = false;
        let mut saved = Items::new();
        for write in &writes {
            if let StoreWrite::Archive { kind: Kind::Kept, items, .. } = write {
                saved.extend(items.iter().cloned());
            }
            let Some(run) = &self.nodes[host].run else { return };
            match write {
                StoreWrite::Install { kind, items, archive, .. } => {
                    let old = run.memory.kind(*kind).items.clone();
                    self.installs(host, *kind, (&old, items), archive.as_deref(), &saved);
                    config |= *kind == Kind::Config;
                }
                StoreWrite::Update { kind: Kind::Config, .. } => config = true,
                StoreWrite::Update { kind: Kind::Kept, update } => {
                    let clock = self.nodes[host].session_clock(self.now);
                    let runs = self.witness.runs(&self.nodes[host], update, clock);
                    self.check(runs);
                }
                StoreWrite::Archive { .. } | StoreWrite::Ledger(_) => {}
            }
            if let Some(run) = &mut self.nodes[host].run {
                run.memory.apply(write);
            }
        }
        let receives = self.witness.receives(self.now, (host, life), &writes);
        self.check(receives);
        if config {
            let seen = self.witness.config(&self.nodes[host], host == self.plan.master);
            self.check(seen);
        }
        let claimed = match self.plant {
            Some(Plant::TermClaimed) => writes.iter().any(|w| matches!(w, StoreWrite::Ledger(_))),
            Some(Plant::UpdateClaimed) => {
                writes.iter().any(|w| matches!(w, StoreWrite::Update { kind: Kind::Kept, .. }))
            }
            _ => false,
        };
        if claimed {
            let stored = Input::Stored { ticket, how: Stored::Durable };
            if let Some(run) = &mut self.nodes[host].run {
                run.driver.push_back(ForDriver::Input(Box::new(stored)));
            }
        }
        let ticket = if claimed { StoreTicket(ticket.0 | CLAIMED) } else { ticket };
        self.nodes[host].disk.push(ticket, writes);
        self.write(host);
    }

    fn installs(
        &mut self,
        host: Host,
        kind: Kind,
        (old, new): (&Items, &Items),
        archive: Option<&str>,
        saved: &Items,
    ) {
        let id = self.nodes[host].id.clone();
        let count = saved.len();
        self.line(|| format!("{id} installs {kind:?}, archive {archive:?}, {count} items saved"));
        match kind {
            Kind::Config => {}
            Kind::Kept => match self.witness.replaces(&self.nodes[host], old, new, saved) {
                Ok(_) if !saved.is_empty() => self.tally.case("unanswered tail archived"),
                Ok(_) => {}
                Err((rule, text)) => self.fail(rule, text),
            },
        }
    }

    /// What planted faults do to a store.
    fn bend(&mut self, host: Host, writes: &mut [StoreWrite]) {
        let plant = self.plant;
        let backup = host != self.plan.master;
        for write in writes {
            match (plant, write) {
                (Some(Plant::ConfigBent), StoreWrite::Update { kind: Kind::Config, update })
                    if backup =>
                {
                    update.changes.pop();
                }
                (Some(Plant::RunTwice), StoreWrite::Update { kind: Kind::Kept, update }) => {
                    double(update);
                }
                (Some(Plant::ArchiveSkipped), StoreWrite::Archive { items, .. }) => items.clear(),
                _ => {}
            }
        }
    }

    /// Whether a planted fault has told the end of this store before.
    pub(super) fn plant_claims(&self, ticket: StoreTicket) -> bool {
        self.plant.is_some() && ticket.0 >= CLAIMED
    }

    fn permitted(&mut self, host: Host, mut permit: Permit) {
        if self.plant == Some(Plant::SharedActivation) {
            permit.activation = ActivationId(7);
        }
        let clock = self.nodes[host].clock(self.now);
        let length = self.plan.settings.permit_length();
        if self.plant == Some(Plant::PermitLong) {
            permit.until = clock + length * 4;
        }
        if permit.until > clock + length {
            let text = format!("a permit of {:?}", permit.until.since(clock));
            return self.fail(Rule::PermitShort, text);
        }
        let Some(run) = &mut self.nodes[host].run else { return };
        let before = run.permit.replace(permit.clone());
        let first = before.as_ref().is_none_or(|p| p.activation != permit.activation);
        if first && run.hub.activation != Some(permit.activation) {
            run.hub.activation = Some(permit.activation);
            let id = self.nodes[host].id.clone();
            let (term, at) = (permit.term.clone(), permit.activation);
            self.line(|| format!("{id} acts under {term} ({at})"));
            let archives = [self.nodes[0].disk.archives(), self.nodes[1].disk.archives()];
            let begins = self.witness.begins(&self.nodes[host], &permit.term, at, &archives);
            if self.plant != Some(Plant::SharedActivation) {
                self.check(begins);
            }
        }
        self.acts(host);
        self.hub_opens(host);
    }

    fn withdrawn(&mut self, host: Host) {
        if self.plant == Some(Plant::PermitKept) {
            return;
        }
        if let Some(run) = &mut self.nodes[host].run {
            run.permit = None;
        }
    }

    /// A room has an effect: under the permit, alone.
    pub(super) fn acts(&mut self, host: Host) {
        let Some((_, activation)) = self.may_act(host) else { return };
        let acts = self.witness.acts(self.nodes[host].end(), activation);
        self.check(acts);
        let other = &self.nodes[1 - host];
        let both = other.run.is_some() && self.may_act(1 - host).is_some();
        if both && !self.excused() {
            let text = format!("{} acts, {} may too", self.nodes[host].id, other.id);
            self.fail(Rule::TwoWriters, text);
        } else if both {
            self.both_active = true;
        }
    }

    /// The permit as rooms see it.
    pub(super) fn may_act(
        &self,
        host: Host,
    ) -> Option<(tandem_protocol::term::Term, ActivationId)> {
        let node = &self.nodes[host];
        if self.plant == Some(Plant::PermitKept) {
            let permit = node.run.as_ref()?.permit.as_ref()?;
            return Some((permit.term.clone(), permit.activation));
        }
        node.allows(self.now)
    }

    fn excused(&self) -> bool {
        let cut = !self.network.up(0, 1) || !self.network.up(1, 0);
        cut || self.bad_links > 0 || self.now <= self.excused_until
    }

    fn event(&mut self, host: Host, event: &GatewayEvent) {
        let id = self.nodes[host].id.clone();
        self.line(|| format!("{id} [{}] {}", event.kind.as_str(), event.text));
        self.weighs(host, event);
        match event.kind {
            EventKind::Evidence if event.text.starts_with("peer lost") => {
                self.witness.declares(host, true);
                self.witness.chooses(None, Some(1 - host));
            }
            EventKind::Fence if event.text.contains("stayed away") => {
                self.witness.declares(host, true);
            }
            EventKind::Sync if event.text.contains("in sync") => self.witness.declares(host, false),
            _ => {}
        }
        let detail = |name: &str| {
            event
                .detail
                .iter()
                .find(|(key, _)| *key == name)
                .map_or("", |(_, value)| value.as_str())
        };
        match event.kind {
            EventKind::Level if detail("to") == "Active" => {
                let reason = detail("reason");
                self.tally.case(takeover_case(reason));
                if detail("from") != "Active" {
                    self.switched(host, reason);
                }
                if reason == "newer state" || reason == "master" {
                    let (node, other) = (&self.nodes[host], &self.nodes[1 - host]);
                    let first = self.witness.starts_first(node, other);
                    self.check(first);
                }
                let ledger = self.nodes[host].run.as_ref().map(|run| &run.memory.ledger);
                if ledger.is_some_and(|ledger| ledger.out_of_date) {
                    self.tally.case("took the level while out of sync");
                }
                if self.nodes[host].run.as_ref().is_some_and(|run| run.told_out) {
                    self.tally.case("out of sync takeover");
                }
            }
            EventKind::Level if event.text.contains("handed over: on request") => {
                // Whoever takes it is the choice from here on.
                self.witness.chooses(None, Some(host));
            }
            EventKind::Level if event.text.contains("declined") => {
                self.tally.case("switchover declined");
            }
            EventKind::Disk if event.text.contains("failed") => self.tally.case("disk failed"),
            EventKind::Disk if event.text.contains("again") => {
                self.tally.case("full disk got space again");
            }
            EventKind::Disk if event.text.contains("full") => self.tally.case("full disk"),
            EventKind::Switchover if event.text.contains("not handed over") => {
                let why = detail("why");
                self.line(|| format!("{id} keeps the level: {why}"));
                self.tally.case("switchover given up");
            }
            EventKind::Sync if event.text.contains("in sync with the active node") => {
                self.note_sync(host, false);
            }
            EventKind::Sync if event.text.starts_with("out of sync") => {
                self.tally.case("standby told out of sync");
                self.note_sync(host, true);
            }
            EventKind::Sync if !detail("report").is_empty() => {
                let count = |name: &str| detail(name).parse::<u64>().unwrap_or(0);
                self.tally.case("both worked, merged");
                if count("replaced") > 0 {
                    self.tally.case("both changed one item");
                }
            }
            EventKind::Fence => {
                let text = event.text.as_str();
                let case = match () {
                    () if text.contains("alone") => "stalled alone and went on",
                    () if text.contains("permit ran out") => "fenced",
                    () if text.contains("goes on") => "fenced and went on",
                    () if text.contains("stayed away") => "fenced and took a new term",
                    () if text.contains("does not answer") => "fenced and not answered",
                    () => "fenced",
                };
                self.tally.case(case);
            }
            _ => {}
        }
    }
}

impl World {
    fn note_sync(&mut self, host: Host, told_out: bool) {
        if let Some(run) = &mut self.nodes[host].run {
            run.told_out = told_out;
        }
    }
}

/// Which case a takeover's reason is.
fn takeover_case(reason: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    match () {
        () if has(&["higher counter"]) => "peer named a higher term",
        () if has(&["switchover"]) => "takeover: switchover",
        () if has(&["gone"]) => "takeover: process gone",
        () if has(&["silent"]) => "takeover: silence",
        () if has(&["stopped", "left", "handed over"]) => "takeover: goodbye",
        () if has(&["both active"]) => "takeover: stays after both were active",
        () if has(&["join wait"]) => "takeover: alone after the join wait",
        () if has(&["stalled"]) => "takeover: a fence that ended alone",
        () if has(&["master", "newer state", "config"]) => "takeover: verdict of a start",
        () => "takeover: other",
    }
}

fn double(update: &mut Update) {
    for change in &mut update.changes {
        if change.key.provider == "counted" && change.body.is_some() {
            change.body = Some(records::encode(&Counted { times: 2 }));
        }
    }
}
