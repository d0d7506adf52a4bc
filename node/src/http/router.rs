//! From a request's path to the API that answers it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tandem_protocol::wire::http::{API, is_admin};

use super::connection::Caller;
use super::reply::{Failure, Reply};
use super::slots::Class;
use super::{
    State, actions, admin, alarms, archive, config, front, gwinfo, health, metrics, network,
    origin, pages, recorded, redundancy, resources, sdk, session, stream, system, tags,
};

/// A request's body, where its path says nothing else.
const BODY_MAX_BYTES: usize = 1024 * 1024;
/// So much of a body that is too long is read and dropped.
const DRAIN_MAX_BYTES: usize = 8 * BODY_MAX_BYTES;

/// Answers one request. A failure is an answer too; it is counted.
pub(super) async fn serve(
    state: &Arc<State>,
    caller: &Arc<Caller>,
    request: Request<Incoming>,
) -> Reply {
    state.counters.request();
    let path = request.uri().path().to_owned();
    let wants_page = pages::wants_page(&path, request.headers());
    let answer = match path.as_str() {
        // These two take a slot of their own kind, also when there is none for requests.
        "/gateway-network" => network::upgrade(state, caller, request),
        "/session" => session::upgrade(state, caller, request),
        // By these balancers and the peer judge this node: however many pages are open, they are
        // answered. The connection stays a fresh one.
        "/health/live" | "/health/ready" | "/health/active" | "/system/gwinfo" | "/StatusPing" => {
            route(state, &path, request).await
        }
        _ if !caller.seat.take(Class::Requests) => Err(Failure::full("connections")),
        _ => route(state, &path, request).await,
    };
    answer.unwrap_or_else(|failure| {
        state.counters.reject(failure.rejection);
        if wants_page && failure.is_not_found() {
            return pages::not_found(state, failure.reason());
        }
        failure.into_reply()
    })
}

async fn route(
    state: &Arc<State>,
    path: &str,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let headers = request.headers();
    if let Some(rest) = path.strip_prefix(API) {
        let rest = rest.to_owned();
        return data(state, &rest, request).await;
    }
    reads(request.method())?;
    if let Some(rest) = path.strip_prefix("/p/") {
        return pages::answer(state, rest, headers);
    }
    if let Some(name) = path.strip_prefix("/sdk/") {
        return sdk::answer(state, &decode(name)?, headers).await;
    }
    match path {
        "/" => Ok(front::page(state)),
        "/status/redundancy" => Ok(super::reply::redirect("/")),
        "/system/gwinfo" => Ok(gwinfo::line(state)),
        "/StatusPing" => Ok(gwinfo::ping(state)),
        "/health/live" => Ok(health::live(state)),
        "/health/ready" => Ok(health::ready(state)),
        "/health/active" => Ok(health::active(state)),
        "/metrics" => Ok(metrics::text(state)),
        _ => Err(Failure::not_found(format!("there is nothing at {path}"))),
    }
}

/// `/data/api/v1/...`
async fn data(
    state: &Arc<State>,
    path: &str,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let method = request.method().clone();
    if !is_read(&method) {
        // A form of another site could reach a write without any script.
        origin::check(state, request.headers())?;
    }
    if is_admin(path) {
        admin::allowed(state, request.headers())?;
    }
    match path {
        "redundancy" => redundancy(state, "", request).await,
        "archive" => archive::answer(state, "", request).await,
        "resources" => resources::all(state, &method, request).await,
        "tags" => reads(&method).and_then(|()| tags::list(state, request.headers())),
        "alarms" => reads(&method).and_then(|()| alarms::list(state, request.headers())),
        _ => {
            if let Some(path) = path.strip_prefix("redundancy/") {
                return redundancy(state, path, request).await;
            }
            if let Some(rest) = path.strip_prefix("resources/") {
                return resources::below(state, rest, &method, request).await;
            }
            if let Some(rest) = path.strip_prefix("archive/") {
                return archive::answer(state, rest, request).await;
            }
            if let Some(tag) = path.strip_prefix("tags/") {
                let tag = decode(tag)?;
                if let Some(name) = tag.strip_prefix(system::FOLDER) {
                    return reads(&method).and_then(|()| system::one(state, name));
                }
                return match method {
                    Method::GET | Method::HEAD => tags::one(state, request.headers(), &tag),
                    Method::POST => tags::write(state, &tag, request).await,
                    _ => Err(Failure::method("GET, POST")),
                };
            }
            if let Some((alarm, deed)) = path.strip_prefix("alarms/").and_then(alarms::Deed::of) {
                posts(&method)?;
                return alarms::operate(state, &decode(alarm)?, deed, request).await;
            }
            Err(Failure::not_found(format!("there is nothing at /data/api/v1/{path}")))
        }
    }
}

