//! One socket: its messages one by one, and what is pushed to it.
//!
//! ```text
//!   loop
//!     settle    what must be said now: standby, active, outcomes, values, events
//!     flush     all of it leaves in one piece
//!     wait      for the socket, an answer, a value, an event, another standing
//! ```
//!
//! A connection is fresh, a watch, or bound to a session. Before each word to a client it looks at
//! the permit; while there is none it neither speaks nor reads. Requests of its session run one at
//! a time, in the order of their ids.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tandem_protocol::event::EventPosition;
use tandem_protocol::node::Level;
use tandem_protocol::runtime::Definitions;
use tandem_protocol::status::Status;
use tandem_protocol::wire::session::{ClientMessage, CloseReason, ServerMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use super::fanout::{Mailbox, Subscription};
use super::hub::Hub;
use super::standing::{self, Stance, Standing};

mod bind;
mod requests;
mod socket;

use bind::Opening;
use requests::{Finished, Session};
use socket::{Heard, Socket};

/// A connection that is closed says why and waits this long for the client to agree.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// Messages with values are at least this far apart; after a pause the next goes at once.
const VALUES_GAP: Duration = Duration::from_millis(4);
/// A request that the driver did not take is handed in again after this time.
const RETRY: Duration = Duration::from_millis(20);

/// What a connection is.
enum Mode {
    /// Nothing was asked for yet.
    Fresh,
    /// It hears the status; what it heard last.
    Watch(Option<Told>),
    /// It has a session.
    Bound(Box<Session>),
}

/// The status that a client heard last, and whether it heard it as `active`.
struct Told {
    active: bool,
    status: Arc<Status>,
    /// What stood for all connections then: it may lack details that this client has heard.
    stood: Arc<Status>,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client or the network ended it.
    Gone,
    /// This node ends it.
    Close(CloseReason, String),
}

/// Whether to go on.
type Flow = Result<(), End>;

/// What wakes a connection.
enum Wake {
    Nudge,
    Heard(Heard),
    Finished(Box<Finished>),
    Definitions,
}

/// One socket.
pub(super) struct Connection<S> {
    id: u64,
    hub: Arc<Hub>,
    socket: Socket<S>,
    via_proxy: bool,
    mode: Mode,
    mailbox: Arc<Mailbox>,
    subscription: Subscription,
    standing: watch::Receiver<Standing>,
    definitions: watch::Receiver<Arc<Definitions>>,
    events: watch::Receiver<EventPosition>,
    stopping: watch::Receiver<bool>,
    opening: Option<Opening>,
    running: Option<requests::Running>,
    /// What was read while the permit ran out; it is taken when the node may speak.
    unread: Option<Box<ClientMessage>>,
    /// Nothing is handed to the driver before this time.
    retry_at: Option<Instant>,
    values_at: Option<Instant>,
}

impl<S> Connection<S> {
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(super) async fn new(hub: Arc<Hub>, io: S, read_ahead: Bytes, via_proxy: bool) -> Self {
        let socket = Socket::new(io, read_ahead, hub.options.slow).await;
        Connection {
            id: hub.enter(),
            socket,
            via_proxy,
            mode: Mode::Fresh,
            mailbox: Arc::default(),
            subscription: Subscription::default(),
            standing: hub.standing.subscribe(),
            definitions: hub.definitions.subscribe(),
            events: hub.events.subscribe(),
            stopping: hub.stopping.subscribe(),
            opening: None,
            running: None,
            unread: None,
            retry_at: None,
            values_at: None,
            hub,
        }
    }

    /// Serves the socket until it ends.
    pub(super) async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        let over = matches!(end, End::Close(CloseReason::Ended, _));
        self.unbind(Mode::Fresh, over);
        if let End::Close(reason, detail) = end {
            self.hub.count_closed(reason);
            tracing::debug!(connection = self.id, ?reason, "session socket closed");
            self.socket.close(reason, detail).await;
        }
    }

    async fn turn(&mut self) -> Flow {
        self.settle().await?;
        self.socket.flush().await?;
        if self.stance() != Stance::Fenced
            && let Some(message) = self.unread.take()
        {
            return self.take(*message).await;
        }
        match self.wait().await {
            Wake::Nudge => Ok(()),
            Wake::Heard(heard) => self.hear(heard).await,
            Wake::Finished(finished) => self.finished(*finished).await,
            Wake::Definitions => {
                let names = self.subscription.names();
                self.subscribe(&names);
                Ok(())
            }
        }
    }

    /// The stance at this moment: Active only while the gate is open.
    fn stance(&self) -> Stance {
        let stance = self.standing.borrow().stance;
        match stance {
            Stance::Active if !self.hub.driver.gate().is_open() => Stance::Fenced,
            Stance::Active | Stance::Fenced | Stance::Standby => stance,
        }
    }

    /// Says what must be said now.
    async fn settle(&mut self) -> Flow {
        if *self.stopping.borrow() {
            // A proxy moves the client's socket to the other node: no goodbye may reach the client.
            return Err(match self.via_proxy {
                true => End::Gone,
                false => End::Close(CloseReason::Stopping, "the node stops".to_owned()),
            });
        }
        if self.mailbox.replaced.load(Ordering::Acquire) {
            return Err(End::Close(CloseReason::Replaced, String::new()));
        }
        self.standing.borrow_and_update();
        match self.stance() {
            Stance::Fenced => Ok(()),
            Stance::Standby => {
                if matches!(self.mode, Mode::Bound(_)) || self.opening.take().is_some() {
                    self.unbind(Mode::Watch(None), false);
                }
                self.tell_watch().await
            }
            Stance::Active => {
                self.tell_watch().await?;
                self.advance_opening().await?;
                self.say_outcomes().await?;
                self.start_next();
                self.say_events().await?;
                self.say_values().await
            }
        }
    }

    /// Waits for what is next.
    async fn wait(&mut self) -> Wake {
        let held = self.stance() == Stance::Fenced;
        // A fence that everybody knows of ends with another standing; a lapse may not.
        let lapsed = held && self.standing.borrow().stance == Stance::Active;
        let bound = matches!(self.mode, Mode::Bound(_));
        let later = self.wake_at();
        let has_tags = !self.subscription.is_empty();
        tokio::select! {
            biased;
            _ = self.stopping.changed() => Wake::Nudge,
            _ = self.standing.changed() => Wake::Nudge,
            () = standing::reopened(&self.hub), if lapsed => Wake::Nudge,
            finished = requests::running(&mut self.running) => Wake::Finished(Box::new(finished)),
            frame = self.socket.frames.next(), if !held => Wake::Heard(Heard::from(frame)),
            () = self.mailbox.wake.notified() => Wake::Nudge,
            _ = self.events.changed(), if bound && !held => Wake::Nudge,
            _ = self.definitions.changed(), if has_tags => Wake::Definitions,
            () = tokio::time::sleep_until(later.unwrap_or_else(Instant::now)),
                if later.is_some() && !held => Wake::Nudge,
        }
    }

    /// When something waits for time to pass.
    fn wake_at(&self) -> Option<Instant> {
        let values = match self.values_at {
            Some(at) if self.mailbox.has_values() => Some(at + VALUES_GAP),
            Some(_) | None => None,
        };
        [values, self.retry_at].into_iter().flatten().min()
    }

    async fn hear(&mut self, heard: Heard) -> Flow {
        match heard {
            Heard::Message(message) if self.stance() == Stance::Fenced => {
                self.unread = Some(message);
                Ok(())
            }
            Heard::Message(message) => self.take(*message).await,
            Heard::Nothing => Ok(()),
            Heard::Wrong(reason, detail) => Err(End::Close(reason, detail)),
            Heard::Gone => Err(End::Gone),
        }
    }

    /// One message of the client.
    async fn take(&mut self, message: ClientMessage) -> Flow {
        tracing::trace!(connection = self.id, kind = socket::kind(&message), "message");
        match message {
            ClientMessage::Open { project, page, params, props, term } => {
                self.hint(term.as_ref());
                self.open(project, page, params, props).await
            }
            ClientMessage::Resume { session, token, last_event, term, nonce, tags } => {
                self.hint(term.as_ref());
                self.resume(session, token, last_event, nonce.as_deref(), &tags).await
            }
            ClientMessage::Watch { term } => {
                self.hint(term.as_ref());
                self.watch().await
            }
            ClientMessage::Ping { n } => self.ping(n).await,
            ClientMessage::Subscribe { tags } => match self.mode {
                Mode::Bound(_) => self.follow(&tags),
                Mode::Fresh | Mode::Watch(_) => self.say(&ServerMessage::Unbound).await,
            },
            ClientMessage::Request(request) => match &mut self.mode {
                Mode::Bound(session) => session.queue(request),
                Mode::Fresh | Mode::Watch(_) => self.say(&ServerMessage::Unbound).await,
            },
            ClientMessage::Close => match &mut self.mode {
                Mode::Bound(session) => {
                    session.ending = true;
                    Ok(())
                }
                Mode::Fresh | Mode::Watch(_) => Err(End::Close(CloseReason::Ended, String::new())),
            },
        }
    }

    /// What a client says about terms is a hint for people, and no reason to do anything.
    fn hint(&self, term: Option<&tandem_protocol::term::Term>) {
        let own = self.standing.borrow().status.term.as_ref().map_or(0, |own| own.counter);
        if let Some(term) = term.filter(|term| term.counter > own) {
            tracing::debug!(connection = self.id, %term, own, "a client was told a higher term");
        }
    }

    async fn watch(&mut self) -> Flow {
        match self.mode {
            Mode::Fresh | Mode::Watch(_) => {
                // Whoever asks hears what is so now, details too. While that may not be said, the
                // answer comes with the next look at the stance.
                let now = Standing::new(&self.hub.driver);
                if now.stance == Stance::Fenced || now.stance != self.stance() {
                    self.mode = Mode::Watch(None);
                    return Ok(());
                }
                let active = now.stance == Stance::Active;
                let words = now.words(active, self.via_proxy);
                let stood = Arc::clone(&self.standing.borrow().status);
                self.mode = Mode::Watch(Some(Told { active, status: now.status, stood }));
                self.socket.feed(tungstenite::Message::Text(words)).await
            }
            Mode::Bound(_) => {
                let status = Box::new((*self.standing.borrow().status).clone());
                self.say(&ServerMessage::Active { status }).await
            }
        }
    }

    /// Tells a client what it has not heard of the status.
    async fn tell_watch(&mut self) -> Flow {
        match self.news() {
            Some(words) => self.socket.feed(tungstenite::Message::Text(words)).await,
            None => Ok(()),
        }
    }

    /// The status, where it must be told now.
    fn news(&mut self) -> Option<Utf8Bytes> {
        let active = self.stance() == Stance::Active;
        let heard = match &mut self.mode {
            Mode::Watch(heard) => heard,
            Mode::Fresh => return None,
            Mode::Bound(session) => &mut session.heard,
        };
        let standing = self.standing.borrow();
        let status = &standing.status;
        // The same status may have been told with the other word, a moment before the permit.
        let same = |told: &Told| {
            told.active == active && (Arc::ptr_eq(&told.stood, status) || told.status == *status)
        };
        if heard.as_ref().is_some_and(same) {
            return None;
        }
        let (status, stood) = (Arc::clone(status), Arc::clone(status));
        *heard = Some(Told { active, status, stood });
        Some(standing.words(active, self.via_proxy))
    }

    async fn ping(&mut self, n: u64) -> Flow {
        if matches!(self.mode, Mode::Fresh) && self.opening.is_none() {
            return self.say(&ServerMessage::Unbound).await;
        }
        let clock = self.hub.driver.clock();
        let status = Arc::clone(&self.standing.borrow().status);
        let term = self.hub.driver.gate().allows().map(|active| active.term.clone());
        let level = match (status.level, &term) {
            (Level::Active, None) => Level::Undecided,
            (level, _) => level,
        };
        let pong = ServerMessage::Pong {
            n,
            level,
            term: term.or_else(|| status.term.clone()),
            clock: clock.session(clock.now()),
        };
        self.say(&pong).await
    }

    async fn say(&mut self, message: &ServerMessage) -> Flow {
        let text = serde_json::to_string(message).unwrap_or_default();
        self.say_text(text).await
    }

    async fn say_text(&mut self, text: String) -> Flow {
        self.socket.feed(tungstenite::Message::text(text)).await
    }

    /// Leaves the session, if there is one.
    fn unbind(&mut self, mode: Mode, over: bool) {
        if let Mode::Bound(session) = std::mem::replace(&mut self.mode, mode) {
            self.hub.detach(&session.id, self.id, over);
        }
        self.running = None;
        self.retry_at = None;
        self.hub.fanout.leave(self.id, &self.mailbox, &mut self.subscription);
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if let Mode::Bound(session) = &self.mode {
            self.hub.detach(&session.id, self.id, false);
        }
        self.hub.fanout.leave(self.id, &self.mailbox, &mut self.subscription);
        self.hub.exit();
    }
}
