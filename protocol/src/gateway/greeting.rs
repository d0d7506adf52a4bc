//! From a new connection to two proven hellos.
//!
//! ```text
//! dialer                                   listener
//! AwaitChallenge  <-- Challenge ---------  AwaitHello
//! AwaitHello      --- Hello ------------>  checks, replaces an older link
//! link, verdict   <-- Hello, Verdict ----  link, established
//! ```
//!
//! The hello of a node that starts may be a question only: it is answered and changes nothing.

use crate::event::Severity;
use crate::gateway::Gateway;
use crate::gateway::input::{LinkId, Side};
use crate::gateway::level::LevelState;
use crate::gateway::link::Link;
use crate::gateway::output::{EventKind, Output};
use crate::gateway::proof::{self, Nonces};
use crate::item::Kind;
use crate::limits::{GREETINGS_MAX, VERDICT_WAIT};
use crate::node::{PairId, Role};
use crate::time::Instant;
use crate::wire::peer::{Hello, Message, PROTOCOL_VERSION, Refusal, Stand};

/// A connection before both hellos.
#[derive(Debug)]
pub(super) struct Greeting {
    state: State,
    deadline: Instant,
}

#[derive(Debug)]
enum State {
    /// Dialer: the listener speaks first.
    AwaitChallenge,
    /// Dialer: has said hello.
    AwaitAnswer { nonces: Nonces, said: Stand, question: bool },
    /// Listener: has sent its challenge.
    AwaitHello { nonce: [u8; 32] },
    /// Listener: has answered a question; the dialer closes.
    Answered,
}

impl Greeting {
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether this node has dialed it: when it ends, there is another dial.
    pub(super) fn dialed(&self) -> bool {
        matches!(self.state, State::AwaitChallenge | State::AwaitAnswer { .. })
    }
}

impl Gateway {
    /// Whether somebody speaks on a connection that is no established link yet.
    pub(super) fn is_greeted(&self) -> bool {
        let speaks = |greeting: &Greeting| !matches!(greeting.state, State::AwaitChallenge);
        self.link.as_ref().is_some_and(|link| !link.established())
            || self.greetings.values().any(speaks)
    }

    pub(super) fn link_up(&mut self, link: LinkId, side: Side) {
        let deadline = self.now + VERDICT_WAIT;
        let state = match side {
            Side::Dialer => {
                self.dialer.dialing = false;
                State::AwaitChallenge
            }
            Side::Listener => {
                let nonce = self.random.nonce();
                self.send(link, Message::Challenge { nonce });
                State::AwaitHello { nonce }
            }
        };
        if self.stopping {
            self.close_link(link, Refusal::Stopping, "this node stops");
            return;
        }
        self.greetings.insert(link, Greeting { state, deadline });
        self.bound_greetings();
    }

    /// Past their number the oldest that was dialed by another makes room: a peer says hello at
    /// once, and whoever waits without a word cannot keep it out.
    fn bound_greetings(&mut self) {
        let others = || self.greetings.iter().filter(|(_, greeting)| !greeting.dialed());
        if others().count() <= GREETINGS_MAX {
            return;
        }
        let oldest = others().min_by_key(|(link, greeting)| (greeting.deadline, **link));
        if let Some(link) = oldest.map(|(link, _)| *link) {
            self.greetings.remove(&link);
            self.close_link(link, Refusal::TooSlow, "too many connections without a hello");
        }
    }

    /// A connection that greeted is gone: the peer is dialed again, if it was this node's dial.
    pub(super) fn greeting_over(&mut self, greeting: &Greeting) {
        if greeting.dialed() {
            self.redial_later();
        }
    }

