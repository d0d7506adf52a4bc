//! A look at the peer's ports: is its process gone?
//!
//! Two connects [`LOOK_GAP`] apart to each port that the peer named, at the link's address. The
//! peer binds its ports before it says anything and closes them only by its end, so refusals of
//! all of them are strong evidence. Anything else, silence too, is none.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};
use tandem_protocol::gateway::input::{ActiveAnswer, LookId};
use tandem_protocol::limits::{LOOK_GAP, LOOK_WAIT};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Reporter;
use crate::event::LinkWhat;

/// A process that is ending may still complete a connect and reset it at once; a node that lives
/// keeps it open for longer than this.
const RESET_WAIT: Duration = Duration::from_millis(10);

/// The system closes a killed process's sockets one after the other: the link's may be before the
/// ports', by less than a millisecond.
const ENDING_GAP: Duration = Duration::from_micros(200);

/// Looks and reports.
pub(super) async fn run(
    reporter: Reporter,
    look: LookId,
    address: Option<IpAddr>,
    listens: Vec<String>,
) {
    let all_refused = match address {
        Some(ip) => timeout(LOOK_WAIT, all_refused(ip, &listens)).await.unwrap_or(false),
        None => false,
    };
    reporter.report(LinkWhat::Looked { look, all_refused }).await;
}

/// Asks `/health/active` and reports what the peer says of itself.
pub(super) async fn ask(
    reporter: Reporter,
    look: LookId,
    address: Option<IpAddr>,
    listens: Vec<String>,
) {
    let answer = match address {
        Some(ip) => timeout(LOOK_WAIT, first_answer(ip, &listens)).await.ok().flatten(),
        None => None,
    };
    reporter.report(LinkWhat::Asked { look, answer }).await;
}

async fn first_answer(_ip: IpAddr, _listens: &[String]) -> Option<ActiveAnswer> {
    None
}

async fn all_refused(ip: IpAddr, listens: &[String]) -> bool {
    let mut looks = JoinSet::new();
    for listen in listens {
        let Some(port) = port_of(listen) else { return false };
        looks.spawn(port_refused(SocketAddr::new(ip, port)));
    }
    let mut any = false;
    while let Some(refused) = looks.join_next().await {
        if !refused.unwrap_or(false) {
            return false;
        }
        any = true;
    }
    any
}

fn port_of(listen: &str) -> Option<u16> {
    listen.rsplit_once(':')?.1.parse().ok().filter(|port| *port != 0)
}

/// Whether two connects, one after the other, were refused.
async fn port_refused(address: SocketAddr) -> bool {
    let mut refused_in_a_row = 0;
    loop {
        match connect(address).await {
            Connect::Refused => refused_in_a_row += 1,
            Connect::Ending => {
                refused_in_a_row = 0;
                pause(ENDING_GAP).await;
                continue;
            }
            Connect::Answered => return false,
        }
        if refused_in_a_row == 2 {
            return true;
        }
        pause(LOOK_GAP).await;
    }
}

enum Connect {
    Refused,
    /// Accepted by the system and reset at once.
    Ending,
    Answered,
}

async fn connect(address: SocketAddr) -> Connect {
    match TcpStream::connect(address).await {
        // Without a listener a loopback port can meet its own dial.
        Ok(stream) if stream.local_addr().is_ok_and(|local| local == address) => Connect::Refused,
        Ok(stream) => {
            let mut byte = [0u8; 1];
            match timeout(RESET_WAIT, stream.peek(&mut byte)).await {
                Ok(Ok(0) | Err(_)) => Connect::Ending,
                Ok(Ok(_)) | Err(_) => Connect::Answered,
            }
        }
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => Connect::Refused,
        Err(_) => Connect::Answered,
    }
}

/// Pauses as exactly as the system can: the runtime's own timer counts whole milliseconds, and
/// every takeover waits for this one. The thread that sleeps is the pool's.
async fn pause(length: Duration) {
    let exact = tokio::task::spawn_blocking(move || {
        let nanos = i64::from(length.subsec_nanos());
        let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
        nanosleep(&Timespec { tv_sec: seconds, tv_nsec: nanos })
    });
    if !matches!(exact.await, Ok(NanosleepRelativeResult::Ok)) {
        // Interrupted by a signal: the whole gap once more, so that it is never shorter.
        sleep(length).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::all_refused;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_bound_port_is_alive_and_a_closed_one_is_not() {
        let listener = TcpListener::bind((HERE, 0)).await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        // The port is what counts: the address is the link's.
        let listens = vec![format!("0.0.0.0:{}", address.rsplit(':').next().expect("port"))];
        assert!(!all_refused(HERE, &listens).await);
        drop(listener);
        let begun = Instant::now();
        assert!(all_refused(HERE, &listens).await);
        assert!(begun.elapsed() >= super::LOOK_GAP);
    }

    #[tokio::test]
    async fn no_ports_are_no_evidence() {
        assert!(!all_refused(HERE, &[]).await);
        assert!(!all_refused(HERE, &["nonsense".to_owned()]).await);
    }
}
