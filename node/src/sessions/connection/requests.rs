//! A bound connection at work: its session's requests one at a time, its values, its events.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use tandem_protocol::event::EventPosition;
use tandem_protocol::gateway::input;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{ItemKey, Kind};
use tandem_protocol::limits::{OUTSTANDING_WRITES_MAX, SUBSCRIPTIONS_MAX};
use tandem_protocol::runtime::events;
use tandem_protocol::session::{Outcome, Request, SessionId, WriteId};
use tandem_protocol::tag::TagPath;
use tandem_protocol::wire::session::{CloseReason, ServerMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Connection, End, Flow, Mode, RETRY, Told, VALUES_GAP};
use crate::live;

/// Events in one message.
const EVENTS_AT_ONCE: usize = 256;
/// A message with events ends past this size; the rest follows in the next one.
const EVENTS_BYTES: usize = 64 * 1024;

/// A session on its connection.
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The last event that the client has.
    cursor: EventPosition,
    waiting: BTreeMap<WriteId, Request>,
    /// The request that the driver has.
    running: Option<WriteId>,
    /// Outcomes that wait for the permit.
    unsaid: VecDeque<ServerMessage>,
    /// The client ends it when its requests are done.
    pub(super) ending: bool,
    /// The last status that the client was told.
    pub(super) heard: Option<Told>,
}

impl Session {
    pub(super) fn new(id: SessionId, cursor: EventPosition) -> Session {
        Session {
            id,
            cursor,
            waiting: BTreeMap::new(),
            running: None,
            unsaid: VecDeque::new(),
            ending: false,
            heard: None,
        }
    }

    /// Takes a request of the client.
    pub(super) fn queue(&mut self, request: Request) -> Flow {
        if self.running == Some(request.id) || self.waiting.contains_key(&request.id) {
            return Ok(());
        }
        let outstanding = self.waiting.len() + usize::from(self.running.is_some());
        if outstanding >= OUTSTANDING_WRITES_MAX {
            let detail = format!("{OUTSTANDING_WRITES_MAX} requests without an outcome");
            return Err(End::Close(CloseReason::Limit, detail));
        }
        self.waiting.insert(request.id, request);
        Ok(())
    }
}

/// What the driver has answered.
#[derive(Debug)]
pub(super) enum Finished {
    Opened(Answer),
    Operated(Box<Request>, Answer),
    Ended,
}

/// A request that the driver has.
pub(super) struct Running(Pin<Box<dyn Future<Output = Finished> + Send>>);

impl Running {
    pub(super) fn new(request: impl Future<Output = Finished> + Send + 'static) -> Running {
        Running(Box::pin(request))
    }
}

