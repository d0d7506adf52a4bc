//! The only owner of the machine: one turn takes one input and drains what comes of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tandem_protocol::failover::Failover;
use tandem_protocol::failover::input::{Command, ConnId, Input, Saved};
use tandem_protocol::failover::output::{Output, SessionEvent};
use tandem_protocol::session::{Operation, WriteId};
use tandem_protocol::time::Instant;
use tokio::sync::{mpsc, oneshot};

use crate::native::Told;
use crate::native::queue::Queue;
use crate::native::socket::Socket;

/// Inputs of all sockets on their way: a slow turn holds back the gateways, not memory.
const INPUTS: usize = 1024;

/// What a handle asks for.
#[derive(Debug)]
pub(super) enum Order {
    /// Do something.
    Operate {
        /// What.
        operation: Operation,
        /// How long it may take.
        deadline: Duration,
        /// Gets its id.
        id: oneshot::Sender<WriteId>,
        /// Gets its outcome.
        done: oneshot::Sender<Told>,
    },
    /// Set the subscribed tags.
    Subscribe {
        /// The tags.
        tags: Vec<String>,
    },
    /// Say what to keep.
    Save {
        /// Gets it.
        saved: oneshot::Sender<Option<Saved>>,
    },
    /// Look at once.
    Probe,
    /// End the session.
    Close,
}

/// Drives one session.
#[derive(Debug)]
pub(super) struct Driver {
    machine: Failover,
    zero: tokio::time::Instant,
    orders: mpsc::Receiver<Order>,
    inputs: mpsc::Sender<Input>,
    inputs_in: mpsc::Receiver<Input>,
    queue: Arc<Queue>,
    sockets: HashMap<ConnId, Socket>,
    waiting: HashMap<WriteId, oneshot::Sender<Told>>,
}

/// When the machine wants to be woken; `None`: the session is over.
type Next = Option<Option<Instant>>;

impl Driver {
    /// A driver whose clock begins now.
    pub(super) fn new(
        machine: Failover,
        orders: mpsc::Receiver<Order>,
        queue: Arc<Queue>,
    ) -> Driver {
        let (inputs, inputs_in) = mpsc::channel(INPUTS);
        Driver {
            machine,
            zero: tokio::time::Instant::now(),
            orders,
            inputs,
            inputs_in,
            queue,
            sockets: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// Runs until the session is over.
    pub(super) async fn run(mut self) {
        while let Some(wake) = self.drain() {
            let timer = async {
                match wake {
                    Some(at) => {
                        let after = Duration::from_micros(at.as_micros());
                        tokio::time::sleep_until(self.zero + after).await;
                    }
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                biased;
                Some(input) = self.inputs_in.recv() => input,
                order = self.orders.recv() => match order {
                    Some(order) => match self.read(order) {
                        Some(input) => input,
                        None => continue,
                    },
                    // All handles are gone: the session is left as it is, for who resumes it.
                    None => break,
                },
                () = timer => Input::Timeout,
            };
            if let Input::Ended { conn, why } = &input {
                tracing::debug!(conn = conn.0, why, "connection ended");
                self.sockets.remove(conn);
            }
            self.machine.handle_input(self.now(), input);
        }
        self.queue.end();
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.zero.elapsed()
    }

    /// Does what the machine wants.
    fn drain(&mut self) -> Next {
        let mut deaf = VecDeque::new();
        loop {
            match self.machine.poll_output() {
                Output::Timeout { at, .. } => {
                    let Some(conn) = deaf.pop_front() else { return Some(at) };
                    let why = "the gateway does not read".to_owned();
                    self.machine.handle_input(self.now(), Input::Ended { conn, why });
                }
                Output::Ended => return None,
                Output::Connect { conn, url } => {
                    tracing::debug!(conn = conn.0, url, "connect");
                    let socket = Socket::connect(conn, url, self.inputs.clone());
                    self.sockets.insert(conn, socket);
                }
                Output::Send { conn, message } => {
                    let taken = self.sockets.get(&conn).is_none_or(|s| s.send(&message));
                    if !taken {
                        self.sockets.remove(&conn);
                        deaf.push_back(conn);
                    }
                }
                Output::Close { conn } => {
                    self.sockets.remove(&conn);
                }
                Output::Event(event) => self.tell(event),
                // A native client has no page to leave: the session goes on where it is.
                Output::Navigate { .. } => {}
            }
        }
    }

    fn tell(&mut self, event: SessionEvent) {
        if let SessionEvent::WriteOutcome { id, copies, outcome } = &event
            && let Some(waiting) = self.waiting.remove(id)
        {
            // Nobody has to wait for it.
            let _ = waiting.send(Told { id: *id, copies: *copies, outcome: outcome.clone() });
        }
        self.queue.push(event);
    }

    /// An order as an input of the machine.
    fn read(&mut self, order: Order) -> Option<Input> {
        let command = match order {
            Order::Close => Command::Close,
            Order::Operate { operation, deadline, id, done } => {
                let next = self.machine.next_id();
                self.waiting.insert(next, done);
                let _ = id.send(next);
                Command::Operate { operation, deadline }
            }
            Order::Subscribe { tags } => Command::Subscribe { tags },
            Order::Save { saved } => {
                let _ = saved.send(self.machine.save());
                return None;
            }
            Order::Probe => return Some(Input::Probe),
        };
        Some(Input::Command(command))
    }
}
