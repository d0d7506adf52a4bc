//! A peer that a test plays: it knows the pair's secret, links by the rules and holds all that a
//! standby holds; from then on it also says whatever the test wants.
//!
//! ```text
//! puppet  TCP, upgrade, hello with a proof, heartbeats, receipts (the rules)  ->  a real node
//!         any bytes, any message, in any order (the test)                     ->
//! ```
//!
//! It stores nothing: what it is given is gone with it.

use std::future::pending;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tandem_protocol::gateway::Gateway;
use tandem_protocol::gateway::input::{Input, LinkId, Loaded, Options, Secret, Side, Stored};
use tandem_protocol::gateway::output::{Lane, Output};
use tandem_protocol::limits::CHUNK_BYTES;
use tandem_protocol::node::{BootId, Role};
use tandem_protocol::settings::SharedSettings;
use tandem_protocol::time::{Instant, UnixMs};
use tandem_protocol::wire::codec;
use tandem_protocol::wire::peer::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant as Clock, sleep_until, timeout, timeout_at};

use crate::harness::{Error, NodeSpec, Result, web};

/// A node answers an upgrade, and links, by then.
const LINKS_MAX: Duration = Duration::from_secs(10);
/// The longest head of an answer to an upgrade.
const HEAD_MAX: usize = 4 * 1024;

/// The peer.
#[derive(Debug)]
pub struct Puppet {
    gateway: Gateway,
    begun: Clock,
    due: Instant,
    host: String,
    control: Line,
    bulk: Option<Line>,
    ended: Option<String>,
}

/// One connection of the link.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    read: BytesMut,
}

impl Line {
    async fn dial(host: &str, bulk: bool) -> Result<Line> {
        let failed = |e: std::io::Error| Error::wire(format!("dial the link of {host}"), e);
        let mut stream = TcpStream::connect(host).await.map_err(failed)?;
        let lane = if bulk { "tandem-lane: bulk\r\n" } else { "" };
        let head = format!(
            "GET /gateway-network HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
             Upgrade: tandem-peer/1\r\n{lane}\r\n"
        );
        stream.write_all(head.as_bytes()).await.map_err(failed)?;
        let mut read = BytesMut::new();
        loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                if !read.starts_with(b"HTTP/1.1 101") {
                    let said = String::from_utf8_lossy(&read).into_owned();
                    return Err(Error::wire("upgrade to the link", said));
                }
                drop(read.split_to(end + 4));
                return Ok(Line { stream, read });
            }
            let got = stream.read_buf(&mut read).await.map_err(failed)?;
            if got == 0 || read.len() > HEAD_MAX {
                return Err(Error::wire("upgrade to the link", "no answer"));
            }
        }
    }

    /// The next message; `None`: the connection has ended.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match codec::decode(&mut self.read) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(_) => return None,
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(read) if read > 0 => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    async fn send(&mut self, message: &Message) -> std::io::Result<()> {
        let mut frame = BytesMut::new();
        codec::encode(message, &mut frame);
        self.stream.write_all(&frame).await
    }
}

/// What a connection brought.
enum Came {
    Message(Option<Box<Message>>),
    Due,
}

const LINK: LinkId = LinkId(1);

impl Puppet {
    /// Takes the place of a backup that does not run, at the master with this base URL, and comes
    /// to be in sync with it.
    ///
    /// # Errors
    /// The node does not link with it.
    pub async fn in_place_of(backup: &NodeSpec, base: &str) -> Result<Puppet> {
        let name = |text: &str| Error::wire("name a puppet", text.to_owned());
        let options = Options {
            node: backup.id.parse().map_err(|_| name(&backup.id))?,
            boot: BootId(u64::from(std::process::id())),
            role: Role::Backup,
            pair: Some(backup.pair.parse().map_err(|_| name(&backup.pair))?),
            secret: Secret(backup.secret.clone().into_bytes()),
            // It links when it is told to.
            names_peer: false,
            settings: SharedSettings::default(),
            software: "a test".to_owned(),
            listens: Vec::new(),
            public_address: String::new(),
            seed: 1,
            config_queue_max_bytes: 8 * 1024 * 1024,
            chunk_bytes: CHUNK_BYTES,
        };
        let host = web::host_of(base).to_owned();
        let gateway = Gateway::new(Instant::ZERO, UnixMs(0), options, Loaded::default());
        let control = Line::dial(&host, false).await?;
        let (begun, due) = (Clock::now(), Instant::ZERO);
        let mut puppet = Puppet { gateway, begun, due, host, control, bulk: None, ended: None };
        puppet.input(Input::LinkUp { link: LINK, side: Side::Dialer }).await;
        let end = Clock::now() + LINKS_MAX;
        while !puppet.in_sync() {
            if puppet.ended.is_some() || Clock::now() >= end {
                let why = format!("{:?}: {:?}", puppet.ended, puppet.gateway.status());
                return Err(Error::wire("link by the rules", why));
            }
            puppet.lives(Duration::from_millis(10)).await;
        }
        Ok(puppet)
    }

