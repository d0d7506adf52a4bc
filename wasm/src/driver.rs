//! The browser's driver: the only owner of the machine, its sockets and its timer.
//!
//! One turn takes one input, drains the machine, and then tells the page all that came of it in
//! one call. The page may call back in from there: by then nothing is borrowed any more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde::Serialize;
use tandem_client::protocol::session::WriteId;
use tandem_client::protocol::time::Instant;
use tandem_client::{ConnId, Failover, Input, Options, Output, Saved, SessionEvent};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};

use crate::clock;
use crate::socket::Socket;

/// A timer that is later than this was held back by the browser (a page in the background, a
/// laptop that slept): messages may wait in its queue.
const HELD_BACK: Duration = Duration::from_millis(500);
/// So long the waiting messages go first, before the silence is judged.
const LET_MESSAGES_PASS: Duration = Duration::from_millis(100);

/// Drives one session.
#[derive(Debug)]
pub(crate) struct Driver {
    listener: js_sys::Function,
    me: Weak<Driver>,
    wake: Closure<dyn FnMut()>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    machine: Failover,
    /// A handful: the one in use, a watch and an attempt or two.
    sockets: Vec<(ConnId, Socket)>,
    timer: Option<Timer>,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    handle: i32,
    at: Instant,
}

/// What the page is told: the machine's events, and what only a page can do.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Event(SessionEvent),
    Page(PageEvent),
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum PageEvent {
    Navigate { url: String, saved: Box<Saved> },
    Ended,
}

impl Driver {
    pub(crate) fn new(options: Options, listener: js_sys::Function) -> Rc<Driver> {
        Rc::new_cyclic(|me: &Weak<Driver>| Driver {
            listener,
            me: me.clone(),
            wake: Closure::new({
                let me = me.clone();
                move || {
                    if let Some(driver) = me.upgrade() {
                        driver.woken();
                    }
                }
            }),
            state: RefCell::new(State {
                machine: Failover::new(clock::now(), options),
                sockets: Vec::new(),
                timer: None,
            }),
        })
    }

    pub(crate) fn next_id(&self) -> WriteId {
        self.state.borrow().machine.next_id()
    }

    pub(crate) fn save(&self) -> Option<Saved> {
        self.state.borrow().machine.save()
    }

    /// Gives the machine one input and does all that comes of it.
    pub(crate) fn turn(&self, input: Input) {
        let told = self.take(input);
        if told.is_empty() {
            return;
        }
        if let Ok(text) = serde_json::to_string(&told) {
            // The page's listener reports its own mistakes.
            let _ = self.listener.call1(&JsValue::NULL, &JsValue::from_str(&text));
        }
    }

    fn take(&self, input: Input) -> Vec<Told> {
        let mut state = self.state.borrow_mut();
        let mut told = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            if let Input::Ended { conn, .. } = &input {
                state.sockets.retain(|(other, _)| other != conn);
            }
            state.machine.handle_input(clock::now(), input);
            let at = self.drain(&mut state, &mut inputs, &mut told);
            self.arm(&mut state, at);
        }
        told
    }

    fn drain(
        &self,
        state: &mut State,
        inputs: &mut VecDeque<Input>,
        told: &mut Vec<Told>,
    ) -> Option<Instant> {
        loop {
            match state.machine.poll_output() {
                Output::Timeout { at, reason: _ } => return at,
                Output::Connect { conn, url } => {
                    let me = self.me.clone();
                    let tell = move |input| {
                        if let Some(driver) = me.upgrade() {
                            driver.turn(input);
                        }
                    };
                    match Socket::open(conn, &url, tell) {
                        Ok(socket) => {
                            state.sockets.push((conn, socket));
                        }
                        Err(why) => inputs.push_back(Input::Ended { conn, why }),
                    }
                }
                Output::Send { conn, message } => {
                    for (_, socket) in state.sockets.iter().filter(|(other, _)| *other == conn) {
                        socket.send(&message);
                    }
                }
                Output::Close { conn } => {
                    state.sockets.retain(|(other, _)| *other != conn);
                }
                Output::Event(event) => told.push(Told::Event(event)),
                Output::Navigate { url, saved } => {
                    told.push(Told::Page(PageEvent::Navigate { url, saved }));
                }
                Output::Ended => {
                    state.sockets.clear();
                    told.push(Told::Page(PageEvent::Ended));
                }
            }
        }
    }

    fn arm(&self, state: &mut State, at: Option<Instant>) {
        if state.timer.map(|timer| timer.at) == at {
            return;
        }
        let Some(window) = web_sys::window() else { return };
        if let Some(timer) = state.timer.take() {
            window.clear_timeout_with_handle(timer.handle);
        }
        let Some(at) = at else { return };
        let wait_ms = at.since(clock::now()).as_micros().div_ceil(1000);
        let handle = window.set_timeout_with_callback_and_timeout_and_arguments_0(
            self.wake.as_ref().unchecked_ref(),
            i32::try_from(wait_ms).unwrap_or(i32::MAX),
        );
        state.timer = handle.ok().map(|handle| Timer { handle, at });
    }

    fn woken(&self) {
        {
            let mut state = self.state.borrow_mut();
            let late = state.timer.take().map(|timer| clock::now().since(timer.at));
            if late.is_some_and(|late| late > HELD_BACK) {
                self.arm(&mut state, Some(clock::now() + LET_MESSAGES_PASS));
                return;
            }
        }
        self.turn(Input::Timeout);
    }
}
