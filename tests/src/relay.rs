//! A TCP relay in user space that cuts, delays and throttles, each way by itself.
//!
//! ```text
//! dialer  --- To::Listener --->  relay  --->  listener
//!         <-- To::Dialer   ----         <---
//! ```
//!
//! A cut is silence, as a pulled cable: sockets stay open, nothing passes, what was sent waits and
//! passes after the heal. `reset` ends the open connections; `refuse` closes new ones at once.
//! The relay knows nothing of what it carries. All connections of one way share its throttle, as
//! they would share a wire.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::harness::{Error, Host, Result};

/// Bytes read at once: small, so that a throttled way holds little.
const PIECE: usize = 4 * 1024;
/// Pieces under way in one direction while they are delayed.
const PIECES_UNDER_WAY: usize = 4_096;

/// One of the two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// From the dialer to the listener.
    Listener,
    /// From the listener to the dialer.
    Dialer,
}

/// How one way is at the moment.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    cut: bool,
    delay: Duration,
    bytes_per_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    to_listener: Way,
    to_dialer: Way,
    refuse: bool,
    /// Counts the resets: a connection of an older count ends.
    resets: u64,
}

impl State {
    fn way(&self, to: To) -> Way {
        match to {
            To::Listener => self.to_listener,
            To::Dialer => self.to_dialer,
        }
    }
}

/// A relay before one listener.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    /// Bytes to the listener, to the dialer.
    passed: [Arc<AtomicU64>; 2],
    accepting: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Listens on a port of its own and leads each connection to `target` (`host:port`).
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn before(target: &str) -> Result<Relay> {
        let relay = Relay::unled().await?;
        relay.leads_to(target)
    }

    async fn unled() -> Result<Unled> {
        let bound = TcpListener::bind("127.0.0.1:0").await;
        Ok(Unled { listener: bound.map_err(Error::io("bind a relay"))?, from: From::Here })
    }

    /// A relay at this address, whose connections to its target come from `source`.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn at(address: SocketAddr, source: IpAddr) -> Result<Unled> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(Error::io(format!("bind a relay at {address}")))?;
        Ok(Unled { listener, from: From::Address(source) })
    }

    /// A relay at this address of one host, whose connections to its target come from another.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn on(host: &Host, address: SocketAddr, from: &Host) -> Result<Unled> {
        let bound = host.within(|| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = bound.and_then(TcpListener::from_std);
        let what = format!("bind a relay at {address} of {}", host.name());
        Ok(Unled { listener: listener.map_err(Error::io(what))?, from: From::Host(from.clone()) })
    }

    /// A relay whose target is told later, since the target must know the relay's address first.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn reserved() -> Result<Unled> {
        Relay::unled().await
    }

    /// Its `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts both ways.
    pub fn cut(&self) {
        self.change(|state| {
            state.to_listener.cut = true;
            state.to_dialer.cut = true;
        });
    }

    /// Cuts one way.
    pub fn cut_one_way(&self, to: To) {
        self.change(|state| way(state, to).cut = true);
    }

    /// Ends every cut, delay and throttle; what waited passes.
    pub fn heal(&self) {
        self.change(|state| {
            *state = State { resets: state.resets, ..State::default() };
        });
    }

    /// Each byte on this way arrives so much later.
    pub fn delay(&self, to: To, by: Duration) {
        self.change(|state| way(state, to).delay = by);
    }

    /// At most so many bytes a second pass on this way.
    pub fn throttle(&self, to: To, bytes_per_s: u64) {
        self.change(|state| way(state, to).bytes_per_s = Some(bytes_per_s));
    }

    /// Ends all open connections.
    pub fn reset(&self) {
        self.change(|state| state.resets += 1);
    }

    /// Ends all open connections and closes new ones at once.
    pub fn refuse(&self) {
        self.change(|state| {
            state.resets += 1;
            state.refuse = true;
        });
    }

    /// How many bytes have passed on this way.
    pub fn passed(&self, to: To) -> u64 {
        let [to_listener, to_dialer] = &self.passed;
        match to {
            To::Listener => to_listener.load(Ordering::Relaxed),
            To::Dialer => to_dialer.load(Ordering::Relaxed),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.reset();
    }
}

/// A bound relay that leads nowhere yet.
#[derive(Debug)]
pub struct Unled {
    listener: TcpListener,
    from: From,
}

/// Where a relay's connections to its target come from.
#[derive(Debug, Clone)]
enum From {
    Here,
    Address(IpAddr),
    Host(Host),
}

