//! What a node's hub and modules do: sessions bound and resumed, operations handed to the rules,
//! outcomes and events sent, each under the permit.

use tandem_protocol::event::{EventPosition, KeptEvent};
use tandem_protocol::gateway::input::{Input, Items, Request, RequestTicket};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::{ItemKey, Kind, Update};
use tandem_protocol::node::Level;
use tandem_protocol::runtime::{Definitions, events, records};
use tandem_protocol::session::{Outcome, SessionId, Token};
use tandem_protocol::status::Status;
use tandem_protocol::wire::session::{Bound, ClientMessage, CloseReason, ServerMessage};

use super::World;
use crate::sim::hub::{Asked, Seat, Socket, hash};
use crate::sim::network::{Cargo, Host, LISTENER, PipeId, PipeKind};
use crate::sim::node::{ForDriver, ForHub, Knock, Purpose};
use crate::sim::planted::Plant;

impl World {
    /// The hub's turn: all that has arrived, unless the process is stopped.
    pub(super) fn serve(&mut self, host: Host) {
        loop {
            let node = &mut self.nodes[host];
            if !node.runs() || self.failure.is_some() {
                return;
            }
            let Some(what) = node.run.as_mut().and_then(|run| run.arrivals.pop_front()) else {
                return;
            };
            match what {
                ForHub::Knock(knock) => self.welcome(host, knock),
                ForHub::Came(pipe, Cargo::FromClient(message)) => {
                    self.hear(host, pipe, *message);
                }
                ForHub::Came(pipe, _) => {
                    if let Some(run) = &mut self.nodes[host].run {
                        run.hub.sockets.remove(&pipe);
                    }
                    self.network.leave(pipe, LISTENER);
                }
            }
        }
    }

    fn welcome(&mut self, host: Host, knock: Knock) {
        let pipe = self.accept(host, PipeKind::Session, knock);
        let index = knock.from.host.saturating_sub(crate::sim::network::FIRST_CLIENT);
        let client = crate::sim::client::person(index, knock.from.life);
        debug_assert!(matches!(knock.purpose, Purpose::Session(_)));
        if let Some(run) = &mut self.nodes[host].run {
            let held = std::collections::VecDeque::new();
            run.hub.sockets.insert(pipe, Socket { client, seat: Seat::Fresh, held });
        }
    }

    /// Says something to a client.
    pub(super) fn say(&mut self, pipe: PipeId, message: ServerMessage) {
        let cargo = Cargo::ToClient(Box::new(message));
        let arrival = self.network.send(self.now, pipe, LISTENER, cargo);
        self.arrive(arrival);
    }

    /// A message of a client: held while fenced, refused where there is no level.
    fn hear(&mut self, host: Host, pipe: PipeId, message: ClientMessage) {
        let permitted = self.may_act(host).is_some();
        let Some(run) = &mut self.nodes[host].run else { return };
        let Some(socket) = run.hub.sockets.get_mut(&pipe) else { return };
        if matches!(message, ClientMessage::Close) {
            return;
        }
        if !permitted && holds_level(&run.status) {
            if socket.held.len() < 1_000 {
                socket.held.push_back(message);
            }
            return;
        }
        if permitted {
            return self.hear_active(host, pipe, message);
        }
        let answer = match message {
            ClientMessage::Ping { n } => {
                let (level, term) = (run.status.level, run.status.term.clone());
                let clock = self.nodes[host].session_clock(self.now);
                ServerMessage::Pong { n, level, term, clock }
            }
            ClientMessage::Subscribe { .. } => return,
            ClientMessage::Open { .. }
            | ClientMessage::Resume { .. }
            | ClientMessage::Watch { .. }
            | ClientMessage::Request(_)
            | ClientMessage::Close => {
                socket.seat = Seat::Watch;
                let status = Box::new(run.status.clone());
                ServerMessage::Standby { status, via_proxy: false }
            }
        };
        self.say(pipe, answer);
    }

