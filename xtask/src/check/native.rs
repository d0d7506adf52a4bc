//! A native client of the check: the SDK's session, a writer, and an eye on its alarm.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tandem_client::{Events, Options, Session, SessionEvent};
use tandem_protocol::limits::WRITE_DEADLINE;
use tandem_protocol::session::{Operation, Outcome as Became};
use tandem_protocol::tag::TagValue;
use tandem_protocol::wire::session::Object;
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Client;
use super::fault::Fault;
use super::plant::{self, FAST};
use crate::outcome::{Failure, Outcome};

/// Five setpoints a second.
const EVERY: Duration = Duration::from_millis(200);

/// A native client at work.
pub(crate) struct NativeClient {
    client: Arc<Client>,
    session: Session,
    phase: watch::Sender<Option<Fault>>,
}

impl NativeClient {
    /// Opens a session and begins to follow it.
    pub(crate) async fn enter(
        client: Arc<Client>,
        addresses: Vec<String>,
    ) -> Outcome<NativeClient> {
        let options = Options {
            addresses,
            fixed: true,
            project: "plant".to_owned(),
            page: "overview".to_owned(),
            params: Object::new(),
            props: Object::new(),
            warm_watch: true,
            navigates: false,
            resume: None,
            seed: 0,
        };
        let (session, events) = Session::open(options).map_err(failed)?;
        session.subscribe([FAST]).await.map_err(failed)?;
        let (phase, seen) = watch::channel(None);
        tokio::spawn(follow(Arc::clone(&client), session.clone(), events));
        tokio::spawn(write(Arc::clone(&client), session.clone(), seen));
        Ok(NativeClient { client, session, phase })
    }

    /// Says what to write from now on.
    pub(crate) fn writes(&self, fault: Option<Fault>) {
        self.phase.send_replace(fault);
    }

    /// Keeps a property in the session.
    pub(crate) async fn keeps(&self, marker: &str) -> Outcome {
        let mut props = Object::new();
        props.insert("marker".to_owned(), json!(marker));
        let told = self.session.props(props).await.map_err(failed)?.await.map_err(failed)?;
        if told.outcome == Became::Applied {
            return Ok(());
        }
        let way = self.client.way().title();
        Err(Failure::Verdict(format!("{way}: a property was not kept: {:?}", told.outcome)))
    }
}

async fn follow(client: Arc<Client>, session: Session, mut events: Events) {
    while let Some(event) = events.next().await {
        let at = Instant::now();
        // Outcomes are awaited where the operation was given its id.
        if matches!(event, SessionEvent::WriteOutcome { .. }) {
            continue;
        }
        let Ok(event) = serde_json::to_value(&event) else { continue };
        client.hears(at, &event);
        if let Some(raise) = Client::to_ack(&event, client.way()) {
            let alarm = plant::alarm(client.way().word());
            let ack = Operation::Ack { alarm, raise, who: None, note: None };
            tokio::spawn(operate(Arc::clone(&client), session.clone(), ack));
        }
    }
}

async fn write(client: Arc<Client>, session: Session, phase: watch::Receiver<Option<Fault>>) {
    let name = client.way().word();
    let mut ticks = tokio::time::interval(EVERY);
    for turn in 1u64.. {
        ticks.tick().await;
        let fault = *phase.borrow();
        if phase.has_changed().is_err() {
            return;
        }
        let Some(fault) = fault else { continue };
        let mut todo = vec![
            (plant::writes_tag(fault, name), TagValue::Int(1)),
            (plant::setpoint_tag(fault, name), TagValue::Int(wall_ms())),
        ];
        if turn % 10 == 0 {
            let level = if turn % 20 == 0 { 0 } else { 100 };
            todo.push((plant::level_tag(name), TagValue::Int(level)));
        }
        for (tag, value) in todo {
            let operation = Operation::Write { tag, value };
            // In order, since the ids are: only the outcome is waited for elsewhere.
            take_up(&client, &session, operation).await;
        }
    }
}

async fn operate(client: Arc<Client>, session: Session, operation: Operation) {
    take_up(&client, &session, operation).await;
}

async fn take_up(client: &Arc<Client>, session: &Session, operation: Operation) {
    let told = serde_json::to_value(&operation).unwrap_or_default();
    let Ok(pending) = session.operate(operation, WRITE_DEADLINE).await else { return };
    let id = pending.id().0;
    client.issued(id, told);
    let client = Arc::clone(client);
    tokio::spawn(async move {
        let Ok(told) = pending.await else { return };
        let mut event = serde_json::to_value(&told.outcome).unwrap_or_default();
        if let Value::Object(fields) = &mut event {
            fields.insert("event".to_owned(), json!("write_outcome"));
            fields.insert("id".to_owned(), json!(id));
        }
        client.hears(Instant::now(), &event);
    });
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn failed(why: tandem_client::Error) -> Failure {
    Failure::Verdict(format!("the native client: {why}"))
}
