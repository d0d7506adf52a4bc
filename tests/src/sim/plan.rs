//! What a run is made of: settings, roles, faults and what the users do, all from the seed.

use tandem_protocol::limits::CHUNK_BYTES;
use tandem_protocol::settings::{RecoveryMode, SharedSettings};

use super::chance::Chance;
use super::network::{Host, Micros};

/// One second.
pub const SECOND: Micros = 1_000_000;
/// One millisecond.
pub const MS: Micros = 1_000;
/// How long faults and users go on.
pub const LENGTH: Micros = 60 * SECOND;
/// Clients of a seed.
pub const CLIENTS: usize = 3;

const FAULTS_MIN: u64 = 8;
const FAULTS_MAX: u64 = 14;
const WRITES: u64 = 50;
const ACKS: u64 = 10;
const CONFIGS: u64 = 4;
/// Config updates that wait may take so many bytes: all of a run.
const QUEUE: u64 = 8 * 1024 * 1024;
/// Where only a few of them have room.
const SMALL_QUEUE: u64 = 260;
const RELOADS: u64 = 6;
const PERSONS_MAX: u64 = 4;
const RESYNCS_MAX: u64 = 1;

/// Which node a fault meets: decided when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The node that is active then.
    Active,
    /// The other one.
    Standby,
    /// This one.
    Node(Host),
}

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed and started again at the end.
    Kill(Target),
    /// The process is asked to stop and started again at the end.
    Stop(Target),
    /// The host loses its power, with all that was not synced, until the end.
    Power(Target),
    /// Nothing passes between the nodes.
    Cut,
    /// Nothing passes from this node to its peer; the other way is whole.
    OneWay(Target),
    /// All between the nodes comes later, by so much and a random part.
    Delay(Micros, Micros),
    /// The way between the nodes carries so many bytes a second.
    SlowLink(u64),
    /// Each sync of this node's disk takes so much longer.
    SlowDisk(Target, Micros),
    /// The disk takes nothing more: the next sync fails, and the process is started anew at the
    /// end.
    FailDisk(Target),
    /// The disk is full until the end; what is kept for terms takes so many commits.
    FullDisk(Target, u64),
    /// The process is stopped (SIGSTOP) until the end.
    Stall(Target),
    /// The driver alone is stopped; sessions and modules run.
    Hang(Target),
    /// The wall clock jumps by so many milliseconds.
    ClockStep(Target, i64),
    /// Clients do not reach this node.
    CutClients(Target),
    /// A module of this node says that it is only so well.
    Degrade(Target, u8),
}

impl Fault {
    /// Its name in the tally.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill",
            Fault::Stop(_) => "stop",
            Fault::Power(_) => "power cut",
            Fault::Cut => "cut both ways",
            Fault::OneWay(_) => "cut one way",
            Fault::Delay(..) => "delay",
            Fault::SlowLink(_) => "slow link",
            Fault::SlowDisk(..) => "slow disk",
            Fault::FailDisk(_) => "failing disk",
            Fault::FullDisk(..) => "full disk",
            Fault::Stall(_) => "stall",
            Fault::Hang(_) => "driver hang",
            Fault::ClockStep(..) => "clock step",
            Fault::CutClients(_) => "clients cut off",
            Fault::Degrade(..) => "module degraded",
        }
    }

    /// How many takeovers it may lead to, counting that its end may lead to one.
    pub const fn takeovers(self) -> u64 {
        match self {
            Fault::Kill(_) | Fault::Stop(_) | Fault::Power(_) => 2,
            Fault::Stall(_) | Fault::Hang(_) => 2,
            Fault::FailDisk(_) | Fault::FullDisk(..) => 3,
            Fault::Cut | Fault::OneWay(_) => 3,
            Fault::Delay(..) | Fault::SlowLink(_) => 3,
            // One when it begins, one when it ends.
            Fault::Degrade(..) => 2,
            Fault::SlowDisk(..) => 1,
            Fault::ClockStep(..) | Fault::CutClients(_) => 0,
        }
    }
}

/// What meets the first commit of a switchover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCommit {
    /// Nothing passes between the nodes for so long.
    Cut(Micros),
    /// The node that gets the level is stopped for so long.
    Stall(Micros),
    /// The node that gave the level dies, and starts again after so long.
    Kill(Micros),
}

/// A fault with its time.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// When it begins.
    pub at: Micros,
    /// How long it lasts.
    pub lasts: Micros,
    /// What breaks.
    pub fault: Fault,
}

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Adds one to a counting tag.
    Count,
    /// Writes a memory tag.
    Set,
    /// Acks an alarm.
    Ack,
    /// Sets a property.
    Props,
    /// Loads the page anew, with nothing kept.
    Reload,
}