impl Unled {
    /// Its `host:port`.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> Result<String> {
        let address = self.listener.local_addr();
        address.map(|a| a.to_string()).map_err(Error::io("name a relay's port"))
    }

    /// Leads each connection to `target` (`host:port`).
    ///
    /// # Errors
    /// The socket is gone.
    pub fn leads_to(self, target: &str) -> Result<Relay> {
        let address = self.listener.local_addr().map_err(Error::io("name a relay's port"))?;
        let (state, seen) = watch::channel(State::default());
        let wire = Wire {
            target: target.to_owned(),
            from: self.from,
            state: seen,
            paces: [Pace::new(), Pace::new()],
        };
        let passed = [0, 1].map(|way: usize| wire.paces[way].passed.clone());
        let accepting = tokio::spawn(accept(self.listener, wire));
        Ok(Relay { address, state: Arc::new(state), passed, accepting })
    }
}

fn way(state: &mut State, to: To) -> &mut Way {
    match to {
        To::Listener => &mut state.to_listener,
        To::Dialer => &mut state.to_dialer,
    }
}

/// What all connections of a relay share.
#[derive(Debug, Clone)]
struct Wire {
    target: String,
    from: From,
    state: watch::Receiver<State>,
    /// To the listener, to the dialer.
    paces: [Pace; 2],
}

/// When a throttled way is free again, and what has passed on it.
#[derive(Debug, Clone)]
struct Pace {
    free: Arc<Mutex<Instant>>,
    passed: Arc<AtomicU64>,
}

impl Pace {
    fn new() -> Pace {
        Pace { free: Arc::new(Mutex::new(Instant::now())), passed: Arc::default() }
    }

    /// Takes the way for so long, after those who took it before; gives the end.
    fn takes(&self, length: Duration) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(Instant::now()) + length;
        *free
    }
}

async fn accept(listener: TcpListener, wire: Wire) {
    while let Ok((dialer, _)) = listener.accept().await {
        if wire.state.borrow().refuse {
            continue;
        }
        tokio::spawn(carry(dialer, wire.clone()));
    }
}

async fn connect(wire: &Wire) -> std::io::Result<TcpStream> {
    match &wire.from {
        From::Here => TcpStream::connect(&wire.target).await,
        From::Address(source) => {
            let target = wire.target.parse().map_err(std::io::Error::other)?;
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(*source, 0))?;
            socket.connect(target).await
        }
        From::Host(host) => {
            let target = wire.target.parse().map_err(std::io::Error::other)?;
            let socket = host.within(TcpSocket::new_v4)?;
            socket.connect(target).await
        }
    }
}

async fn carry(dialer: TcpStream, wire: Wire) {
    let Ok(listener) = connect(&wire).await else { return };
    let Wire { mut state, paces: [to_listener, to_dialer], .. } = wire;
    let _ = (dialer.set_nodelay(true), listener.set_nodelay(true));
    let born = state.borrow().resets;
    let (dialer_in, dialer_out) = dialer.into_split();
    let (listener_in, listener_out) = listener.into_split();
    let there = pump(dialer_in, listener_out, To::Listener, state.clone(), to_listener);
    let back = pump(listener_in, dialer_out, To::Dialer, state.clone(), to_dialer);
    let reset = async move {
        let _ = state.wait_for(|now| now.resets > born).await;
    };
    tokio::select! {
        () = async { tokio::join!(there, back); } => {}
        () = reset => {}
    }
}

/// Carries one way. Reading and writing are apart, so that a delay does not slow the flow.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: To,
    state: watch::Receiver<State>,
    pace: Pace,
) {
    let (pieces, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_UNDER_WAY);
    let passed = pace.passed.clone();
    let mut reading_state = state.clone();
    let reading = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(read) = from.read(&mut piece).await {
            if read == 0 {
                break;
            }
            let Ok(now) = reading_state.wait_for(|s| !s.way(direction).cut).await.map(|s| *s)
            else {
                break;
            };
            let way = now.way(direction);
            if let Some(rate) = way.bytes_per_s {
                let bytes = u64::try_from(read).unwrap_or(u64::MAX);
                let micros = bytes.saturating_mul(1_000_000) / rate.max(1);
                tokio::time::sleep_until(pace.takes(Duration::from_micros(micros))).await;
            }
            let bytes = piece.get(..read).unwrap_or_default().to_vec();
            if pieces.send((Instant::now() + way.delay, bytes)).await.is_err() {
                break;
            }
        }
    };
    let mut writing_state = state;
    let writing = async move {
        while let Some((due, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due).await;
            if writing_state.wait_for(|s| !s.way(direction).cut).await.is_err() {
                return;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
            passed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::{Relay, To};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, timeout};

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn round(stream: &mut TcpStream) -> Duration {
        let start = Instant::now();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        start.elapsed()
    }

    #[tokio::test]
    async fn a_cut_is_silence_and_a_heal_passes_what_waited() {
        let relay = Relay::before(&echo().await).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        round(&mut stream).await;
        relay.cut_one_way(To::Dialer);
        assert!(timeout(Duration::from_millis(100), round(&mut stream)).await.is_err());
        relay.heal();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        relay.delay(To::Listener, Duration::from_millis(50));
        assert!(round(&mut stream).await >= Duration::from_millis(50));
        relay.refuse();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}
