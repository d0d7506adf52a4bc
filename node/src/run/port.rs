//! The node's port: bound before anything is said, closed by the end of the process only.
//!
//! When a process is killed, the system closes its files one after the other, those with the
//! highest numbers first. The port has a high number, so that it is closed before any connection:
//! a peer that sees its link end and looks at the port at once is refused at once.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};

use crate::error::{Error, Result};
use crate::options::Options;

/// Connections that wait to be accepted: all clients of a pair may come at once.
const BACKLOG: i32 = 4096;
/// Numbers of files above this are not asked for: the system keeps a table up to the highest.
const NUMBER_MAX: u64 = 65_536;
/// Room for the port's two files.
const NUMBERS: u64 = 8;

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
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(NUMBER_MAX).min(NUMBER_MAX);
    let least = i32::try_from(limit.saturating_sub(NUMBERS)).unwrap_or(0);
    let raised: OwnedFd = fcntl_dupfd_cloexec(listener.as_fd(), least)
        .map_err(|e| Error::Setup { what: "hold the port", reason: e.to_string() })?;
    Ok(TcpListener::from(raised))
}
