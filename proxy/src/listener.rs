//! The front door: accepts clients, serves their connections, and stops in order.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::io::Guarded;
use crate::limits::{ACCEPT_BACKLOG, ACCEPT_REST, DRAIN, HEAD_MAX_BYTES, HEAD_WAIT, WRITE_STALL};
use crate::local::turns::Turns;
use crate::options::Options;
use crate::prober;
use crate::service::{Client, Shared, serve};

/// Listens on an address.
///
/// # Errors
/// The address is taken, or not this machine's; the error names it.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(ACCEPT_BACKLOG)
    };
    listen().map_err(|source| Error::Listen { address, source })
}

/// Serves until `shutdown`; then requests in progress have [`DRAIN`] to end. Must run inside a
/// `LocalSet`.
///
/// # Errors
/// None at present: what clients and nodes do is not an error here.
pub async fn run(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let shared = Shared::new(&options);
    let places = Turns::new(options.max_connections);
    let mut watches = JoinSet::new();
    for (at, address) in options.nodes.iter().enumerate() {
        watches.spawn_local(prober::watch(Rc::clone(&shared.pair), at, address.clone()));
    }
    watches.spawn_local(prober::reconsider(Rc::clone(&shared.pair)));
    watches.spawn_local(leave_nodes(Rc::clone(&shared)));
    tokio::select! {
        () = shutdown => {}
        () = accept(&listener, &shared, &places) => {}
    }
    drop(listener);
    tracing::info!("stopping");
    shared.stopping.publish();
    let all_gone = async {
        let mut taken = Vec::with_capacity(options.max_connections);
        for _ in 0..options.max_connections {
            taken.push(places.take().await);
        }
    };
    if timeout(DRAIN, all_gone).await.is_err() {
        tracing::info!("some connections did not end by themselves");
    }
    Ok(())
}

/// Drops idle connections to nodes that are not followed any more.
async fn leave_nodes(shared: Rc<Shared>) {
    let mut moves = shared.pair.follow_moves();
    loop {
        moves.changed().await;
        let Some(active) = shared.pair.active() else { continue };
        for (at, pool) in shared.pools.iter().enumerate() {
            if at != active.at {
                pool.leave();
            }
        }
    }
}

async fn accept(listener: &TcpListener, shared: &Rc<Shared>, places: &Rc<Turns>) {
    let mut resting = false;
    loop {
        // At the limit new clients wait in the kernel's queue.
        let place = Rc::new(places.take().await);
        match listener.accept().await {
            Ok((stream, address)) => {
                resting = false;
                let client = Client { address, place };
                spawn_local(connection(Rc::clone(shared), client, stream));
            }
            Err(error) if is_the_clients(&error) => {
                tracing::debug!(%error, "a client left before it was accepted");
            }
            Err(error) => {
                if !resting {
                    tracing::warn!(%error, "no more connections can be accepted for now");
                }
                resting = true;
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Errors of one connection; all others (no more files, no memory) are this machine's.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn connection(shared: Rc<Shared>, client: Client, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left at once");
        return;
    }
    let mut stopping = shared.stopping.follow();
    let io = TokioIo::new(Guarded::new(stream, WRITE_STALL));
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, client) = (Rc::clone(&shared), client.clone());
        async move { Ok::<_, Infallible>(serve(shared, client, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut asked = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a client's connection has ended");
                }
                return;
            }
            () = stopping.changed(), if !asked => {
                asked = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
