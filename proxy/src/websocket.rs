//! WebSockets: a session's socket outlives its node, any other ends with it.
//!
//! ```text
//!   browser ==lane==> node      whole units only, forwarded as they are
//!   browser <==lane== node      so that a new node can speak after any of them
//! ```
//!
//! The first upgrade waits for an active node as any request does, and its answer goes to the
//! client. From then on the socket has a task of its own.

mod bridge;
mod ending;
mod frame;
mod lane;
mod session;
mod upgrade;

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::body::{ReplyBody, Source};
use crate::headers;
use crate::io::Guarded;
use crate::pair::Active;
use crate::reply;
use crate::service::{Client, Shared};
use upgrade::{Answer, Upgrade};

/// Both ends of a WebSocket that was just opened.
struct Opened {
    browser: TcpStream,
    /// What the browser sent before its upgrade was answered.
    browser_early: Bytes,
    node: TcpStream,
    /// What the node sent right behind its answer.
    node_early: Bytes,
    active: Rc<Active>,
}

/// A session's socket.
pub(crate) async fn session(
    shared: &Rc<Shared>,
    client: &Client,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let task = {
        let shared = Rc::clone(shared);
        move |opened, upgrade| session::Session::new(shared, opened, upgrade).run()
    };
    open(shared, client, request, true, task).await
}

/// Any other WebSocket.
pub(crate) async fn bridge(
    shared: &Rc<Shared>,
    client: &Client,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let task = {
        let shared = Rc::clone(shared);
        move |opened, _| bridge::Bridge::new(shared, opened).run()
    };
    open(shared, client, request, false, task).await
}

async fn open<T, F>(
    shared: &Rc<Shared>,
    client: &Client,
    mut request: Request<Incoming>,
    is_session: bool,
    task: T,
) -> Response<ReplyBody>
where
    T: FnOnce(Opened, Upgrade) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (mut parts, _) = request.into_parts();
    headers::to_node(&mut parts, client.address, shared.trust_forwarded);
    headers::to_node_upgrade(&mut parts.headers, is_session);
    let upgrade = Upgrade::new(parts.uri, parts.headers, is_session);
    let mut held = shared.hold.request(0);
    loop {
        let active = match held.active().await {
            Ok(active) => active,
            Err(refusal) => return reply::refused(refusal),
        };
        match ask_active(shared, &upgrade, &active).await {
            Some(Answer::Switched { stream, early, headers }) => {
                held.answered();
                let place = Rc::clone(&client.place);
                spawn_local(async move {
                    if let Some((browser, browser_early)) = upgraded(on_upgrade).await {
                        let node_early = early;
                        let node = stream;
                        let opened = Opened { browser, browser_early, node, node_early, active };
                        task(opened, upgrade).await;
                    }
                    drop(place);
                });
                return switching(headers);
            }
            Some(Answer::Other(response)) => {
                held.answered();
                let (mut parts, body) = response.into_parts();
                headers::to_client(&mut parts.headers);
                let from = Source::new(&shared.pair, active.at);
                return Response::from_parts(parts, ReplyBody::node(body, None, from));
            }
            None => {}
        }
        if let Err(refusal) = held.pause(&active).await {
            return reply::refused(refusal);
        }
    }
}

/// Asks a node to open the WebSocket, as long as no other node is followed; `None`: not done.
async fn ask_active(shared: &Shared, upgrade: &Upgrade, active: &Active) -> Option<Answer> {
    let pool = shared.pools.get(active.at)?;
    let answer = tokio::select! {
        answer = upgrade.ask(pool.address(), active.term.counter) => answer,
        () = shared.pair.left(active.at) => return None,
    };
    match answer {
        Ok(Answer::Other(response)) if headers::says_standby(response.headers()) => None,
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::debug!(node = %active.node, %error, "a WebSocket is not opened");
            None
        }
    }
}

fn switching(mut headers: HeaderMap) -> Response<ReplyBody> {
    headers::to_client(&mut headers);
    headers::mark_upgrade(&mut headers);
    let mut response = Response::new(ReplyBody::Own(None));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// The client's own stream, once its upgrade was answered.
async fn upgraded(on_upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    match on_upgrade.await {
        Ok(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<Guarded>>().ok()?;
            Some((parts.io.into_inner().into_inner(), parts.read_buf))
        }
        Err(error) => {
            tracing::debug!(%error, "a client left before its WebSocket was open");
            None
        }
    }
}