/// `/data/api/v1/redundancy/...`
async fn redundancy(
    state: &Arc<State>,
    path: &str,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let method = request.method().clone();
    let query = request.uri().query().map(str::to_owned);
    let query = query.as_deref();
    match path {
        "" => reads(&method).map(|()| redundancy::overview(state)),
        "status" => reads(&method).map(|()| redundancy::status(state)),
        "config" if is_read(&method) => Ok(config::shown(state)),
        "config" if method == Method::PUT => {
            admin::allowed(state, request.headers())?;
            config::change(state, request).await
        }
        "config" => Err(Failure::method("GET, PUT")),
        "events" => reads(&method).and_then(|()| recorded::events(state, query)),
        "providers" => reads(&method).map(|()| recorded::providers(state)),
        "disk-cache" => reads(&method).and_then(|()| recorded::disk_cache(state, query)),
        "reports" => reads(&method).map(|()| recorded::reports(state)),
        "logs" => reads(&method).and_then(|()| recorded::logs(state, query)),
        "logs/levels" if method == Method::PUT => recorded::set_level(state, request).await,
        "logs/levels" => Err(Failure::method("PUT")),
        "stream" => reads(&method).and_then(|()| stream::open(state, request.headers())),
        "gwaction/failover" => {
            posts(&method)?;
            actions::failover(state, request).await
        }
        "gwaction/resync" => {
            posts(&method)?;
            actions::resync(state).await
        }
        "adopt" => {
            posts(&method)?;
            actions::adopt(state).await
        }
        _ => Err(Failure::not_found(format!("there is nothing at /data/api/v1/redundancy/{path}"))),
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn reads(method: &Method) -> Result<(), Failure> {
    if is_read(method) { Ok(()) } else { Err(Failure::method("GET")) }
}

fn posts(method: &Method) -> Result<(), Failure> {
    if *method == Method::POST { Ok(()) } else { Err(Failure::method("POST")) }
}

/// A part of a path as text.
pub(super) fn decode(part: &str) -> Result<String, Failure> {
    percent_decode_str(part)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Failure::wrong("bad_path", "the path is not UTF-8"))
}

/// The value of a query's parameter, as it stands there: what is asked for needs no escapes.
pub(super) fn query<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
}

/// Reads a body, within its limits.
pub(super) async fn body(state: &State, request: Request<Incoming>) -> Result<Bytes, Failure> {
    body_within(state, request, BODY_MAX_BYTES).await
}

/// Reads a body of at most so many bytes. What is too long is read to its end, up to a bound: a
/// connection that is closed with unread bytes loses the answer as well.
pub(super) async fn body_within(
    state: &State,
    request: Request<Incoming>,
    limit: usize,
) -> Result<Bytes, Failure> {
    let oversized = announced(request.headers()) > limit as u64;
    let mut body = Limited::new(request.into_body(), DRAIN_MAX_BYTES);
    let read = async {
        let mut bytes = BytesMut::new();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    let Ok(data) = frame.into_data() else { continue };
                    length += data.len();
                    if length <= limit && !oversized {
                        bytes.extend_from_slice(&data);
                    }
                }
                Err(error) if error.is::<LengthLimitError>() => {
                    return Err(Failure::oversized(limit));
                }
                Err(_) => return Err(Failure::wrong("bad_body", "the body ended early")),
            }
        }
        if oversized || length > limit {
            return Err(Failure::oversized(limit));
        }
        Ok(bytes.freeze())
    };
    tokio::time::timeout(state.options.limits.body, read)
        .await
        .unwrap_or_else(|_| Err(Failure::slow_body()))
}

/// Reads a body as JSON.
pub(super) async fn json<T: serde::de::DeserializeOwned>(
    state: &State,
    request: Request<Incoming>,
) -> Result<T, Failure> {
    let body = body(state, request).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Failure::wrong("bad_json", format!("the body cannot be read: {e}")))
}

fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    length.and_then(|v| v.parse().ok()).unwrap_or(0)
}
