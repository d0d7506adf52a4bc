//! The simulator: waves that need no machine.
//!
//! Tags of one period are sampled together by one task. A wave is a function of wall time, so that
//! it goes on where it was when another node samples it; the walk and the counter go on from the
//! value that the other node sent last.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use tandem_protocol::runtime::Definitions;
use tandem_protocol::tag::{Quality, Sample, TagDefinition, TagKind, TagPath, TagValue};
use tandem_protocol::time::UnixMs;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Context, Module, Sources, Stage};

/// A walk's step is at most this part of its range.
const STEP: f64 = 0.02;

/// Samples the simulated tags.
#[derive(Debug)]
pub struct Simulator {
    context: Context,
    running: Option<(Stage, Arc<Definitions>)>,
    sources: Sources,
}

impl Simulator {
    /// Samples nothing yet.
    pub fn new(context: Context) -> Simulator {
        Simulator { context, running: None, sources: Sources::default() }
    }
}

impl Module for Simulator {
    fn name(&self) -> &'static str {
        "simulator"
    }

    fn enter(&mut self, stage: Stage, definitions: &Arc<Definitions>) {
        let Stage::Active { .. } = stage else {
            self.sources.stop();
            self.running = None;
            return;
        };
        let same =
            |(at, with): &(Stage, Arc<Definitions>)| *at == stage && with.tags == definitions.tags;
        if self.running.as_ref().is_some_and(same) {
            return;
        }
        self.sources.stop();
        self.running = Some((stage, Arc::clone(definitions)));
        let mut groups: BTreeMap<u64, Vec<Wave>> = BTreeMap::new();
        for tag in definitions.tags.values() {
            if let Some((period_ms, wave)) = Wave::new(tag, &self.context) {
                groups.entry(period_ms).or_default().push(wave);
            }
        }
        for (period_ms, mut waves) in groups {
            // The first values are there before the first task runs.
            sample(&self.context, &mut waves);
            let context = self.context.clone();
            self.sources.start(run(context, Duration::from_millis(period_ms), waves));
        }
    }
}

async fn run(context: Context, period: Duration, mut waves: Vec<Wave>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        sample(&context, &mut waves);
    }
}

fn sample(context: &Context, waves: &mut [Wave]) {
    if !context.driver.gate().is_open() {
        return;
    }
    let time = context.driver.clock().wall();
    context.live.publish_all(waves.iter_mut().map(|wave| {
        let value = wave.next(time);
        (wave.path.clone(), Sample { value, quality: Quality::Good, time })
    }));
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
        let before = context.live.get(&tag.path).map(|sample| sample.value);
        let number = before.as_ref().and_then(TagValue::as_f64).filter(|at| at.is_finite());
        let count = match before {
            Some(TagValue::Int(count)) => Some(count),
            Some(TagValue::Bool(_) | TagValue::Float(_) | TagValue::Text(_)) | None => None,
        };
        let wave = Wave {
            path: tag.path.clone(),
            shape,
            low: *low,
            high: *high,
            cycle_ms: (*cycle_ms).max(1),
            at: number.unwrap_or(f64::midpoint(*low, *high)).clamp(*low, *high),
            count,
            // Any odd number will do: the walk needs variety, not secrecy.
            chance: context.driver.clock().now().as_micros() | 1,
        };
        Some((*period_ms, wave))
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