/// All of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed: everything follows from it.
    pub seed: u64,
    /// The shared settings.
    pub settings: SharedSettings,
    /// The backup's own settings, where they are other ones.
    pub backups: Option<SharedSettings>,
    /// Which node is the Master.
    pub master: Host,
    /// When each node is started first.
    pub starts: [Micros; 2],
    /// The faults.
    pub faults: Vec<Planned>,
    /// When which client does what.
    pub deeds: Vec<(Micros, usize, Deed)>,
    /// When an engineer changes the config.
    pub configs: Vec<Micros>,
    /// When a person asks which node for a failover.
    pub persons: Vec<(Micros, Host)>,
    /// When a person asks which node to bring the standby up to date from the start.
    pub resyncs: Vec<(Micros, Host)>,
    /// What meets the first commit.
    pub on_commit: Option<OnCommit>,
    /// After this chunk of a full transfer the link ends.
    pub on_transfer: Option<u32>,
    /// Whether each client keeps a warm watch.
    pub warm: [bool; CLIENTS],
    /// Takeovers that a script explains.
    pub scripted: u64,
    /// Config updates that wait for the backup may take so many bytes.
    pub config_queue: u64,
    /// Chunks of full transfers are of about this size.
    pub chunk_bytes: usize,
}

impl Plan {
    /// A run without faults and users, for scripts.
    pub fn quiet(seed: u64, master: Host) -> Plan {
        let settings = SharedSettings {
            join_wait_ms: 3_000,
            // Scripts move the level themselves.
            master_recovery_mode: RecoveryMode::Manual,
            ..SharedSettings::default()
        };
        Plan {
            seed,
            settings,
            backups: None,
            master,
            starts: [0, 0],
            faults: Vec::new(),
            deeds: Vec::new(),
            configs: Vec::new(),
            persons: Vec::new(),
            resyncs: Vec::new(),
            on_commit: None,
            on_transfer: None,
            warm: [true; CLIENTS],
            scripted: 50,
            config_queue: QUEUE,
            chunk_bytes: CHUNK_BYTES,
        }
    }

    /// The run of a seed.
    pub fn random(seed: u64) -> Plan {
        let mut chance = Chance::new(seed).fork(1);
        let master = usize::from(chance.one_in(2));
        let mut settings = settings(&mut chance);
        let mut starts = [0, 0];
        starts[usize::from(chance.one_in(2))] = chance.range(0, 3 * SECOND);
        let count = chance.range(FAULTS_MIN, FAULTS_MAX);
        let mut faults: Vec<Planned> = (0..count).map(|_| fault(&mut chance, &settings)).collect();
        faults.sort_by_key(|planned| planned.at);
        let clients = CLIENTS as u64;
        let mut deeds: Vec<(Micros, usize, Deed)> = (0..WRITES + ACKS + RELOADS)
            .map(|index| {
                let at = chance.range(2 * SECOND, LENGTH);
                let client = usize::try_from(chance.range(0, clients)).unwrap_or(0);
                let deed = match index {
                    _ if index >= WRITES + ACKS => Deed::Reload,
                    _ if index >= WRITES => Deed::Ack,
                    _ if index % 8 == 7 => Deed::Set,
                    _ if index % 16 == 6 => Deed::Props,
                    _ => Deed::Count,
                };
                (at, client, deed)
            })
            .collect();
        deeds.sort_by_key(|(at, client, _)| (*at, *client));
        let configs = (0..CONFIGS).map(|_| chance.range(3 * SECOND, LENGTH)).collect();
        let warm = [true, !chance.one_in(2), true];
        let persons = (0..chance.range(0, PERSONS_MAX + 1))
            .map(|_| (chance.range(3 * SECOND, LENGTH), usize::from(chance.one_in(2))))
            .collect();
        let backups = None;
        let on_commit = on_commit(&mut chance);
        let resyncs = (0..chance.range(0, RESYNCS_MAX + 1))
            .map(|_| (chance.range(5 * SECOND, LENGTH), usize::from(chance.one_in(2))))
            .collect();
        // Small chunks, so that the few items of a run are a long transfer.
        let small_chunks = chance.one_in(2);
        let on_transfer = small_chunks.then(|| *chance.pick(&[0, 1, 3, 9, 20]));
        settings.health_switch = chance.one_in(3);
        if settings.health_switch || chance.one_in(4) {
            faults.extend((0..chance.range(1, 4)).map(|_| degraded(&mut chance)));
            faults.sort_by_key(|planned| planned.at);
        }
        Plan {
            seed,
            settings,
            backups,
            master,
            starts,
            faults,
            deeds,
            configs,
            persons,
            resyncs,
            on_commit,
            on_transfer,
            warm,
            scripted: if on_commit.is_some() { 4 } else { 0 },
            // Every fourth run: a few updates and the backup needs everything.
            config_queue: if seed % 4 == 3 { SMALL_QUEUE } else { QUEUE },
            chunk_bytes: if small_chunks { 1 } else { CHUNK_BYTES },
        }
    }

