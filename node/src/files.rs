//! Numbers of open files, chosen for the moment of a kill.
//!
//! When a process is killed, the system closes its files one after the other, those with the
//! highest numbers first. So the port has the highest: a peer that sees its link end and looks at
//! the port at once is refused at once. Below it are the link's sockets: the peer hears of the end
//! before thousands of sessions are closed, and not after them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};

/// Numbers above this are not asked for: the system keeps a table up to the highest.
const NUMBER_MAX: u64 = 65_536;
/// Room for the port's two files.
const OF_PORT: u64 = 8;
/// Room for the sockets of links, greetings of strangers included.
const OF_LINKS: u64 = 64;

/// Whose file it is: those that are closed first come first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    Port,
    Link,
}

/// The same file under a high number.
pub(crate) fn raised(file: impl AsFd, owner: Owner) -> io::Result<OwnedFd> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(NUMBER_MAX).min(NUMBER_MAX);
    let below = match owner {
        Owner::Port => OF_PORT,
        Owner::Link => OF_PORT + OF_LINKS,
    };
    let least = i32::try_from(limit.saturating_sub(below)).unwrap_or(0);
    Ok(fcntl_dupfd_cloexec(file, least)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::{Owner, raised};

    #[test]
    fn the_port_is_closed_first_then_links_then_what_came_after_them() {
        let any = || TcpListener::bind("127.0.0.1:0").unwrap();
        let port = raised(any(), Owner::Port).unwrap();
        let links = [(); 3].map(|()| raised(any(), Owner::Link).unwrap());
        let session = any();
        let numbers = links.each_ref().map(AsRawFd::as_raw_fd);
        assert!(numbers.iter().all(|link| *link < port.as_raw_fd()), "{numbers:?} {port:?}");
        assert!(numbers.iter().all(|link| *link > session.as_raw_fd()), "{numbers:?} {session:?}");
    }
}
