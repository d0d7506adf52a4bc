//! A look at the peer's ports: is its process gone? And at its health: is it active?
//!
//! Two connects [`LOOK_GAP`] apart to each port that the peer named, at the link's address. The
//! peer binds its ports before it says anything and closes them only by its end, so refusals of
//! all of them are strong evidence. Anything else, silence too, is none. What it says of its
//! health is said under its permit, so that a stopped node cannot say that it is active.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};
use serde::Deserialize;
use tandem_protocol::gateway::input::{ActiveAnswer, LookId};
use tandem_protocol::limits::{LOOK_GAP, LOOK_WAIT};
use tandem_protocol::node::{BootId, Level, NodeId};
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

/// Where a node says whether it is active.
const HEALTH: &str = "/health/active";

/// What it says fits well into this.
const HEALTH_MAX_BYTES: usize = 4 * 1024;

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

/// The first port that answers as a node: each is asked on a connection of its own.
async fn first_answer(ip: IpAddr, listens: &[String]) -> Option<ActiveAnswer> {
    let mut asked = JoinSet::new();
    for port in listens.iter().filter_map(|listen| port_of(listen)) {
        asked.spawn(health_of(SocketAddr::new(ip, port)));
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Some(answer)) = answer {
            return Some(answer);
        }
    }
    None
}

/// What a node says of itself at `/health/active`; the code is for balancers.
#[derive(Deserialize)]
struct Health {
    node: NodeId,
    boot: BootId,
    level: Level,
    fenced: bool,
}

async fn health_of(address: SocketAddr) -> Option<ActiveAnswer> {
    let stream = TcpStream::connect(address).await.ok()?;
    // Without a listener a loopback port can meet its own dial.
    if stream.local_addr().ok()? == address {
        return None;
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let serves = tokio::spawn(connection);
    let request = Request::get(HEALTH)
        .header(HOST, address.to_string())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answer = async {
        let body = sender.send_request(request).await.ok()?.into_body();
        let bytes = Limited::new(body, HEALTH_MAX_BYTES).collect().await.ok()?.to_bytes();
        serde_json::from_slice::<Health>(&bytes).ok()
    };
    let health = answer.await;
    serves.abort();
    let Health { node, boot, level, fenced } = health?;
    Some(ActiveAnswer { node, boot, active: level == Level::Active && !fenced })
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

    use tandem_protocol::gateway::input::ActiveAnswer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{all_refused, first_answer};

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

    /// One answer of a listener that is not a node's http room.
    async fn answers(text: String) -> Option<ActiveAnswer> {
        let listener = TcpListener::bind((HERE, 0)).await.expect("bind");
        let listens = vec![listener.local_addr().expect("address").to_string()];
        let serve = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut head = [0u8; 1024];
            let read = stream.read(&mut head).await.expect("read");
            assert!(head[..read].starts_with(b"GET /health/active HTTP/1.1\r\n"));
            stream.write_all(text.as_bytes()).await.expect("write");
        });
        let answer = first_answer(HERE, &listens).await;
        serve.await.expect("served");
        answer
    }

    fn health(code: u16, level: &str, fenced: bool) -> String {
        let body = format!(
            r#"{{"node":"a","boot":"0000000000000007","role":"Master","level":"{level}","term":null,"fenced":{fenced}}}"#
        );
        format!("HTTP/1.1 {code} x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn health_tells_node_run_and_level() {
        let said = answers(health(200, "Active", false)).await.expect("an answer");
        assert_eq!((said.node.as_str(), said.boot.0, said.active), ("a", 7, true));
        for text in [health(503, "Cold", false), health(503, "Active", true)] {
            assert!(!answers(text).await.expect("an answer").active);
        }
    }

    #[tokio::test]
    async fn whoever_is_no_node_says_nothing() {
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000));
        let other = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned();
        for text in [String::new(), "nonsense\r\n\r\n".to_owned(), other, long] {
            assert_eq!(answers(text).await, None);
        }
        assert_eq!(first_answer(HERE, &[]).await, None);
    }
}
