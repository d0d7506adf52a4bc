//! The node's port: bound before anything is said, closed by the end of the process only.

use std::net::{SocketAddr, TcpListener};

use crate::error::{Error, Result};
use crate::files;
use crate::options::Options;

/// Connections that wait to be accepted: all clients of a pair may come at once.
const BACKLOG: i32 = 4096;

/// Binds the port.
///
/// # Errors
/// It is taken, or not this machine's; the text says which.
pub(super) fn bind(options: &Options) -> Result<TcpListener> {
    let address = SocketAddr::new(options.bind, options.http);
    let wrong = |source| Error::Bind { name: "http", address: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|e| wrong(e.into()))?;
    raised(&listener)
}

/// Another hold on the same port: it stays open until both are dropped.
pub(super) fn hold(listener: &TcpListener) -> Result<TcpListener> {
    raised(listener)
}

fn raised(listener: &TcpListener) -> Result<TcpListener> {
    files::raised(listener, files::Owner::Port)
        .map(TcpListener::from)
        .map_err(|e| Error::Setup { what: "hold the port", reason: e.to_string() })
}
