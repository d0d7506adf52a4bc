//! The room in which modules live: tells them what is in force, and carries their state.
//!
//! One task; a module's own work is tasks of its own. The level goes first, so that on activation
//! sources start within milliseconds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tandem_protocol::item::{Kind, Update};
use tandem_protocol::runtime::definitions::settings_key;
use tandem_protocol::settings::SharedSettings;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::config::Applied;
use super::context::{Context, Failure};
use super::follower::{concerns_definitions, read};
use super::journal::{Appending, Journal};
use super::{Module, Now, Stage};
use crate::driver::{self, LevelNow, Shown};
use crate::live::Live;
use crate::{Shutdown, stopped};

/// Operations that wait for the room.
const WANTED_MAX: usize = 64;
/// Modules are asked this often what changed in their state: what a takeover may set back.
const DIFFERENCES_EVERY: Duration = Duration::from_millis(100);

/// An operation on its way to its module.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) module: &'static str,
    pub(super) operation: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<u8, Failure>>,
}

/// The room in which modules live.
pub struct Room {
    driver: driver::Handle,
    live: Live,
    wanted: mpsc::Sender<Wanted>,
    wanted_in: mpsc::Receiver<Wanted>,
    restarted: Restarted,
}

/// Is told how long a soft reboot took.
type Restarted = Box<dyn Fn(Duration) + Send>;

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl Room {
    /// A room without modules.
    pub fn new(driver: driver::Handle, live: Live) -> Room {
        let (wanted, wanted_in) = mpsc::channel(WANTED_MAX);
        Room { driver, live, wanted, wanted_in, restarted: Box::new(|_| {}) }
    }

    /// Tells of each soft reboot, when it is over.
    #[must_use]
    pub fn on_restart(mut self, restarted: impl Fn(Duration) + Send + 'static) -> Room {
        self.restarted = Box::new(restarted);
        self
    }

    /// What the module of this name works with.
    pub fn context(&self, name: &'static str) -> Context {
        let (driver, live) = (self.driver.clone(), self.live.clone());
        Context { name, driver, live, wanted: self.wanted.clone() }
    }

    /// Runs modules until `shutdown`.
    pub async fn run(self, modules: Vec<Box<dyn Module>>, mut shutdown: Shutdown) {
        let Room { driver, live, wanted: _own, mut wanted_in, restarted } = self;
        let mut levels = driver.levels();
        let mut settings = driver.settings_changes();
        let mut shown = driver.shown();
        let now = now(&driver, &levels, &settings, read(&driver));
        let hosted = modules.into_iter().enumerate().map(|(place, module)| Hosted {
            journal: Journal::new(place, module.name()),
            config: Applied::default(),
            module,
        });
        let mut host =
            Host { driver, live, now, hosted: hosted.collect(), appending: none(), restarted };
        host.look_at_config();
        host.restore();
        host.enter();
        let mut differences = tokio::time::interval(DIFFERENCES_EVERY);
        differences.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut shutdown) => break,
                changed = levels.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    host.moved(&levels, &settings);
                }
                changed = settings.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    host.moved(&levels, &settings);
                }
                heard = shown.recv() => match heard {
                    Ok(shown) => host.shown(&shown),
                    Err(broadcast::error::RecvError::Lagged(_)) => host.missed(),
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                Some((place, answer)) = host.appending.next() => host.appended(place, answer),
                Some(wanted) = wanted_in.recv() => host.execute(wanted),
                _ = differences.tick() => host.look_at_state(),
            }
        }
        host.now.stage = Stage::Cold;
        host.enter();
    }
}

fn none() -> FuturesUnordered<Appending> {
    FuturesUnordered::new()
}

fn now(
    driver: &driver::Handle,
    levels: &watch::Receiver<LevelNow>,
    settings: &watch::Receiver<Arc<SharedSettings>>,
    definitions: Arc<tandem_protocol::runtime::Definitions>,
) -> Now {
    let stage = Stage::of(&levels.borrow());
    tracing::trace!(?stage, gate = driver.gate().is_open(), "modules look");
    Now { stage, history: settings.borrow().history_level, definitions }
}

struct Hosted {
    module: Box<dyn Module>,
    config: Applied,
    journal: Journal,
}

struct Host {
    driver: driver::Handle,
    live: Live,
    now: Now,
    hosted: Vec<Hosted>,
    appending: FuturesUnordered<Appending>,
    restarted: Restarted,
}

