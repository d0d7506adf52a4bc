//! What is done to the pair, in words and with what must hold for it.

use std::time::Duration;

use super::client::Way;

/// How long a frozen node stays frozen.
pub(crate) const FROZEN: Duration = Duration::from_secs(3);
/// How long the nodes cannot hear each other.
pub(crate) const CUT: Duration = Duration::from_secs(5);

/// What happens in a round.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
pub(crate) enum Fault {
    /// SIGKILL of the active node.
    Kill,
    /// SIGSTOP of it, then SIGCONT.
    Freeze,
    /// A request to let the other node be active.
    Switchover,
    /// SIGTERM: a planned stop.
    Goodbye,
    /// The link between the nodes is cut, then healed; both live and are worked on.
    Cut,
}

impl Fault {
    /// Its name in tags.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Freeze => "freeze",
            Fault::Switchover => "switchover",
            Fault::Goodbye => "goodbye",
            Fault::Cut => "cut",
        }
    }

    /// Its name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Fault::Kill => "killed",
            Fault::Freeze => "frozen for 3 s",
            Fault::Switchover => "switchover",
            Fault::Goodbye => "planned stop",
            Fault::Cut => "link cut for 5 s",
        }
    }

    /// So many sessions must all be at the new node within this time: 0.2 ms for each on two cores,
    /// after what the loss takes to be seen.
    pub(crate) fn moved_target_ms(self, sessions: usize) -> f64 {
        let each = Duration::from_micros(200) * u32::try_from(sessions).unwrap_or(u32::MAX);
        let seen = match self {
            Fault::Freeze => Duration::from_millis(800),
            Fault::Kill | Fault::Switchover | Fault::Goodbye | Fault::Cut => Duration::ZERO,
        };
        (seen + each).as_secs_f64() * 1000.0
    }

    /// The median outage must be below this. `None`: measured, without a target of its own. A page
    /// that comes straight from a node is rebuilt at the other; in a cut nobody is without a node.
    pub(crate) fn target_ms(self, way: Way) -> Option<f64> {
        match (self, way) {
            (Fault::Cut, _) => None,
            (Fault::Freeze, _) => Some(900.0),
            (_, Way::BrowserDirect) => None,
            (Fault::Switchover | Fault::Goodbye, _) => Some(50.0),
            (Fault::Kill, way) if way.is_browser() => Some(40.0),
            (Fault::Kill, _) => Some(20.0),
        }
    }
}
