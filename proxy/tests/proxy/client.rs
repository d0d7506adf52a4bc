//! A client of the proxy, and the proxy itself, started for one test.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tandem_proxy::options::Options;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::node::Node;
use crate::{DEADLINE, until};

/// The proxy.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `None`: it was cut.
    pub(crate) body: Option<String>,
}

impl Front {
    pub(crate) fn start(nodes: &[&Node]) -> Front {
        Front::with(nodes, |_| {})
    }

    pub(crate) fn with(nodes: &[&Node], change: impl FnOnce(&mut Options)) -> Front {
        let mut options = Options::leading_to(nodes.iter().map(|n| n.url()).collect());
        change(&mut options);
        let listener = tandem_proxy::bind(options.listen()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shutdown = async {
            // Dropped with the test: the same as asked.
            let _ = stopped.await;
        };
        let task = spawn_local(async {
            tandem_proxy::run(listener, options, shutdown).await.unwrap();
        });
        Front { address, task, stop: Some(stop) }
    }

    /// Stops it and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        spawn_local(async {
            // The test sees the error where it reads.
            let _ = connection.await;
        });
        sender
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut sender = self.connect().await;
        send(&mut sender, method, path, headers, Bytes::from(body.to_owned())).await
    }

    /// The same in a task of its own.
    pub(crate) fn begin(
        &self,
        method: &'static str,
        path: &'static str,
        headers: &'static [(&str, &str)],
        body: &'static str,
    ) -> JoinHandle<Answer> {
        let address = self.address;
        spawn_local(async move {
            let front = Front { address, task: spawn_local(async {}), stop: None };
            front.ask(method, path, headers, body).await
        })
    }

    /// What it knows.
    pub(crate) async fn health(&self) -> Value {
        let body = self.get("/proxy/health").await.body.unwrap();
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until so many requests wait.
    pub(crate) async fn waiting(&self, count: u64) {
        until("requests wait", async || self.health().await["waiting"] == count).await;
    }

    /// Waits until it leads to a node.
    pub(crate) async fn leads_to(&self, node: &str) {
        until("the proxy leads to a node", async || self.health().await["active"] == node).await;
    }

    pub(crate) async fn socket(&self, path: &str, protocol: Option<&str>) -> Socket {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        if let Some(protocol) = protocol {
            let headers = request.headers_mut();
            headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
            let deflate = "permessage-deflate; client_max_window_bits";
            headers.insert("sec-websocket-extensions", deflate.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        Socket(tokio_tungstenite::client_async(request, stream).await.unwrap().0)
    }

    pub(crate) async fn session(&self) -> Socket {
        self.socket("/session", Some("tandem.session.v1")).await
    }
}

/// One request over a connection.
pub(crate) async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "plant");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.ready().await.unwrap();
    let answer = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.ok().map(|b| b.to_bytes());
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.map(|b| String::from_utf8_lossy(&b).into_owned()),
    }
}

/// A WebSocket to the proxy.
pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text.to_owned())).await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    /// So many pings of full length, numbered, without a look at what comes back.
    pub(crate) async fn pings(&mut self, count: u32) {
        let stream = self.0.get_mut();
        for number in 0..count {
            // Masked with zeros (RFC 6455, 5.3).
            let mut frame = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
            frame.extend_from_slice(&number.to_be_bytes());
            frame.resize(6 + 125, 0);
            stream.write_all(&frame).await.unwrap();
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Message, tungstenite::Error> {
        let next = tokio::time::timeout(DEADLINE, self.0.next()).await;
        next.expect("a frame comes in time").expect("the socket is open")
    }

    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.next().await.unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What a node answers now.
    pub(crate) async fn socket_is_alive(&mut self) -> String {
        self.say("alive?").await;
        self.text().await
    }

    /// The node and the term's counter that `moved` names.
    pub(crate) async fn moved(&mut self) -> (String, u64) {
        let text = self.text().await;
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message["type"], "moved", "{text}");
        assert_eq!(message["reason"], "the test says so");
        let node = message["node"].as_str().unwrap().to_owned();
        (node, message["term"]["counter"].as_u64().unwrap())
    }

    /// The close frame, which must come.
    pub(crate) async fn closed(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(frame) = self.next().await.unwrap() {
                return frame.unwrap();
            }
        }
    }
}
