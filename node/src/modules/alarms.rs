//! Alarms: watches values against limits and says when one is exceeded, or no longer; ends shelves
//! whose time is over.
//!
//! Whether an alarm is raised is kept state: this module asks for it to be moved and looks again
//! when it has its answer, so at most one request an alarm is on its way, and a value that moved
//! meanwhile is not forgotten. After a takeover it goes on from the kept state. A warm standby
//! watches too and knows in the moment of its activation what has to be moved.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tandem_protocol::alarm::{AlarmDefinition, AlarmState};
use tandem_protocol::item::Kind;
use tandem_protocol::runtime::Definitions;
use tandem_protocol::runtime::records::TagRecord;
use tandem_protocol::tag::{Quality, Sample, TagPath};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Changes, Context, Failure, Module, Now, RecordChange, Sources, Stage, View};
use crate::live::Subscriber;

/// All alarms are looked at again this often: what was refused, or answered while the node was
/// fenced, is asked again, and a shelf ends this late at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Alarms that have to be moved and wait for the permit: as many as a gateway may define.
const DUE_MAX: usize = 10_000;

/// Watches limits.
#[derive(Debug)]
pub struct Alarms {
    context: Context,
    running: Option<Arc<Definitions>>,
    stage: watch::Sender<Stage>,
    sources: Sources,
}

impl Alarms {
    /// Watches nothing yet.
    pub fn new(context: Context) -> Alarms {
        let stage = watch::Sender::new(Stage::Cold);
        Alarms { context, running: None, stage, sources: Sources::default() }
    }
}

impl Module for Alarms {
    fn name(&self) -> &'static str {
        "alarms"
    }

    fn enter(&mut self, now: &Now) {
        if now.stage == Stage::Cold {
            self.sources.stop();
            self.running = None;
            return;
        }
        let watches = |with: &Arc<Definitions>| Arc::ptr_eq(with, &now.definitions);
        if !self.running.as_ref().is_some_and(watches) {
            self.sources.stop();
            self.running = Some(Arc::clone(&now.definitions));
            if !now.definitions.alarms.is_empty() {
                let stage = self.stage.subscribe();
                let definitions = Arc::clone(&now.definitions);
                self.sources.start(Watcher::new(self.context.clone(), definitions, stage).run());
            }
        }
        self.stage.send_if_modified(|at| std::mem::replace(at, now.stage) != now.stage);
    }
}

/// What was asked, and its answer.
type Asked = (String, Result<u8, Failure>);

struct Watcher {
    context: Context,
    definitions: Arc<Definitions>,
    by_tag: BTreeMap<TagPath, Vec<String>>,
    stage: watch::Receiver<Stage>,
    states: View<AlarmState>,
    values: Subscriber,
    written: Changes<TagRecord>,
    /// Alarms whose limit says something else than their state, without a permit to say so.
    due: BTreeSet<String>,
    asked: HashMap<String, bool>,
    /// Whether somebody was told that alarms cannot be moved.
    said_stuck: bool,
    answers: FuturesUnordered<BoxFuture<'static, Asked>>,
}

impl Watcher {
    fn new(
        context: Context,
        definitions: Arc<Definitions>,
        stage: watch::Receiver<Stage>,
    ) -> Watcher {
        let mut by_tag: BTreeMap<TagPath, Vec<String>> = BTreeMap::new();
        for alarm in definitions.alarms.values() {
            by_tag.entry(alarm.tag.clone()).or_default().push(alarm.name.clone());
        }
        Watcher {
            values: context.follow(by_tag.keys()),
            written: context.view(Kind::Kept, "tags").subscribe(),
            states: context.view(Kind::Kept, "alarms"),
            context,
            definitions,
            by_tag,
            stage,
            due: BTreeSet::new(),
            asked: HashMap::new(),
            said_stuck: false,
            answers: FuturesUnordered::new(),
        }
    }