impl Host {
    fn enter(&mut self) {
        let begun = self.driver.clock().now();
        for hosted in &mut self.hosted {
            hosted.module.enter(&self.now);
        }
        let took = self.driver.clock().now().since(begun);
        tracing::debug!(stage = ?self.now.stage, took_us = took.as_micros(), "modules told");
    }

    /// Another level, or other settings.
    fn moved(
        &mut self,
        levels: &watch::Receiver<LevelNow>,
        settings: &watch::Receiver<Arc<SharedSettings>>,
    ) {
        let definitions = Arc::clone(&self.now.definitions);
        let next = now(&self.driver, levels, settings, definitions);
        if next != self.now {
            self.now = next;
            self.enter();
        }
    }

    fn shown(&mut self, shown: &Shown) {
        let replaced = matches!(shown, Shown::Reload { kind: Kind::Config });
        if !replaced && concerns_definitions(shown, &settings_key()) {
            self.look_at_definitions();
        }
        match shown {
            Shown::Reload { kind: Kind::Config } => self.restart(),
            Shown::Updates { kind: Kind::Config, .. } => self.look_at_config(),
            Shown::Reload { kind: Kind::Kept } => self.restore(),
            Shown::Updates { kind: Kind::Kept, updates } => self.follow(updates),
        }
    }

    /// A soft reboot: all config was replaced, and every module starts anew with what differs.
    fn restart(&mut self) {
        let begun = self.driver.clock().now();
        let stage = std::mem::replace(&mut self.now.stage, Stage::Cold);
        self.enter();
        self.now.definitions = read(&self.driver);
        let tags = &self.now.definitions.tags;
        self.live.retain(|path| tags.contains_key(path));
        self.look_at_config();
        self.now.stage = stage;
        self.enter();
        (self.restarted)(self.driver.clock().now().since(begun));
    }

    /// Something was shown that this room did not hear.
    fn missed(&mut self) {
        self.look_at_definitions();
        self.look_at_config();
        self.restore();
    }

    fn look_at_definitions(&mut self) {
        let definitions = read(&self.driver);
        if definitions == self.now.definitions {
            return;
        }
        self.now.definitions = definitions;
        let tags = &self.now.definitions.tags;
        self.live.retain(|path| tags.contains_key(path));
        self.enter();
    }

    fn look_at_config(&mut self) {
        let items = self.driver.items(Kind::Config);
        for Hosted { module, config, .. } in &mut self.hosted {
            config.look(module.as_mut(), &items, &self.driver);
        }
    }

    fn restore(&mut self) {
        let items = self.driver.items(Kind::Kept);
        for Hosted { module, journal, .. } in &mut self.hosted {
            journal.restore(module.as_mut(), &items, &self.driver);
        }
    }

    /// What the active node recorded; its own entries it has done before.
    fn follow(&mut self, updates: &[Update]) {
        if self.now.stage.is_active() {
            return;
        }
        for Hosted { module, journal, .. } in &mut self.hosted {
            let module = module.as_mut();
            let follows = updates.iter().all(|u| journal.follow(module, u, &self.driver));
            if !follows {
                journal.restore(module, &self.driver.items(Kind::Kept), &self.driver);
            }
        }
    }

    fn execute(&mut self, wanted: Wanted) {
        let Wanted { module, operation, answer } = wanted;
        let active = self.now.stage.is_active() && self.driver.gate().is_open();
        let hosted = self.hosted.iter_mut().find(|h| h.module.name() == module);
        match hosted.filter(|_| active) {
            Some(hosted) => hosted.journal.execute(hosted.module.as_mut(), operation, answer),
            // Whoever asked may have gone.
            None => drop(answer.send(Err(Failure::Standby))),
        }
        self.append();
    }

    fn look_at_state(&mut self) {
        if !self.now.stage.is_active() || !self.driver.gate().is_open() {
            return;
        }
        for Hosted { module, journal, .. } in &mut self.hosted {
            journal.look(module.as_mut());
        }
        self.append();
    }

    fn append(&mut self) {
        let requests = self.hosted.iter_mut().filter_map(|h| h.journal.next_request(&self.driver));
        self.appending.extend(requests);
    }

    fn appended(&mut self, place: usize, answer: tandem_protocol::gateway::output::Answer) {
        if let Some(Hosted { module, journal, .. }) = self.hosted.get_mut(place)
            && !journal.answered(answer)
        {
            // What ran here and is recorded nowhere is set back.
            journal.restore(module.as_mut(), &self.driver.items(Kind::Kept), &self.driver);
        }
        self.append();
    }
}
