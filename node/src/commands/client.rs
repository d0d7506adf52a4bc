//! The commands' HTTP client: one node, one connection, one request at a time.
//!
//! An answer is read whole, within a bound and a time. A connection that the node closed while it
//! was idle is opened anew for a request that was surely not sent.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Error, Result};
use crate::admin::Token;

/// A node on the same network answers a connect at once.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A little above what a node itself waits for its store and its peer.
const ANSWER_WAIT: Duration = Duration::from_secs(40);
/// The longest answer: a listing of all that a pair can hold is far below it.
const BODY_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A client of one node.
#[derive(Debug)]
pub struct Client {
    url: String,
    authority: String,
    token: Option<Token>,
    hint: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// GET, PUT, ...
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path: String,
    /// Headers beside `Host` and `Authorization`.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Bytes,
}

impl Ask {
    /// A request without a body.
    pub fn new(method: Method, path: impl Into<String>) -> Ask {
        Ask { method, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Ask {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body of bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Ask {
        self.body = body.into();
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, value: &serde_json::Value) -> Ask {
        self.header(CONTENT_TYPE, "application/json").body(value.to_string())
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Got {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    url: String,
    hint: String,
}

impl Got {
    /// The answer, if it is a good one.
    ///
    /// # Errors
    /// The node's reason.
    pub fn ok(self) -> Result<Got> {
        if self.status.is_success() {
            return Ok(self);
        }
        let body: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| serde_json::json!({}));
        let text = |key: &str| body.get(key).and_then(serde_json::Value::as_str);
        let reason = match text("reason") {
            Some(reason) => format!("{}: {reason}", self.url),
            None => format!("{} answers {}", self.url, self.status),
        };
        if self.status == StatusCode::UNAUTHORIZED {
            let reason = text("reason").unwrap_or("needs the admin token").to_owned();
            return Err(Error::Denied { url: self.url, reason, hint: self.hint });
        }
        let word = text("error").unwrap_or_default().to_owned();
        Err(Error::Refused { status: self.status, word, reason, body })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none, or not of that form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|e| Error::Unreachable {
            url: self.url.clone(),
            reason: format!("its answer cannot be read: {e}"),
        })
    }

    /// A header as text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    /// A client of the node at a base URL. `hint` tells people where the token was looked for.
    ///
    /// # Errors
    /// The URL is no base URL of a node.
    pub fn new(url: &str, token: Option<Token>, hint: String) -> Result<Client> {
        let url = url.trim_end_matches('/');
        let wrong = || Error::Usage(format!("\"{url}\" is not a URL such as http://10.0.0.5:8088"));
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.path() != "/" || uri.query().is_some() {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok(Client { url: url.to_owned(), authority, token, hint, connection: None })
    }

    /// The node's base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it has a token to present.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks with GET.
    ///
    /// # Errors
    /// The node cannot be reached. An answer of any status is none.
    pub async fn get(&mut self, path: &str) -> Result<Got> {
        self.send(Ask::new(Method::GET, path)).await
    }

    /// Asks.
    ///
    /// # Errors
    /// The node cannot be reached. An answer of any status is none.
    pub async fn send(&mut self, ask: Ask) -> Result<Got> {
        let request = self.request(ask)?;
        let answered = timeout(ANSWER_WAIT, self.exchange(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                self.connection = None;
                return Err(error);
            }
            Err(_) => {
                self.connection = None;
                return Err(self.unreachable(format!("no answer within {ANSWER_WAIT:?}")));
            }
        };
        let (head, body) = response;
        Ok(Got {
            status: head.status,
            headers: head.headers,
            body,
            url: self.url.clone(),
            hint: self.hint.clone(),
        })
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::response::Parts, Bytes)> {
        let mut request = request;
        let response = loop {
            let reused = self.connection.as_ref().is_some_and(|c| !c.is_closed());
            let connection = match self.connection.take().filter(|_| reused) {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let connection = self.connection.insert(connection);
            if let Err(e) = connection.ready().await {
                self.connection = None;
                if reused {
                    continue;
                }
                return Err(self.unreachable(e.to_string()));
            }
            match connection.try_send_request(request).await {
                Ok(response) => break response,
                Err(mut failed) => {
                    self.connection = None;
                    match failed.take_message() {
                        Some(unsent) if reused => request = unsent,
                        Some(_) | None => {
                            return Err(self.unreachable(failed.into_error().to_string()));
                        }
                    }
                }
            }
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_MAX_BYTES).collect().await;
        match body {
            Ok(body) => Ok((head, body.to_bytes())),
            Err(e) => Err(self.unreachable(format!("its answer ended early: {e}"))),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let connect = timeout(CONNECT_WAIT, TcpStream::connect(&self.authority));
        let stream = match connect.await {
            Ok(stream) => stream.map_err(|e| self.unreachable(e.to_string()))?,
            Err(_) => return Err(self.unreachable(format!("no connection in {CONNECT_WAIT:?}"))),
        };
        let io = TokioIo::new(stream);
        let (send, connection) =
            handshake(io).await.map_err(|e| self.unreachable(e.to_string()))?;
        tokio::spawn(async move {
            // How it ended is told to the request that was under way.
            let _ = connection.await;
        });
        Ok(send)
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>> {
        let wrong = |what: &str| Error::Usage(format!("\"{what}\" cannot be sent"));
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.path.as_str())
            .header(HOST, self.authority.as_str());
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&token.authorization())
                .map_err(|_| wrong("the admin token"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(ask.body)).map_err(|_| wrong(&ask.path))
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { url: self.url.clone(), reason }
    }
}
