//! What a node says about itself to anybody: in session messages, REST and on its pages.

use serde::{Deserialize, Serialize};

use crate::node::{BootId, Level, NodeId, PairId, Role, SyncState};
use crate::term::Term;

/// A node's status. Everything in it is public; it holds no secret and no token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The pair, when there is one.
    pub pair: Option<PairId>,
    /// The node.
    pub node: NodeId,
    /// Its run.
    pub boot: BootId,
    /// Its role.
    pub role: Role,
    /// Its level; Active is said only under a permit.
    pub level: Level,
    /// Whether it was active and its permit ran out.
    #[serde(default)]
    pub fenced: bool,
    /// The term in force: its own when it is active, else the highest that it has heard.
    pub term: Option<Term>,
    /// How its data stands.
    pub sync: SyncState,
    /// What is known of the peer.
    pub peer: Option<PeerStatus>,
    /// Where clients reach the nodes of the pair, this node first.
    #[serde(default)]
    pub addresses: Vec<NodeAddress>,
    /// The system's name, for people.
    #[serde(default)]
    pub system: String,
    /// Whom to tell, shown in notices.
    #[serde(default)]
    pub contact: String,
    /// Why the level last changed.
    #[serde(default)]
    pub reason: String,
    /// The id to quote for the last takeover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// What is wrong with the node's disk, for people; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The software's version.
    #[serde(default)]
    pub version: String,
}

/// The best health.
pub const WELL: u8 = 255;

/// How well a node is, as it says: for REST, not for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// 0 (its disk fails or is full), 1 to 254 (a module is degraded), 255 (well).
    pub level: u8,
    /// What is wrong, for people.
    pub reason: String,
    /// The peer's, while there is a link.
    pub peer: Option<u8>,
}

impl Default for Health {
    fn default() -> Health {
        Health { level: WELL, reason: String::new(), peer: None }
    }
}

/// What a node knows of its peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its id, once heard.
    pub node: Option<NodeId>,
    /// Whether the link is up.
    pub connected: bool,
    /// Its level, when last heard.
    pub level: Level,
    /// Whether it holds all that was answered.
    pub in_sync: bool,
}

/// Where clients reach one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// The node.
    pub node: NodeId,
    /// Its base URL, such as `http://10.0.0.5:8088`.
    pub url: String,
}