    /// A message on a connection that is not the link yet.
    pub(super) fn greeting_message(&mut self, link: LinkId, message: Message) {
        let Some(greeting) = self.greetings.remove(&link) else { return };
        match (greeting.state, message) {
            (State::AwaitChallenge, Message::Challenge { nonce }) => self.say_hello(link, nonce),
            (State::AwaitHello { nonce }, Message::Hello(hello)) => {
                self.hear_dialer(link, nonce, hello);
            }
            (State::AwaitAnswer { nonces, said, question }, Message::Hello(hello)) => {
                self.hear_listener(link, nonces, said, question, hello);
            }
            (
                State::AwaitChallenge | State::AwaitAnswer { .. },
                Message::Refuse { reason, detail },
            ) => self.refused(link, reason, &detail),
            (state, _) => {
                self.break_link(link, Refusal::Unexpected, "a message before the hello");
                self.greeting_over(&Greeting { state, deadline: greeting.deadline });
            }
        }
    }

    fn say_hello(&mut self, link: LinkId, listener: [u8; 32]) {
        let question = self.dialer.question;
        let nonces = Nonces { dialer: self.random.nonce(), listener };
        let hello = self.hello(Side::Dialer, nonces, question);
        let said = hello.stand.clone();
        self.send(link, Message::Hello(Box::new(hello)));
        let state = State::AwaitAnswer { nonces, said, question };
        let deadline = self.now + VERDICT_WAIT;
        self.greetings.insert(link, Greeting { state, deadline });
    }

    /// The listener's part: the dialer's hello is checked and answered.
    fn hear_dialer(&mut self, link: LinkId, listener: [u8; 32], hello: Box<Hello>) {
        let nonces = Nonces { dialer: hello.nonce, listener };
        let wrong = self
            .mismatch(Side::Dialer, nonces, &hello)
            .or_else(|| self.other_run_alive(&hello))
            .or_else(|| self.not_my_dialer(&hello));
        if let Some(reason) = wrong {
            self.refuse(link, reason, &hello);
            return;
        }
        let own = self.hello(Side::Listener, nonces, hello.question);
        if hello.question {
            self.send(link, Message::Hello(Box::new(own)));
            let deadline = self.now + VERDICT_WAIT;
            self.greetings.insert(link, Greeting { state: State::Answered, deadline });
            return;
        }
        if let Some(old) = self.take_link() {
            self.close_link(old.id, Refusal::Replaced, "a newer link of the same node");
        }
        let said = own.stand.clone();
        self.send(link, Message::Hello(Box::new(own.clone())));
        let new = Link::new(link, Side::Listener, nonces, hello, said, self.now);
        self.link = Some(new);
        self.hear_hello();
        self.judge(&own);
    }

    /// The dialer's part: the listener's hello is checked; its verdict follows.
    fn hear_listener(
        &mut self,
        link: LinkId,
        nonces: Nonces,
        said: Stand,
        question: bool,
        hello: Box<Hello>,
    ) {
        if let Some(reason) = self.mismatch(Side::Listener, nonces, &hello) {
            self.refuse(link, reason, &hello);
            self.refused(link, reason, "found by this node in the other's hello");
            return;
        }
        if question {
            self.dialer.question = false;
            self.await_active(&hello.stand);
            self.close_link(link, Refusal::Replaced, "the question of a start is answered");
            return;
        }
        if let Some(old) = self.take_link() {
            self.close_link(old.id, Refusal::Replaced, "a newer link to the same node");
        }
        self.link = Some(Link::new(link, Side::Dialer, nonces, hello, said, self.now));
        self.hear_hello();
    }

    /// The question of a start has found an active peer: a short join wait is drawn out until that
    /// peer has had time to dial.
    fn await_active(&mut self, stand: &Stand) {
        let latest = self.now + self.dial_span() + VERDICT_WAIT;
        if let LevelState::Undecided { until } = &mut self.level
            && stand.counts_as_active()
        {
            *until = latest.max(*until);
        }
    }

