//! The network: paths between hosts, and connections over them as TCP has them.
//!
//! A path has a direction. A cut path loses what is sent on it; since TCP sends again, what was
//! lost arrives in order some time after the path is whole. A connection whose other end is gone
//! is reset by that host's kernel when something arrives there, or never, when the host is off.
//! Who gets what is the world's part: this file only says when something arrives.

use std::collections::{BTreeMap, VecDeque};

use tandem_protocol::wire::peer::Message;
use tandem_protocol::wire::session::{ClientMessage, ServerMessage};

use super::chance::Chance;

/// Virtual time in microseconds.
pub type Micros = u64;
/// A host: 0 and 1 are the nodes', the others the clients'.
pub type Host = usize;

/// The first host of a client.
pub const FIRST_CLIENT: Host = 2;
/// A way through the network takes from so long ...
const LATENCY_MIN: Micros = 120;
/// ... up to so long, while nothing disturbs it.
const LATENCY_MAX: Micros = 700;

/// Names a connection for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipeId(pub u64);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeKind {
    /// A link's connection for heartbeats, role messages and updates.
    Control,
    /// A link's connection for chunks and live values.
    Bulk,
    /// A client's session or watch.
    Session,
}

/// What travels on a connection.
#[derive(Debug, Clone)]
pub enum Cargo {
    /// A peer message.
    Peer(Box<Message>),
    /// From a client.
    FromClient(Box<ClientMessage>),
    /// To a client.
    ToClient(Box<ServerMessage>),
    /// The other end closed after all before it.
    End,
}

/// One end of a connection: which process on which host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The host.
    pub host: Host,
    /// Which run of its process.
    pub life: u64,
}

/// The dialer's side of a connection.
pub const DIALER: usize = 0;
/// The listener's side of a connection.
pub const LISTENER: usize = 1;

#[derive(Debug, Default)]
struct Way {
    last: Micros,
    busy: Micros,
    held: VecDeque<Cargo>,
    epoch: u32,
    shut: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Pipe {
    /// What it is for.
    pub kind: PipeKind,
    /// Dialer and listener.
    pub ends: [End; 2],
    /// Whether each end still uses it.
    pub open: [bool; 2],
    ways: [Way; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct Path {
    cuts: u32,
    extra: Micros,
    bytes_per_s: u64,
    spread: Micros,
}

/// Something that arrives.
#[derive(Debug)]
pub struct Arrival {
    /// When.
    pub at: Micros,
    /// On which connection.
    pub pipe: PipeId,
    /// At which side of it.
    pub side: usize,
    /// Counts the resets of this way: older arrivals are lost.
    pub epoch: u32,
    /// What.
    pub cargo: Cargo,
}

/// All paths and connections.
#[derive(Debug)]
pub struct Network {
    paths: Vec<Vec<Path>>,
    pipes: BTreeMap<PipeId, Pipe>,
    next: u64,
    chance: Chance,
}

impl Network {
    /// A network of so many hosts.
    pub fn new(hosts: usize, chance: Chance) -> Network {
        let paths = vec![vec![Path::default(); hosts]; hosts];
        Network { paths, pipes: BTreeMap::new(), next: 1, chance }
    }

    /// Whether what is sent now would arrive.
    pub fn up(&self, from: Host, to: Host) -> bool {
        self.paths[from][to].cuts == 0
    }

    /// Whether the path is as good as a cut: so slow that a heartbeat would be late.
    pub fn delay(&self, from: Host, to: Host) -> Micros {
        self.paths[from][to].extra + self.paths[from][to].spread
    }

    /// How long something sent now takes.
    pub fn latency(&mut self, from: Host, to: Host) -> Micros {
        let path = self.paths[from][to];
        let spread = self.chance.range(0, path.spread + 1);
        self.chance.range(LATENCY_MIN, LATENCY_MAX) + path.extra + spread
    }

    /// Loses what is sent from now on.
    pub fn cut(&mut self, from: Host, to: Host) {
        self.paths[from][to].cuts += 1;
    }

    /// Ends one cut; once the path is whole, what TCP kept arrives.
    pub fn heal(&mut self, now: Micros, from: Host, to: Host) -> Vec<Arrival> {
        let path = &mut self.paths[from][to];
        path.cuts = path.cuts.saturating_sub(1);
        if path.cuts > 0 {
            return Vec::new();
        }
        let mut arrivals = Vec::new();
        let touched: Vec<(PipeId, usize)> = self
            .pipes
            .iter()
            .flat_map(|(id, pipe)| [(*id, pipe, 0), (*id, pipe, 1)])
            .filter(|(_, pipe, side)| {
                pipe.ends[*side].host == from && pipe.ends[1 - side].host == to
            })
            .map(|(id, _, side)| (id, side))
            .collect();
        for (id, side) in touched {
            let again = now + self.chance.range(1_000, 400_000);
            let Some(pipe) = self.pipes.get_mut(&id) else { continue };
            let held = std::mem::take(&mut pipe.ways[side].held);
            for cargo in held {
                arrivals.extend(self.schedule(again, id, side, cargo));
            }
        }
        arrivals
    }

    /// Makes a path slower: by a fixed time, by a random time, by a rate (0: any).
    pub fn slow(&mut self, from: Host, to: Host, extra: Micros, spread: Micros, rate: u64) {
        let path = &mut self.paths[from][to];
        (path.extra, path.spread, path.bytes_per_s) = (extra, spread, rate);
    }

    /// A new connection between two processes.
    pub fn connect(&mut self, kind: PipeKind, dialer: End, listener: End) -> PipeId {
        let id = PipeId(self.next);
        self.next += 1;
        let ways = [Way::default(), Way::default()];
        self.pipes.insert(id, Pipe { kind, ends: [dialer, listener], open: [true, true], ways });
        id
    }

    /// Nothing that the listener says reaches the dialer before the connection itself.
    pub fn opens_at(&mut self, id: PipeId, at: Micros) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.ways[LISTENER].last = at;
        }
    }

    /// The connection, while either end uses it.
    pub fn pipe(&self, id: PipeId) -> Option<&Pipe> {
        self.pipes.get(&id)
    }

    /// All connections with an end at this process.
    pub fn of(&self, end: End) -> Vec<(PipeId, usize)> {
        let sides = |(id, pipe): (&PipeId, &Pipe)| {
            let id = *id;
            [0, 1].map(|side| (pipe.ends[side] == end && pipe.open[side]).then_some((id, side)))
        };
        self.pipes.iter().flat_map(sides).flatten().collect()
    }

    /// Sends from one side; `None` when it is lost, or kept until the path is whole.
    pub fn send(&mut self, now: Micros, id: PipeId, side: usize, cargo: Cargo) -> Option<Arrival> {
        let pipe = self.pipes.get_mut(&id)?;
        if pipe.ways[side].shut || !pipe.open[side] {
            return None;
        }
        let (from, to) = (pipe.ends[side].host, pipe.ends[1 - side].host);
        if matches!(cargo, Cargo::End) {
            pipe.ways[side].shut = true;
        }
        if self.paths[from][to].cuts > 0 || !pipe.ways[side].held.is_empty() {
            pipe.ways[side].held.push_back(cargo);
            return None;
        }
        let latency = self.latency(from, to);
        self.schedule(now + latency, id, side, cargo)
    }

    fn schedule(&mut self, at: Micros, id: PipeId, side: usize, cargo: Cargo) -> Option<Arrival> {
        let pipe = self.pipes.get_mut(&id)?;
        let rate = self.paths[pipe.ends[side].host][pipe.ends[1 - side].host].bytes_per_s;
        let way = &mut pipe.ways[side];
        let mut at = at.max(way.last + 1);
        if let Some(wait) = (size(&cargo) * 1_000_000).checked_div(rate) {
            way.busy = way.busy.max(at) + wait;
            at = way.busy;
        }
        way.last = at;
        Some(Arrival { at, pipe: id, side: 1 - side, epoch: way.epoch, cargo })
    }

    /// One end uses the connection no more; nothing that arrives there counts.
    pub fn leave(&mut self, id: PipeId, side: usize) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.open[side] = false;
        if !pipe.open[0] && !pipe.open[1] {
            self.pipes.remove(&id);
        }
    }

