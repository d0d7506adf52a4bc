//! What a client keeps of its session while it has no gateway: identity, place, clock, and since
//! when nobody serves it.

use crate::event::EventPosition;
use crate::failover::input::{Options, PageState, Saved, Transfer};
use crate::failover::outbox::{NodeClock, Outbox};
use crate::limits::CLIENT_BLIP;
use crate::node::{NodeId, PairId};
use crate::session::{Operation, SessionId, Token, WriteId};
use crate::term::Term;
use crate::time::{Instant, SessionClock};
use crate::wire::session::{Bound, ClientMessage};

/// A session as its client knows it.
#[derive(Debug)]
pub(super) struct Session {
    project: String,
    /// Its id and token, while a node may know it.
    pub(super) identity: Option<(SessionId, Token)>,
    /// Names the use of a hand-over token.
    nonce: Option<String>,
    /// A token for a page of the node that serves the session.
    pub(super) handover: Option<Token>,
    /// The last event that came.
    pub(super) last_event: Option<EventPosition>,
    /// Where the user is, as the user wants it.
    pub(super) at: PageState,
    /// The node that served it last.
    pub(super) node: Option<NodeId>,
    /// The pair it belongs to, once it was bound.
    pub(super) pair: Option<PairId>,
    /// That node's clock.
    pub(super) clock: Option<NodeClock>,
    /// That node's clock before a reload.
    clock_before: Option<SessionClock>,
    /// What is still to be told of a move that led to this page.
    pub(super) transfer: Option<Transfer>,
    /// Whether it was bound, here or before a reload: a new one is then one `anew`.
    pub(super) had: bool,
    /// The last operation whose effect the last `open` carried.
    pub(super) said: WriteId,
}

impl Session {
    /// The session of the options.
    pub(super) fn new(options: &Options) -> Session {
        let at = PageState {
            page: options.page.clone(),
            params: options.params.clone(),
            props: options.props.clone(),
        };
        let mut session = Session {
            project: options.project.clone(),
            identity: None,
            nonce: None,
            handover: None,
            last_event: None,
            at,
            node: None,
            pair: None,
            clock: None,
            clock_before: None,
            transfer: None,
            had: false,
            said: WriteId(0),
        };
        if let Some(saved) = options.resume.clone() {
            session.identity = Some((saved.session, saved.token));
            session.nonce = saved.nonce;
            session.last_event = saved.last_event;
            session.node = saved.node;
            session.pair = saved.pair;
            session.clock_before = saved.clock;
            session.transfer = saved.transfer;
            session.had = true;
            if let Some(place) = saved.place {
                session.at = place;
            }
        }
        session
    }

    /// What asks a gateway to take the session: `resume`, or `open` if no node knows it.
    pub(super) fn asks(
        &mut self,
        term: Option<Term>,
        said: WriteId,
        tags: &[String],
    ) -> ClientMessage {
        if let Some((session, token)) = self.identity.clone() {
            let nonce = self.nonce.clone();
            let (last_event, tags) = (self.last_event, tags.to_vec());
            return ClientMessage::Resume { session, token, last_event, term, nonce, tags };
        }
        self.said = said;
        ClientMessage::Open {
            project: self.project.clone(),
            page: self.at.page.clone(),
            params: self.at.params.clone(),
            props: self.at.props.clone(),
            term,
        }
    }

    /// The session is not known any more, or another tab has it.
    pub(super) fn forget(&mut self) {
        self.identity = None;
        self.nonce = None;
        self.handover = None;
    }

    /// A node serves the session: what it says stands, and over it what is still on its way.
    pub(super) fn bound(&mut self, now: Instant, bound: &Bound, outbox: &mut Outbox) {
        let same = self.node.as_ref() == Some(&bound.status.node)
            && self.clock_before.take().is_some_and(|before| before <= bound.clock);
        let clock = NodeClock { told: bound.clock, at: now };
        outbox.rebase(clock, same);
        self.clock = Some(clock);
        self.identity = Some((bound.session.clone(), bound.token.clone()));
        self.nonce = None;
        self.handover = bound.handover.clone();
        self.node = Some(bound.status.node.clone());
        self.pair = bound.status.pair.clone();
        self.at = PageState {
            page: bound.page.clone(),
            params: bound.params.clone(),
            props: bound.props.clone(),
        };
        for operation in outbox.pending_state() {
            self.apply(operation);
        }
    }

    /// What an operation does to the session's own state.
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Props { props } => {
                for (key, value) in props {
                    if value.is_null() {
                        self.at.props.remove(key);
                    } else {
                        self.at.props.insert(key.clone(), value.clone());
                    }
                }
            }
            Operation::Page { page, params } => {
                self.at.page.clone_from(page);
                self.at.params.clone_from(params);
            }
            Operation::Write { .. }
            | Operation::Ack { .. }
            | Operation::Shelve { .. }
            | Operation::Unshelve { .. } => {}
        }
    }

    /// What of a lost operation on the session's state the user still wants.
    pub(super) fn still_wanted(&self, operation: Operation) -> Option<Operation> {
        match operation {
            Operation::Props { mut props } => {
                props.retain(|key, value| match self.at.props.get(key) {
                    Some(now) => now == value,
                    None => value.is_null(),
                });
                (!props.is_empty()).then_some(Operation::Props { props })
            }
            Operation::Page { page, params } => {
                let here = self.at.page == page && self.at.params == params;
                here.then_some(Operation::Page { page, params })
            }
            Operation::Write { .. }
            | Operation::Ack { .. }
            | Operation::Shelve { .. }
            | Operation::Unshelve { .. } => None,
        }
    }

    /// What another page needs to go on.
    pub(super) fn save(&self, outbox: &Outbox, term: Option<&Term>, now: Instant) -> Option<Saved> {
        let (session, token) = self.identity.clone()?;
        let open = self.clock.map(|clock| outbox.save(clock)).unwrap_or_default();
        Some(Saved {
            session,
            token,
            nonce: self.nonce.clone(),
            last_event: self.last_event,
            next_id: outbox.next(),
            open,
            term: term.cloned(),
            pair: self.pair.clone(),
            node: self.node.clone(),
            place: Some(self.at.clone()),
            clock: self.clock.map(|clock| clock.at(now)).or(self.clock_before),
            transfer: self.transfer.clone(),
        })
    }
}

/// A time in which no node serves the session.
#[derive(Debug)]
pub(super) struct Outage {
    /// Its begin.
    pub(super) since: Instant,
    /// Why.
    pub(super) why: String,
    /// Whether the user knows.
    pub(super) told: bool,
}

impl Outage {
    /// When the user is told: a blip is not worth a notice.
    pub(super) fn tell_at(&self) -> Option<Instant> {
        (!self.told).then(|| self.since + CLIENT_BLIP)
    }
}
