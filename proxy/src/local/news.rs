//! News that tasks of one thread follow: a counter and those who wait for it to move.
//!
//! Followers are woken in the order in which they began to follow, so that what waited first goes
//! on first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Something that changes now and then.
#[derive(Debug, Default)]
pub(crate) struct News {
    version: Cell<u64>,
    next_key: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waker>>,
}

impl News {
    /// Tells all followers.
    pub(crate) fn publish(&self) {
        self.version.set(self.version.get().wrapping_add(1));
        // Taken out first: a waker may run code that follows or leaves.
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    /// Follows from now on.
    pub(crate) fn follow(self: &Rc<Self>) -> Follower {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        Follower { news: Rc::clone(self), seen: self.version.get(), key }
    }
}

/// One who follows.
#[derive(Debug)]
pub(crate) struct Follower {
    news: Rc<News>,
    seen: u64,
    key: u64,
}

impl Follower {
    /// Ready once for all news since the last time.
    pub(crate) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let version = self.news.version.get();
        if self.seen != version {
            self.seen = version;
            return Poll::Ready(());
        }
        let mut waiting = self.news.waiting.borrow_mut();
        match waiting.get_mut(&self.key) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                waiting.insert(self.key, cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Waits for news.
    pub(crate) async fn changed(&mut self) {
        poll_fn(|cx| self.poll_changed(cx)).await;
    }

    /// Counts everything up to now as seen.
    pub(crate) fn catch_up(&mut self) {
        self.seen = self.news.version.get();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.news.waiting.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use futures_util::FutureExt;

    use super::News;

    #[test]
    fn news_are_seen_once() {
        let news = Rc::new(News::default());
        let mut follower = news.follow();
        assert!(follower.changed().now_or_never().is_none());
        news.publish();
        news.publish();
        assert!(follower.changed().now_or_never().is_some());
        assert!(follower.changed().now_or_never().is_none());
        news.publish();
        follower.catch_up();
        assert!(follower.changed().now_or_never().is_none());
    }

    #[test]
    fn a_follower_that_leaves_is_forgotten() {
        let news = Rc::new(News::default());
        let mut follower = news.follow();
        assert!(follower.changed().now_or_never().is_none());
        drop(follower);
        assert!(news.waiting.borrow().is_empty());
    }
}
