//! Whether a request runs: sessions, the order of ids, deadlines, keys, recorded outcomes.

use crate::event::Era;
use crate::gateway::input::{Items, Request};
use crate::gateway::output::Answer;
use crate::item::{Change, ItemKey};
use crate::limits::{KEY_MAX_BYTES, KEYS_MAX, OUTCOMES_MAX, PROPS_MAX_BYTES};
use crate::planted::{self, RuleFault};
use crate::runtime::alarms;
use crate::runtime::definitions::{Definitions, page_exists};
use crate::runtime::operations::{self, Author};
use crate::runtime::records::{self, Object, SessionRecord};
use crate::runtime::step::Step;
use crate::session::{Operation, Outcome, SessionId, WriteId};
use crate::time::{SessionClock, UnixMs};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Executed {
    /// It runs: these changes are one update, with the record of its outcome among them.
    Changes {
        /// What changes.
        changes: Vec<Change>,
        /// To be answered when the update may be.
        outcome: Outcome,
    },
    /// Its outcome was known before; answer it when everything up to now is confirmed.
    Known {
        /// The outcome.
        outcome: Outcome,
    },
    /// It cannot run and nothing is recorded.
    Refused(Answer),
}

/// What the other node may have run of what a client sends again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nothing that is not in the items here.
    Nothing,
    /// It does not answer and may be active too: what is too late here may have run there.
    Possible,
    /// It was active, and the level was taken without all that it had answered.
    Likely,
}

/// How the node that executes stands to the other one and to its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// What the other node may have run.
    pub elsewhere: Elsewhere,
    /// Under which events are written.
    pub era: Era,
}

/// Executes a request on the items as they stand, those not yet confirmed included.
///
/// Requests that are not about kept state are refused as [`Answer::Refused`].
pub fn execute(
    definitions: &Definitions,
    config: &Items,
    kept: &Items,
    request: &Request,
    wall: UnixMs,
    conditions: Conditions,
) -> Executed {
    let Conditions { elsewhere, era } = conditions;
    let step = Step::new(definitions, config, kept, wall, era);
    match request {
        Request::Open { session, token_hash, project, page, params, props } => {
            let record = SessionRecord {
                token_hash: *token_hash,
                project: project.clone(),
                page: page.clone(),
                params: text_of(params),
                props: text_of(props),
                floor: WriteId(0),
                highest: WriteId(0),
                opened: wall,
            };
            open(step, session, &record)
        }
        Request::Operate { session, request, clock } => {
            operate(step, session, request, *clock, elsewhere)
        }
        Request::Keyed { key, operation } => keyed(step, key, operation),
        Request::End { session } => end(step, session),
        Request::AlarmMoved { alarm, raised } => alarms::moved(step, alarm, *raised),
        Request::ShelfEnded { alarm } => alarms::shelf_ended(step, alarm),
        Request::Keep { changes } => {
            Executed::Changes { changes: changes.clone(), outcome: Outcome::Applied }
        }
        Request::Config { .. } | Request::Failover { .. } | Request::Resync | Request::Adopt => {
            let reason = "this is not about kept state".to_owned();
            Executed::Refused(Answer::Refused { reason })
        }
    }
}

pub(super) fn rejected(reason: String) -> Executed {
    let outcome = Outcome::Rejected { reason };
    Executed::Refused(Answer::Done { outcome, copies: 0 })
}

pub(super) fn text_of(object: &Object) -> String {
    serde_json::to_string(object).unwrap_or_else(|_| "{}".to_owned())
}

fn open(mut step: Step<'_>, session: &SessionId, record: &SessionRecord) -> Executed {
    if !page_exists(step.config, &record.project, &record.page) {
        return Executed::Refused(Answer::NoSuchPage);
    }
    for (name, text) in [("params", &record.params), ("props", &record.props)] {
        if text.len() > PROPS_MAX_BYTES {
            return rejected(format!("{name} are longer than {PROPS_MAX_BYTES} bytes"));
        }
    }
    step.put(records::session_key(session), records::encode(record));
    Executed::Changes { changes: step.into_changes(), outcome: Outcome::Applied }
}