    fn hear_active(&mut self, host: Host, pipe: PipeId, message: ClientMessage) {
        match message {
            ClientMessage::Open { project, page, params, props, .. } => {
                let Some(run) = &mut self.nodes[host].run else { return };
                let (session, token) = run.hub.name_session(host);
                let token_hash = hash(&token);
                let asked = Asked::Open { pipe, session: session.clone(), token };
                let request = Request::Open { session, token_hash, project, page, params, props };
                self.ask(host, asked, request);
            }
            ClientMessage::Resume { session, token, last_event, .. } => {
                self.resume(host, pipe, session, &token, last_event);
            }
            ClientMessage::Watch { .. } => {
                self.seat(host, pipe, Seat::Watch);
                self.say_active(host, pipe);
            }
            ClientMessage::Ping { n } => {
                self.acts(host);
                let term = self.may_act(host).map(|(term, _)| term);
                let clock = self.nodes[host].session_clock(self.now);
                if let Some(term) = &term {
                    self.witness.says_active(term);
                }
                self.say(pipe, ServerMessage::Pong { n, level: Level::Active, term, clock });
            }
            ClientMessage::Request(request) => {
                let Some(run) = &mut self.nodes[host].run else { return };
                let Some(socket) = run.hub.sockets.get(&pipe) else { return };
                let (Seat::Bound(session), client) = (socket.seat.clone(), socket.client) else {
                    return self.say(pipe, ServerMessage::Unbound);
                };
                self.witness.asks(client, &session, request.id, &request.operation);
                let clock = self.nodes[host].session_clock(self.now);
                self.witness.within(host, &session, request.id, request.deadline);
                let asked = Asked::Operate { session: session.clone(), id: request.id };
                if self.plant == Some(Plant::AnswerEarly) {
                    let (op, outcome) = ((session.clone(), request.id), Outcome::Applied);
                    self.tell_outcome(host, &op, outcome, 2);
                }
                self.ask(host, asked, Request::Operate { session, request, clock });
            }
            ClientMessage::Subscribe { .. } | ClientMessage::Close => {}
        }
    }

    fn seat(&mut self, host: Host, pipe: PipeId, seat: Seat) {
        let run = self.nodes[host].run.as_mut();
        if let Some(socket) = run.and_then(|run| run.hub.sockets.get_mut(&pipe)) {
            socket.seat = seat;
        }
    }

    fn say_active(&mut self, host: Host, pipe: PipeId) {
        self.acts(host);
        let Some(run) = &self.nodes[host].run else { return };
        let mut status = Box::new(run.status.clone());
        status.level = Level::Active;
        status.term = self.may_act(host).map(|(term, _)| term);
        if self.plant == Some(Plant::TermInflated)
            && let Some(term) = &mut status.term
        {
            term.counter += 5;
        }
        if let Some(term) = &status.term {
            self.witness.says_active(term);
        }
        self.say(pipe, ServerMessage::Active { status });
    }

    /// Hands a request to the driver.
    pub(super) fn ask(&mut self, host: Host, asked: Asked, request: Request) {
        let wall = self.nodes[host].wall(self.now);
        let Some(run) = &mut self.nodes[host].run else { return };
        let ticket = run.hub.ask(asked);
        let input = Input::Request { ticket, request, wall };
        self.hand_in(host, ForDriver::Input(Box::new(input)));
    }

    fn resume(
        &mut self,
        host: Host,
        pipe: PipeId,
        session: SessionId,
        token: &Token,
        last_event: Option<EventPosition>,
    ) {
        let Some(run) = &mut self.nodes[host].run else { return };
        let Some(record) = records::session(&run.shown, &session) else {
            self.seat(host, pipe, Seat::Watch);
            return self.say(pipe, ServerMessage::Forgotten { session });
        };
        if record.token_hash != hash(token) {
            let detail = String::new();
            let reason = CloseReason::BadToken;
            return self.say(pipe, ServerMessage::Closing { reason, detail });
        }
        if let Some(old) = run.hub.socket_of(&session).filter(|old| *old != pipe) {
            run.hub.sockets.remove(&old);
            self.say(old, ServerMessage::Replaced);
            self.close_pipe(old, LISTENER);
        }
        self.seat(host, pipe, Seat::Bound(session.clone()));
        let recovered = self.has_events_after(host, last_event);
        let highest = record.highest;
        let Some(bound) = self.bound(host, &session, token) else { return };
        self.acts(host);
        self.tally.case("session resumed");
        let missed = bound.last_event;
        self.say(pipe, ServerMessage::Resumed { recovered, highest, bound });
        if let (true, Some(after)) = (recovered, last_event) {
            self.say_events(host, pipe, after, missed);
        }
    }

    fn has_events_after(&self, host: Host, last: Option<EventPosition>) -> bool {
        let Some(run) = &self.nodes[host].run else { return false };
        last.is_none_or(|last| events::reaches(&run.shown, last))
    }