    fn in_sync(&self) -> bool {
        let sync = self.gateway.status().sync;
        sync == tandem_protocol::node::SyncState::Good
    }

    /// Goes on by the rules for so long, or until the node closes the link.
    pub async fn lives(&mut self, time: Duration) {
        let end = Clock::now() + time;
        while self.ended.is_none() {
            match timeout_at(end, self.comes()).await {
                // Values are no matter of the rules.
                Ok(Came::Message(Some(message))) if matches!(*message, Message::Live { .. }) => {}
                Ok(Came::Message(Some(message))) => {
                    self.input(Input::LinkMessage { link: LINK, message: *message }).await;
                }
                Ok(Came::Message(None)) => self.ends("the node closed the link"),
                Ok(Came::Due) => self.input(Input::Timeout).await,
                Err(_) => return,
            }
        }
    }

    async fn comes(&mut self) -> Came {
        let due = self.begun + Duration::from_micros(self.due.as_micros());
        let bulk = async {
            match &mut self.bulk {
                Some(bulk) => bulk.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = sleep_until(due) => Came::Due,
            message = self.control.next() => Came::Message(message.map(Box::new)),
            message = bulk => Came::Message(message.map(Box::new)),
        }
    }

    async fn input(&mut self, input: Input) {
        let micros = self.begun.elapsed().as_micros();
        let now = Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.gateway.handle_input(now, input);
        loop {
            match self.gateway.poll_output() {
                Output::Timeout { at, .. } => {
                    self.due = at;
                    return;
                }
                Output::Send { lane: Lane::Control, message, .. } => {
                    let sent = self.control.send(&message).await;
                    self.ends_unless(sent.is_ok(), "the node reads no more");
                }
                Output::Store { ticket, .. } => {
                    self.gateway.handle_input(now, Input::Stored { ticket, how: Stored::Durable });
                }
                Output::DialBulk { proof, .. } => {
                    let joined = self.dial_bulk(proof).await;
                    self.ends_unless(joined.is_ok(), "no bulk connection");
                }
                Output::CloseLink { reason, detail, .. } | Output::Exit { reason, detail } => {
                    self.ends(&format!("{reason:?}: {detail}"));
                }
                // It has no rooms, looks at nobody and sends nothing large.
                _ => {}
            }
        }
    }

    async fn dial_bulk(&mut self, proof: [u8; 32]) -> Result {
        let mut bulk = Line::dial(&self.host, true).await?;
        let joined = bulk.send(&Message::Join { proof }).await;
        self.bulk = Some(bulk);
        joined.map_err(Error::io("join the bulk connection"))
    }

    /// Says this over and over and reads nothing, for so long or until the node closes the link;
    /// how often.
    pub async fn floods(&mut self, message: &Message, time: Duration) -> u64 {
        let mut frame = BytesMut::new();
        codec::encode(message, &mut frame);
        let (mut said, end) = (0, Clock::now() + time);
        while let Ok(Ok(())) = timeout_at(end, self.control.stream.write_all(&frame)).await {
            said += 1;
        }
        said
    }

    /// Sends bytes as they are.
    pub async fn sends(&mut self, bytes: Bytes) {
        let _ = timeout(LINKS_MAX, self.control.stream.write_all(&bytes)).await;
    }

    /// Goes on by the rules until the node closes the link; whether it did in this time.
    pub async fn is_closed(&mut self, within: Duration) -> bool {
        self.lives(within).await;
        self.ended.is_some()
    }

    fn ends_unless(&mut self, well: bool, why: &str) {
        if !well {
            self.ends(why);
        }
    }

    fn ends(&mut self, why: &str) {
        self.ended.get_or_insert_with(|| why.to_owned());
    }
}
