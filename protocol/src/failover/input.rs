//! What goes into a client's door.

use std::time::Duration;

use crate::event::EventPosition;
use crate::node::{NodeId, PairId};
use crate::session::{Operation, Request, SessionId, Token, WriteId};
use crate::term::Term;
use crate::time::SessionClock;
use crate::wire::session::{Object, ServerMessage};

/// How a client starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Base URLs (`http://host:port`) in the order of preference: nodes, or one proxy.
    pub addresses: Vec<String>,
    /// Whether `addresses` are all there is (a list given by the author): addresses announced in
    /// a status are then not used.
    pub fixed: bool,
    /// The project.
    pub project: String,
    /// The page.
    pub page: String,
    /// The page's parameters.
    pub params: Object,
    /// The first properties, if the session is opened anew.
    pub props: Object,
    /// Keep a watch to the peer all the time.
    pub warm_watch: bool,
    /// Move by navigation (a browser whose page came from a node) instead of staying.
    pub navigates: bool,
    /// A session to go on with.
    pub resume: Option<Saved>,
    /// Feeds jitter.
    pub seed: u64,
}

impl Options {
    /// A session at a page, reached by these addresses: a warm watch, no navigation, addresses
    /// that a gateway announces are used as well.
    pub fn new(addresses: Vec<String>, project: &str, page: &str) -> Options {
        Options {
            addresses,
            fixed: false,
            project: project.to_owned(),
            page: page.to_owned(),
            params: Object::new(),
            props: Object::new(),
            warm_watch: true,
            navigates: false,
            resume: None,
            seed: 0,
        }
    }
}

/// What a client keeps of its session across a reload or a navigation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Saved {
    /// The session.
    pub session: SessionId,
    /// Its token, or a hand-over token.
    pub token: Token,
    /// Names this use of a hand-over token.
    #[serde(default)]
    pub nonce: Option<String>,
    /// The last event that the client has.
    #[serde(default)]
    pub last_event: Option<EventPosition>,
    /// The next operation id.
    pub next_id: WriteId,
    /// Operations without an outcome.
    #[serde(default)]
    pub open: Vec<Request>,
    /// The highest term.
    #[serde(default)]
    pub term: Option<Term>,
    /// The pair that it belongs to.
    #[serde(default)]
    pub pair: Option<PairId>,
    /// The node that served the session last.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// The page that the user is at; `None`: the one of the options.
    #[serde(default)]
    pub place: Option<PageState>,
    /// The time of `node`'s session clock when this was kept; the deadlines of `open` are on it.
    #[serde(default)]
    pub clock: Option<SessionClock>,
    /// What the page that goes on is to tell its user.
    #[serde(default)]
    pub transfer: Option<Transfer>,
}

/// Where a user is: a session that no node knows any more is opened anew with it.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct PageState {
    /// The page.
    pub page: String,
    /// Its parameters.
    #[serde(default)]
    pub params: Object,
    /// The session's properties.
    #[serde(default)]
    pub props: Object,
}

/// A session's move to another node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Transfer {
    /// The node before.
    pub from: Option<NodeId>,
    /// The node now.
    pub to: NodeId,
    /// Why.
    pub reason: String,
    /// How long no node served the session, in milliseconds.
    pub gap_ms: u64,
    /// An id to quote.
    pub incident: String,
    /// Whom to tell.
    pub contact: String,
}

/// One connection, counted by the machine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed; also given for `Output::Timeout`.
    Timeout,
    /// A connection is open.
    Connected {
        /// Which.
        conn: ConnId,
    },
    /// A message came.
    Message {
        /// Where.
        conn: ConnId,
        /// The message.
        message: Box<ServerMessage>,
    },
    /// A connection could not be made, or has ended, or sent what is not a message.
    Ended {
        /// Which.
        conn: ConnId,
        /// Why, for people.
        why: String,
    },
    /// The user does something.
    Command(Command),
    /// The page woke up, the network came back, the clock jumped: look at once.
    Probe,
}

/// What a user or page does.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Operates: the next id is given to it (`Failover::next_id` says which).
    Operate {
        /// What to do.
        operation: Operation,
        /// How long it may take to be applied.
        deadline: Duration,
    },
    /// Sets the subscribed tags, all of them each time.
    Subscribe {
        /// The tags.
        tags: Vec<String>,
    },
    /// Ends the session.
    Close,
}