    fn say_events(&mut self, host: Host, pipe: PipeId, after: EventPosition, upto: EventPosition) {
        let Some(run) = &self.nodes[host].run else { return };
        let from = ItemKey::new("events", format!("{:020}", after.0 + 1));
        let to = ItemKey::new("events", format!("{:020}", upto.0));
        if after.0 >= upto.0 {
            return;
        }
        let read = |body: &[u8]| serde_json::from_slice::<KeptEvent>(body).ok();
        let events = run.shown.range(from..=to).filter_map(|(_, item)| read(&item.body)).collect();
        self.say(pipe, ServerMessage::Events { events });
    }

    fn bound(&self, host: Host, session: &SessionId, token: &Token) -> Option<Bound> {
        let node = &self.nodes[host];
        let run = node.run.as_ref()?;
        let record = records::session(&run.memory.kept.items, session)?;
        let definitions = Definitions::read(&run.config);
        let mut status = Box::new(run.status.clone());
        status.term = self.may_act(host).map(|(term, _)| term);
        Some(Bound {
            session: session.clone(),
            token: token.clone(),
            handover: None,
            project: record.project.clone(),
            page: record.page.clone(),
            params: record.params(),
            props: record.props(),
            alarms: records::open_alarms(&definitions, &run.shown),
            last_event: last_event(&run.shown),
            clock: node.session_clock(self.now),
            status,
            via_proxy: false,
            subscribed: false,
        })
    }

    /// The rules answer a request.
    pub(super) fn answered(&mut self, host: Host, ticket: RequestTicket, answer: Answer) {
        let permitted = self.may_act(host).is_some();
        let Some(run) = &mut self.nodes[host].run else { return };
        match (run.hub.asked.remove(&ticket), answer) {
            (Some(Asked::Open { pipe, session, token }), Answer::Done { .. }) if permitted => {
                self.seat(host, pipe, Seat::Bound(session.clone()));
                self.acts(host);
                if let Some(bound) = self.bound(host, &session, &token) {
                    self.say(pipe, ServerMessage::Opened(bound));
                }
            }
            (Some(Asked::Open { pipe, .. }), Answer::NoSuchPage) => {
                let reason = CloseReason::NoSuchPage;
                self.say(pipe, ServerMessage::Closing { reason, detail: String::new() });
            }
            (Some(Asked::Operate { session, id }), Answer::Done { outcome, copies })
                if permitted =>
            {
                self.tell_outcome(host, &(session, id), outcome, copies);
            }
            (Some(Asked::Operate { session, id }), Answer::NotStored | Answer::DiskFull)
                if permitted =>
            {
                let reason = crate::sim::check::NOT_STORED.to_owned();
                self.tell_outcome(host, &(session, id), Outcome::Rejected { reason }, 0);
            }
            (Some(Asked::Operate { session, .. }), Answer::NoSession) => {
                if let Some(pipe) = run.hub.socket_of(&session) {
                    self.seat(host, pipe, Seat::Watch);
                    self.say(pipe, ServerMessage::Forgotten { session });
                }
            }
            // What was not done, or may not be told, is asked again by its client.
            (Some(Asked::Open { pipe, .. }), _) => self.say_standby(host, pipe),
            (Some(Asked::Operate { session, .. }), _) => {
                if let Some(pipe) = run.hub.socket_of(&session) {
                    self.say_standby(host, pipe);
                }
            }
            (Some(Asked::Script), answer) => run.hub.scripted.push(answer),
            (
                Some(Asked::Config { key, body }),
                Answer::Done { outcome: Outcome::Applied, copies },
            ) => {
                let item = (key, body);
                let told = self.witness.answers_config(&self.nodes, host, item, copies);
                self.check(told);
            }
            (Some(Asked::Own | Asked::Config { .. }) | None, _) => {}
        }
    }

    fn say_standby(&mut self, host: Host, pipe: PipeId) {
        let Some(run) = &self.nodes[host].run else { return };
        let status = Box::new(run.status.clone());
        self.seat(host, pipe, Seat::Watch);
        self.say(pipe, ServerMessage::Standby { status, via_proxy: false });
        if self.may_act(host).is_some() {
            self.say_active(host, pipe);
        }
    }

    fn tell_outcome(
        &mut self,
        host: Host,
        op: &crate::sim::check::OpId,
        mut outcome: Outcome,
        copies: u8,
    ) {
        self.acts(host);
        let answers = self.witness.answers(&self.nodes, host, op, &outcome, copies);
        self.check(answers);
        if self.plant == Some(Plant::OutcomeLied) && outcome == Outcome::Applied {
            outcome = Outcome::Expired;
        }
        self.tally.case(match copies {
            0 => "refused, the disk has failed",
            1 => "answered alone",
            _ => "answered in sync",
        });
        let pipe = self.nodes[host].run.as_ref().and_then(|run| run.hub.socket_of(&op.0));
        if let Some(pipe) = pipe {
            self.say(pipe, ServerMessage::Outcome { id: op.1, copies, outcome });
        }
    }

