//! Events that wait for their reader: bounded, and of each tag only the newest value.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tandem_protocol::event::Severity;
use tandem_protocol::failover::output::SessionEvent;
use tandem_protocol::limits::{EVENTS_MAX, SUBSCRIPTIONS_MAX};
use tandem_protocol::wire::session::TagUpdate;
use tokio::sync::Notify;

/// Values of so many tags wait: those of the last subscription, and of the one before it.
const TAGS_MAX: usize = 2 * SUBSCRIPTIONS_MAX;

/// The queue between the driver and its reader.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Slot>,
    values: HashMap<String, TagUpdate>,
    /// Events in `order` that are not values.
    events: usize,
    dropped: u64,
    over: bool,
}

#[derive(Debug)]
enum Slot {
    /// The newest value of this tag.
    Value(String),
    Event(SessionEvent),
}

impl Queue {
    /// Adds an event.
    pub(super) fn push(&self, event: SessionEvent) {
        self.locked(|waiting| waiting.push(event));
        self.news.notify_one();
    }

    /// Nothing follows.
    pub(super) fn end(&self) {
        self.locked(|waiting| waiting.over = true);
        self.news.notify_one();
    }

    /// The next event; `None` when nothing follows.
    pub(super) async fn next(&self) -> Option<SessionEvent> {
        loop {
            // There is one reader, and a notification that comes before the wait is kept.
            if let Some(next) = self.locked(Waiting::pop) {
                return next;
            }
            self.news.notified().await;
        }
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Waiting) -> T) -> T {
        act(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Waiting {
    fn push(&mut self, event: SessionEvent) {
        if let SessionEvent::TagChange(update) = event {
            if let Some(value) = self.values.get_mut(&update.tag) {
                *value = update;
            } else if self.values.len() < TAGS_MAX {
                self.order.push_back(Slot::Value(update.tag.clone()));
                self.values.insert(update.tag.clone(), update);
            }
            return;
        }
        if self.events >= EVENTS_MAX {
            self.dropped += 1;
            return;
        }
        self.events += 1;
        self.order.push_back(Slot::Event(event));
    }

    /// `Some(None)` at the end.
    fn pop(&mut self) -> Option<Option<SessionEvent>> {
        while let Some(slot) = self.order.pop_front() {
            match slot {
                Slot::Value(tag) => {
                    if let Some(update) = self.values.remove(&tag) {
                        return Some(Some(SessionEvent::TagChange(update)));
                    }
                }
                Slot::Event(event) => {
                    self.events -= 1;
                    return Some(Some(event));
                }
            }
        }
        if self.dropped > 0 {
            let text = format!("{} events were dropped: nobody read them.", self.dropped);
            self.dropped = 0;
            let severity = Severity::Warning;
            return Some(Some(SessionEvent::Notice { severity, text, incident: None }));
        }
        self.over.then_some(None)
    }
}

#[cfg(test)]
mod tests {
    use tandem_protocol::failover::output::SessionEvent;
    use tandem_protocol::limits::EVENTS_MAX;
    use tandem_protocol::tag::{Quality, TagValue};
    use tandem_protocol::time::UnixMs;
    use tandem_protocol::wire::session::TagUpdate;

    use super::Queue;

    fn value(tag: &str, value: i64) -> SessionEvent {
        SessionEvent::TagChange(TagUpdate {
            tag: tag.to_owned(),
            value: Some(TagValue::Int(value)),
            quality: Quality::Good,
            time: UnixMs(0),
        })
    }

    fn closed() -> SessionEvent {
        SessionEvent::Closed { why: String::new() }
    }

    #[tokio::test]
    async fn a_slow_reader_sees_the_newest_values_and_every_event() {
        let queue = Queue::default();
        for n in 0..1_000 {
            queue.push(value("a", n));
            queue.push(value("b", n));
        }
        queue.push(closed());
        queue.end();
        assert_eq!(queue.next().await, Some(value("a", 999)));
        assert_eq!(queue.next().await, Some(value("b", 999)));
        assert_eq!(queue.next().await, Some(closed()));
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn what_nobody_reads_is_dropped_and_said() {
        let queue = Queue::default();
        for _ in 0..EVENTS_MAX + 5 {
            queue.push(closed());
        }
        for _ in 0..EVENTS_MAX {
            assert_eq!(queue.next().await, Some(closed()));
        }
        let Some(SessionEvent::Notice { text, .. }) = queue.next().await else { panic!() };
        assert!(text.starts_with("5 events"));
    }
}
