//! A scripted gateway: it answers at once what a node would answer, and remembers what it heard.

use std::collections::VecDeque;

use crate::event::EventPosition;
use crate::failover::input::ConnId;
use crate::node::{BootId, Level, Role, SyncState};
use crate::session::{Outcome, Request, SessionId, Token, WriteId};
use crate::status::{NodeAddress, Status};
use crate::term::Term;
use crate::time::{Instant, SessionClock};
use crate::wire::session::{Bound, ClientMessage, CloseReason, Object, ServerMessage};

/// A scripted gateway.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) url: String,
    pub(super) name: &'static str,
    /// Whether its port is open.
    pub(super) up: bool,
    pub(super) frozen: bool,
    pub(super) active: bool,
    pub(super) counter: u64,
    /// Sessions that it knows.
    pub(super) sessions: Vec<String>,
    /// Whether it answers requests.
    pub(super) answers: bool,
    /// Whether it follows the tags that come with a `resume`.
    pub(super) subscribes: bool,
    /// How it answers the next `open` or `resume`.
    pub(super) refuses: Option<CloseReason>,
    /// What its session clock is ahead of the bench.
    clock_ahead: u64,
    pub(super) via_proxy: bool,
    pub(super) requests: Vec<Request>,
    pub(super) heard: Vec<ClientMessage>,
    pub(super) inbox: VecDeque<(ConnId, Option<ClientMessage>)>,
    opened: u64,
}

impl Node {
    pub(super) fn new(name: &'static str, clock_ahead: u64) -> Node {
        Node {
            url: format!("http://{name}:1"),
            name,
            up: true,
            frozen: false,
            active: false,
            counter: 0,
            sessions: Vec::new(),
            answers: true,
            subscribes: false,
            refuses: None,
            clock_ahead,
            via_proxy: false,
            requests: Vec::new(),
            heard: Vec::new(),
            inbox: VecDeque::new(),
            opened: 0,
        }
    }

    pub(super) fn term(&self) -> Option<Term> {
        let node = self.name.parse().unwrap();
        (self.counter > 0).then_some(Term { counter: self.counter, node })
    }

    pub(super) fn status(&self) -> Box<Status> {
        let address = |node: &str| NodeAddress {
            node: node.parse().unwrap(),
            url: format!("http://{node}:1"),
        };
        Box::new(Status {
            pair: Some("plant".parse().unwrap()),
            node: self.name.parse().unwrap(),
            boot: BootId(1),
            role: Role::Master,
            level: if self.active { Level::Active } else { Level::Cold },
            fenced: false,
            term: self.term(),
            sync: SyncState::Good,
            peer: None,
            addresses: vec![address("a"), address("b")],
            system: String::new(),
            contact: "shift lead".to_owned(),
            reason: "process gone".to_owned(),
            incident: Some(format!("i{}", self.counter)),
            disk: None,
            version: String::new(),
        })
    }

    pub(super) fn clock(&self, now: Instant) -> SessionClock {
        SessionClock(now.as_millis() + self.clock_ahead)
    }

    fn bound(
        &self,
        now: Instant,
        session: &str,
        page: &str,
        params: Object,
        props: Object,
    ) -> Bound {
        Bound {
            session: SessionId(session.to_owned()),
            token: Token(format!("token of {session}")),
            handover: Some(Token(format!("hand-over at {}", self.name))),
            project: "plant".to_owned(),
            page: page.to_owned(),
            params,
            props,
            alarms: Vec::new(),
            last_event: EventPosition(0),
            clock: self.clock(now),
            status: self.status(),
            via_proxy: self.via_proxy,
            subscribed: false,
        }
    }

    pub(super) fn word(&self) -> ServerMessage {
        if self.active {
            ServerMessage::Active { status: self.status() }
        } else {
            ServerMessage::Standby { status: self.status(), via_proxy: self.via_proxy }
        }
    }

    /// The answers to a message.
    pub(super) fn answer(&mut self, now: Instant, message: &ClientMessage) -> Vec<ServerMessage> {
        self.heard.push(message.clone());
        match message {
            ClientMessage::Ping { n } => vec![ServerMessage::Pong {
                n: *n,
                level: if self.active { Level::Active } else { Level::Cold },
                term: self.term(),
                clock: self.clock(now),
            }],
            ClientMessage::Watch { .. } => vec![self.word()],
            ClientMessage::Open { .. } | ClientMessage::Resume { .. } if !self.active => {
                vec![self.word()]
            }
            ClientMessage::Open { .. } | ClientMessage::Resume { .. } if self.refuses.is_some() => {
                let reason = self.refuses.take().unwrap();
                vec![ServerMessage::Closing { reason, detail: "refused".to_owned() }]
            }
            ClientMessage::Open { page, params, props, .. } => {
                self.opened += 1;
                let session = format!("{}{}", self.name, self.opened);
                self.sessions.push(session.clone());
                let bound = self.bound(now, &session, page, params.clone(), props.clone());
                vec![ServerMessage::Opened(bound)]
            }
            ClientMessage::Resume { session, tags, .. } if self.sessions.contains(&session.0) => {
                let mut bound = self.bound(now, &session.0, "p", Object::new(), Object::new());
                bound.subscribed = self.subscribes && !tags.is_empty();
                vec![ServerMessage::Resumed { recovered: true, highest: WriteId(0), bound }]
            }
            ClientMessage::Resume { session, .. } => {
                vec![ServerMessage::Forgotten { session: session.clone() }]
            }
            ClientMessage::Request(request) if self.answers => {
                self.requests.push(request.clone());
                let late = request.deadline < self.clock(now);
                let outcome = if late { Outcome::Expired } else { Outcome::Applied };
                vec![ServerMessage::Outcome { id: request.id, copies: 2, outcome }]
            }
            ClientMessage::Request(request) => {
                self.requests.push(request.clone());
                Vec::new()
            }
            ClientMessage::Subscribe { .. } | ClientMessage::Close => Vec::new(),
        }
    }
}
