//! A fair count of what may go on at the same time, for tasks of one thread.
//!
//! Who asks first goes first. A turn ends when it is dropped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// So many at once.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Cell<usize>,
    queue: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    Granted,
    Over,
}

#[derive(Debug)]
struct Waiter {
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
}

impl Turns {
    /// `count` turns, all free.
    pub(crate) fn new(count: usize) -> Rc<Turns> {
        Rc::new(Turns { free: Cell::new(count), queue: RefCell::default() })
    }

    /// Waits for a turn.
    pub(crate) fn take(self: &Rc<Self>) -> Taking {
        Taking { turns: Rc::clone(self), waiter: None }
    }

    /// A turn, if one is free now.
    pub(crate) fn take_now(self: &Rc<Self>) -> Option<Turn> {
        let free = self.free.get().checked_sub(1)?;
        self.free.set(free);
        Some(Turn { turns: Rc::clone(self) })
    }

    /// Whether somebody waits.
    pub(crate) fn wanted(&self) -> bool {
        self.queue.borrow().iter().any(|w| w.state.get() == State::Waits)
    }

    fn release(&self) {
        let next = loop {
            match self.queue.borrow_mut().pop_front() {
                Some(waiter) if waiter.state.get() == State::Over => {}
                other => break other,
            }
        };
        let Some(waiter) = next else {
            self.free.set(self.free.get() + 1);
            return;
        };
        waiter.state.set(State::Granted);
        if let Some(waker) = waiter.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A turn.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Rc<Turns>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.release();
    }
}

/// Waits for a turn.
#[derive(Debug)]
pub(crate) struct Taking {
    turns: Rc<Turns>,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Taking {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let turns = Rc::clone(&self.turns);
        let Some(waiter) = &self.waiter else {
            if let Some(turn) = turns.take_now() {
                return Poll::Ready(turn);
            }
            let waker = RefCell::new(Some(cx.waker().clone()));
            let waiter = Rc::new(Waiter { state: Cell::new(State::Waits), waker });
            turns.queue.borrow_mut().push_back(Rc::clone(&waiter));
            self.waiter = Some(waiter);
            return Poll::Pending;
        };
        if waiter.state.get() == State::Granted {
            waiter.state.set(State::Over);
            return Poll::Ready(Turn { turns });
        }
        *waiter.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let Some(waiter) = &self.waiter else { return };
        let granted = waiter.state.replace(State::Over) == State::Granted;
        if granted {
            // The turn came after the last look: it goes to the next.
            self.turns.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Turns;

    #[test]
    fn who_asks_first_goes_first() {
        let turns = Turns::new(1);
        let first = turns.take().now_or_never().unwrap();
        let mut second = Box::pin(turns.take());
        let mut third = Box::pin(turns.take());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.wanted());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        let turn = second.as_mut().now_or_never().unwrap();
        assert!(turns.take_now().is_none());
        drop(turn);
        assert!(third.as_mut().now_or_never().is_some());
        assert!(turns.take_now().is_some());
    }

    #[test]
    fn a_turn_given_to_one_who_left_goes_on() {
        let turns = Turns::new(1);
        let first = turns.take().now_or_never().unwrap();
        let mut second = Box::pin(turns.take());
        let mut third = Box::pin(turns.take());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        drop(second);
        assert!(third.as_mut().now_or_never().is_some());
        assert!(turns.take_now().is_some());
    }
}
