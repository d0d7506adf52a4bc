//! Hosts on one network that can be cut: real kernels' networks, not a relay.
//!
//! ```text
//!   this machine ---+--- host a      each host: namespaces of its own (`Host`), one interface
//!   (clients)       |
//!                 switch --- host b  what a sends to b is swallowed, or answered by the wall with
//!                   |                resets, by telling a's kernel another hardware address for b
//!                  wall              (so one way can be cut alone, and no packet filter is needed)
//! ```
//!
//! ```no_run
//! # async fn example() -> tandem_tests::harness::Result {
//! use tandem_tests::harness::{Lan, Pair};
//!
//! let lan = Lan::of(&["a", "b"]).await?;
//! let pair = Pair::named("partition").on(&lan)?.start().await?;
//! pair.settles().await?;
//! lan.cut("a", "b")?; // Clients on this machine still reach both.
//! pair.backup().becomes_active().await?;
//! lan.heal()?;
//! pair.settles().await?;
//! # Ok(()) }
//! ```
//!
//! Needs root and `ip` (Debian: iproute2). Everything is gone with the last handle, also when the
//! process is killed: an interface ends with the namespace that holds its other end.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::host::{Host, run};
use super::wait::until;
use super::{Error, Result};

/// 198.18.0.0/15, for tests of networks (RFC 2544), in pieces of 32 addresses.
const FIRST: u32 = 0xC612_0000;
const PIECE: u32 = 32;
const PIECES: u32 = 4_096;
/// Hosts on one network: the switch, the wall and this machine need addresses too.
const HOSTS_MAX: usize = 24;
/// A new network carries packets by then.
const CARRIES_MAX: Duration = Duration::from_secs(5);
/// The interface of each host.
const PORT: &str = "eth0";
/// Nobody's hardware address: what is sent there is swallowed.
const NOWHERE: &str = "02:54:00:ff:ff:ff";

/// A network of hosts.
#[derive(Debug)]
pub struct Lan {
    hosts: Vec<Member>,
    wall: Member,
    switch: Host,
    /// This machine's interface.
    front: String,
}

#[derive(Debug)]
struct Member {
    host: Host,
    address: Ipv4Addr,
    hardware: String,
}

