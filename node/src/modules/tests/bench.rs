//! A gateway that answers at once: requests run as in the rules, and what changes is shown.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tandem_protocol::alarm::AlarmState;
use tandem_protocol::event::Era;
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{Item, ItemKey, Kind, Position, Update};
use tandem_protocol::node::Level;
use tandem_protocol::runtime::definitions::settings_key;
use tandem_protocol::runtime::{self, Conditions, Definitions, Elsewhere, Executed, records};
use tandem_protocol::session::Operation;
use tandem_protocol::settings::HistoryLevel;
use tandem_protocol::tag::{TagPath, TagValue};
use tandem_protocol::term::{ActivationId, Term};
use tokio::sync::{mpsc, watch};

use crate::driver::testing::{Stage, stage, status};
use crate::driver::{self};
use crate::event::{Asked, Unapplied};
use crate::live::Live;
use crate::modules::{self, Module, Now, Room};

pub(in crate::modules) const SOON: Duration = Duration::from_secs(10);

/// A node's driver, played.
pub(in crate::modules) struct Bench {
    pub(in crate::modules) driver: driver::Handle,
    pub(in crate::modules) live: Live,
    pub(in crate::modules) stage: Arc<Stage>,
    world: Arc<Mutex<World>>,
    reports: Mutex<mpsc::Receiver<Unapplied>>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct World {
    config: Items,
    kept: Items,
    sequence: u64,
    asked: Vec<Request>,
    /// What every request is answered, instead of being run.
    refuses: Option<Answer>,
    standby: Option<Arc<Stage>>,
}

impl World {
    fn take(
        &mut self,
        request: &Request,
        shows: &Stage,
        wall: tandem_protocol::time::UnixMs,
    ) -> Answer {
        self.asked.push(request.clone());
        if let Some(refusal) = &self.refuses {
            return refusal.clone();
        }
        let definitions = Definitions::read(&self.config);
        let (config, kept) = (&self.config, &self.kept);
        let conditions = Conditions { elsewhere: Elsewhere::Nothing, era: Era::default() };
        match runtime::execute(&definitions, config, kept, request, wall, conditions) {
            Executed::Changes { changes, outcome } => {
                self.sequence += 1;
                let position = Position { activation: ActivationId(1), sequence: self.sequence };
                let update = Update { position, changes, alone: false };
                self.apply(&update);
                self.show(shows, &update);
                Answer::Done { outcome, copies: 2 }
            }
            Executed::Known { outcome } => Answer::Done { outcome, copies: 2 },
            Executed::Refused(answer) => answer,
        }
    }

    fn apply(&mut self, update: &Update) {
        for change in &update.changes {
            match change.body.clone() {
                Some(body) => {
                    let item = Item { body, changed: update.position };
                    self.kept.insert(change.key.clone(), item);
                }
                None => {
                    self.kept.remove(&change.key);
                }
            }
        }
    }

