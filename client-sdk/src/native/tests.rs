//! The transport against scripted gateways on real sockets: the race over TCP.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tandem_protocol::failover::input::Options;
use tandem_protocol::failover::output::SessionEvent;
use tandem_protocol::session::Outcome;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::native::{Error, Events, Session};

const DEADLINE: Duration = Duration::from_secs(10);

/// What both gateways know: the sessions, and how often each operation ran.
#[derive(Debug, Default)]
struct Pair {
    sessions: Mutex<Vec<String>>,
    ran: Mutex<Vec<u64>>,
    opened: AtomicU64,
}

/// A scripted gateway; dropping it ends its sockets as a kill does.
struct Gateway {
    url: String,
    /// The counter of its term; zero while it is standby.
    term: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    async fn start(name: &'static str, term: u64, pair: &Arc<Pair>) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (term, term_out) = watch::channel(term);
        let pair = Arc::clone(pair);
        let task = tokio::spawn(async move {
            let mut sockets = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                sockets.spawn(serve(stream, name, term_out.clone(), Arc::clone(&pair)));
            }
        });
        Gateway { url, term, task }
    }
}

fn status(name: &str, term: u64) -> Value {
    json!({
        "pair": "plant", "node": name, "boot": "0000000000000001", "role": "Master", "sync": "Good", "peer": null,
        "level": if term > 0 { "Active" } else { "Cold" },
        "term": if term > 0 { json!({ "counter": term, "node": name }) } else { Value::Null },
    })
}

#[expect(clippy::result_large_err, reason = "the library's callback")]
async fn serve(
    stream: TcpStream,
    name: &'static str,
    mut term: watch::Receiver<u64>,
    pair: Arc<Pair>,
) {
    let subprotocol = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/session");
        let value = HeaderValue::from_static("tandem.session.v1");
        response.headers_mut().insert("Sec-WebSocket-Protocol", value);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, subprotocol).await.unwrap();
    let mut bound = false;
    loop {
        let answers = tokio::select! {
            changed = term.changed() => {
                let now = *term.borrow_and_update();
                if changed.is_err() {
                    return;
                }
                bound = bound && now > 0;
                let word = if now > 0 { "active" } else { "standby" };
                vec![json!({ "type": word, "status": status(name, now) })]
            }
            message = socket.next() => {
                let Some(Ok(Message::Text(text))) = message else { return };
                let now = *term.borrow();
                answer(&serde_json::from_str(&text).unwrap(), name, now, &pair, &mut bound)
            }
        };
        for answer in answers {
            if socket.send(Message::Text(answer.to_string().into())).await.is_err() {
                return;
            }
        }
    }
}

fn answer(m: &Value, name: &str, term: u64, pair: &Pair, bound: &mut bool) -> Vec<Value> {
    let status = status(name, term);
    let kind = m["type"].as_str().unwrap();
    let bind = |kind: &str, session: &str| {
        json!({
            "type": kind, "session": session, "token": "t", "project": "plant", "page": "p",
            "clock": 5, "status": status, "recovered": true, "highest": 0,
        })
    };
    match kind {
        "watch" | "open" | "resume" if term == 0 => {
            vec![json!({ "type": "standby", "status": status })]
        }
        "watch" => vec![json!({ "type": "active", "status": status })],
        "open" => {
            let session = format!("s{}", pair.opened.fetch_add(1, Ordering::Relaxed));
            pair.sessions.lock().unwrap().push(session.clone());
            *bound = true;
            vec![bind("opened", &session)]
        }
        "resume" => {
            let session = m["session"].as_str().unwrap();
            assert!(pair.sessions.lock().unwrap().iter().any(|known| known == session));
            *bound = true;
            vec![bind("resumed", session)]
        }
        "ping" => {
            let level = &status["level"];
            let term = &status["term"];
            vec![json!({ "type": "pong", "n": m["n"], "level": level, "term": term, "clock": 5 })]
        }
        "subscribe" if *bound => {
            let value = json!({ "tag": m["tags"][0], "value": 1, "quality": "good", "time": 0 });
            vec![json!({ "type": "values", "values": [value] })]
        }
        // A write of "hold" is the one that dies with its gateway.
        "request" if *bound && m["value"] == "hold" && m["resent"] == false => Vec::new(),
        "request" if *bound => {
            let id = m["id"].as_u64().unwrap();
            pair.ran.lock().unwrap().push(id);
            vec![json!({ "type": "outcome", "id": id, "copies": 2, "outcome": "applied" })]
        }
        _ => vec![json!({ "type": "unbound" })],
    }
}

