//! What happens to alarms: limits that are passed, acks, shelves and their end.
//!
//! The state is one item an alarm; each change of it is also an event of the kept log, so that
//! clients and the notifier hear of it in order.

use std::time::Duration;

use crate::alarm::{AlarmState, Shelf};
use crate::event::What;
use crate::limits::{NAME_MAX_BYTES, SHELF_MAX, TEXT_MAX_BYTES};
use crate::planted::{self, RuleFault};
use crate::runtime::execute::{Executed, rejected};
use crate::runtime::operations::{Author, reject, shown};
use crate::runtime::records;
use crate::runtime::step::Step;
use crate::session::Outcome;
use crate::time::UnixMs;

/// Who does something to an alarm, and what they say with it.
pub(super) struct Said<'a> {
    pub(super) author: &'a Author<'a>,
    /// The name that was said; without it the session stands for its user.
    pub(super) who: Option<&'a str>,
    pub(super) note: Option<&'a str>,
}

impl Said<'_> {
    fn by(&self) -> Option<String> {
        self.who.map(str::to_owned).or_else(|| self.author.name())
    }

    fn note(&self) -> Option<String> {
        self.note.map(str::to_owned)
    }

    fn check(&self, alarm: &str) -> Result<(), Outcome> {
        let wrong = |what: String| Err(reject(format!("alarm \"{alarm}\": {what}")));
        if self.note.is_some_and(|note| note.len() > TEXT_MAX_BYTES) {
            return wrong(format!("the note is longer than {TEXT_MAX_BYTES} bytes"));
        }
        if self.who.is_some_and(|who| who.is_empty() || who.len() > NAME_MAX_BYTES) {
            return wrong(format!("who: a name has from 1 to {NAME_MAX_BYTES} bytes"));
        }
        Ok(())
    }
}

fn find(step: &Step<'_>, name: &str) -> Result<AlarmState, Outcome> {
    let state = records::alarm(step.definitions, step.kept, name);
    state.ok_or_else(|| reject(format!("alarm \"{}\" does not exist", shown(name))))
}

fn put(step: &mut Step<'_>, state: AlarmState) {
    step.put(records::alarm_key(&state.name), records::encode(&state));
    step.event(What::Alarm { alarm: state });
}

/// Somebody has seen one raise.
pub(super) fn ack(step: &mut Step<'_>, said: &Said<'_>, name: &str, raise: u64) -> Outcome {
    let mut state = match find(step, name).and_then(|state| said.check(name).map(|()| state)) {
        Ok(state) => state,
        Err(rejected) => return rejected,
    };
    if raise == 0 || raise > state.raise {
        return reject(format!("alarm \"{name}\" was raised {} times, not {raise}", state.raise));
    }
    if raise < state.raise {
        return reject(format!("alarm \"{name}\" was raised again since (raise {})", state.raise));
    }
    if !state.acked {
        state.acked = true;
        state.acked_by = said.by();
        state.note = said.note();
        put(step, state);
    }
    Outcome::Applied
}

/// Puts an alarm aside for a time.
pub(super) fn shelve(step: &mut Step<'_>, said: &Said<'_>, name: &str, seconds: u64) -> Outcome {
    let mut state = match find(step, name).and_then(|state| said.check(name).map(|()| state)) {
        Ok(state) => state,
        Err(rejected) => return rejected,
    };
    let time = Duration::from_secs(seconds);
    if time.is_zero() || time > SHELF_MAX {
        let most = SHELF_MAX.as_secs();
        return reject(format!("alarm \"{name}\": a shelf lasts from 1 to {most} seconds"));
    }
    let until = UnixMs(step.wall.0.saturating_add(seconds.saturating_mul(1_000)));
    state.shelved = Some(Shelf { until, by: said.by(), note: said.note() });
    state.shelvings = state.shelvings.saturating_add(1);
    put(step, state);
    Outcome::Applied
}

/// Ends a shelf before its time.
pub(super) fn unshelve(step: &mut Step<'_>, name: &str) -> Outcome {
    let mut state = match find(step, name) {
        Ok(state) => state,
        Err(rejected) => return rejected,
    };
    if state.shelved.take().is_some() {
        state.shelvings = state.shelvings.saturating_add(1);
        put(step, state);
    }
    Outcome::Applied
}

/// The time of a shelf is over, unless the alarm was shelved anew.
pub(super) fn shelf_ended(mut step: Step<'_>, name: &str) -> Executed {
    let Some(mut state) = records::alarm(step.definitions, step.kept, name) else {
        return rejected(format!("alarm \"{name}\" does not exist"));
    };
    if state.shelved.is_none() || state.is_shelved(step.wall) {
        return Executed::Known { outcome: Outcome::Applied };
    }
    state.shelved = None;
    put(&mut step, state);
    Executed::Changes { changes: step.into_changes(), outcome: Outcome::Applied }
}

/// A limit was exceeded, or is no longer.
pub(super) fn moved(mut step: Step<'_>, name: &str, raised: bool) -> Executed {
    let Some(mut state) = records::alarm(step.definitions, step.kept, name) else {
        return rejected(format!("alarm \"{name}\" does not exist"));
    };
    if state.raised == raised {
        return Executed::Known { outcome: Outcome::Applied };
    }
    state.raised = raised;
    state.since = step.wall;
    if raised {
        state.raise = state.raise.saturating_add(1);
        state.acked = false;
        state.acked_by = None;
        state.note = None;
    }
    if planted::is(RuleFault::AckUndone) {
        state.acked = false;
    }
    if let Some(definition) = step.definitions.alarms.get(name) {
        state.priority = definition.priority;
        state.text.clone_from(&definition.text);
    }
    put(&mut step, state);
    Executed::Changes { changes: step.into_changes(), outcome: Outcome::Applied }
}
