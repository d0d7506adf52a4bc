//! Requests: whether they are heard, what they run into, and where they wait for their answers.
//!
//! A request of a client runs under the permit only; while it has run out, it is held. What it
//! changes goes into the log and to the disk as one update, and its answer waits in `answers`.

use crate::event::Era;
use crate::gateway::Gateway;
use crate::gateway::answers::{By, Pending};
use crate::gateway::disk::After;
use crate::gateway::input::{Expected, Request, RequestTicket};
use crate::gateway::level::LevelState;
use crate::gateway::output::{Answer, StoreWrite};
use crate::gateway::person::Asker;
use crate::item::{Change, Kind, bytes_of};
use crate::limits::{ITEMS_MAX_BYTES, ITEMS_RESERVED_BYTES, UPDATE_MAX_BYTES};
use crate::node::Role;
use crate::runtime::execute::outcome_item;
use crate::runtime::{self, Conditions, Elsewhere, Executed};
use crate::session::{Operation, Outcome};
use crate::term::ActivationId;
use crate::time::UnixMs;
use crate::wire::peer::PersonAsk;

impl Gateway {
    pub(super) fn request(&mut self, ticket: RequestTicket, request: Request, wall: UnixMs) {
        self.wall = (self.now, wall);
        if self.answers.full() {
            self.answer(ticket, Answer::Busy);
            return;
        }
        match request {
            Request::Failover { seen } => {
                self.person(Asker::Here(ticket), PersonAsk::Failover, seen);
            }
            Request::Resync => self.person(Asker::Here(ticket), PersonAsk::Resync, None),
            Request::Adopt => self.adopt(Asker::Here(ticket)),
            Request::Config { changes, expect } => self.request_config(ticket, changes, &expect),
            request @ (Request::Open { .. }
            | Request::Operate { .. }
            | Request::Keyed { .. }
            | Request::End { .. }
            | Request::AlarmMoved { .. }
            | Request::ShelfEnded { .. }
            | Request::Keep { .. }) => self.request_kept(ticket, request),
        }
    }

    fn request_config(&mut self, ticket: RequestTicket, changes: Vec<Change>, expect: &[Expected]) {
        let receiving = self.link.as_ref().is_some_and(|l| l.config_from_peer);
        let refusal = if !self.owns_config() || receiving {
            Some(Answer::NotMaster)
        } else if matches!(self.level, LevelState::Undecided { .. }) || self.stopping {
            Some(Answer::Standby)
        } else {
            self.disk.refusal()
        };
        if let Some(refusal) = refusal {
            self.answer(ticket, refusal);
            return;
        }
        let seen = |key| self.config.items().get(key).map(|item| item.changed);
        if let Some(other) = expect.iter().find(|e| seen(&e.key) != e.changed) {
            let key = other.key.clone();
            self.answer(ticket, Answer::Changed { key });
            return;
        }
        if let Some(refusal) = self.too_large(Kind::Config, &changes, ITEMS_MAX_BYTES) {
            self.answer(ticket, refusal);
            return;
        }
        let lineage = match self.config.position().activation {
            ActivationId(0) => ActivationId(self.random.name()),
            lineage => lineage,
        };
        let was_past = self.config.queue_is_past();
        self.append(Kind::Config, lineage, changes, ticket, Outcome::Applied, By::Engineer);
        self.judge_queue(was_past);
        self.ledger.config_complete = true;
        self.config_moved();
    }

    fn request_kept(&mut self, ticket: RequestTicket, request: Request) {
        let (activation, era) = match &self.level {
            // A retake changes the term, not the right to act.
            LevelState::Active(active) => match self.may_act() {
                Some(activation) => {
                    (activation, Era::of(active.activation.term.counter, self.options.role))
                }
                None => {
                    self.answers.held.push_back((self.now, ticket, request));
                    return;
                }
            },
            LevelState::Undecided { .. } | LevelState::Standby | LevelState::Taking(_) => {
                self.answer(ticket, Answer::Standby);
                return;
            }
        };
        if self.disk.refusal().is_some() && self.handover.is_giving() {
            // The other node can store it.
            self.answers.held.push_back((self.now, ticket, request));
            return;
        }
        let by = waits_by(&request);
        let wall = self.wall_now();
        let conditions = Conditions { elsewhere: self.elsewhere(), era };
        let (config, kept) = (self.config.items(), self.kept.items());
        match runtime::execute(&self.definitions, config, kept, &request, wall, conditions) {
            Executed::Changes { .. }
                if self.disk.refusal().is_some() && self.may_have_run(&request) =>
            {
                self.answer(ticket, Answer::Done { outcome: Outcome::Unknown, copies: 0 });
            }
            Executed::Known { .. } if self.disk.withholds() && !self.kept_is_durable() => {
                // What it rests on may be at the peer alone.
                self.answer(ticket, Answer::Done { outcome: Outcome::Unknown, copies: 0 });
            }
            Executed::Changes { changes, outcome } => {
                let too_large = || self.too_large(Kind::Kept, &changes, most_kept(&request));
                if let Some(refusal) = self.disk.refusal().or_else(too_large) {
                    self.answer(ticket, refusal);
                    return;
                }
                self.append(Kind::Kept, activation, changes, ticket, outcome, by);
            }
            Executed::Known { outcome } => {
                self.mark_known(&request);
                // It may rest on an update that is not confirmed yet.
                let sequence = self.kept.position().sequence;
                let pending = Pending { sequence, ticket, outcome, by };
                self.answers.of(Kind::Kept).answers.push_back(pending);
            }
            Executed::Refused(answer) => self.answer(ticket, answer),
        }
    }

