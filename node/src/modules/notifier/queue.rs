//! What is to be told, and how far it has come. One task, alive for one activation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tandem_protocol::alarm::AlarmState;
use tandem_protocol::item::Kind;
use tandem_protocol::runtime::Definitions;
use tandem_protocol::term::ActivationId;
use tandem_protocol::time::{Instant, UnixMs};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::notice::{Notice, key};
use super::webhook::{self, Sent};
use crate::modules::{Changes, Context, Failure, RecordChange, Records, View};

/// Raises that are not told yet. A plant in which more alarms go off at once needs people, not
/// messages; those that are still raised when there is room are told then.
const NOTICES_MAX: usize = 1_000;
/// Notices on their way at the same time: one slow receiver does not hold up the others.
const SENDING_MAX: usize = 16;
/// Pauses between tries grow from the first of these to the second.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What could not be delivered for a day is old news.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often what waits is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often all alarms are looked at: for raises that found no place before.
const LOOK_AT_ALL: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its intent is not recorded yet.
    Fresh,
    /// Its intent is recorded.
    Intended,
    /// The receiver has it; the record does not say so yet.
    Told,
    /// It is to be forgotten: somebody has seen the alarm before it was told.
    Dropped,
}

#[derive(Debug)]
struct Entry {
    notice: Notice,
    step: Step,
    /// Something is on its way for it.
    busy: bool,
    /// Somebody may have told it before.
    repeat: bool,
    tries: u32,
    next: Instant,
    /// Not told before. How long it waits is measured on this node's own clock: wall clocks step,
    /// and the other node's may be another.
    due_at: Instant,
}

impl Entry {
    fn new(notice: Notice, step: Step, now: Instant, wall: UnixMs, delay: Duration) -> Entry {
        let due_at = now + due_in(notice.due, wall, delay);
        let repeat = step == Step::Intended;
        Entry { notice, step, busy: false, repeat, tries: 0, next: now, due_at }
    }
}

/// How long a notice still waits: what its record says, and never longer than its pipeline's delay.
fn due_in(due: UnixMs, wall: UnixMs, delay: Duration) -> Duration {
    Duration::from_millis(due.0.saturating_sub(wall.0)).min(delay)
}

enum Ended {
    Recorded(Result<u8, Failure>),
    Sent(Sent),
}

type Work = BoxFuture<'static, (String, Ended)>;

pub(super) struct Queue {
    context: Context,
    activation: ActivationId,
    definitions: watch::Receiver<Arc<Definitions>>,
    states: View<AlarmState>,
    records: Records<Notice>,
    changes: Changes<AlarmState>,
    entries: BTreeMap<String, Entry>,
    /// The greatest raise of each alarm that was told, and is in the records.
    told: BTreeMap<String, u64>,
    works: FuturesUnordered<Work>,
    sending: usize,
    said_full: bool,
}

impl Queue {
    pub(super) fn new(
        context: Context,
        activation: ActivationId,
        definitions: watch::Receiver<Arc<Definitions>>,
    ) -> Queue {
        let states: View<AlarmState> = context.view(Kind::Kept, "alarms");
        Queue {
            changes: states.subscribe(),
            states,
            records: context.records(),
            context,
            activation,
            definitions,
            entries: BTreeMap::new(),
            told: BTreeMap::new(),
            works: FuturesUnordered::new(),
            sending: 0,
            said_full: false,
        }
    }

    pub(super) async fn run(mut self) {
        self.load();
        self.look_at_alarms();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0u32;
        loop {
            tokio::select! {
                change = self.changes.next() => match change {
                    Some(RecordChange::Put { record, .. }) => self.look_at(&record),
                    Some(RecordChange::Reloaded) => self.look_at_alarms(),
                    Some(RecordChange::Deleted { .. }) => {}
                    None => return,
                },
                Some((key, ended)) = self.works.next() => self.ended(&key, ended),
                changed = self.definitions.changed() => match changed {
                    Ok(()) => self.look_at_alarms(),
                    Err(_) => return,
                },
                _ = look.tick() => {
                    looks = looks.wrapping_add(1);
                    if looks.is_multiple_of(LOOK_AT_ALL) {
                        self.look_at_alarms();
                    }
                }
            }
            self.go_on();
        }
    }

