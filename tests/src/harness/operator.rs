//! An operator on a raw session socket: opens, writes, acks, and says exactly what was answered.

use std::time::Duration;

use tandem_protocol::session::{Operation, Outcome, Request, WriteId};
use tandem_protocol::tag::TagValue;
use tandem_protocol::time::SessionClock;
use tandem_protocol::wire::session::{Bound, ClientMessage, ServerMessage};
use tokio::time::Instant;

use super::web::Reply;
use super::{Error, Result, Socket, web};

/// How long an operation may take to be applied, unless a test says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// What was answered to an operation: the outcome, and on how many nodes it is kept.
pub type Answered = (Outcome, u8);

/// An operator with a session.
#[derive(Debug)]
pub struct Operator {
    /// The connection.
    pub socket: Socket,
    /// What the node said when it bound the session.
    pub bound: Box<Bound>,
    bound_at: Instant,
    next: u64,
}

impl Operator {
    /// Opens a session of project `plant` at page `first`.
    ///
    /// # Errors
    /// The node does not open it.
    pub async fn at(base: &str) -> Result<Operator> {
        Operator::at_page(base, "first").await
    }

    /// Opens a session of project `plant` at a page.
    ///
    /// # Errors
    /// The node does not open it.
    pub async fn at_page(base: &str, page: &str) -> Result<Operator> {
        let (socket, bound) = Socket::open(base, "plant", page).await?;
        Ok(Operator { socket, bound, bound_at: Instant::now(), next: 1 })
    }

    /// Goes on with the session at another connection.
    ///
    /// # Errors
    /// The node does not resume it.
    pub async fn resumes_at(&mut self, base: &str) -> Result<bool> {
        self.socket = Socket::connect(base).await?;
        self.resumes().await
    }

    /// Goes on with the session on the present connection; says whether nothing was missed.
    ///
    /// # Errors
    /// The node does not resume it.
    pub async fn resumes(&mut self) -> Result<bool> {
        let message = ClientMessage::Resume {
            session: self.bound.session.clone(),
            token: self.bound.token.clone(),
            last_event: Some(self.bound.last_event),
            term: None,
            nonce: None,
            tags: Vec::new(),
        };
        self.socket.send(&message).await?;
        let (recovered, bound) = self
            .socket
            .expect("resumed", |message| match message {
                ServerMessage::Resumed { recovered, bound, .. } => Some((recovered, bound)),
                _ => None,
            })
            .await?;
        *self.bound = bound;
        self.bound_at = Instant::now();
        Ok(recovered)
    }

    /// The next request, not sent.
    pub fn request(&mut self, operation: Operation, deadline: Duration) -> Request {
        let clock = self.bound.clock.0 + millis(self.bound_at.elapsed() + deadline);
        let id = WriteId(self.next);
        self.next += 1;
        let (floor, deadline) = (WriteId(0), SessionClock(clock));
        Request { id, floor, deadline, resent: false, operation }
    }

    /// Sends a request without waiting for its outcome.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn sends(&mut self, request: &Request) -> Result {
        self.socket.send(&ClientMessage::Request(request.clone())).await
    }

    /// Waits for the outcome of a request.
    ///
    /// # Errors
    /// None came.
    pub async fn outcome_of(&mut self, request: &Request) -> Result<Answered> {
        let wanted = request.id;
        self.socket
            .expect("an outcome", |message| match message {
                ServerMessage::Outcome { id, copies, outcome } if id == wanted => {
                    Some((outcome, copies))
                }
                _ => None,
            })
            .await
    }

    /// Does something and waits for its outcome.
    ///
    /// # Errors
    /// None came.
    pub async fn does(&mut self, operation: Operation) -> Result<Answered> {
        let request = self.request(operation, DEADLINE);
        self.sends(&request).await?;
        self.outcome_of(&request).await
    }

    /// Writes a tag.
    ///
    /// # Errors
    /// No outcome came.
    pub async fn writes(&mut self, tag: &str, value: f64) -> Result<Answered> {
        self.does(write(tag, value)).await
    }

    /// Acks a raise of an alarm.
    ///
    /// # Errors
    /// No outcome came.
    pub async fn acks(&mut self, alarm: &str, raise: u64) -> Result<Answered> {
        let alarm = alarm.to_owned();
        self.does(Operation::Ack { alarm, raise, who: None, note: None }).await
    }
}

/// A write.
pub fn write(tag: &str, value: f64) -> Operation {
    Operation::Write { tag: tag.to_owned(), value: TagValue::Float(value) }
}

/// Writes a tag by HTTP with an `Idempotency-Key`.
///
/// # Errors
/// No answer.
pub async fn post_keyed(base: &str, tag: &str, value: f64, key: &str) -> Result<Reply> {
    let path = format!("/data/api/v1/tags/{tag}");
    web::post(base, &path, &[("idempotency-key", key)], &serde_json::json!({"value": value})).await
}

/// A tag's value by HTTP, as a number.
///
/// # Errors
/// No answer, or none with a number.
pub async fn value_of(base: &str, tag: &str) -> Result<f64> {
    let reply = web::get(base, &format!("/data/api/v1/tags/{tag}")).await?;
    let value = reply.json().get("value").and_then(serde_json::Value::as_f64);
    value.ok_or_else(|| {
        Error::wire(format!("the value of {tag}"), format!("{} {}", reply.status, reply.text()))
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