    /// Why these changes may not be made: each update must fit into a frame, and all items of a
    /// kind into the memory of both nodes.
    fn too_large(&self, kind: Kind, changes: &[Change], most: usize) -> Option<Answer> {
        let bytes = bytes_of(changes);
        let reason = if bytes > UPDATE_MAX_BYTES {
            format!("{bytes} bytes at once: at most {UPDATE_MAX_BYTES}")
        } else if !self.log(kind).has_room(changes, most) {
            let most = most / 1024 / 1024;
            format!("all {} state may take {most} MiB, and does", kind.as_str())
        } else {
            return None;
        };
        Some(Answer::Refused { reason })
    }

    /// What the other node may have run of what a client sends again.
    fn elsewhere(&self) -> Elsewhere {
        if self.options.pair.is_none() || self.options.role == Role::Independent {
            return Elsewhere::Nothing;
        }
        if self.ledger.out_of_date {
            return Elsewhere::Likely;
        }
        // A standby says where it stands when all that it did alone is merged here.
        let link = self.link.as_ref().filter(|l| l.established());
        match link.is_some_and(|l| l.kept.stands.is_some()) {
            true => Elsewhere::Nothing,
            false => Elsewhere::Possible,
        }
    }

    /// Whether this was sent before, and the other node may have run it.
    fn may_have_run(&self, request: &Request) -> bool {
        let again = matches!(request, Request::Operate { request, .. } if request.resent);
        again && self.elsewhere() != Elsewhere::Nothing
    }

    fn kept_is_durable(&self) -> bool {
        self.kept.position().sequence <= self.disk.durable(Kind::Kept).sequence
    }

    fn append(
        &mut self,
        kind: Kind,
        activation: ActivationId,
        changes: Vec<Change>,
        ticket: RequestTicket,
        outcome: Outcome,
        by: By,
    ) {
        let Some(sequence) = self.append_update(kind, activation, changes) else {
            self.answer(ticket, Answer::NotStored);
            return;
        };
        let pending = Pending { sequence, ticket, outcome, by };
        self.answers.of(kind).answers.push_back(pending);
    }

    /// A kept update that nobody has asked for.
    pub(super) fn append_own(&mut self, activation: ActivationId, changes: Vec<Change>) {
        self.append_update(Kind::Kept, activation, changes);
    }

    fn append_update(
        &mut self,
        kind: Kind,
        activation: ActivationId,
        changes: Vec<Change>,
    ) -> Option<u64> {
        let mut update = self.log(kind).next(activation, changes);
        update.alone = !self.waits_for_peer(kind);
        let position = update.position;
        if !self.log_mut(kind).append(update.clone()) {
            return None;
        }
        if kind == Kind::Kept {
            self.ages.mark(position.sequence, self.now);
        }
        let write = StoreWrite::Update { kind, update: update.clone() };
        self.disk.write(write, After::Durable(kind, position));
        self.answers.of(kind).unshown.push_back(update);
        Some(position.sequence)
    }

    /// The permit is back: what was held runs in its order, unless its deadline has passed.
    pub(super) fn run_held(&mut self) {
        let held = std::mem::take(&mut self.answers.held);
        for (since, ticket, mut request) in held {
            if let Request::Operate { clock, .. } = &mut request {
                let waited = u64::try_from(self.now.since(since).as_millis()).unwrap_or(u64::MAX);
                clock.0 = clock.0.saturating_add(waited);
            }
            self.request_kept(ticket, request);
        }
    }
}

/// How much all kept items may take after this request: what a plant is operated with comes last.
fn most_kept(request: &Request) -> usize {
    let operates = match request {
        Request::Open { .. } | Request::Keep { .. } => false,
        Request::Operate { request, .. } => {
            !matches!(request.operation, Operation::Props { .. } | Operation::Page { .. })
        }
        Request::Keyed { .. }
        | Request::End { .. }
        | Request::AlarmMoved { .. }
        | Request::ShelfEnded { .. }
        | Request::Config { .. }
        | Request::Failover { .. }
        | Request::Resync
        | Request::Adopt => true,
    };
    ITEMS_MAX_BYTES - if operates { 0 } else { ITEMS_RESERVED_BYTES }
}

fn waits_by(request: &Request) -> By {
    if matches!(request, Request::Open { .. }) {
        By::Opener
    } else if outcome_item(request).is_some() {
        // Only what may come again is remembered with its outcome.
        By::Operator
    } else {
        By::Room
    }
}