    fn show(&self, shows: &Stage, update: &Update) {
        for stage in std::iter::once(shows).chain(self.standby.as_deref()) {
            stage.show(Kind::Kept, vec![update.clone()], self.kept.clone());
        }
    }
}

impl Bench {
    /// A node at a level, with gateway settings.
    pub(in crate::modules) fn new(level: Level, settings: &serde_json::Value) -> Bench {
        let item = |text: String| Item { body: Bytes::from(text), changed: Position::default() };
        let config = Items::unit(settings_key(), item(settings.to_string()));
        let (driver, mut stage) = stage(status(level), config.clone(), Items::new());
        let mut requests = std::mem::replace(&mut stage.requests, mpsc::channel(1).1);
        let reports = Mutex::new(std::mem::replace(&mut stage.reports, mpsc::channel(1).1));
        let stage = Arc::new(stage);
        let world = Arc::new(Mutex::new(World { config, ..World::default() }));
        let (played, shows, clock) = (Arc::clone(&world), Arc::clone(&stage), driver.clock());
        tokio::spawn(async move {
            while let Some(Asked { request, answer, .. }) = requests.recv().await {
                let answered = played.lock().unwrap().take(&request, &shows, clock.wall());
                let _ = answer.send(answered);
            }
        });
        let stop = watch::Sender::new(false);
        Bench { driver, live: Live::new(), stage, world, reports, stop }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(in crate::modules) fn room(&self) -> Room {
        Room::new(self.driver.clone(), self.live.clone())
    }

    pub(in crate::modules) fn run(&self, room: Room, modules: Vec<Box<dyn Module>>) {
        tokio::spawn(room.run(modules, self.stop.subscribe()));
    }

    /// Everything that this node's gateway shows, the other shows too.
    pub(in crate::modules) fn has_standby(&self, other: &Bench) {
        self.world().standby = Some(Arc::clone(&other.stage));
    }

    /// The node takes over what the other had.
    pub(in crate::modules) fn takes_over(&self, other: &Bench) {
        let kept = other.world().kept.clone();
        self.world().kept = kept.clone();
        self.world().sequence = 1_000;
        self.stage.reload(Kind::Kept, kept);
    }

    pub(in crate::modules) fn permit(&self, counter: u64) {
        self.permit_for(counter, Duration::from_secs(3600));
    }

    pub(in crate::modules) fn permit_for(&self, counter: u64, length: Duration) {
        self.stage.permit(Term { counter, node: "a".parse().unwrap() }, length);
    }

    /// Answers every request so, from now on.
    pub(in crate::modules) fn refuses(&self, answer: Option<Answer>) {
        self.world().refuses = answer;
    }

    /// Puts config items in force.
    pub(in crate::modules) fn configure(&self, items: &[(&str, &str, &str)]) {
        let mut world = self.world();
        world.sequence += 1;
        let position = Position { activation: ActivationId(1), sequence: world.sequence };
        let mut changes = Vec::new();
        for (provider, key, body) in items {
            let (key, body) = (ItemKey::new(provider, *key), Bytes::from((*body).to_owned()));
            world.config.insert(key.clone(), Item { body: body.clone(), changed: position });
            changes.push(tandem_protocol::item::Change { key, body: Some(body) });
        }
        let update = Update { position, changes, alone: false };
        self.stage.show(Kind::Config, vec![update], world.config.clone());
    }

    /// All items of a kind were transferred anew.
    pub(in crate::modules) fn transferred(&self, kind: Kind) {
        let items = match kind {
            Kind::Config => self.world().config.clone(),
            Kind::Kept => self.world().kept.clone(),
        };
        self.stage.reload(kind, items);
    }

    pub(in crate::modules) fn kept(&self) -> Items {
        self.world().kept.clone()
    }

    pub(in crate::modules) fn asked(&self) -> Vec<Request> {
        self.world().asked.clone()
    }

    /// What could not be applied since the last call.
    pub(in crate::modules) fn reported(&self) -> Vec<(String, String, String)> {
        let mut reports = self.reports.lock().unwrap();
        let mut reported = Vec::new();
        while let Ok(Unapplied { key, reason }) = reports.try_recv() {
            reported.push((key.provider, key.key, reason));
        }
        reported
    }

    pub(in crate::modules) fn get(&self, tag: &str) -> Option<TagValue> {
        let path: TagPath = tag.parse().unwrap();
        self.live.get(&path).map(|sample| sample.value)
    }

    pub(in crate::modules) fn alarm(&self, name: &str) -> Option<AlarmState> {
        let world = self.world();
        records::alarm(&Definitions::read(&world.config), &world.kept, name)
    }

    pub(in crate::modules) async fn operate(&self, key: &str, operation: Operation) {
        let request = Request::Keyed { key: key.to_owned(), operation };
        let answer = self.driver.request(request).await;
        assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    }

    pub(in crate::modules) async fn until(&self, what: &str, condition: impl Fn(&Bench) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// Lets every task of the test's thread run several times, and the fast waves tick.
    pub(in crate::modules) async fn settles(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..6 {
            ticks.tick().await;
        }
    }
}

/// What is in force on a bench, for a module without a room.
pub(in crate::modules) fn now(bench: &Bench) -> Now {
    let definitions = Arc::new(Definitions::read(&bench.driver.items(Kind::Config)));
    let stage = modules::Stage::of(&bench.driver.levels().borrow());
    Now { stage, history: HistoryLevel::Full, definitions }
}
