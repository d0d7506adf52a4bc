//! What clients do: their machine's outputs, their sockets, their users.

use std::time::Duration;

use tandem_protocol::failover::input::{Command, ConnId, Input};
use tandem_protocol::failover::output::{Output, SessionEvent};
use tandem_protocol::session::{Operation, Outcome, WriteId};
use tandem_protocol::tag::TagValue;

use super::World;
use super::driver::address;
use crate::sim::client::{Client, clock, virtual_time};
use crate::sim::network::{Cargo, DIALER, End, FIRST_CLIENT, Host, PipeId};
use crate::sim::node::Purpose;
use crate::sim::plan::Deed;

/// A user waits so long for a write, unless a script says otherwise.
const DEADLINE: Duration = Duration::from_secs(5);

impl World {
    /// Users come once there is a page to open.
    pub(super) fn start_clients(&mut self) {
        if !std::mem::replace(&mut self.users, true) {
            for client in 0..self.clients.len() {
                self.drain_client(client);
            }
        }
    }

    /// A client's timer has run out.
    pub(super) fn wake_client(&mut self, host: Host) {
        self.tell_client(host - FIRST_CLIENT, Input::Timeout);
    }

    fn tell_client(&mut self, client: usize, input: Input) {
        self.clients[client].machine.handle_input(clock(self.now), input);
        self.drain_client(client);
    }

    pub(super) fn drain_client(&mut self, client: usize) {
        loop {
            match self.clients[client].machine.poll_output() {
                Output::Timeout { at, .. } => {
                    self.clients[client].timer = at.map(|at| virtual_time(at).max(self.now + 1));
                    return;
                }
                Output::Connect { conn, url } => {
                    let to = usize::from(url != address(0));
                    self.clients[client].conns.insert(conn, None);
                    let from = self.clients[client].end();
                    self.connect_client(from, to, Purpose::Session(conn.0));
                }
                Output::Send { conn, message } => {
                    if let Some(Some(pipe)) = self.clients[client].conns.get(&conn) {
                        let cargo = Cargo::FromClient(Box::new(message));
                        let arrival = self.network.send(self.now, *pipe, DIALER, cargo);
                        self.arrive(arrival);
                    }
                }
                Output::Close { conn } => {
                    if let Some(Some(pipe)) = self.clients[client].conns.remove(&conn) {
                        self.close_pipe(pipe, DIALER);
                    }
                }
                Output::Event(event) => self.user_reads(client, event),
                Output::Navigate { .. } | Output::Ended => {}
            }
        }
    }

    pub(super) fn client_connected(&mut self, dialer: End, conn: u64, pipe: PipeId) {
        let client = dialer.host - FIRST_CLIENT;
        if self.clients[client].end() != dialer {
            return self.close_pipe(pipe, DIALER);
        }
        match self.clients[client].conns.get_mut(&ConnId(conn)) {
            Some(waits) if waits.is_none() => {
                *waits = Some(pipe);
                self.tell_client(client, Input::Connected { conn: ConnId(conn) });
            }
            _ => self.close_pipe(pipe, DIALER),
        }
    }

    pub(super) fn client_refused(&mut self, dialer: End, conn: u64, why: &str) {
        let client = dialer.host - FIRST_CLIENT;
        if self.clients[client].end() != dialer {
            return;
        }
        if let Some(None) = self.clients[client].conns.get(&ConnId(conn)) {
            self.clients[client].conns.remove(&ConnId(conn));
            self.tell_client(client, Input::Ended { conn: ConnId(conn), why: why.to_owned() });
        }
    }

    pub(super) fn client_received(&mut self, host: Host, pipe: PipeId, cargo: Cargo) {
        let client = host - FIRST_CLIENT;
        let conns = &mut self.clients[client].conns;
        let Some(conn) = conns.iter().find(|(_, p)| **p == Some(pipe)).map(|(conn, _)| *conn)
        else {
            return;
        };
        let input = match cargo {
            Cargo::ToClient(message) => Input::Message { conn, message },
            Cargo::End | Cargo::Peer(_) | Cargo::FromClient(_) => {
                conns.remove(&conn);
                self.network.leave(pipe, DIALER);
                Input::Ended { conn, why: "end of stream".to_owned() }
            }
        };
        self.tell_client(client, input);
    }

