//! One accepted connection: its timeouts, its seat, and its end when the node stops.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::State;
use super::guard::Guard;
use super::metrics::Rejection;
use super::router;
use crate::{Shutdown, stopped};

/// A request's head: long enough for a browser's cookies, short enough for many connections.
const HEAD_MAX_BYTES: usize = 32 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// What a request knows of its connection.
#[derive(Debug)]
pub(super) struct Caller {
    /// Where it comes from.
    pub(super) remote: SocketAddr,
    /// Its place among the others.
    pub(super) seat: super::slots::Seat,
}

/// Serves one connection until its end.
pub(super) async fn serve(
    state: Arc<State>,
    stream: TcpStream,
    remote: SocketAddr,
    mut shutdown: Shutdown,
) {
    // A heartbeat or an answer must not wait for more bytes.
    let _ = stream.set_nodelay(true);
    let limits = &state.options.limits;
    let caller = Arc::new(Caller { remote, seat: state.slots.seat() });
    let io = TokioIo::new(Guard::new(stream, limits.stall));
    let service = service_fn(|request| {
        let (state, caller) = (Arc::clone(&state), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(router::serve(&state, &caller, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = caller.seat.evicted() => {
            state.counters.reject(Rejection::Evicted);
            return;
        }
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%remote, %error, "connection ended");
        if error.is_parse() {
            state.counters.reject(Rejection::Malformed);
        } else if error.is_timeout() {
            state.counters.reject(Rejection::SlowClient);
        }
    }
}
