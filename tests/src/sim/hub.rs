//! A node's sessions, thinly: sockets, what they are bound to, and what waits for an answer.
//!
//! It is a model of the hub's promises, not of its tasks: no effect without a
//! permit, nothing said while fenced, `standby` pushed to all at once when the level goes, and
//! `active` to watches when it comes. What it does with them is in `world/sessions.rs`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tandem_protocol::gateway::input::RequestTicket;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::ItemKey;
use tandem_protocol::session::{SessionId, Token, WriteId};
use tandem_protocol::term::ActivationId;
use tandem_protocol::wire::session::ClientMessage;

use super::network::PipeId;

/// What a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// Nothing was asked yet.
    Fresh,
    /// Status only.
    Watch,
    /// Bound to a session.
    Bound(SessionId),
}

/// One socket of a client.
#[derive(Debug)]
pub struct Socket {
    /// The client.
    pub client: usize,
    /// What it is.
    pub seat: Seat,
    /// What came while the node was fenced.
    pub held: VecDeque<ClientMessage>,
}

/// What a request was for.
#[derive(Debug, Clone)]
pub enum Asked {
    /// A session is opened on this socket.
    Open {
        /// The socket.
        pipe: PipeId,
        /// The new session.
        session: SessionId,
        /// Its token.
        token: Token,
    },
    /// A client's operation.
    Operate {
        /// The session.
        session: SessionId,
        /// The operation.
        id: WriteId,
    },
    /// A module.
    Own,
    /// An engineer changes this item of the config.
    Config {
        /// Which.
        key: ItemKey,
        /// Into what.
        body: Bytes,
    },
    /// A script.
    Script,
}

/// All sockets and requests of one process.
#[derive(Debug)]
pub struct Hub {
    /// Sockets by their connection.
    pub sockets: BTreeMap<PipeId, Socket>,
    /// Requests without an answer.
    pub asked: BTreeMap<RequestTicket, Asked>,
    /// The activation that was last told to watches.
    pub activation: Option<ActivationId>,
    /// Answers to scripts.
    pub scripted: Vec<Answer>,
    /// Whether watches know that this node is active.
    pub told_active: bool,
    /// Which operation each tick of the alarm module is.
    pub ticks: u64,
    next: u64,
    life: u64,
}

impl Hub {
    /// A hub without sockets.
    pub fn new(life: u64) -> Hub {
        Hub {
            sockets: BTreeMap::new(),
            asked: BTreeMap::new(),
            activation: None,
            scripted: Vec::new(),
            told_active: false,
            ticks: 0,
            next: 0,
            life,
        }
    }

    /// Whether something of a client waits for an answer.
    pub fn is_waiting(&self) -> bool {
        self.asked
            .values()
            .any(|asked| !matches!(asked, Asked::Own | Asked::Config { .. } | Asked::Script))
    }

    /// Whether a client's operation waits here for its answer.
    pub fn operates(&self, of: &SessionId, operation: WriteId) -> bool {
        self.asked.values().any(|asked| {
            matches!(asked, Asked::Operate { session, id } if session == of && *id == operation)
        })
    }

    /// Names a request.
    pub fn ask(&mut self, asked: Asked) -> RequestTicket {
        self.next += 1;
        let ticket = RequestTicket(self.next);
        self.asked.insert(ticket, asked);
        ticket
    }

    /// A session's id and token that nobody has had before.
    pub fn name_session(&mut self, host: usize) -> (SessionId, Token) {
        self.next += 1;
        let name = format!("{host}-{}-{}", self.life, self.next);
        (SessionId(name.clone()), Token(format!("token of {name}")))
    }

    /// The socket that a session is bound to.
    pub fn socket_of(&self, session: &SessionId) -> Option<PipeId> {
        let bound = |(_, socket): &(&PipeId, &Socket)| socket.seat == Seat::Bound(session.clone());
        self.sockets.iter().find(bound).map(|(pipe, _)| *pipe)
    }
}

/// What a token is known by. (Only its equality matters here, not that it cannot be turned back.)
pub fn hash(token: &Token) -> [u8; 32] {
    let mut hash = [0; 32];
    for (index, byte) in token.0.bytes().enumerate() {
        hash[index % 32] ^= byte.rotate_left(u32::try_from(index / 32).unwrap_or(0));
    }
    hash
}
