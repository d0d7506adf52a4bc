//! Faults: how each begins and ends, for plans and for scripts.

use tandem_protocol::gateway::input::Input;
use tandem_protocol::status::WELL;

use super::{Event, HOSTS_MAX, World};
use crate::sim::network::{FIRST_CLIENT, Host, Micros};
use crate::sim::node::ForDriver;
use crate::sim::plan::{Fault, OnCommit, SECOND, Target};
use crate::sim::planted::Plant;

/// Nodes that can hear each other again have met after this much more than the failover timeout.
/// The rules bound a heal by one redial, not by the failover timeout alone: a dial that began
/// during the cut runs until it fails (1 s), the next one is due after at most 1 s, and what TCP
/// kept comes within 0.4 s. After a thaw nothing is excused, unless the node had lost its peer
/// before it was stopped: then it goes on at once, as if the cut had gone on.
const REDIAL: Micros = 2_600_000;
/// A link with less cannot carry its updates and heartbeats in time.
const RATE_MIN: u64 = 250_000;

impl World {
    fn target(&self, target: Target) -> Host {
        let active = self.active().unwrap_or(self.plan.master);
        match target {
            Target::Active => active,
            Target::Standby => 1 - active,
            Target::Node(host) => host,
        }
    }

    pub(super) fn begin_fault(&mut self, index: usize) {
        let Some(planned) = self.plan.faults.get(index).copied() else { return };
        let active = self.active();
        let host = match planned.fault {
            Fault::Kill(t) | Fault::Power(t) | Fault::OneWay(t) | Fault::Stall(t) => self.target(t),
            Fault::Hang(t) | Fault::Stop(t) | Fault::SlowDisk(t, _) => self.target(t),
            Fault::ClockStep(t, _) | Fault::CutClients(t) | Fault::FailDisk(t) => self.target(t),
            Fault::FullDisk(t, _) | Fault::Degrade(t, _) => self.target(t),
            Fault::Cut | Fault::Delay(..) | Fault::SlowLink(_) => 0,
        };
        self.met.insert(index, host);
        self.tally.fault(planned.fault.name());
        if let Fault::Stall(_) = planned.fault {
            let at_active = active == Some(host);
            let case = if at_active { "stall of the active node" } else { "stall of the standby" };
            self.tally.case(case);
        }
        self.line(|| {
            format!("fault on {host}: {:?} for {} ms", planned.fault, planned.lasts / 1000)
        });
        match planned.fault {
            Fault::Kill(_) => self.take_down(host, false),
            Fault::Stop(_) => self.stop(host),
            Fault::Power(_) => self.take_down(host, true),
            Fault::Cut => {
                self.cut(0, 1);
                self.cut(1, 0);
            }
            Fault::OneWay(_) => self.cut(host, 1 - host),
            Fault::Delay(extra, spread) => self.slow_link(extra, spread, 0),
            Fault::SlowLink(rate) => self.slow_link(0, 0, rate),
            Fault::SlowDisk(_, longer) => self.nodes[host].disk.slow = longer,
            Fault::FailDisk(_) => self.nodes[host].disk.fails = true,
            Fault::FullDisk(_, kept) => self.nodes[host].disk.full = Some(kept),
            Fault::Stall(_) => self.stall(host),
            Fault::Hang(_) => self.hang(host),
            Fault::ClockStep(_, step) => self.nodes[host].wall_step += step,
            Fault::CutClients(_) => self.cut_clients(host),
            Fault::Degrade(_, level) => self.modules_say(host, level),
        }
    }

