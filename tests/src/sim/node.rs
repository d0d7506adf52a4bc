//! One simulated node: its disk and clock, which outlive a process, and the process that runs.
//!
//! A process has two rooms that matter here: the driver, which owns the gateway's door and the
//! link, and the hub with its sessions. Each has its own queue of what has arrived, so that the
//! driver can hang while the hub runs; a stopped process leaves both queues to the kernel.

use std::collections::{BTreeMap, VecDeque};

use tandem_protocol::gateway::Gateway;
use tandem_protocol::gateway::input::{Input, Items, LinkId};
use tandem_protocol::gateway::output::Permit;
use tandem_protocol::node::{NodeId, Role};
use tandem_protocol::status::{Status, WELL};
use tandem_protocol::term::{ActivationId, Term};
use tandem_protocol::time::{Instant, SessionClock, UnixMs};
use tandem_protocol::wire::peer::Message;

use super::chance::Chance;
use super::disk::{Disk, Stored};
use super::hub::Hub;
use super::network::{Cargo, End, Host, Micros, PipeId};

/// Wall time at the start of a run.
const EPOCH_MS: u64 = 1_790_000_000_000;

/// A node: what is there when no process runs, and the process.
#[derive(Debug)]
pub struct Node {
    /// Its host, 0 or 1.
    pub host: Host,
    /// Its id.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Counts its processes.
    pub life: u64,
    /// Whether its host has power.
    pub power: bool,
    /// How many stalls hold the process.
    pub stalls: u32,
    /// How many hangs hold the driver.
    pub hangs: u32,
    /// It had no link when it was stopped.
    pub stalled_alone: bool,
    /// How many faults keep the process from running.
    pub downs: u32,
    /// Its monotonic clock is so much ahead of virtual time.
    pub offset: Micros,
    /// Its wall clock is so many milliseconds off.
    pub wall_step: i64,
    /// How well its modules say that they are.
    pub health: u8,
    /// Its disk.
    pub disk: Disk,
    /// What a commit under way at the last crash would have led to.
    pub unfinished: Option<Stored>,
    /// When its last process ended.
    pub ended: Micros,
    /// The process.
    pub run: Option<Run>,
}

/// Something that waits for the driver.
#[derive(Debug)]
pub enum ForDriver {
    /// An input as the rooms hand it in.
    Input(Box<Input>),
    /// Somebody connects for the link.
    Knock(Knock),
    /// A dial led to this connection.
    Opened(PipeId, Purpose),
    /// Something came on a connection of the link.
    Came(PipeId, Cargo),
}

/// Something that waits for the hub.
#[derive(Debug)]
pub enum ForHub {
    /// Somebody connects for a session or a watch.
    Knock(Knock),
    /// Something came on a session's connection.
    Came(PipeId, Cargo),
}

/// A connect that reached a listener.
#[derive(Debug, Clone, Copy)]
pub struct Knock {
    /// Who connects.
    pub from: End,
    /// What for.
    pub purpose: Purpose,
    /// When the dialer gives up.
    pub deadline: Micros,
}

/// What a connect is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// The link's control connection, by the number of the dial.
    Control(u64),
    /// The link's bulk connection, with its proof.
    Bulk(LinkId, [u8; 32]),
    /// A client's connection, by the client's number for it.
    Session(u64),
}

/// A link as the driver holds it.
#[derive(Debug)]
pub struct Link {
    /// Whether this node dialed.
    pub dialed: bool,
    /// The bulk connection, once it is there.
    pub bulk: Option<PipeId>,
    /// What waits for the bulk connection.
    pub waiting: Vec<Message>,
    /// The proof that the bulk connection must bring.
    pub expects: Option<[u8; 32]>,
}

/// A process that runs.
#[derive(Debug)]
pub struct Run {
    /// The rules under test.
    pub gateway: Gateway,
    /// When the gateway wants to be woken, in virtual time.
    pub timer: Option<Micros>,
    /// What waits for the driver.
    pub driver: VecDeque<ForDriver>,
    /// What waits for the hub.
    pub arrivals: VecDeque<ForHub>,
    /// Whether the driver's turn is under way.
    pub driving: bool,
    /// The driver is busy until then.
    pub busy_until: Micros,
    /// The permit that rooms look at.
    pub permit: Option<Permit>,
    /// What the gateway holds in memory: the store's state and every store it asked for since.
    pub memory: Stored,
    /// Kept items as they are shown.
    pub shown: Items,
    /// Config items as they are shown.
    pub config: Items,
    /// Its status, as last changed.
    pub status: Status,
    /// Its links by their control connection.
    pub links: BTreeMap<LinkId, Link>,
    /// Its sessions.
    pub hub: Hub,
    /// The dial that is under way, and how many there were.
    pub dialing: (Option<u64>, u64),
    /// Whether it was told last that it is out of sync.
    pub told_out: bool,
}

impl Node {
    /// A node without a process and with an empty disk; its clock begins anywhere.
    pub fn new(host: Host, master: Host, chance: &mut Chance) -> Node {
        let name = if host == 0 { "a" } else { "b" };
        let id: NodeId = match name.parse() {
            Ok(id) => id,
            Err(error) => unreachable!("{error}"),
        };
        Node {
            host,
            id,
            role: if host == master { Role::Master } else { Role::Backup },
            life: 0,
            power: true,
            stalls: 0,
            hangs: 0,
            stalled_alone: false,
            downs: 0,
            offset: chance.range(1_000_000, 90_000_000_000),
            wall_step: 0,
            health: WELL,
            disk: Disk::default(),
            unfinished: None,
            ended: 0,
            run: None,
        }
    }

    /// Its process on the network.
    pub fn end(&self) -> End {
        End { host: self.host, life: self.life }
    }

    /// Its monotonic clock.
    pub fn clock(&self, now: Micros) -> Instant {
        Instant::from_micros(now + self.offset)
    }

    /// What it tells clients to count deadlines by.
    pub fn session_clock(&self, now: Micros) -> SessionClock {
        SessionClock(self.clock(now).as_millis())
    }

    /// Its wall clock.
    pub fn wall(&self, now: Micros) -> UnixMs {
        UnixMs((EPOCH_MS + now / 1_000).saturating_add_signed(self.wall_step))
    }

    /// The term under which its rooms may act now.
    pub fn allows(&self, now: Micros) -> Option<(Term, ActivationId)> {
        let permit = self.run.as_ref()?.permit.as_ref()?;
        (self.clock(now) < permit.until).then(|| (permit.term.clone(), permit.activation))
    }

    /// Whether its driver takes turns.
    pub fn drives(&self) -> bool {
        self.run.is_some() && self.stalls == 0 && self.hangs == 0
    }

    /// Whether its process runs and is not stopped.
    pub fn runs(&self) -> bool {
        self.run.is_some() && self.stalls == 0
    }
}
