//! The DevTools connection: numbered calls, and events to whoever listens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use crate::harness::{Error, Result};

/// The longest a call may take, a page that loads on a busy machine included.
const CALL_MAX: Duration = Duration::from_secs(30);
/// Calls on their way to the socket.
const CALLS_WAITING: usize = 64;
/// Events that a slow listener may be behind.
const EVENTS_WAITING: usize = 16_384;

/// An event of the browser.
#[derive(Debug, Clone)]
pub struct Event {
    /// The page that it is from.
    pub session: String,
    /// Its name.
    pub method: String,
    /// Its fields.
    pub params: Arc<Value>,
    /// When it arrived here.
    pub at: Instant,
}

type Waiting = Arc<Mutex<Calls>>;

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    open: HashMap<u64, oneshot::Sender<Value>>,
}

/// A connection to the browser.
#[derive(Debug)]
pub struct Connection {
    out: mpsc::Sender<String>,
    waiting: Waiting,
    events: broadcast::Sender<Event>,
}

impl Connection {
    /// Connects to the URL that the browser printed.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn open(url: &str) -> Result<Connection> {
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connected = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
        let (stream, _) = connected.await.map_err(|e| Error::wire(format!("connect {url}"), e))?;
        let (mut sink, mut source) = stream.split();
        let (out, mut queue) = mpsc::channel::<String>(CALLS_WAITING);
        let (events, _) = broadcast::channel(EVENTS_WAITING);
        let waiting = Waiting::default();
        tokio::spawn(async move {
            while let Some(text) = queue.recv().await {
                if sink.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
        });
        let (calls, told) = (Arc::clone(&waiting), events.clone());
        tokio::spawn(async move {
            while let Some(Ok(message)) = source.next().await {
                if let Message::Text(text) = message {
                    arrived(text.as_str(), &calls, &told);
                }
            }
            // Whoever waits for an answer learns that there will be none.
            lock(&calls).open.clear();
        });
        Ok(Connection { out, waiting, events })
    }

    /// Calls a method, of a page or of the browser itself.
    ///
    /// # Errors
    /// The browser is gone, or refuses.
    pub async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut calls = lock(&self.waiting);
            calls.next += 1;
            let id = calls.next;
            calls.open.insert(id, sender);
            id
        };
        let mut message = json!({"id": id, "method": method, "params": params});
        if let (Some(session), Some(fields)) = (session, message.as_object_mut()) {
            fields.insert("sessionId".to_owned(), json!(session));
        }
        let failed = |why: &str| Error::wire(method, why);
        self.out.send(message.to_string()).await.map_err(|_| failed("the browser is gone"))?;
        let answer = match tokio::time::timeout(CALL_MAX, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(failed("the browser is gone")),
            Err(_) => return Err(failed("no answer")),
        };
        match answer.get("error") {
            Some(error) => Err(failed(&error.to_string())),
            None => Ok(answer.get("result").cloned().unwrap_or_default()),
        }
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

fn arrived(text: &str, calls: &Waiting, events: &broadcast::Sender<Event>) {
    let at = Instant::now();
    let Ok(mut message) = serde_json::from_str::<Value>(text) else { return };
    if let Some(id) = message.get("id").and_then(Value::as_u64) {
        if let Some(waiting) = lock(calls).open.remove(&id) {
            let _ = waiting.send(message);
        }
        return;
    }
    let word = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (session, method) = (word("sessionId"), word("method"));
    let params = message.get_mut("params").map(Value::take).unwrap_or_default();
    let _ = events.send(Event { session, method, params: Arc::new(params), at });
}

fn lock(calls: &Waiting) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}