    fn user_reads(&mut self, client: usize, event: SessionEvent) {
        match &event {
            SessionEvent::TagChange(_) => {
                self.clients[client].values += 1;
                return;
            }
            SessionEvent::Reconnecting { .. } | SessionEvent::Closed { .. } => {
                self.clients[client].bound = None;
            }
            SessionEvent::Connected { node, .. } => {
                self.clients[client].bound = Some(node.clone());
            }
            SessionEvent::Transferred { to, .. } => {
                self.clients[client].bound = Some(to.clone());
                self.tally.case("client moved to the other node");
            }
            SessionEvent::Resumed { node, anew, .. } => {
                self.clients[client].bound = Some(node.clone());
                if *anew {
                    self.tally.case("session opened anew");
                }
            }
            SessionEvent::State { alarms, status, .. } => {
                let open = alarms.iter().filter(|alarm| !alarm.acked);
                let seen = open.map(|alarm| (alarm.name.clone(), alarm.raise)).collect();
                self.clients[client].alarms = seen;
                self.clients[client].bound = Some(status.node.clone());
            }
            SessionEvent::AlarmChange(alarm) if alarm.acked => {
                self.clients[client].alarms.remove(&alarm.name);
            }
            SessionEvent::AlarmChange(alarm) => {
                self.clients[client].alarms.insert(alarm.name.clone(), alarm.raise);
            }
            SessionEvent::WriteOutcome { id, outcome, .. } => self.outcome(client, *id, outcome),
            SessionEvent::Notice { .. } => {}
        }
        if self.lines.is_some() || self.clients[client].told.len() < 1_000 {
            let text = format!("{event:?}");
            self.clients[client].told.push(text.clone());
            self.line(|| {
                format!("client {client}: {}", text.chars().take(200).collect::<String>())
            });
        }
    }

    fn outcome(&mut self, client: usize, id: WriteId, outcome: &Outcome) {
        if self.clients[client].open.remove(&id) {
            let person = self.clients[client].person();
            self.witness.tells(person, id, outcome);
            self.tally.case(match outcome {
                Outcome::Applied => "outcome applied",
                Outcome::Rejected { .. } => "outcome rejected",
                Outcome::Expired => "outcome expired",
                Outcome::Unknown => "outcome unknown",
            });
        }
    }

    /// A user operates; the id that it got.
    pub fn operate(&mut self, client: usize, operation: Operation) -> WriteId {
        self.operate_within(client, operation, DEADLINE)
    }

    /// A user operates and waits for so long.
    pub fn operate_within(
        &mut self,
        client: usize,
        operation: Operation,
        deadline: Duration,
    ) -> WriteId {
        let id = self.clients[client].machine.next_id();
        self.clients[client].open.insert(id);
        let command = Command::Operate { operation, deadline };
        self.tell_client(client, Input::Command(command));
        id
    }

    /// A user reloads the page in a window that keeps nothing: a new session.
    fn reload(&mut self, client: usize) {
        self.tell_client(client, Input::Command(Command::Close));
        let life = self.clients[client].life + 1;
        let deeds = self.clients[client].deeds;
        let fresh = Client::resuming(client, &self.plan, self.now, None);
        self.clients[client] = Client { life, deeds, ..fresh };
        self.tally.case("page reloaded");
        self.drain_client(client);
    }

    pub(super) fn user(&mut self, client: usize, deed: Deed) {
        if !self.users {
            return;
        }
        if deed == Deed::Reload {
            return self.reload(client);
        }
        self.clients[client].deeds += 1;
        let number = self.clients[client].deeds;
        let operation = match deed {
            Deed::Count => count(number),
            Deed::Set => {
                let value = TagValue::Int(i64::try_from(number * 10 + client as u64).unwrap_or(0));
                Operation::Write { tag: format!("Set/{}", 1 + number % 2), value }
            }
            Deed::Ack => {
                let Some((alarm, raise)) = self.clients[client].alarms.pop_first() else { return };
                Operation::Ack { alarm, raise, who: None, note: None }
            }
            Deed::Reload => return,
            Deed::Props => {
                let mut props = serde_json::Map::new();
                props.insert("typed".to_owned(), number.into());
                Operation::Props { props }
            }
        };
        self.operate(client, operation);
    }
}

/// Adds one to a counting tag.
pub(super) fn count(number: u64) -> Operation {
    Operation::Write { tag: format!("Count/{}", 1 + number % 2), value: TagValue::Int(1) }
}