fn operate(
    mut step: Step<'_>,
    session: &SessionId,
    request: &crate::session::Request,
    clock: SessionClock,
    elsewhere: Elsewhere,
) -> Executed {
    let Some(mut record) = records::session(step.kept, session) else {
        return Executed::Refused(Answer::NoSession);
    };
    let again = planted::is(RuleFault::ResentRunsAgain);
    if let Some(outcome) = records::outcome(step.kept, session, request.id).filter(|_| !again) {
        return Executed::Known { outcome };
    }
    let lower = request.id <= record.floor || request.id <= record.highest;
    if lower && !again && !planted::is(RuleFault::LowerIdRuns) {
        // It ran, or another one after it did: running it now could undo a newer write.
        return Executed::Known { outcome: Outcome::Unknown };
    }
    let late = request.deadline < clock && !planted::is(RuleFault::DeadlineIgnored);
    let outcome = if request.resent && elsewhere == Elsewhere::Likely {
        // The lost peer may have applied it: neither `expired` nor a second run would be true.
        Outcome::Unknown
    } else if late && request.resent && elsewhere == Elsewhere::Possible {
        // `expired` would say that it surely did not run.
        Outcome::Unknown
    } else if late {
        Outcome::Expired
    } else {
        let author = Author::Session { session, id: request.id };
        match &request.operation {
            Operation::Write { .. }
            | Operation::Ack { .. }
            | Operation::Shelve { .. }
            | Operation::Unshelve { .. } => operations::run(&mut step, &author, &request.operation),
            Operation::Props { props } => operations::set_props(&mut record, props),
            Operation::Page { page, params } => {
                operations::go(step.config, &mut record, page, params)
            }
        }
    };
    record.highest = request.id;
    forget(&mut step, session, &mut record, request.floor);
    step.put(records::session_key(session), records::encode(&record));
    step.put(records::outcome_key(session, request.id), records::encode(&outcome));
    Executed::Changes { changes: step.into_changes(), outcome }
}

/// Drops outcomes that the client has, and the oldest ones past the limit.
fn forget(step: &mut Step<'_>, session: &SessionId, record: &mut SessionRecord, floor: WriteId) {
    // A floor at or above the running id would forget an outcome that nobody has seen.
    let floor = floor.min(WriteId(record.highest.0.saturating_sub(1))).max(record.floor);
    let from = records::outcome_key(session, WriteId(0));
    let to = records::outcome_key(session, record.highest);
    let ids: Vec<(ItemKey, WriteId)> = (step.kept.range(from..to))
        .filter_map(|(key, _)| {
            let (_, id) = key.key.rsplit_once('/')?;
            Some((key.clone(), WriteId(id.parse().ok()?)))
        })
        .collect();
    // The outcome of the running id comes on top.
    let excess = (ids.len() + 1).saturating_sub(OUTCOMES_MAX);
    for (n, (key, id)) in ids.into_iter().enumerate() {
        if id <= floor || n < excess {
            record.floor = record.floor.max(id);
            step.delete(key);
        }
    }
    record.floor = record.floor.max(floor);
}

fn keyed(mut step: Step<'_>, key: &str, operation: &Operation) -> Executed {
    if key.is_empty() || key.len() > KEY_MAX_BYTES {
        return rejected(format!("a key has from 1 to {KEY_MAX_BYTES} bytes"));
    }
    if let Some(outcome) = records::get(step.kept, &records::keyed_key(key)) {
        return Executed::Known { outcome };
    }
    let outcome = match operation {
        Operation::Write { .. }
        | Operation::Ack { .. }
        | Operation::Shelve { .. }
        | Operation::Unshelve { .. } => operations::run(&mut step, &Author::Key(key), operation),
        Operation::Props { .. } | Operation::Page { .. } => {
            return rejected("only writes and what is done to alarms have keys".to_owned());
        }
    };
    for fallen in step.remember("keys", "", KEYS_MAX, key) {
        step.delete(records::keyed_key(&fallen));
    }
    step.put(records::keyed_key(key), records::encode(&outcome));
    Executed::Changes { changes: step.into_changes(), outcome }
}

/// Names the item that holds the outcome of a request, where it has one.
pub(crate) fn outcome_item(request: &Request) -> Option<ItemKey> {
    match request {
        Request::Operate { session, request, .. } => {
            Some(records::outcome_key(session, request.id))
        }
        Request::Keyed { key, .. } => Some(records::keyed_key(key)),
        Request::Open { .. }
        | Request::End { .. }
        | Request::AlarmMoved { .. }
        | Request::ShelfEnded { .. }
        | Request::Keep { .. }
        | Request::Config { .. }
        | Request::Failover { .. }
        | Request::Resync
        | Request::Adopt => None,
    }
}

fn end(mut step: Step<'_>, session: &SessionId) -> Executed {
    if records::session(step.kept, session).is_none() {
        return Executed::Refused(Answer::NoSession);
    }
    let from = records::outcome_key(session, WriteId(0));
    let to = records::outcome_key(session, WriteId(u64::MAX));
    let outcomes: Vec<_> = step.kept.range(from..=to).map(|(key, _)| key.clone()).collect();
    for key in outcomes {
        step.delete(key);
    }
    step.delete(records::session_key(session));
    Executed::Changes { changes: step.into_changes(), outcome: Outcome::Applied }
}
