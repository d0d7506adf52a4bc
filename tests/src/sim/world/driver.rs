//! A node's process and its driver: the start from the store, turns, and the end.
//!
//! A turn is what the real driver does: the timer first, then at most 64 of what has arrived,
//! then a look at the clock again. Each input is followed by draining the door.

use std::collections::{BTreeMap, VecDeque};

use tandem_protocol::gateway::Gateway;
use tandem_protocol::gateway::input::{Input, Loaded, Options, Request, Secret, Stored as How};
use tandem_protocol::limits::INPUTS_PER_CLOCK_LOOK;
use tandem_protocol::node::{BootId, Role};
use tandem_protocol::runtime::records;

use super::{Event, World};
use crate::sim::check::Rule;
use crate::sim::disk::{Begun, Stored};
use crate::sim::hub::Hub;
use crate::sim::network::{End, Host, Micros};
use crate::sim::node::{ForDriver, Run};
use crate::sim::plan::SECOND;
use crate::sim::planted::Plant;

/// A process that ended less than this long ago was restarted quickly.
const QUICK: Micros = 800_000;
/// Modules sample this often.
const SAMPLE_EVERY: Micros = 250_000;
/// Alarms move this often.
const ALARM_EVERY: Micros = 1_700_000;

impl World {
    /// Starts a node's process unless another fault keeps it down.
    pub(super) fn start(&mut self, host: Host) {
        let node = &mut self.nodes[host];
        node.downs = node.downs.saturating_sub(1);
        if node.downs > 0 || node.run.is_some() {
            return;
        }
        node.power = true;
        node.life += 1;
        let after = node.unfinished.take();
        let loaded = match node.disk.load(after) {
            Ok(loaded) => loaded,
            Err(text) => return self.fail(Rule::OldOrNew, text),
        };
        if node.life > 1 && self.now.saturating_sub(node.ended) < QUICK {
            self.tally.case("quick restart");
        }
        let archives = [self.nodes[0].disk.archives(), self.nodes[1].disk.archives()];
        let restarts = self.witness.restarts(&self.nodes[host], &archives);
        self.check(restarts);
        let id = self.nodes[host].id.clone();
        self.line(|| format!("{id} starts at {:?}", loaded.kept.position));
        self.spawn(host, loaded);
        let end = self.nodes[host].end();
        self.after(SAMPLE_EVERY, Event::Sample(end));
        self.after(ALARM_EVERY, Event::Alarm(end));
        self.after(5_000, Event::Project { node: end, change: None });
        self.turn(host);
    }

    fn spawn(&mut self, host: Host, mut loaded: Loaded) {
        if self.plant == Some(Plant::AckForgotten) {
            forget_acks(&mut loaded);
        }
        let memory = Stored::of(&loaded);
        let options = self.options(host);
        let node = &mut self.nodes[host];
        let (shown, config) = (loaded.kept.items.clone(), loaded.config.items.clone());
        let gateway = Gateway::new(node.clock(self.now), node.wall(self.now), options, loaded);
        let status = gateway.status();
        // It has not heard its peer yet: what it answers alone is no surprise to anybody.
        self.witness.declares(host, true);
        node.run = Some(Run {
            gateway,
            timer: None,
            driver: VecDeque::from([ForDriver::Input(Box::new(Input::Timeout))]),
            arrivals: VecDeque::new(),
            driving: false,
            busy_until: 0,
            permit: None,
            memory,
            shown,
            config,
            status,
            links: BTreeMap::new(),
            hub: Hub::new(node.life),
            dialing: (None, 0),
            told_out: false,
        });
        let says = self.says_at_start(host);
        if let Some(run) = &mut self.nodes[host].run {
            run.driver.extend(says);
        }
        if host == self.plan.master {
            let config = self.witness.config(&self.nodes[host], true);
            self.check(config);
        }
    }

