//! Ends sessions that have been without a connection for too long.
//!
//! The active node notes the sessions of the kept state when its activation begins, and counts
//! from there: after a takeover every session has its full time to come back.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use tandem_protocol::gateway::input::Request;
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::Kind;
use tandem_protocol::runtime::records;
use tokio::time::MissedTickBehavior;

use super::hub::Hub;
use super::standing::Stance;

/// Looks in the life of a session without a connection: it may live this part longer.
const LOOKS: u32 = 20;
/// Ends that are asked for at the same time.
const AT_ONCE: usize = 64;

pub(super) async fn run(hub: Arc<Hub>) {
    let mut standing = hub.standing.subscribe();
    let mut look = tokio::time::interval(hub.options.linger / LOOKS);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut active = false;
    loop {
        let gone = tokio::select! {
            _ = look.tick() => false,
            changed = standing.changed() => changed.is_err(),
        };
        if gone {
            return;
        }
        let stance = standing.borrow_and_update().stance;
        match stance {
            Stance::Active => {
                active = true;
                sweep(&hub).await;
            }
            Stance::Standby if active => {
                // Whoever is active now counts for itself.
                active = false;
                hub.sweep(&[]);
            }
            Stance::Standby | Stance::Fenced => {}
        }
    }
}

async fn sweep(hub: &Hub) {
    let known: Vec<_> = records::sessions(&hub.driver.items(Kind::Kept)).collect();
    let overdue = hub.sweep(&known);
    let ends = stream::iter(overdue).map(|session| async move {
        if !hub.driver.gate().is_open() {
            return;
        }
        let answer = hub.driver.request(Request::End { session: session.clone() }).await;
        if matches!(answer, Answer::Done { .. } | Answer::NoSession) {
            tracing::debug!(%session, "a session without a connection has ended");
            hub.ended(&session);
        }
    });
    ends.buffer_unordered(AT_ONCE).collect::<()>().await;
}