    /// Updates are in force: events leave for the clients.
    pub(super) fn shown(&mut self, host: Host, kind: Kind, updates: &[Update], items: Items) {
        let permitted = self.may_act(host).is_some();
        let Some(run) = &mut self.nodes[host].run else { return };
        match kind {
            Kind::Config => run.config = items,
            Kind::Kept => run.shown = items,
        }
        if kind == Kind::Config {
            if !run.config.is_empty() {
                self.start_clients();
            }
            return;
        }
        if !permitted {
            return;
        }
        let shows = self.witness.shows(&self.nodes[host], updates);
        self.check(shows);
        let Some(run) = &mut self.nodes[host].run else { return };
        let bodies = updates.iter().flat_map(|update| &update.changes);
        let events: Vec<KeptEvent> = bodies
            .filter(|change| change.key.provider == "events")
            .filter_map(|change| serde_json::from_slice(change.body.as_ref()?).ok())
            .collect();
        if events.is_empty() {
            return;
        }
        let bound =
            |(pipe, s): (&PipeId, &Socket)| matches!(s.seat, Seat::Bound(_)).then_some(*pipe);
        let pipes: Vec<PipeId> = run.hub.sockets.iter().filter_map(bound).collect();
        self.acts(host);
        for pipe in pipes {
            self.say(pipe, ServerMessage::Events { events: events.clone() });
        }
    }

    /// The level may have gone: every socket is told at once and becomes a watch.
    pub(super) fn status_changed(&mut self, host: Host) {
        let Some(run) = &mut self.nodes[host].run else { return };
        let status = run.gateway.status();
        let before = std::mem::replace(&mut run.status, status);
        if before.sync != run.status.sync {
            let said = run.status.clone();
            let good = self.witness.says_good(self.now, &self.nodes, &said);
            self.check(good);
        }
        let Some(run) = &mut self.nodes[host].run else { return };
        if (before.level, before.fenced) == (run.status.level, run.status.fenced) {
            return;
        }
        let id = self.nodes[host].id.clone();
        let Some(run) = &mut self.nodes[host].run else { return };
        let (from, to, reason) = (before.level, run.status.level, run.status.reason.clone());
        let fenced = if run.status.fenced { " (fenced)" } else { "" };
        if before.fenced && to == Level::Cold {
            self.tally.case("fenced and yielded");
        }
        let was_active = holds_level(&before) && !holds_level(&run.status);
        let pipes: Vec<PipeId> = run.hub.sockets.keys().copied().collect();
        if was_active {
            run.hub.told_active = false;
            for socket in run.hub.sockets.values_mut() {
                socket.held.clear();
                socket.seat = Seat::Watch;
            }
        }
        self.line(|| format!("{id} {from} -> {to}{fenced}: {reason}"));
        if was_active {
            for pipe in pipes {
                self.say_standby(host, pipe);
            }
        }
    }

    /// A permit came: watches are told of a new activation, and what was held goes on.
    pub(super) fn hub_opens(&mut self, host: Host) {
        if self.may_act(host).is_none() {
            return;
        }
        let Some(run) = &mut self.nodes[host].run else { return };
        let news = !std::mem::replace(&mut run.hub.told_active, true);
        let pipes: Vec<PipeId> = run.hub.sockets.keys().copied().collect();
        for pipe in pipes {
            let Some(run) = &mut self.nodes[host].run else { return };
            let Some(socket) = run.hub.sockets.get_mut(&pipe) else { continue };
            let held = std::mem::take(&mut socket.held);
            if news && socket.seat == Seat::Watch {
                self.say_active(host, pipe);
            }
            for message in held {
                self.hear(host, pipe, message);
            }
        }
    }
}

/// Whether a node is active, be it fenced: then it holds what clients say, and says nothing.
fn holds_level(status: &Status) -> bool {
    status.level == Level::Active || status.fenced
}

fn last_event(items: &Items) -> EventPosition {
    let range = ItemKey::new("events", "")..ItemKey::new("events\0", "");
    let last = items.range(range).next_back();
    EventPosition(last.and_then(|(key, _)| key.key.parse().ok()).unwrap_or(0))
}