async fn until<T>(events: &mut Events, mut want: impl FnMut(SessionEvent) -> Option<T>) -> T {
    let wait = async {
        loop {
            let event = events.next().await.expect("the session goes on");
            if let Some(found) = want(event) {
                return found;
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("it happens in time")
}

fn options(gateways: &[&Gateway]) -> Options {
    let addresses = gateways.iter().map(|gateway| gateway.url.clone()).collect();
    let mut options = Options::new(addresses, "plant", "p");
    options.fixed = true;
    options
}

#[tokio::test]
async fn a_killed_gateway_costs_milliseconds_and_no_write() {
    let pair = Arc::new(Pair::default());
    let a = Gateway::start("a", 1, &pair).await;
    let b = Gateway::start("b", 0, &pair).await;
    let (session, mut events) = Session::open(options(&[&a, &b])).unwrap();
    let first = until(&mut events, |event| match event {
        SessionEvent::Connected { node, .. } => Some(node),
        _ => None,
    })
    .await;
    assert_eq!(first.as_str(), "a");
    session.subscribe(["T"]).await.unwrap();
    let told = session.write("T", 1).await.unwrap().await.unwrap();
    assert_eq!((told.outcome, told.copies), (Outcome::Applied, 2));
    let held = session.write("T", "hold").await.unwrap();
    until(&mut events, |event| matches!(event, SessionEvent::TagChange(_)).then_some(())).await;

    let killed = std::time::Instant::now();
    drop(a);
    b.term.send(2).unwrap();
    let (from, to) = until(&mut events, |event| match event {
        SessionEvent::Transferred { from, to, .. } => Some((from, to)),
        _ => None,
    })
    .await;
    assert_eq!((from.unwrap().as_str(), to.as_str()), ("a", "b"));
    until(&mut events, |event| matches!(event, SessionEvent::TagChange(_)).then_some(())).await;
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(held.await.unwrap().outcome, Outcome::Applied);
    assert_eq!(*pair.ran.lock().unwrap(), [1, 2]);

    session.close().await;
    while events.next().await.is_some() {}
    assert_eq!(session.write("T", 1).await.unwrap_err(), Error::Closed);
}

#[tokio::test]
async fn a_session_goes_on_in_another_process() {
    let pair = Arc::new(Pair::default());
    let a = Gateway::start("a", 1, &pair).await;
    let (session, mut events) = Session::open(options(&[&a])).unwrap();
    let state = |event| matches!(event, SessionEvent::State { .. }).then_some(());
    until(&mut events, state).await;
    let saved = session.save().await.unwrap().unwrap();
    drop((session, events));

    let mut options = options(&[&a]);
    options.resume = Some(saved);
    let (_session, mut events) = Session::open(options).unwrap();
    until(&mut events, state).await;
    assert_eq!(pair.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn wrong_addresses_are_named() {
    assert_eq!(Session::open(Options::new(Vec::new(), "p", "p")).unwrap_err(), Error::NoAddress);
    let wrong = Options::new(vec!["gateway:80".to_owned()], "p", "p");
    let text = Session::open(wrong).unwrap_err().to_string();
    assert!(text.contains("gateway:80"), "{text}");
}
