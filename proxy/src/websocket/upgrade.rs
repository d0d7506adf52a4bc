//! The upgrade of one WebSocket, asked of a node: once at first, and again after each switch.

use bytes::Bytes;
use http::header::{
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tandem_protocol::wire::session::SUBPROTOCOL;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::address::Address;
use crate::headers;
use crate::io::Guarded;
use crate::limits::{CONNECT_WAIT, HEAD_MAX_BYTES, WRITE_STALL};

/// A client's request for a WebSocket, as it goes to a node.
#[derive(Debug)]
pub(crate) struct Upgrade {
    uri: Uri,
    headers: HeaderMap,
    is_session: bool,
}

/// What a node says to it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The WebSocket is open.
    Switched {
        /// The stream, framed from here on.
        stream: TcpStream,
        /// What the node sent right behind its answer.
        early: Bytes,
        /// The answer's headers.
        headers: HeaderMap,
    },
    /// Anything else, for the client to read.
    Other(Response<Incoming>),
}

/// Why a node does not open it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The node cannot be reached.
    #[error("connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection ended.
    #[error("http: {0}")]
    Http(#[from] hyper::Error),
    /// The node does not answer.
    #[error("no answer in time")]
    Late,
    /// The answer is not the one to this request (RFC 6455, 4.1).
    #[error("the answer does not fit the request: {0}")]
    Unfit(&'static str),
}

impl Upgrade {
    /// A request whose headers are a node's already.
    pub(crate) fn new(uri: Uri, headers: HeaderMap, is_session: bool) -> Upgrade {
        Upgrade { uri, headers, is_session }
    }

    /// Asks a node, naming the term that is followed.
    pub(crate) async fn ask(&self, address: &Address, counter: u64) -> Result<Answer, Failure> {
        let asked = timeout(CONNECT_WAIT, self.ask_now(address, counter)).await;
        asked.map_err(|_| Failure::Late)?
    }

    async fn ask_now(&self, address: &Address, counter: u64) -> Result<Answer, Failure> {
        let stream = address.connect().await?;
        let io = TokioIo::new(Guarded::new(stream, WRITE_STALL));
        let mut builder = http1::Builder::new();
        let (mut sender, driver) = builder.max_buf_size(HEAD_MAX_BYTES).handshake(io).await?;
        spawn_local(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(%error, "an upgrade has ended early");
            }
        });
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        headers::set_term(request.headers_mut(), counter);
        let mut response = sender.send_request(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Answer::Other(response));
        }
        self.check(response.headers())?;
        let upgraded = hyper::upgrade::on(&mut response).await?;
        let parts = upgraded.downcast::<TokioIo<Guarded>>();
        let parts = parts.map_err(|_| Failure::Unfit("another kind of stream"))?;
        Ok(Answer::Switched {
            stream: parts.io.into_inner().into_inner(),
            early: parts.read_buf,
            headers: response.into_parts().0.headers,
        })
    }

    fn check(&self, answer: &HeaderMap) -> Result<(), Failure> {
        let key = self.headers.get(SEC_WEBSOCKET_KEY).map_or(&b""[..], |k| k.as_bytes());
        let accept = answer.get(SEC_WEBSOCKET_ACCEPT).map(http::HeaderValue::as_bytes);
        if accept != Some(derive_accept_key(key).as_bytes()) {
            return Err(Failure::Unfit("Sec-WebSocket-Accept"));
        }
        if !self.is_session {
            return Ok(());
        }
        if answer.get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|p| p.as_bytes() != SUBPROTOCOL.as_bytes())
        {
            return Err(Failure::Unfit("Sec-WebSocket-Protocol"));
        }
        if answer.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Err(Failure::Unfit("Sec-WebSocket-Extensions"));
        }
        Ok(())
    }
}
