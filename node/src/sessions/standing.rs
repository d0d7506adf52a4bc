//! Where this node stands, as every connection must know it at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tandem_protocol::node::Level;
use tandem_protocol::status::Status;
use tandem_protocol::wire::session::ServerMessage;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::hub::Hub;

/// How late a permit that ran out, or came back without a word, is noticed by those who wait.
/// Effects do not depend on it: each looks at the gate itself.
const LOOK: Duration = Duration::from_millis(10);
/// Clients hear at once that the level or the term moved. What else changes in a status rests for
/// so long after the last one: in a switch thousands of clients have better to do.
pub(super) const DETAILS_GAP: Duration = Duration::from_millis(250);

/// What may be said to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stance {
    /// Serve them.
    Active,
    /// Tell them nothing: this node was active and its permit ran out.
    Fenced,
    /// Tell them that this node is not active.
    Standby,
}

/// The stance, and the status to tell with it.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) stance: Stance,
    pub(super) status: Arc<Status>,
    words: Arc<Words>,
}

/// A status as it goes out: written once, for thousands of clients hear it at one moment.
#[derive(Debug)]
struct Words {
    active: Utf8Bytes,
    standby: Utf8Bytes,
    standby_via_proxy: Utf8Bytes,
}

impl Words {
    fn of(status: &Status) -> Words {
        let boxed = || Box::new(status.clone());
        let text = |message: &ServerMessage| {
            Utf8Bytes::from(serde_json::to_string(message).unwrap_or_default())
        };
        let standby = |via_proxy| text(&ServerMessage::Standby { status: boxed(), via_proxy });
        Words {
            active: text(&ServerMessage::Active { status: boxed() }),
            standby: standby(false),
            standby_via_proxy: standby(true),
        }
    }
}

impl Standing {
    pub(super) fn new(driver: &crate::driver::Handle) -> Standing {
        let (stance, status) = Standing::read(driver);
        Standing { stance, words: Arc::new(Words::of(&status)), status }
    }

    fn read(driver: &crate::driver::Handle) -> (Stance, Arc<Status>) {
        let status = driver.status();
        // Gate and status do not change at one instant: between them nothing is told.
        let active = status.level == Level::Active;
        let stance = match (driver.gate().is_open(), active) {
            (true, true) => Stance::Active,
            (false, _) if status.fenced || active => Stance::Fenced,
            (true | false, _) => Stance::Standby,
        };
        (stance, status)
    }

    /// Takes what is read now, details only if they may be told; whether anything differs.
    fn take(&mut self, stance: Stance, status: Arc<Status>, details: bool) -> bool {
        let moved = std::mem::replace(&mut self.stance, stance) != stance;
        if Arc::ptr_eq(&self.status, &status) || self.status == status {
            return moved;
        }
        let urgent = moved || self.status.level != status.level || self.status.term != status.term;
        if urgent || details {
            self.words = Arc::new(Words::of(&status));
            self.status = status;
        }
        urgent || details
    }

    /// What a client hears of the status.
    pub(super) fn words(&self, active: bool, via_proxy: bool) -> Utf8Bytes {
        let Words { active: word, standby, standby_via_proxy } = &*self.words;
        match (active, via_proxy) {
            (true, _) => word.clone(),
            (false, false) => standby.clone(),
            (false, true) => standby_via_proxy.clone(),
        }
    }
}

/// Follows status, level and permit for all connections.
pub(super) async fn follow(hub: Arc<Hub>) {
    let mut statuses = hub.driver.statuses();
    let mut levels = hub.driver.levels();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Instant::now();
    loop {
        let (stance, status) = Standing::read(&hub.driver);
        let details = told.elapsed() >= DETAILS_GAP;
        if hub.standing.send_if_modified(|standing| standing.take(stance, status, details)) {
            told = Instant::now();
        }
        if hub.driver.gate().is_open() && hub.held.swap(false, Ordering::AcqRel) {
            hub.reopened.notify_waiters();
        }
        let gone = tokio::select! {
            changed = statuses.changed() => changed.is_err(),
            changed = levels.changed() => changed.is_err(),
            _ = look.tick() => false,
        };
        if gone {
            return;
        }
    }
}

/// Waits until the gate is open again after a lapse that the stance may not have shown.
pub(super) async fn reopened(hub: &Hub) {
    let waiter = hub.reopened.notified();
    tokio::pin!(waiter);
    // Waiting begins before the flag is set, so that the answer to it cannot be missed.
    waiter.as_mut().enable();
    hub.held.store(true, Ordering::Release);
    if hub.driver.gate().is_open() {
        return;
    }
    waiter.await;
}
