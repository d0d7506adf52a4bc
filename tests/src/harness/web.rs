//! HTTP exchanges: one on a connection of its own, or many on one that stays open.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Error, Result};

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: http::HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The longest an exchange may take: a little more than a proxy holds a request.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(20);

/// `GET base + path`.
///
/// # Errors
/// No connection, or no whole answer.
pub async fn get(base: &str, path: &str) -> Result<Reply> {
    exchange("GET", base, path, &[], Bytes::new()).await
}

/// `POST base + path` with a JSON body.
///
/// # Errors
/// No connection, or no whole answer.
pub async fn post(
    base: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &serde_json::Value,
) -> Result<Reply> {
    exchange("POST", base, path, headers, Bytes::from(body.to_string())).await
}

/// One exchange.
///
/// # Errors
/// No connection, or no whole answer.
pub async fn exchange(
    method: &str,
    base: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Reply> {
    let what = format!("{method} {base}{path}");
    let work = exchange_unbound(method, base, path, headers, body);
    match tokio::time::timeout(EXCHANGE_MAX, work).await {
        Ok(done) => done.map_err(|why| Error::Wire { what, why }),
        Err(_) => Err(Error::wire(what, "no answer in time")),
    }
}

async fn exchange_unbound(
    method: &str,
    base: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> std::result::Result<Reply, String> {
    Connection::dial(base).await?.asks(method, path, headers, body).await
}

/// A connection that stays open for one exchange after the other.
#[derive(Debug)]
pub struct Connection {
    host: String,
    sender: http1::SendRequest<Full<Bytes>>,
    driving: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Connects to a base URL.
    ///
    /// # Errors
    /// No connection.
    pub async fn open(base: &str) -> Result<Connection> {
        let what = format!("connect to {base}");
        match tokio::time::timeout(EXCHANGE_MAX, Connection::dial(base)).await {
            Ok(done) => done.map_err(|why| Error::Wire { what, why }),
            Err(_) => Err(Error::wire(what, "no answer in time")),
        }
    }

    /// One exchange.
    ///
    /// # Errors
    /// No whole answer.
    pub async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply> {
        let what = format!("{method} {path}");
        match tokio::time::timeout(EXCHANGE_MAX, self.asks(method, path, headers, body)).await {
            Ok(done) => done.map_err(|why| Error::Wire { what, why }),
            Err(_) => Err(Error::wire(what, "no answer in time")),
        }
    }

    async fn dial(base: &str) -> std::result::Result<Connection, String> {
        let host = host_of(base);
        let stream = TcpStream::connect(host).await.map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driving = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { host: host.to_owned(), sender, driving })
    }

    async fn asks(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> std::result::Result<Reply, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        self.sender.ready().await.map_err(|e| text(&e))?;
        let request = http::Request::builder().method(method).uri(path);
        let mut request = request.header("host", &self.host);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(body)).map_err(|e| text(&e))?;
        if let Some((_, host)) = headers.iter().find(|(name, _)| *name == "host") {
            // Another one than that of the address: there is one host in a request.
            let host = host.parse().map_err(|e: http::header::InvalidHeaderValue| text(&e))?;
            request.headers_mut().insert("host", host);
        }
        let response = self.sender.send_request(request).await.map_err(|e| text(&e))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| text(&e))?.to_bytes();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// `host:port` of a base URL such as `http://127.0.0.1:8088`.
pub fn host_of(base: &str) -> &str {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
