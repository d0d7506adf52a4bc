//! One simulated client: the real machine of a session, its sockets and its user.

use std::collections::{BTreeMap, BTreeSet};

use tandem_protocol::failover::Failover;
use tandem_protocol::failover::input::{ConnId, Options, Saved};
use tandem_protocol::node::NodeId;
use tandem_protocol::session::WriteId;
use tandem_protocol::time::Instant;
use tandem_protocol::wire::session::Object;

use super::network::{End, FIRST_CLIENT, Host, Micros, PipeId};
use super::plan::Plan;

/// A client's clock is so much ahead of virtual time.
const OFFSET: Micros = 7_000_000_000;

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub index: usize,
    /// The machine under test.
    pub machine: Failover,
    /// When the machine wants to be woken, in virtual time.
    pub timer: Option<Micros>,
    /// The node that serves its session, as its user was told.
    pub bound: Option<NodeId>,
    /// Operations of its user without an outcome.
    pub open: BTreeSet<WriteId>,
    /// Alarms that its user sees raised and unacked, with their raise.
    pub alarms: BTreeMap<String, u64>,
    /// What its user was told, in order: for scripts.
    pub told: Vec<String>,
    /// How many values its user has seen.
    pub values: usize,
    /// Its connections: `None` while they are being made.
    pub conns: BTreeMap<ConnId, Option<PipeId>>,
    /// Counts its user's deeds.
    pub deeds: u64,
    /// Counts its pages: a reload without anything kept is another client to the nodes.
    pub life: u64,
}

impl Client {
    /// A client of both nodes.
    pub fn new(index: usize, plan: &Plan) -> Client {
        Client::resuming(index, plan, 0, None)
    }

    /// A client that goes on with a session.
    pub fn resuming(index: usize, plan: &Plan, now: Micros, resume: Option<Saved>) -> Client {
        let mut addresses =
            vec!["http://127.0.0.1:8088".to_owned(), "http://127.0.0.2:8088".to_owned()];
        if index == 1 {
            addresses.reverse();
        }
        let options = Options {
            addresses,
            fixed: true,
            project: "plant".to_owned(),
            page: "main".to_owned(),
            params: Object::new(),
            props: Object::new(),
            warm_watch: plan.warm.get(index).copied().unwrap_or(true),
            navigates: false,
            resume,
            seed: plan.seed.wrapping_mul(31).wrapping_add(index as u64),
        };
        Client {
            index,
            machine: Failover::new(clock(now), options),
            timer: None,
            bound: None,
            open: BTreeSet::new(),
            alarms: BTreeMap::new(),
            told: Vec::new(),
            values: 0,
            conns: BTreeMap::new(),
            deeds: 0,
            life: 1,
        }
    }

    /// Its host.
    pub fn host(&self) -> Host {
        FIRST_CLIENT + self.index
    }

    /// Its end of a connection.
    pub fn end(&self) -> End {
        End { host: self.host(), life: self.life }
    }

    /// Its name to the checkers.
    pub fn person(&self) -> usize {
        person(self.index, self.life)
    }

    /// When it is to be woken, and its host.
    pub fn due(&self) -> Option<(Micros, Host)> {
        Some((self.timer?, self.host()))
    }

    /// Whether its user waits for an outcome.
    pub fn waits(&self) -> bool {
        !self.open.is_empty()
    }
}

/// A client's clock.
pub fn clock(now: Micros) -> Instant {
    Instant::from_micros(now + OFFSET)
}

/// Virtual time of a client's clock.
pub fn virtual_time(at: Instant) -> Micros {
    at.as_micros().saturating_sub(OFFSET)
}

/// Names the user of one page of a client.
pub fn person(index: usize, life: u64) -> usize {
    index + 100 * usize::try_from(life - 1).unwrap_or(0)
}
