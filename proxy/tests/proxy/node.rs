//! A node as small as can be: a level that the test sets, watches, and requests it remembers.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tandem_proxy::options::Address;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How it treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers with its id and the body.
    Answers,
    /// Takes them and never answers.
    Hangs,
    /// Says active, but answers as a standby.
    Fenced,
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    state: Rc<State>,
}

struct State {
    id: &'static str,
    /// The counter of its term while it is active.
    level: watch::Sender<Option<u64>>,
    mood: Cell<Mood>,
    seen: RefCell<Vec<Seen>>,
    connections: Cell<usize>,
    halves: Cell<usize>,
    tasks: RefCell<JoinSet<()>>,
}

impl Node {
    /// A standby.
    pub(crate) async fn start(id: &'static str) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Rc::new(State {
            id,
            level: watch::Sender::new(None),
            mood: Cell::new(Mood::Answers),
            seen: RefCell::default(),
            connections: Cell::new(0),
            halves: Cell::new(0),
            tasks: RefCell::default(),
        });
        let address = listener.local_addr().unwrap();
        state.tasks.borrow_mut().spawn_local(accept(listener, Rc::clone(&state)));
        Node { address, state }
    }

    /// Active from the beginning.
    pub(crate) async fn active(id: &'static str, counter: u64) -> Node {
        let node = Node::start(id).await;
        node.activate(counter);
        node
    }

    pub(crate) fn url(&self) -> Address {
        Address::parse(&format!("http://{}", self.address)).unwrap()
    }

    pub(crate) fn activate(&self, counter: u64) {
        self.state.level.send_replace(Some(counter));
    }

    pub(crate) fn stand_by(&self) {
        self.state.level.send_replace(None);
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.state.mood.set(mood);
    }

    /// As SIGKILL: every socket ends, the port is closed.
    pub(crate) async fn kill(&self) {
        let mut tasks = std::mem::take(&mut *self.state.tasks.borrow_mut());
        tasks.shutdown().await;
    }

    /// Requests that are neither watches nor sessions.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.borrow().clone()
    }

    /// How often it has sent half a frame.
    pub(crate) fn halves(&self) -> usize {
        self.state.halves.get()
    }

    /// Connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.get()
    }
}

async fn accept(listener: TcpListener, state: Rc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        state.connections.set(state.connections.get() + 1);
        let serving = Rc::clone(&state);
        state.tasks.borrow_mut().spawn_local(async move {
            let service = service_fn(move |request| {
                let state = Rc::clone(&serving);
                async move { Ok::<_, Infallible>(state.serve(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A connection that ends early is the proxy's right.
            let _ = connection.with_upgrades().await;
        });
    }
}

impl State {
    async fn serve(self: &Rc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        if request.headers().contains_key("sec-websocket-key") {
            return self.upgrade(&mut request);
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let seen = Seen { method: parts.method, path, headers: parts.headers, body };
        let standby = self.level.borrow().is_none() || self.mood.get() == Mood::Fenced;
        if standby {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "standby");
            response.headers_mut().insert("tandem-standby", 9.into());
            return response;
        }
        self.seen.borrow_mut().push(seen.clone());
        if self.mood.get() == Mood::Hangs {
            std::future::pending::<()>().await;
        }
        match seen.path.as_str() {
            "/sized" => begun(Some(100)),
            "/chunked" => begun(None),
            _ => {
                let body = String::from_utf8_lossy(&seen.body).into_owned();
                text(StatusCode::OK, &format!("{}:{body}", self.id))
            }
        }
    }

    fn upgrade(self: &Rc<Self>, request: &mut Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let headers = request.headers().clone();
        let key = headers.get("sec-websocket-key").unwrap().as_bytes();
        let accept = derive_accept_key(key);
        let method = request.method().clone();
        let via_proxy = headers.contains_key("tandem-via");
        if via_proxy {
            let seen =
                Seen { method, path: path.clone(), headers: headers.clone(), body: Bytes::new() };
            self.seen.borrow_mut().push(seen);
        }
        let on_upgrade = hyper::upgrade::on(request);
        let state = Rc::clone(self);
        self.tasks.borrow_mut().spawn_local(async move {
            let upgraded = TokioIo::new(on_upgrade.await.unwrap());
            let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
            if path == "/session" && !via_proxy {
                state.watch(socket).await;
            } else {
                state.echo(socket).await;
            }
        });
        let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
        let answer = response.headers_mut();
        answer.insert("connection", "Upgrade".parse().unwrap());
        answer.insert("upgrade", "websocket".parse().unwrap());
        answer.insert("sec-websocket-accept", accept.parse().unwrap());
        if let Some(protocol) = headers.get("sec-websocket-protocol") {
            answer.insert("sec-websocket-protocol", protocol.clone());
        }
        response
    }

    fn status(&self) -> Value {
        let counter = *self.level.borrow();
        let term = counter.map(|counter| json!({"counter": counter, "node": self.id}));
        json!({
            "pair": "p", "node": self.id, "boot": "0000000000000001", "role": "Master",
            "level": if counter.is_some() { "Active" } else { "Cold" },
            "term": term, "sync": "Good", "peer": null, "reason": "the test says so",
        })
    }

    fn word(&self) -> Message {
        let kind = if self.level.borrow().is_some() { "active" } else { "standby" };
        Message::text(json!({"type": kind, "status": self.status()}).to_string())
    }

    async fn watch(&self, mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
        let mut levels = self.level.subscribe();
        loop {
            let word = tokio::select! {
                message = socket.next() => {
                    let Some(Ok(Message::Text(text))) = message else { return };
                    let message: Value = serde_json::from_str(&text).unwrap();
                    match message["type"].as_str() {
                        Some("watch") => self.word(),
                        Some("ping") => self.pong(&message),
                        other => panic!("a watch says {other:?}"),
                    }
                }
                changed = levels.changed() => {
                    changed.unwrap();
                    self.word()
                }
            };
            if socket.send(word).await.is_err() {
                return;
            }
        }
    }

    fn pong(&self, ping: &Value) -> Message {
        let status = self.status();
        let (level, term) = (&status["level"], &status["term"]);
        let pong =
            json!({"type": "pong", "n": ping["n"], "level": level, "term": term, "clock": 1});
        Message::text(pong.to_string())
    }

    /// Says who got what; at "half" it sends half a frame and nothing more.
    async fn echo(&self, mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) if text.as_str() == "half" => {
                    let mut raw = socket.into_inner();
                    raw.write_all(&[0x81, 100, b'h', b'a', b'l', b'f']).await.unwrap();
                    raw.flush().await.unwrap();
                    self.halves.set(self.halves.get() + 1);
                    return std::future::pending().await;
                }
                Message::Text(text) => {
                    let answer = Message::text(format!("{} got {text}", self.id));
                    if socket.send(answer).await.is_err() {
                        return;
                    }
                }
                _ => {}
            }
        }
    }
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// A response that begins and does not go on.
fn begun(length: Option<u64>) -> Response<Body> {
    let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"begun")))]);
    let body = StreamBody::new(first.chain(futures_util::stream::pending()));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    if let Some(length) = length {
        response.headers_mut().insert("content-length", length.into());
    }
    response
}
