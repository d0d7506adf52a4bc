//! Dials the peer: TCP, one HTTP request that asks for the upgrade, then frames.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{BULK_LANE, Connection, LANE_HEADER, PATH, adopt};

/// A dial that takes longer has failed: a peer that is stopped accepts and never answers.
const DIAL_WAIT: Duration = Duration::from_secs(1);

/// A name that takes longer leads nowhere for now: a name server that swallows questions holds a
/// lookup for many times [`DIAL_WAIT`], and the last good address must have its share of that.
const LOOKUP_WAIT: Duration = Duration::from_millis(300);

/// An upgraded socket and what was read ahead.
pub(super) type Dialed = (Connection, Bytes);

/// Dials `peer` (`host:port`). `last_good` is tried where the name leads nowhere.
pub(super) async fn dial(
    peer: &str,
    last_good: Option<SocketAddr>,
    bulk: bool,
) -> Result<Dialed, String> {
    let dialed = timeout(DIAL_WAIT, async {
        let stream = connect(peer, last_good).await.map_err(|e| format!("connect {peer}: {e}"))?;
        upgrade(stream, peer, bulk).await
    });
    match dialed.await {
        Ok(result) => result,
        Err(_) => Err(format!("{peer} did not answer within {} ms", DIAL_WAIT.as_millis())),
    }
}

async fn connect(peer: &str, last_good: Option<SocketAddr>) -> io::Result<TcpStream> {
    let lookup = lookup_host(peer);
    let mut addresses: Vec<SocketAddr> = match last_good {
        None => lookup.await?.collect(),
        Some(_) => match timeout(LOOKUP_WAIT, lookup).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        },
    };
    if addresses.is_empty() {
        addresses.extend(last_good);
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            // Without a listener a loopback port can meet its own dial.
            Ok(stream) if stream.local_addr()? == address => {
                failed = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => {
                return adopt(stream.into_std()?);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn upgrade(stream: TcpStream, peer: &str, bulk: bool) -> Result<Dialed, String> {
    let remote = stream.peer_addr().map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // Ends with the upgrade, or with the sender.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get(PATH)
        .header(HOST, peer)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, super::UPGRADE);
    if bulk {
        request = request.header(LANE_HEADER, BULK_LANE);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| format!("upgrade: {e}"))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("{peer} answered {} to the upgrade", response.status()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|e| format!("upgrade: {e}"))?;
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| "upgrade: not the socket that was dialed".to_owned())?;
    Ok((Connection { stream: parts.io.into_inner(), remote }, parts.read_buf))
}