impl Lan {
    /// Makes hosts of these names and joins them with this machine.
    ///
    /// # Errors
    /// Not root, too many names, or the system refused.
    pub async fn of(names: &[&str]) -> Result<Lan> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if names.len() > HOSTS_MAX {
            return Err(Error::wire("make a network", format!("more than {HOSTS_MAX} hosts")));
        }
        let number = (std::process::id() * 4 + NEXT.fetch_add(1, Ordering::Relaxed)) % PIECES;
        let base = FIRST + number * PIECE;
        let front = format!("tandem{number}");
        let switch = Host::with_own_network("switch").await?;
        switch.ip("link add br0 type bridge forward_delay 0\nlink set br0 up\n")?;
        let mut members = Vec::new();
        for (n, name) in (1u32..).zip(names.iter().chain(&["wall"])) {
            let host = Host::with_own_network(name).await?;
            let address = Ipv4Addr::from(base + n);
            let member = Member { host, address, hardware: format!("02:54:00:00:00:{n:02x}") };
            member.join(&switch, n)?;
            members.push(member);
        }
        let wall = members.pop().ok_or_else(|| Error::wire("make a network", "without a wall"))?;
        let lan = Lan { hosts: members, wall, switch, front };
        lan.join_this_machine(Ipv4Addr::from(base + PIECE - 2))?;
        lan.build_wall()?;
        lan.carries().await?;
        Ok(lan)
    }

    fn join_this_machine(&self, address: Ipv4Addr) -> Result {
        let (front, switch) = (&self.front, self.switch_pid());
        let lines = format!(
            "link add {front} type veth peer name front netns {switch}\n\
             addr add {address}/27 dev {front}\nlink set {front} up\n"
        );
        let mut ip = Command::new("ip");
        ip.args(["-batch", "-"]);
        run(ip, "join this machine to a network of hosts", &lines)?;
        self.switch.ip("link set front master br0\nlink set front up\n")
    }

    /// The wall stays silent by itself; what is led to it, it answers in the name of the host that
    /// it was meant for: nobody listens there, so that its kernel resets.
    fn build_wall(&self) -> Result {
        let mut lines = format!("link set {PORT} arp off\n");
        for Member { address, hardware, .. } in &self.hosts {
            lines += &format!(
                "addr add {address}/32 dev lo\n\
                 neigh replace {address} lladdr {hardware} dev {PORT} nud permanent\n\
                 route replace {address}/32 dev {PORT} table 7\n"
            );
        }
        // Its own addresses are local to it: answers to the real hosts must leave all the same.
        lines += "rule add pref 10 iif lo lookup 7\nrule add pref 20 lookup local\n\
                  rule del pref 0\n";
        self.wall.host.ip(&lines)?;
        // What comes from a host whose address is also local here would be dropped as forged.
        let accept = "for d in all eth0; do echo 1 > /proc/sys/net/ipv4/conf/$d/accept_local; \
                      echo 0 > /proc/sys/net/ipv4/conf/$d/rp_filter; done";
        self.wall.host.run("sh", &["-c", accept], "")
    }

    async fn carries(&self) -> Result {
        for Member { host, address, .. } in &self.hosts {
            until("the network carries", CARRIES_MAX, async || {
                // Refused means that its kernel has answered.
                match tokio::net::TcpStream::connect((*address, 9)).await {
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
                    other => Err(format!("{}: {other:?}", host.name())),
                }
            })
            .await?;
        }
        Ok(())
    }

    /// A host.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.member(name).map(|member| &member.host)
    }

    /// The address of a host.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn address(&self, name: &str) -> Result<IpAddr> {
        self.member(name).map(|member| IpAddr::V4(member.address))
    }

    /// Cuts two hosts from each other, both ways. Others reach both.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn cut(&self, one: &str, other: &str) -> Result {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// Cuts each host of one side from each of the other.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn partition(&self, side: &[&str], other: &[&str]) -> Result {
        for one in side {
            for another in other {
                self.cut(one, another)?;
            }
        }
        Ok(())
    }

    /// Swallows what `from` sends to `to`; the other way passes.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn cut_one_way(&self, from: &str, to: &str) -> Result {
        self.lead(from, to, NOWHERE)
    }

    /// A firewall answers each packet from `from` to `to` with a reset, on all ports.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn reset_one_way(&self, from: &str, to: &str) -> Result {
        self.lead(from, to, &self.wall.hardware)
    }

    /// A firewall between two hosts that heeds one port of `to` only: what `from` sends there is
    /// swallowed or, with `resets`, answered with a reset. All else passes.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn filter_to(&self, from: &str, to: &str, port: u16, resets: bool) -> Result<Filter> {
        let to = self.member(to)?.address;
        self.filter(from, to, &format!("dport {port}"), resets)
    }

    /// The same for what `from` sends out of a port of its own.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn filter_from(&self, from: &str, port: u16, to: &str, resets: bool) -> Result<Filter> {
        let to = self.member(to)?.address;
        self.filter(from, to, &format!("sport {port}"), resets)
    }

    fn filter(&self, from: &str, to: Ipv4Addr, port: &str, resets: bool) -> Result<Filter> {
        let host = self.member(from)?.host.clone();
        // By another next hop than all else: the wall, or a neighbour that is not there.
        let nobody = Ipv4Addr::from(u32::from(self.wall.address) + 1);
        let (table, via, hardware) = match resets {
            true => (7, self.wall.address, self.wall.hardware.as_str()),
            false => (8, nobody, NOWHERE),
        };
        host.ip(&format!(
            "neigh replace {via} lladdr {hardware} dev {PORT} nud permanent\n\
             route replace {to}/32 via {via} dev {PORT} onlink table {table}\n"
        ))?;
        let rule = format!("pref 5 to {to} ipproto tcp {port} lookup {table}");
        host.ip(&format!("rule add {rule}\n"))?;
        Ok(Filter { host, rule })
    }

    /// Ends all cuts and resets; filters stay.
    ///
    /// # Errors
    /// The system refused.
    pub fn heal(&self) -> Result {
        for from in &self.hosts {
            for to in self.hosts.iter().filter(|to| to.address != from.address) {
                from.leads(to.address, &to.hardware)?;
            }
        }
        Ok(())
    }

    /// Ends the cuts and resets between two hosts.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn heal_between(&self, one: &str, other: &str) -> Result {
        let (one, other) = (self.member(one)?, self.member(other)?);
        one.leads(other.address, &other.hardware)?;
        other.leads(one.address, &one.hardware)
    }

    /// Pulls the cable of a host: nobody reaches it.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn unplug(&self, name: &str) -> Result {
        self.switch.ip(&format!("link set {} down\n", self.plug(name)?))
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn replug(&self, name: &str) -> Result {
        self.switch.ip(&format!("link set {} up\n", self.plug(name)?))
    }

    fn plug(&self, name: &str) -> Result<String> {
        let at = self.hosts.iter().position(|member| member.host.name() == name);
        at.map(|at| format!("p{}", at + 1)).ok_or_else(|| unknown(name))
    }

    fn lead(&self, from: &str, to: &str, hardware: &str) -> Result {
        self.member(from)?.leads(self.member(to)?.address, hardware)
    }

    fn member(&self, name: &str) -> Result<&Member> {
        let mut hosts = self.hosts.iter();
        hosts.find(|member| member.host.name() == name).ok_or_else(|| unknown(name))
    }

    fn switch_pid(&self) -> String {
        self.switch.pid()
    }
}

