//! The door of one node: all its rules behind one input and one output.
//!
//! ```text
//!            links  looks  stores  requests  time
//!                        |
//!                        v
//!   handle_input(now, input)        one input ...
//!   poll_output() -> Output         ... then drain, until Output::Timeout
//!                        |
//!                        v
//!   send  dial  look  store  answer  show  level  permit  event
//! ```
//!
//! Inside, one file a matter: `greeting` brings a link up to its verdict, `level` moves the level
//! and keeps the permit, `switchover` gives it on purpose and `offer` takes it, `watch` judges
//! whether the peer lives, `data` moves items, `merge` makes two histories one, `requests` runs
//! what clients ask, `answers` holds it until it may be answered, `disk` knows what is durable.
//! What is due first is handled first: a timeout that is older than an input goes before it.
//!
//! What depends on the disk comes out at `Input::Stored` of its ticket; nothing else waits.
//! A gateway does not fail: a wrong peer is `Output::CloseLink` with a reason, a start that must
//! not go on is `Output::Exit`.

mod adopt;
mod ages;
mod alone;
mod answers;
mod apply;
mod data;
mod disk;
mod fence;
mod goodbye;
mod greeting;
mod health;
pub mod input;
mod interrupted;
mod level;
mod link;
mod look;
pub mod merge;
mod offer;
mod order;
pub mod output;
mod person;
mod proof;
mod reason;
mod receiving;
mod requests;
mod reserve;
mod sending;
mod stand;
mod status;
mod switchover;
mod sync;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::event::Severity;
use crate::gateway::ages::Ages;
use crate::gateway::answers::Answers;
use crate::gateway::apply::Unapplied;
use crate::gateway::disk::Disk;
use crate::gateway::greeting::Greeting;
use crate::gateway::health::Wellness;
use crate::gateway::input::{Input, Ledger, LinkId, Loaded, Options};
use crate::gateway::interrupted::Interrupted;
use crate::gateway::level::LevelState;
use crate::gateway::link::Link;
use crate::gateway::output::{EventKind, GatewayEvent, Lane, Output};
use crate::gateway::person::Forwarded;
use crate::gateway::reason::TakeReason;
use crate::gateway::reserve::Reserve;
use crate::gateway::status::Digest;
use crate::gateway::switchover::Handover;
use crate::gateway::sync::Lags;
use crate::gateway::watch::{Dialer, Peer};
use crate::item::Kind;
use crate::node::Role;
use crate::planted::{self, RuleFault};
use crate::random::Random;
use crate::replication::log::Log;
use crate::runtime::Definitions;
use crate::settings::SharedSettings;
use crate::time::{Instant, UnixMs};
use crate::wire::peer::{Message, Refusal};

/// One node's rules.
#[derive(Debug)]
pub struct Gateway {
    options: Options,
    /// The shared settings in force: its own, or the master's after a verdict.
    settings: SharedSettings,
    random: Random,
    now: Instant,
    wall: (Instant, UnixMs),
    out: VecDeque<Output>,
    ledger: Ledger,
    disk: Disk,
    wellness: Wellness,
    level: LevelState,
    reserve: Option<Reserve>,
    handover: Handover,
    forwarded: Forwarded,
    next_tick: Instant,
    heartbeats: u64,
    /// What the peer has said since the last tick beside data.
    words: u32,
    peer: Peer,
    dialer: Dialer,
    greetings: BTreeMap<LinkId, Greeting>,
    link: Option<Link>,
    interrupted: Interrupted,
    config: Log,
    kept: Log,
    definitions: Definitions,
    answers: Answers,
    lags: Lags,
    ages: Ages,
    unapplied: Unapplied,
    /// Rooms rest until then, or until what the other node answered alone is merged.
    merge_hold: Option<Instant>,
    shown_status: Option<Digest>,
    stopping: bool,
}

impl Gateway {
    /// A node that has just started, with what its store held.
    pub fn new(now: Instant, wall: UnixMs, options: Options, loaded: Loaded) -> Gateway {
        let Loaded { mut ledger, config, kept } = loaded;
        if let Some(reserved) = ledger.reserved.take() {
            // It may have been told to clients just before the end of the process: a peer that
            // has used the same counter since must hear of a greater one.
            let spent = reserved.term.counter.saturating_add(1);
            ledger.highest_counter = ledger.highest_counter.max(spent);
        }
        // A choice does not outlive the chosen node's run.
        ledger.choice = ledger.choice.take_if(|choice| choice.node != options.node);
        let mut config = Log::new(Kind::Config, config, ledger.config_head)
            .with_marks(ledger.config_marks.clone());
        if options.pair.is_some() {
            config = config.with_queue(options.config_queue_max_bytes, ledger.config_shared);
        }
        let kept = Log::new(Kind::Kept, kept, [0; 32]);
        let settings = options.settings.clone();
        let join_wait = match planted::is(RuleFault::JoinWaitSkipped) {
            true => Duration::ZERO,
            false => settings.join_wait(),
        };
        let mut gateway = Gateway {
            random: Random::new(options.seed),
            now,
            wall: (now, wall),
            out: VecDeque::new(),
            disk: Disk::new(config.position(), kept.position()),
            wellness: Wellness::default(),
            level: LevelState::Undecided { until: now + join_wait },
            reserve: None,
            handover: Handover::default(),
            forwarded: Forwarded::default(),
            next_tick: now + settings.ping_rate(),
            heartbeats: 0,
            words: 0,
            peer: Peer::default(),
            dialer: Dialer::new(now, &options),
            greetings: BTreeMap::new(),
            link: None,
            interrupted: Interrupted::default(),
            definitions: Definitions::read(config.items()),
            answers: Answers::new(&config, &kept),
            lags: Lags::new(settings.sync_lag_max()),
            ages: Ages::restore(&ledger.alone_times, now, wall),
            unapplied: Unapplied::default(),
            merge_hold: None,
            shown_status: None,
            stopping: false,
            settings,
            options,
            ledger,
            config,
            kept,
        };
        gateway.answers.restore_alone(&gateway.ledger, now, wall);
        for kind in Kind::ALL {
            let items = gateway.log(kind).items().clone();
            gateway.out.push_back(Output::Reload { kind, items });
        }
        if gateway.alone_by_setting() {
            gateway.take(TakeReason::Alone);
        }
        gateway.settle();
        gateway
    }

