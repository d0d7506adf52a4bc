//! Who may be connected at the same time.
//!
//! A connection shows what it is with its first request; until then it is fresh. Fresh connections
//! can never keep the pair's link or an operator out: when there are too many connections, the
//! oldest fresh one ends. Requests, sessions and links have slots of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Ordinary requests.
    Requests,
    /// A session or a watch.
    Session,
    /// One of the pair's link connections.
    Link,
}

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    requests: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
    links: Arc<Semaphore>,
    connections: usize,
    fresh: Mutex<Fresh>,
}

#[derive(Debug, Default)]
struct Fresh {
    next: u64,
    /// Seats of all kinds.
    seats: usize,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Slots {
    pub(super) fn new(limits: &Limits) -> Slots {
        Slots {
            requests: Arc::new(Semaphore::new(limits.requests)),
            sessions: Arc::new(Semaphore::new(limits.sessions)),
            links: Arc::new(Semaphore::new(limits.links)),
            connections: limits.connections,
            fresh: Mutex::default(),
        }
    }

    /// A seat for a connection that was just accepted; the oldest fresh one may lose its own.
    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        let evicted = Arc::new(Notify::new());
        let mut fresh = self.fresh();
        let id = fresh.next;
        fresh.next += 1;
        fresh.seats += 1;
        fresh.waiting.insert(id, Arc::clone(&evicted));
        if fresh.seats > self.connections
            && let Some((_, oldest)) = fresh.waiting.pop_first()
        {
            oldest.notify_one();
        }
        Seat { slots: Arc::clone(self), id, evicted, held: Mutex::new(None) }
    }

    /// Connections of each class, fresh ones first.
    pub(super) fn used(&self, limits: &Limits) -> [(&'static str, usize); 4] {
        let fresh = self.fresh().waiting.len();
        let used = |max: usize, slots: &Semaphore| max.saturating_sub(slots.available_permits());
        [
            ("fresh", fresh),
            ("requests", used(limits.requests, &self.requests)),
            ("session", used(limits.sessions, &self.sessions)),
            ("link", used(limits.links, &self.links)),
        ]
    }

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's seat. Dropping it frees its slot.
#[derive(Debug)]
pub(super) struct Seat {
    slots: Arc<Slots>,
    id: u64,
    evicted: Arc<Notify>,
    held: Mutex<Option<(Class, OwnedSemaphorePermit)>>,
}

impl Seat {
    /// Takes a slot of a class, or keeps the one it has; `false`: none is free.
    pub(super) fn take(&self, class: Class) -> bool {
        self.slots.fresh().waiting.remove(&self.id);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|(now, _)| *now == class) {
            return true;
        }
        let slots = match class {
            Class::Requests => &self.slots.requests,
            Class::Session => &self.slots.sessions,
            Class::Link => &self.slots.links,
        };
        match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => {
                *held = Some((class, slot));
                true
            }
            Err(_) => false,
        }
    }

    /// Gives the slot to whoever goes on with the connection.
    pub(super) fn hand_over(&self) -> Option<OwnedSemaphorePermit> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.take().map(|(_, slot)| slot)
    }

    /// Waits until the seat was given to a newer connection.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut fresh = self.slots.fresh();
        fresh.waiting.remove(&self.id);
        fresh.seats = fresh.seats.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Class, Slots};
    use crate::http::Limits;

    #[tokio::test]
    async fn requests_never_take_the_slots_of_sessions_and_links() {
        let limits = Limits { requests: 1, sessions: 1, links: 1, ..Limits::default() };
        let slots = Arc::new(Slots::new(&limits));
        let (a, b) = (slots.seat(), slots.seat());
        assert!(a.take(Class::Requests) && a.take(Class::Requests));
        assert!(!b.take(Class::Requests));
        assert!(b.take(Class::Session));
        assert!(slots.seat().take(Class::Link));
        drop(a);
        assert!(slots.seat().take(Class::Requests));
    }

    #[tokio::test]
    async fn the_oldest_fresh_connection_makes_room() {
        let limits = Limits { connections: 3, ..Limits::default() };
        let slots = Arc::new(Slots::new(&limits));
        let known = slots.seat();
        assert!(known.take(Class::Requests));
        let seats = [slots.seat(), slots.seat(), slots.seat()];
        let [first, second, _] = &seats;
        tokio::select! {
            biased;
            () = known.evicted() => panic!("the known one has sent a request"),
            () = second.evicted() => panic!("the second is not the oldest"),
            () = first.evicted() => {}
        }
        assert_eq!(slots.used(&limits)[0], ("fresh", 2));
        drop(seats);
        assert_eq!(slots.used(&limits)[0], ("fresh", 0));
    }

    #[test]
    fn a_process_with_few_open_files_keeps_a_way_in() {
        let limits = Limits::default().within(1_024);
        assert_eq!((limits.connections, limits.sessions, limits.requests), (768, 384, 192));
        let limits = Limits::default().within(20_000);
        let kept = limits.sessions + limits.requests + limits.links;
        assert!(kept + 1_000 < limits.connections, "{limits:?}");
    }
}