    pub(super) fn end_fault(&mut self, index: usize) {
        let Some(planned) = self.plan.faults.get(index).copied() else { return };
        let Some(host) = self.met.remove(&index) else { return };
        self.line(|| format!("end on {host}: {:?}", planned.fault));
        match planned.fault {
            Fault::Kill(_) | Fault::Stop(_) | Fault::Power(_) => self.start(host),
            Fault::Cut => {
                self.heal(0, 1);
                self.heal(1, 0);
            }
            Fault::OneWay(_) => self.heal(host, 1 - host),
            Fault::Delay(extra, spread) => self.restore_link(extra + spread, 0),
            Fault::SlowLink(rate) => self.restore_link(0, rate),
            Fault::SlowDisk(..) => self.nodes[host].disk.slow = 0,
            Fault::FullDisk(..) => self.nodes[host].disk.full = None,
            Fault::FailDisk(_) => {
                // Somebody has seen to the disk, and starts the process again.
                self.nodes[host].disk.fails = false;
                self.take_down(host, false);
                self.bring_up(host);
            }
            Fault::Stall(_) => self.thaw(host),
            Fault::Hang(_) => self.unhang(host),
            Fault::ClockStep(..) => {}
            Fault::CutClients(_) => self.heal_clients(host),
            Fault::Degrade(..) => self.modules_say(host, WELL),
        }
    }

    /// A commit is on its way: what the plan has for it comes now.
    pub(super) fn committed(&mut self, host: Host) {
        self.tally.case("commit of a switchover");
        let what = self.plan.on_commit.take().filter(|_| !self.settling);
        let Some(what) = what else { return };
        self.line(|| format!("a commit of {host} meets {what:?}"));
        let (case, meets, lasts) = match what {
            OnCommit::Cut(lasts) => ("cut right after a commit", host, lasts),
            OnCommit::Stall(lasts) => ("stall right after a commit", 1 - host, lasts),
            OnCommit::Kill(lasts) => ("death right after a commit", host, lasts),
        };
        self.tally.case(case);
        match what {
            OnCommit::Cut(_) => {
                self.cut(0, 1);
                self.cut(1, 0);
            }
            OnCommit::Stall(_) => self.stall(meets),
            OnCommit::Kill(_) => self.take_down(meets, false),
        }
        self.after(lasts, Event::Mended(meets, what));
    }

    pub(super) fn mended(&mut self, host: Host, what: OnCommit) {
        match what {
            OnCommit::Cut(_) => {
                self.heal(0, 1);
                self.heal(1, 0);
            }
            OnCommit::Stall(_) => self.thaw(host),
            OnCommit::Kill(_) => self.bring_up(host),
        }
    }

    /// Kills a process (or its host) and keeps it down until [`World::bring_up`].
    pub fn take_down(&mut self, host: Host, power: bool) {
        self.nodes[host].downs += 1;
        self.kill(host, power);
    }

    /// Asks a process to stop; [`World::bring_up`] starts it again.
    pub fn stop(&mut self, host: Host) {
        self.nodes[host].downs += 1;
        self.hand_in(host, ForDriver::Input(Box::new(Input::Stop)));
    }

    /// A process that is stopping is asked again: it stops at once.
    pub fn stop_again(&mut self, host: Host) {
        self.hand_in(host, ForDriver::Input(Box::new(Input::Stop)));
    }

    /// A process has said all that it wanted to say.
    pub(super) fn stopped(&mut self, host: Host) {
        self.kill(host, false);
        if self.nodes[host].downs == 0 {
            // It was held until after it should have been started again.
            self.after(SECOND / 3, Event::Start(host));
        }
    }

    /// Starts a process again.
    pub fn bring_up(&mut self, host: Host) {
        self.start(host);
    }

    /// Loses what is sent from one node to the other.
    pub fn cut(&mut self, from: Host, to: Host) {
        self.network.cut(from, to);
    }

    /// Ends one cut.
    pub fn heal(&mut self, from: Host, to: Host) {
        for arrival in self.network.heal(self.now, from, to) {
            self.arrive(Some(arrival));
        }
        if from < FIRST_CLIENT && to < FIRST_CLIENT {
            self.excuse();
        }
    }

    /// From now on for one redial two writers may be seen.
    pub(super) fn excuse(&mut self) {
        self.excused_until = self.excused_until.max(self.now + self.span() + REDIAL);
    }