    /// The shared settings in force: its own, or the master's after a verdict.
    pub fn settings(&self) -> &SharedSettings {
        &self.settings
    }

    /// Takes one input. Drain [`Gateway::poll_output`] before the next one.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.now >= self.next_timeout().0 {
            self.time_passed();
        }
        match input {
            Input::Timeout => {}
            Input::LinkUp { link, side } => self.link_up(link, side),
            Input::LinkMessage { link, message } => self.link_message(link, message),
            Input::LinkGarbage { link, reason } => self.link_garbage(link, reason),
            Input::LinkDown { link } => self.link_down(link),
            Input::DialFailed => self.dial_failed(),
            Input::Looked { look, all_refused } => self.looked(look, all_refused),
            Input::Asked { answer, .. } => self.asked_active(answer),
            Input::Unapplied { key, reason } => self.cannot_apply(key, &reason),
            Input::Stored { ticket, how } => self.stored(ticket, how),
            Input::DiskFull { full } => self.disk_full(full),
            Input::Health { level, reason } => self.modules_say(level, reason),
            Input::Request { ticket, request, wall } => self.request(ticket, request, wall),
            Input::Stop => self.stop(),
        }
        self.settle();
    }

    /// The next thing to do; after `Output::Timeout` there is nothing more until an input.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        let (at, reason) = self.next_timeout();
        Output::Timeout { at, reason }
    }

    /// Whether this node waits for nobody: it names no peer, or its master's join wait is zero.
    fn alone_by_setting(&self) -> bool {
        match self.options.role {
            Role::Independent => true,
            Role::Master => self.settings.join_wait_ms == 0 || self.options.pair.is_none(),
            Role::Backup => false,
        }
    }

    /// Everything that follows from what has changed.
    fn settle(&mut self) {
        self.mark_alone_if_unwatched();
        self.pump_merge();
        self.config_fetched();
        self.pump();
        self.disk.flush(&mut self.out, &self.ledger);
        self.send_receipts();
        self.judge_lag();
        self.judge_sync();
        self.confirm();
        if self.advance_switchover() {
            self.pump();
            self.send_receipts();
        }
        self.disk.flush(&mut self.out, &self.ledger);
        self.tell_status();
    }

    fn next_timeout(&self) -> (Instant, &'static str) {
        let due = [
            Some((self.next_tick, "heartbeat")),
            self.watch_due(),
            self.level_due(),
            self.greetings.values().map(|g| (g.deadline(), "greeting")).min(),
            self.link.as_ref().and_then(Link::due),
            self.dialer.due().map(|at| (at, "redial")),
            self.handover.due(self.now),
            self.forwarded.due(),
            self.hold_due(),
            self.lag_due(),
            self.unapplied.due(),
            self.disk.flight_due(),
        ];
        due.into_iter().flatten().min_by_key(|(at, _)| *at).unwrap_or((self.next_tick, "heartbeat"))
    }

    /// Handles all that is due, the heartbeat first.
    fn time_passed(&mut self) {
        if self.now >= self.next_tick {
            self.tick();
        }
        self.watch_time();
        self.level_time();
        self.greeting_time();
        self.link_time();
        self.dial_time();
        self.forwarded_time();
        self.apply_time();
        self.leave_full_disk();
        self.stop_time();
    }

    fn log(&self, kind: Kind) -> &Log {
        match kind {
            Kind::Config => &self.config,
            Kind::Kept => &self.kept,
        }
    }

    fn log_mut(&mut self, kind: Kind) -> &mut Log {
        match kind {
            Kind::Config => &mut self.config,
            Kind::Kept => &mut self.kept,
        }
    }

    fn wall_now(&self) -> UnixMs {
        let passed = u64::try_from(self.now.since(self.wall.0).as_millis()).unwrap_or(0);
        UnixMs(self.wall.1.0.saturating_add(passed))
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.out.push_back(Output::Send { link, lane: Lane::Control, message });
    }

    fn close_link(&mut self, link: LinkId, reason: Refusal, detail: impl Into<String>) {
        let detail = detail.into();
        self.out.push_back(Output::CloseLink { link, reason, detail });
    }

    fn event(
        &mut self,
        severity: Severity,
        kind: EventKind,
        text: impl Into<String>,
        detail: Vec<(&'static str, String)>,
    ) {
        let event = GatewayEvent { severity, kind, text: text.into(), detail };
        self.out.push_back(Output::Event(event));
    }

    fn span(&self) -> Duration {
        self.settings.failover_timeout()
    }
}
