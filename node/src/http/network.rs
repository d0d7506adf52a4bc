//! `/gateway-network`: the pair's link leaves HTTP here and goes to the peer room.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::State;
use super::connection::Caller;
use super::guard::Guard;
use super::metrics::Rejection;
use super::reply::{Body, Failure, Reply};
use super::slots::Class;
use crate::peer;

pub(super) fn upgrade(
    state: &Arc<State>,
    caller: &Arc<Caller>,
    mut request: Request<Incoming>,
) -> Result<Reply, Failure> {
    if !caller.seat.take(Class::Link) {
        return Err(Failure::full("link connections"));
    }
    if request.method() != Method::GET {
        return Err(Failure::method("GET"));
    }
    if !asks_for(request.headers(), peer::UPGRADE) {
        return Err(Failure::upgrade(format!("expected Upgrade: {}", peer::UPGRADE)));
    }
    let bulk = has_word(request.headers(), peer::LANE_HEADER, peer::BULK_LANE);
    let (state, caller) = (Arc::clone(state), Arc::clone(caller));
    let pending = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Held until the peer room has the connection; it has limits of its own.
        let _slot = caller.seat.hand_over();
        let Some((stream, read_ahead)) = taken(pending).await else {
            state.counters.reject(Rejection::Upgrade);
            return;
        };
        match stream.into_std() {
            Ok(stream) => state.rooms.peer.accept(stream, read_ahead, caller.remote, bulk),
            Err(error) => tracing::debug!(%error, "a link connection cannot be handed over"),
        }
    });
    Ok(switching(peer::UPGRADE))
}

/// Whether a request wants to go on with another protocol (RFC 9110, 7.8).
pub(super) fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    has_word(headers, CONNECTION.as_str(), "upgrade")
        && has_word(headers, UPGRADE.as_str(), protocol)
}

/// Whether a client takes a content coding; one with `q=0` is refused.
pub(super) fn takes_coding(headers: &HeaderMap, coding: &str) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| {
        let (name, weight) = value.split_once(';').unwrap_or((value, ""));
        let refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        name.trim().eq_ignore_ascii_case(coding) && !refused
    })
}

/// Whether a comma-separated header has a word, in any case.
pub(super) fn has_word(headers: &HeaderMap, name: &str, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(word))
}

/// 101.
pub(super) fn switching(protocol: &'static str) -> Reply {
    let mut reply = Response::new(Body::from(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    reply.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    reply
}

/// The bare stream after the 101, and what was read ahead; `None`: the client went away.
pub(super) async fn taken(pending: OnUpgrade) -> Option<(TcpStream, bytes::Bytes)> {
    let upgraded: Upgraded = pending.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Guard>>().ok()?;
    Some((parts.io.into_inner().into_inner(), parts.read_buf))
}