/// Waits for the answer to what is running; for ever when nothing is.
pub(super) async fn running(running: &mut Option<Running>) -> Finished {
    let finished = match running {
        Some(Running(request)) => request.await,
        None => std::future::pending().await,
    };
    *running = None;
    finished
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Hands the next request to the driver.
    pub(super) fn start_next(&mut self) {
        if self.running.is_some() || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        let Mode::Bound(session) = &mut self.mode else { return };
        let driver = self.hub.driver.clone();
        if let Some((id, request)) = session.waiting.pop_first() {
            session.running = Some(id);
            let session = session.id.clone();
            self.running = Some(Running::new(async move {
                // The deadline is looked at as late as can be: when the driver takes it.
                let clock = driver.clock();
                let clock = clock.session(clock.now());
                let operate = input::Request::Operate { session, request: request.clone(), clock };
                let answer = driver.request(operate).await;
                Finished::Operated(Box::new(request), answer)
            }));
        } else if session.ending && session.unsaid.is_empty() {
            let session = session.id.clone();
            self.running = Some(Running::new(async move {
                driver.request(input::Request::End { session }).await;
                Finished::Ended
            }));
        }
    }

    pub(super) async fn finished(&mut self, finished: Finished) -> Flow {
        match finished {
            Finished::Opened(answer) => {
                self.opened(answer);
                Ok(())
            }
            Finished::Operated(request, answer) => self.operated(*request, answer).await,
            Finished::Ended => Err(End::Close(CloseReason::Ended, String::new())),
        }
    }

    async fn operated(&mut self, request: Request, answer: Answer) -> Flow {
        let Mode::Bound(session) = &mut self.mode else { return Ok(()) };
        session.running = None;
        let id = request.id;
        let (outcome, copies) = match answer {
            Answer::Done { outcome, copies } => (outcome, copies),
            Answer::Standby | Answer::Busy => {
                // Nothing was done. It is handed in again, unless this node turns out to be
                // standby: then the client keeps it and sends it to the other node.
                session.waiting.insert(id, request);
                self.retry_at = Some(Instant::now() + RETRY);
                return Ok(());
            }
            Answer::NoSession => {
                self.unbind(Mode::Fresh, true);
                return self.say(&ServerMessage::Unbound).await;
            }
            Answer::NotStored => (
                Outcome::Rejected { reason: "the disk of this node cannot store it".to_owned() },
                0,
            ),
            Answer::DiskFull => {
                (Outcome::Rejected { reason: "the disk of this node is full".to_owned() }, 0)
            }
            Answer::Refused { reason } => (Outcome::Rejected { reason }, 0),
            Answer::NotMaster
            | Answer::NoSuchPage
            | Answer::Accepted
            | Answer::OtherTerm { .. }
            | Answer::Changed { .. } => {
                (Outcome::Rejected { reason: "this cannot be done in a session".to_owned() }, 0)
            }
        };
        session.unsaid.push_back(ServerMessage::Outcome { id, copies, outcome });
        Ok(())
    }

    /// Says outcomes, as long as the permit lasts.
    pub(super) async fn say_outcomes(&mut self) -> Flow {
        loop {
            let Mode::Bound(session) = &mut self.mode else { return Ok(()) };
            if !self.hub.driver.gate().is_open() {
                return Ok(());
            }
            let Some(outcome) = session.unsaid.pop_front() else { return Ok(()) };
            self.say(&outcome).await?;
        }
    }

    /// Says the events that the client does not have: their items' bytes, as they are kept.
    pub(super) async fn say_events(&mut self) -> Flow {
        loop {
            let Mode::Bound(session) = &mut self.mode else { return Ok(()) };
            let last = *self.events.borrow_and_update();
            if last <= session.cursor || !self.hub.driver.gate().is_open() {
                return Ok(());
            }
            let kept = self.hub.driver.items(Kind::Kept);
            let from = events::event_key(EventPosition(session.cursor.0.saturating_add(1)));
            let log = kept.range(from..ItemKey::new("events\0", ""));
            let mut message = String::from(r#"{"type":"events","events":["#);
            let mut count = 0;
            for (key, item) in log.take(EVENTS_AT_ONCE) {
                if message.len() > EVENTS_BYTES {
                    break;
                }
                if let (Ok(position), Ok(body)) =
                    (key.key.parse::<u64>(), std::str::from_utf8(&item.body))
                {
                    if count > 0 {
                        message.push(',');
                    }
                    message.push_str(body);
                    session.cursor = EventPosition(position);
                    count += 1;
                }
            }
            if count == 0 {
                // Told of an event that is not shown any more.
                session.cursor = last;
                return Ok(());
            }
            message.push_str("]}");
            self.say_text(message).await?;
        }
    }

    /// Says the values that changed: at once after a pause, else when the gap has passed.
    pub(super) async fn say_values(&mut self) -> Flow {
        if !matches!(self.mode, Mode::Bound(_)) || !self.hub.driver.gate().is_open() {
            return Ok(());
        }
        let now = Instant::now();
        if self.values_at.is_some_and(|at| now < at + VALUES_GAP) {
            return Ok(());
        }
        if let Some(message) = self.hub.fanout.take(&self.mailbox, &self.subscription) {
            self.values_at = Some(now);
            self.say_text(message).await?;
        }
        Ok(())
    }

    /// Follows these tags from now on.
    pub(super) fn follow(&mut self, names: &[String]) -> Flow {
        if names.len() > SUBSCRIPTIONS_MAX {
            let detail = format!("{SUBSCRIPTIONS_MAX} subscribed tags");
            return Err(End::Close(CloseReason::Limit, detail));
        }
        let mut seen = HashSet::new();
        let once = names.iter().filter(|name| seen.insert(name.as_str())).cloned();
        let names: Vec<String> = once.collect();
        self.values_at = None;
        self.subscribe(&names);
        Ok(())
    }

    pub(super) fn subscribe(&mut self, names: &[String]) {
        let definitions = Arc::clone(&self.definitions.borrow_and_update());
        let (kept, live) = (self.hub.driver.items(Kind::Kept), &self.hub.live);
        let current = |path: &TagPath| {
            definitions.tags.get(path)?;
            Some(live::current(&definitions, &kept, live, path))
        };
        let subscription = &mut self.subscription;
        self.hub.fanout.subscribe(self.id, &self.mailbox, subscription, names, current);
    }
}