    /// What the records say: whoever made these intents may have told them.
    fn load(&mut self) {
        let (now, wall) = (self.context.now(), self.context.wall());
        let definitions = Arc::clone(&self.definitions.borrow());
        for (key, notice) in self.records.list() {
            if notice.done {
                let told = self.told.entry(notice.alarm).or_default();
                *told = (*told).max(notice.raise);
            } else {
                let delay = definitions.pipelines.get(&notice.pipeline).map_or(0, |p| p.delay_ms);
                let delay = Duration::from_millis(delay);
                let entry = Entry::new(notice, Step::Intended, now, wall, delay);
                self.entries.insert(key, entry);
            }
        }
    }

    fn look_at_alarms(&mut self) {
        for (_, state) in self.states.list() {
            self.look_at(&state);
        }
    }

    fn look_at(&mut self, state: &AlarmState) {
        let definitions = Arc::clone(&self.definitions.borrow());
        let Some(alarm) = definitions.alarms.get(&state.name) else { return };
        let pipeline = alarm.pipeline.as_ref().and_then(|name| definitions.pipelines.get(name));
        let Some(pipeline) = pipeline else { return };
        let quiet = !state.raised || state.acked || state.is_shelved(self.context.wall());
        let told = self.told.get(&state.name).is_some_and(|raise| *raise >= state.raise);
        if quiet || told || self.entries.contains_key(&key(&state.name, state.raise)) {
            return;
        }
        if self.entries.len() >= NOTICES_MAX {
            if !std::mem::replace(&mut self.said_full, true) {
                tracing::warn!(most = NOTICES_MAX, "too many notifications wait");
            }
            return;
        }
        self.said_full = false;
        let value = self.context.current(&definitions, &alarm.tag).map(|sample| sample.value);
        let delay = Duration::from_millis(pipeline.delay_ms);
        let to = (pipeline.name.as_str(), delay);
        let notice = Notice::of(state, self.activation, to, (&alarm.tag, value));
        let (now, wall) = (self.context.now(), self.context.wall());
        let entry = Entry::new(notice, Step::Fresh, now, wall, delay);
        self.entries.insert(entry.notice.key(), entry);
    }

    /// Starts what is due.
    fn go_on(&mut self) {
        if self.context.allows().is_none() {
            return;
        }
        let (now, wall) = (self.context.now(), self.context.wall());
        let definitions = Arc::clone(&self.definitions.borrow());
        let idle: Vec<String> = (self.entries.iter())
            .filter(|(_, entry)| !entry.busy && now >= entry.next)
            .map(|(key, _)| key.clone())
            .collect();
        for key in idle {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.step == Step::Intended {
                if now < entry.due_at {
                    continue;
                }
                entry.step = verdict(entry, self.states.get(&entry.notice.alarm), now, wall);
            }
            let work = match entry.step {
                Step::Fresh => record(&self.records, &key, &entry.notice),
                Step::Intended => {
                    let pipeline = definitions.pipelines.get(&entry.notice.pipeline);
                    let (Some(pipeline), true) = (pipeline, self.sending < SENDING_MAX) else {
                        continue;
                    };
                    self.sending += 1;
                    send(&self.context, &key, &pipeline.webhook, &entry.notice, entry.repeat)
                }
                Step::Told => {
                    let before = self.told.get(&entry.notice.alarm).copied();
                    mark(&self.records, &key, &entry.notice, before)
                }
                Step::Dropped => forget(&self.records, &key),
            };
            entry.busy = true;
            self.works.push(work);
        }
    }

