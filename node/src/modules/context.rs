//! What a module works with: its only way to the rest of the node.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::Kind;
use tandem_protocol::node::NodeId;
use tandem_protocol::runtime::Definitions;
use tandem_protocol::session::Outcome;
use tandem_protocol::status::WELL;
use tandem_protocol::tag::{Sample, TagPath};
use tandem_protocol::time::{Instant, UnixMs};
use tokio::sync::{mpsc, oneshot};

use super::records::{Records, View};
use super::room::Wanted;
use crate::driver;
use crate::live::{self, Live, Subscriber};
use crate::permit::ActiveTerm;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// This node is not active, or its permit has run out.
    #[error("this node is not active")]
    Standby,
    /// This node is not the one that takes config.
    #[error("config is changed on the master")]
    NotMaster,
    /// Too much waits: ask again later.
    #[error("too many requests wait")]
    Busy,
    /// It cannot be done, now or ever.
    #[error("{reason}")]
    Rejected {
        /// Why, for people.
        reason: String,
    },
    /// The disk cannot store it.
    #[error("the disk cannot store it")]
    NotStored,
}

/// What a module works with. Clones are the same module's.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) name: &'static str,
    pub(super) driver: driver::Handle,
    pub(super) live: Live,
    pub(super) wanted: mpsc::Sender<Wanted>,
}

impl Context {
    /// The term to act under at this moment; `None`: no effect outside is allowed. Ask right
    /// before each effect.
    pub fn allows(&self) -> Option<Arc<ActiveTerm>> {
        self.driver.gate().allows()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.driver.status().node.clone()
    }

    /// The time of this machine, also while the process was stopped.
    pub fn now(&self) -> Instant {
        self.driver.clock().now()
    }

    /// Wall time.
    pub fn wall(&self) -> UnixMs {
        self.driver.clock().wall()
    }

    /// Sets the newest values of tags, sampled together. Says whether it was allowed: without a
    /// permit nothing is taken from `values`.
    pub fn publish(&self, values: impl IntoIterator<Item = (TagPath, Sample)>) -> bool {
        let allowed = self.driver.gate().is_open();
        if allowed {
            self.live.publish_all(values);
        }
        allowed
    }

    /// The newest value that a source of either node gave.
    pub fn live(&self, path: &TagPath) -> Option<Sample> {
        self.live.get(path)
    }

    /// A tag's value as it stands, sampled or written; `None` where there is none.
    pub fn current(&self, definitions: &Definitions, path: &TagPath) -> Option<Sample> {
        live::current(definitions, &self.driver.items(Kind::Kept), &self.live, path)
    }

    /// Follows the sampled values of these tags, on the standby those of the active node. Written
    /// tags are records of provider `tags`: see [`Context::view`].
    pub fn follow<'a>(&self, paths: impl IntoIterator<Item = &'a TagPath>) -> Subscriber {
        self.live.subscribe_to(paths)
    }

    /// Says that this module works, but not as it should: how well, from 0 (not at all) to 254, and
    /// why. It stands until the module says otherwise. The node's health is the worst of its
    /// modules and its disk; with `health_switch` the level moves to a node that is better.
    pub fn degraded(&self, level: u8, reason: &str) {
        self.driver.says(self.name, level.min(WELL - 1), reason);
    }

    /// Says that this module is well again.
    pub fn well(&self) {
        self.driver.says(self.name, WELL, "");
    }

    /// The module's own state records.
    pub fn records<T: Encode<()> + for<'b> Decode<'b, ()>>(&self) -> Records<T> {
        Records::new(self.view(Kind::Kept, self.name))
    }

    /// The module's own config records: those that [`super::Module::configure`] is told of.
    pub fn config_records<T: Encode<()> + for<'b> Decode<'b, ()>>(&self) -> Records<T> {
        Records::new(self.view(Kind::Config, self.name))
    }

    /// Records of any provider, to be read.
    pub fn view<T>(&self, kind: Kind, provider: &str) -> View<T> {
        View::new(self.driver.clone(), kind, provider.to_owned())
    }

    /// Says that an alarm's limit is exceeded, or no longer; says on how many nodes it is kept.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn move_alarm(&self, alarm: &str, raised: bool) -> Result<u8, Failure> {
        self.ask(Request::AlarmMoved { alarm: alarm.to_owned(), raised }).await
    }

    /// Says that the time of an alarm's shelf is over.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn end_shelf(&self, alarm: &str) -> Result<u8, Failure> {
        self.ask(Request::ShelfEnded { alarm: alarm.to_owned() }).await
    }

    /// Does an operation of this module: [`super::Module::execute`] here and, when it went well,
    /// on the other node. Says on how many nodes it is recorded.
    ///
    /// # Errors
    /// See [`Failure`]. Where it ran here and could not be recorded, the module's state is set
    /// back to what is recorded; a module without [`super::Module::snapshot`] keeps what ran.
    pub async fn execute(&self, operation: Vec<u8>) -> Result<u8, Failure> {
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted { module: self.name, operation, answer };
        match self.wanted.try_send(wanted) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Failure::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Failure::Standby),
        }
        answered.await.unwrap_or(Err(Failure::Standby))
    }

    async fn ask(&self, request: Request) -> Result<u8, Failure> {
        if !self.driver.gate().is_open() {
            return Err(Failure::Standby);
        }
        done(self.driver.request(request).await)
    }
}

/// What an answer means to a module.
pub(super) fn done(answer: Answer) -> Result<u8, Failure> {
    let refused = |reason: String| Err(Failure::Rejected { reason });
    match answer {
        Answer::Done { outcome: Outcome::Applied, copies } => Ok(copies),
        Answer::Done { outcome: Outcome::Rejected { reason }, .. } | Answer::Refused { reason } => {
            refused(reason)
        }
        Answer::Standby => Err(Failure::Standby),
        Answer::NotMaster => Err(Failure::NotMaster),
        Answer::Busy => Err(Failure::Busy),
        Answer::NotStored | Answer::DiskFull => Err(Failure::NotStored),
        answer @ (Answer::Done { outcome: Outcome::Expired | Outcome::Unknown, .. }
        | Answer::NoSession
        | Answer::NoSuchPage
        | Answer::Accepted
        | Answer::OtherTerm { .. }
        | Answer::Changed { .. }) => refused(format!("{answer:?}")),
    }
}