    /// How many takeovers this run may see: the first one, and those that faults explain.
    pub fn takeovers_max(&self) -> u64 {
        let of = |planned: &Planned| planned.fault.takeovers();
        let faults = self.faults.iter().map(of).sum::<u64>();
        // Each of them may be followed by a recovery, and a planned stop by a hand-over.
        let recoveries = self.faults.iter().filter(|planned| of(planned) > 0).count() as u64;
        // A person's switch may be given up and taken up again, and followed by a recovery.
        let persons = 2 * self.persons.len() as u64;
        2 + self.scripted + faults + recoveries + persons
    }
}

fn on_commit(chance: &mut Chance) -> Option<OnCommit> {
    match chance.range(0, 8) {
        0 => Some(OnCommit::Cut(chance.range(50 * MS, 4 * SECOND))),
        1 | 2 => Some(OnCommit::Stall(chance.range(60 * MS, 390 * MS))),
        3 => Some(OnCommit::Stall(chance.range(400 * MS, 3 * SECOND))),
        4 => Some(OnCommit::Kill(chance.range(10 * MS, 3 * SECOND))),
        _ => None,
    }
}

fn settings(chance: &mut Chance) -> SharedSettings {
    let mut settings = SharedSettings {
        join_wait_ms: *chance.pick(&[2_000, 5_000, 30_000]),
        ..SharedSettings::default()
    };
    if chance.one_in(2) {
        settings.master_recovery_mode = RecoveryMode::Manual;
    }
    if chance.one_in(3) {
        settings.ping_rate_ms = chance.range(50, 200);
        settings.ping_max_missed = chance.range(5, 20);
        settings.trust_refused_connection = !chance.one_in(4);
        settings.use_active_uptime_to_resolve_conflict = chance.one_in(4);
        if settings.check().is_err() {
            settings.ping_max_missed = 12;
        }
    }
    settings
}

fn target(chance: &mut Chance) -> Target {
    match chance.range(0, 5) {
        0..3 => Target::Active,
        3 => Target::Standby,
        _ => Target::Node(usize::from(chance.one_in(2))),
    }
}

fn degraded(chance: &mut Chance) -> Planned {
    let at = chance.range(3 * SECOND, LENGTH - 4 * SECOND);
    let lasts = chance.range(SECOND, 20 * SECOND);
    let target = target(chance);
    Planned { at, lasts, fault: Fault::Degrade(target, *chance.pick(&[0, 100, 100, 200])) }
}

fn fault(chance: &mut Chance, settings: &SharedSettings) -> Planned {
    let span = u64::try_from(settings.failover_timeout().as_micros()).unwrap_or(SECOND);
    let at = chance.range(3 * SECOND, LENGTH - 4 * SECOND);
    let short = chance.range(20 * MS, 400 * MS);
    let near = span + chance.range(0, 400 * MS) - 200 * MS;
    let long = chance.range(SECOND, 15 * SECOND);
    let lasts = *chance.pick(&[short, near, long, long]);
    let target = target(chance);
    let fault = match chance.range(0, 26) {
        0..4 => Fault::Kill(target),
        4 => Fault::Stop(target),
        5 | 6 => Fault::Power(target),
        7..10 => Fault::Cut,
        10 | 11 => Fault::OneWay(target),
        12 => Fault::Delay(chance.range(5 * MS, span / 2), chance.range(0, 50 * MS)),
        13 => Fault::Delay(chance.range(span / 2, 2 * span), chance.range(0, 200 * MS)),
        14 => Fault::SlowLink(chance.range(20_000, 1_000_000)),
        15 | 16 => Fault::SlowDisk(target, chance.range(10 * MS, 700 * MS)),
        24 => Fault::FailDisk(target),
        // In one of four nothing is kept.
        25 => Fault::FullDisk(target, [0, 3, 20, 1_000][usize::try_from(at % 4).unwrap_or(0)]),
        17..21 => Fault::Stall(target),
        21 => Fault::Hang(target),
        22 => Fault::ClockStep(target, *chance.pick(&[-3_600_000, -1_000, 1_000, 3_600_000])),
        _ => Fault::CutClients(target),
    };
    Planned { at, lasts, fault }
}
