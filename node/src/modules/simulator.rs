//! The simulator: waves that need no machine.
//!
//! Tags of one period are sampled together by one task. A wave is a function of wall time, so that
//! it goes on where it was when another node samples it; the walk and the counter go on from the
//! value that the other node sent last. A warm standby computes all of them and shows none.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tandem_protocol::runtime::Definitions;
use tandem_protocol::tag::{Quality, Sample, TagDefinition, TagKind, TagPath, TagValue};
use tandem_protocol::time::UnixMs;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Context, Module, Now, Sources, Stage};

/// A walk's step is at most this part of its range.
const STEP: f64 = 0.02;

/// Samples the simulated tags.
#[derive(Debug)]
pub struct Simulator {
    context: Context,
    running: Option<(Stage, Arc<Definitions>)>,
    groups: Vec<Arc<Group>>,
    sources: Sources,
}

/// The waves of one period.
#[derive(Debug)]
struct Group {
    waves: Mutex<Vec<Wave>>,
    /// Whether they have gone on from the other node's values and may be shown. The permit may
    /// be there a moment before the module hears of it.
    shows: AtomicBool,
}

impl Simulator {
    /// Samples nothing yet.
    pub fn new(context: Context) -> Simulator {
        Simulator { context, running: None, groups: Vec::new(), sources: Sources::default() }
    }

    fn stop(&mut self) {
        self.sources.stop();
        self.groups.clear();
        self.running = None;
    }

    fn start(&mut self, definitions: &Definitions) {
        let mut periods: BTreeMap<u64, Vec<Wave>> = BTreeMap::new();
        for tag in definitions.tags.values() {
            if let Some((period_ms, wave)) = Wave::new(tag, &self.context) {
                periods.entry(period_ms).or_default().push(wave);
            }
        }
        for (period_ms, waves) in periods {
            let (waves, shows) = (Mutex::new(waves), AtomicBool::new(false));
            let group = Arc::new(Group { waves, shows });
            self.groups.push(Arc::clone(&group));
            let period = Duration::from_millis(period_ms);
            self.sources.start(run(self.context.clone(), period, group));
        }
    }
}

impl Module for Simulator {
    fn name(&self) -> &'static str {
        "simulator"
    }

    fn enter(&mut self, now: &Now) {
        if now.stage == Stage::Cold {
            self.stop();
            return;
        }
        let computes = |(_, with): &(Stage, Arc<Definitions>)| with.tags == now.definitions.tags;
        let keeps = self.running.as_ref().is_some_and(computes);
        if !keeps {
            self.stop();
            self.start(&now.definitions);
        }
        let before = self.running.replace((now.stage, Arc::clone(&now.definitions)));
        if !now.stage.is_active() {
            for group in &self.groups {
                group.shows.store(false, Ordering::Release);
            }
        }
        if !now.stage.is_active() || (keeps && before.is_some_and(|(at, _)| at == now.stage)) {
            return;
        }
        // The first values are there before the first task runs.
        for group in &self.groups {
            group.go_on(&self.context);
            group.sample(&self.context);
        }
    }
}

async fn run(context: Context, period: Duration, group: Arc<Group>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        group.sample(&context);
    }
}

impl Group {
    /// Goes on from what the active node sent last, not from what was computed beside it.
    fn go_on(&self, context: &Context) {
        let mut waves = self.waves.lock().unwrap_or_else(PoisonError::into_inner);
        for wave in waves.iter_mut() {
            wave.go_on(context);
        }
        self.shows.store(true, Ordering::Release);
    }

    fn sample(&self, context: &Context) {
        let time = context.wall();
        let mut waves = self.waves.lock().unwrap_or_else(PoisonError::into_inner);
        let sampled = waves.iter_mut().map(|wave| {
            let value = wave.next(time);
            (wave.path.clone(), Sample { value, quality: Quality::Good, time })
        });
        // Before that, and without a permit, they are computed and go nowhere.
        let sampled: Vec<_> = sampled.collect();
        if self.shows.load(Ordering::Acquire) {
            context.publish(sampled);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Sine,
    Ramp,
    Square,
    Walk,
    Counter,
}

/// One simulated tag.
#[derive(Debug)]
struct Wave {
    path: TagPath,
    shape: Shape,
    low: f64,
    high: f64,
    cycle_ms: u64,
    /// Where the walk is.
    at: f64,
    /// Where the counter is; `None`: it has not begun.
    count: Option<i64>,
    chance: u64,
}

impl Wave {
    fn new(tag: &TagDefinition, context: &Context) -> Option<(u64, Wave)> {
        let TagKind::Simulator { wave, period_ms, low, high, cycle_ms } = &tag.kind else {
            return None;
        };
        let shape = match wave.as_str() {
            "sine" => Shape::Sine,
            "ramp" => Shape::Ramp,
            "square" => Shape::Square,
            "walk" => Shape::Walk,
            "counter" => Shape::Counter,
            _ => return None,
        };
        let mut wave = Wave {
            path: tag.path.clone(),
            shape,
            low: *low,
            high: *high,
            cycle_ms: (*cycle_ms).max(1),
            at: f64::midpoint(*low, *high),
            count: None,
            // Any odd number will do: the walk needs variety, not secrecy.
            chance: context.now().as_micros() | 1,
        };
        wave.go_on(context);
        Some((*period_ms, wave))
    }

    /// Goes on from the tag's newest value, whichever node it is from.
    fn go_on(&mut self, context: &Context) {
        let newest = context.live(&self.path).map(|sample| sample.value);
        if let Some(at) = newest.as_ref().and_then(TagValue::as_f64).filter(|at| at.is_finite()) {
            self.at = at.clamp(self.low, self.high);
        }
        if let Some(TagValue::Int(count)) = newest {
            self.count = Some(count);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a cycle in milliseconds is far below 2^52")]
    fn next(&mut self, time: UnixMs) -> TagValue {
        let phase = (time.0 % self.cycle_ms) as f64 / self.cycle_ms as f64;
        let span = self.high - self.low;
        match self.shape {
            Shape::Sine => {
                TagValue::Float(self.low + span * f64::midpoint(1.0, (TAU * phase).sin()))
            }
            Shape::Ramp => TagValue::Float(self.low + span * phase),
            Shape::Square => TagValue::Float(if phase < 0.5 { self.high } else { self.low }),
            Shape::Walk => {
                let step = (self.random() * 2.0 - 1.0) * span * STEP;
                self.at = (self.at + step).clamp(self.low, self.high);
                TagValue::Float(self.at)
            }
            Shape::Counter => {
                let next = self.count.map_or(0, |count| count.checked_add(1).unwrap_or(0));
                self.count = Some(next);
                TagValue::Int(next)
            }
        }
    }

    /// The next number of a xorshift sequence, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "the low bits of chance do not matter")]
    fn random(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as f64 / (1u64 << 53) as f64
    }
}