    fn ended(&mut self, key: &str, ended: Ended) {
        if matches!(ended, Ended::Sent(_)) {
            self.sending = self.sending.saturating_sub(1);
        }
        let now = self.context.now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.busy = false;
        let again = match ended {
            Ended::Recorded(Ok(copies)) => match entry.step {
                Step::Fresh => {
                    tracing::debug!(id = entry.notice.id, copies, "a notification is intended");
                    entry.step = Step::Intended;
                    None
                }
                Step::Told => {
                    let told = self.told.entry(entry.notice.alarm.clone()).or_default();
                    *told = (*told).max(entry.notice.raise);
                    self.entries.remove(key);
                    return;
                }
                Step::Dropped | Step::Intended => {
                    self.entries.remove(key);
                    return;
                }
            },
            Ended::Recorded(Err(failure)) => Some(failure.to_string()),
            Ended::Sent(Sent::Confirmed) => {
                tracing::debug!(id = entry.notice.id, repeat = entry.repeat, "notified");
                entry.step = Step::Told;
                None
            }
            Ended::Sent(Sent::Unsent(reason)) => Some(reason),
            Ended::Sent(Sent::Unconfirmed(reason)) => {
                entry.repeat = true;
                Some(reason)
            }
        };
        let Some(reason) = again else {
            (entry.tries, entry.next) = (0, now);
            return;
        };
        let pause = pause(entry.tries);
        if entry.tries == 0 {
            // The first time a person may want to know: a mistake in the URL looks like this.
            let pipeline = entry.notice.pipeline.as_str();
            tracing::info!(pipeline, reason, "a notification is not taken: it is tried again");
        } else {
            tracing::debug!(id = entry.notice.id, reason, ?pause, "a notification waits");
        }
        entry.tries = entry.tries.saturating_add(1);
        entry.next = now + pause;
    }
}

fn pause(tries: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << tries.min(16)).min(PAUSE_MAX)
}

/// Whether an intent whose time has come is still to be told.
fn verdict(entry: &Entry, state: Option<AlarmState>, now: Instant, wall: UnixMs) -> Step {
    if now.since(entry.due_at) > GIVE_UP_AFTER {
        tracing::warn!(id = entry.notice.id, "a notification could not be delivered for a day");
        return Step::Told;
    }
    // A later raise was acked for itself, not for this one.
    let seen = |state: &AlarmState| {
        state.raise == entry.notice.raise && (state.acked || state.is_shelved(wall))
    };
    if state.as_ref().is_some_and(seen) { Step::Dropped } else { Step::Intended }
}

fn record(records: &Records<Notice>, key: &str, notice: &Notice) -> Work {
    let (records, key, notice) = (records.clone(), key.to_owned(), notice.clone());
    Box::pin(async move {
        let recorded = records.put(&key, &notice).await;
        (key, Ended::Recorded(recorded))
    })
}

fn forget(records: &Records<Notice>, key: &str) -> Work {
    let (records, key) = (records.clone(), key.to_owned());
    Box::pin(async move {
        let recorded = records.delete(&key).await;
        (key, Ended::Recorded(recorded))
    })
}

/// Marks a notice as done. Of each alarm the newest done one stays, so that its raise is known.
fn mark(records: &Records<Notice>, key: &str, notice: &Notice, before: Option<u64>) -> Work {
    let (records, own) = (records.clone(), key.to_owned());
    let notice = Notice { done: true, ..notice.clone() };
    Box::pin(async move {
        let older = before.filter(|raise| *raise < notice.raise);
        let older = older.map(|raise| (self::key(&notice.alarm, raise), None));
        let newer = before.is_some_and(|raise| raise > notice.raise);
        let done = (own.clone(), (!newer).then_some(&notice));
        let recorded = records.change(std::iter::once(done).chain(older)).await;
        (own, Ended::Recorded(recorded))
    })
}

fn send(context: &Context, key: &str, webhook: &str, notice: &Notice, repeat: bool) -> Work {
    let (context, key, notice) = (context.clone(), key.to_owned(), notice.clone());
    let webhook = webhook.to_owned();
    Box::pin(async move {
        let node = context.node();
        let body =
            |active: &crate::permit::ActiveTerm| notice.told(node, active.term.clone(), repeat);
        let sent = webhook::post(&context, &webhook, &notice.id, body).await;
        (key, Ended::Sent(sent))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wall_clock_keeps_a_notice_from_being_told() {
        let delay = Duration::from_secs(5);
        let hour = 3_600_000;
        for (due, wall, expected) in [
            (10_000, 10_000, 0),
            (15_000, 11_000, 4),
            // Raised on a clock that was ahead.
            (hour, 0, 5),
            // Raised in 1970, before the clock was set.
            (5_000, 1_700_000_000_000, 0),
        ] {
            let wait = due_in(UnixMs(due), UnixMs(wall), delay);
            assert_eq!(wait, Duration::from_secs(expected), "due {due} at {wall}");
        }
    }
}