    async fn run(mut self) {
        let mut again = tokio::time::interval(LOOK_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                values = self.values.changed() => {
                    for (path, sample) in values {
                        self.look(&path, &sample);
                    }
                }
                written = self.written.next() => match written {
                    Some(RecordChange::Put { key, .. } | RecordChange::Deleted { key }) => {
                        if let Ok(path) = key.parse::<TagPath>() {
                            self.look_at(&path);
                        }
                    }
                    Some(RecordChange::Reloaded) => self.look_at_all(),
                    None => return,
                },
                Some((alarm, answer)) = self.answers.next() => self.answered(&alarm, &answer),
                changed = self.stage.changed() => match changed {
                    Ok(()) => self.look_at_due(),
                    Err(_) => return,
                },
                _ = again.tick() => {
                    self.look_at_all();
                    self.end_shelves();
                }
            }
        }
    }

    /// The permit may be there: what is known to be due goes first.
    fn look_at_due(&mut self) {
        let due = std::mem::take(&mut self.due);
        tracing::debug!(due = due.len(), "alarms that waited for the permit");
        let alarms = due.iter().filter_map(|name| self.definitions.alarms.get(name));
        let paths: BTreeSet<TagPath> = alarms.map(|alarm| alarm.tag.clone()).collect();
        for path in paths {
            self.look_at(&path);
        }
    }

    fn look_at_all(&mut self) {
        let paths: Vec<TagPath> = self.by_tag.keys().cloned().collect();
        for path in paths {
            self.look_at(&path);
        }
    }

    fn look_at(&mut self, path: &TagPath) {
        if self.by_tag.contains_key(path)
            && let Some(sample) = self.context.current(&self.definitions, path)
        {
            self.look(path, &sample);
        }
    }

    fn look(&mut self, path: &TagPath, sample: &Sample) {
        let Some(value) = sample.value.as_f64().filter(|_| sample.quality == Quality::Good) else {
            return;
        };
        let Some(names) = self.by_tag.get(path) else { return };
        let allowed = self.context.allows().is_some();
        for name in names {
            let Some(definition) = self.definitions.alarms.get(name) else { continue };
            let raised = self.states.get(name).is_some_and(|state| state.raised);
            let exceeded = exceeded(definition, raised, value);
            if exceeded == raised || self.asked.contains_key(name) {
                self.due.remove(name);
                continue;
            }
            if !allowed {
                if self.due.len() < DUE_MAX {
                    self.due.insert(name.clone());
                }
                continue;
            }
            self.due.remove(name);
            self.asked.insert(name.clone(), exceeded);
            let (context, alarm) = (self.context.clone(), name.clone());
            self.answers.push(Box::pin(async move {
                let answer = context.move_alarm(&alarm, exceeded).await;
                (alarm, answer)
            }));
        }
    }

    fn end_shelves(&mut self) {
        let wall = self.context.wall();
        if self.context.allows().is_none() {
            return;
        }
        for (name, state) in self.states.list() {
            let over = state.shelved.is_some() && !state.is_shelved(wall);
            let known = self.definitions.alarms.contains_key(&name);
            if !over || !known || self.asked.contains_key(&name) {
                continue;
            }
            self.asked.insert(name.clone(), state.raised);
            let context = self.context.clone();
            self.answers.push(Box::pin(async move {
                let answer = context.end_shelf(&name).await;
                (name, answer)
            }));
        }
    }

    fn answered(&mut self, alarm: &str, answer: &Result<u8, Failure>) {
        let asked = self.asked.remove(alarm);
        tracing::debug!(alarm, ?asked, ?answer, "alarm moved");
        match answer {
            Ok(_) => self.said_stuck = false,
            // Once, for all of them: each is asked again every second.
            Err(Failure::NotStored) if !std::mem::replace(&mut self.said_stuck, true) => {
                tracing::warn!(alarm, "an alarm cannot be stored: nobody is told of it");
            }
            Err(_) => {}
        }
        // What was refused is asked again by the next value or the next look at all.
        if answer.is_ok()
            && let Some(path) = self.definitions.alarms.get(alarm).map(|a| a.tag.clone())
        {
            self.look_at(&path);
        }
    }
}

/// Whether the limit counts as exceeded, given whether it did before.
fn exceeded(alarm: &AlarmDefinition, before: bool, value: f64) -> bool {
    let margin = if before { alarm.hysteresis } else { 0.0 };
    let high = alarm.above.is_some_and(|above| value > above - margin);
    let low = alarm.below.is_some_and(|below| value < below + margin);
    high || low
}

#[cfg(test)]
mod tests {
    use super::{AlarmDefinition, exceeded};

    #[test]
    fn an_alarm_clears_only_past_its_hysteresis() {
        let alarm = AlarmDefinition {
            name: "Level".to_owned(),
            tag: "Level".parse().unwrap(),
            above: Some(90.0),
            below: Some(10.0),
            hysteresis: 5.0,
            priority: tandem_protocol::alarm::Priority::Low,
            text: String::new(),
            pipeline: None,
        };
        let rows = [
            (90.0, false),
            (90.1, true),
            (88.0, true),
            (85.1, true),
            (85.0, false),
            (88.0, false),
            (9.9, true),
            (14.0, true),
            (15.0, false),
            (12.0, false),
        ];
        let mut raised = false;
        for (value, expected) in rows {
            raised = exceeded(&alarm, raised, value);
            assert_eq!(raised, expected, "at {value}");
        }
    }
}
