//! A border between the two nodes of a pair on one machine: all that they say to each other
//! passes it, the looks at each other's ports too, so that a cut is a cut as by a pulled cable.
//!
//! ```text
//!   backup  -- dials, looks --> 127.0.1.2:<master's port>  relay --> master
//!   master  -- looks -------->  127.0.1.1:<backup's port>  relay --> backup
//! ```
//!
//! Each node knows the other by an address of the loopback network that is not its own; looks go
//! to the link's address and to the ports that the peer named, which the relays have as well.
//! Clients reach both nodes as before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::harness::{Pair, Result};
use crate::relay::{Relay, To};

/// The backup as the master sees it.
const BACKUP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1));
/// The master as the backup sees it.
const MASTER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 2));

/// The border of one pair.
#[derive(Debug)]
pub struct Border {
    to_master: Relay,
    to_backup: Relay,
}

impl Border {
    /// Stands between the nodes of this pair from their next starts on.
    ///
    /// # Errors
    /// This machine does not have the addresses, or a port of them is taken.
    pub async fn between(pair: &Pair) -> Result<Border> {
        let (master, backup) = (pair.master().spec().http, pair.backup().spec().http);
        let relay = async |seen: IpAddr, port: u16, source: IpAddr| {
            let unled = Relay::at(SocketAddr::new(seen, port), source).await?;
            unled.leads_to(&format!("127.0.0.1:{port}"))
        };
        let to_master = relay(MASTER, master, BACKUP).await?;
        let to_backup = relay(BACKUP, backup, MASTER).await?;
        pair.backup().change(|spec| spec.peer = Some(to_master.address()));
        pair.master().change(|spec| spec.peer = Some(to_backup.address()));
        Ok(Border { to_master, to_backup })
    }

    /// Nothing passes.
    pub fn cut(&self) {
        self.to_master.cut();
        self.to_backup.cut();
    }

    /// Nothing passes to the master (`To::Listener`), or to the backup.
    pub fn cut_one_way(&self, to: To) {
        let back = match to {
            To::Listener => To::Dialer,
            To::Dialer => To::Listener,
        };
        self.to_master.cut_one_way(to);
        self.to_backup.cut_one_way(back);
    }

    /// All passes again, and what waited.
    pub fn heal(&self) {
        self.to_master.heal();
        self.to_backup.heal();
    }
}