    /// What makes these two no pair.
    fn mismatch(&self, sender: Side, nonces: Nonces, hello: &Hello) -> Option<Refusal> {
        let own = &self.options;
        let nonces_right = match sender {
            Side::Dialer => hello.nonce == nonces.dialer,
            Side::Listener => hello.nonce == nonces.listener,
        };
        let proof = proof::of_hello(&own.secret, sender, nonces, hello);
        let secret_right = nonces_right && proof::equal(&proof, &hello.proof);
        match (own.role, hello.role) {
            (Role::Independent, _) | (_, Role::Independent) => Some(Refusal::Independent),
            _ if hello.protocol != PROTOCOL_VERSION => Some(Refusal::Version),
            _ if own.pair.as_ref() != Some(&hello.pair) => Some(Refusal::OtherPair),
            _ if !secret_right => Some(Refusal::WrongSecret),
            _ if own.node == hello.node => Some(Refusal::SameNodeId),
            (Role::Master, Role::Master) => Some(Refusal::TwoMasters),
            (Role::Backup, Role::Backup) => Some(Refusal::TwoBackups),
            (Role::Master, Role::Backup) | (Role::Backup, Role::Master) => None,
        }
    }

    /// The same node id with another run, or another node, while the old link speaks.
    fn other_run_alive(&self, hello: &Hello) -> Option<Refusal> {
        if hello.question {
            return None;
        }
        let link = self.link.as_ref()?;
        if link.hello.node != hello.node {
            return Some(Refusal::OtherNode);
        }
        let other_run = link.hello.boot != hello.boot;
        let spoke = self.now.since(self.peer.last_sign) < self.span();
        (other_run && spoke).then_some(Refusal::OtherRunAlive)
    }

    /// Only a backup dials for a link, and only to its master.
    fn not_my_dialer(&self, hello: &Hello) -> Option<Refusal> {
        let right = hello.question || self.options.role == Role::Master;
        (!right).then_some(Refusal::Unexpected)
    }

    fn refuse(&mut self, link: LinkId, reason: Refusal, hello: &Hello) {
        let detail = format!(
            "{} ({}) and {} ({}) of pair {}",
            self.options.node, self.options.role, hello.node, hello.role, hello.pair
        );
        let text = format!("refused a link: {}: {detail}", reason.as_text());
        let facts = vec![("reason", format!("{reason:?}")), ("peer", hello.node.to_string())];
        self.event(Severity::Warning, EventKind::Refused, text, facts);
        self.send(link, Message::Refuse { reason, detail: detail.clone() });
        self.close_link(link, reason, detail);
    }

    /// The other side will have no link with this node. A node that has just started ends.
    fn refused(&mut self, link: LinkId, reason: Refusal, detail: &str) {
        self.close_link(link, reason, detail);
        let starting = matches!(self.level, LevelState::Undecided { .. }) || self.dialer.question;
        self.dialer.question = false;
        let text = format!("the peer refused a link: {}: {detail}", reason.as_text());
        let facts = vec![("reason", format!("{reason:?}"))];
        if starting && reason.ends_a_start() {
            self.event(Severity::Error, EventKind::Refused, text.clone(), facts);
            self.out.push_back(Output::Exit { reason, detail: text });
            return;
        }
        let severity = match reason {
            Refusal::OtherRunAlive | Refusal::Stopping | Refusal::Replaced => Severity::Info,
            Refusal::WrongSecret
            | Refusal::OtherPair
            | Refusal::SameNodeId
            | Refusal::OtherNode
            | Refusal::TwoMasters
            | Refusal::TwoBackups
            | Refusal::Independent
            | Refusal::Version
            | Refusal::Malformed
            | Refusal::Oversized
            | Refusal::Unexpected
            | Refusal::TooSlow
            | Refusal::DeclaredLost
            | Refusal::LevelChanged
            | Refusal::UnknownLineage
            | Refusal::Flood => Severity::Warning,
        };
        self.event(severity, EventKind::Refused, text, facts);
        self.redial_later();
    }