/// A firewall's rule for one port; it stands until it is lifted.
#[derive(Debug)]
#[must_use]
pub struct Filter {
    host: Host,
    rule: String,
}

impl Filter {
    /// All passes again.
    ///
    /// # Errors
    /// The system refused.
    pub fn lift(self) -> Result {
        self.host.ip(&format!("rule del {}\n", self.rule))
    }
}

impl Member {
    /// Puts its interface into the switch.
    fn join(&self, switch: &Host, n: u32) -> Result {
        let Member { host, address, hardware } = self;
        switch.ip(&format!(
            "link add p{n} type veth peer name {PORT} address {hardware} netns {}\n\
             link set p{n} master br0\nlink set p{n} up\n",
            host.pid()
        ))?;
        host.ip(&format!("addr add {address}/27 dev {PORT}\nlink set {PORT} up\n"))
    }

    fn leads(&self, to: Ipv4Addr, hardware: &str) -> Result {
        let lines = format!("neigh replace {to} lladdr {hardware} dev {PORT} nud permanent\n");
        self.host.ip(&lines)
    }
}

fn unknown(name: &str) -> Error {
    Error::wire("find a host", format!("there is no host {name}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::Lan;
    use crate::harness::Result;

    /// What a connect from one host to another's closed port shows: refused in a moment by its
    /// kernel (or the wall's), or silence.
    fn knocks(lan: &Lan, from: &str, to: &str) -> Result<bool> {
        knocks_at(lan, from, to, 9)
    }

    fn knocks_at(lan: &Lan, from: &str, to: &str, port: u16) -> Result<bool> {
        let entry = lan.host(from)?.entry();
        let target = format!("exec 3<>/dev/tcp/{}/{port}", lan.address(to)?);
        let mut command = Command::new(&entry[0]);
        command.args(&entry[1..]).args(["timeout", "0.3", "bash", "-c", &target]);
        // `timeout` ends with 124; a refused connect ends bash with 1.
        let status = command.stderr(std::process::Stdio::null()).status();
        Ok(status.is_ok_and(|status| status.code() == Some(1)))
    }

    #[tokio::test]
    async fn a_network_is_cut_reset_and_healed() -> Result {
        let lan = Lan::of(&["a", "b"]).await?;
        assert!(knocks(&lan, "a", "b")? && knocks(&lan, "b", "a")?);
        lan.cut_one_way("a", "b")?;
        assert!(!knocks(&lan, "a", "b")? && !knocks(&lan, "b", "a")?, "no answer either");
        // This machine still reaches both.
        lan.carries().await?;
        lan.heal()?;
        assert!(knocks(&lan, "a", "b")? && knocks(&lan, "b", "a")?);
        lan.unplug("b")?;
        assert!(timeout(Duration::from_millis(300), lan.carries()).await.is_err());
        lan.replug("b")?;
        lan.carries().await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_wall_answers_in_the_name_of_a_host() -> Result {
        let lan = Lan::of(&["a", "b"]).await?;
        lan.unplug("b")?;
        assert!(!knocks(&lan, "a", "b")?);
        lan.reset_one_way("a", "b")?;
        assert!(knocks(&lan, "a", "b")?, "nobody but the wall can have refused");
        lan.reset_one_way("b", "a")?;
        lan.replug("b")?;
        assert!(knocks(&lan, "b", "a")?);
        Ok(())
    }

    #[tokio::test]
    async fn a_filter_heeds_one_port_and_one_way() -> Result {
        let lan = Lan::of(&["a", "b"]).await?;
        let swallows = lan.filter_to("a", "b", 9, false)?;
        assert!(!knocks_at(&lan, "a", "b", 9)? && knocks_at(&lan, "a", "b", 10)?);
        assert!(knocks_at(&lan, "b", "a", 9)?);
        swallows.lift()?;
        assert!(knocks_at(&lan, "a", "b", 9)?);
        let swallows = lan.filter_from("b", 9, "a", false)?;
        assert!(!knocks_at(&lan, "a", "b", 9)? && knocks_at(&lan, "a", "b", 10)?);
        swallows.lift()?;
        lan.unplug("b")?;
        let resets = lan.filter_to("a", "b", 9, true)?;
        assert!(knocks_at(&lan, "a", "b", 9)?, "nobody but the wall can have refused");
        assert!(!knocks_at(&lan, "a", "b", 10)?);
        resets.lift()
    }
}
