//! The life of a request, top to bottom.
//!
//! ```text
//!   read the body (as much as is kept)
//!   make the head a node's
//!   +-> wait for the active node, and one's turn
//!   |   take a connection
//!   |   send; wait for the answer, or for another node to become active
//!   +-- not done, or may be done twice
//!   pass the answer on
//! ```
//!
//! A request goes out again only before a byte of its response went to the client, and only if
//! doing it twice does no harm: no byte of it was sent, or the node says that it did nothing, or
//! its method is idempotent (RFC 9110, 9.2.2), or it has an `Idempotency-Key`.

use std::rc::Rc;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use crate::body::{ReadError, ReplyBody, RequestBody, Source};
use crate::headers;
use crate::hold::Refusal;
use crate::limits::ANSWER_WAIT;
use crate::pair::Active;
use crate::pool::{Failure, Lease};
use crate::reply;
use crate::service::{Client, Shared};

/// What came of sending a request once.
enum Attempt {
    /// An answer.
    Answered(Response<Incoming>),
    /// Not one byte was sent; here it is again.
    NotSent(Request<RequestBody>),
    /// It was sent, and there will be no answer. Whether it was done nobody knows.
    Lost,
    /// It was sent, and the answer takes too long.
    Late,
}

/// Forwards one request.
pub(crate) async fn forward(
    shared: &Rc<Shared>,
    client: &Client,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let (mut parts, body) = request.into_parts();
    let mut body = match RequestBody::read(body).await {
        Ok(body) => body,
        Err(error) => return unread(&error),
    };
    headers::to_node(&mut parts, client.address, shared.trust_forwarded);
    let twice = may_be_done_twice(&parts);
    let mut held = shared.hold.request(body.kept());
    loop {
        let active = match held.active().await {
            Ok(active) => active,
            Err(refusal) => return reply::refused(refusal),
        };
        let Some(pool) = shared.pools.get(active.at) else {
            return unknown_node();
        };
        let leased = tokio::select! {
            leased = pool.lease(shared.hold.timeout()) => leased,
            () = shared.pair.left(active.at) => continue,
        };
        let mut lease = match leased {
            Ok(lease) => lease,
            Err(Failure::Busy) => return reply::refused(Refusal::Full),
            Err(error @ (Failure::Connect(_) | Failure::Http(_))) => {
                tracing::debug!(node = %active.node, %error, "no connection to the active node");
                match held.pause(&active).await {
                    Ok(()) => continue,
                    Err(refusal) => return reply::refused(refusal),
                }
            }
        };
        headers::set_term(&mut parts.headers, active.term.counter);
        // The head is copied only where it may be needed again.
        let spare = body.again().map(|body| (parts.clone(), body));
        let request = Request::from_parts(parts, body);
        let again = twice && spare.is_some();
        match attempt(shared, &active, &mut lease, request, again).await {
            Attempt::Answered(answer) => match spare {
                Some((spare_parts, spare_body)) if is_not_done(&answer) => {
                    (parts, body) = (spare_parts, spare_body);
                }
                Some(_) | None => {
                    held.answered();
                    return pass_on(shared, &active, lease, answer);
                }
            },
            Attempt::NotSent(request) => {
                (parts, body) = request.into_parts();
                if lease.used_before {
                    continue;
                }
            }
            Attempt::Lost => match spare {
                Some((spare_parts, spare_body)) if twice => {
                    (parts, body) = (spare_parts, spare_body);
                }
                Some(_) | None => return lost(),
            },
            Attempt::Late => return late(),
        }
        drop(lease);
        if let Err(refusal) = held.pause(&active).await {
            return reply::refused(refusal);
        }
    }
}

/// Idempotent by its method, or made so by a key.
fn may_be_done_twice(parts: &Parts) -> bool {
    let by_method = matches!(
        parts.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    by_method || headers::has_key(&parts.headers)
}

/// Sends a request once. One that may go `again` does not wait for a node that was left.
async fn attempt(
    shared: &Shared,
    active: &Active,
    lease: &mut Lease,
    request: Request<RequestBody>,
    again: bool,
) -> Attempt {
    let answer = lease.send(request);
    tokio::pin!(answer);
    let mut deadline = Instant::now() + ANSWER_WAIT;
    let mut left = false;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => {
                return match answer {
                    Ok(answer) => Attempt::Answered(answer),
                    Err(mut error) => match error.take_message() {
                        Some(request) => Attempt::NotSent(request),
                        None => {
                            let error = error.into_error();
                            tracing::debug!(node = %active.node, %error, "an answer is lost");
                            Attempt::Lost
                        }
                    },
                };
            }
            () = shared.pair.left(active.at), if !left => {
                if again {
                    return Attempt::Lost;
                }
                // A node that hands over still answers what it held; a frozen one does not.
                left = true;
                deadline = deadline.min(Instant::now() + shared.hold.timeout());
            }
            () = sleep_until(deadline) => return Attempt::Late,
        }
    }
}

/// The node is not active, or below the term that the request names, and has done nothing.
fn is_not_done(answer: &Response<Incoming>) -> bool {
    answer.status() == StatusCode::SERVICE_UNAVAILABLE && headers::says_standby(answer.headers())
}

fn pass_on(
    shared: &Shared,
    active: &Active,
    lease: Lease,
    answer: Response<Incoming>,
) -> Response<ReplyBody> {
    let (mut parts, body) = answer.into_parts();
    headers::to_client(&mut parts.headers);
    let from = Source::new(&shared.pair, active.at);
    Response::from_parts(parts, ReplyBody::node(body, Some(lease), from))
}

fn unread(error: &ReadError) -> Response<ReplyBody> {
    let status = match error {
        ReadError::StoodStill => StatusCode::REQUEST_TIMEOUT,
        ReadError::Http(_) => StatusCode::BAD_REQUEST,
    };
    reply::error(status, "unreadable_body", &error.to_string())
}

fn lost() -> Response<ReplyBody> {
    let sentence = "The request was sent and its answer is lost: it may have been done. \
        An Idempotency-Key lets it be sent again.";
    reply::error(StatusCode::BAD_GATEWAY, "answer_lost", sentence)
}

fn late() -> Response<ReplyBody> {
    let sentence = "The request was sent and its answer does not come: it may have been done.";
    reply::error(StatusCode::GATEWAY_TIMEOUT, "answer_late", sentence)
}

fn unknown_node() -> Response<ReplyBody> {
    reply::error(StatusCode::BAD_GATEWAY, "unknown_node", "The active node has no address.")
}
