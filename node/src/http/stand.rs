//! Where this node stands at this moment, under its permit, and what follows for a request.
//!
//! The status tells what the rules last said; the permit may have run out since (the process was
//! stalled). What is told to balancers, proxies and people follows the permit.

use http::HeaderMap;
use tandem_protocol::node::Level;
use tandem_protocol::status::Status;
use tandem_protocol::term::Term;
use tandem_protocol::wire::session::HEADER_TERM;

use super::State;
use super::reply::Failure;

/// A node's level and term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stand {
    /// Active only under a permit; Undecided where the node was active and its permit ran out.
    pub(super) level: Level,
    /// Its own when it is active, else the highest that it has heard.
    pub(super) term: Option<Term>,
    /// Whether its permit ran out.
    pub(super) fenced: bool,
}

impl Stand {
    pub(super) fn now(state: &State) -> Stand {
        let driver = &state.rooms.driver;
        if let Some(active) = driver.gate().allows() {
            return Stand { level: Level::Active, term: Some(active.term.clone()), fenced: false };
        }
        let status = driver.status();
        let fenced = status.fenced || status.level == Level::Active;
        let level = if status.level == Level::Active { Level::Undecided } else { status.level };
        Stand { level, term: status.term.clone(), fenced }
    }
}

/// Whether this node may answer a change, or a look at live data: it is active, and its term is not
/// below the one that a proxy follows.
///
/// # Errors
/// `Tandem-Standby`, with nothing done; or a term that cannot be read.
pub(super) fn must_be_active(state: &State, headers: &HeaderMap) -> Result<(), Failure> {
    let named = match headers.get(HEADER_TERM) {
        None => 0,
        Some(value) => {
            value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).ok_or_else(
                || Failure::wrong("bad_term", format!("{HEADER_TERM} is not a number")),
            )?
        }
    };
    let stand = Stand::now(state);
    let counter = stand.term.as_ref().map_or(0, |t| t.counter);
    if stand.level == Level::Active && counter >= named {
        return Ok(());
    }
    Err(standby(state))
}

/// Nothing was done: ask the active node.
pub(super) fn standby(state: &State) -> Failure {
    let stand = Stand::now(state);
    let status = state.rooms.driver.status();
    let node = &status.node;
    let counter = stand.term.as_ref().map_or(0, |t| t.counter);
    let reason = match (stand.level, stand.fenced) {
        (_, true) => format!("node {node} does not act: its permit has run out"),
        (Level::Active, false) => format!("node {node} is active with the lower term {counter}"),
        (level, false) => format!("node {node} is not active ({level}){}", instead(&status)),
    };
    Failure::standby(counter, reason)
}

/// Which node to ask instead, as far as it is known.
fn instead(status: &Status) -> String {
    let active = status.peer.as_ref().filter(|peer| peer.connected && peer.level == Level::Active);
    let node = active.and_then(|peer| peer.node.as_ref());
    let address = node.and_then(|node| status.addresses.iter().find(|a| a.node == *node));
    address.map_or_else(String::new, |a| format!(": ask node {} at {}", a.node, a.url))
}