    /// A connection that does not greet in time.
    pub(super) fn greeting_time(&mut self) {
        let now = self.now;
        let late: Vec<LinkId> =
            self.greetings.iter().filter(|(_, g)| now >= g.deadline).map(|(l, _)| *l).collect();
        for link in late {
            let greeting = self.greetings.remove(&link);
            self.close_link(link, Refusal::TooSlow, "no hello in time");
            greeting.iter().for_each(|greeting| self.greeting_over(greeting));
        }
    }

    /// Everything that the peer must know to judge.
    fn hello(&self, side: Side, nonces: Nonces, question: bool) -> Hello {
        let unpaired = || PairId::try_from("none".to_owned()).ok();
        let pair = self.options.pair.clone().or_else(unpaired);
        let nonce = match side {
            Side::Dialer => nonces.dialer,
            Side::Listener => nonces.listener,
        };
        let stand = self.stand();
        let active_uptime = match &self.level {
            LevelState::Active(active) => self.now.since(active.since),
            LevelState::Undecided { .. } | LevelState::Standby | LevelState::Taking(_) => {
                std::time::Duration::ZERO
            }
        };
        let mut hello = Hello {
            protocol: PROTOCOL_VERSION,
            software: self.options.software.clone(),
            pair: pair.unwrap_or_else(|| self.options.node.as_str().parse().expect("a name")),
            node: self.options.node.clone(),
            boot: self.options.boot,
            nonce,
            proof: [0; 32],
            role: self.options.role,
            stand,
            highest_counter: self.ledger.highest_counter,
            kept_received: self.kept.position(),
            kept_durable: self.disk.durable(Kind::Kept),
            last_term: self.ledger.activations.last().map(|a| a.term.clone()),
            activations: self.ledger.activations.clone(),
            active_uptime_ms: u64::try_from(active_uptime.as_millis()).unwrap_or(u64::MAX),
            answered_alone_ms_ago: self.answers.alone_ms_ago(self.now),
            in_sync: self.peer.told_in_sync,
            config: self.config.position(),
            config_head: self.config.head(),
            config_complete: self.ledger.config_complete,
            choice: self.ledger.choice.clone(),
            health: self.health(),
            settings: self.options.settings.clone(),
            listens: self.options.listens.clone(),
            public_address: self.options.public_address.clone(),
            question,
            wall: self.wall_now(),
            config_marks: self.config.marks().to_vec(),
        };
        hello.proof = proof::of_hello(&self.options.secret, side, nonces, &hello);
        hello
    }
}

impl Refusal {
    /// What a person reads.
    pub const fn as_text(self) -> &'static str {
        match self {
            Refusal::WrongSecret => "the pair's secret is wrong",
            Refusal::OtherPair => "the other node belongs to another pair",
            Refusal::SameNodeId => "both nodes have the same node id",
            Refusal::OtherNode => "another node is the peer here",
            Refusal::TwoMasters => "both nodes are Masters",
            Refusal::TwoBackups => "both nodes are Backups",
            Refusal::Independent => "one of the nodes is Independent",
            Refusal::OtherRunAlive => "an older run of this node still speaks",
            Refusal::Version => "the versions cannot speak to each other",
            Refusal::Malformed => "not a peer message",
            Refusal::Oversized => "a frame above its limit",
            Refusal::Unexpected => "a message that does not fit",
            Refusal::TooSlow => "no word in time",
            Refusal::Replaced => "replaced by a newer connection",
            Refusal::DeclaredLost => "the peer was declared lost",
            Refusal::LevelChanged => "the level changed: hello again",
            Refusal::Stopping => "the node stops",
            Refusal::UnknownLineage => "the configs have nothing in common",
            Refusal::Flood => "more words than a pair has for each other",
        }
    }

    /// Whether a node that is told this at its start must not run.
    const fn ends_a_start(self) -> bool {
        matches!(
            self,
            Refusal::WrongSecret
                | Refusal::OtherPair
                | Refusal::SameNodeId
                | Refusal::TwoMasters
                | Refusal::TwoBackups
                | Refusal::Independent
                | Refusal::Version
        )
    }
}