    /// What this side has sent and the other has not read is lost (a reset).
    pub fn lose(&mut self, id: PipeId, side: usize) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.ways[side].epoch += 1;
        pipe.ways[side].held.clear();
    }

    /// The end of a connection as the kernel of a dead process says it: once, if it gets through.
    pub fn reset(&mut self, now: Micros, id: PipeId, side: usize) -> Option<Arrival> {
        let pipe = self.pipes.get_mut(&id)?;
        let (from, to) = (pipe.ends[side].host, pipe.ends[1 - side].host);
        if self.paths[from][to].cuts > 0 {
            return None;
        }
        let latency = self.latency(from, to);
        let pipe = self.pipes.get_mut(&id)?;
        let epoch = pipe.ways[side].epoch;
        let at = now + latency;
        Some(Arrival { at, pipe: id, side: 1 - side, epoch, cargo: Cargo::End })
    }

    /// Whether an arrival was lost by a reset on its way.
    pub fn is_lost(&self, arrival: &Arrival) -> bool {
        self.pipes
            .get(&arrival.pipe)
            .is_none_or(|pipe| pipe.ways[1 - arrival.side].epoch != arrival.epoch)
    }
}

/// About how many bytes it takes.
fn size(cargo: &Cargo) -> u64 {
    let bytes = match cargo {
        Cargo::Peer(message) => match message.as_ref() {
            Message::Updates { updates, .. } => {
                updates.iter().map(tandem_protocol::item::Update::size).sum()
            }
            Message::Chunk(chunk) => {
                chunk.items.iter().map(|(_, item)| item.body.len() + 64).sum::<usize>()
            }
            Message::Live { values, .. } => values.len() * 64,
            _ => 200,
        },
        Cargo::FromClient(_) | Cargo::ToClient(_) => 400,
        Cargo::End => 40,
    };
    bytes as u64
}