    fn options(&mut self, host: Host) -> Options {
        let seed = self.chance.bits();
        let node = &self.nodes[host];
        Options {
            node: node.id.clone(),
            boot: BootId(seed ^ 0x5555),
            role: node.role,
            pair: "plant".parse().ok(),
            secret: Secret(b"a secret of the pair".to_vec()),
            names_peer: true,
            settings: match (&self.plan.backups, node.role) {
                (Some(own), Role::Backup) => own.clone(),
                (Some(_) | None, _) => self.plan.settings.clone(),
            },
            software: "0.1.0".to_owned(),
            listens: vec![format!("127.0.0.{}:8088", host + 1)],
            public_address: address(host),
            seed,
            config_queue_max_bytes: self.plan.config_queue,
            chunk_bytes: self.plan.chunk_bytes,
        }
    }

    /// The driver's turn, as long as it has something to do.
    pub(super) fn turn(&mut self, host: Host) {
        loop {
            let node = &mut self.nodes[host];
            if !node.drives() || self.failure.is_some() {
                return;
            }
            let end = node.end();
            let Some(run) = &mut node.run else { return };
            if run.driving || self.now < run.busy_until {
                return;
            }
            let timer = run.timer.is_some_and(|at| at <= self.now);
            let batch: Vec<ForDriver> = if timer {
                run.timer = None;
                vec![ForDriver::Input(Box::new(Input::Timeout))]
            } else {
                let count = run.driver.len().min(INPUTS_PER_CLOCK_LOOK);
                run.driver.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            run.driving = true;
            let cost = self.input_cost * batch.len() as u64;
            for what in batch {
                if self.nodes[host].end() == end {
                    self.drive(host, what);
                }
            }
            let node = &mut self.nodes[host];
            let Some(run) = node.run.as_mut().filter(|_| node.life == end.life) else { return };
            run.driving = false;
            if cost > 0 {
                run.busy_until = self.now + cost;
                self.after(cost, Event::Turn(end));
            }
        }
    }

    fn drive(&mut self, host: Host, what: ForDriver) {
        let clock = self.nodes[host].session_clock(self.now);
        let input = match what {
            ForDriver::Input(mut input) => {
                // As in the driver: the deadline is looked at when it comes to run.
                if let Input::Request { request: Request::Operate { clock: at, .. }, .. } =
                    input.as_mut()
                {
                    *at = clock;
                }
                Some(*input)
            }
            ForDriver::Knock(knock) => self.link_knock(host, knock),
            ForDriver::Opened(pipe, purpose) => self.link_opened(host, pipe, purpose),
            ForDriver::Came(pipe, cargo) => self.link_came(host, pipe, cargo),
        };
        if let Some(input) = input {
            self.feed(host, input);
        }
    }

    fn feed(&mut self, host: Host, input: Input) {
        let node = &mut self.nodes[host];
        let clock = node.clock(self.now);
        let end = node.end();
        let Some(run) = &mut node.run else { return };
        run.gateway.handle_input(clock, input);
        // The door must say `Timeout` at some time.
        for _ in 0..1_000_000 {
            let node = &mut self.nodes[host];
            let Some(run) = node.run.as_mut().filter(|_| node.life == end.life) else { return };
            let output = run.gateway.poll_output();
            if self.output(host, output) || self.failure.is_some() {
                return;
            }
        }
        self.fail(Rule::Settles, "the door never says Timeout".to_owned());
    }

    /// Hands something to the driver and lets it run.
    pub(super) fn hand_in(&mut self, host: Host, what: ForDriver) {
        if let Some(run) = &mut self.nodes[host].run {
            run.driver.push_back(what);
            self.turn(host);
        }
    }

    /// Begins a commit when something waits and the process runs.
    pub(super) fn write(&mut self, host: Host) {
        let node = &mut self.nodes[host];
        if !node.runs() {
            return;
        }
        let end = node.end();
        match node.disk.begin(&mut self.disk_chance) {
            Ok(Begun::Ends(wait)) => self.after(wait, Event::Synced(end)),
            Ok(Begun::Nothing) => {}
            Ok(Begun::Full(tickets)) => {
                self.tell_full(host);
                for ticket in tickets {
                    self.tally.case("full disk: a store waited for space");
                    let stored = Input::Stored { ticket, how: How::Full };
                    self.hand_in(host, ForDriver::Input(Box::new(stored)));
                }
            }
            Err(text) => self.fail(Rule::OldOrNew, text),
        }
    }

    pub(super) fn synced(&mut self, end: End) {
        let node = &mut self.nodes[end.host];
        if node.end() != end || node.run.is_none() {
            return;
        }
        let (tickets, ok) = node.disk.end();
        self.tell_full(end.host);
        for ticket in tickets {
            if self.plant_claims(ticket) {
                continue;
            }
            let how = if ok { How::Durable } else { How::Failed };
            let stored = Input::Stored { ticket, how };
            self.hand_in(end.host, ForDriver::Input(Box::new(stored)));
        }
        self.write(end.host);
    }

    /// The rules hear that the disk is full, and from then on it is looked at once a second.
    fn tell_full(&mut self, host: Host) {
        let node = &mut self.nodes[host];
        if node.disk.full.is_none() || node.disk.told_full {
            return;
        }
        node.disk.told_full = true;
        let end = node.end();
        self.after(SECOND, Event::Space(end));
        self.hand_in(host, ForDriver::Input(Box::new(Input::DiskFull { full: true })));
    }

    pub(super) fn look_for_space(&mut self, end: End) {
        let node = &mut self.nodes[end.host];
        if node.end() != end || node.run.is_none() || !node.disk.told_full {
            return;
        }
        if node.disk.full.is_some() || !node.runs() {
            self.after(SECOND, Event::Space(end));
            return;
        }
        node.disk.told_full = false;
        self.write(end.host);
        self.hand_in(end.host, ForDriver::Input(Box::new(Input::DiskFull { full: false })));
    }

    /// Ends a node's process: killed, or without power.
    pub(super) fn kill(&mut self, host: Host, power: bool) {
        let end = self.nodes[host].end();
        let node = &mut self.nodes[host];
        node.power &= !power;
        if node.run.take().is_none() {
            return;
        }
        node.ended = self.now;
        node.unfinished = node.disk.crash(&mut self.disk_chance, power);
        (node.stalls, node.hangs, node.stalled_alone) = (0, 0, false);
        self.witness.chooses(None, Some(host));
        if node.unfinished.is_some() {
            self.tally.case("crash during a commit");
        }
        if node.disk.torn {
            self.tally.case("torn tail");
        }
        if self.nodes[1 - host].run.is_none() && self.nodes[1 - host].life > 0 {
            self.tally.case("both nodes down");
        }
        let id = self.nodes[host].id.clone();
        self.line(|| format!("{id} ends (power {})", if power { "lost" } else { "on" }));
        for (pipe, side) in self.network.of(end) {
            // With unread bytes the kernel resets, and what was on its way is lost; otherwise it
            // ends after all that was sent.
            if power {
                self.network.lose(pipe, side);
            } else if self.chance.one_in(3) {
                self.network.lose(pipe, side);
                let reset = self.network.reset(self.now, pipe, side);
                self.arrive(reset);
            } else {
                let last =
                    self.network.send(self.now, pipe, side, super::super::network::Cargo::End);
                self.arrive(last);
            }
            self.network.leave(pipe, side);
        }
    }
}

/// Where clients reach a node.
pub(super) fn address(host: Host) -> String {
    format!("http://127.0.0.{}:8088", host + 1)
}

fn forget_acks(loaded: &mut Loaded) {
    let kept = &mut loaded.kept.items;
    let alarms: Vec<_> = kept.keys().filter(|key| key.provider == "alarms").cloned().collect();
    for key in alarms {
        let state: Option<tandem_protocol::alarm::AlarmState> = records::get(kept, &key);
        if let (Some(mut state), Some(item)) = (state, kept.get_mut(&key)) {
            state.acked = false;
            item.body = records::encode(&state);
        }
    }
}
