//! `/health/{live,ready,active}`: what balancers and the peer ask. 200 or 503, with the same body.

use http::StatusCode;
use serde::Serialize;
use tandem_protocol::node::{BootId, Level, NodeId, Role};
use tandem_protocol::term::Term;

use super::State;
use super::reply::{self, Reply};
use super::stand::Stand;

/// Who answers, and where it stands under its permit.
#[derive(Debug, Serialize)]
struct Health {
    node: NodeId,
    boot: BootId,
    role: Role,
    level: Level,
    term: Option<Term>,
    fenced: bool,
}

/// The process runs and answers.
pub(super) fn live(state: &State) -> Reply {
    answer(state, |_| true)
}

/// The node has its place: it may be sent pages and watches.
pub(super) fn ready(state: &State) -> Reply {
    answer(state, |stand| stand.level != Level::Undecided)
}

/// The node may serve, at this moment, under its permit.
pub(super) fn active(state: &State) -> Reply {
    answer(state, |stand| stand.level == Level::Active)
}

fn answer(state: &State, well: impl Fn(&Stand) -> bool) -> Reply {
    let stand = Stand::now(state);
    let code = if well(&stand) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let status = state.rooms.driver.status();
    let health = Health {
        node: status.node.clone(),
        boot: status.boot,
        role: status.role,
        level: stand.level,
        term: stand.term,
        fenced: stand.fenced,
    };
    reply::json(code, &health)
}