    /// Whether a link like this is as bad as a cut: a dial, the hellos and the verdict cross it five
    /// times, and may take no longer than the failover timeout.
    fn is_bad(&self, late: Micros, rate: u64) -> bool {
        late > self.span() / 8 || (rate > 0 && rate < RATE_MIN)
    }

    /// Slows the link in both directions.
    pub fn slow_link(&mut self, extra: Micros, spread: Micros, rate: u64) {
        self.bad_links += u32::from(self.is_bad(extra + spread, rate));
        self.network.slow(0, 1, extra, spread, rate);
        self.network.slow(1, 0, extra, spread, rate);
    }

    fn restore_link(&mut self, late: Micros, rate: u64) {
        if self.is_bad(late, rate) {
            self.bad_links = self.bad_links.saturating_sub(1);
            self.excuse();
            // What was sent late is still on its way.
            self.excused_until = self.excused_until.max(self.now + late * 2 + self.span() + REDIAL);
        }
        self.network.slow(0, 1, 0, 0, 0);
        self.network.slow(1, 0, 0, 0, 0);
    }

    /// Stops a process (SIGSTOP).
    pub fn stall(&mut self, host: Host) {
        self.notes_alone(host);
        self.nodes[host].stalls += 1;
    }

    fn notes_alone(&mut self, host: Host) {
        let run = self.nodes[host].run.as_ref();
        let alone = run.and_then(|run| run.status.peer.as_ref()).is_none_or(|peer| !peer.connected);
        self.nodes[host].stalled_alone |= alone;
    }

    /// A node that had lost its peer before it was stopped goes on at once: what a heal would
    /// have ended goes on for one redial.
    fn goes_on(&mut self, host: Host) {
        if self.nodes[host].drives() && std::mem::take(&mut self.nodes[host].stalled_alone) {
            self.excuse();
        }
    }

    /// Lets a stopped process go on (SIGCONT).
    pub fn thaw(&mut self, host: Host) {
        self.nodes[host].stalls = self.nodes[host].stalls.saturating_sub(1);
        self.goes_on(host);
        self.turn(host);
        self.serve(host);
        self.write(host);
    }

    /// Stops a driver alone.
    pub fn hang(&mut self, host: Host) {
        self.notes_alone(host);
        self.nodes[host].hangs += 1;
        self.tally.case("driver hung");
    }

    /// Lets a hanging driver go on.
    pub fn unhang(&mut self, host: Host) {
        self.nodes[host].hangs = self.nodes[host].hangs.saturating_sub(1);
        self.goes_on(host);
        self.turn(host);
    }

    /// Keeps clients from a node.
    pub fn cut_clients(&mut self, host: Host) {
        for client in FIRST_CLIENT..HOSTS_MAX {
            self.cut(client, host);
            self.cut(host, client);
        }
    }

    /// Lets clients reach a node again.
    pub fn heal_clients(&mut self, host: Host) {
        for client in FIRST_CLIENT..HOSTS_MAX {
            self.heal(client, host);
            self.heal(host, client);
        }
    }

    /// Keeps one client from a node.
    pub fn cut_client(&mut self, client: usize, host: Host) {
        self.cut(FIRST_CLIENT + client, host);
        self.cut(host, FIRST_CLIENT + client);
    }

    /// Lets this client reach the node again.
    pub fn heal_client(&mut self, client: usize, host: Host) {
        self.heal(FIRST_CLIENT + client, host);
        self.heal(host, FIRST_CLIENT + client);
    }

    /// The planted crash loop: no fault of the plan explains it.
    pub(super) fn strike(&mut self, down: bool) {
        debug_assert_eq!(self.plant, Some(Plant::CrashLoop));
        if self.now > 58 * SECOND && down {
            return;
        }
        if down {
            let host = self.target(Target::Active);
            self.met.insert(usize::MAX, host);
            self.take_down(host, false);
            self.after(SECOND / 2, Event::Strike(false));
        } else if let Some(host) = self.met.remove(&usize::MAX) {
            self.bring_up(host);
            self.after(SECOND, Event::Strike(true));
        }
    }
}
