//! The machine that this node runs on: processor, memory, disk, network.
//!
//! The probe may block, so it runs beside the runtime. The processor's share needs two looks at
//! least 200 ms apart; everything else has a value at once. A warm standby looks all the time, so
//! that everything has a value in the moment it takes the level.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sysinfo::{Disks, MINIMUM_CPU_UPDATE_INTERVAL, Networks, System};
use tandem_protocol::runtime::Definitions;
use tandem_protocol::tag::{Quality, Sample, TagKind, TagPath, TagValue};
use tandem_protocol::time::UnixMs;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Context, Module, Now, Sources, Stage};

/// How often the machine is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Samples the machine.
#[derive(Debug)]
pub struct Host {
    context: Context,
    running: Option<(Stage, Tags)>,
    newest: Arc<Newest>,
    sources: Sources,
}

type Tags = Vec<(TagPath, String)>;

/// What the last look saw, and when.
#[derive(Debug, Default)]
struct Newest {
    seen: Mutex<Option<(Seen, UnixMs)>>,
    /// Looks since the start of the source.
    looks: AtomicU64,
}

impl Newest {
    fn put(&self, seen: Seen, at: UnixMs) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((seen, at));
    }

    fn get(&self) -> Option<(Seen, UnixMs)> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// Samples nothing yet.
    pub fn new(context: Context) -> Host {
        let (newest, sources) = (Arc::default(), Sources::default());
        Host { context, running: None, newest, sources }
    }

    fn stop(&mut self) {
        self.sources.stop();
        self.newest = Arc::default();
        self.running = None;
    }

    /// How often the machine was looked at since the source was started.
    #[cfg(test)]
    pub(super) fn looks(&self) -> u64 {
        self.newest.looks.load(Ordering::Relaxed)
    }
}

impl Module for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn enter(&mut self, now: &Now) {
        if now.stage == Stage::Cold {
            self.stop();
            return;
        }
        let tags = host_tags(&now.definitions);
        if self.running.as_ref().is_none_or(|(_, with)| *with != tags) {
            self.stop();
            if !tags.is_empty() {
                let newest = Arc::clone(&self.newest);
                self.sources.start(run(self.context.clone(), tags.clone(), newest));
            }
        }
        let before = self.running.replace((now.stage, tags));
        let Some((stage, tags)) = &self.running else { return };
        if stage.is_active()
            && before.is_none_or(|(at, _)| at != *stage)
            && let Some((seen, at)) = self.newest.get()
        {
            publish(&self.context, tags, &seen, at);
        }
    }
}

fn host_tags(definitions: &Definitions) -> Tags {
    let tags = definitions.tags.values();
    tags.filter_map(|tag| match &tag.kind {
        TagKind::Host { item } => Some((tag.path.clone(), item.clone())),
        TagKind::Simulator { .. } | TagKind::Memory { .. } | TagKind::Counting => None,
    })
    .collect()
}

async fn run(context: Context, tags: Tags, newest: Arc<Newest>) {
    let mut probe = None;
    // The second look gives the processor its first value.
    let second = Instant::now() + MINIMUM_CPU_UPDATE_INTERVAL;
    let mut ticks = tokio::time::interval_at(second, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(looked) = look(probe.take()).await else { return };
        let at = context.wall();
        newest.put(looked.seen, at);
        publish(&context, &tags, &looked.seen, at);
        probe = Some(looked);
        ticks.tick().await;
    }
}

fn publish(context: &Context, tags: &[(TagPath, String)], seen: &Seen, time: UnixMs) {
    context.publish(tags.iter().filter_map(|(path, item)| {
        let number = seen.item(item)?;
        let value = TagValue::Float((number * 10.0).round() / 10.0);
        Some((path.clone(), Sample { value, quality: Quality::Good, time }))
    }));
}

/// What the last look saw.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// Percent of all processors.
    cpu: Option<f64>,
    /// Percent.
    memory: Option<f64>,
    /// Percent of the fullest disk.
    disk: Option<f64>,
    /// Bytes a second, all interfaces but the loopback.
    net_in: Option<f64>,
    /// As `net_in`.
    net_out: Option<f64>,
}

impl Seen {
    fn item(&self, item: &str) -> Option<f64> {
        match item {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "disk" => self.disk,
            "net_in" => self.net_in,
            "net_out" => self.net_out,
            _ => None,
        }
    }
}

/// The machine's counters between two looks; what this machine does not tell is `None`.
struct Probe {
    system: Option<System>,
    disks: Option<Disks>,
    networks: Option<Networks>,
    at: Instant,
    seen: Seen,
}

/// Looks at the machine; `None` when the runtime is ending.
async fn look(before: Option<Probe>) -> Option<Probe> {
    let looked = tokio::task::spawn_blocking(move || match before {
        None => first_look(),
        Some(probe) => next_look(probe),
    });
    looked.await.ok()
}

fn first_look() -> Probe {
    let mut probe = Probe {
        system: System::new().ok(),
        disks: Disks::new_with_refreshed_list().ok(),
        networks: Networks::new_with_refreshed_list().ok(),
        at: Instant::now(),
        seen: Seen::default(),
    };
    if let Some(system) = &mut probe.system {
        system.refresh_memory();
        system.refresh_cpu_usage();
    }
    let traffic = probe.networks.is_some().then_some(0.0);
    probe.seen = Seen {
        cpu: None,
        memory: probe.system.as_ref().and_then(memory),
        disk: probe.disks.as_ref().and_then(fullest),
        net_in: traffic,
        net_out: traffic,
    };
    probe
}

fn next_look(mut probe: Probe) -> Probe {
    if let Some(system) = &mut probe.system {
        system.refresh_memory();
        system.refresh_cpu_usage();
    }
    if let Some(disks) = &mut probe.disks {
        disks.refresh(false);
    }
    let seconds = probe.at.elapsed().as_secs_f64().max(0.001);
    probe.at = Instant::now();
    let traffic = probe.networks.as_mut().map(|networks| {
        networks.refresh(true);
        traffic(networks)
    });
    probe.seen = Seen {
        cpu: probe.system.as_ref().map(|system| f64::from(system.global_cpu_usage())),
        memory: probe.system.as_ref().and_then(memory),
        disk: probe.disks.as_ref().and_then(fullest),
        net_in: traffic.map(|(bytes_in, _)| number(bytes_in) / seconds),
        net_out: traffic.map(|(_, bytes_out)| number(bytes_out) / seconds),
    };
    probe
}

fn memory(system: &System) -> Option<f64> {
    percent(system.used_memory(), system.total_memory())
}

/// Bytes in and out since the last look, all interfaces but the loopback.
fn traffic(networks: &Networks) -> (u64, u64) {
    let counted = networks.iter().filter(|(name, _)| *name != "lo");
    counted.fold((0u64, 0u64), |(bytes_in, bytes_out), (_, network)| {
        (
            bytes_in.saturating_add(network.received()),
            bytes_out.saturating_add(network.transmitted()),
        )
    })
}

fn fullest(disks: &Disks) -> Option<f64> {
    let used = disks.iter().filter_map(|disk| {
        let total = disk.total_space();
        percent(total.saturating_sub(disk.available_space()), total)
    });
    used.reduce(f64::max)
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| number(part) / number(whole) * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "a measure for people needs no 53rd bit")]
fn number(n: u64) -> f64 {
    n as f64
}
