//! Ports that are free, and stay ours.
//!
//! They lie below the ephemeral range: a loopback port inside it, without a listener, can connect
//! to itself after many dials. A UDP socket on the same number reserves it against other test
//! processes while the TCP port is left for the daemon, also across its restarts.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Error, Result};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A reserved port, free again when this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Reserves a port.
    ///
    /// # Errors
    /// None was free.
    pub fn reserve() -> Result<Port> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let spread = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..2_000 {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (spread.wrapping_mul(7).wrapping_add(step)) % COUNT;
            let Ok(reservation) = UdpSocket::bind(("127.0.0.1", number)) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Port { number, _reservation: reservation });
            }
        }
        Err(Error::wire("reserve a port", "none of 2000 is free"))
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
