//! `/session`: a WebSocket leaves HTTP here and goes to the sessions hub.
//!
//! A standby takes it too: the socket is a watch there, and its client hears at once when the
//! level moves.

use std::sync::Arc;

use http::header::{
    HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use tandem_protocol::wire::session::SUBPROTOCOL;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::Caller;
use super::metrics::Rejection;
use super::reply::{Failure, Reply};
use super::slots::Class;
use super::{State, network, origin};

pub(super) fn upgrade(
    state: &Arc<State>,
    caller: &Arc<Caller>,
    mut request: Request<Incoming>,
) -> Result<Reply, Failure> {
    if !caller.seat.take(Class::Session) {
        return Err(Failure::full("session connections"));
    }
    if request.method() != Method::GET {
        return Err(Failure::method("GET"));
    }
    let accept = handshake(request.headers())?;
    origin::check(state, request.headers())?;
    let via_proxy = origin::via_proxy(request.headers());
    let (state, caller) = (Arc::clone(state), Arc::clone(caller));
    let pending = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _slot = caller.seat.hand_over();
        match network::taken(pending).await {
            Some((stream, read_ahead)) => {
                state.rooms.hub.serve(stream, read_ahead, via_proxy, caller.remote).await;
            }
            None => state.counters.reject(Rejection::Upgrade),
        }
    });
    let mut reply = network::switching("websocket");
    let headers = reply.headers_mut();
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(reply)
}

/// Checks the client's part (RFC 6455, 4.2.1) and makes the key of the answer. Extensions are not
/// taken: compressed frames would not survive a switch.
fn handshake(headers: &HeaderMap) -> Result<HeaderValue, Failure> {
    if !network::asks_for(headers, "websocket") {
        return Err(Failure::upgrade("expected Upgrade: websocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|v| v.as_bytes() != b"13") {
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(Failure::refused(status, "bad_upgrade", "expected WebSocket version 13")
            .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    if !network::has_word(headers, SEC_WEBSOCKET_PROTOCOL.as_str(), SUBPROTOCOL) {
        return Err(Failure::upgrade(format!("expected the subprotocol {SUBPROTOCOL}")));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let Some(key) = key else { return Err(Failure::upgrade("expected Sec-WebSocket-Key")) };
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| Failure::upgrade("Sec-WebSocket-Key is not a key"))
}
