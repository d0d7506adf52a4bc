//! Alarms: watches values against limits and says when one is exceeded, or no longer.
//!
//! Whether an alarm is raised is kept state: this module asks the driver to change it and looks
//! again when it has its answer, so at most one request an alarm is on its way, and a value that
//! moved meanwhile is not forgotten. After a takeover it goes on from the kept state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tandem_protocol::alarm::AlarmDefinition;
use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::Kind;
use tandem_protocol::runtime::{Definitions, records};
use tandem_protocol::tag::{Quality, Sample, TagPath};
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;

use super::{Context, Module, Sources, Stage};
use crate::driver::Shown;
use crate::live::{self, Subscriber};

/// All alarms are looked at again this often: what was refused, or answered while the node was
/// fenced, is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Watches limits.
#[derive(Debug)]
pub struct Alarms {
    context: Context,
    running: Option<(Stage, Arc<Definitions>)>,
    sources: Sources,
}

impl Alarms {
    /// Watches nothing yet.
    pub fn new(context: Context) -> Alarms {
        Alarms { context, running: None, sources: Sources::default() }
    }
}

impl Module for Alarms {
    fn name(&self) -> &'static str {
        "alarms"
    }

    fn enter(&mut self, stage: Stage, definitions: &Arc<Definitions>) {
        let Stage::Active { .. } = stage else {
            self.sources.stop();
            self.running = None;
            return;
        };
        let same =
            |(at, with): &(Stage, Arc<Definitions>)| *at == stage && Arc::ptr_eq(with, definitions);
        if self.running.as_ref().is_some_and(same) {
            return;
        }
        self.sources.stop();
        self.running = Some((stage, Arc::clone(definitions)));
        if !definitions.alarms.is_empty() {
            let watcher = Watcher::new(self.context.clone(), Arc::clone(definitions));
            self.sources.start(watcher.run());
        }
    }
}

type Moved = (String, Answer);

struct Watcher {
    context: Context,
    definitions: Arc<Definitions>,
    by_tag: BTreeMap<TagPath, Vec<String>>,
    values: Subscriber,
    shown: broadcast::Receiver<Arc<Shown>>,
    asked: HashMap<String, bool>,
    answers: FuturesUnordered<BoxFuture<'static, Moved>>,
}

impl Watcher {
    fn new(context: Context, definitions: Arc<Definitions>) -> Watcher {
        let mut by_tag: BTreeMap<TagPath, Vec<String>> = BTreeMap::new();
        for alarm in definitions.alarms.values() {
            by_tag.entry(alarm.tag.clone()).or_default().push(alarm.name.clone());
        }
        Watcher {
            values: context.live.subscribe_to(by_tag.keys()),
            shown: context.driver.shown(),
            context,
            definitions,
            by_tag,
            asked: HashMap::new(),
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
                shown = self.shown.recv() => match shown {
                    Ok(shown) => self.look_at_written(&shown),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look_at_all(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some((alarm, answer)) = self.answers.next() => self.answered(&alarm, &answer),
                _ = again.tick() => self.look_at_all(),
            }
        }
    }

    fn look_at_written(&mut self, shown: &Shown) {
        let Shown::Updates { kind: Kind::Kept, updates } = shown else { return };
        for change in updates.iter().flat_map(|update| &update.changes) {
            if change.key.provider == "tags"
                && let Ok(path) = change.key.key.parse::<TagPath>()
                && self.by_tag.contains_key(&path)
            {
                self.look_at(&path);
            }
        }
    }

    fn look_at_all(&mut self) {
        let paths: Vec<TagPath> = self.by_tag.keys().cloned().collect();
        for path in paths {
            self.look_at(&path);
        }
    }

    fn look_at(&mut self, path: &TagPath) {
        let kept = self.context.driver.items(Kind::Kept);
        if let Some(sample) = live::current(&self.definitions, &kept, &self.context.live, path) {
            self.look(path, &sample);
        }
    }

    fn look(&mut self, path: &TagPath, sample: &Sample) {
        let Some(value) = sample.value.as_f64().filter(|_| sample.quality == Quality::Good) else {
            return;
        };
        let Some(names) = self.by_tag.get(path) else { return };
        // Read once for all alarms of the tag; the map is shared.
        let kept = self.context.driver.items(Kind::Kept);
        for name in names {
            let Some(definition) = self.definitions.alarms.get(name) else { continue };
            let state = records::alarm(&self.definitions, &kept, name);
            let raised = state.is_some_and(|state| state.raised);
            let exceeded = exceeded(definition, raised, value);
            if exceeded == raised || self.asked.contains_key(name) {
                continue;
            }
            if !self.context.driver.gate().is_open() {
                return;
            }
            self.asked.insert(name.clone(), exceeded);
            let (driver, alarm) = (self.context.driver.clone(), name.clone());
            self.answers.push(Box::pin(async move {
                let request = Request::AlarmMoved { alarm: alarm.clone(), raised: exceeded };
                let answer = driver.request(request).await;
                (alarm, answer)
            }));
        }
    }

    fn answered(&mut self, alarm: &str, answer: &Answer) {
        let asked = self.asked.remove(alarm);
        tracing::debug!(alarm, ?asked, ?answer, "alarm moved");
        // What was refused is asked again by the next value or the next look at all.
        if matches!(answer, Answer::Done { .. })
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
